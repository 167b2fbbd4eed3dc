/* SPDX-License-Identifier: Apache-2.0 */
/* The driver branch whose library this is; it is built once for each, of the same objects. */
#include "emulator/driver/library.h"

const unsigned emu_library_branch = EMU_BRANCH;
