/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The planner of one GPU: from what is there to what is wanted, disturbing nobody, or a proof that
 * it cannot be.
 *
 * Pure: no I/O, no clock, no allocation, no globals. Exact: the search covers every placement. The
 * order of preference among all ways to reach the target is
 *   1. never touch an instance that is in use (unless the policy names it, and then as few of those
 *      as possible),
 *   2. destroy as few GPU instances as possible, then as few compute instances of the kept ones,
 *   3. create as few as possible (GPU, then compute instances),
 *   4. leave the most future placements (pairs of profile and start that are still free, over all
 * profiles),
 *   5. the lowest starts, of the larger instances first.
 */
#ifndef MIG_PLAN_H
#define MIG_PLAN_H

#include <mig/profile.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MIG_GI_MAX 16 /* GPU instances of one GPU (drivers allow 8; hardware ids go to 14) */
#define MIG_CI_MAX 8  /* compute instances of one GPU instance */
#define MIG_STEP_MAX \
    304 /* everything destroyed and created again: 2 * GI_MAX * (1 + CI_MAX), and room */
#define MIG_HOLDER_SIZE 96
#define MIG_START_ANY                                                           \
    0xff /* in a target: wherever it is best; in a layout: not known (CIs only) \
          */
#define MIG_ID_NONE 0xffffffffu

/* A compute instance that exists. */
struct mig_ci {
    uint8_t profile; /* index into the GI profile's ci_profiles */
    uint8_t start;   /* in the GI's slots; MIG_START_ANY when the driver does not say */
    bool in_use;
    uint32_t id; /* the driver's */
};

/* A GPU instance that exists. `in_use` covers every user of it or of one of its compute instances.
 */
struct mig_gi {
    uint8_t profile; /* index into model->profiles */
    uint8_t start;   /* units */
    bool in_use;
    uint8_t ci_count;
    uint32_t id; /* the driver's */
    struct mig_ci cis[MIG_CI_MAX];
    char holder[MIG_HOLDER_SIZE]; /* who uses it, "python3 (pid 4242)"; "" = nobody or not known */
};

/* The placed state of one GPU. */
struct mig_layout {
    const struct mig_model *model;
    uint8_t gi_count;
    struct mig_gi gis[MIG_GI_MAX];
};

/* A GPU instance that is wanted. */
struct mig_target_gi {
    uint8_t profile;
    uint8_t start; /* MIG_START_ANY, or the one placement that will do */
    uint8_t ci_count;
    uint8_t ci_profiles[MIG_CI_MAX];
};

/* All that is wanted on one GPU: what is not in it has to go. */
struct mig_target {
    uint8_t gi_count;
    struct mig_target_gi gis[MIG_GI_MAX];
};

/* A count of equal MIG devices, as in `1c.3g.20gb: 3`. */
struct mig_device_count {
    struct mig_device_kind kind;
    uint32_t count;
};

/*
 * Packs MIG devices into GPU instances: devices that fill their GI get one each; parts share a GI,
 * larger first, as nvidia-mig-parted does. GPU instances of `current` (may be NULL) whose compute
 * instances are all wanted are taken as they are first, so that a different but equal packing is no
 * change. MIG_E_NO_FIT when there are more than MIG_GI_MAX instances.
 */
MIG_PUBLIC int mig_target_from_devices(const struct mig_model *model,
                                       const struct mig_layout *current,
                                       const struct mig_device_count *devices, size_t device_count,
                                       struct mig_target *ret, struct mig_error *error);

/* The target that keeps `layout` as it is (each instance at its place); add to it, or take away, to
 * change it. */
MIG_PUBLIC void mig_target_from_layout(const struct mig_layout *layout, struct mig_target *ret);

/* Bit i stands for layout->gis[i]. Default (zeroes): in use = never touched, idle = may go. */
struct mig_policy {
    uint32_t may_go;  /* in-use instances that may be destroyed all the same */
    uint32_t protect; /* idle instances to treat as in use */
};

enum mig_step_kind {
    MIG_STEP_DESTROY_CI = 0,
    MIG_STEP_DESTROY_GI,
    MIG_STEP_CREATE_GI,
    MIG_STEP_CREATE_CI
};

struct mig_step {
    enum mig_step_kind kind;
    uint8_t gi_profile, gi_start; /* identity of the GI on this GPU */
    uint8_t ci_profile,
        ci_start;          /* CI steps only; ci_start MIG_START_ANY = let the driver choose */
    uint32_t gi_id, ci_id; /* the driver's, where they exist already; else MIG_ID_NONE */
};

struct mig_plan {
    uint16_t step_count;
    struct mig_step steps[MIG_STEP_MAX]; /* in an order that works: destroys first */
    uint8_t kept_count;                  /* GPU instances that stay */
    uint8_t gi_destroy_count, gi_create_count;
    uint8_t ci_destroy_count, ci_create_count; /* inside kept GPU instances only */
    uint16_t future_placements;                /* of the result, as in preference 4 */
    uint32_t estimate_ms;                      /* from facts/timings.tsv; 0 = nothing to do */
    struct mig_layout result;                  /* new instances have ids MIG_ID_NONE */
};

enum mig_refusal {
    MIG_REFUSAL_NONE = 0,
    MIG_REFUSAL_NO_TABLE, /* the model's placements are not known */
    MIG_REFUSAL_TOO_MUCH, /* would not fit on an empty GPU either */
    MIG_REFUSAL_BLOCKED,  /* would fit on an empty GPU; instances in use are in the way */
};

/*
 * Why there is no plan, so that a person can act and a program can check it.
 *
 * `unplaced` and `nearest` belong together: nearest holds every instance that must stay and, of the
 * target, as many GPU instances as can be; unplaced are the others. An instance that must stay
 * counts as one of the target's where it can be one; of equally many the preferences above decide.
 *
 * With MIG_REFUSAL_BLOCKED, `blockers` is a smallest set of in-use instances without which the
 * target can be reached (0 < blocker_count); of equally small sets the one with the lowest starts.
 * Those that the target has no place for come first, each kind by ascending start.
 */
struct mig_certificate {
    enum mig_refusal kind;
    uint8_t unplaced_count;
    uint8_t unplaced[MIG_GI_MAX]; /* indices into target->gis */
    uint8_t blocker_count;
    uint8_t blockers[MIG_GI_MAX];   /* indices into layout->gis */
    bool blocker_moves[MIG_GI_MAX]; /* the target has a place for it elsewhere (else it has to end)
                                     */
    struct mig_layout nearest;
};

/*
 * Plans. Returns 0 and fills ret; or MIG_E_NO_FIT / MIG_E_BUSY with the certificate and an error
 * text that says it in words. `ret_certificate` may be NULL. Takes well under a millisecond for any
 * state of any known GPU.
 *
 * A GPU whose placements are not known can still be planned for as long as nothing has to be
 * created. MIG_E_USAGE when the target is not one of this model; MIG_E_FAILED (certificate kind
 * NONE) when the layout is not legal on it, or when its table allows so many arrangements that an
 * exact answer cannot be had in bounded time; no known GPU's does.
 */
MIG_PUBLIC int mig_plan_make(const struct mig_layout *layout, const struct mig_target *target,
                             const struct mig_policy *policy, struct mig_plan *ret,
                             struct mig_certificate *ret_certificate, struct mig_error *error);

/* How many more instances of `profile` could be created now, beside what is there (exact, like
 * -lgip's "Free"). */
MIG_PUBLIC unsigned mig_layout_room(const struct mig_layout *layout, unsigned profile);

/* Number of (profile, start) pairs that could still be created, each alone. */
MIG_PUBLIC unsigned mig_layout_future_placements(const struct mig_layout *layout);

/* MIG_OK if no two instances overlap, every start is legal and the media rules hold; else says what
 * is wrong. */
MIG_PUBLIC int mig_layout_check(const struct mig_layout *layout, struct mig_error *error);

/* Units taken, bit i = unit i. */
MIG_PUBLIC uint32_t mig_layout_mask(const struct mig_layout *layout);

#ifdef __cplusplus
}
#endif
#endif
