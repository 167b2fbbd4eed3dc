/* SPDX-License-Identifier: Apache-2.0 */
/* migctl validate: every finding of a config file, in the form that editors understand. */
#include "cli/document.h"
#include "cli/node.h"
#include <string.h>

struct findings {
    const struct cli *cli;
    const char *path;
    json_t *array; /* NULL = print text */
    unsigned error_count, warning_count;
};

static const char *severity_name(enum mig_severity severity)
{
    return severity == MIG_WARNING ? "warning" : "error";
}

static void print_finding(const struct findings *findings, const struct mig_finding *finding)
{
    char clean[sizeof(finding->text)];
    bool is_error = finding->severity != MIG_WARNING;

    printf("%s:", findings->path);
    if (finding->position.line) {
        printf("%u:%u:", finding->position.line, finding->position.column);
    }
    printf(" %s%s:%s %s", is_error ? cli_color(findings->cli, CLI_COLOR_ERROR) : "",
           severity_name(finding->severity),
           is_error ? cli_color(findings->cli, CLI_COLOR_NONE) : "",
           cli_clean(clean, sizeof(clean), finding->text));
    if (finding->config[0]) {
        printf(" [%s]", cli_clean(clean, sizeof(clean), finding->config));
    }
    putchar('\n');
}

static void on_finding(const struct mig_finding *finding, void *data)
{
    struct findings *findings = data;
    json_t *object;

    findings->error_count += finding->severity != MIG_WARNING;
    findings->warning_count += finding->severity == MIG_WARNING;
    if (!findings->array) {
        print_finding(findings, finding);
        return;
    }
    object = doc_object();
    doc_put_text(object, "severity", severity_name(finding->severity));
    doc_put_known_int(object, "line",
                      finding->position.line ? (int64_t)finding->position.line : MIG_UNKNOWN);
    doc_put_known_int(object, "column",
                      finding->position.line ? (int64_t)finding->position.column : MIG_UNKNOWN);
    doc_put_known_text(object, "config", finding->config);
    doc_put_text(object, "text", finding->text);
    doc_add(findings->array, object);
}

static void print_result(const struct cli *cli, const struct findings *findings,
                         const struct mig_config *config)
{
    if (cli_has(cli, CLI_QUIET) || findings->error_count) {
        return;
    }
    printf("%s: valid, %zu config%s", findings->path, mig_config_count(config),
           mig_config_count(config) == 1 ? "" : "s");
    if (findings->warning_count) {
        printf(", %u warning%s", findings->warning_count, findings->warning_count == 1 ? "" : "s");
    }
    putchar('\n');
}

static int validate(struct cli *cli, const struct mig_config *config, struct mig_error *error)
{
    CLI_AUTO_NODE struct cli_node node = {NULL, NULL};
    struct findings findings = {.cli = cli, .path = cli->operands[0]};
    size_t only = SIZE_MAX;
    int result = MIG_OK;

    if (cli_has(cli, CLI_CONFIG)) {
        result = mig_config_select(config, cli->values[CLI_CONFIG], &only, error);
    }
    if (result == MIG_OK && cli_has(cli, CLI_NODE)) {
        result = cli_node_load(cli, &node, error);
    }
    if (result != MIG_OK) {
        return result;
    }
    if (!cli_is_text(cli)) {
        findings.array = doc_array();
    }
    result = mig_config_validate(config, only, node.node, on_finding, &findings, error);
    if (findings.array) {
        json_t *document = doc_start(cli, "validate");

        doc_put_text(document, "file", findings.path);
        doc_put_int(document, "config_count", (int64_t)mig_config_count(config));
        doc_put_bool(document, "valid", result == MIG_OK);
        doc_put(document, "findings", findings.array);
    } else {
        print_result(cli, &findings, config);
    }
    return result;
}

int cmd_validate(struct cli *cli, struct mig_error *error)
{
    struct mig_config *config = NULL;
    int result = mig_config_load(cli->operands[0], &config, error);

    if (result == MIG_OK) {
        result = validate(cli, config, error);
    }
    mig_config_free(config);
    return result;
}
