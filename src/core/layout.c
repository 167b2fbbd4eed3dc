/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions about the placed state of one GPU. A layout may come from anywhere (a driver, a file, a
 * test), so mig_layout_check looks at every index before it is used; the others rely on it.
 */
#include "core/place.h"

static int refuse(struct mig_error *error, const char *what, const struct mig_layout *layout,
                  size_t index)
{
    const struct mig_gi *gi = &layout->gis[index];

    return mig_error_set(error, MIG_E_NO_FIT, MIG_DOMAIN_PLAN, MIG_REFUSAL_NONE,
                         "%s at %u cannot be on %s: %s", layout->model->profiles[gi->profile].name,
                         gi->start, layout->model->name, what);
}

/* Whether they fit beside each other is not asked: they are there, and the driver knows better. */
static int check_cis(const struct mig_layout *layout, size_t index, struct mig_error *error)
{
    const struct mig_gi *gi = &layout->gis[index];
    const struct mig_profile *profile = &layout->model->profiles[gi->profile];

    if (gi->ci_count > MIG_CI_MAX) {
        return refuse(error, "it has too many compute instances", layout, index);
    }
    for (size_t i = 0; i < gi->ci_count; i++) {
        if (gi->cis[i].profile >= profile->ci_profile_count) {
            return refuse(error, "it has a compute instance of an unknown profile", layout, index);
        }
    }
    return MIG_OK;
}

static int check_gi(const struct mig_layout *layout, size_t index,
                    const struct mig_occupancy *occupancy, struct mig_error *error)
{
    const struct mig_gi *gi = &layout->gis[index];
    const struct mig_profile *profile = &layout->model->profiles[gi->profile];

    if (!mig_place_is_start(profile, gi->start)) {
        return refuse(error, "that is no start of this profile", layout, index);
    }
    if (occupancy->mask & mig_place_mask(profile, gi->start)) {
        return refuse(error, "it overlaps another instance", layout, index);
    }
    if (!mig_place_allows(layout->model, occupancy, gi->profile)) {
        return refuse(error, "its limit or the media engines rule it out beside the others", layout,
                      index);
    }
    return check_cis(layout, index, error);
}

int mig_layout_check(const struct mig_layout *layout, struct mig_error *error)
{
    struct mig_occupancy occupancy = {0};

    if (!layout->model) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "the layout is of no known GPU model");
    }
    if (layout->gi_count > MIG_GI_MAX) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "%u GPU instances are more than the %d that a GPU can have",
                             layout->gi_count, MIG_GI_MAX);
    }
    for (size_t i = 0; i < layout->gi_count; i++) {
        const struct mig_gi *gi = &layout->gis[i];
        int result;

        if (gi->profile >= layout->model->profile_count) {
            return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                                 "GPU instance %zu has profile number %u, %s has %u", i,
                                 gi->profile, layout->model->name, layout->model->profile_count);
        }
        result = check_gi(layout, i, &occupancy, error);
        if (result != MIG_OK) {
            return result;
        }
        mig_place_add(layout->model, &occupancy, gi->profile, gi->start);
    }
    return MIG_OK;
}

uint32_t mig_layout_mask(const struct mig_layout *layout)
{
    return mig_place_occupancy(layout).mask;
}

unsigned mig_layout_room(const struct mig_layout *layout, unsigned profile)
{
    struct mig_occupancy occupancy = mig_place_occupancy(layout);

    if (profile >= layout->model->profile_count) {
        return 0;
    }
    return mig_place_room(layout->model, &occupancy, profile);
}

unsigned mig_layout_future_placements(const struct mig_layout *layout)
{
    struct mig_occupancy occupancy = mig_place_occupancy(layout);

    return mig_place_pairs(layout->model, &occupancy);
}
