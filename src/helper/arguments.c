/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One table says for both programs what the options are called. An option that is NULL or 0, its
 * default, is not told.
 */
#include "helper/arguments.h"
#include "base/cleanup.h"
#include "base/text.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PID_MAX 0x7fffffffu
#define FD_MAX 0xffffu

struct field {
    const char *name;
    size_t offset;
    bool is_number;
};

#define TEXT(name, member)                                       \
    {                                                            \
        name, offsetof(struct mig_helper_options, member), false \
    }
#define NUMBER(name, member)                                    \
    {                                                           \
        name, offsetof(struct mig_helper_options, member), true \
    }

static const struct field fields[] = {
    TEXT("state-dir", state_dir),
    TEXT("library", library),
    TEXT("driver-root", driver_root),
    TEXT("host-root", host_root),
    TEXT("kubelet-dir", kubelet_dir),
    TEXT("cdi-dir", cdi_dir),
    TEXT("dev-root", dev_root),
    TEXT("host-driver-root", host_driver_root),
    TEXT("host-dev-root", host_dev_root),
    TEXT("cdi-hook", cdi_hook),
    TEXT("mps-dir", mps_dir),
    TEXT("state-file", state_file),
    TEXT("clients-file", clients_file),
    NUMBER("allow-reboot", allow_reboot),
    NUMBER("poll-interval-ms", poll_interval_ms),
    NUMBER("deadline-ms", deadline_ms),
    NUMBER("restart-max-ms", restart_max_ms),
};

_Static_assert(MIG_ARRAY_SIZE(fields) + MIG_ARGUMENT_FIXED < MIG_ARGUMENT_MAX, "room for all");

static const char **text_of(struct mig_helper_options *options, const struct field *field)
{
    void *member = (char *)options + field->offset;

    return member;
}

static unsigned *number_of(struct mig_helper_options *options, const struct field *field)
{
    void *member = (char *)options + field->offset;

    return member;
}

/* ---- writing ---- */

/* The word for an option; NULL without memory. */
static char *word_of(struct mig_helper_options *options, const struct field *field)
{
    char *word = NULL;
    int length = field->is_number
                     ? asprintf(&word, "--%s=%u", field->name, *number_of(options, field))
                     : asprintf(&word, "--%s=%s", field->name, *text_of(options, field));

    return length < 0 ? NULL : word;
}

void mig_helper_arguments_free(char *words[MIG_ARGUMENT_MAX])
{
    for (size_t i = 0; i < MIG_ARGUMENT_MAX; i++) {
        free(words[i]);
        words[i] = NULL;
    }
}

int mig_helper_arguments_make(const struct mig_helper_arguments *arguments,
                              char *ret[MIG_ARGUMENT_MAX], struct mig_error *error)
{
    struct mig_helper_options options = arguments->options;
    size_t count = MIG_ARGUMENT_FIXED;
    bool fine;

    memset(ret, 0, MIG_ARGUMENT_MAX * sizeof(*ret));
    ret[0] = strdup(MIG_HELPER_PROGRAM);
    ret[1] = strdup(arguments->protocol);
    fine = ret[0] && ret[1];
    if (asprintf(&ret[2], "%d", arguments->control) < 0) {
        ret[2] = NULL;
    }
    if (asprintf(&ret[3], "%d", (int)arguments->agent) < 0) {
        ret[3] = NULL;
    }
    fine = fine && ret[2] && ret[3];
    for (size_t i = 0; fine && i < MIG_ARRAY_SIZE(fields); i++) {
        if (fields[i].is_number ? *number_of(&options, &fields[i]) > 0
                                : *text_of(&options, &fields[i]) != NULL) {
            ret[count] = word_of(&options, &fields[i]);
            fine = ret[count++] != NULL;
        }
    }
    if (!fine) {
        mig_helper_arguments_free(ret);
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not start a process");
    }
    return 0;
}

/* ---- reading ---- */

static int refuse(struct mig_error *error, const char *word)
{
    (void)mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "'%.128s' is not understood",
                        word ? word : "");
    return mig_error_hint(error, MIG_E_USAGE,
                          MIG_HELPER_PROGRAM " is not for people: migd starts it");
}

int mig_helper_arguments_read_fixed(int argc, char **argv, struct mig_helper_arguments *ret,
                                    struct mig_error *error)
{
    uint64_t control = 0, agent = 0;

    if (argc < MIG_ARGUMENT_FIXED) {
        return refuse(error, argc > 1 ? argv[1] : "");
    }
    if (!mig_text_parse_u64(argv[2], FD_MAX, &control)) {
        return refuse(error, argv[2]);
    }
    if (!mig_text_parse_u64(argv[3], PID_MAX, &agent) || agent == 0) {
        return refuse(error, argv[3]);
    }
    ret->protocol = argv[1];
    ret->control = (int)control;
    ret->agent = (pid_t)agent;
    return 0;
}

static int read_word(const char *word, struct mig_helper_options *ret, struct mig_error *error)
{
    for (size_t i = 0; i < MIG_ARRAY_SIZE(fields); i++) {
        size_t length = strlen(fields[i].name);
        const char *value = word + 2 + length + 1;
        uint64_t number = 0;

        if (!mig_text_starts_with(word, "--") || strncmp(word + 2, fields[i].name, length) != 0 ||
            word[2 + length] != '=') {
            continue;
        }
        if (!fields[i].is_number) {
            *text_of(ret, &fields[i]) = value;
        } else if (mig_text_parse_u64(value, UINT32_MAX, &number)) {
            *number_of(ret, &fields[i]) = (unsigned)number;
        } else {
            return refuse(error, word);
        }
        return 0;
    }
    return refuse(error, word);
}

int mig_helper_arguments_read(int argc, char **argv, struct mig_helper_arguments *ret,
                              struct mig_error *error)
{
    int rc = 0;

    ret->options = (struct mig_helper_options){0};
    for (int i = MIG_ARGUMENT_FIXED; rc == 0 && i < argc; i++) {
        rc = read_word(argv[i], &ret->options, error);
    }
    return rc;
}
