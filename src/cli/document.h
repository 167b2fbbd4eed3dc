/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The documents of -o json and -o yaml (docs/json.md): built once as a tree, written in either
 * form. A tree that cannot be built because memory is short ends the program with exit code 1; the
 * state of the GPUs is complete by then.
 */
#ifndef MIG_CLI_DOCUMENT_H
#define MIG_CLI_DOCUMENT_H

#include "cli/cli.h"

/* A new document "migctl/NAME/v1"; belongs to cli, which prints it at the end. */
json_t *doc_start(struct cli *cli, const char *name);

json_t *doc_object(void);
json_t *doc_array(void);

/* Each takes ownership of `value`. */
void doc_put(json_t *object, const char *key, json_t *value);
void doc_add(json_t *array, json_t *value);

/* Text; what is not UTF-8 is replaced by '?'. NULL and "" become null in doc_put_known_text. */
void doc_put_text(json_t *object, const char *key, const char *text);
void doc_put_known_text(json_t *object, const char *key, const char *text);
void doc_put_bool(json_t *object, const char *key, bool value);
void doc_put_int(json_t *object, const char *key, int64_t value);
void doc_put_known_int(json_t *object, const char *key, int64_t value); /* MIG_UNKNOWN = null */
void doc_put_id(json_t *object, const char *key, uint32_t id);          /* MIG_ID_NONE = null */
void doc_add_text(json_t *array, const char *text);

/* Puts what `error` says into a document, under "error". `result` is a negative MIG_E_*. */
void doc_put_error(json_t *document, int result, const struct mig_error *error);

/* Writes the tree; false when it could not be written. */
bool doc_write(json_t *document, enum cli_output output, FILE *out);

#endif
