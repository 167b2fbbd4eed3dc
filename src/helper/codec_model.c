/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models on the wire. A model points to its parts, so it travels by way of a store, which holds all
 * parts in place: writing fills a store and sends it, reading receives one and links the pointers.
 * Aliases stay behind: they are for what people type.
 */
#include "base/text.h"
#include "helper/codec.h"
#include <string.h>

#define PCI_ID_MAX 32
#define CI_START_MAX MIG_UNIT_MAX

struct profile_store {
    char name[MIG_NAME_SIZE];
    uint8_t starts[MIG_UNIT_MAX];
    struct mig_ci_profile cis[MIG_CI_PROFILE_MAX];
    char ci_names[MIG_CI_PROFILE_MAX][MIG_NAME_SIZE];
    uint8_t ci_starts[MIG_CI_PROFILE_MAX][CI_START_MAX];
};

struct mig_wire_model {
    struct mig_model model;
    char name[MIG_UUID_SIZE];
    char min_driver[MIG_NAME_SIZE];
    struct mig_pci_id pci_ids[PCI_ID_MAX];
    struct mig_profile profiles[MIG_PROFILE_MAX];
    struct profile_store stores[MIG_PROFILE_MAX];
};

struct mig_wire_model *mig_wire_models_new(size_t count)
{
    return calloc(count, sizeof(struct mig_wire_model));
}

const struct mig_model *mig_wire_model_get(const struct mig_wire_model *models, size_t index)
{
    return &models[index].model;
}

/* ---- both ways ---- */

/* Ascending, and each instance within the units. */
static void pass_starts(struct mig_wire *wire, uint8_t *starts, uint8_t *count, unsigned size,
                        unsigned unit_count)
{
    mig_wire_u8(wire, count, MIG_UNIT_MAX);
    for (unsigned i = 0; !wire->failed && i < *count; i++) {
        mig_wire_u8(wire, &starts[i], MIG_UNIT_MAX - 1);
        mig_wire_check(wire, starts[i] + size <= unit_count);
        mig_wire_check(wire, i == 0 || starts[i] > starts[i - 1]);
    }
}

static void pass_ci(struct mig_wire *wire, struct profile_store *store, unsigned index)
{
    struct mig_ci_profile *ci = &store->cis[index];

    mig_wire_text(wire, store->ci_names[index], sizeof(store->ci_names[index]));
    mig_wire_u8(wire, &ci->enum_value, UINT8_MAX);
    mig_wire_i32(wire, &ci->driver_id);
    mig_wire_u8(wire, &ci->slice_count, UINT8_MAX);
    mig_wire_u8(wire, &ci->max_instances, UINT8_MAX);
    mig_wire_i32(wire, &ci->sm_count);
    mig_wire_bool(wire, &ci->is_default);
    mig_wire_u8(wire, &ci->size, MIG_UNIT_MAX);
    pass_starts(wire, store->ci_starts[index], &ci->start_count, ci->size, MIG_UNIT_MAX);
}

static void pass_engines(struct mig_wire *wire, struct mig_engines *engines)
{
    mig_wire_i16(wire, &engines->copy);
    mig_wire_i16(wire, &engines->decoder);
    mig_wire_i16(wire, &engines->encoder);
    mig_wire_i16(wire, &engines->jpeg);
    mig_wire_i16(wire, &engines->ofa);
}

static void pass_profile(struct mig_wire *wire, struct mig_wire_model *model, unsigned index)
{
    struct mig_profile *profile = &model->profiles[index];
    struct profile_store *store = &model->stores[index];

    mig_wire_text(wire, store->name, sizeof(store->name));
    mig_wire_u8(wire, &profile->enum_value, UINT8_MAX);
    mig_wire_i32(wire, &profile->driver_id);
    mig_wire_u8(wire, &profile->slice_count, UINT8_MAX);
    mig_wire_u8(wire, &profile->max_instances, UINT8_MAX);
    MIG_WIRE_ENUM(wire, profile->variant, MIG_VARIANT_GFX);
    mig_wire_i32(wire, &profile->memory_mib);
    mig_wire_bool(wire, &profile->memory_is_estimate);
    mig_wire_i32(wire, &profile->bar1_mib);
    mig_wire_i32(wire, &profile->sm_count);
    pass_engines(wire, &profile->engines);
    mig_wire_bool(wire, &profile->p2p);
    mig_wire_u8(wire, &profile->size, MIG_UNIT_MAX);
    pass_starts(wire, store->starts, &profile->start_count, profile->size, model->model.unit_count);
    mig_wire_u8(wire, &profile->ci_profile_count, MIG_CI_PROFILE_MAX);
    for (unsigned i = 0; !wire->failed && i < profile->ci_profile_count; i++) {
        pass_ci(wire, store, i);
    }
    MIG_WIRE_ENUM(wire, profile->confidence, MIG_FROM_DRIVER);
}

static void pass_model(struct mig_wire *wire, struct mig_wire_model *store)
{
    struct mig_model *model = &store->model;

    mig_wire_text(wire, store->name, sizeof(store->name));
    mig_wire_text(wire, store->min_driver, sizeof(store->min_driver));
    MIG_WIRE_ENUM(wire, model->architecture, MIG_ARCH_BLACKWELL);
    mig_wire_u8(wire, &model->cc_major, UINT8_MAX);
    mig_wire_u8(wire, &model->cc_minor, UINT8_MAX);
    mig_wire_u8(wire, &model->pci_id_count, PCI_ID_MAX);
    for (unsigned i = 0; !wire->failed && i < model->pci_id_count; i++) {
        mig_wire_u32(wire, &store->pci_ids[i].device, UINT32_MAX);
        mig_wire_u32(wire, &store->pci_ids[i].subsystem, UINT32_MAX);
    }
    mig_wire_i32(wire, &model->total_memory_mib);
    mig_wire_i32(wire, &model->bar1_total_mib);
    mig_wire_u8(wire, &model->unit_count, MIG_UNIT_MAX);
    mig_wire_u8(wire, &model->compute_slice_count, UINT8_MAX);
    mig_wire_i32(wire, &model->sm_total);
    mig_wire_u8(wire, &model->max_mig_devices, UINT8_MAX);
    mig_wire_bool(wire, &model->mode_needs_reset);
    mig_wire_bool(wire, &model->mode_persists_reboot);
    mig_wire_u8(wire, &model->profile_count, MIG_PROFILE_MAX);
    for (unsigned i = 0; !wire->failed && i < model->profile_count; i++) {
        pass_profile(wire, store, i);
    }
    MIG_WIRE_ENUM(wire, model->confidence, MIG_FROM_DRIVER);
}

/* ---- between a model and its store ---- */

static void link_profile(struct mig_wire_model *store, unsigned index)
{
    struct mig_profile *profile = &store->profiles[index];
    struct profile_store *parts = &store->stores[index];

    profile->name = parts->name;
    profile->starts = parts->starts;
    profile->ci_profiles = parts->cis;
    for (unsigned i = 0; i < profile->ci_profile_count; i++) {
        parts->cis[i].name = parts->ci_names[i];
        parts->cis[i].starts = parts->ci_starts[i];
    }
}

static void link_model(struct mig_wire_model *store)
{
    struct mig_model *model = &store->model;

    model->name = store->name;
    model->aliases = NULL;
    model->alias_count = 0;
    model->min_driver = store->min_driver[0] != '\0' ? store->min_driver : NULL;
    model->pci_ids = store->pci_ids;
    model->profiles = store->profiles;
    for (unsigned i = 0; i < model->profile_count; i++) {
        link_profile(store, i);
    }
}

/* False when something of it has no room. */
static bool fill_profile(struct mig_wire_model *store, unsigned index,
                         const struct mig_profile *profile)
{
    struct profile_store *parts = &store->stores[index];
    bool fits = profile->start_count <= MIG_UNIT_MAX &&
                profile->ci_profile_count <= MIG_CI_PROFILE_MAX &&
                mig_text_copy(parts->name, sizeof(parts->name), profile->name);

    store->profiles[index] = *profile;
    if (fits && profile->start_count > 0) {
        memcpy(parts->starts, profile->starts, profile->start_count);
    }
    for (unsigned i = 0; fits && i < profile->ci_profile_count; i++) {
        const struct mig_ci_profile *ci = &profile->ci_profiles[i];

        parts->cis[i] = *ci;
        fits = ci->start_count <= CI_START_MAX &&
               mig_text_copy(parts->ci_names[i], sizeof(parts->ci_names[i]), ci->name);
        if (fits && ci->start_count > 0) {
            memcpy(parts->ci_starts[i], ci->starts, ci->start_count);
        }
    }
    return fits;
}

static bool fill_model(struct mig_wire_model *store, const struct mig_model *model)
{
    bool fits = model->pci_id_count <= PCI_ID_MAX && model->profile_count <= MIG_PROFILE_MAX &&
                mig_text_copy(store->name, sizeof(store->name), model->name) &&
                mig_text_copy(store->min_driver, sizeof(store->min_driver),
                              model->min_driver ? model->min_driver : "");

    store->model = *model;
    for (unsigned i = 0; fits && i < model->pci_id_count; i++) {
        store->pci_ids[i] = model->pci_ids[i];
    }
    for (unsigned i = 0; fits && i < model->profile_count; i++) {
        fits = fill_profile(store, i, &model->profiles[i]);
    }
    return fits;
}

void mig_wire_model_put(struct mig_wire *wire, const struct mig_model *model)
{
    MIG_AUTO_FREE struct mig_wire_model *store = mig_wire_models_new(1);

    mig_wire_check(wire, store && fill_model(store, model));
    if (!wire->failed) {
        pass_model(wire, store);
    }
}

void mig_wire_model_take(struct mig_wire *wire, struct mig_wire_model *models, size_t index)
{
    pass_model(wire, &models[index]);
    link_model(&models[index]);
}
