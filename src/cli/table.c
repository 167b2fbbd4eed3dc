/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thin layer over libsmartcols: columns that only -o wide shows, cells by printf, and one place
 * where running out of memory is noticed. libsmartcols escapes control characters by itself.
 */
#include "cli/table.h"
#include <errno.h>
#include <stdarg.h>

int table_init(struct table *table, const struct cli *cli, const struct table_column *columns,
               size_t column_count, struct mig_error *error)
{
    *table = (struct table){
        .columns = columns, .column_count = column_count, .wide = cli->output == CLI_WIDE};
    table->scols = scols_new_table();
    if (!table->scols) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not build a table");
    }
    scols_table_enable_ascii(table->scols, !cli->unicode);
    scols_table_enable_colors(table->scols, cli->color);
    scols_table_set_termwidth(table->scols, cli->width);
    for (size_t i = 0; i < column_count; i++) {
        if (columns[i].wide_only && !table->wide) {
            continue;
        }
        if (!scols_table_new_column(table->scols, columns[i].name, 0, columns[i].flags)) {
            return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not build a table");
        }
    }
    return MIG_OK;
}

void table_release(struct table *table)
{
    scols_unref_table(table->scols);
    table->scols = NULL;
}

struct libscols_line *table_line(struct table *table, struct libscols_line *parent)
{
    return scols_table_new_line(table->scols, parent);
}

void table_set(struct table *table, struct libscols_line *line, size_t column, const char *format,
               ...)
{
    char text[512];
    va_list arguments;
    size_t shown = 0;

    if (!line || (table->columns[column].wide_only && !table->wide)) {
        return;
    }
    for (size_t i = 0; i < column; i++) {
        shown += !table->columns[i].wide_only || table->wide;
    }
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    (void)scols_line_set_data(line, shown, text);
}

void table_set_color(struct table *table, struct libscols_line *line, const char *escape)
{
    if (line && *escape && scols_table_colors_wanted(table->scols)) {
        (void)scols_line_set_color(line, escape);
    }
}

int table_print(struct table *table, struct mig_error *error)
{
    int result = scols_print_table(table->scols);

    return result < 0 ? mig_error_set_errno(error, MIG_E_FAILED, -result, "could not print a table")
                      : MIG_OK;
}
