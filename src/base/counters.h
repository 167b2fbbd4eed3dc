/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers that a program counts about itself: counters, gauges and histograms, each with up to four
 * labels. Who counts needs nothing but the registry and a description that is a constant; who shows
 * the numbers walks them in a fixed order.
 *
 * Pure memory: no clock, no I/O, no threads. Bounded: series beyond the limit are not counted, but
 * their number is. A registry of NULL counts nothing, so that callers need not ask.
 */
#ifndef MIG_BASE_COUNTERS_H
#define MIG_BASE_COUNTERS_H

#include <stddef.h>
#include <stdint.h>

#define MIG_COUNTER_LABELS_MAX 4
#define MIG_COUNTER_TEXT_SIZE 96 /* of a label's value, which is cut to it */
#define MIG_COUNTER_BUCKETS_MAX 16
#define MIG_COUNTER_SERIES_MAX 4096

enum mig_counter_kind { MIG_COUNTER = 0, MIG_GAUGE, MIG_HISTOGRAM };

/* A constant; its address is its identity, its name has to be unique. */
struct mig_counter {
    const char *name; /* "migd_allocations_total" */
    const char *help; /* one line */
    enum mig_counter_kind kind;
    const char *labels[MIG_COUNTER_LABELS_MAX]; /* names; NULL after the last */
    const double *buckets;                      /* histograms: upper bounds, ascending */
    size_t bucket_count;                        /* without +Inf; at most MIG_COUNTER_BUCKETS_MAX */
};

struct mig_counter_series {
    const struct mig_counter *counter;
    char values[MIG_COUNTER_LABELS_MAX][MIG_COUNTER_TEXT_SIZE];
    double value;                              /* histograms: the sum */
    uint64_t count;                            /* histograms: of everything */
    uint64_t buckets[MIG_COUNTER_BUCKETS_MAX]; /* each for itself, not added up */
};

struct mig_counters;

struct mig_counters *mig_counters_new(void); /* NULL without memory */
void mig_counters_free(struct mig_counters *counters);

/*
 * mig_counter_add(counters, &counter, 1, "value", "value", NULL): the values of the labels follow
 * as texts, ended by NULL; those that are left out are "". An amount of 0 makes the series known,
 * so that it is shown as 0 from the start.
 */
#define mig_counter_add(counters, counter, amount, ...) \
    mig_counter_add_to((counters), (counter), (amount), MIG_COUNTER_VALUES(__VA_ARGS__))
#define mig_counter_set(counters, counter, value, ...) \
    mig_counter_set_to((counters), (counter), (value), MIG_COUNTER_VALUES(__VA_ARGS__))
#define mig_counter_observe(counters, counter, value, ...) \
    mig_counter_observe_in((counters), (counter), (value), MIG_COUNTER_VALUES(__VA_ARGS__))
#define MIG_COUNTER_VALUES(...) ((const char *const[MIG_COUNTER_LABELS_MAX + 1]){__VA_ARGS__})

/* What is behind them. */
void mig_counter_add_to(struct mig_counters *counters, const struct mig_counter *counter,
                        double amount, const char *const *values);
void mig_counter_set_to(struct mig_counters *counters, const struct mig_counter *counter,
                        double value, const char *const *values);
void mig_counter_observe_in(struct mig_counters *counters, const struct mig_counter *counter,
                            double value, const char *const *values);

/* Forgets all series of a gauge, before it is told anew. */
void mig_counter_forget(struct mig_counters *counters, const struct mig_counter *counter);

/* By name of the counter, then values of the labels; NULL past the end. */
const struct mig_counter_series *mig_counters_get(const struct mig_counters *counters,
                                                  size_t index);

/* How often something was not counted, for want of room or memory. */
uint64_t mig_counters_dropped(const struct mig_counters *counters);

#endif
