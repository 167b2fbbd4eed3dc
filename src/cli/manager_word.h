/* SPDX-License-Identifier: Apache-2.0 */
/* The last word of migd's manager about this machine, from the state directory. */
#ifndef MIG_CLI_MANAGER_WORD_H
#define MIG_CLI_MANAGER_WORD_H

#include "cli/document.h"

/* NULL when no migd has left one, or it makes no sense. json_decref it. */
json_t *manager_word_read(const struct cli *cli);

/* One line for people: state, config, since when, why. */
void manager_word_print(const struct cli *cli, const json_t *word);

/* The part `manager` of docs/json.md; null without a word. */
json_t *manager_word_document(const json_t *word);

#endif
