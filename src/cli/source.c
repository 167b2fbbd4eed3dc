/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the config comes from. The administrator's file in the system's configuration directory
 * wins over the one that is installed with the program.
 */
#include "cli/source.h"
#include "cli/document.h"

int source_path(const struct cli *cli, const char **ret, struct mig_error *error)
{
    static const char *const installed[] = {MIG_SYSCONF_DIR "/migd/config.yaml",
                                            MIG_DATA_DIR "/migd/config.yaml"};
    const char *variable = getenv("MIGCTL_CONFIG");

    if (cli_has(cli, CLI_FILE)) {
        *ret = cli->values[CLI_FILE];
        return MIG_OK;
    }
    if (variable && *variable) {
        *ret = variable;
        return MIG_OK;
    }
    for (size_t i = 0; i < MIG_ARRAY_SIZE(installed); i++) {
        if (access(installed[i], F_OK) == 0) {
            *ret = installed[i];
            return MIG_OK;
        }
    }
    mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                  "no config file is given, and there is no default one at '%s'", installed[0]);
    return mig_error_hint(error, MIG_E_USAGE, "give one with -f, or in MIGCTL_CONFIG");
}

int source_open(const struct cli *cli, struct source *ret, struct mig_error *error)
{
    int result;

    *ret = (struct source){.mode_only = cli_has(cli, CLI_MODE_ONLY)};
    result = source_path(cli, &ret->path, error);
    if (result == MIG_OK) {
        result = mig_config_load(ret->path, &ret->config, error);
    }
    if (result == MIG_OK) {
        result = mig_config_select(ret->config, cli->values[CLI_CONFIG], &ret->index, error);
    }
    return result;
}

void source_close(struct source *source)
{
    mig_config_free(source->config);
    source->config = NULL;
}

int source_goal(const struct mig_node *node, void *data, struct mig_goal *ret,
                struct mig_error *error)
{
    const struct source *source = data;

    return mig_config_goal(source->config, source->index, node, source->mode_only, ret, error);
}

void source_describe(const struct source *source, json_t *document)
{
    json_t *object = doc_object();

    doc_put_text(object, "file", source->path);
    doc_put_text(object, "name", mig_config_name(source->config, source->index));
    doc_put(document, "config", object);
}
