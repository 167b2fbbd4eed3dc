/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Look-up in the generated catalogue.
 *
 * Needs libc only, so that a program can link the catalogue without the rest of libmig. A name is
 * compared without case, with '-', '_' and ' ' equal and with or without the vendor's name, because
 * drivers, sellers and people spell one board in all these ways; the generator makes sure that no
 * two models share a name under these rules.
 */
#include "catalog/catalog.h"
#include <ctype.h>
#include <string.h>
#include <strings.h>

#define VENDOR "nvidia "

size_t mig_catalog_count(void)
{
    return mig_catalog_model_count;
}

const struct mig_model *mig_catalog_get(size_t index)
{
    return index < mig_catalog_model_count ? &mig_catalog_models[index] : NULL;
}

static char plain(char character)
{
    if (character == '-' || character == '_') {
        return ' ';
    }
    return (char)tolower((unsigned char)character);
}

static const char *without_vendor(const char *name)
{
    size_t length = strlen(VENDOR);

    return strncasecmp(name, VENDOR, length) == 0 ? name + length : name;
}

/* How `text` relates to a known name. */
enum match { MATCH_NONE, MATCH_FIRST_WORDS, MATCH_WHOLE };

static enum match match_name(const char *text, const char *name)
{
    text = without_vendor(text);
    name = without_vendor(name);
    while (*text && plain(*text) == plain(*name)) {
        text++;
        name++;
    }
    if (*text) {
        return MATCH_NONE;
    }
    if (!*name) {
        return MATCH_WHOLE;
    }
    return plain(*name) == ' ' ? MATCH_FIRST_WORDS : MATCH_NONE;
}

static enum match match_model(const char *text, const struct mig_model *model)
{
    enum match best = match_name(text, model->name);

    for (size_t i = 0; i < model->alias_count; i++) {
        enum match match = match_name(text, model->aliases[i]);

        best = match > best ? match : best;
    }
    return best;
}

const struct mig_model *mig_catalog_find_name(const char *name)
{
    const struct mig_model *by_first_words = NULL;
    size_t count = 0;

    /* words without a digit ("RTX", "custom") are no name of a product */
    bool may_be_short = name && strpbrk(name, "0123456789");

    for (size_t i = 0; name && *name && i < mig_catalog_model_count; i++) {
        const struct mig_model *model = &mig_catalog_models[i];
        enum match match = match_model(name, model);

        if (match == MATCH_WHOLE) {
            return model;
        }
        if (match == MATCH_FIRST_WORDS && may_be_short) {
            by_first_words = model;
            count++;
        }
    }
    return count == 1 ? by_first_words : NULL;
}

const struct mig_model *mig_catalog_find_pci(uint32_t device, uint32_t subsystem)
{
    const struct mig_model *first = NULL;

    for (size_t i = 0; i < mig_catalog_model_count; i++) {
        const struct mig_model *model = &mig_catalog_models[i];

        for (size_t j = 0; j < model->pci_id_count; j++) {
            const struct mig_pci_id *id = &model->pci_ids[j];

            if (id->device != device) {
                continue;
            }
            if (subsystem != 0 && id->subsystem == subsystem) {
                return model;
            }
            if (!first) {
                first = model;
            }
        }
    }
    return first;
}

const char *mig_architecture_name(enum mig_architecture architecture)
{
    switch (architecture) {
    case MIG_ARCH_AMPERE:
        return "ampere";
    case MIG_ARCH_HOPPER:
        return "hopper";
    case MIG_ARCH_BLACKWELL:
        return "blackwell";
    case MIG_ARCH_UNKNOWN:
        break;
    }
    return "unknown";
}

const char *mig_confidence_name(enum mig_confidence confidence)
{
    switch (confidence) {
    case MIG_INFERRED:
        return "inferred";
    case MIG_DOCUMENTED:
        return "documented";
    case MIG_CAPTURED:
        return "captured";
    case MIG_FROM_DRIVER:
        return "from driver";
    }
    return "unknown";
}
