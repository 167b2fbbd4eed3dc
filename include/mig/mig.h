/* SPDX-License-Identifier: Apache-2.0 */
/* Everything of libmig in one include. */
#ifndef MIG_MIG_H
#define MIG_MIG_H

#include <mig/apply.h>
#include <mig/config.h>
#include <mig/error.h>
#include <mig/fit.h>
#include <mig/inventory.h>
#include <mig/model.h>
#include <mig/node.h>
#include <mig/plan.h>
#include <mig/profile.h>
#include <mig/sample.h>

#endif
