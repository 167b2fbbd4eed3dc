/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints the labels of the machine it runs on, for comparison with gpu-feature-discovery:
 *
 *     labels STRATEGY MACHINE_NAME [RESOURCE=REPLICAS[,renamed]]...
 */
#include "discovery/labels.h"
#include "base/cleanup.h"
#include "base/text.h"
#include <mig/inventory.h>
#include <stdio.h>
#include <string.h>

#define SHARING_MAX 8

MIG_DEFINE_CLEANUP(session, struct mig_session, mig_session_close)
MIG_DEFINE_CLEANUP(node, struct mig_node, mig_node_free)

static bool parse_sharing(char *text, struct mig_label_sharing *ret)
{
    char *number = strchr(text, '='), *word;
    uint64_t replicas = 0;

    if (!number) {
        return false;
    }
    *number++ = '\0';
    word = strchr(number, ',');
    if (word) {
        *word = '\0';
    }
    if (!mig_text_parse_u64(number, 1000, &replicas)) {
        return false;
    }
    *ret = (struct mig_label_sharing){text, (uint32_t)replicas, word != NULL};
    return true;
}

static int print(const struct mig_label_facts *facts, struct mig_error *error)
{
    MIG_CLEANUP(cleanup_session) struct mig_session *session = NULL;
    MIG_CLEANUP(cleanup_node) struct mig_node *node = NULL;
    MIG_AUTO_LABELS struct mig_labels labels = {0};
    MIG_AUTO_FREE char *text = NULL;
    int rc = mig_session_open(NULL, &session, error);

    if (rc == 0) {
        rc = mig_inventory_read(session, &node, error);
    }
    if (rc == 0) {
        rc = mig_labels_make(node, facts, &labels, NULL, error);
    }
    text = rc == 0 ? mig_labels_text(&labels) : NULL;
    if (text) {
        fputs(text, stdout);
    }
    return rc;
}

int main(int argc, char **argv)
{
    struct mig_label_sharing sharing[SHARING_MAX];
    struct mig_label_facts facts = {.sharing = sharing};
    struct mig_error error = {0};

    for (int i = 3; i < argc && facts.sharing_count < SHARING_MAX; i++) {
        if (!parse_sharing(argv[i], &sharing[facts.sharing_count++])) {
            return 2;
        }
    }
    if (argc < 3) {
        return 2;
    }
    facts.strategy = strcmp(argv[1], "mixed") == 0    ? MIG_LABEL_MIXED
                     : strcmp(argv[1], "single") == 0 ? MIG_LABEL_SINGLE
                                                      : MIG_LABEL_NONE;
    facts.machine = argv[2];
    if (print(&facts, &error) != 0) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    return 0;
}
