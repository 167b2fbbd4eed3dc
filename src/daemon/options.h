/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one table of migd's options. The command line, the environment, the settings file, --help,
 * the man page and the completions are all made from it.
 *
 * A value comes from the command line, else from the environment, else from the settings file, else
 * from the table. The names, letters and variables of nvidia-mig-manager are among them, so that
 * migd can stand in its place; those that mean nothing here are taken and told about.
 */
#ifndef MIG_DAEMON_OPTIONS_H
#define MIG_DAEMON_OPTIONS_H

#include <mig/error.h>
#include <stdint.h>
#include <stdio.h>

enum daemon_option_id {
    DAEMON_ROLES = 0,
    DAEMON_CONFIG_FILE,
    DAEMON_CONFIG,
    DAEMON_DEFAULT_CONFIG_FILE,
    DAEMON_CLUSTER_POLICY,
    DAEMON_ON_BUSY,
    DAEMON_ON_BUSY_TIMEOUT,
    DAEMON_REPAIR_DRIFT,
    DAEMON_MODE_ONLY,
    DAEMON_SKIP_RESET,
    DAEMON_WITH_REBOOT,
    DAEMON_SHUTDOWN_HOST_CLIENTS,
    DAEMON_GPU_CLIENTS_FILE,
    DAEMON_GPU_CLIENTS_NAMESPACE,
    DAEMON_KUBELET_SERVICE,
    DAEMON_HOST_STATE_FILE,
    DAEMON_KUBECONFIG,
    DAEMON_NODE_NAME,
    DAEMON_POD_NAME,
    DAEMON_POD_NAMESPACE,
    DAEMON_HOST_ROOT,
    DAEMON_KUBELET_DIR,
    DAEMON_DRIVER_ROOT,
    DAEMON_DRIVER_ROOT_CTR_PATH,
    DAEMON_DEV_ROOT,
    DAEMON_DEV_ROOT_CTR_PATH,
    DAEMON_CDI_ENABLED,
    DAEMON_CDI_HOOK_PATH,
    DAEMON_LIBRARY,
    DAEMON_STATE_DIR,
    DAEMON_POLL_INTERVAL,
    DAEMON_USER,
    DAEMON_LISTEN,
    DAEMON_LABELS_TO,
    DAEMON_LABELS_FILE,
    DAEMON_NO_TIMESTAMP,
    DAEMON_METRICS_HOSTNAME,
    DAEMON_MIG_STRATEGY,
    DAEMON_PLUGIN_CONFIG_FILE,
    DAEMON_PLUGIN_CONFIG_DIR,
    DAEMON_PLUGIN_CONFIG_MAP,
    DAEMON_PLUGIN_CONFIG_LABEL,
    DAEMON_PLUGIN_DEFAULT_CONFIG,
    DAEMON_PLUGIN_CONFIG_FALLBACK,
    DAEMON_PLUGIN_REGISTRATION,
    DAEMON_CDI_DIR,
    DAEMON_MPS_ROOT,
    DAEMON_MPS_ROOT_CTR_PATH,
    DAEMON_LOG_LEVEL,
    DAEMON_LOG_FORMAT,
    DAEMON_SETTINGS,
    DAEMON_HOST_NVIDIA_DIR,
    DAEMON_RECONFIGURE_SCRIPT,
    DAEMON_HELP,
    DAEMON_VERSION,
    DAEMON_OPTION_COUNT
};

enum daemon_option_kind {
    DAEMON_TEXT = 0,
    DAEMON_SWITCH,   /* "true" or "false" */
    DAEMON_CHOICE,   /* one of the words in `choices` */
    DAEMON_SET,      /* some of the words in `choices`, each once, separated by commas */
    DAEMON_DURATION, /* "30", "30s", "500ms", "10m", "1h" */
};

/* Under which heading --help and the man page show it. */
enum daemon_option_group {
    DAEMON_GROUP_MANAGER = 0,
    DAEMON_GROUP_CLIENTS,
    DAEMON_GROUP_CLUSTER,
    DAEMON_GROUP_PLUGIN,
    DAEMON_GROUP_HOST,
    DAEMON_GROUP_PROCESS,
    DAEMON_GROUP_COUNT
};

struct daemon_option {
    const char *name;
    const char *argument;         /* "FILE"; NULL for switches */
    const char *choices;          /* "a|b"; NULL = anything */
    const char *variables[2];     /* NULL = none */
    const char *fallback;         /* never NULL */
    const char *manager_fallback; /* the default when called as nvidia-mig-manager; NULL = same */
    const char *help;             /* one line, no full stop */
    const char *dead;             /* why it has no effect; NULL = it has one */
    enum daemon_option_kind kind;
    enum daemon_option_group group;
    char letter; /* 0 = none */
};

extern const struct daemon_option daemon_options[DAEMON_OPTION_COUNT];
extern const char *const daemon_group_names[DAEMON_GROUP_COUNT];
extern const char daemon_summary[], daemon_description[];

/* Where a value came from. */
enum daemon_value_source {
    DAEMON_FROM_TABLE = 0,
    DAEMON_FROM_FILE,
    DAEMON_FROM_ENVIRONMENT,
    DAEMON_FROM_COMMAND_LINE,
};

/* The texts, checked to be of their kind. */
struct daemon_values {
    bool as_mig_manager;                    /* called as nvidia-mig-manager */
    const char *texts[DAEMON_OPTION_COUNT]; /* never NULL after daemon_values_read */
    enum daemon_value_source sources[DAEMON_OPTION_COUNT];
    char *owned[DAEMON_OPTION_COUNT]; /* those of the settings file */
};

/*
 * Reads the command line, the environment (by getenv) and the settings file. MIG_E_USAGE for the
 * first two, MIG_E_CONFIG with file, line and column for the file. Release `ret` in each case.
 */
int daemon_values_read(int argc, char *const *argv, struct daemon_values *ret,
                       struct mig_error *error);
void daemon_values_release(struct daemon_values *values);

static inline bool daemon_value_is_true(const struct daemon_values *values,
                                        enum daemon_option_id id)
{
    return values->texts[id][0] == 't';
}

/* The text of a DAEMON_DURATION in milliseconds; it has been checked. */
uint64_t daemon_value_ms(const struct daemon_values *values, enum daemon_option_id id);

/* True when `word` is in a DAEMON_SET. */
bool daemon_value_has(const struct daemon_values *values, enum daemon_option_id id,
                      const char *word);

void daemon_print_help(FILE *out, const char *program);

#endif
