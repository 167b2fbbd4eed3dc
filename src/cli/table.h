/* SPDX-License-Identifier: Apache-2.0 */
/* Tables and trees, by libsmartcols. */
#ifndef MIG_CLI_TABLE_H
#define MIG_CLI_TABLE_H

#include "cli/cli.h"
#include <libsmartcols/libsmartcols.h>

struct table_column {
    const char *name;
    int flags;      /* SCOLS_FL_* */
    bool wide_only; /* shown with -o wide only */
};

struct table {
    struct libscols_table *scols;
    const struct table_column *columns;
    size_t column_count;
    bool wide;
};

/* MIG_E_FAILED when memory is short. Release in each case. */
int table_init(struct table *table, const struct cli *cli, const struct table_column *columns,
               size_t column_count, struct mig_error *error);
void table_release(struct table *table);

/* A new line below `parent` (NULL = top); NULL when memory is short, which table_print reports. */
struct libscols_line *table_line(struct table *table, struct libscols_line *parent);

/* Sets a cell; `column` counts all columns, and a column that is not shown is skipped. */
void table_set(struct table *table, struct libscols_line *line, size_t column, const char *format,
               ...) MIG_PRINTF(4, 5);
void table_set_color(struct table *table, struct libscols_line *line, const char *escape);

int table_print(struct table *table, struct mig_error *error);

#endif
