/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding what could never work in a config file, before any GPU is touched.
 *
 * Every entry is held against the GPUs it can apply to: those of a node, or every model of the
 * catalogue that its filters let through. Whether instances fit is not counted but planned, on an
 * empty GPU, with the planner that would carry it out.
 *
 * Severity: an error is what cannot work as written, or is written in a way that its author cannot
 * have meant; a warning is what works but deserves a look, among it GPUs that the catalogue does
 * not know.
 */
#include "base/text.h"
#include "config/goal.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Work over the file; what is beyond is not checked, and that is an error too. */
#define COMPARE_MAX 20000000u /* comparisons of filters and device numbers */
#define RESOLVE_MAX 500000u   /* profile names looked up on a model */
#define PROOF_MAX 20000u      /* plans */

#define SHOWN 64 /* bytes of a name in a finding */

struct checker {
    const struct mig_config *config;
    const struct mig_node *node; /* NULL = the catalogue */
    void (*report)(const struct mig_finding *finding, void *data);
    void *data;
    const struct mig_config_named *named; /* the config at hand */
    uint32_t finding_count, error_count;
    struct mig_finding first_error;
    uint64_t compare_count, resolve_count, proof_count;
};

static void deliver(struct checker *checker, const struct mig_finding *finding)
{
    struct mig_finding last;

    checker->finding_count++;
    if (finding->severity == MIG_FINDING_ERROR) {
        if (checker->error_count == 0) {
            checker->first_error = *finding;
        }
        checker->error_count++;
    }
    if (checker->finding_count < MIG_FINDINGS_MAX) {
        checker->report(finding, checker->data);
    } else if (checker->finding_count == MIG_FINDINGS_MAX) {
        last = (struct mig_finding){.severity = MIG_WARNING};
        snprintf(last.text, sizeof(last.text), "more findings are not shown");
        checker->report(&last, checker->data);
    }
}

MIG_PRINTF(4, 5)
static void find(struct checker *checker, enum mig_severity severity, struct mig_position position,
                 const char *format, ...)
{
    struct mig_finding finding = {.severity = severity, .position = position};
    va_list arguments;

    mig_text_copy(finding.config, sizeof(finding.config),
                  checker->named ? checker->named->name : "");
    va_start(arguments, format);
    vsnprintf(finding.text, sizeof(finding.text), format, arguments);
    va_end(arguments);
    deliver(checker, &finding);
}

/* --- what parsing let through --- */

static void check_problems(struct checker *checker, const char *config)
{
    for (const struct mig_config_problem *problem = checker->config->problems; problem;
         problem = problem->next) {
        if (strcmp(problem->config, config) == 0) {
            find(checker, problem->severity, problem->position, "%s", problem->text);
        }
    }
}

/* --- device numbers and filters --- */

static void check_numbers(struct checker *checker, const struct mig_config_entry *entry)
{
    uint32_t limit = checker->node ? checker->node->gpu_count : MIG_GPU_MAX;

    if (!entry->all && entry->device_count == 0) {
        find(checker, MIG_WARNING, entry->devices_position,
             "'devices' is empty: the entry applies to no GPU");
    }
    for (uint32_t i = 0; i < entry->device_count; i++) {
        const struct mig_config_number *number = &entry->devices[i];

        for (uint32_t k = 0; k < i; k++) {
            if (entry->devices[k].value == number->value) {
                find(checker, MIG_WARNING, number->position, "GPU %lld is listed twice",
                     (long long)number->value);
                break;
            }
        }
        if (number->value < 0) {
            find(checker, MIG_FINDING_ERROR, number->position, "%lld is not a GPU number",
                 (long long)number->value);
        } else if (number->value >= (int64_t)limit) {
            find(checker, MIG_FINDING_ERROR, number->position,
                 "there is no GPU %lld; %s %u, numbered from 0", (long long)number->value,
                 checker->node ? "the node has" : "a node has at most", limit);
        }
    }
}

static bool known_to_catalog(const struct mig_config_filter *filter)
{
    for (size_t i = 0; i < mig_catalog_count(); i++) {
        const struct mig_model *model = mig_catalog_get(i);

        for (uint8_t k = 0; k < model->pci_id_count; k++) {
            if (model->pci_ids[k].device == filter->device) {
                return true;
            }
        }
    }
    return false;
}

static void check_filters(struct checker *checker, const struct mig_config_entry *entry)
{
    for (uint32_t i = 0; i < entry->filter_count; i++) {
        const struct mig_config_filter *filter = &entry->filters[i];

        if (!filter->valid) {
            find(checker, MIG_FINDING_ERROR, filter->position,
                 "device-filter '%.*s' is not a PCI id and matches nothing; %s", SHOWN,
                 filter->text, MIG_FILTER_FORM);
        } else if (!checker->node && !known_to_catalog(filter)) {
            find(checker, MIG_WARNING, filter->position,
                 "device-filter '%.*s' is no GPU of the catalogue; it is not checked further",
                 SHOWN, filter->text);
        }
        for (uint32_t k = 0; k < i; k++) {
            if (strcmp(entry->filters[k].text, filter->text) == 0) {
                find(checker, MIG_WARNING, filter->position, "device-filter '%.*s' is listed twice",
                     SHOWN, filter->text);
                break;
            }
        }
    }
}

static void check_counts(struct checker *checker, const struct mig_config_entry *entry)
{
    for (uint32_t i = 0; i < entry->profile_count; i++) {
        if (entry->profiles[i].count == 0) {
            find(checker, MIG_WARNING, entry->profiles[i].position,
                 "a count of 0 asks for nothing; leave '%.*s' out", SHOWN, entry->profiles[i].name);
        }
    }
}

/* --- instances --- */

/* How an entry's instances and a model go together. */
enum verdict {
    VERDICT_FITS = 0, /* or nobody can say, because the placements are not known */
    VERDICT_NO_PROFILE,
    VERDICT_TOO_MUCH, /* it has the profiles, but not so many at once */
};

struct proof {
    enum verdict verdict;
    struct mig_position position;
    struct mig_error error;
};

/* Where placements are not known, a profile's own maximum is all that can be held against it. */
static bool within_maxima(const struct mig_model *model, const struct mig_target *target,
                          struct mig_error *error)
{
    unsigned counts[MIG_PROFILE_MAX] = {0};

    for (uint8_t i = 0; i < target->gi_count; i++) {
        const struct mig_profile *profile = &model->profiles[target->gis[i].profile];

        if (++counts[target->gis[i].profile] > profile->max_instances) {
            mig_error_set(error, MIG_E_NO_FIT, MIG_DOMAIN_NONE, 0, "at most %u of %s fit on %s",
                          profile->max_instances, profile->name, model->name);
            return false;
        }
    }
    return true;
}

static bool fits(struct checker *checker, const struct mig_model *model,
                 const struct mig_target *target, struct mig_error *error)
{
    const struct mig_layout empty = {.model = model};
    const struct mig_policy policy = {0};
    struct mig_plan plan;

    if (!mig_model_is_placeable(model)) {
        return within_maxima(model, target, error);
    }
    checker->proof_count++;
    return mig_plan_make(&empty, target, &policy, &plan, NULL, error) == 0;
}

static void prove(struct checker *checker, const struct mig_config_entry *entry,
                  const struct mig_model *model, struct proof *ret)
{
    struct mig_device_count devices[MIG_CONFIG_DEVICES_MAX];
    size_t device_count = 0;
    struct mig_target target;

    *ret = (struct proof){.verdict = VERDICT_NO_PROFILE};
    checker->resolve_count += 1 + entry->profile_count;
    if (mig_config_entry_devices(entry, model, devices, &device_count, &ret->position,
                                 &ret->error) < 0) {
        return;
    }
    ret->verdict = VERDICT_TOO_MUCH;
    if (mig_target_from_devices(model, NULL, devices, device_count, &target, &ret->error) == 0 &&
        fits(checker, model, &target, &ret->error)) {
        ret->verdict = VERDICT_FITS;
    }
}

static bool catalog_matches(const struct mig_config_entry *entry, const struct mig_model *model)
{
    for (uint8_t i = 0; i < model->pci_id_count; i++) {
        for (uint32_t k = 0; k < entry->filter_count; k++) {
            if (entry->filters[k].valid && entry->filters[k].device == model->pci_ids[i].device) {
                return true;
            }
        }
    }
    return entry->filter_count == 0;
}

/* The model of the catalogue that the entry can apply to, from `*index` up; NULL past the end. */
static const struct mig_model *next_model(const struct mig_config_entry *entry, size_t *index)
{
    for (; *index < mig_catalog_count(); ++*index) {
        const struct mig_model *model = mig_catalog_get(*index);

        if (model->profile_count > 0 && catalog_matches(entry, model)) {
            ++*index;
            return model;
        }
    }
    return NULL;
}

static bool anyone_has(struct checker *checker, const struct mig_config_entry *entry,
                       const char *profile)
{
    const struct mig_model *model;
    size_t index = 0;

    while ((model = next_model(entry, &index))) {
        struct mig_device_kind kind;

        checker->resolve_count++;
        if (mig_profile_resolve(model, profile, &kind, NULL) == 0) {
            return true;
        }
    }
    return false;
}

/* No model has all of the entry's profiles: says which is the odd one. */
static void report_no_profile(struct checker *checker, const struct mig_config_entry *entry)
{
    const char *who = entry->filter_count > 0 ? "no GPU that the device-filter lets through"
                                              : "no GPU of the catalogue";
    bool named = false;

    for (uint32_t i = 0; i < entry->profile_count; i++) {
        const struct mig_config_profile *profile = &entry->profiles[i];

        if (profile->count > 0 && !anyone_has(checker, entry, profile->name)) {
            find(checker, MIG_FINDING_ERROR, profile->position, "%s has profile '%.*s'", who, SHOWN,
                 profile->name);
            named = true;
        }
    }
    if (!named) {
        find(checker, MIG_FINDING_ERROR, entry->profiles[0].position,
             "%s has all of these profiles", who);
    }
}

/* Results over all models that an entry can apply to. */
struct tally {
    unsigned model_count, fit_count;
    struct proof too_much; /* the first of its kind */
    const struct mig_model *too_much_model;
};

static void check_model(struct checker *checker, const struct mig_config_entry *entry,
                        const struct mig_model *model, struct tally *tally)
{
    struct proof proof;

    prove(checker, entry, model, &proof);
    tally->model_count++;
    tally->fit_count += proof.verdict == VERDICT_FITS ? 1 : 0;
    if (proof.verdict == VERDICT_TOO_MUCH && !tally->too_much_model) {
        tally->too_much = proof;
        tally->too_much_model = model;
    }
}

/* With a filter every GPU that it names should be able to carry the entry. */
static void warn_of_others(struct checker *checker, const struct mig_config_entry *entry)
{
    const struct mig_model *model;
    size_t index = 0;

    while ((model = next_model(entry, &index))) {
        struct proof proof;

        prove(checker, entry, model, &proof);
        if (proof.verdict != VERDICT_FITS) {
            find(checker, MIG_WARNING, proof.position,
                 "not on %s, which the device-filter names: %s", model->name, proof.error.message);
        }
    }
}

static void check_against_catalog(struct checker *checker, const struct mig_config_entry *entry)
{
    const struct mig_model *model;
    struct tally tally = {0};
    size_t index = 0;

    while ((model = next_model(entry, &index)) &&
           (entry->filter_count > 0 || tally.fit_count == 0)) {
        check_model(checker, entry, model, &tally);
    }
    if (tally.model_count == 0) {
        return; /* the filter is no GPU of the catalogue, and that has been said */
    }
    if (tally.fit_count == 0 && tally.too_much_model) {
        find(checker, MIG_FINDING_ERROR, tally.too_much.position,
             "does not fit on any GPU; on %s: %s", tally.too_much_model->name,
             tally.too_much.error.message);
    } else if (tally.fit_count == 0) {
        report_no_profile(checker, entry);
    } else if (tally.fit_count < tally.model_count && entry->filter_count > 0) {
        warn_of_others(checker, entry);
    }
}

/* --- a node --- */

static bool model_seen(const struct checker *checker, const struct mig_config_entry *entry,
                       uint32_t gpu)
{
    const struct mig_node *node = checker->node;

    for (uint32_t i = 0; i < gpu; i++) {
        if (node->gpus[i].layout.model == node->gpus[gpu].layout.model &&
            mig_config_entry_for(checker->named, &node->gpus[i]) == entry) {
            return true;
        }
    }
    return false;
}

static void check_gpu(struct checker *checker, const struct mig_config_entry *entry,
                      const struct mig_gpu *gpu)
{
    struct proof proof;

    if (gpu->problem[0] || !gpu->mig_capable) {
        find(checker, MIG_FINDING_ERROR, entry->devices_position, "GPU %u (%s): %s", gpu->index,
             gpu->name, gpu->problem[0] ? gpu->problem : "it cannot do MIG");
        return;
    }
    if (!gpu->layout.model) {
        find(checker, MIG_WARNING, entry->position,
             "GPU %u (%s): its MIG profiles are not known, so it is not checked", gpu->index,
             gpu->name);
        return;
    }
    prove(checker, entry, gpu->layout.model, &proof);
    if (proof.verdict != VERDICT_FITS) {
        find(checker, MIG_FINDING_ERROR, proof.position, "GPU %u (%s): %s", gpu->index, gpu->name,
             proof.error.message);
    }
}

static void check_against_node(struct checker *checker, const struct mig_config_entry *entry)
{
    for (uint32_t i = 0; i < checker->node->gpu_count; i++) {
        const struct mig_gpu *gpu = &checker->node->gpus[i];

        if (mig_config_entry_for(checker->named, gpu) == entry && !model_seen(checker, entry, i)) {
            check_gpu(checker, entry, gpu);
        }
    }
}

static void check_node_is_spoken_of(struct checker *checker)
{
    for (uint32_t i = 0; checker->node && i < checker->node->gpu_count; i++) {
        if (mig_config_entry_for(checker->named, &checker->node->gpus[i])) {
            return;
        }
    }
    if (checker->node) {
        find(checker, MIG_WARNING, checker->named->position,
             "the config applies to no GPU of this node");
    }
}

/* --- overlaps --- */

static bool filters_meet(const struct mig_config_filter *a, const struct mig_config_filter *b)
{
    return a->valid && b->valid && a->device == b->device &&
           (!a->has_subsystem || !b->has_subsystem || a->subsystem == b->subsystem);
}

static bool filter_covers(const struct mig_config_filter *larger,
                          const struct mig_config_filter *smaller)
{
    return filters_meet(larger, smaller) && (!larger->has_subsystem || smaller->has_subsystem);
}

/* How much of what `a` speaks of `b` speaks of too. */
enum overlap { OVERLAP_NONE = 0, OVERLAP_PART, OVERLAP_ALL };

static enum overlap overlap_of(uint32_t count, uint32_t met, uint32_t covered)
{
    if (met == 0) {
        return OVERLAP_NONE;
    }
    return covered == count ? OVERLAP_ALL : OVERLAP_PART;
}

static enum overlap compare_filters(struct checker *checker, const struct mig_config_entry *a,
                                    const struct mig_config_entry *b)
{
    uint32_t met = 0, covered = 0;

    checker->compare_count += 1 + (uint64_t)a->filter_count * b->filter_count;
    if (b->filter_count == 0) {
        return OVERLAP_ALL;
    }
    if (a->filter_count == 0) {
        return OVERLAP_PART;
    }
    for (uint32_t i = 0; i < a->filter_count; i++) {
        bool meets = false, covers = false;

        for (uint32_t k = 0; k < b->filter_count; k++) {
            meets = meets || filters_meet(&a->filters[i], &b->filters[k]);
            covers = covers || filter_covers(&b->filters[k], &a->filters[i]);
        }
        met += meets ? 1 : 0;
        covered += covers ? 1 : 0;
    }
    return overlap_of(a->filter_count, met, covered);
}

static enum overlap compare_devices(struct checker *checker, const struct mig_config_entry *a,
                                    const struct mig_config_entry *b)
{
    uint32_t met = 0;

    checker->compare_count += 1 + (uint64_t)a->device_count * b->device_count;
    if (b->all) {
        return OVERLAP_ALL;
    }
    if (a->all) {
        return b->device_count > 0 ? OVERLAP_PART : OVERLAP_NONE;
    }
    for (uint32_t i = 0; i < a->device_count; i++) {
        bool found = false;

        for (uint32_t k = 0; k < b->device_count; k++) {
            found = found || a->devices[i].value == b->devices[k].value;
        }
        met += found ? 1 : 0;
    }
    return overlap_of(a->device_count, met, met);
}

/* Says which later entry decides instead of this one: the first that takes all, else the first. */
static void check_overlap(struct checker *checker, uint32_t index)
{
    const struct mig_config_entry *entry = &checker->named->entries[index];
    const struct mig_config_entry *other = NULL;
    enum overlap most = OVERLAP_NONE;

    for (uint32_t i = index + 1; i < checker->named->entry_count && most != OVERLAP_ALL; i++) {
        const struct mig_config_entry *later = &checker->named->entries[i];
        enum overlap filters, devices, both;

        if (checker->compare_count > COMPARE_MAX) {
            return;
        }
        filters = compare_filters(checker, entry, later);
        devices = compare_devices(checker, entry, later);
        both = filters < devices ? filters : devices;
        if (both > most) {
            most = both;
            other = later;
        }
    }
    if (other) {
        find(checker, MIG_WARNING, entry->position,
             most == OVERLAP_ALL
                 ? "the entry has no effect: the one at line %u decides about all its GPUs"
                 : "the entry at line %u decides about some of the GPUs of this one",
             other->position.line);
    }
}

/* --- the file --- */

static void check_entry(struct checker *checker, uint32_t index)
{
    const struct mig_config_entry *entry = &checker->named->entries[index];

    check_numbers(checker, entry);
    check_filters(checker, entry);
    check_counts(checker, entry);
    check_overlap(checker, index);
    if (!entry->enabled || checker->resolve_count > RESOLVE_MAX ||
        checker->proof_count > PROOF_MAX) {
        return;
    }
    if (checker->node) {
        check_against_node(checker, entry);
    } else if (entry->profile_count > 0) {
        check_against_catalog(checker, entry);
    }
}

static void check_named(struct checker *checker, const struct mig_config_named *named)
{
    checker->named = named;
    check_problems(checker, named->name);
    for (uint32_t i = 0; i < named->entry_count; i++) {
        check_entry(checker, i);
    }
    check_node_is_spoken_of(checker);
}

static int conclude(const struct checker *checker, struct mig_error *error)
{
    const struct mig_finding *first = &checker->first_error;

    if (checker->error_count == 0) {
        return 0;
    }
    mig_error_set(error, MIG_E_CONFIG, MIG_DOMAIN_CONFIG, (int)first->position.line,
                  "%.200s:%u:%u: %s", checker->config->name, first->position.line,
                  first->position.column, first->text);
    if (checker->error_count > 1) {
        return mig_error_hint(error, MIG_E_CONFIG, "there are %u more errors",
                              checker->error_count - 1);
    }
    return MIG_E_CONFIG;
}

int mig_config_validate(const struct mig_config *config, size_t only, const struct mig_node *node,
                        void (*report)(const struct mig_finding *finding, void *data), void *data,
                        struct mig_error *error)
{
    struct checker checker = {.config = config, .node = node, .report = report, .data = data};

    if (only != SIZE_MAX && only >= config->count) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "%s: there is no config %zu",
                             config->name, only);
    }
    check_problems(&checker, "");
    if (only == SIZE_MAX && config->count == 0) {
        find(&checker, MIG_WARNING, (struct mig_position){1, 1}, "there is no config in the file");
    }
    for (size_t i = 0; i < config->count; i++) {
        if (only == SIZE_MAX || only == i) {
            check_named(&checker, &config->configs[i]);
        }
    }
    checker.named = NULL;
    if (checker.compare_count > COMPARE_MAX || checker.resolve_count > RESOLVE_MAX ||
        checker.proof_count > PROOF_MAX) {
        find(&checker, MIG_FINDING_ERROR, (struct mig_position){1, 1},
             "the file is too large to check all of it");
    }
    return conclude(&checker, error);
}
