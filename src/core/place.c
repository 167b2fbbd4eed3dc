/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The placement rule.
 *
 * Three things decide: the units (no two instances overlap, each sits on a start of its profile),
 * the profile's own limit (max_instances), and the media engines (facts/README, section 3). Compute
 * slices need no rule: the lists of starts contain it. The state is kept as counts, so that a rule
 * is a comparison and never a walk over the instances.
 *
 * Compute instances are placed by the same kind of rule in the slots of their GPU instance, and by
 * a sum of slices too, because their placements are not always known.
 */
#include "core/place.h"

uint32_t mig_place_mask(const struct mig_profile *profile, unsigned start)
{
    if (profile->size == 0 || start >= MIG_UNIT_MAX) {
        return 0;
    }
    return (uint32_t)(((UINT64_C(1) << profile->size) - 1) << start);
}

static bool has_start(const uint8_t *starts, size_t count, unsigned start)
{
    for (size_t i = 0; i < count; i++) {
        if (starts[i] == start) {
            return true;
        }
    }
    return false;
}

bool mig_place_is_start(const struct mig_profile *profile, unsigned start)
{
    return has_start(profile->starts, profile->start_count, start);
}

bool mig_place_allows(const struct mig_model *model, const struct mig_occupancy *occupancy,
                      unsigned profile)
{
    const struct mig_profile *wanted = &model->profiles[profile];

    if (occupancy->gi_count >= MIG_GI_MAX || occupancy->counts[profile] >= wanted->max_instances) {
        return false;
    }
    switch (wanted->variant) {
    case MIG_VARIANT_NO_ME:
        return true;
    case MIG_VARIANT_ALL_ME:
        return occupancy->no_me_count == occupancy->gi_count;
    case MIG_VARIANT_ME:
        return occupancy->me_count == 0 && occupancy->all_me_count == 0;
    case MIG_VARIANT_BASE:
    case MIG_VARIANT_MEM2X:
    case MIG_VARIANT_GFX:
        break;
    }
    return occupancy->all_me_count == 0;
}

bool mig_place_fits(const struct mig_model *model, const struct mig_occupancy *occupancy,
                    unsigned profile, unsigned start)
{
    const struct mig_profile *wanted = &model->profiles[profile];

    return mig_place_is_start(wanted, start) &&
           (occupancy->mask & mig_place_mask(wanted, start)) == 0 &&
           mig_place_allows(model, occupancy, profile);
}

static void count_instance(const struct mig_model *model, struct mig_occupancy *occupancy,
                           unsigned profile, int by)
{
    uint8_t add = (uint8_t)by; /* counting down is adding 255 */
    enum mig_variant variant = model->profiles[profile].variant;

    occupancy->counts[profile] = (uint8_t)(occupancy->counts[profile] + add);
    occupancy->gi_count = (uint8_t)(occupancy->gi_count + add);
    if (variant == MIG_VARIANT_ME) {
        occupancy->me_count = (uint8_t)(occupancy->me_count + add);
    } else if (variant == MIG_VARIANT_ALL_ME) {
        occupancy->all_me_count = (uint8_t)(occupancy->all_me_count + add);
    } else if (variant == MIG_VARIANT_NO_ME) {
        occupancy->no_me_count = (uint8_t)(occupancy->no_me_count + add);
    }
}

void mig_place_add(const struct mig_model *model, struct mig_occupancy *occupancy, unsigned profile,
                   unsigned start)
{
    occupancy->mask |= mig_place_mask(&model->profiles[profile], start);
    count_instance(model, occupancy, profile, 1);
}

void mig_place_remove(const struct mig_model *model, struct mig_occupancy *occupancy,
                      unsigned profile, unsigned start)
{
    occupancy->mask &= ~mig_place_mask(&model->profiles[profile], start);
    count_instance(model, occupancy, profile, -1);
}

struct mig_occupancy mig_place_occupancy(const struct mig_layout *layout)
{
    struct mig_occupancy occupancy = {0};

    for (size_t i = 0; i < layout->gi_count; i++) {
        mig_place_add(layout->model, &occupancy, layout->gis[i].profile, layout->gis[i].start);
    }
    return occupancy;
}

unsigned mig_place_pairs(const struct mig_model *model, const struct mig_occupancy *occupancy)
{
    unsigned pairs = 0;

    for (unsigned i = 0; i < model->profile_count; i++) {
        const struct mig_profile *profile = &model->profiles[i];

        if (!mig_place_allows(model, occupancy, i)) {
            continue;
        }
        for (size_t j = 0; j < profile->start_count; j++) {
            pairs += (occupancy->mask & mig_place_mask(profile, profile->starts[j])) == 0;
        }
    }
    return pairs;
}

/*
 * Taking the lowest free start again and again is exact here: all instances of one profile have the
 * same size, so the one that ends first never costs a later one its place.
 */
unsigned mig_place_room(const struct mig_model *model, const struct mig_occupancy *occupancy,
                        unsigned profile)
{
    const struct mig_profile *wanted = &model->profiles[profile];
    struct mig_occupancy filled = *occupancy;
    unsigned room = 0;

    for (size_t i = 0; i < wanted->start_count; i++) {
        if (mig_place_fits(model, &filled, profile, wanted->starts[i])) {
            mig_place_add(model, &filled, profile, wanted->starts[i]);
            room++;
        }
    }
    return room;
}

/* The compute instances of one GPU instance while they are being placed. */
struct ci_search {
    const struct mig_profile *profile;
    const uint8_t *added;
    size_t added_count;
    uint8_t starts[MIG_CI_MAX];
};

static uint32_t ci_mask(const struct mig_ci_profile *profile, unsigned start)
{
    if (profile->size == 0 || start >= MIG_UNIT_MAX) {
        return 0;
    }
    return (uint32_t)(((UINT64_C(1) << profile->size) - 1) << start);
}

/* Depth is the number of compute instances, at most MIG_CI_MAX. */
static bool place_next_ci(struct ci_search *search, size_t index, uint32_t taken)
{
    const struct mig_ci_profile *wanted;

    if (index == search->added_count) {
        return true;
    }
    wanted = &search->profile->ci_profiles[search->added[index]];
    if (wanted->size == 0 || wanted->start_count == 0) {
        search->starts[index] = MIG_START_ANY;
        return place_next_ci(search, index + 1, taken);
    }
    for (size_t i = 0; i < wanted->start_count; i++) {
        uint32_t mask = ci_mask(wanted, wanted->starts[i]);

        if ((taken & mask) == 0) {
            search->starts[index] = wanted->starts[i];
            if (place_next_ci(search, index + 1, taken | mask)) {
                return true;
            }
        }
    }
    return false;
}

/* Slices and limits, which hold whatever is known of placements. */
static bool ci_counts_fit(const struct mig_profile *profile, const struct mig_ci *kept,
                          size_t kept_count, const uint8_t *added, size_t added_count)
{
    uint8_t counts[MIG_CI_PROFILE_MAX] = {0};
    unsigned slices = 0;

    for (size_t i = 0; i < kept_count + added_count; i++) {
        unsigned index = i < kept_count ? kept[i].profile : added[i - kept_count];
        const struct mig_ci_profile *ci = &profile->ci_profiles[index];

        slices += ci->slice_count;
        counts[index]++;
        if (counts[index] > ci->max_instances) {
            return false;
        }
    }
    return slices <= profile->slice_count;
}

bool mig_place_cis(const struct mig_profile *profile, const struct mig_ci *kept, size_t kept_count,
                   const uint8_t *added, size_t added_count, uint8_t *ret_starts)
{
    struct ci_search search = {.profile = profile, .added = added, .added_count = added_count};
    uint32_t taken = 0;

    if (kept_count + added_count > MIG_CI_MAX ||
        !ci_counts_fit(profile, kept, kept_count, added, added_count)) {
        return false;
    }
    for (size_t i = 0; i < kept_count; i++) {
        taken |= ci_mask(&profile->ci_profiles[kept[i].profile], kept[i].start);
    }
    if (!place_next_ci(&search, 0, taken)) {
        return false;
    }
    for (size_t i = 0; ret_starts && i < added_count; i++) {
        ret_starts[i] = search.starts[i];
    }
    return true;
}
