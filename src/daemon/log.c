/* SPDX-License-Identifier: Apache-2.0 */
/* Lines are put together in a buffer and written with one write(), so that two processes that share
 * standard error do not mix them. */
#include "daemon/log.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LINE_MAX_SIZE 8192u
#define TEXT_MAX_SIZE 3072u

static struct {
    enum log_level level;
    enum log_format format;
    bool journal;
    bool started;
    uint64_t refilled_ms;
    uint64_t credit_ms; /* what lines cost is taken from it: 1000 / LOG_RATE_PER_S each */
    unsigned long left_out, left_out_told;
} state = {.level = LOG_LEVEL_INFO};

static const char *const level_names[] = {"error", "warning", "info", "debug"};
static const char *const level_priorities[] = {"<3>", "<4>", "<6>", "<7>"};

#define LINE_COST_MS (UINT64_C(1000) / LOG_RATE_PER_S)
#define CREDIT_MAX_MS (LOG_BURST * LINE_COST_MS)

void log_setup(enum log_level level, enum log_format format)
{
    state.level = level;
    state.format = format;
    state.journal = getenv("JOURNAL_STREAM") != NULL;
}

enum log_level log_level_of(const char *word)
{
    enum log_level level = LOG_LEVEL_ERROR;

    while (level < LOG_LEVEL_DEBUG && strcmp(level_names[level], word) != 0) {
        level++;
    }
    return level;
}

enum log_format log_format_of(const char *word)
{
    return strcmp(word, "json") == 0 ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT;
}

bool log_wants(enum log_level level)
{
    return level <= state.level;
}

unsigned long log_left_out_count(void)
{
    return state.left_out;
}

static bool take_credit(void)
{
    uint64_t now_ms = mig_now_ms();

    if (!state.started) {
        state.started = true;
        state.credit_ms = CREDIT_MAX_MS;
    } else {
        state.credit_ms += now_ms - state.refilled_ms;
        state.credit_ms = state.credit_ms > CREDIT_MAX_MS ? CREDIT_MAX_MS : state.credit_ms;
    }
    state.refilled_ms = now_ms;
    if (state.credit_ms < LINE_COST_MS) {
        state.left_out++;
        return false;
    }
    state.credit_ms -= LINE_COST_MS;
    return true;
}

/* Quotes, backslashes and control characters escaped as in JSON, what is not UTF-8 as '?'. */
static void put_escaped(struct mig_buffer *line, const char *text, bool quotes)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        size_t length = mig_text_utf8_length(text);

        if (length == 0) {
            mig_buffer_puts(line, "?");
        } else if (length > 1) {
            mig_buffer_append(line, text, length);
            text += length - 1;
        } else if (c == '\n') {
            mig_buffer_puts(line, "\\n");
        } else if (c < 0x20 || c == 0x7f) {
            mig_buffer_printf(line, "\\u%04x", c);
        } else if (quotes && (c == '"' || c == '\\')) {
            mig_buffer_printf(line, "\\%c", c);
        } else {
            mig_buffer_append(line, text, 1);
        }
    }
}

static void put_time(struct mig_buffer *line)
{
    struct timespec now;
    struct tm parts;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &parts);
    mig_buffer_printf(line, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900,
                      parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                      (int)(now.tv_nsec / 1000000));
}

static void put_member(struct mig_buffer *line, const char *key, const char *value)
{
    mig_buffer_puts(line, ",\"");
    put_escaped(line, key, true);
    mig_buffer_puts(line, "\":\"");
    put_escaped(line, value, true);
    mig_buffer_puts(line, "\"");
}

static void emit(enum log_level level, const char *area, const struct log_field *fields,
                 size_t field_count, const char *text)
{
    MIG_AUTO_BUFFER struct mig_buffer line;

    mig_buffer_init(&line, LINE_MAX_SIZE);
    if (state.format == LOG_FORMAT_JSON) {
        mig_buffer_puts(&line, "{\"time\":\"");
        put_time(&line);
        mig_buffer_puts(&line, "\"");
        put_member(&line, "level", level_names[level]);
        put_member(&line, "area", area);
        put_member(&line, "message", text);
        for (size_t i = 0; i < field_count; i++) {
            put_member(&line, fields[i].key, fields[i].value);
        }
        mig_buffer_puts(&line, "}\n");
    } else {
        if (state.journal) {
            mig_buffer_puts(&line, level_priorities[level]);
        } else {
            put_time(&line);
            mig_buffer_printf(&line, " %s ", level_names[level]);
        }
        mig_buffer_printf(&line, "%s: ", area);
        put_escaped(&line, text, false);
        for (size_t i = 0; i < field_count; i++) {
            mig_buffer_printf(&line, " %s=\"", fields[i].key);
            put_escaped(&line, fields[i].value, true);
            mig_buffer_puts(&line, "\"");
        }
        mig_buffer_puts(&line, "\n");
    }
    if (line.error == 0) {
        (void)mig_write_all(STDERR_FILENO, line.data, line.size);
    }
}

static void write_text(enum log_level level, const char *area, const struct log_field *fields,
                       size_t field_count, const char *text)
{
    if (!take_credit()) {
        return;
    }
    if (state.left_out != state.left_out_told) {
        char count[64];

        snprintf(count, sizeof(count), "%lu lines were left out",
                 state.left_out - state.left_out_told);
        state.left_out_told = state.left_out;
        emit(LOG_LEVEL_WARNING, "log", NULL, 0, count);
    }
    emit(level, area, fields, field_count, text);
}

void log_write(enum log_level level, const char *area, const struct log_field *fields,
               size_t field_count, const char *format, ...)
{
    char text[TEXT_MAX_SIZE];
    va_list args;

    if (!log_wants(level)) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    write_text(level, area, fields, field_count, text);
}

void log_error(enum log_level level, const char *area, const struct mig_error *error,
               const char *format, ...)
{
    char text[TEXT_MAX_SIZE];
    struct log_field fields[2];
    size_t count = 0;
    va_list args;
    int used;

    if (!log_wants(level)) {
        return;
    }
    va_start(args, format);
    used = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (used >= 0 && (size_t)used < sizeof(text)) {
        snprintf(text + used, sizeof(text) - (size_t)used, ": %s", error->message);
    }
    if (error->holders[0]) {
        fields[count++] = (struct log_field){"holders", error->holders};
    }
    if (error->hint[0]) {
        fields[count++] = (struct log_field){"hint", error->hint};
    }
    write_text(level, area, fields, count, text);
}
