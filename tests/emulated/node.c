/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Emulated nodes for tests. What a test sees is read from the emulator's own state, not through the
 * library under test: it is the oracle. MIGEMU and NVML_LIBRARY come from Meson.
 */
#include "node.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "emulator/machine/fault.h"
#include "emulator/machine/partition.h"
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

__attribute__((noreturn)) MIG_PRINTF(1, 2) static void die(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fprintf(stderr, "set-up of the test: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    abort();
}

static const char *variable(const char *name)
{
    const char *value = getenv(name);

    if (!value) {
        die("%s is not set; run this through meson test", name);
    }
    return value;
}

const char *node_library(void)
{
    return variable("NVML_LIBRARY");
}

/* ---- making ---- */

#define ARGUMENT_MAX 32
#define GPU_MAX 8

static void run_migemu(char **arguments)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        dup2(STDERR_FILENO, STDOUT_FILENO); /* standard output is the test's own report */
        execv(arguments[0], arguments);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        die("migemu failed");
    }
}

/* Makes the node with migemu; `arguments` has room for what is common. */
static void make(struct node *node, bool mig, char **gpus, unsigned gpu_count)
{
    static char create[] = "create", mig_option[] = "--mig", gpu_option[] = "--gpu";
    static char on[] = "on", off[] = "off";
    char *arguments[ARGUMENT_MAX] = {(char *)(intptr_t)variable("MIGEMU"), create, node->path,
                                     mig_option, mig ? on : off};
    unsigned count = 5;
    char library[4096];

    *node = (struct node){0};
    /* in memory if that can be: a sweep syncs thousands of journals */
    snprintf(node->path, sizeof(node->path), "%s/mig-test-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(node->path)) {
        die("no directory for a node");
    }
    snprintf(node->state_dir, sizeof(node->state_dir), "%s/migd", node->path);
    for (unsigned i = 0; i < gpu_count && count + 2 < ARGUMENT_MAX; i++) {
        arguments[count++] = gpu_option;
        arguments[count++] = gpus[i];
    }
    run_migemu(arguments);
    if (emu_machine_open(node->path, &node->machine) < 0) {
        die("could not open %s", node->path);
    }
    setenv("MIGEMU_NODE", node->path, 1);
    /* for the reset command */
    mig_text_copy(library, sizeof(library), node_library());
    *strrchr(library, '/') = '\0';
    setenv("LD_LIBRARY_PATH", library, 1);
}

void node_make(struct node *node, const char *gpus, bool mig)
{
    char words[512];
    char *list[GPU_MAX];
    unsigned count = 0;
    char *rest = words;

    mig_text_copy(words, sizeof(words), gpus);
    while (count < GPU_MAX && (list[count] = strsep(&rest, " "))) {
        count++;
    }
    make(node, mig, list, count);
}

void node_make_one(struct node *node, const char *gpu)
{
    char name[128];
    char *list[] = {name};

    mig_text_copy(name, sizeof(name), gpu);
    make(node, false, list, 1);
}

void node_remove(struct node *node)
{
    static char destroy[] = "destroy";
    char *arguments[] = {(char *)(intptr_t)variable("MIGEMU"), destroy, node->path, NULL};

    emu_machine_close(node->machine);
    run_migemu(arguments);
    free(node->saved);
}

void node_disguise(struct node *node)
{
    MIG_AUTO_FREE struct emu_node_info *info = malloc(sizeof(*info));
    char path[128];

    if (!info) {
        die("no memory");
    }
    *info = *emu_machine_info(node->machine);
    emu_machine_close(node->machine);
    for (unsigned i = 0; i < info->gpu_count; i++) {
        snprintf(info->gpus[i].name, sizeof(info->gpus[i].name), "Newest GPU");
        info->gpus[i].pci_device = 0x7fff10de;
        info->gpus[i].pci_subsystem = 0x7fff10de;
    }
    snprintf(path, sizeof(path), "%s/state", node->path);
    if (unlink(path) < 0 || emu_machine_create(node->path, info, EMU_PERMISSION_OWNER) < 0 ||
        emu_machine_open(node->path, &node->machine) < 0) {
        die("could not disguise %s", node->path);
    }
}

static void begin(struct node *node, struct emu_transaction *transaction)
{
    int rc = emu_begin(node->machine, transaction);

    if (rc < 0) {
        die("no transaction: %s", strerror(-rc));
    }
}

void node_change(struct node *node,
                 void (*change)(const struct emu_node_info *info, struct emu_state *state,
                                void *data),
                 void *data)
{
    struct emu_transaction transaction;

    begin(node, &transaction);
    change(emu_machine_info(node->machine), transaction.state, data);
    emu_commit(&transaction);
}

void node_save(struct node *node)
{
    free(node->saved);
    node->saved = malloc(sizeof(*node->saved));
    if (!node->saved || emu_machine_read(node->machine, node->saved) < 0) {
        die("could not save the state");
    }
}

static void put_back(const struct emu_node_info *info, struct emu_state *state, void *data)
{
    const struct emu_state *saved = data;
    uint64_t change_count = state->change_count;

    (void)info;
    *state = *saved;
    state->change_count = change_count;
}

void node_restore(struct node *node)
{
    node_change(node, put_back, node->saved);
}

/* ---- instances and users ---- */

struct addition {
    unsigned gpu, start;
    const char *profile, *cis;
};

static int profile_index(const struct emu_gpu_info *info, const char *name)
{
    for (int i = 0; i < info->profile_count; i++) {
        if (strcmp(info->profiles[i].name, name) == 0) {
            return i;
        }
    }
    die("%s has no profile %s", info->name, name);
    return -1;
}

/* The default one by the GPU instance's name, others by their own. */
static int ci_index(const struct emu_profile *profile, const char *name)
{
    bool whole = strcmp(profile->name, name) == 0;

    for (int i = 0; i < profile->ci_profile_count; i++) {
        const struct emu_ci_profile *ci = &profile->ci_profiles[i];

        if (whole ? ci->is_default : strcmp(ci->name, name) == 0) {
            return i;
        }
    }
    die("%s has no compute profile %s", profile->name, name);
    return -1;
}

static void add_cis(const struct emu_node_info *info, struct emu_state *state,
                    const struct addition *addition, const struct emu_profile *profile, unsigned gi)
{
    char words[256];
    char *rest = words;
    char *word;
    unsigned id;

    mig_text_copy(words, sizeof(words), addition->cis);
    while ((word = strsep(&rest, " "))) {
        if (*word != '\0' &&
            emu_ci_create(info, state, addition->gpu, gi, (unsigned)ci_index(profile, word),
                          EMU_START_ANY, &id) != NVML_SUCCESS) {
            die("could not create %s", word);
        }
    }
}

static void add(const struct emu_node_info *info, struct emu_state *state, void *data)
{
    const struct addition *addition = data;
    const struct emu_gpu_info *gpu = &info->gpus[addition->gpu];
    int profile = profile_index(gpu, addition->profile);
    unsigned gi;

    if (emu_gi_create(info, state, addition->gpu, (unsigned)profile, addition->start, &gi) !=
        NVML_SUCCESS) {
        die("could not create %s at %u", addition->profile, addition->start);
    }
    add_cis(info, state, addition, &gpu->profiles[profile], gi);
}

void node_add(struct node *node, unsigned gpu, const char *profile, unsigned start, const char *cis)
{
    struct addition addition = {gpu, start, profile, cis};

    node_change(node, add, &addition);
}

struct use {
    unsigned gpu, start, pid;
};

static void use(const struct emu_node_info *info, struct emu_state *state, void *data)
{
    const struct use *wanted = data;
    const struct emu_gpu *gpu = &state->gpus[wanted->gpu];
    struct emu_process process = {.pid = wanted->pid,
                                  .gpu = (uint8_t)wanted->gpu,
                                  .type = 'C',
                                  .gi = EMU_ID_NONE,
                                  .ci = EMU_ID_NONE,
                                  .memory_bytes = 64u << 20,
                                  .name = "/usr/bin/holder --serve"};

    (void)info;
    for (unsigned i = 0; i < EMU_GI_MAX; i++) {
        if (gpu->gis[i].used && gpu->gis[i].start == wanted->start) {
            process.gi = i;
            process.ci = 0;
        }
    }
    if (emu_process_add(state, &process) < 0) {
        die("could not add a process");
    }
}

void node_use(struct node *node, unsigned gpu, unsigned start, unsigned pid)
{
    struct use wanted = {gpu, start, pid};

    node_change(node, use, &wanted);
}

unsigned node_fault(struct node *node, const char *rule)
{
    struct emu_transaction transaction;
    struct emu_fault fault;
    char reason[256];
    unsigned slot;

    if (emu_fault_parse(rule, &fault, reason, sizeof(reason)) < 0) {
        die("fault \"%s\": %s", rule, reason);
    }
    begin(node, &transaction);
    if (emu_fault_add(node->machine, transaction.state, &fault, &slot) < 0) {
        die("could not add a fault");
    }
    emu_commit(&transaction);
    return slot;
}

uint64_t node_fault_hits(const struct node *node, unsigned slot)
{
    return emu_fault_hits(node->machine, slot);
}

static void clear_faults(const struct emu_node_info *info, struct emu_state *state, void *data)
{
    (void)info;
    (void)data;
    emu_fault_clear(state);
}

void node_clear_faults(struct node *node)
{
    node_change(node, clear_faults, NULL);
}

/* ---- looking ---- */

static size_t put_gi(const struct emu_profile *profile, const struct emu_gi *gi, unsigned id,
                     bool identity, char *buffer, size_t size)
{
    size_t length = 0;

    length += (size_t)snprintf(buffer, size, " %u:%s", gi->start, profile->name);
    if (identity) {
        length += (size_t)snprintf(buffer + length, size - length, "#%u.%u", id, gi->birth);
    }
    for (unsigned start = 0; start < EMU_UNIT_MAX; start++) {
        for (unsigned i = 0; i < EMU_CI_MAX; i++) {
            const struct emu_ci *ci = &gi->cis[i];

            if (ci->used && ci->start == start) {
                length += (size_t)snprintf(buffer + length, size - length, "[%u:%s]", start,
                                           profile->ci_profiles[ci->profile].name);
            }
        }
    }
    return length;
}

const char *node_text(struct node *node, bool identity, char *buffer)
{
    MIG_AUTO_FREE struct emu_state *state = malloc(sizeof(*state));
    const struct emu_node_info *info = emu_machine_info(node->machine);
    size_t length = 0;

    if (!state || emu_machine_read(node->machine, state) < 0) {
        die("could not read the state");
    }
    for (unsigned i = 0; i < info->gpu_count; i++) {
        const struct emu_gpu *gpu = &state->gpus[i];

        length += (size_t)snprintf(buffer + length, NODE_TEXT_SIZE - length, "%u %s%s", i,
                                   gpu->mode ? "on" : "off",
                                   gpu->mode != gpu->mode_pending ? " (pending)" : "");
        for (unsigned start = 0; start < EMU_UNIT_MAX; start++) {
            for (unsigned j = 0; j < EMU_GI_MAX; j++) {
                const struct emu_gi *gi = &gpu->gis[j];

                if (gi->used && gi->start == start) {
                    length += put_gi(&info->gpus[i].profiles[gi->profile], gi, j, identity,
                                     buffer + length, NODE_TEXT_SIZE - length);
                }
            }
        }
        length += (size_t)snprintf(buffer + length, NODE_TEXT_SIZE - length, "\n");
    }
    return buffer;
}

bool node_is_clean(const struct node *node)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/journal", node->state_dir);
    return access(path, F_OK) < 0 && errno == ENOENT;
}

/* ---- applying ---- */

#define KIND_MAX 16

/* "2g.12gb=1" */
static int want_devices(const struct mig_gpu *gpu, char *word, struct mig_device_count *ret,
                        struct mig_error *error)
{
    char *equals = strchr(word, '=');
    uint64_t number;

    if (!equals || !mig_text_parse_u64(equals + 1, 16, &number)) {
        die("wish \"%s\"", word);
    }
    *equals = '\0';
    ret->count = (uint32_t)number;
    return mig_profile_resolve(gpu->layout.model, word, &ret->kind, error);
}

static int want(const struct mig_gpu *gpu, char *words, struct mig_gpu_goal *goal,
                struct mig_error *error)
{
    struct mig_device_count devices[KIND_MAX];
    size_t count = 0;
    char *word;
    int rc = 0;

    *goal = (struct mig_gpu_goal){.kind = MIG_GOAL_LAYOUT, .mig_mode = true};
    while (rc == 0 && (word = strsep(&words, " ")) && count < KIND_MAX) {
        if (strcmp(word, "off") == 0) {
            goal->mig_mode = false;
        } else if (strcmp(word, "on") == 0) {
            goal->kind = MIG_GOAL_MODE;
        } else if (*word != '\0') {
            rc = want_devices(gpu, word, &devices[count++], error);
        }
    }
    if (rc == 0 && goal->kind == MIG_GOAL_LAYOUT && goal->mig_mode) {
        rc = mig_target_from_devices(gpu->layout.model, &gpu->layout, devices, count, &goal->target,
                                     error);
    }
    return rc;
}

static int make_goal(const struct mig_node *node, const char *wish, struct mig_goal *ret,
                     struct mig_error *error)
{
    char text[512];
    char *rest = text;
    char *part;
    int rc = 0;

    *ret = (struct mig_goal){.gpu_count = node->gpu_count};
    mig_text_copy(text, sizeof(text), wish);
    while (rc == 0 && (part = strsep(&rest, ";"))) {
        char *words = part + strspn(part, " ");
        char *number = strsep(&words, " ");
        uint64_t gpu;

        if (!mig_text_parse_u64(number, node->gpu_count - 1, &gpu) || !words) {
            die("wish \"%s\"", wish);
        }
        rc = want(&node->gpus[gpu], words, &ret->gpus[gpu], error);
    }
    return rc;
}

MIG_DEFINE_CLEANUP(session, struct mig_session, mig_session_close)
MIG_DEFINE_CLEANUP(apply, struct mig_apply, mig_apply_close)
MIG_DEFINE_CLEANUP(mig_node, struct mig_node, mig_node_free)

/* A plan is 100 kB and more: on the heap. */
struct work {
    struct mig_goal goal;
    struct mig_node_plan plan;
};

static void release_work(struct work *work)
{
    mig_node_plan_release(&work->plan);
    free(work);
}

MIG_DEFINE_CLEANUP(work, struct work, release_work)

static int carry_out(struct node *node, const char *wish, const struct mig_apply_options *options,
                     void (*meanwhile)(struct node *node), struct outcome *ret)
{
    struct mig_session_options session_options = {.library = node_library(),
                                                  .deadline_ms = node->deadline_ms};
    MIG_CLEANUP(cleanup_session) struct mig_session *session = NULL;
    MIG_CLEANUP(cleanup_mig_node) struct mig_node *snapshot = NULL;
    MIG_CLEANUP(cleanup_apply) struct mig_apply *apply = NULL;
    MIG_CLEANUP(cleanup_work) struct work *work = calloc(1, sizeof(*work));
    int rc = mig_session_open(&session_options, &session, &ret->error);

    if (rc < 0 || !work) {
        return rc;
    }
    rc = ret->open_result =
        mig_apply_open(session, options, &apply, &ret->open_report, &ret->error);
    if (rc < 0 || !wish) {
        return rc;
    }
    rc = mig_inventory_read(session, &snapshot, &ret->error);
    for (uint32_t i = 0; rc == 0 && i < snapshot->gpu_count; i++) {
        const struct mig_gpu *gpu = &snapshot->gpus[i];

        if (!gpu->layout.model) {
            return mig_error_set(&ret->error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "GPU %u: %s", i,
                                 gpu->problem[0] != '\0' ? gpu->problem : "it has no MIG");
        }
    }
    if (rc < 0) {
        return rc;
    }
    rc = make_goal(snapshot, wish, &work->goal, &ret->error);
    if (rc < 0) {
        return rc;
    }
    rc = mig_node_plan_make(snapshot, &work->goal, NULL, &work->plan, &ret->error);
    if (rc < 0) {
        return rc;
    }
    ret->change_count = work->plan.change_count;
    if (meanwhile) {
        meanwhile(node);
    }
    return mig_apply_run(apply, snapshot, &work->plan, &ret->report, &ret->error);
}

void node_apply_with(struct node *node, const char *wish, const struct mig_apply_options *options,
                     void (*meanwhile)(struct node *node), struct outcome *ret)
{
    struct mig_apply_options own = options ? *options : (struct mig_apply_options){0};
    struct outcome *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid;
    int status;

    if (shared == MAP_FAILED) {
        die("no shared memory");
    }
    own.state_dir = node->state_dir;
    pid = fork();
    if (pid == 0) {
        /* a crash is the child's own, and not for the test framework to jump away from */
        signal(SIGSEGV, SIG_DFL);
        signal(SIGABRT, SIG_DFL);
        shared->result = carry_out(node, wish, &own, meanwhile, shared);
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        die("no child");
    }
    *ret = *shared;
    ret->killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (!ret->killed && status != 0) {
        die("the child crashed with status %d", status);
    }
    munmap(shared, sizeof(*shared));
}

void node_apply(struct node *node, const char *wish, const struct mig_apply_options *options,
                struct outcome *ret)
{
    node_apply_with(node, wish, options, NULL, ret);
}
