/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the catalogue to the description of an emulated GPU. Numbers come from the catalogue alone.
 * What it does not know is either not needed (a sensor), replaced by what stands for it (the whole
 * GPU's memory by that of the profile that takes all of it), or a reason to refuse. Identity is a
 * function of seed and index, so that a test finds the same UUIDs on every run and machine.
 */
#include "emulator/migemu/migemu.h"

#include "base/text.h"
#include <string.h>

/* A well-mixing step; identity only, nothing secret hangs on it. */
static uint64_t mix(uint64_t value)
{
    value += 0x9e3779b97f4a7c15ULL;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
    return value ^ (value >> 31);
}

/* UUIDs of GPUs are not of a standard version: all of their bits are free. */
static void make_identity(uint64_t seed, unsigned index, struct emu_gpu_info *gpu)
{
    uint64_t high = mix(mix(seed) + index);
    uint64_t low = mix(high);
    /* One bus for each of eight GPUs, spread over the machine as in eight-GPU servers; further
     * ones are their neighbours. */
    static const uint8_t buses[] = {0x07, 0x0f, 0x47, 0x4e, 0x87, 0x90, 0xb7, 0xbd};
    unsigned slot = index % MIG_ARRAY_SIZE(buses);
    unsigned row = index / (unsigned)MIG_ARRAY_SIZE(buses);

    (void)snprintf(gpu->uuid, sizeof(gpu->uuid), "GPU-%08x-%04x-%04x-%04x-%012llx",
                   (unsigned)(high >> 32), (unsigned)(high >> 16) & 0xffff, (unsigned)high & 0xffff,
                   (unsigned)(low >> 48), (unsigned long long)(low & 0xffffffffffffULL));
    (void)snprintf(gpu->serial, sizeof(gpu->serial), "1%012llu",
                   (unsigned long long)(mix(low) % 1000000000000ULL));
    gpu->pci_bus = buses[slot] + row;
    gpu->minor = index;
    gpu->numa_node = slot < MIG_ARRAY_SIZE(buses) / 2 ? 0 : 1;
}

static uint32_t nvml_architecture(enum mig_architecture architecture)
{
    switch (architecture) {
    case MIG_ARCH_AMPERE:
        return NVML_DEVICE_ARCH_AMPERE;
    case MIG_ARCH_HOPPER:
        return NVML_DEVICE_ARCH_HOPPER;
    case MIG_ARCH_BLACKWELL:
        return NVML_DEVICE_ARCH_BLACKWELL;
    case MIG_ARCH_UNKNOWN:
        break;
    }
    return NVML_DEVICE_ARCH_UNKNOWN;
}

static const char *vbios_of(enum mig_architecture architecture)
{
    switch (architecture) {
    case MIG_ARCH_AMPERE:
        return "92.00.A0.00.01";
    case MIG_ARCH_HOPPER:
        return "96.00.74.00.01";
    case MIG_ARCH_BLACKWELL:
        return "98.02.6A.00.01";
    case MIG_ARCH_UNKNOWN:
        break;
    }
    return "90.00.00.00.01";
}

static void describe_ci_profile(const struct mig_ci_profile *from, struct emu_ci_profile *to)
{
    unsigned i;

    (void)mig_text_copy(to->name, sizeof(to->name), from->name);
    to->driver_id = from->driver_id == MIG_UNKNOWN ? (int32_t)from->enum_value : from->driver_id;
    to->sm_count = from->sm_count;
    to->enum_value = from->enum_value;
    to->slice_count = from->slice_count;
    to->max_instances = from->max_instances;
    to->is_default = from->is_default;
    to->size = from->size;
    for (i = 0; i < from->start_count && i < EMU_CI_START_MAX; i++) {
        to->starts[i] = from->starts[i];
    }
    to->start_count = (uint8_t)i;
}

/* The driver shows no engine that it does not have: unknown is none. */
static int16_t engine_count(int16_t count)
{
    return (int16_t)(count < 0 ? 0 : count);
}

static void describe_profile(const struct mig_profile *from, struct emu_profile *to)
{
    unsigned i;

    (void)mig_text_copy(to->name, sizeof(to->name), from->name);
    to->driver_id = from->driver_id;
    to->memory_mib = from->memory_mib;
    to->bar1_mib = from->bar1_mib == MIG_UNKNOWN ? EMU_UNKNOWN : from->bar1_mib;
    to->sm_count = from->sm_count;
    to->copy_engines = engine_count(from->engines.copy);
    to->decoders = engine_count(from->engines.decoder);
    to->encoders = engine_count(from->engines.encoder);
    to->jpegs = engine_count(from->engines.jpeg);
    to->ofas = engine_count(from->engines.ofa);
    to->enum_value = from->enum_value;
    to->slice_count = from->slice_count;
    to->max_instances = from->max_instances;
    to->variant = (uint8_t)from->variant;
    to->p2p = from->p2p;
    to->size = from->size;
    for (i = 0; i < from->start_count && i < EMU_START_MAX; i++) {
        to->starts[i] = from->starts[i];
    }
    to->start_count = (uint8_t)i;
    for (i = 0; i < from->ci_profile_count && i < EMU_CI_PROFILE_MAX; i++) {
        describe_ci_profile(&from->ci_profiles[i], &to->ci_profiles[i]);
    }
    to->ci_profile_count = (uint8_t)i;
}

/* Memory of the whole GPU; that of the largest profile where the sources do not say. */
static int32_t whole_memory(const struct mig_model *model)
{
    int32_t memory = model->total_memory_mib;
    unsigned i;

    for (i = 0; model->total_memory_mib == MIG_UNKNOWN && i < model->profile_count; i++) {
        if (model->profiles[i].memory_mib > memory) {
            memory = model->profiles[i].memory_mib;
        }
    }
    return memory;
}

static int refuse(const struct mig_model *model, const char *reason)
{
    return migemu_fail("cannot emulate '%s': %s", model->name, reason);
}

/* Everything without which instances cannot be made. */
static int check_model(const struct mig_model *model)
{
    unsigned i;

    if (model->unit_count == 0) {
        return refuse(model, "where its instances can be placed is not known");
    }
    if (model->profile_count > EMU_PROFILE_MAX) {
        return refuse(model, "it has more profiles than the emulator can hold");
    }
    if (whole_memory(model) <= 0) {
        return refuse(model, "how much memory it has is not known");
    }
    for (i = 0; i < model->profile_count; i++) {
        const struct mig_profile *profile = &model->profiles[i];

        if (profile->memory_mib == MIG_UNKNOWN || profile->driver_id == MIG_UNKNOWN ||
            profile->start_count == 0) {
            return migemu_fail("cannot emulate '%s': memory, driver id or placements of its "
                               "profile '%s' are not known",
                               model->name, profile->name);
        }
    }
    return 0;
}

int migemu_describe_gpu(const struct mig_model *model, unsigned index, uint64_t seed,
                        enum emu_numbering numbering, struct emu_gpu_info *ret)
{
    int status = check_model(model);
    unsigned i;

    if (status != 0) {
        return status;
    }
    memset(ret, 0, sizeof(*ret));
    (void)mig_text_copy(ret->name, sizeof(ret->name), model->name);
    make_identity(seed, index, ret);
    (void)mig_text_copy(ret->vbios, sizeof(ret->vbios), vbios_of(model->architecture));
    (void)mig_text_copy(ret->part_number, sizeof(ret->part_number), "900-00000-0000-000");
    if (model->pci_id_count > 0) {
        ret->pci_device = model->pci_ids[0].device;
        ret->pci_subsystem = model->pci_ids[0].subsystem;
    }
    ret->architecture = nvml_architecture(model->architecture);
    ret->brand = strstr(model->name, "RTX") ? NVML_BRAND_NVIDIA_RTX : NVML_BRAND_NVIDIA;
    ret->cc_major = model->cc_major;
    ret->cc_minor = model->cc_minor;
    ret->mig_capable = 1;
    ret->mode_needs_reset = model->mode_needs_reset;
    ret->mode_persists_reboot = model->mode_persists_reboot;
    /* Only boards of eight units were ever seen with swapped halves (facts/README, section 4). */
    ret->numbering = (uint8_t)(model->unit_count == 8 ? numbering : EMU_NUMBERING_DIRECT);
    ret->unit_count = model->unit_count;
    ret->compute_slice_count = model->compute_slice_count;
    ret->max_mig_devices = model->max_mig_devices;
    ret->sm_total = model->sm_total;
    ret->memory_mib = whole_memory(model);
    ret->bar1_mib = model->bar1_total_mib > 0 ? model->bar1_total_mib : 65536;
    ret->ecc_capable = 1;
    ret->profile_count = model->profile_count;
    for (i = 0; i < model->profile_count; i++) {
        describe_profile(&model->profiles[i], &ret->profiles[i]);
    }
    emu_gpu_defaults(ret);
    return 0;
}

/* True when both names share a word with a digit ("A100"), case ignored. */
static bool shares_word(const char *wanted, const char *name)
{
    char word[32];

    while (*wanted) {
        size_t length = strcspn(wanted, " -_*");

        if (length > 0 && length < sizeof(word)) {
            memcpy(word, wanted, length);
            word[length] = '\0';
            if (strpbrk(word, "0123456789") && strcasestr(name, word)) {
                return true;
            }
        }
        wanted += length;
        wanted += strspn(wanted, " -_*");
    }
    return false;
}

const struct mig_model *migemu_find_model(const char *name)
{
    const struct mig_model *model = mig_catalog_find_name(name);
    size_t shown = 0;
    size_t i;
    int pass;

    if (model) {
        return model;
    }
    (void)migemu_fail("the catalogue has no GPU, or several, by the name '%s'", name);
    for (pass = 0; pass < 2 && shown == 0; pass++) {
        for (i = 0; i < mig_catalog_count(); i++) {
            const struct mig_model *other = mig_catalog_get(i);

            if (pass == 1 || shares_word(name, other->name)) {
                fprintf(stderr, "%s  %s\n", shown++ == 0 ? "migemu: hint: these are near:\n" : "",
                        other->name);
            }
        }
    }
    return NULL;
}
