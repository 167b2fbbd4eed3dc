/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The terminal: what it can show, and lines on standard error. Colors only on a terminal, never
 * with NO_COLOR or --no-color; box characters only in a UTF-8 locale. Whatever comes from outside
 * is cleaned before it is printed, because a process can choose its own name.
 */
#include "base/text.h"
#include "cli/cli.h"
#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>

#define WIDTH_DEFAULT 80
#define WIDTH_MIN 40
#define WIDTH_MAX 250

static unsigned terminal_width(void)
{
    struct winsize size = {0};
    const char *columns = getenv("COLUMNS");
    uint64_t width = WIDTH_DEFAULT;

    if (isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col) {
        width = size.ws_col;
    } else if (columns) {
        (void)mig_text_parse_u64(columns, WIDTH_MAX, &width);
    }
    return width < WIDTH_MIN ? WIDTH_MIN : width > WIDTH_MAX ? WIDTH_MAX : (unsigned)width;
}

void cli_term_init(struct cli *cli)
{
    const char *no_color = getenv("NO_COLOR");
    const char *terminal = getenv("TERM");
    bool dumb = !terminal || strcmp(terminal, "dumb") == 0;
    bool may = !dumb && !(no_color && *no_color) && !cli->values[CLI_NO_COLOR];

    /* LC_CTYPE only: numbers keep their decimal point in every locale */
    (void)setlocale(LC_CTYPE, "");
    cli->unicode = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    cli->color = may && isatty(STDOUT_FILENO);
    cli->error_color = may && isatty(STDERR_FILENO);
    cli->progress = !dumb && isatty(STDERR_FILENO) && !cli->values[CLI_QUIET];
    cli->width = terminal_width();
}

static const char *escape_of(enum cli_color color)
{
    static const char *const escapes[] = {
        [CLI_COLOR_NONE] = "\033[0m",  [CLI_COLOR_ERROR] = "\033[1;31m",
        [CLI_COLOR_USED] = "\033[33m", [CLI_COLOR_FREE] = "\033[32m",
        [CLI_COLOR_DIM] = "\033[2m",   [CLI_COLOR_BOLD] = "\033[1m",
    };

    return escapes[color];
}

const char *cli_color(const struct cli *cli, enum cli_color color)
{
    return cli->color ? escape_of(color) : "";
}

char *cli_clean(char *buffer, size_t size, const char *text)
{
    size_t length = 0;

    for (; *text && length + 1 < size; text++) {
        unsigned char character = (unsigned char)*text;

        buffer[length++] = (char)(character < 0x20 || character == 0x7f ? '?' : *text);
    }
    buffer[length] = '\0';
    return buffer;
}

void cli_note(const struct cli *cli, const char *format, ...)
{
    char text[1024], clean[1024];
    va_list arguments;

    if (cli->values[CLI_QUIET]) {
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    cli_progress_end(cli);
    fprintf(stderr, "migctl: %s\n", cli_clean(clean, sizeof(clean), text));
}

void cli_progress(const struct cli *cli, const char *format, ...)
{
    char text[WIDTH_MAX + 1], clean[WIDTH_MAX + 1];
    va_list arguments;

    if (!cli->progress) {
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    fprintf(stderr, "\r%.*s\033[K", (int)cli->width - 1, cli_clean(clean, sizeof(clean), text));
    fflush(stderr);
}

void cli_progress_end(const struct cli *cli)
{
    if (cli->progress) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
}

void cli_print_error(const struct cli *cli, const struct mig_error *error)
{
    char clean[MIG_ERROR_MESSAGE_SIZE];
    const char *color = cli->error_color ? escape_of(CLI_COLOR_ERROR) : "";
    const char *end = cli->error_color ? escape_of(CLI_COLOR_NONE) : "";

    cli_progress_end(cli);
    fprintf(stderr, "%smigctl:%s %s\n", color, end,
            cli_clean(clean, sizeof(clean), error->message));
    if (error->holders[0]) {
        fprintf(stderr, "  in the way: %s\n", cli_clean(clean, sizeof(clean), error->holders));
    }
    if (error->hint[0]) {
        fprintf(stderr, "  what to do: %s\n", cli_clean(clean, sizeof(clean), error->hint));
    }
}
