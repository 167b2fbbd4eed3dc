/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a YAML (or JSON, which is YAML) file into a tree that knows where everything stands.
 *
 * The tree is bounded in depth, values, anchors and text, so that no file can cost more than a
 * fixed amount of time and memory. An alias is a second reference to the same value, never a copy;
 * merge keys (`<<`) are carried out, and what they copy counts. Of equal keys of a map the last one
 * counts, as for nvidia-mig-parted; the others stay visible as overridden, so that a checker can
 * name them.
 */
#ifndef MIG_CONFIG_DOCUMENT_H
#define MIG_CONFIG_DOCUMENT_H

#include "config/scalar.h"
#include <mig/config.h>

#define MIG_DOCUMENT_VALUES_MAX 262144u /* over the file; keys count, merged pairs count again */
#define MIG_DOCUMENT_ANCHORS_MAX 256u
#define MIG_DOCUMENT_TEXT_MAX 65536u /* bytes of one scalar */

struct mig_pair;

struct mig_value {
    enum mig_value_kind kind;
    struct mig_position position;
    uint32_t count;   /* items of a list, pairs of a map (overridden ones too) */
    const char *text; /* scalars, as written; terminated */
    union {
        bool boolean;
        int64_t integer;
        const struct mig_value *const *items;
        const struct mig_pair *pairs;
    };
};

struct mig_pair {
    const char *key; /* as text: `on` is "true", 0x10 is "16" */
    struct mig_position position;
    const struct mig_value *value;
    bool merged;     /* came through a merge key */
    bool overridden; /* a later pair has the same key; this one does not count */
};

struct mig_document;

/* MIG_E_CONFIG with "NAME:LINE:COLUMN: ". One document at most; an empty text is a null value. */
int mig_document_parse(const char *name, const char *text, size_t size, struct mig_document **ret,
                       struct mig_error *error);
void mig_document_free(struct mig_document *document); /* NULL is allowed */

/* Lives as long as the document. */
const struct mig_value *mig_document_root(const struct mig_document *document);

/* The pair of a map that counts for `key`; NULL when there is none. */
const struct mig_pair *mig_value_find(const struct mig_value *map, const char *key);

/* "a list", "text": for messages. */
const char *mig_value_kind_name(enum mig_value_kind kind);

/* Sets "NAME:LINE:COLUMN: " and the message; domain config, code the line. */
int mig_position_error(struct mig_error *error, int result, const char *name,
                       struct mig_position position, const char *format, ...) MIG_PRINTF(5, 6);

/* Reads a file of at most MIG_CONFIG_BYTES_MAX bytes; every failure is MIG_E_CONFIG. */
int mig_document_read_file(const char *path, char **ret, size_t *ret_size, struct mig_error *error);

#endif
