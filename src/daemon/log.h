/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migd's log: one line per event on standard error, as text or JSON. Only the daemon logs; the
 * libraries below it return errors.
 *
 * What a broken GPU or cluster can repeat without end is limited: at most LOG_BURST lines at once
 * and LOG_RATE_PER_S in the long run; how many were left out is told. Under systemd
 * (JOURNAL_STREAM) text lines carry the priority in front and no time.
 */
#ifndef MIG_DAEMON_LOG_H
#define MIG_DAEMON_LOG_H

#include <mig/error.h>

#define LOG_BURST 200u
#define LOG_RATE_PER_S 20u

enum log_level { LOG_LEVEL_ERROR = 0, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT = 0, LOG_FORMAT_JSON };

struct log_field {
    const char *key, *value;
};

/* May be called again. */
void log_setup(enum log_level level, enum log_format format);
/* Which of the words of --log-level, --log-format; they have been checked. */
enum log_level log_level_of(const char *word);
enum log_format log_format_of(const char *word);

bool log_wants(enum log_level level);

/* `area` is the part of migd that speaks: "manager", "helper", "kube". `fields` may be NULL. */
void log_write(enum log_level level, const char *area, const struct log_field *fields,
               size_t field_count, const char *format, ...) MIG_PRINTF(5, 6);

/* "TEXT: message (holders; hint)". */
void log_error(enum log_level level, const char *area, const struct mig_error *error,
               const char *format, ...) MIG_PRINTF(4, 5);

/* Lines that the limit swallowed since the start. */
unsigned long log_left_out_count(void);

#endif
