/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migemu create and destroy. A node is a directory that migemu makes and fills; it is complete or
 * not there. Destroying removes what is in it, but only from a directory that holds a machine.
 */
#include "emulator/machine/host_tree.h"
#include "emulator/machine/partition.h"
#include "emulator/migemu/migemu.h"

#include "base/file.h"
#include "base/text.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <string.h>
#include <sys/stat.h>

#define DEFAULT_DRIVER "550.90.07"
#define REMOVE_DEPTH_MAX 16

struct create_request {
    const struct mig_model *models[EMU_GPU_MAX];
    unsigned count;
    const char *driver; /* NULL: chosen by the GPUs */
    enum emu_numbering numbering;
    struct emu_latency latency;
    bool mig, persistence, force, frozen;
    unsigned permission;
    uint64_t seed;
};

/* ---- driver versions ---- */

#define VERSION_PARTS 3

/* "550.90.07" as numbers; false unless it begins with a number. */
static bool parse_version(const char *text, unsigned parts[VERSION_PARTS])
{
    unsigned i;

    for (i = 0; i < VERSION_PARTS; i++) {
        char *end;
        unsigned long value = strtoul(text, &end, 10);

        if (end == text || value > 99999) {
            return false;
        }
        parts[i] = (unsigned)value;
        if (*end != '.') {
            for (i++; i < VERSION_PARTS; i++) {
                parts[i] = 0;
            }
            return *end == '\0';
        }
        text = end + 1;
    }
    return false;
}

static int compare_versions(const char *a, const char *b)
{
    unsigned left[VERSION_PARTS];
    unsigned right[VERSION_PARTS];
    unsigned i;

    if (!parse_version(a, left) || !parse_version(b, right)) {
        return 0;
    }
    for (i = 0; i < VERSION_PARTS; i++) {
        if (left[i] != right[i]) {
            return left[i] < right[i] ? -1 : 1;
        }
    }
    return 0;
}

/* CUDA version that a driver branch brings, from NVIDIA's release notes. */
static int cuda_of(const char *driver)
{
    static const struct {
        unsigned branch;
        int cuda;
    } rows[] = {{450, 11000}, {460, 11020}, {470, 11040}, {495, 11050}, {510, 11060},
                {515, 11070}, {520, 11080}, {525, 12000}, {530, 12010}, {535, 12020},
                {545, 12030}, {550, 12040}, {555, 12050}, {560, 12060}, {565, 12070},
                {570, 12080}, {575, 12090}, {580, 13000}, {590, 13010}};
    unsigned parts[VERSION_PARTS] = {0};
    int cuda = rows[0].cuda;
    size_t i;

    (void)parse_version(driver, parts);
    for (i = 0; i < MIG_ARRAY_SIZE(rows); i++) {
        if (parts[0] >= rows[i].branch) {
            cuda = rows[i].cuda;
        }
    }
    return cuda;
}

/* The driver asked for, if every GPU works with it; otherwise the oldest good one. */
static int choose_driver(const struct create_request *request, char *driver, size_t size)
{
    const char *newest = DEFAULT_DRIVER;
    unsigned i;

    for (i = 0; i < request->count; i++) {
        const char *min = request->models[i]->min_driver;

        if (!min) {
            continue;
        }
        if (request->driver && compare_versions(request->driver, min) < 0) {
            (void)migemu_fail("driver %s is too old for MIG on '%s', which needs %s",
                              request->driver, request->models[i]->name, min);
            return MIGEMU_EXIT_USAGE;
        }
        if (compare_versions(newest, min) < 0) {
            newest = min;
        }
    }
    if (!mig_text_copy(driver, size, request->driver ? request->driver : newest)) {
        return migemu_usage("create", "the driver version is too long");
    }
    return 0;
}

/* ---- options ---- */

/* "A30" or "A30*2". */
static int add_gpus(struct create_request *request, const char *text)
{
    char name[128];
    const char *star = strrchr(text, '*');
    size_t length = star ? (size_t)(star - text) : strlen(text);
    const struct mig_model *model;
    uint64_t count = 1;

    if (length == 0 || length >= sizeof(name)) {
        return migemu_usage("create", "'%s' is not the name of a GPU", text);
    }
    memcpy(name, text, length);
    name[length] = '\0';
    if (star && (!mig_text_parse_u64(star + 1, EMU_GPU_MAX, &count) || count == 0)) {
        return migemu_usage("create", "'%s' is not a number of GPUs from 1 to %d", star + 1,
                            EMU_GPU_MAX);
    }
    model = migemu_find_model(name);
    if (!model) {
        return MIGEMU_EXIT_USAGE;
    }
    if (request->count + count > EMU_GPU_MAX) {
        return migemu_usage("create", "a machine has at most %d GPUs", EMU_GPU_MAX);
    }
    while (count-- > 0) {
        request->models[request->count++] = model;
    }
    return 0;
}

/* One word of a few; its position becomes *ret. */
static int parse_word(const char *option, const char *text, const char *const *words,
                      unsigned count, unsigned *ret)
{
    unsigned i;

    for (i = 0; i < count; i++) {
        if (strcmp(text, words[i]) == 0) {
            *ret = i;
            return 0;
        }
    }
    return migemu_usage("create", "'%s' is no value for --%s", text, option);
}

static int apply_option(struct create_request *request, int option, const char *value)
{
    static const char *const numberings[] = {"direct", "half-swapped"};
    static const char *const switches[] = {"off", "on"};
    static const char *const clocks[] = {"real", "frozen"};
    static const char *const permissions[] = {"owner", "open", "root"};
    unsigned parts[VERSION_PARTS];
    unsigned word = 0;
    int status = 0;

    switch (option) {
    case 'g':
        return add_gpus(request, value);
    case 'd':
        request->driver = value;
        return parse_version(value, parts)
                   ? 0
                   : migemu_usage("create", "'%s' is not a driver version", value);
    case 'n':
        status = parse_word("gi-numbering", value, numberings, 2, &word);
        request->numbering = (enum emu_numbering)word;
        return status;
    case 'm':
        status = parse_word("mig", value, switches, 2, &word);
        request->mig = word == 1;
        return status;
    case 'p':
        status = parse_word("persistence", value, switches, 2, &word);
        request->persistence = word == 1;
        return status;
    case 'c':
        status = parse_word("clock", value, clocks, 2, &word);
        request->frozen = word == 1;
        return status;
    case 'w':
        return parse_word("permission", value, permissions, 3, &request->permission);
    case 'l':
        return migemu_latency_preset(value, &request->latency)
                   ? 0
                   : migemu_usage("create", "'%s' is no value for --latency", value);
    case 's':
        return mig_text_parse_base0(value, UINT64_MAX, &request->seed)
                   ? 0
                   : migemu_usage("create", "'%s' is not a seed", value);
    case 'f':
        request->force = true;
        return 0;
    default:
        migemu_print_usage(stderr, "create");
        return MIGEMU_EXIT_USAGE;
    }
}

static int parse_request(int argc, char **argv, struct create_request *request)
{
    static const struct option options[] = {{"gpu", required_argument, NULL, 'g'},
                                            {"driver", required_argument, NULL, 'd'},
                                            {"gi-numbering", required_argument, NULL, 'n'},
                                            {"mig", required_argument, NULL, 'm'},
                                            {"persistence", required_argument, NULL, 'p'},
                                            {"permission", required_argument, NULL, 'w'},
                                            {"latency", required_argument, NULL, 'l'},
                                            {"clock", required_argument, NULL, 'c'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"force", no_argument, NULL, 'f'},
                                            {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        int status = apply_option(request, option, optarg);

        if (status != 0) {
            return status;
        }
    }
    if (!migemu_operands(argc, argv, optind, 1, 1)) {
        return MIGEMU_EXIT_USAGE;
    }
    return request->count > 0 ? 0 : migemu_usage("create", "a machine needs a GPU: --gpu NAME");
}

/* ---- removing ---- */

/* Removes what is in a directory; never follows a link, never goes into another file system. */
static int remove_children(int directory_fd, dev_t device, unsigned depth)
{
    MIG_AUTO_CLOSEDIR DIR *directory = fdopendir(directory_fd);
    struct dirent *entry;

    if (!directory) {
        close(directory_fd);
        return -errno;
    }
    if (depth > REMOVE_DEPTH_MAX) {
        return -ELOOP;
    }
    while ((entry = readdir(directory))) {
        struct stat st;
        int rc = 0;
        int fd;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (fstatat(dirfd(directory), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            return -errno;
        }
        if (S_ISDIR(st.st_mode)) {
            if (st.st_dev != device) {
                return -EBUSY;
            }
            fd = openat(dirfd(directory), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
            rc = fd < 0 ? -errno : remove_children(fd, device, depth + 1);
        }
        if (rc == 0 &&
            unlinkat(dirfd(directory), entry->d_name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) < 0) {
            rc = -errno;
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int remove_tree(const char *path)
{
    struct stat st;
    int rc;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    if (fstat(fd, &st) < 0) {
        rc = -errno;
        close(fd);
        return rc;
    }
    rc = remove_children(fd, st.st_dev, 0);
    return rc == 0 && rmdir(path) < 0 ? -errno : rc;
}

/* A directory counts as a machine when its state says so, even a damaged one. */
static bool holds_machine(const char *node)
{
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    int rc = emu_machine_open(node, &machine);

    return rc == 0 || rc == -EPROTO || rc == -EBADMSG;
}

int migemu_destroy(int argc, char **argv)
{
    int rc;

    if (!migemu_operands(argc, argv, 1, 1, 1)) {
        return MIGEMU_EXIT_USAGE;
    }
    if (!holds_machine(argv[1])) {
        return migemu_fail("'%s' holds no emulated machine, so it stays as it is", argv[1]);
    }
    rc = remove_tree(argv[1]);
    return rc == 0 ? 0 : migemu_fail_errno(rc, "could not remove '%s'", argv[1]);
}

/* ---- creating ---- */

static bool is_empty(const char *path)
{
    MIG_AUTO_CLOSEDIR DIR *directory = opendir(path);
    struct dirent *entry;

    while (directory && (entry = readdir(directory))) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            return false;
        }
    }
    return directory != NULL;
}

/* Makes the directory; one that is there must be empty, or a machine that may be replaced. */
static int make_room(const char *node, bool force)
{
    struct mig_error error;
    struct stat st;
    int rc;

    if (stat(node, &st) == 0 && !is_empty(node)) {
        if (!holds_machine(node)) {
            return migemu_fail("'%s' exists and is no emulated machine", node);
        }
        if (!force) {
            (void)migemu_fail("'%s' holds a machine already", node);
            migemu_hint("--force replaces it");
            return MIGEMU_EXIT_FAILED;
        }
        rc = remove_tree(node);
        if (rc != 0) {
            return migemu_fail_errno(rc, "could not remove '%s'", node);
        }
    }
    rc = mig_mkdir_parents(node, 0755, &error);
    return rc == 0 ? 0 : migemu_fail_error(&error);
}

static int describe_node(const struct create_request *request, struct emu_node_info *info)
{
    unsigned i;
    int status = choose_driver(request, info->driver_version, sizeof(info->driver_version));

    if (status != 0) {
        return status;
    }
    info->cuda_version = cuda_of(info->driver_version);
    info->gpu_count = request->count;
    for (i = 0; i < request->count; i++) {
        status = migemu_describe_gpu(request->models[i], i, request->seed, request->numbering,
                                     &info->gpus[i]);
        if (status != 0) {
            return status;
        }
    }
    return 0;
}

/* What --mig, --persistence, --latency and --clock ask for. */
static int set_options(const struct emu_machine *machine, const struct create_request *request)
{
    struct emu_transaction transaction;
    unsigned i;
    int status = migemu_begin(machine, &transaction);

    if (status != 0) {
        return status;
    }
    for (i = 0; i < request->count; i++) {
        nvmlReturn_t activation;

        if (request->mig) {
            (void)emu_mode_set(emu_machine_info(machine), transaction.state, i,
                               NVML_DEVICE_MIG_ENABLE, &activation);
        }
        transaction.state->gpus[i].persistence = request->persistence;
    }
    transaction.state->latency = request->latency;
    if (request->frozen) {
        transaction.state->clock.machine_ns = 0;
        transaction.state->clock.rate = 0;
    }
    emu_commit(&transaction);
    return 0;
}

static void report(const char *node, const struct emu_node_info *info)
{
    unsigned i;

    printf("%s: driver %s\n", node, info->driver_version);
    for (i = 0; i < info->gpu_count; i++) {
        printf("  GPU %u: %s (UUID: %s)\n", i, info->gpus[i].name, info->gpus[i].uuid);
    }
}

/* Where everybody may change instances, everybody may write the state and what follows it. */
static int open_to_all(const char *node, const struct emu_node_info *info)
{
    char path[PATH_MAX];
    unsigned i;

    (void)snprintf(path, sizeof(path), "%s/state", node);
    if (chmod(path, 0666) < 0) {
        return -errno;
    }
    for (i = 0; i < info->gpu_count; i++) {
        (void)snprintf(path, sizeof(path),
                       "%s/" EMU_HOST_DIRECTORY "/proc/driver/nvidia/capabilities/gpu%u/mig", node,
                       info->gpus[i].minor);
        if (chmod(path, 0777) < 0) {
            return -errno;
        }
    }
    return 0;
}

static int fill_node(const char *node, const struct emu_node_info *info,
                     const struct create_request *request)
{
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    char path[PATH_MAX];
    int rc = emu_machine_create(node, info, request->permission);

    if (rc != 0) {
        return migemu_fail_errno(rc, "could not make the machine in '%s'", node);
    }
    rc = migemu_open(node, &machine);
    if (rc == 0) {
        rc = set_options(machine, request);
    }
    if (rc != 0) {
        return rc;
    }
    (void)snprintf(path, sizeof(path), "%s/run", node);
    if (mkdir(path, 0755) < 0 && errno != EEXIST) {
        return migemu_fail_errno(errno, "could not make '%s'", path);
    }
    rc = emu_host_write(node, info);
    if (rc == 0 && request->permission == EMU_PERMISSION_OPEN) {
        rc = open_to_all(node, info);
    }
    return rc == 0 ? 0 : migemu_fail_errno(rc, "could not write the host files of '%s'", node);
}

int migemu_create(int argc, char **argv)
{
    struct create_request request = {.seed = 1};
    MIG_AUTO_FREE struct emu_node_info *info = calloc(1, sizeof(*info));
    int status = parse_request(argc, argv, &request);

    if (!info) {
        return migemu_fail_errno(ENOMEM, "could not describe the machine");
    }
    if (status == 0) {
        status = describe_node(&request, info);
    }
    if (status == 0) {
        status = make_room(argv[optind], request.force);
    }
    if (status != 0) {
        return status;
    }
    status = fill_node(argv[optind], info, &request);
    if (status != 0) {
        (void)remove_tree(argv[optind]);
        return status;
    }
    report(argv[optind], info);
    return 0;
}
