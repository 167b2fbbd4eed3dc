/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver, as the helper sees it come and go. A session that fails as a whole is closed and
 * opened again, at first soon, then less often; a driver that is loaded later is found that way.
 * After a call that never came back only another process can open the driver again: the helper
 * says what hangs, and ends.
 *
 * Whether the node is another one is decided by a digest over what a geometry is: who uses it and
 * how much memory is free does not count.
 */
#include "base/clock.h"
#include "base/text.h"
#include "gpu/binding.h"
#include "helper/server.h"
#include <string.h>

#define READ_EVERY_MS 60000u   /* whatever the watch says: it may miss something */
#define TROUBLE_EVERY_MS 5000u /* while a GPU cannot be read */
#define RETRY_FIRST_MS 500u
#define RETRY_MAX_MS 10000u
#define LIBRARY_NAME "libnvidia-ml.so.1"
#define FNV_BASIS 0xcbf29ce484222325u
#define FNV_PRIME 0x100000001b3u

/* ---- opening ---- */

/* The driver's library below its root, where distributions put it; NULL = as the loader finds it.
 */
static const char *find_library(const struct mig_helper_options *options, char *buffer, size_t size)
{
    static const char *const directories[] = {
        "/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
        "/lib64",     "/lib/x86_64-linux-gnu",     "/lib/aarch64-linux-gnu",
    };

    if (options->library) {
        return options->library;
    }
    for (size_t i = 0;
         options->driver_root && options->driver_root[0] != '\0' && i < MIG_ARRAY_SIZE(directories);
         i++) {
        int length =
            snprintf(buffer, size, "%s%s/" LIBRARY_NAME, options->driver_root, directories[i]);

        if (length > 0 && (size_t)length < size && access(buffer, R_OK) == 0) {
            return buffer;
        }
    }
    return NULL;
}

static int open_session(struct mig_server *server, struct mig_error *error)
{
    char path[4096];
    struct mig_session_options options = {
        .library = find_library(server->options, path, sizeof(path)),
        .deadline_ms = server->options->deadline_ms,
    };
    int rc = mig_session_open(&options, &server->session, error);

    if (rc == 0) {
        rc = mig_watch_new(server->session, &server->watch, error);
    }
    return rc;
}

static void close_session(struct mig_server *server)
{
    mig_watch_free(MIG_TAKE(server->watch));
    mig_session_close(MIG_TAKE(server->session));
}

void mig_server_check_session(struct mig_server *server, const struct mig_error *error)
{
    if (server->session && atomic_load(&server->session->poisoned)) {
        server->driver_hangs = true;
        mig_server_say(server, "the driver hangs: %s; the privileged process is replaced",
                       error->message);
    } else if (error->domain == MIG_DOMAIN_NVML && error->code == NVML_ERROR_TIMEOUT &&
               !server->session) {
        server->driver_hangs = true; /* while it was opened */
    }
}

/* What has become of a session in which something was read. */
static int after_reading(struct mig_server *server, int rc, const struct mig_error *error)
{
    if (rc == 0) {
        server->failure_count = 0;
        return 0;
    }
    mig_server_check_session(server, error);
    if (!server->driver_hangs) {
        close_session(server);
        server->failure_count++;
    }
    return rc;
}

int mig_server_read(struct mig_server *server, struct mig_node **ret, struct mig_error *error)
{
    int rc = server->session ? 0 : open_session(server, error);

    if (rc == 0) {
        rc = mig_inventory_read(server->session, ret, error);
    }
    if (rc == 0) {
        mig_server_hide_mps(server, *ret, false);
    }
    return after_reading(server, rc, error);
}

int mig_server_sample(struct mig_server *server, struct mig_sample **ret, struct mig_error *error)
{
    int rc = server->session ? 0 : open_session(server, error);

    if (rc == 0) {
        rc = mig_sample_read(server->session, ret, error);
    }
    return after_reading(server, rc, error);
}

/* ---- what has changed ---- */

static void mix(uint64_t *digest, const void *data, size_t size)
{
    const uint8_t *bytes = data;

    for (size_t i = 0; i < size; i++) {
        *digest = (*digest ^ bytes[i]) * FNV_PRIME;
    }
}

static void mix_text(uint64_t *digest, const char *text)
{
    mix(digest, text, strlen(text) + 1);
}

static void mix_gi(uint64_t *digest, const struct mig_gpu *gpu, unsigned index)
{
    const struct mig_gi *gi = &gpu->layout.gis[index];

    mix_text(digest, gpu->layout.model->profiles[gi->profile].name);
    mix(digest, &gi->start, sizeof(gi->start));
    mix(digest, &gi->id, sizeof(gi->id));
    for (unsigned i = 0; i < gi->ci_count; i++) {
        mix(digest, &gi->cis[i].profile, sizeof(gi->cis[i].profile));
        mix(digest, &gi->cis[i].start, sizeof(gi->cis[i].start));
        mix(digest, &gi->cis[i].id, sizeof(gi->cis[i].id));
        mix_text(digest, gpu->gi_infos[index].devices[i].uuid);
    }
}

static uint64_t digest_of(const struct mig_node *node)
{
    uint64_t digest = FNV_BASIS;

    mix_text(&digest, node->driver_version);
    for (uint32_t i = 0; i < node->gpu_count; i++) {
        const struct mig_gpu *gpu = &node->gpus[i];
        bool states[] = {gpu->mig_capable, gpu->mig_mode, gpu->mig_mode_pending,
                         gpu->layout.model != NULL};

        mix_text(&digest, gpu->uuid);
        mix_text(&digest, gpu->problem);
        mix(&digest, states, sizeof(states));
        for (unsigned k = 0; k < gpu->layout.gi_count; k++) {
            mix_gi(&digest, gpu, k);
        }
    }
    return digest;
}

static bool has_trouble(const struct mig_node *node)
{
    for (uint32_t i = 0; i < node->gpu_count; i++) {
        if (node->gpus[i].problem[0] != '\0') {
            return true;
        }
    }
    return false;
}

void mig_server_remember(struct mig_server *server, const struct mig_node *node)
{
    server->digest = digest_of(node);
    server->has_digest = true;
    server->said[0] = '\0';
    server->next_read_ms = mig_now_ms() + (has_trouble(node) ? TROUBLE_EVERY_MS : READ_EVERY_MS);
    if (server->watch) {
        mig_watch_expect(server->watch, node);
    }
}

static void tell_node(struct mig_server *server, struct mig_node *node)
{
    bool is_new =
        !server->has_digest || server->digest != digest_of(node) || server->said[0] != '\0';
    MIG_AUTO_MESSAGE struct mig_message *message = mig_message_new(MIG_MESSAGE_CHANGED, 0);

    mig_server_remember(server, node);
    if (!message || !is_new) {
        mig_node_free(node);
        return;
    }
    message->node = node;
    mig_server_send(server, message);
}

static void tell_unreadable(struct mig_server *server, const struct mig_error *error)
{
    MIG_AUTO_MESSAGE struct mig_message *message = mig_message_new(MIG_MESSAGE_UNREADABLE, 0);
    uint64_t wait_ms = RETRY_FIRST_MS;

    for (unsigned i = 1; i < server->failure_count && wait_ms < RETRY_MAX_MS; i++) {
        wait_ms *= 2;
    }
    server->next_read_ms = mig_now_ms() + (wait_ms < RETRY_MAX_MS ? wait_ms : RETRY_MAX_MS);
    if (!message || strcmp(server->said, error->message) == 0) {
        return;
    }
    mig_text_copy(server->said, sizeof(server->said), error->message);
    message->error = *error;
    mig_server_send(server, message);
}

/* ---- polling ---- */

static void read_and_tell(struct mig_server *server)
{
    struct mig_error error = {0};
    struct mig_node *node = NULL;

    if (mig_server_read(server, &node, &error) == 0) {
        tell_node(server, node);
    } else {
        tell_unreadable(server, &error);
    }
}

static void tell_xid(struct mig_server *server, const struct mig_watch_xid *xid)
{
    MIG_AUTO_MESSAGE struct mig_message *message = mig_message_new(MIG_MESSAGE_XID, 0);

    if (message) {
        memcpy(message->xid.gpu_uuid, xid->gpu_uuid, sizeof(message->xid.gpu_uuid));
        message->xid.gi_id = xid->gi_id;
        message->xid.ci_id = xid->ci_id;
        message->xid.xid = xid->xid;
        mig_server_send(server, message);
    }
}

static void tell_recovery(struct mig_server *server, const struct mig_watch_recovery *recovery)
{
    MIG_AUTO_MESSAGE struct mig_message *message = mig_message_new(MIG_MESSAGE_RECOVERY, 0);

    if (message) {
        memcpy(message->recovery.gpu_uuid, recovery->gpu_uuid, sizeof(message->recovery.gpu_uuid));
        message->recovery.action = recovery->action;
        mig_server_send(server, message);
    }
}

void mig_server_poll(struct mig_server *server)
{
    MIG_AUTO_FREE struct mig_watch_news *news = calloc(1, sizeof(*news));
    struct mig_error error = {0};

    if (server->watch && news) {
        if (mig_watch_poll(&server->watch, news, &error) < 0) {
            mig_server_check_session(server, &error);
            news->changed = true; /* reading it tells what is wrong */
        }
        for (uint32_t i = 0; i < news->xid_count; i++) {
            tell_xid(server, &news->xids[i]);
        }
        for (uint32_t i = 0; i < news->recovery_count; i++) {
            tell_recovery(server, &news->recoveries[i]);
        }
    }
    if (server->driver_hangs) {
        tell_unreadable(server, &error);
    } else if ((news && news->changed) || mig_now_ms() >= server->next_read_ms) {
        read_and_tell(server);
    }
}

/* After the node as it is now: what the resets repaired is judged by that. */
static void tell_resets(struct mig_server *server, uint64_t gpus)
{
    MIG_AUTO_FREE char(*uuids)[MIG_UUID_SIZE] = calloc(MIG_GPU_MAX, sizeof(*uuids));
    struct mig_error error = {0};
    struct mig_node *node = NULL;
    uint32_t count = 0;

    if (!uuids || mig_server_read(server, &node, &error) < 0) {
        return; /* the next helper, or a change of the agent, finds the GPUs as they are */
    }
    for (uint32_t i = 0; i < node->gpu_count; i++) {
        if (node->gpus[i].index < MIG_GPU_MAX && (gpus >> node->gpus[i].index & 1) != 0) {
            mig_text_copy(uuids[count++], MIG_UUID_SIZE, node->gpus[i].uuid);
        }
    }
    tell_node(server, node);
    for (uint32_t i = 0; i < count; i++) {
        MIG_AUTO_MESSAGE struct mig_message *message = mig_message_new(MIG_MESSAGE_RESET, 0);

        if (message) {
            mig_text_copy(message->text, sizeof(message->text), uuids[i]);
            mig_server_send(server, message);
        }
    }
}

void mig_server_recover(struct mig_server *server)
{
    struct mig_apply_options options = mig_server_apply_options(server);
    struct mig_apply_report report = {0};
    struct mig_error error = {0};
    struct mig_apply *apply = NULL;
    struct mig_node *node = NULL;

    if (!mig_apply_is_on_record(options.state_dir)) {
        return;
    }
    if (mig_server_read(server, &node, &error) < 0) {
        mig_server_say(server, "an interrupted change is on record, and waits for the driver: %s",
                       error.message);
        return;
    }
    mig_node_free(node);
    if (mig_apply_open(server->session, &options, &apply, &report, &error) < 0) {
        mig_server_check_session(server, &error);
        mig_server_say(server, "an interrupted change could not be dealt with: %s", error.message);
    } else if (report.recovery != MIG_RECOVERY_NONE) {
        mig_server_say(server, "an interrupted change was dealt with: %s", report.recovery_text);
    }
    mig_apply_close(apply);
    if (report.reset_gpus != 0 && !server->driver_hangs) {
        tell_resets(server, report.reset_gpus);
    }
}
