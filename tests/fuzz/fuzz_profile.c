/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Profile names. What parses is written back and parses to the same; what resolves on a model has a
 * name that resolves to the same device; what is refused says why.
 */
#include "fuzz.h"
#include <mig/profile.h>

static void check_round_trip(const struct mig_profile_name *name)
{
    struct mig_profile_name again;
    char text[256];

    mig_profile_format(name, text, sizeof(text));
    FUZZ_CHECK(mig_profile_parse(text, &again, NULL) == MIG_OK);
    FUZZ_CHECK(name->compute == again.compute && name->gpu == again.gpu);
    FUZZ_CHECK(name->memory == again.memory && name->sign == again.sign);
    FUZZ_CHECK(name->attribute_count == again.attribute_count);
    for (size_t i = 0; i < again.attribute_count; i++) {
        FUZZ_CHECK(strcmp(name->attributes[i], again.attributes[i]) == 0);
    }
}

static void check_model(const struct mig_model *model, const char *text)
{
    struct mig_device_kind kind, again;
    struct mig_error error = {0};
    int result = mig_profile_resolve(model, text, &kind, &error);

    if (result != MIG_OK) {
        FUZZ_CHECK(result == MIG_E_NO_FIT && *error.message && *error.hint);
        return;
    }
    FUZZ_CHECK(kind.profile < model->profile_count);
    FUZZ_CHECK(kind.ci_profile < model->profiles[kind.profile].ci_profile_count);
    FUZZ_CHECK(mig_profile_resolve(model, mig_device_kind_name(model, kind), &again, NULL) ==
               MIG_OK);
    FUZZ_CHECK(kind.profile == again.profile && kind.ci_profile == again.ci_profile);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    struct mig_profile_name name;
    struct mig_error error = {0};
    int result = mig_profile_parse(text, &name, &error);

    if (result == MIG_OK) {
        check_round_trip(&name);
        for (size_t i = 0; i < mig_catalog_count(); i++) {
            check_model(mig_catalog_get(i), text);
        }
    } else {
        FUZZ_CHECK(result == MIG_E_CONFIG && *error.message && *error.hint);
    }
    free(text);
    return 0;
}
