/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing CDI specifications.
 *
 * The document is put together with jansson in a fixed order, so that equal nodes give equal text
 * and a file is written only when something in it changed.
 */
#include "deviceplugin/cdi.h"
#include "base/cleanup.h"
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <string.h>

#define VERSION_BASE "0.3.0"
#define VERSION_LATER "0.5.0" /* hostPath of device nodes; names that begin with a digit */
#define DEFAULT_HOOK "/usr/bin/nvidia-ctk"
#define CLASS_NODES_MAX 4
#ifdef __aarch64__
#define DEBIAN_LIBRARIES "/usr/lib/aarch64-linux-gnu"
#else
#define DEBIAN_LIBRARIES "/usr/lib/x86_64-linux-gnu"
#endif

MIG_DEFINE_CLEANUP(json, json_t, json_decref)

/* Classes beside gpu are one device, "all" or a channel, of the nodes that exist. */
static const struct {
    const char *name, *device;
    const char *nodes[CLASS_NODES_MAX];
} classes[] = {
    [MIG_DP_CDI_GPU] = {"gpu", NULL, {NULL}},
    [MIG_DP_CDI_GDRCOPY] = {"gdrcopy", "all", {"/dev/gdrdrv"}},
    [MIG_DP_CDI_GDS] = {"gds", "all", {"/dev/nvidia-fs0", "/dev/nvidia-fs1", "/dev/nvidia-fs2"}},
    [MIG_DP_CDI_MOFED] = {"mofed",
                          "all",
                          {"/dev/infiniband/rdma_cm", "/dev/infiniband/uverbs0",
                           "/dev/infiniband/uverbs1", "/dev/infiniband/uverbs2"}},
    [MIG_DP_CDI_IMEX] = {"imex-channel", "0", {"/dev/nvidia-caps-imex-channels/channel0"}},
};

const char *mig_dp_cdi_class_name(enum mig_dp_cdi_class class)
{
    return classes[class].name;
}

void mig_dp_cdi_file_name(enum mig_dp_cdi_class class, char *buffer, size_t size)
{
    snprintf(buffer, size, "%s-%s.json", MIG_DP_CDI_VENDOR, classes[class].name);
}

static bool is_asked_for(const struct mig_dp_config *config, enum mig_dp_cdi_class class)
{
    switch (class) {
    case MIG_DP_CDI_GPU:
        return true;
    case MIG_DP_CDI_GDRCOPY:
        return config->gdrcopy;
    case MIG_DP_CDI_GDS:
        return config->gds;
    case MIG_DP_CDI_MOFED:
        return config->mofed;
    case MIG_DP_CDI_IMEX:
        return config->imex_channel_count > 0;
    case MIG_DP_CDI_CLASS_COUNT:
        break;
    }
    return false;
}

bool mig_dp_cdi_wanted(const struct mig_dp_config *config, const struct mig_dp_host *host,
                       enum mig_dp_cdi_class class)
{
    bool there = class == MIG_DP_CDI_GPU;

    for (size_t i = 0; !there && i < CLASS_NODES_MAX && classes[class].nodes[i]; i++) {
        there = mig_dp_host_has_node(host, classes[class].nodes[i]);
    }
    return there && (config->list_strategies & MIG_DP_LIST_CDI) && is_asked_for(config, class);
}

static const char *without_slash(const char *root)
{
    return strcmp(root, "/") == 0 ? "" : root;
}

const char *mig_dp_dev_root(const struct mig_dp_config *config)
{
    return without_slash(config->dev_root[0] ? config->dev_root : config->driver_root);
}

int mig_dp_slice_nodes(const struct mig_dp_host *host, const struct mig_dp_slice *slice,
                       void (*found)(const char *path, void *data), void *data,
                       struct mig_error *error)
{
    unsigned gi_minor = 0, ci_minor = 0;
    char path[64];
    int result = MIG_OK;

    if (slice->minor < 0) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "the device number of GPU %u is not known", slice->gpu);
    }
    if (slice->gi_id != MIG_ID_NONE) {
        result = mig_dp_caps_minor(host, slice->minor, slice->gi_id, MIG_ID_NONE, &gi_minor, error);
        if (result == MIG_OK) {
            result =
                mig_dp_caps_minor(host, slice->minor, slice->gi_id, slice->ci_id, &ci_minor, error);
        }
        if (result < 0) {
            mig_error_prefix(error, "could not find the capability nodes of %s", slice->uuid);
            return result;
        }
    }
    snprintf(path, sizeof(path), "/dev/nvidia%d", slice->minor);
    found(path, data);
    if (slice->gi_id != MIG_ID_NONE) {
        snprintf(path, sizeof(path), MIG_DP_CAPS_DIRECTORY "/nvidia-cap%u", gi_minor);
        found(path, data);
        snprintf(path, sizeof(path), MIG_DP_CAPS_DIRECTORY "/nvidia-cap%u", ci_minor);
        found(path, data);
    }
    return MIG_OK;
}

/* ---- parts of the document ---- */

/* A list that grows by callbacks; a failure is remembered. */
struct list {
    json_t *items;
    const char *root; /* on the host */
    bool failed;
};

static void append(struct list *list, json_t *item)
{
    if (json_array_append_new(list->items, item) < 0) {
        list->failed = true;
    }
}

static void append_node(const char *path, void *data)
{
    struct list *list = data;

    append(list, list->root[0]
                     ? json_pack("{s:s, s:s+}", "path", path, "hostPath", list->root, path)
                     : json_pack("{s:s}", "path", path));
}

static void append_mount(const char *path, const char *link, void *data)
{
    struct list *list = data;

    append(list, json_pack("{s:s+, s:s, s:[s, s, s, s]}", "hostPath", list->root, path,
                           "containerPath", link, "options", "ro", "nosuid", "nodev", "bind"));
}

/* A library also where the loader of another distribution than the host's finds it. */
static void append_mount_widely(const char *path, const char *link, void *data)
{
    static const char *const directories[] = {"/usr/lib64", DEBIAN_LIBRARIES};
    const char *slash = strrchr(link, '/');
    char other[MIG_DP_PATH_SIZE];

    append_mount(path, link, data);
    for (size_t i = 0; slash && strstr(slash, ".so.") && i < MIG_ARRAY_SIZE(directories); i++) {
        snprintf(other, sizeof(other), "%s%.256s", directories[i], slash);
        if (strcmp(other, link) != 0) {
            append_mount(path, other, data);
        }
    }
}

/* A word of a comma list. */
static bool is_listed(const char *list, const char *word)
{
    size_t length = strlen(word);

    while (*list) {
        size_t part = strcspn(list, ",");

        if (part == length && strncmp(list, word, length) == 0) {
            return true;
        }
        list += part + (list[part] == ',');
    }
    return false;
}

/* The hook is there when NVIDIA's toolkit is, or when somebody said where it is. */
static bool wants_hook(const struct mig_dp_cdi_input *input)
{
    const struct mig_dp_config *config = input->config;
    struct mig_dp_host root = {.dev_root = input->host->driver_root};

    return config->cdi_hook_path[0] && !is_listed(config->cdi_disable_hooks, "all") &&
           !is_listed(config->cdi_disable_hooks, "update-ldcache") &&
           (strcmp(config->cdi_hook_path, DEFAULT_HOOK) != 0 ||
            mig_dp_host_has_node(&root, config->cdi_hook_path));
}

/* The directories of the libraries among the mounts, once each, as arguments. */
static void append_folders(struct list *arguments, const json_t *mounts)
{
    const json_t *mount;
    size_t index;
    char last[MIG_DP_PATH_SIZE] = "";

    json_array_foreach(mounts, index, mount)
    {
        const char *path = json_string_value(json_object_get(mount, "containerPath"));
        const char *slash = path ? strrchr(path, '/') : NULL;

        if (!slash || !strstr(slash, ".so.") || (size_t)(slash - path) >= sizeof(last)) {
            continue;
        }
        if (strncmp(last, path, (size_t)(slash - path)) != 0 || last[slash - path] != '\0') {
            memcpy(last, path, (size_t)(slash - path));
            last[slash - path] = '\0';
            append(arguments, json_string("--folder"));
            append(arguments, json_string(last));
        }
    }
}

static void add_hook(const struct mig_dp_cdi_input *input, struct list *edits_state, json_t *edits,
                     const json_t *mounts)
{
    const char *path = input->config->cdi_hook_path;
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    struct list arguments = {.items = json_array()};

    append(&arguments, json_string(name));
    if (strcmp(name, "nvidia-ctk") == 0) {
        append(&arguments, json_string("hook"));
    }
    append(&arguments, json_string("update-ldcache"));
    append_folders(&arguments, mounts);
    if (json_object_set_new(edits, "hooks",
                            json_pack("[{s:s, s:s, s:o}]", "hookName", "createContainer", "path",
                                      path, "args", arguments.items)) < 0 ||
        arguments.failed) {
        edits_state->failed = true;
    }
}

/* What every container with a device gets. */
static json_t *common_edits(const struct mig_dp_cdi_input *input)
{
    struct list nodes = {.items = json_array(), .root = mig_dp_dev_root(input->config)};
    struct list mounts = {.items = json_array(), .root = without_slash(input->config->driver_root)};
    json_t *edits =
        json_pack("{s:[s]}", "env", "NVIDIA_VISIBLE_DEVICES=void"); /* nothing is added twice */

    for (size_t i = 0; mig_dp_control_node(i); i++) {
        if (mig_dp_host_has_node(input->host, mig_dp_control_node(i))) {
            append_node(mig_dp_control_node(i), &nodes);
        }
    }
    mig_dp_host_driver_files(input->host, input->node->driver_version,
                             wants_hook(input) ? append_mount : append_mount_widely, &mounts);
    if (wants_hook(input)) {
        add_hook(input, &mounts, edits, mounts.items);
    }
    if (json_array_size(nodes.items) > 0 &&
        json_object_set(edits, "deviceNodes", nodes.items) < 0) {
        nodes.failed = true;
    }
    if (json_array_size(mounts.items) > 0 && json_object_set(edits, "mounts", mounts.items) < 0) {
        mounts.failed = true;
    }
    json_decref(nodes.items);
    json_decref(mounts.items);
    if (nodes.failed || mounts.failed) {
        json_decref(edits);
        return NULL;
    }
    return edits;
}

/* ---- devices ---- */

static const struct mig_gpu *gpu_of(const struct mig_node *node, const struct mig_dp_slice *slice)
{
    for (uint32_t i = 0; i < node->gpu_count; i++) {
        if (node->gpus[i].index == slice->gpu) {
            return &node->gpus[i];
        }
    }
    return NULL;
}

/* Letters, digits and "_-.:", with a letter or digit at both ends. */
static bool is_device_name(const char *name)
{
    size_t length = strlen(name);

    for (size_t i = 0; i < length; i++) {
        bool inside = i > 0 && i + 1 < length;

        if (!isalnum((unsigned char)name[i]) && !(inside && strchr("_-.:", name[i]))) {
            return false;
        }
    }
    return length > 0;
}

/*
 * Who was given it by its name could not be started, as the runtime does not know the name. Where
 * nobody chose names, he is told by the variable alone.
 */
static void leave_out(const struct mig_dp_cdi_input *input, struct mig_dp_slice *slice,
                      const char *why)
{
    mig_dp_table_note(input->table, slice->gpu, "%s has no place in the CDI specification: %.120s",
                      slice->uuid, why);
    input->table->incomplete = true;
    if (!slice->unhealthy && !input->config->list_auto) {
        slice->unhealthy = true;
        snprintf(slice->reason, sizeof(slice->reason),
                 "has no place in the CDI specification: %.110s", why);
    }
}

/* False when it is left out. */
static bool add_device(const struct mig_dp_cdi_input *input, struct mig_dp_slice *slice,
                       struct list *devices)
{
    struct list nodes = {.items = json_array(), .root = mig_dp_dev_root(input->config)};
    const struct mig_gpu *gpu = gpu_of(input->node, slice);
    struct mig_error error = {0};
    int result = mig_dp_slice_nodes(input->host, slice, append_node, &nodes, &error);

    if (result < 0 || !is_device_name(slice->uuid)) {
        leave_out(input, slice, result < 0 ? error.message : "its UUID is no device name");
        json_decref(nodes.items);
        return false;
    }
    if (gpu && (slice->gi_id == MIG_ID_NONE || strstr(slice->profile, "+gfx"))) {
        mig_dp_host_drm_nodes(input->host, gpu->bus_id, append_node, &nodes);
    }
    append(devices, json_pack("{s:s, s:{s:o}}", "name", slice->uuid, "containerEdits",
                              "deviceNodes", nodes.items));
    devices->failed |= nodes.failed;
    return true;
}

static void add_class_device(const struct mig_dp_cdi_input *input, enum mig_dp_cdi_class class,
                             struct list *devices)
{
    struct list nodes = {.items = json_array(), .root = mig_dp_dev_root(input->config)};

    for (size_t i = 0; i < CLASS_NODES_MAX && classes[class].nodes[i]; i++) {
        if (mig_dp_host_has_node(input->host, classes[class].nodes[i])) {
            append_node(classes[class].nodes[i], &nodes);
        }
    }
    if (json_array_size(nodes.items) == 0) {
        json_decref(nodes.items);
        return;
    }
    append(devices, json_pack("{s:s, s:{s:o}}", "name", classes[class].device, "containerEdits",
                              "deviceNodes", nodes.items));
    devices->failed |= nodes.failed;
}

/* A slice that was under two names is one device: the one before; NULL = it is the first. */
static const struct mig_dp_slice *same_before(const struct mig_dp_table *table, uint32_t index)
{
    for (uint32_t i = 0; i < index; i++) {
        if (!table->slices[i].kept &&
            strcmp(table->slices[i].uuid, table->slices[index].uuid) == 0) {
            return &table->slices[i];
        }
    }
    return NULL;
}

static void add_devices(const struct mig_dp_cdi_input *input, struct list *devices)
{
    for (uint32_t i = 0; i < input->table->slice_count; i++) {
        struct mig_dp_slice *slice = &input->table->slices[i];
        const struct mig_dp_slice *same = same_before(input->table, i);

        slice->in_cdi = !slice->kept && (same ? same->in_cdi : add_device(input, slice, devices));
    }
}

void mig_dp_cdi_clear(struct mig_dp_table *table)
{
    for (uint32_t i = 0; i < table->slice_count; i++) {
        table->slices[i].in_cdi = false;
    }
}

/* A runtime refuses a file whose version is lower than what is in it. */
static const char *version_of(const struct mig_dp_cdi_input *input, const json_t *devices)
{
    bool later = mig_dp_dev_root(input->config)[0] != '\0';
    const json_t *device;
    size_t index;

    json_array_foreach(devices, index, device)
    {
        const char *name = json_string_value(json_object_get(device, "name"));

        later = later || (name && isdigit((unsigned char)name[0]));
    }
    return later ? VERSION_LATER : VERSION_BASE;
}

static json_t *make_document(const struct mig_dp_cdi_input *input, enum mig_dp_cdi_class class,
                             json_t *devices)
{
    json_t *document =
        json_pack("{s:s, s:s++, s:O}", "cdiVersion", version_of(input, devices), "kind",
                  MIG_DP_CDI_VENDOR, "/", classes[class].name, "devices", devices);
    json_t *edits = NULL;

    if (document && class == MIG_DP_CDI_GPU) {
        edits = common_edits(input);
        if (!edits || json_object_set_new(document, "containerEdits", edits) < 0) {
            json_decref(document);
            return NULL;
        }
        if (!json_object_get(edits, "mounts")) { /* devices, but nothing to use them with */
            mig_dp_cdi_clear(input->table);
        }
    }
    return document;
}

int mig_dp_cdi_make(const struct mig_dp_cdi_input *input, enum mig_dp_cdi_class class, char **ret,
                    struct mig_error *error)
{
    MIG_CLEANUP(cleanup_json) json_t *items = json_array();
    MIG_CLEANUP(cleanup_json) json_t *document = NULL;
    struct list devices = {.items = items};

    *ret = NULL;
    if (class == MIG_DP_CDI_GPU) {
        add_devices(input, &devices);
    } else {
        add_class_device(input, class, &devices);
    }
    if (!devices.failed && json_array_size(items) == 0) {
        return MIG_OK;
    }
    document = devices.failed ? NULL : make_document(input, class, items);
    *ret = document ? json_dumps(document, JSON_INDENT(2)) : NULL;
    if (!*ret) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM,
                                   "could not make the CDI specification");
    }
    return MIG_OK;
}
