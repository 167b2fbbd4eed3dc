/* SPDX-License-Identifier: Apache-2.0 */
/* migctl under the name nvidia-mig-parted: that program's arguments, environment, exit codes and
 * lines. */
#ifndef MIG_CLI_PARTED_H
#define MIG_CLI_PARTED_H

int mig_parted_main(int argc, char **argv);

#endif
