/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes the labels in the order in which gpu-feature-discovery lays them over each other: versions
 * and machine, GPUs by model, then MIG devices by profile, which under `single` take the place of
 * the GPU's. Lists are walked in the order of the snapshot or sorted by name; nothing depends on
 * addresses or hashes.
 */
#include "discovery/labels.h"
#include "base/text.h"
#include <mig/profile.h>
#include <stdio.h>
#include <string.h>

#define GPU_RESOURCE MIG_LABEL_PREFIX "gpu"
#define CLASS_VGA 0x0300u
#define CLASS_3D 0x0302u
#define KIND_MAX 256 /* profiles of MIG devices on one node; each GPU model has a dozen */

struct maker {
    const struct mig_node *node;
    const struct mig_label_facts *facts;
    struct mig_labels *labels;
    char *reason;
};

/* GPUs of one model. */
struct model_count {
    const struct mig_gpu *first, *first_whole; /* the latter outside MIG mode; NULL */
    uint32_t count, whole_count;
};

/* MIG devices of one profile. */
struct kind_count {
    const char *profile;
    const struct mig_gpu *gpu;
    uint8_t gi, ci; /* the first of them */
    uint32_t count;
};

static bool is_counted(const struct mig_gpu *gpu)
{
    return gpu->problem[0] == '\0' && strcmp(gpu->name, "DGX Display") != 0 &&
           strcmp(gpu->name, "NVIDIA DGX Display") != 0;
}

const char *mig_label_strategy_name(enum mig_label_strategy strategy)
{
    static const char *const names[] = {"none", "single", "mixed"};

    return names[strategy];
}

/* ---- a resource: product, count, replicas, sharing-strategy ---- */

static const struct mig_label_sharing *find_sharing(const struct maker *maker, const char *resource)
{
    for (size_t i = 0; i < maker->facts->sharing_count; i++) {
        if (strcmp(maker->facts->sharing[i].resource, resource) == 0) {
            return &maker->facts->sharing[i];
        }
    }
    return NULL;
}

static void set(const struct maker *maker, const char *resource, const char *suffix,
                const char *value)
{
    char name[2 * MIG_LABEL_VALUE_SIZE];

    snprintf(name, sizeof(name), "%s.%s", resource, suffix);
    mig_labels_set(maker->labels, name, "%s", value);
}

static void set_number(const struct maker *maker, const char *resource, const char *suffix,
                       int64_t value)
{
    char text[24];

    snprintf(text, sizeof(text), "%lld", (long long)value);
    set(maker, resource, suffix, text);
}

/* `resource` without its domain. `shareable` is false for a GPU that only its slices are used of.
 */
static void add_resource(const struct maker *maker, const char *resource, const struct mig_gpu *gpu,
                         const char *profile, uint32_t count, bool shareable)
{
    char full[2 * MIG_LABEL_VALUE_SIZE], base[MIG_UUID_SIZE], suffix[MIG_LABEL_VALUE_SIZE];
    char product[MIG_LABEL_VALUE_SIZE];
    const struct mig_label_sharing *sharing;
    bool is_shared;

    snprintf(full, sizeof(full), MIG_LABEL_PREFIX "%s", resource);
    sharing = shareable ? find_sharing(maker, full) : NULL;
    is_shared = sharing && sharing->replicas > 1;
    mig_label_sanitise(gpu->name, base, sizeof(base));
    snprintf(suffix, sizeof(suffix), "%s%s%s", profile ? "-MIG-" : "", profile ? profile : "",
             is_shared && !sharing->renamed ? "-SHARED" : "");
    mig_label_shorten(base, suffix, MIG_LABEL_TEXT_MAX, product);
    set(maker, resource, "product", product);
    set_number(maker, resource, "count", count);
    set_number(maker, resource, "replicas", !shareable ? 0 : is_shared ? sharing->replicas : 1);
    set(maker, resource, "sharing-strategy",
        !is_shared          ? "none"
        : maker->facts->mps ? "mps"
                            : "time-slicing");
}

/* ---- whole GPUs ---- */

static const char *family_of(int32_t major, int32_t minor)
{
    switch (major) {
    case 1:
        return "tesla";
    case 2:
        return "fermi";
    case 3:
        return "kepler";
    case 5:
        return "maxwell";
    case 6:
        return "pascal";
    case 7:
        return minor < 5 ? "volta" : "turing";
    case 8:
        return minor < 9 ? "ampere" : "ada-lovelace";
    case 9:
        return "hopper";
    case 10:
    case 12:
        return "blackwell";
    case 13:
        return "rubin";
    default:
        return "undefined";
    }
}

static void add_architecture(const struct maker *maker, const struct mig_gpu *gpu)
{
    int32_t major = gpu->cc_major, minor = gpu->cc_minor;

    if (major <= 0 && gpu->layout.model) {
        major = gpu->layout.model->cc_major;
        minor = gpu->layout.model->cc_minor;
    }
    if (major <= 0) {
        return;
    }
    set(maker, "gpu", "family", family_of(major, minor));
    set_number(maker, "gpu", "compute.major", major);
    set_number(maker, "gpu", "compute.minor", minor);
}

static void add_model_count(const struct maker *maker, const struct model_count *model)
{
    static const char prefix[] = "gpu.product.";
    char base[MIG_UUID_SIZE], product[MIG_LABEL_VALUE_SIZE];
    char name[sizeof(prefix) + sizeof(product)];

    mig_label_sanitise(model->first->name, base, sizeof(base));
    mig_label_shorten(base, "", MIG_LABEL_TEXT_MAX - strlen(prefix), product);
    snprintf(name, sizeof(name), "%s%s", prefix, product);
    mig_labels_set(maker->labels, name, "%u", model->count);
}

static bool is_better(const struct model_count *a, const struct model_count *b)
{
    if (a->whole_count != b->whole_count) {
        return a->whole_count > b->whole_count;
    }
    if (a->count != b->count) {
        return a->count > b->count;
    }
    return strcmp(a->first->name, b->first->name) < 0;
}

static size_t count_models(const struct mig_node *node, struct model_count models[MIG_GPU_MAX])
{
    size_t count = 0;

    for (uint32_t i = 0; i < node->gpu_count && i < MIG_GPU_MAX; i++) {
        const struct mig_gpu *gpu = &node->gpus[i];
        size_t at = 0;

        if (!is_counted(gpu)) {
            continue;
        }
        while (at < count && strcmp(models[at].first->name, gpu->name) != 0) {
            at++;
        }
        if (at == count) {
            models[count++] = (struct model_count){.first = gpu};
        }
        models[at].count++;
        if (!gpu->mig_mode) {
            models[at].whole_count++;
            models[at].first_whole = models[at].first_whole ? models[at].first_whole : gpu;
        }
    }
    return count;
}

static void add_gpus(const struct maker *maker, const struct model_count *models, size_t count)
{
    const struct model_count *best = &models[0];
    const struct mig_gpu *gpu;

    for (size_t i = 0; i < count; i++) {
        best = is_better(&models[i], best) ? &models[i] : best;
    }
    for (size_t i = 0; count > 1 && i < count; i++) {
        add_model_count(maker, &models[i]);
    }
    gpu = best->first_whole ? best->first_whole : best->first;
    add_resource(maker, "gpu", gpu, NULL, best->count, best->first_whole != NULL);
    if (gpu->memory_total_mib > 0) {
        set_number(maker, "gpu", "memory", gpu->memory_total_mib);
    }
    add_architecture(maker, gpu);
}

/* ---- MIG devices ---- */

static const char *kind_name(const struct mig_gpu *gpu, uint8_t gi, uint8_t ci)
{
    const struct mig_gi *instance = &gpu->layout.gis[gi];

    return mig_device_kind_name(
        gpu->layout.model, (struct mig_device_kind){instance->profile, instance->cis[ci].profile});
}

static void count_kind(const struct mig_gpu *gpu, uint8_t gi, uint8_t ci, struct kind_count *kinds,
                       size_t *count)
{
    const char *profile = kind_name(gpu, gi, ci);
    size_t at = 0;

    while (at < *count && strcmp(kinds[at].profile, profile) != 0) {
        at++;
    }
    if (at == *count) {
        if (at == KIND_MAX) {
            return;
        }
        kinds[(*count)++] = (struct kind_count){profile, gpu, gi, ci, 0};
    }
    kinds[at].count++;
}

static size_t count_kinds(const struct mig_node *node, struct kind_count kinds[KIND_MAX])
{
    size_t count = 0;

    for (uint32_t i = 0; i < node->gpu_count; i++) {
        const struct mig_gpu *gpu = &node->gpus[i];

        for (uint8_t j = 0; is_counted(gpu) && gpu->layout.model && j < gpu->layout.gi_count; j++) {
            for (uint8_t k = 0; k < gpu->layout.gis[j].ci_count; k++) {
                count_kind(gpu, j, k, kinds, &count);
            }
        }
    }
    return count;
}

static void set_known(const struct maker *maker, const char *resource, const char *suffix,
                      int64_t told, int64_t by_model)
{
    int64_t value = told >= 0 ? told : by_model;

    if (value >= 0) {
        set_number(maker, resource, suffix, value);
    }
}

/* What the driver says of the device; what it does not say, from the profile. */
static void add_attributes(const struct maker *maker, const char *resource,
                           const struct kind_count *kind)
{
    const struct mig_gi *gi = &kind->gpu->layout.gis[kind->gi];
    const struct mig_profile *profile = &kind->gpu->layout.model->profiles[gi->profile];
    const struct mig_ci_profile *ci = &profile->ci_profiles[gi->cis[kind->ci].profile];
    const struct mig_attributes *told = &kind->gpu->gi_infos[kind->gi].devices[kind->ci].attributes;
    bool known = told->gi_slice_count > 0;

    set_known(maker, resource, "memory", known ? told->memory_mib : MIG_UNKNOWN,
              profile->memory_mib);
    set_known(maker, resource, "multiprocessors", known ? told->sm_count : MIG_UNKNOWN,
              ci->sm_count);
    set_known(maker, resource, "slices.gi", known ? told->gi_slice_count : MIG_UNKNOWN,
              profile->slice_count);
    set_known(maker, resource, "slices.ci", known ? told->ci_slice_count : MIG_UNKNOWN,
              ci->slice_count);
    set_known(maker, resource, "engines.copy", known ? told->copy : MIG_UNKNOWN,
              profile->engines.copy);
    set_known(maker, resource, "engines.decoder", known ? told->decoder : MIG_UNKNOWN,
              profile->engines.decoder);
    set_known(maker, resource, "engines.encoder", known ? told->encoder : MIG_UNKNOWN,
              profile->engines.encoder);
    set_known(maker, resource, "engines.jpeg", known ? told->jpeg : MIG_UNKNOWN,
              profile->engines.jpeg);
    set_known(maker, resource, "engines.ofa", known ? told->ofa : MIG_UNKNOWN,
              profile->engines.ofa);
}

/* As in names of resources: '+' is no character of a label. */
static void dotted(const char *profile, char buffer[MIG_NAME_SIZE])
{
    mig_text_copy(buffer, MIG_NAME_SIZE, profile);
    for (char *at = buffer; *at; at++) {
        if (*at == '+') {
            *at = '.';
        }
    }
}

static void add_kind(const struct maker *maker, const char *resource, const struct kind_count *kind)
{
    char profile[MIG_NAME_SIZE];

    dotted(kind->profile, profile);
    add_resource(maker, resource, kind->gpu, profile, kind->count, true);
    add_attributes(maker, resource, kind);
}

static void add_invalid(const struct maker *maker, const struct mig_gpu *gpu, const char *why)
{
    char base[MIG_UUID_SIZE], product[MIG_LABEL_VALUE_SIZE];

    if (maker->reason) {
        mig_text_copy(maker->reason, MIG_LABEL_REASON_SIZE, why);
    }
    mig_label_sanitise(gpu->name, base, sizeof(base));
    mig_label_shorten(base, "-MIG-INVALID", MIG_LABEL_TEXT_MAX, product);
    set(maker, "gpu", "product", product);
    set(maker, "gpu", "count", "0");
    set(maker, "gpu", "replicas", "0");
    set(maker, "gpu", "sharing-strategy", "");
    set(maker, "gpu", "memory", "0");
}

static void add_single(const struct maker *maker, const struct kind_count *kinds, size_t kind_count)
{
    const struct mig_gpu *first = NULL, *empty = NULL, *whole = NULL;
    char why[MIG_LABEL_REASON_SIZE];

    for (uint32_t i = 0; i < maker->node->gpu_count; i++) {
        const struct mig_gpu *gpu = &maker->node->gpus[i];
        bool has_device = false;

        for (uint8_t j = 0; j < gpu->layout.gi_count; j++) {
            has_device = has_device || gpu->layout.gis[j].ci_count > 0;
        }
        if (!is_counted(gpu)) {
            continue;
        }
        first = first || !gpu->mig_mode ? first : gpu;
        whole = whole || gpu->mig_mode ? whole : gpu;
        empty = empty || !gpu->mig_mode || has_device ? empty : gpu;
    }
    if (!first) {
        return;
    }
    if (empty) {
        snprintf(why, sizeof(why), "GPU %u is in MIG mode and has no MIG device", empty->index);
    } else if (whole) {
        snprintf(why, sizeof(why), "GPU %u is in MIG mode and GPU %u is not", first->index,
                 whole->index);
    } else if (kind_count > 1) {
        snprintf(why, sizeof(why), "there are MIG devices of different profiles: %s and %s",
                 kinds[0].profile, kinds[1].profile);
    } else {
        add_kind(maker, "gpu", &kinds[0]);
        return;
    }
    add_invalid(maker, first, why);
}

static void add_mig(const struct maker *maker)
{
    struct kind_count kinds[KIND_MAX];
    size_t count = count_kinds(maker->node, kinds);

    if (maker->facts->strategy == MIG_LABEL_NONE) {
        return;
    }
    mig_labels_set(maker->labels, "mig.strategy", "%s",
                   mig_label_strategy_name(maker->facts->strategy));
    if (maker->facts->strategy == MIG_LABEL_SINGLE) {
        add_single(maker, kinds, count);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        char profile[MIG_NAME_SIZE], resource[MIG_NAME_SIZE + 8];

        dotted(kinds[i].profile, profile);
        snprintf(resource, sizeof(resource), "mig-%s", profile);
        add_kind(maker, resource, &kinds[i]);
    }
}

/* ---- the node ---- */

static void add_versions(const struct maker *maker)
{
    struct mig_labels *labels = maker->labels;
    char parts[3][MIG_UUID_SIZE] = {"", "", ""};
    const char *rest = maker->node->driver_version;
    int32_t cuda = maker->node->cuda_version;

    for (size_t i = 0; i < MIG_ARRAY_SIZE(parts) && *rest; i++) {
        size_t length = strcspn(rest, ".");

        snprintf(parts[i], sizeof(parts[i]), "%.*s", (int)length, rest);
        rest += length + (rest[length] == '.');
    }
    mig_labels_set(labels, "cuda.driver.major", "%s", parts[0]);
    mig_labels_set(labels, "cuda.driver.minor", "%s", parts[1]);
    mig_labels_set(labels, "cuda.driver.rev", "%s", parts[2]);
    mig_labels_set(labels, "cuda.driver-version.major", "%s", parts[0]);
    mig_labels_set(labels, "cuda.driver-version.minor", "%s", parts[1]);
    mig_labels_set(labels, "cuda.driver-version.revision", "%s", parts[2]);
    mig_labels_set(labels, "cuda.driver-version.full", "%s", maker->node->driver_version);
    if (cuda > 0) {
        mig_labels_set(labels, "cuda.runtime.major", "%d", cuda / 1000);
        mig_labels_set(labels, "cuda.runtime.minor", "%d", cuda % 1000 / 10);
        mig_labels_set(labels, "cuda.runtime-version.major", "%d", cuda / 1000);
        mig_labels_set(labels, "cuda.runtime-version.minor", "%d", cuda % 1000 / 10);
        mig_labels_set(labels, "cuda.runtime-version.full", "%d.%d", cuda / 1000, cuda % 1000 / 10);
    }
}

/* One word for all GPUs; not known when they differ. */
static const char *mode_of(const struct mig_node *node)
{
    uint32_t class = 0;
    bool is_first = true;

    for (uint32_t i = 0; i < node->gpu_count; i++) {
        if (!is_counted(&node->gpus[i])) {
            continue;
        }
        if (!is_first && node->gpus[i].pci_class >> 8 != class) {
            return "unknown";
        }
        class = node->gpus[i].pci_class >> 8;
        is_first = false;
    }
    return class == CLASS_3D ? "compute" : class == CLASS_VGA ? "graphics" : "unknown";
}

/* A clique is told when all GPUs that are in a fabric are in the same one. */
static void add_clique(const struct maker *maker)
{
    const char *clique = "";

    for (uint32_t i = 0; i < maker->node->gpu_count; i++) {
        const char *own = maker->node->gpus[i].clique;

        if (own[0] != '\0' && clique[0] != '\0' && strcmp(own, clique) != 0) {
            return;
        }
        clique = own[0] != '\0' ? own : clique;
    }
    if (clique[0] != '\0') {
        mig_labels_set(maker->labels, "gpu.clique", "%s", clique);
    }
}

static void add_vgpu(const struct maker *maker)
{
    const struct mig_gpu *found = NULL;

    for (uint32_t i = 0; i < maker->node->gpu_count && !found; i++) {
        found = maker->node->gpus[i].vgpu ? &maker->node->gpus[i] : NULL;
    }
    mig_labels_set(maker->labels, "vgpu.present", "%s", found ? "true" : "false");
    if (found && found->vgpu_host_version[0] != '\0') {
        mig_labels_set(maker->labels, "vgpu.host-driver-version", "%s", found->vgpu_host_version);
        mig_labels_set(maker->labels, "vgpu.host-driver-branch", "%s", found->vgpu_host_branch);
    }
}

static void add_node(const struct maker *maker)
{
    const struct mig_label_facts *facts = maker->facts;
    char machine[MIG_LABEL_VALUE_SIZE];
    bool capable = false;

    for (uint32_t i = 0; i < maker->node->gpu_count; i++) {
        capable = capable || maker->node->gpus[i].mig_capable;
    }
    mig_label_sanitise(facts->machine ? facts->machine : "", machine, sizeof(machine));
    if (facts->with_timestamp) {
        mig_labels_set(maker->labels, "gfd.timestamp", "%llu",
                       (unsigned long long)facts->timestamp_s);
    }
    mig_labels_set(maker->labels, "gpu.machine", "%s", machine[0] != '\0' ? machine : "unknown");
    mig_labels_set(maker->labels, "gpu.mode", "%s", mode_of(maker->node));
    mig_labels_set(maker->labels, "mig.capable", "%s", capable ? "true" : "false");
    mig_labels_set(maker->labels, "mps.capable", "%s", facts->mps ? "true" : "false");
    add_versions(maker);
    add_clique(maker);
    add_vgpu(maker);
}

int mig_labels_make(const struct mig_node *node, const struct mig_label_facts *facts,
                    struct mig_labels *ret, char reason[MIG_LABEL_REASON_SIZE],
                    struct mig_error *error)
{
    struct maker maker = {node, facts, ret, reason};
    struct model_count models[MIG_GPU_MAX];
    size_t model_count = count_models(node, models);

    *ret = (struct mig_labels){0};
    if (reason) {
        reason[0] = '\0';
    }
    if (model_count == 0) {
        return 0;
    }
    add_node(&maker);
    add_gpus(&maker, models, model_count);
    add_mig(&maker);
    if (ret->error != 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, ret->error,
                                   "could not make the labels of the node");
    }
    return 0;
}
