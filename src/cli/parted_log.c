/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines in nvidia-mig-parted's two forms: fields when standard error is a file or a pipe,
 * LEVEL[seconds] text on a terminal.
 */
#include "cli/parted_log.h"
#include "base/clock.h"
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_SIZE 2048

static const struct {
    const char *name, *short_name;
} levels[] = {
    [PARTED_LEVEL_FATAL] = {"fatal", "FATA"},
    [PARTED_LEVEL_ERROR] = {"error", "ERRO"},
    [PARTED_LEVEL_INFO] = {"info", "INFO"},
    [PARTED_LEVEL_DEBUG] = {"debug", "DEBU"},
};

static bool debug_enabled;

void parted_log_debug_enable(bool enable)
{
    debug_enabled = enable;
}

/* Text in quotes; what would end the line or move the cursor is written as an escape. */
static void print_quoted(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++) {
        unsigned char character = (unsigned char)*text;

        if (character == '"' || character == '\\') {
            fprintf(out, "\\%c", character);
        } else if (character == '\n' || character == '\t') {
            fputs(character == '\n' ? "\\n" : "\\t", out);
        } else if (character < 0x20 || character == 0x7f) {
            fprintf(out, "\\x%02x", character);
        } else {
            fputc(character, out);
        }
    }
    fputc('"', out);
}

/* 2006-01-02T15:04:05+01:00 */
static void print_time(FILE *out)
{
    time_t now = time(NULL);
    struct tm parts;
    char text[40] = "", zone[8] = "";

    if (localtime_r(&now, &parts)) {
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
        strftime(zone, sizeof(zone), "%z", &parts);
    }
    if (strcmp(zone, "+0000") == 0) {
        fprintf(out, "time=\"%sZ\"", text);
    } else {
        fprintf(out, "time=\"%s%.3s:%s\"", text, zone, zone[0] ? zone + 3 : "");
    }
}

void parted_log(enum parted_level level, const char *format, ...)
{
    static uint64_t start_ms;
    char message[MESSAGE_SIZE];
    va_list arguments;

    start_ms = start_ms > 0 ? start_ms : mig_now_ms();
    if (level == PARTED_LEVEL_DEBUG && !debug_enabled) {
        return;
    }
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    message[0] = (char)toupper((unsigned char)message[0]);
    fflush(stdout);
    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "%s[%04u] ", levels[level].short_name,
                (unsigned)((mig_now_ms() - start_ms) / 1000));
        for (const char *at = message; *at; at++) {
            fputc(iscntrl((unsigned char)*at) ? '?' : *at, stderr);
        }
    } else {
        print_time(stderr);
        fprintf(stderr, " level=%s msg=", levels[level].name);
        print_quoted(stderr, message);
    }
    fputc('\n', stderr);
}

void parted_log_error(enum parted_level level, const char *prefix, const struct mig_error *error)
{
    parted_log(level, "%s%s%s%s%s%s", prefix, error->message,
               error->holders[0] ? "; in the way: " : "", error->holders,
               error->hint[0] ? "; " : "", error->hint);
}
