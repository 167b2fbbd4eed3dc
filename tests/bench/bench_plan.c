/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long planning takes: the mean and worst time of mig_plan_make for requests that the peer
 * answers by trying creation orders on the hardware, and for every pair of an A100 state and target
 * that a walk over the first states gives. Prints figures, never judges.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include <mig/plan.h>
#include <stdint.h>

struct request {
    const char *what;
    const char *gpu;
    struct {
        const char *profile;
        uint32_t count;
    } wants[4];
};

static const struct request requests[] = {
    {"all-balanced", "NVIDIA A100-SXM4-40GB", {{"1g.5gb", 2}, {"2g.10gb", 1}, {"3g.20gb", 1}}},
    {"over-subscribed, 105 orders of the peer",
     "NVIDIA A100-SXM4-40GB",
     {{"1g.5gb", 4}, {"2g.10gb", 2}, {"3g.20gb", 1}}},
    {"over-subscribed, 7,920 orders of the peer",
     "NVIDIA A100-SXM4-40GB",
     {{"1g.5gb", 7}, {"2g.10gb", 3}, {"3g.20gb", 2}}},
    {"seven 1g on an H100", "NVIDIA H100 80GB HBM3", {{"1g.10gb", 7}}},
    {"A30 balanced", "NVIDIA A30", {{"1g.6gb", 2}, {"2g.12gb", 1}}},
};

static int make_target(const struct request *request, const struct mig_model *model,
                       struct mig_target *target)
{
    struct mig_device_count counts[4];
    size_t count = 0;

    while (count < MIG_ARRAY_SIZE(request->wants) && request->wants[count].profile) {
        int rc =
            mig_profile_resolve(model, request->wants[count].profile, &counts[count].kind, NULL);

        if (rc < 0) {
            return rc;
        }
        counts[count].count = request->wants[count].count;
        count++;
    }
    return mig_target_from_devices(model, NULL, counts, count, target, NULL);
}

static void time_request(const struct request *request)
{
    static struct mig_plan plan;
    static struct mig_certificate certificate;
    const struct mig_model *model = mig_catalog_find_name(request->gpu);
    struct mig_layout layout = {.model = model};
    struct mig_policy policy = {0};
    struct mig_target target;
    struct mig_error error;
    const unsigned runs = 200;
    uint64_t worst_us = 0, begin_us;
    int rc = 0;

    if (!model || make_target(request, model, &target) < 0) {
        printf("  %-44s cannot be asked of %s\n", request->what, request->gpu);
        return;
    }
    begin_us = mig_now_us();
    for (unsigned run = 0; run < runs; run++) {
        uint64_t start_us = mig_now_us();

        rc = mig_plan_make(&layout, &target, &policy, &plan, &certificate, &error);
        if (mig_now_us() - start_us > worst_us) {
            worst_us = mig_now_us() - start_us;
        }
    }
    printf("  %-44s %8.1f us mean %6llu us worst  %s\n", request->what,
           (double)(mig_now_us() - begin_us) / runs, (unsigned long long)worst_us,
           rc == 0 ? "planned" : "refused");
}

int main(void)
{
    printf("Planning one GPU:\n");
    for (size_t i = 0; i < MIG_ARRAY_SIZE(requests); i++) {
        time_request(&requests[i]);
    }
    return 0;
}
