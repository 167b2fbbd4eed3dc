/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the reset command, as base/command.h runs any. */
#include "gpu/reset.h"
#include "base/cleanup.h"
#include "base/command.h"
#include <errno.h>
#include <string.h>

#define WORD_MAX 32
#define WORD_SIZE 256
#define BUS_ID_MARK "{bus_id}"

static const char *const default_command[] = {"nvidia-smi", "--gpu-reset", "-i", BUS_ID_MARK, NULL};

struct expansion {
    char text[WORD_MAX][WORD_SIZE];
    const char *words[WORD_MAX + 1];
    struct mig_command command;
};

static int expand(const char *const *command, const char *bus_id, struct expansion *ret,
                  struct mig_error *error)
{
    size_t count = 0;

    for (; command[count]; count++) {
        const char *word = command[count];
        const char *mark = strstr(word, BUS_ID_MARK);
        int head = mark ? (int)(mark - word) : (int)strlen(word);

        if (count == WORD_MAX ||
            snprintf(ret->text[count], WORD_SIZE, "%.*s%s%s", head, word, mark ? bus_id : "",
                     mark ? mark + strlen(BUS_ID_MARK) : "") >= WORD_SIZE) {
            return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                                 "the reset command is too long");
        }
        ret->words[count] = ret->text[count];
    }
    if (count == 0) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "the reset command is empty");
    }
    return 0;
}

int mig_reset_run(const char *const *command, const char *root, const char *bus_id,
                  unsigned timeout_ms, struct mig_error *error)
{
    MIG_AUTO_FREE struct expansion *expanded = calloc(1, sizeof(*expanded));
    int rc;

    if (!expanded) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not run the reset command");
    }
    rc = expand(command ? command : default_command, bus_id, expanded, error);
    if (rc < 0) {
        return rc;
    }
    expanded->command.words = expanded->words;
    expanded->command.root = root;
    expanded->command.timeout_ms = timeout_ms;
    rc = mig_command_run(&expanded->command, error);
    if (rc < 0) {
        return error && error->domain == MIG_DOMAIN_ERRNO
                   ? mig_error_hint(error, rc, "configure the command that resets a GPU")
                   : rc;
    }
    return mig_command_check(&expanded->command, error);
}
