/* SPDX-License-Identifier: Apache-2.0 */
/* Random messages between migd's processes, for tests; the same seed gives the same one. */
#ifndef MIG_TEST_HELPER_RANDOM_H
#define MIG_TEST_HELPER_RANDOM_H

#include "helper/protocol.h"

unsigned helper_random(unsigned *seed);

/* Every index is right, the geometry need not be possible. The models are the catalogue's. */
struct mig_node *helper_random_node(unsigned seed);

/* Of any type. */
struct mig_message *helper_random_message(unsigned seed);

#endif
