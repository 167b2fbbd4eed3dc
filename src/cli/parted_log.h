/* SPDX-License-Identifier: Apache-2.0 */
/* nvidia-mig-parted's log lines on standard error: what scripts and people look for in its output.
 */
#ifndef MIG_CLI_PARTED_LOG_H
#define MIG_CLI_PARTED_LOG_H

#include <mig/error.h>

enum parted_level {
    PARTED_LEVEL_FATAL = 0,
    PARTED_LEVEL_ERROR,
    PARTED_LEVEL_INFO,
    PARTED_LEVEL_DEBUG
};

/* Debug lines are dropped unless this was called with true. */
void parted_log_debug_enable(bool enable);

/* One line; the first letter of the message becomes a capital. */
void parted_log(enum parted_level level, const char *format, ...) MIG_PRINTF(2, 3);

/* The same for an error: PREFIX and the message, who is in the way and what to do. */
void parted_log_error(enum parted_level level, const char *prefix, const struct mig_error *error);

#endif
