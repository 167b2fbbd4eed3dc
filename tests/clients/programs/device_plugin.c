/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device plugin by itself, without migd around it: reads the driver in its own process and
 * takes commands on standard input, one a line:
 *
 *     update | xid GPU_UUID GI CI NUMBER | reset GPU_UUID | recovery GPU_UUID ACTION | config FILE
 * | kubelet | stats
 *
 * What happens is told on standard output, one event a line: KIND RESOURCE COUNT TEXT.
 *
 *     device-plugin KUBELET_DIR CDI_DIR HOST_ROOT DRIVER_ROOT CONFIG_FILE
 *
 * BY_REGISTRY in the environment: the kubelet finds it, instead of being told.
 */
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "deviceplugin/plugin.h"
#include <mig/inventory.h>
#include <string.h>

struct program {
    uv_loop_t loop;
    uv_pipe_t input;
    struct mig_session *session;
    struct mig_node *node;
    struct mig_deviceplugin *plugin;
    char line[1024];
    size_t length;
};

static void on_event(const struct mig_deviceplugin_event *event, void *data)
{
    static const char *const names[] = {"registered", "register-failed", "withdrawn", "listed",
                                        "allocated",  "refused",         "unhealthy", "healthy",
                                        "note",       "kubelet",         "untold",    "failed"};

    (void)data;
    printf("%s %s %u %s\n", names[event->kind], event->resource[0] ? event->resource : "-",
           event->count, event->text);
    fflush(stdout);
}

static void complain(const struct mig_error *error)
{
    printf("error - 0 %s\n", error->message);
    fflush(stdout);
}

static void update(struct program *program)
{
    struct mig_node *node = NULL;
    struct mig_error error = {0};

    if (mig_inventory_read(program->session, &node, &error) < 0) {
        complain(&error);
        return;
    }
    mig_deviceplugin_update(program->plugin, node);
    mig_node_free(program->node);
    program->node = node;
}

static const char *environment(const char *name, void *data)
{
    (void)data;
    return getenv(name);
}

static int load(const char *path, struct mig_dp_config **ret, struct mig_error *error)
{
    MIG_AUTO_FREE char *text = NULL;
    struct mig_dp_sources sources = {.file_name = path, .environment = environment};
    int result = mig_file_read(path, MIG_DP_CONFIG_BYTES_MAX, &text, &sources.size, error);

    sources.text = text;
    return result < 0 ? result : mig_dp_config_make(&sources, ret, error);
}

static void reload(struct program *program, const char *path)
{
    struct mig_dp_config *config = NULL;
    struct mig_error error = {0};

    if (load(path, &config, &error) < 0) {
        complain(&error);
        return;
    }
    mig_deviceplugin_reload(program->plugin, config);
}

static void tell_stats(const struct program *program)
{
    struct mig_deviceplugin_stats stats;

    mig_deviceplugin_get_stats(program->plugin, &stats);
    printf("stats - %u registrations=%llu failures=%llu restarts=%llu lists=%llu calls=%llu "
           "round_us=%llu\n",
           stats.resources_registered, (unsigned long long)stats.registrations,
           (unsigned long long)stats.registration_failures,
           (unsigned long long)stats.kubelet_restarts, (unsigned long long)stats.lists,
           (unsigned long long)mig_session_call_count(program->session),
           (unsigned long long)stats.round_us);
    fflush(stdout);
}

static void obey(struct program *program, const char *line)
{
    char text[256];
    unsigned gi, ci, number;

    if (strcmp(line, "update") == 0) {
        update(program);
    } else if (sscanf(line, "xid %255s %u %u %u", text, &gi, &ci, &number) == 4) {
        mig_deviceplugin_xid(program->plugin, text, gi, ci, number);
    } else if (sscanf(line, "reset %255s", text) == 1) {
        mig_deviceplugin_reset(program->plugin, text);
    } else if (sscanf(line, "recovery %255s %u", text, &number) == 2) {
        mig_deviceplugin_recovery(program->plugin, text, (enum mig_dp_recovery_action)number);
    } else if (sscanf(line, "config %255s", text) == 1) {
        reload(program, text);
    } else if (strcmp(line, "kubelet") == 0) {
        mig_deviceplugin_kubelet_changed(program->plugin);
    } else if (strcmp(line, "stats") == 0) {
        tell_stats(program);
    }
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *ret)
{
    struct program *program = handle->data;

    (void)size;
    *ret = uv_buf_init(program->line + program->length,
                       (unsigned)(sizeof(program->line) - program->length));
}

/* The end of the input ends the program. */
static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    struct program *program = stream->data;
    char *end;

    (void)buffer;
    if (size < 0) {
        mig_deviceplugin_free(program->plugin);
        uv_close((uv_handle_t *)stream, NULL);
        return;
    }
    program->length += (size_t)size;
    while ((end = memchr(program->line, '\n', program->length))) {
        size_t used = (size_t)(end - program->line) + 1;

        *end = '\0';
        obey(program, program->line);
        program->length -= used;
        memmove(program->line, end + 1, program->length);
    }
}

static int start(struct program *program, char **argv, struct mig_error *error)
{
    struct mig_deviceplugin_options options = {
        .kubelet_dir = argv[1],
        .by_registry = getenv("BY_REGISTRY") != NULL,
        .cdi_dir = argv[2],
        .host = {.proc_root = argv[3],
                 .sys_root = argv[3],
                 .dev_root = argv[3],
                 .driver_root = argv[4]},
        .event = on_event,
        .data = program,
    };
    int result = mig_session_open(NULL, &program->session, error);

    if (result == MIG_OK) {
        result = load(argv[5], &options.config, error);
    }
    if (result == MIG_OK) {
        result = mig_deviceplugin_new(&program->loop, &options, &program->plugin, error);
    }
    return result;
}

int main(int argc, char **argv)
{
    struct program program = {0};
    struct mig_error error = {0};

    if (argc != 6) {
        fprintf(stderr, "usage: see the source\n");
        return 2;
    }
    uv_loop_init(&program.loop);
    if (start(&program, argv, &error) < 0) {
        fprintf(stderr, "%s\n", error.message);
        mig_session_close(program.session);
        return 1;
    }
    uv_pipe_init(&program.loop, &program.input, 0);
    uv_pipe_open(&program.input, STDIN_FILENO);
    program.input.data = &program;
    uv_read_start((uv_stream_t *)&program.input, on_alloc, on_read);
    update(&program);
    uv_run(&program.loop, UV_RUN_DEFAULT);
    uv_loop_close(&program.loop);
    mig_node_free(program.node);
    mig_session_close(program.session);
    return 0;
}
