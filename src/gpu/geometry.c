/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Geometries and the steps between them.
 *
 * A GPU instance is the same one when profile and start are the same. Compute instances are matched
 * by profile and place, exact places before unknown ones, so that a place that the driver did not
 * tell never turns into a change.
 */
#include "gpu/geometry.h"
#include "base/text.h"
#include <stdio.h>
#include <string.h>

void mig_geometry_of(const struct mig_layout *layout, struct mig_geometry *ret)
{
    *ret = (struct mig_geometry){.gi_count = layout->gi_count};
    for (unsigned i = 0; i < layout->gi_count; i++) {
        const struct mig_gi *gi = &layout->gis[i];
        const struct mig_profile *profile = &layout->model->profiles[gi->profile];
        struct mig_geometry_gi *to = &ret->gis[i];

        to->profile = profile->enum_value;
        to->start = gi->start;
        to->ci_count = gi->ci_count;
        for (unsigned j = 0; j < gi->ci_count; j++) {
            to->cis[j].profile = profile->ci_profiles[gi->cis[j].profile].enum_value;
            to->cis[j].start = gi->cis[j].start;
        }
    }
}

const struct mig_geometry_gi *mig_geometry_find(const struct mig_geometry *geometry,
                                                unsigned profile, unsigned start)
{
    for (unsigned i = 0; i < geometry->gi_count; i++) {
        if (geometry->gis[i].profile == profile && geometry->gis[i].start == start) {
            return &geometry->gis[i];
        }
    }
    return NULL;
}

/* Pairs the compute instances of two GPU instances; bit i of each mask = paired. */
static void match_cis(const struct mig_geometry_gi *a, const struct mig_geometry_gi *b,
                      unsigned *ret_a, unsigned *ret_b)
{
    *ret_a = *ret_b = 0;
    for (unsigned loose = 0; loose < 2; loose++) {
        for (unsigned i = 0; i < a->ci_count; i++) {
            for (unsigned j = 0; j < b->ci_count && !(*ret_a & (1u << i)); j++) {
                bool same_place = a->cis[i].start == b->cis[j].start ||
                                  (loose && (a->cis[i].start == MIG_START_ANY ||
                                             b->cis[j].start == MIG_START_ANY));

                if (!(*ret_b & (1u << j)) && same_place && a->cis[i].profile == b->cis[j].profile) {
                    *ret_a |= 1u << i;
                    *ret_b |= 1u << j;
                }
            }
        }
    }
}

bool mig_geometry_equal(const struct mig_geometry *a, const struct mig_geometry *b)
{
    if (a->gi_count != b->gi_count) {
        return false;
    }
    for (unsigned i = 0; i < a->gi_count; i++) {
        const struct mig_geometry_gi *gi = &a->gis[i];
        const struct mig_geometry_gi *same = mig_geometry_find(b, gi->profile, gi->start);
        unsigned matched_a, matched_b;

        if (!same || same->ci_count != gi->ci_count) {
            return false;
        }
        match_cis(gi, same, &matched_a, &matched_b);
        if (matched_a != (1u << gi->ci_count) - 1) {
            return false;
        }
    }
    return true;
}

static struct mig_step *add_step(struct mig_steps *steps, enum mig_step_kind kind,
                                 const struct mig_gi *gi)
{
    struct mig_step *step = &steps->steps[steps->count++];

    *step = (struct mig_step){
        .kind = kind,
        .gi_profile = gi->profile,
        .gi_start = gi->start,
        .ci_start = MIG_START_ANY,
        .gi_id = gi->id,
        .ci_id = MIG_ID_NONE,
    };
    return step;
}

static void destroy_ci(struct mig_steps *steps, const struct mig_gi *gi, unsigned index)
{
    struct mig_step *step = add_step(steps, MIG_STEP_DESTROY_CI, gi);

    step->ci_profile = gi->cis[index].profile;
    step->ci_start = gi->cis[index].start;
    step->ci_id = gi->cis[index].id;
}

/* What has to go of one GPU instance that is there. `gi` and `now` are two views of it. */
static void add_destroys(struct mig_steps *steps, const struct mig_gi *gi,
                         const struct mig_geometry_gi *now, const struct mig_geometry_gi *wanted,
                         const struct mig_geometry_gi *ours)
{
    unsigned keep = 0, known = 0, unused;

    if (!wanted && !ours) {
        return;
    }
    if (wanted) {
        match_cis(now, wanted, &keep, &unused);
    }
    if (ours) {
        match_cis(now, ours, &known, &unused);
    }
    for (unsigned i = 0; i < gi->ci_count; i++) {
        /* when the GPU instance goes, everything in it has to */
        if (!(keep & (1u << i)) && (!wanted || (known & (1u << i)))) {
            destroy_ci(steps, gi, i);
        }
    }
    if (!wanted) {
        add_step(steps, MIG_STEP_DESTROY_GI, gi);
    }
}

static int find_ci_profile(const struct mig_profile *profile, unsigned enum_value)
{
    for (int i = 0; i < profile->ci_profile_count; i++) {
        if (profile->ci_profiles[i].enum_value == enum_value) {
            return i;
        }
    }
    return MIG_UNKNOWN;
}

static int no_profile(const struct mig_model *model, struct mig_error *error)
{
    return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                         "%s no longer has a profile that is wanted back",
                         model ? model->name : "the GPU");
}

/* What has to come for one wanted GPU instance; `now` is NULL when it is not there. */
static int add_creates(struct mig_steps *steps, const struct mig_layout *layout,
                       const struct mig_geometry_gi *wanted, const struct mig_geometry_gi *now,
                       uint32_t gi_id, struct mig_error *error)
{
    const struct mig_model *model = layout->model;
    int profile = model ? mig_model_find_enum(model, wanted->profile) : MIG_UNKNOWN;
    struct mig_gi gi = {.start = wanted->start, .id = gi_id};
    unsigned present = 0, unused;

    if (profile < 0) {
        return no_profile(model, error);
    }
    gi.profile = (uint8_t)profile;
    if (now) {
        match_cis(wanted, now, &present, &unused);
    } else {
        add_step(steps, MIG_STEP_CREATE_GI, &gi);
    }
    for (unsigned i = 0; i < wanted->ci_count; i++) {
        int ci_profile = find_ci_profile(&model->profiles[profile], wanted->cis[i].profile);

        if (ci_profile < 0) {
            return no_profile(model, error);
        }
        if (!(present & (1u << i))) {
            struct mig_step *step = add_step(steps, MIG_STEP_CREATE_CI, &gi);

            step->ci_profile = (uint8_t)ci_profile;
            step->ci_start = wanted->cis[i].start;
        }
    }
    return 0;
}

int mig_geometry_steps(const struct mig_layout *layout, const struct mig_geometry *target,
                       const struct mig_geometry *other, struct mig_steps *ret,
                       struct mig_error *error)
{
    struct mig_geometry now;

    mig_geometry_of(layout, &now);
    ret->count = 0;
    for (unsigned i = 0; i < now.gi_count; i++) {
        const struct mig_geometry_gi *gi = &now.gis[i];

        add_destroys(ret, &layout->gis[i], gi, mig_geometry_find(target, gi->profile, gi->start),
                     mig_geometry_find(other, gi->profile, gi->start));
    }
    for (unsigned i = 0; i < target->gi_count; i++) {
        const struct mig_geometry_gi *wanted = &target->gis[i];
        const struct mig_geometry_gi *there =
            mig_geometry_find(&now, wanted->profile, wanted->start);
        int rc = add_creates(ret, layout, wanted, there,
                             there ? layout->gis[there - now.gis].id : MIG_ID_NONE, error);

        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

void mig_geometry_describe(const struct mig_layout *layout, char *buffer, size_t size)
{
    size_t length = 0;

    mig_text_copy(buffer, size, "no instances");
    for (unsigned i = 0; i < layout->gi_count && length < size; i++) {
        const struct mig_gi *gi = &layout->gis[i];
        int count = snprintf(buffer + length, size - length, "%s%s at %u%s", i > 0 ? ", " : "",
                             layout->model->profiles[gi->profile].name, gi->start,
                             gi->ci_count == 0 ? " (no compute instance)" : "");

        length += count > 0 ? (size_t)count : 0;
    }
}
