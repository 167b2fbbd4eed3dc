/* SPDX-License-Identifier: Apache-2.0 */
/* Backoff, token bucket and retry classes. */
#include "kube/policy.h"
#include "base/text.h"

#define TOKEN 1000u /* a token, in thousandths */

uint64_t mig_kube_random_below(struct mig_kube_random *random, uint64_t limit)
{
    uint64_t mixed = random->state += 0x9e3779b97f4a7c15u;

    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    mixed ^= mixed >> 31;
    return limit > 0 ? mixed % limit : 0;
}

unsigned mig_kube_backoff_next(struct mig_kube_backoff *backoff, struct mig_kube_random *random)
{
    uint64_t delay_ms = backoff->first_ms;

    for (unsigned i = 0; i < backoff->failures && delay_ms < backoff->max_ms; i++) {
        delay_ms *= 2;
    }
    if (delay_ms > backoff->max_ms) {
        delay_ms = backoff->max_ms;
    }
    if (backoff->failures < UINT32_MAX) {
        backoff->failures++;
    }
    return (unsigned)(delay_ms - mig_kube_random_below(random, delay_ms / 2 + 1));
}

unsigned mig_kube_backoff_after(struct mig_kube_backoff *backoff, unsigned least_ms,
                                struct mig_kube_random *random)
{
    unsigned delay_ms = mig_kube_backoff_next(backoff, random);

    least_ms += (unsigned)mig_kube_random_below(random, least_ms / 4 + 1);
    return delay_ms > least_ms ? delay_ms : least_ms;
}

void mig_kube_backoff_reset(struct mig_kube_backoff *backoff)
{
    backoff->failures = 0;
}

void mig_kube_bucket_init(struct mig_kube_bucket *bucket, unsigned rate_per_s, unsigned burst,
                          uint64_t now_ms)
{
    *bucket = (struct mig_kube_bucket){.rate_per_s = rate_per_s > 0 ? rate_per_s : 1,
                                       .burst = burst > 0 ? burst : 1,
                                       .filled_ms = now_ms};
    bucket->level = bucket->burst * TOKEN;
}

/* A clock that went back fills nothing; one that jumped ahead fills it, no more. */
static void fill(struct mig_kube_bucket *bucket, uint64_t now_ms)
{
    uint64_t full = bucket->burst * TOKEN;
    uint64_t passed_ms = now_ms > bucket->filled_ms ? now_ms - bucket->filled_ms : 0;

    bucket->filled_ms = now_ms;
    if (passed_ms > (full - bucket->level) / bucket->rate_per_s) {
        bucket->level = full;
    } else {
        bucket->level += passed_ms * bucket->rate_per_s; /* 1/s is a thousandth in each ms */
    }
}

unsigned mig_kube_bucket_take(struct mig_kube_bucket *bucket, uint64_t now_ms)
{
    fill(bucket, now_ms);
    if (bucket->level >= TOKEN) {
        bucket->level -= TOKEN;
        return 0;
    }
    return (unsigned)((TOKEN - bucket->level + bucket->rate_per_s - 1) / bucket->rate_per_s);
}

bool mig_kube_retry_wanted(enum mig_kube_retry retry, const struct mig_kube_outcome *outcome)
{
    if (retry == MIG_KUBE_RETRY_NONE || outcome->final) {
        return false;
    }
    if (outcome->status == 0) {
        return !outcome->sent || retry == MIG_KUBE_RETRY_ALWAYS;
    }
    /* these say that the server did nothing, or, 504, that a repetition finds out */
    if (outcome->status == 429 || outcome->status == 503 || outcome->status == 504) {
        return true;
    }
    return outcome->status >= 500 && retry == MIG_KUBE_RETRY_ALWAYS;
}

unsigned mig_kube_retry_after_ms(const char *header)
{
    uint64_t seconds = 0;

    if (!header || !mig_text_parse_u64(header, UINT32_MAX, &seconds)) {
        return 0;
    }
    return seconds > MIG_KUBE_RETRY_AFTER_MAX_MS / 1000 ? MIG_KUBE_RETRY_AFTER_MAX_MS
                                                        : (unsigned)seconds * 1000;
}
