/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files: nvidia-mig-parted config (version v1, YAML or JSON), its checkpoints and hooks.
 *
 * Everything is checked at the door, with file, line and column. Two levels: parsing refuses what
 * nvidia-mig-parted refuses (spelling, types, unknown keys); validating also refuses what could
 * never work (profiles that no listed GPU has, counts that do not fit, filters that match nothing,
 * overlapping entries), against the catalogue or against the GPUs of a node.
 */
#ifndef MIG_CONFIG_H
#define MIG_CONFIG_H

#include <mig/node.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MIG_CONFIG_BYTES_MAX (4u << 20) /* a larger file is refused */
#define MIG_CONFIG_DEPTH_MAX 16
#define MIG_CONFIG_CONFIGS_MAX 4096
#define MIG_CONFIG_ENTRIES_MAX 16384 /* over all configs of a file */
#define MIG_CONFIG_DEVICES_MAX                                        \
    64 /* mig-devices of one entry; also device numbers, also filters \
        */

struct mig_config; /* a parsed file */

/* Where in the file a finding is; from 1, 0 = not known. */
struct mig_position {
    uint32_t line, column;
};

/*
 * Reads and parses. `path` "-" = standard input. MIG_E_CONFIG: message starts with
 * "PATH:LINE:COLUMN: ", unless the file could not be read at all.
 */
MIG_PUBLIC int mig_config_load(const char *path, struct mig_config **ret, struct mig_error *error);

/* The same from memory; `name` stands for the path in messages. */
MIG_PUBLIC int mig_config_parse(const char *name, const char *text, size_t size,
                                struct mig_config **ret, struct mig_error *error);
MIG_PUBLIC void mig_config_free(struct mig_config *config); /* NULL is allowed */

/* Names of the configs, in file order. */
MIG_PUBLIC size_t mig_config_count(const struct mig_config *config);
MIG_PUBLIC const char *mig_config_name(const struct mig_config *config, size_t index);

/*
 * Finds the config to use: `name`, or the only one when name is NULL or "". MIG_E_CONFIG; the hint
 * lists near names.
 */
MIG_PUBLIC int mig_config_select(const struct mig_config *config, const char *name, size_t *ret,
                                 struct mig_error *error);

/*
 * What the config wants of each GPU of `node`. Later entries override earlier ones on the same GPU;
 * `all` means the MIG-capable GPUs. With mode_only, instances are not looked at. MIG_E_NO_FIT when
 * a GPU lacks a profile that is asked of it or cannot do MIG, MIG_E_CONFIG when an entry names a
 * GPU that is not there, a filter is no PCI id, or nothing matches, MIG_E_FAILED when a GPU that is
 * meant could not be read.
 */
MIG_PUBLIC int mig_config_goal(const struct mig_config *config, size_t index,
                               const struct mig_node *node, bool mode_only, struct mig_goal *ret,
                               struct mig_error *error);

enum mig_severity { MIG_WARNING = 0, MIG_FINDING_ERROR };

/* One thing that is wrong with a file. */
struct mig_finding {
    enum mig_severity severity;
    struct mig_position position;
    char config[64]; /* name of the config, cut; "" = the file */
    char text[384];
};

/*
 * Checks all configs (or the one at `only`, SIZE_MAX = all) against models: those of `node`, or the
 * whole catalogue when node is NULL (an entry is fine when some catalogue GPU that it can apply to
 * can carry it). Calls `report` per finding, at most MIG_FINDINGS_MAX times. Returns MIG_OK or
 * MIG_E_CONFIG when there was any of severity error.
 */
#define MIG_FINDINGS_MAX 1000
MIG_PUBLIC int mig_config_validate(const struct mig_config *config, size_t only,
                                   const struct mig_node *node,
                                   void (*report)(const struct mig_finding *finding, void *data),
                                   void *data, struct mig_error *error);

/* Formats of text that is written. */
enum mig_format { MIG_FORMAT_YAML = 0, MIG_FORMAT_JSON };

/*
 * The node as a config file with one config named `label`, in nvidia-mig-parted's layout (equal
 * GPUs merged, filters by the same rules). *ret is malloc'd and terminated.
 */
MIG_PUBLIC int mig_config_export(const struct mig_node *node, const char *label,
                                 enum mig_format format, char **ret, struct mig_error *error);

/*
 * The config file that fits these models (all-disabled, all-enabled, all-<profile>, all-balanced),
 * with device-filters where models differ. Same names and counts as `nvidia-mig-parted
 * generate-config`.
 */
MIG_PUBLIC int mig_config_generate(const struct mig_model *const *models, size_t model_count,
                                   enum mig_format format, char **ret, struct mig_error *error);

/* Checkpoints: nvidia-mig-parted's JSON, schema v1, interchangeable both ways. */
MIG_PUBLIC int mig_checkpoint_write(const struct mig_node *node, char **ret,
                                    struct mig_error *error);

/* Reads one (`name` is for messages) into a goal with explicit placements; GPUs are matched by
 * UUID. */
MIG_PUBLIC int mig_checkpoint_goal(const char *name, const char *text, size_t size,
                                   const struct mig_node *node, bool mode_only,
                                   struct mig_goal *ret, struct mig_error *error);

/*
 * The last good geometry, which is brought back after a boot: a checkpoint in the state directory,
 * and the name of the config that it came from. migctl and migd keep the same one.
 */
#define MIG_SAVED_FILE "last-good.json"
#define MIG_SAVED_NAME_SIZE 256

/*
 * Replaces it by the geometry of `node`; a crash leaves the old or the new one. What has not
 * changed is not written again. `config_name` "" = not known: the name that the same geometry was
 * kept under stays.
 */
MIG_PUBLIC int mig_saved_write(const char *state_dir, const struct mig_node *node,
                               const char *config_name, struct mig_error *error);

/*
 * Reads it into a goal, as mig_checkpoint_goal does. `ret_name` is "" when the name is not known,
 * or belongs to another geometry. MIG_E_CONFIG when there is none or it cannot be read.
 */
MIG_PUBLIC int mig_saved_goal(const char *state_dir, const struct mig_node *node,
                              struct mig_goal *ret, char ret_name[MIG_SAVED_NAME_SIZE],
                              struct mig_error *error);

/* Hooks: commands to run around an apply (nvidia-mig-parted's hooks.yaml). */
enum mig_hook {
    MIG_HOOK_APPLY_START = 0,
    MIG_HOOK_PRE_APPLY_MODE,
    MIG_HOOK_PRE_APPLY_CONFIG,
    MIG_HOOK_APPLY_EXIT,
    MIG_HOOK_COUNT
};

struct mig_hooks;

MIG_PUBLIC int mig_hooks_load(const char *path, struct mig_hooks **ret, struct mig_error *error);
MIG_PUBLIC int mig_hooks_parse(const char *name, const char *text, size_t size,
                               struct mig_hooks **ret, struct mig_error *error);
MIG_PUBLIC void mig_hooks_free(struct mig_hooks *hooks); /* NULL is allowed */

/* What one command of a hook may take; then it is ended and has failed. */
#define MIG_HOOK_SECONDS_MAX 1800u

/*
 * Runs the commands of one hook in order; the first that fails ends it. Their environment is the
 * hook's own plus `environment` ("NAME=value", NULL-terminated), nothing inherited. Output is shown
 * only with `verbose`.
 */
MIG_PUBLIC int mig_hooks_run(const struct mig_hooks *hooks, enum mig_hook hook,
                             char *const *environment, bool verbose, struct mig_error *error);

#ifdef __cplusplus
}
#endif
#endif
