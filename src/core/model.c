/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking things up in a model. A profile has three keys (name, NVML enum, driver id) and none
 * stands for another: driver id 14 is a 2g on one board and a 1g on the next.
 */
#include <mig/model.h>
#include <string.h>

bool mig_model_is_placeable(const struct mig_model *model)
{
    if (!model || model->unit_count == 0 || model->profile_count == 0) {
        return false;
    }
    for (size_t i = 0; i < model->profile_count; i++) {
        if (model->profiles[i].size == 0 || model->profiles[i].start_count == 0) {
            return false;
        }
    }
    return true;
}

int mig_model_find_profile(const struct mig_model *model, const char *name)
{
    for (int i = 0; i < model->profile_count; i++) {
        if (strcmp(model->profiles[i].name, name) == 0) {
            return i;
        }
    }
    return MIG_UNKNOWN;
}

int mig_model_find_enum(const struct mig_model *model, unsigned enum_value)
{
    for (int i = 0; i < model->profile_count; i++) {
        if (model->profiles[i].enum_value == enum_value) {
            return i;
        }
    }
    return MIG_UNKNOWN;
}

int mig_model_find_driver_id(const struct mig_model *model, int driver_id)
{
    for (int i = 0; driver_id >= 0 && i < model->profile_count; i++) {
        if (model->profiles[i].driver_id == driver_id) {
            return i;
        }
    }
    return MIG_UNKNOWN;
}

int mig_profile_default_ci(const struct mig_profile *profile)
{
    for (int i = 0; i < profile->ci_profile_count; i++) {
        if (profile->ci_profiles[i].is_default) {
            return i;
        }
    }
    return MIG_UNKNOWN;
}
