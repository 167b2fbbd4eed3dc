/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Says where labels go and what they are to say: outputs by --labels-to, strategy and sharing by
 * the device plugin's settings, so that labels and resources agree.
 */
#include "daemon/role_labels.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "daemon/log.h"
#include "discovery/discovery.h"
#include "exporter/own.h"
#include <errno.h>

#define LOOK_MS 250u

struct role_labels {
    uv_timer_t timer; /* runs while the geometry is being changed */
    struct role_labels_options options;
    struct mig_discovery *discovery;
    enum mig_label_strategy strategy, policy_strategy;
    bool has_policy, strategy_given, mps, no_timestamp;
    size_t sharing_count;
    struct mig_label_sharing sharing[MIG_DISCOVERY_SHARING_MAX];
    char resources[MIG_DISCOVERY_SHARING_MAX][MIG_DP_NAME_SIZE];
};

static const char *getenv_of(const char *name, void *data)
{
    (void)data;
    return getenv(name);
}

static void wrote(enum mig_discovery_output output, const struct mig_error *error, void *data)
{
    const struct role_labels *role = data;
    const char *name = mig_discovery_output_name(output);

    mig_counter_add(role->options.counters, &mig_count_label_writes, 1, name,
                    error ? "failed" : "ok", NULL);
    if (error) {
        log_error(LOG_LEVEL_WARNING, "labels", error, "could not write the labels (%s)", name);
    } else {
        log_write(LOG_LEVEL_INFO, "labels", NULL, 0, "labels are written (%s)", name);
    }
}

static void invalid(const char *reason, void *data)
{
    (void)data;
    log_write(LOG_LEVEL_WARNING, "labels", NULL, 0, "%s%s",
              reason[0] ? "the strategy 'single' cannot describe this node: "
                        : "the strategy 'single' describes this node again",
              reason);
}

static void set_rules(struct role_labels *role)
{
    const struct mig_discovery_rules rules = {
        /* as the device plugin decides it, or names of labels would not be those of resources */
        .strategy =
            role->has_policy && !role->strategy_given ? role->policy_strategy : role->strategy,
        .mps = role->mps,
        .with_timestamp = !role->no_timestamp,
        .sharing_count = role->sharing_count,
        .sharing = role->sharing,
    };

    mig_discovery_set_rules(role->discovery, &rules);
}

static bool is_changing(const struct role_labels *role)
{
    return role->options.is_changing && role->options.is_changing(role->options.data);
}

static void look(uv_timer_t *timer)
{
    struct role_labels *role = timer->data;

    if (!is_changing(role)) {
        uv_timer_stop(timer);
        mig_discovery_hold(role->discovery, false);
    }
}

void role_labels_set_node(struct role_labels *role, const struct mig_node *node)
{
    if (!role) {
        return;
    }
    if (is_changing(role)) {
        mig_discovery_hold(role->discovery, true);
        uv_timer_start(&role->timer, look, LOOK_MS, LOOK_MS);
    }
    mig_discovery_set_node(role->discovery, node);
}

void role_labels_set_config(struct role_labels *role, const struct mig_dp_config *config)
{
    if (!role) {
        return;
    }
    role->strategy = (enum mig_label_strategy)config->strategy;
    role->strategy_given = config->strategy_given;
    role->no_timestamp = config->gfd_no_timestamp;
    role->sharing_count = 0;
    role->mps = config->mps;
    for (uint32_t i = 0;
         i < config->sharing.rule_count && role->sharing_count < MIG_DISCOVERY_SHARING_MAX; i++) {
        const struct mig_dp_rule *rule = &config->sharing.rules[i];
        size_t at = role->sharing_count++;

        mig_text_copy(role->resources[at], sizeof(role->resources[at]), rule->name);
        role->sharing[at] = (struct mig_label_sharing){
            .resource = role->resources[at],
            .replicas = rule->replicas,
            .renamed = rule->rename[0] != '\0' || config->sharing.rename_by_default,
        };
    }
    set_rules(role);
}

void role_labels_set_strategy(struct role_labels *role, const char *strategy)
{
    enum mig_dp_strategy parsed = MIG_DP_STRATEGY_NONE;

    if (role) {
        role->has_policy = mig_dp_strategy_parse(strategy, &parsed);
        role->policy_strategy = (enum mig_label_strategy)parsed;
        set_rules(role);
    }
}

/* From options and environment, until the device plugin says more. */
static int first_config(struct role_labels *role, const struct daemon_values *values,
                        struct mig_error *error)
{
    static const struct {
        enum daemon_option_id id;
        const char *flag;
    } known[] = {{DAEMON_NO_TIMESTAMP, "no-timestamp"}, {DAEMON_MIG_STRATEGY, "mig-strategy"}};
    struct mig_dp_flag flags[MIG_ARRAY_SIZE(known)];
    struct mig_dp_sources sources = {.environment = getenv_of, .flags = flags};
    struct mig_dp_config *config = NULL;
    int rc;

    for (size_t i = 0; i < MIG_ARRAY_SIZE(known); i++) {
        if (values->sources[known[i].id] != DAEMON_FROM_TABLE) {
            flags[sources.flag_count++] =
                (struct mig_dp_flag){known[i].flag, values->texts[known[i].id]};
        }
    }
    rc = mig_dp_config_make(&sources, &config, error);

    if (rc == 0) {
        role_labels_set_config(role, config);
    }
    mig_dp_config_free(config);
    return rc;
}

static void closed(uv_handle_t *handle)
{
    free(handle->data);
}

int role_labels_new(const struct role_labels_options *options, struct role_labels **ret,
                    struct mig_error *error)
{
    const struct daemon_values *values = options->values;
    struct mig_discovery_options discovery = {
        .file = values->texts[DAEMON_LABELS_FILE],
        .kube = options->kube,
        .node_name = options->node_name,
        .namespace_name = values->texts[DAEMON_POD_NAMESPACE],
        .pod_name = values->texts[DAEMON_POD_NAME],
        .wrote = wrote,
        .invalid = invalid,
    };
    struct role_labels *role;
    int rc;

    discovery.outputs[MIG_DISCOVERY_TO_FILE] = daemon_value_has(values, DAEMON_LABELS_TO, "file");
    discovery.outputs[MIG_DISCOVERY_TO_NODE_FEATURE] =
        options->kube && daemon_value_has(values, DAEMON_LABELS_TO, "nodefeature");
    discovery.outputs[MIG_DISCOVERY_TO_NODE] =
        options->kube && daemon_value_has(values, DAEMON_LABELS_TO, "node");
    *ret = NULL;
    if (!discovery.outputs[MIG_DISCOVERY_TO_FILE] &&
        !discovery.outputs[MIG_DISCOVERY_TO_NODE_FEATURE] &&
        !discovery.outputs[MIG_DISCOVERY_TO_NODE]) {
        return 0;
    }
    role = calloc(1, sizeof(*role));
    if (!role) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not start the labels");
    }
    role->options = *options;
    role->options.values = NULL;
    discovery.data = role;
    rc = mig_discovery_new(options->loop, &discovery, &role->discovery, error);
    if (rc < 0) {
        free(role);
        return rc;
    }
    uv_timer_init(options->loop, &role->timer);
    role->timer.data = role;
    rc = first_config(role, values, error);
    if (rc < 0) {
        role_labels_free(role);
        return rc;
    }
    *ret = role;
    return 0;
}

void role_labels_free(struct role_labels *role)
{
    if (role) {
        mig_discovery_free(role->discovery);
        uv_close((uv_handle_t *)&role->timer, closed);
    }
}
