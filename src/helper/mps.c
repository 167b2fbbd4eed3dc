/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The set of MPS control daemons.
 *
 * An entry is wanted or not, runs or not; each tick brings one entry nearer to what it should be.
 * An entry that is not wanted is ended, its GPU put back, its files removed, and then forgotten. A
 * daemon that ends by itself or cannot be started is tried again, less and less often.
 */
#include "helper/mps.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "helper/host.h"
#include "helper/mps_daemon.h"
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define DIR_DEFAULT "/run/nvidia/mps"
#define PATIENCE_DEFAULT_MS 5000u
#define BACKOFF_FIRST_MS 1000u
#define BACKOFF_MAX_MS 30000u
#define STABLE_MS 60000u /* one that ran so long begins the count of failures anew */
#define TRIM_MS 60000u
#define STAT_BYTES_MAX 4096u

struct entry {
    struct mps_daemon daemon;
    bool wanted, ready;
    bool yielded; /* ended for a change of its device */
    bool adopted; /* to be asked whether it still answers */
    bool relimit; /* its limits are others now */
    bool told;    /* as it is now */
    unsigned failure_count;
    uint64_t start_ms; /* when to start it, or when it was started */
    char text[MIG_HELPER_MPS_TEXT_SIZE];
};

struct mig_mps {
    struct mig_mps_options options;
    struct mps_place place;
    bool looked; /* for what an earlier helper has left */
    uint64_t trim_ms;
    size_t count;
    struct entry entries[2 * MIG_HELPER_MPS_MAX]; /* those to go are there beside the new ones */
};

struct mig_mps *mig_mps_new(const struct mig_mps_options *options)
{
    struct mig_mps *mps = calloc(1, sizeof(*mps));

    if (mps) {
        mps->options = *options;
        mps->place.dir = options->dir && options->dir[0] ? options->dir : DIR_DEFAULT;
        mps->place.driver_root = options->driver_root ? options->driver_root : "";
        mps->place.patience_ms =
            options->patience_ms > 0 ? options->patience_ms : PATIENCE_DEFAULT_MS;
        if (strcmp(mps->place.driver_root, "/") == 0) {
            mps->place.driver_root = "";
        }
    }
    return mps;
}

void mig_mps_free(struct mig_mps *mps)
{
    free(mps);
}

static void say(const struct mig_mps *mps, const char *format, ...) MIG_PRINTF(2, 3);

static void say(const struct mig_mps *mps, const char *format, ...)
{
    char text[2 * MIG_ERROR_MESSAGE_SIZE];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (mps->options.said) {
        mps->options.said(text, mps->options.data);
    }
}

/* ---- what becomes of each ---- */

static void become(struct entry *entry, bool ready, const char *text)
{
    if (entry->ready != ready || strcmp(entry->text, text) != 0) {
        entry->told = false;
    }
    entry->ready = ready;
    (void)mig_text_copy(entry->text, sizeof(entry->text), text);
}

static void tell(struct mig_mps *mps, struct entry *entry)
{
    struct mig_helper_mps_state state = {.ready = entry->ready};

    /* of one that was found nothing is known before it was asked: its device must not flap */
    if (entry->told || !entry->wanted || entry->adopted) {
        return;
    }
    entry->told = true;
    (void)mig_text_copy(state.uuid, sizeof(state.uuid), entry->daemon.device.uuid);
    (void)mig_text_copy(state.text, sizeof(state.text), entry->text);
    if (mps->options.told) {
        mps->options.told(&state, mps->options.data);
    }
}

static void fail(struct mig_mps *mps, struct entry *entry, const char *text)
{
    uint64_t now_ms = mig_now_ms(), wait_ms = BACKOFF_FIRST_MS;

    entry->failure_count =
        entry->ready && now_ms - entry->start_ms > STABLE_MS ? 1 : entry->failure_count + 1;
    for (unsigned i = 1; i < entry->failure_count && wait_ms < BACKOFF_MAX_MS; i++) {
        wait_ms *= 2;
    }
    entry->start_ms = now_ms + (wait_ms < BACKOFF_MAX_MS ? wait_ms : BACKOFF_MAX_MS);
    if (entry->ready || strcmp(entry->text, text) != 0) {
        say(mps, "%s cannot be shared by MPS now: %s", entry->daemon.device.uuid, text);
    }
    become(entry, false, text);
}

/* ---- the GPU's compute mode ---- */

static bool is_whole(const struct mig_helper_mps *device)
{
    return strcmp(device->uuid, device->gpu_uuid) == 0;
}

/* The record is written before anything is changed, so that it can be put back by the next one. */
static int prepare(struct mig_mps *mps, struct entry *entry, struct mig_error *error)
{
    struct mps_daemon *daemon = &entry->daemon;
    bool whole = is_whole(&daemon->device) && mps->options.get_mode && mps->options.set_mode;
    char path[1024];
    int rc = 0;

    if (whole && !daemon->has_mode) {
        rc = mps->options.get_mode(daemon->device.gpu_uuid, &daemon->mode_before, error,
                                   mps->options.data);
        daemon->has_mode = rc == 0 && daemon->mode_before >= 0;
    }
    (void)snprintf(path, sizeof(path), "%s/%s", mps->place.dir, daemon->device.uuid);
    if (rc == 0) {
        rc = mig_mkdir_parents(path, 0755, error);
    }
    if (rc == 0) {
        rc = mps_daemon_keep(&mps->place, daemon, error);
    }
    if (rc == 0 && daemon->has_mode) {
        rc = mps->options.set_mode(daemon->device.gpu_uuid, mps->options.exclusive_mode, error,
                                   mps->options.data);
    }
    return rc;
}

static void put_mode_back(struct mig_mps *mps, struct mps_daemon *daemon)
{
    struct mig_error error = {0};

    if (!daemon->has_mode || !mps->options.set_mode) {
        return;
    }
    daemon->has_mode = false;
    if (mps->options.set_mode(daemon->device.gpu_uuid, daemon->mode_before, &error,
                              mps->options.data) < 0) {
        say(mps, "%s keeps the compute mode that MPS needs: %s", daemon->device.gpu_uuid,
            error.message);
    }
}

/* ---- one step of one daemon ---- */

static void start(struct mig_mps *mps, struct entry *entry)
{
    struct mps_daemon *daemon = &entry->daemon;
    struct mig_error error = {0};
    int rc = prepare(mps, entry, &error);

    if (rc == 0) {
        rc = mps_daemon_start(&mps->place, daemon, &error);
    }
    if (rc < 0) {
        fail(mps, entry, error.message);
        return;
    }
    entry->start_ms = mig_now_ms();
    entry->relimit = entry->adopted = false;
    become(entry, true, "");
    say(mps, "%s is shared by MPS: pid %d, %u %% of threads and %u MiB for each client",
        daemon->device.uuid, (int)daemon->pid, daemon->device.percentage,
        daemon->device.memory_mib);
}

/* One that runs already: of an earlier helper, or with other limits than now. */
static void tell_limits(struct mig_mps *mps, struct entry *entry)
{
    struct mig_error error = {0};
    int rc = prepare(mps, entry, &error);

    if (rc == 0) {
        rc = mps_daemon_limit(&mps->place, &entry->daemon, &error);
    }
    if (rc < 0) {
        mps_daemon_end(&mps->place, &entry->daemon);
        entry->adopted = false;
        fail(mps, entry, error.message);
        return;
    }
    if (entry->adopted) {
        say(mps, "%s: the MPS control daemon that runs already is taken over (pid %d)",
            entry->daemon.device.uuid, (int)entry->daemon.pid);
    }
    entry->start_ms = mig_now_ms();
    entry->relimit = entry->adopted = false;
    become(entry, true, "");
}

static void end(struct mig_mps *mps, struct entry *entry)
{
    bool ran = entry->daemon.pid != 0;

    mps_daemon_end(&mps->place, &entry->daemon);
    put_mode_back(mps, &entry->daemon);
    if (ran) {
        say(mps, "%s: its MPS control daemon has ended", entry->daemon.device.uuid);
    }
}

static void forget(struct mig_mps *mps, size_t at)
{
    struct entry *entry = &mps->entries[at];

    end(mps, entry);
    mps_daemon_remove(&mps->place, entry->daemon.device.uuid);
    *entry = mps->entries[--mps->count];
}

/* True when something was done that took time. */
static bool step(struct mig_mps *mps, size_t at)
{
    struct entry *entry = &mps->entries[at];
    char how[MIG_HELPER_MPS_TEXT_SIZE];

    if (!entry->wanted) {
        forget(mps, at);
        return true;
    }
    if (entry->daemon.pid != 0 &&
        mps_daemon_has_ended(&mps->place, &entry->daemon, how, sizeof(how))) {
        entry->adopted = false;
        fail(mps, entry, how);
    }
    if (entry->daemon.pid != 0 && (entry->relimit || entry->adopted)) {
        tell_limits(mps, entry);
        return true;
    }
    if (entry->daemon.pid == 0 && !entry->yielded && mig_now_ms() >= entry->start_ms) {
        start(mps, entry);
        return true;
    }
    return false;
}

bool mig_mps_tick(struct mig_mps *mps)
{
    bool busy = false, trim = mig_now_ms() >= mps->trim_ms;

    for (size_t i = 0; !busy && i < mps->count; i++) {
        busy = step(mps, i);
    }
    for (size_t i = 0; i < mps->count; i++) {
        tell(mps, &mps->entries[i]);
        if (trim) {
            mps_daemon_trim(&mps->place, mps->entries[i].daemon.device.uuid);
        }
    }
    if (trim) {
        mps->trim_ms = mig_now_ms() + TRIM_MS;
    }
    return busy;
}

/* ---- what is wanted ---- */

/* What an earlier helper has left: not wanted, until somebody says so. */
static void find_earlier(struct mig_mps *mps)
{
    MIG_AUTO_CLOSEDIR DIR *folder = opendir(mps->place.dir);
    const struct dirent *found;

    while (folder && mps->count < MIG_HELPER_MPS_MAX && (found = readdir(folder)) != NULL) {
        struct entry entry = {0};

        if (mig_host_is_uuid(found->d_name) &&
            mps_daemon_recall(&mps->place, found->d_name, &entry.daemon)) {
            entry.daemon.pid = mps_daemon_find(&mps->place, found->d_name);
            entry.adopted = entry.daemon.pid != 0;
            mps->entries[mps->count++] = entry;
        }
    }
}

static struct entry *find(struct mig_mps *mps, const char *uuid)
{
    for (size_t i = 0; i < mps->count; i++) {
        if (strcmp(mps->entries[i].daemon.device.uuid, uuid) == 0) {
            return &mps->entries[i];
        }
    }
    return NULL;
}

static void want(struct mig_mps *mps, const struct mig_helper_mps *device)
{
    struct entry *entry = find(mps, device->uuid);

    if (!entry && mps->count == MIG_ARRAY_SIZE(mps->entries)) {
        return;
    }
    if (!entry) {
        entry = &mps->entries[mps->count++];
        *entry = (struct entry){.daemon = {.device = *device}};
        (void)mig_text_copy(entry->text, sizeof(entry->text),
                            "its MPS control daemon is being started");
    }
    entry->relimit = entry->relimit || entry->daemon.device.percentage != device->percentage ||
                     entry->daemon.device.memory_mib != device->memory_mib;
    entry->daemon.device = *device;
    entry->wanted = true;
    entry->yielded = false;
    entry->told = false;
}

void mig_mps_want(struct mig_mps *mps, const struct mig_helper_mps *devices, size_t count)
{
    if (!mps->looked) {
        mps->looked = true;
        find_earlier(mps);
    }
    for (size_t i = 0; i < mps->count; i++) {
        mps->entries[i].wanted = false;
    }
    for (size_t i = 0; i < count; i++) {
        want(mps, &devices[i]);
    }
}

void mig_mps_end(struct mig_mps *mps)
{
    while (mps->count > 0) {
        forget(mps, mps->count - 1);
    }
}

/* ---- changes of the devices ---- */

void mig_mps_yield(struct mig_mps *mps, const char *uuid)
{
    struct entry *entry = find(mps, uuid);

    if (!entry || entry->yielded) {
        return;
    }
    entry->yielded = true;
    end(mps, entry);
    become(entry, false, "its MPS control daemon was ended for a change");
    tell(mps, entry);
}

void mig_mps_resume(struct mig_mps *mps, bool (*remains)(const char *uuid, void *data), void *data)
{
    for (size_t i = 0; i < mps->count; i++) {
        struct entry *entry = &mps->entries[i];

        if (entry->yielded && remains(entry->daemon.device.uuid, data)) {
            entry->yielded = false;
            entry->start_ms = 0;
        }
    }
}

/* ---- whose process ---- */

static pid_t parent_of(uint32_t pid)
{
    MIG_AUTO_FREE char *text = NULL;
    char path[64];
    size_t size = 0;
    const char *end;

    (void)snprintf(path, sizeof(path), "/proc/%u/stat", pid);
    if (mig_file_read(path, STAT_BYTES_MAX, &text, &size, NULL) < 0) {
        return 0;
    }
    end = strrchr(text, ')'); /* behind the name: state and parent */
    return end && strlen(end) > 4 ? (pid_t)strtol(end + 4, NULL, 10) : 0;
}

static const struct entry *owner_of(const struct mig_mps *mps, uint32_t pid)
{
    pid_t parent = mps->count > 0 ? parent_of(pid) : 0;

    for (size_t i = 0; i < mps->count; i++) {
        pid_t own = mps->entries[i].daemon.pid;

        if (own != 0 && (own == (pid_t)pid || own == parent)) {
            return &mps->entries[i];
        }
    }
    return NULL;
}

bool mig_mps_owns(const struct mig_mps *mps, uint32_t pid)
{
    return owner_of(mps, pid) != NULL;
}

bool mig_mps_owns_used(const struct mig_mps *mps, uint32_t pid)
{
    const struct entry *entry = owner_of(mps, pid);

    return entry && mps_daemon_has_clients(&mps->place, &entry->daemon);
}

size_t mig_mps_running_count(const struct mig_mps *mps)
{
    size_t count = 0;

    for (size_t i = 0; i < mps->count; i++) {
        count += mps->entries[i].daemon.pid != 0;
    }
    return count;
}
