/* SPDX-License-Identifier: Apache-2.0 */
/* One rule after the other; whoever asked for a name gets that one or an error, never another. */
#include "deviceplugin/dp_choice.h"
#include <stdio.h>
#include <string.h>

#define NAMED "default" /* what the fallback "named" looks for */

static size_t find(const struct mig_dp_choice *choice, const char *name)
{
    for (size_t i = 0; i < choice->count; i++) {
        if (strcmp(choice->configs[i], name) == 0) {
            return i;
        }
    }
    return MIG_DP_CHOICE_NONE;
}

static int hint_names(const struct mig_dp_choice *choice, struct mig_error *error)
{
    char names[MIG_ERROR_HINT_SIZE - 64] = "";

    for (size_t i = 0; i < choice->count; i++) {
        size_t used = strlen(names);

        if (used + strlen(choice->configs[i]) + 8 > sizeof(names)) {
            snprintf(names + used, sizeof(names) - used, ", ...");
            break;
        }
        snprintf(names + used, sizeof(names) - used, "%s%s", i ? ", " : "", choice->configs[i]);
    }
    return mig_error_hint(error, MIG_E_CONFIG, "%s%s",
                          choice->count ? "the configs are " : "there are no configs", names);
}

static int find_named(const struct mig_dp_choice *choice, const char *who, const char *name,
                      size_t *ret, struct mig_error *error)
{
    *ret = find(choice, name);
    if (*ret != MIG_DP_CHOICE_NONE) {
        return MIG_OK;
    }
    (void)mig_error_set(error, MIG_E_CONFIG, MIG_DOMAIN_CONFIG, 0,
                        "%s asks for the config '%.128s' of the device plugin, which is not in %s",
                        who, name, choice->source);
    return hint_names(choice, error);
}

static bool is_word(const char *at, size_t length, const char *word)
{
    return strlen(word) == length && strncmp(at, word, length) == 0;
}

int mig_dp_choose(const struct mig_dp_choice *choice, size_t *ret, struct mig_error *error)
{
    *ret = MIG_DP_CHOICE_NONE;
    if (choice->wanted[0]) {
        return find_named(choice, choice->label, choice->wanted, ret, error);
    }
    if (choice->default_name[0]) {
        return find_named(choice, "the default", choice->default_name, ret, error);
    }
    for (const char *at = choice->fallbacks; *at;) {
        size_t length = strcspn(at, ",");

        if (is_word(at, length, "named")) {
            *ret = find(choice, NAMED);
        } else if (is_word(at, length, "single") && choice->count == 1) {
            *ret = 0;
        } else if (is_word(at, length, "empty")) {
            return MIG_OK;
        }
        if (*ret != MIG_DP_CHOICE_NONE) {
            return MIG_OK;
        }
        at += length + (at[length] == ',');
    }
    (void)mig_error_set(error, MIG_E_CONFIG, MIG_DOMAIN_CONFIG, 0,
                        "the node has no label %s, there is no default config of the device "
                        "plugin, and no fallback (%s) finds one in %s",
                        choice->label, choice->fallbacks, choice->source);
    return hint_names(choice, error);
}
