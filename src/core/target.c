/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From counts of MIG devices to wanted GPU instances.
 *
 * A count says nothing of how devices share GPU instances, so there are many equal packings. The
 * one that is there already is the best, since it is no change: GPU instances whose compute
 * instances are all wanted are taken over first. That can ask for more GPU instances than a dense
 * packing, so when such a target could not stand even without the idle instances, taking over is
 * limited to instances in use, and then given up. The rest is packed first fit, larger parts first;
 * compute instances have 1 to 4 slices in at most 4, or 7 when there is one GPU instance only, and
 * for these sizes that is the fewest GPU instances.
 */
#include "core/place.h"
#include <string.h>

/* Which GPU instances of the current layout may be taken over. */
enum take_over { TAKE_ALL, TAKE_IN_USE, TAKE_NONE };

/* A packing that is being made. kept is parallel to target->gis: NULL for a new GPU instance. */
struct packing {
    const struct mig_model *model;
    struct mig_target *target;
    const struct mig_gi *kept[MIG_GI_MAX];
    uint32_t counts[MIG_PROFILE_MAX][MIG_CI_PROFILE_MAX]; /* devices still without a place */
};

/*
 * The index that stands for all compute profiles of the same name in a GPU-instance profile: a
 * driver may list one twice, and a device is counted by its name.
 */
static unsigned ci_by_name(const struct mig_profile *profile, unsigned ci_profile)
{
    for (unsigned i = 0; i < ci_profile; i++) {
        if (strcmp(profile->ci_profiles[i].name, profile->ci_profiles[ci_profile].name) == 0) {
            return i;
        }
    }
    return ci_profile;
}

/* Takes the compute instances of `gi` off the counts; false, and nothing taken, if one is too many.
 */
static bool take_cis(struct packing *packing, const struct mig_gi *gi)
{
    const struct mig_profile *profile = &packing->model->profiles[gi->profile];
    uint32_t *counts = packing->counts[gi->profile];

    for (size_t i = 0; i < gi->ci_count; i++) {
        unsigned ci = ci_by_name(profile, gi->cis[i].profile);

        if (counts[ci] == 0) {
            for (size_t j = 0; j < i; j++) {
                counts[ci_by_name(profile, gi->cis[j].profile)]++;
            }
            return false;
        }
        counts[ci]--;
    }
    return true;
}

static void take_over_gi(struct packing *packing, const struct mig_gi *gi)
{
    struct mig_target *target = packing->target;
    struct mig_target_gi *wanted = &target->gis[target->gi_count];

    *wanted = (struct mig_target_gi){
        .profile = gi->profile, .start = MIG_START_ANY, .ci_count = gi->ci_count};
    for (size_t i = 0; i < gi->ci_count; i++) {
        wanted->ci_profiles[i] = gi->cis[i].profile;
    }
    packing->kept[target->gi_count++] = gi;
}

/* Those with more compute instances first: they cost most to rebuild. */
static void take_over_gis(struct packing *packing, const struct mig_layout *current, bool in_use)
{
    for (size_t ci_count = MIG_CI_MAX; ci_count > 0; ci_count--) {
        for (size_t i = 0; i < current->gi_count; i++) {
            const struct mig_gi *gi = &current->gis[i];

            if (gi->in_use == in_use && gi->ci_count == ci_count && take_cis(packing, gi)) {
                take_over_gi(packing, gi);
            }
        }
    }
}

/* True when `ci_profile` can be added to the wanted GPU instance, beside what stays in it. */
static bool has_room(const struct packing *packing, size_t index, unsigned ci_profile)
{
    const struct mig_target_gi *wanted = &packing->target->gis[index];
    const struct mig_gi *kept = packing->kept[index];
    size_t kept_count = kept ? kept->ci_count : 0, added_count = wanted->ci_count - kept_count;
    uint8_t added[MIG_CI_MAX];

    if (wanted->ci_count >= MIG_CI_MAX) {
        return false;
    }
    memcpy(added, wanted->ci_profiles + kept_count, added_count);
    added[added_count] = (uint8_t)ci_profile;
    return mig_place_cis(&packing->model->profiles[wanted->profile], kept ? kept->cis : NULL,
                         kept_count, added, added_count + 1, NULL);
}

/* First fit; opens a GPU instance when none has room. False when there may be no further one. */
static bool pack_device(struct packing *packing, unsigned profile, unsigned ci_profile)
{
    struct mig_target *target = packing->target;
    size_t index = 0;

    while (index < target->gi_count &&
           (target->gis[index].profile != profile || !has_room(packing, index, ci_profile))) {
        index++;
    }
    if (index == MIG_GI_MAX) {
        return false;
    }
    if (index == target->gi_count) {
        target->gis[index] =
            (struct mig_target_gi){.profile = (uint8_t)profile, .start = MIG_START_ANY};
        packing->kept[index] = NULL;
        target->gi_count++;
    }
    target->gis[index].ci_profiles[target->gis[index].ci_count++] = (uint8_t)ci_profile;
    return true;
}

/* All devices of one GPU-instance profile, larger parts first. */
static bool pack_profile(struct packing *packing, unsigned profile)
{
    const struct mig_profile *gi = &packing->model->profiles[profile];

    for (unsigned slices = gi->slice_count; slices > 0; slices--) {
        for (unsigned i = 0; i < gi->ci_profile_count; i++) {
            uint32_t count =
                gi->ci_profiles[i].slice_count == slices ? packing->counts[profile][i] : 0;

            for (; count > 0; count--) {
                if (!pack_device(packing, profile, i)) {
                    return false;
                }
            }
        }
    }
    return true;
}

static bool count_devices(struct packing *packing, const struct mig_device_count *devices,
                          size_t device_count, struct mig_error *error)
{
    for (size_t i = 0; i < device_count; i++) {
        struct mig_device_kind kind = devices[i].kind;
        const struct mig_profile *profile;
        uint32_t *count;

        if (kind.profile >= packing->model->profile_count ||
            kind.ci_profile >= packing->model->profiles[kind.profile].ci_profile_count) {
            mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                          "a wanted MIG device is of no profile of %s", packing->model->name);
            return false;
        }
        profile = &packing->model->profiles[kind.profile];
        count = &packing->counts[kind.profile][ci_by_name(profile, kind.ci_profile)];
        *count = devices[i].count > UINT32_MAX - *count ? UINT32_MAX : *count + devices[i].count;
    }
    return true;
}

static int refuse_too_many(const struct mig_model *model, const struct mig_device_count *devices,
                           size_t device_count, struct mig_error *error)
{
    uint64_t total = 0;

    for (size_t i = 0; i < device_count; i++) {
        total += devices[i].count;
    }
    mig_error_set(error, MIG_E_NO_FIT, MIG_DOMAIN_PLAN, MIG_REFUSAL_TOO_MUCH,
                  "%llu MIG devices need more GPU instances than a GPU can have",
                  (unsigned long long)total);
    return mig_error_hint(error, MIG_E_NO_FIT,
                          "%s carries at most %u MIG devices that fill their "
                          "GPU instance",
                          model->name, model->max_mig_devices);
}

/*
 * True when the GPU instances from `index` on fit beside what is placed. Equal profiles stand next
 * to each other and are placed at rising starts, so no arrangement is tried twice.
 */
static bool fits_from(const struct mig_model *model, const struct mig_target *sorted, size_t index,
                      unsigned first, const struct mig_occupancy *occupancy)
{
    const struct mig_profile *profile;
    unsigned wanted;

    if (index == sorted->gi_count) {
        return true;
    }
    wanted = sorted->gis[index].profile;
    profile = &model->profiles[wanted];
    for (unsigned i = first; i < profile->start_count; i++) {
        struct mig_occupancy next = *occupancy;
        bool same = index + 1 < sorted->gi_count && sorted->gis[index + 1].profile == wanted;

        if (!mig_place_fits(model, occupancy, wanted, profile->starts[i])) {
            continue;
        }
        mig_place_add(model, &next, wanted, profile->starts[i]);
        if (fits_from(model, sorted, index + 1, same ? i + 1 : 0, &next)) {
            return true;
        }
    }
    return false;
}

/*
 * Could the target stand on the GPU if all idle instances went? Instances in use that were taken
 * over are where they are. Where placements are not known, it is not for us to say.
 */
static bool could_stand(const struct packing *packing)
{
    const struct mig_model *model = packing->model;
    const struct mig_target *target = packing->target;
    struct mig_target sorted = {0};
    struct mig_occupancy occupancy = {0};
    unsigned units = 0;

    if (!mig_model_is_placeable(model)) {
        return true;
    }
    for (size_t i = 0; i < target->gi_count; i++) {
        units += model->profiles[target->gis[i].profile].size;
        if (packing->kept[i] && packing->kept[i]->in_use) {
            mig_place_add(model, &occupancy, packing->kept[i]->profile, packing->kept[i]->start);
        }
    }
    for (unsigned profile = model->profile_count; profile-- > 0;) {
        for (size_t i = 0; i < target->gi_count; i++) {
            bool fixed = packing->kept[i] && packing->kept[i]->in_use;

            if (!fixed && target->gis[i].profile == profile) {
                sorted.gis[sorted.gi_count++] = target->gis[i];
            }
        }
    }
    return units <= model->unit_count && fits_from(model, &sorted, 0, 0, &occupancy);
}

int mig_target_from_devices(const struct mig_model *model, const struct mig_layout *current,
                            const struct mig_device_count *devices, size_t device_count,
                            struct mig_target *ret, struct mig_error *error)
{
    bool has_current = current && current->model == model;
    bool packed = false;

    for (enum take_over mode = has_current ? TAKE_ALL : TAKE_NONE; mode <= TAKE_NONE; mode++) {
        struct packing packing = {.model = model, .target = ret};

        *ret = (struct mig_target){0};
        packed = true;
        if (!count_devices(&packing, devices, device_count, error)) {
            return MIG_E_USAGE;
        }
        if (mode != TAKE_NONE) {
            take_over_gis(&packing, current, true);
        }
        if (mode == TAKE_ALL) {
            take_over_gis(&packing, current, false);
        }
        for (unsigned i = 0; packed && i < model->profile_count; i++) {
            packed = pack_profile(&packing, i);
        }
        if (packed && could_stand(&packing)) {
            return MIG_OK;
        }
    }
    return packed ? MIG_OK : refuse_too_many(model, devices, device_count, error);
}

void mig_target_from_layout(const struct mig_layout *layout, struct mig_target *ret)
{
    *ret = (struct mig_target){.gi_count = layout->gi_count};
    for (size_t i = 0; i < layout->gi_count; i++) {
        const struct mig_gi *gi = &layout->gis[i];
        struct mig_target_gi *wanted = &ret->gis[i];

        *wanted = (struct mig_target_gi){
            .profile = gi->profile, .start = gi->start, .ci_count = gi->ci_count};
        for (size_t j = 0; j < gi->ci_count; j++) {
            wanted->ci_profiles[j] = gi->cis[j].profile;
        }
    }
}
