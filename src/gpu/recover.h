/* SPDX-License-Identifier: Apache-2.0 */
/* What an interrupted run left, found by its journal. */
#ifndef MIG_GPU_RECOVER_H
#define MIG_GPU_RECOVER_H

#include "gpu/change.h"

/*
 * Looks for a journal, and finishes or undoes what it tells of. Fills apply->report. MIG_E_BROKEN
 * when it can do neither; the journal stays for the next try.
 */
int mig_recover(struct mig_apply *apply, struct mig_error *error);

#endif
