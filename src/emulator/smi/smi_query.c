/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvidia-smi --query-gpu and --query-compute-apps. Without --format the values come bare, as one
 * captured session shows.
 */
#include "emulator/smi/smi_value.h"

#include "base/cleanup.h"
#include <stdio.h>
#include <string.h>

#define FIELD_ROOM 64
#define MIB (1024ULL * 1024ULL)

struct csv_format {
    bool header, units;
};

static bool parse_format(const char *text, struct csv_format *ret)
{
    char piece[16];
    bool csv = text == NULL;

    ret->header = text != NULL;
    ret->units = true;
    while (text && smi_next_piece(&text, piece, sizeof(piece))) {
        if (strcmp(piece, "csv") == 0) {
            csv = true;
        } else if (strcmp(piece, "noheader") == 0) {
            ret->header = false;
        } else if (strcmp(piece, "nounits") == 0) {
            ret->units = false;
        } else {
            return false;
        }
    }
    return csv && (!text || *text == '\0');
}

static int bad_format(const char *format)
{
    printf("Option \"--format=%s\" is not recognized. Please run 'nvidia-smi -h'.\n", format);
    return SMI_EXIT_USAGE;
}

static void bad_field(const char *name)
{
    printf("Field \"%s\" is not a valid field to query.\n\n", name);
}

/* The unit is part of the header; values repeat it unless nounits is given. */
static void print_header(const char *name, const char *unit, size_t column)
{
    printf("%s%s", column == 0 ? "" : ", ", name);
    if (unit) {
        printf(" [%s]", unit);
    }
}

static void print_value(const char *value, const char *unit, size_t column, bool units)
{
    bool known = strcmp(value, "N/A") != 0;

    printf(known ? "%s%s" : "%s[%s]", column == 0 ? "" : ", ", value);
    if (known && unit && units) {
        printf(" %s", unit);
    }
}

/* Finds the row of a field in the table of a query. */
typedef const void *find_row(const char *name);

/* Looks every name of a list up; returns the number, 0 after a complaint. */
static size_t parse_fields(const char *list, find_row *find, const void *rows[FIELD_ROOM])
{
    size_t count = 0;
    char piece[64];

    while (count < FIELD_ROOM && smi_next_piece(&list, piece, sizeof(piece))) {
        rows[count] = find(piece);
        if (!rows[count]) {
            bad_field(piece);
            return 0;
        }
        count++;
    }
    if (count == 0 || *list != '\0') {
        bad_field(list);
        return 0;
    }
    return count;
}

static const void *find_gpu_row(const char *name)
{
    return smi_find_field(name);
}

int smi_query_gpus(struct smi *smi, const char *list, const char *format)
{
    const void *rows[FIELD_ROOM];
    struct csv_format csv;
    size_t count;
    size_t g;
    size_t i;

    if (!parse_format(format, &csv)) {
        return bad_format(format);
    }
    count = parse_fields(list, find_gpu_row, rows);
    for (i = 0; csv.header && i < count; i++) {
        const struct smi_field *field = rows[i];

        print_header(field->name, field->unit, i);
    }
    fputs(csv.header && count > 0 ? "\n" : "", stdout);
    for (g = 0; count > 0 && g < smi->gpu_count; g++) {
        for (i = 0; i < count; i++) {
            const struct smi_field *field = rows[i];
            char value[SMI_VALUE_SIZE] = "";

            smi_read_field(smi, &smi->gpus[g], field, value, sizeof(value));
            print_value(value, field->unit, i, csv.units);
        }
        putchar('\n');
    }
    return count > 0 ? 0 : SMI_EXIT_USAGE;
}

/* ---- processes ---- */

enum app_value { APP_GPU_FIELD, APP_PID, APP_NAME, APP_MEMORY };

struct app_field {
    const char *name, *alias, *unit;
    enum app_value value;
    const char *gpu_field; /* of smi_find_field */
};

static const struct app_field app_fields[] = {
    {"timestamp", NULL, NULL, APP_GPU_FIELD, "timestamp"},
    {"gpu_name", NULL, NULL, APP_GPU_FIELD, "name"},
    {"gpu_bus_id", NULL, NULL, APP_GPU_FIELD, "pci.bus_id"},
    {"gpu_serial", NULL, NULL, APP_GPU_FIELD, "serial"},
    {"gpu_uuid", NULL, NULL, APP_GPU_FIELD, "uuid"},
    {"pid", NULL, NULL, APP_PID, NULL},
    {"process_name", "name", NULL, APP_NAME, NULL},
    {"used_gpu_memory", "used_memory", "MiB", APP_MEMORY, NULL},
};

static const void *find_app_row(const char *name)
{
    size_t i;

    for (i = 0; i < MIG_ARRAY_SIZE(app_fields); i++) {
        if (strcmp(app_fields[i].name, name) == 0 ||
            (app_fields[i].alias && strcmp(app_fields[i].alias, name) == 0)) {
            return &app_fields[i];
        }
    }
    return NULL;
}

static void read_app_field(const struct smi *smi, const struct smi_gpu *gpu,
                           const struct smi_process *process, const struct app_field *field,
                           char *value, size_t size)
{
    switch (field->value) {
    case APP_GPU_FIELD:
        smi_read_field(smi, gpu, smi_find_field(field->gpu_field), value, size);
        return;
    case APP_PID:
        (void)snprintf(value, size, "%u", process->pid);
        return;
    case APP_NAME:
        (void)snprintf(value, size, "%s", process->name);
        return;
    case APP_MEMORY:
        if (process->memory == (unsigned long long)NVML_VALUE_NOT_AVAILABLE) {
            (void)snprintf(value, size, "N/A");
        } else {
            (void)snprintf(value, size, "%llu", process->memory / MIB);
        }
        return;
    }
}

static void print_apps(const struct smi *smi, const struct smi_gpu *gpu,
                       const void *const rows[FIELD_ROOM], size_t count, bool units)
{
    MIG_AUTO_FREE struct smi_process *list = NULL;
    size_t processes = 0;
    size_t p;
    size_t i;

    if (smi_processes(smi, gpu->handle, &list, &processes) != NVML_SUCCESS) {
        return;
    }
    for (p = 0; p < processes; p++) {
        if (list[p].type != 'C') {
            continue;
        }
        for (i = 0; i < count; i++) {
            const struct app_field *field = rows[i];
            char value[256] = "";

            read_app_field(smi, gpu, &list[p], field, value, sizeof(value));
            print_value(value, field->unit, i, units);
        }
        putchar('\n');
    }
}

int smi_query_apps(struct smi *smi, const char *list, const char *format)
{
    const void *rows[FIELD_ROOM];
    struct csv_format csv;
    size_t count;
    size_t i;

    if (!parse_format(format, &csv)) {
        return bad_format(format);
    }
    count = parse_fields(list, find_app_row, rows);
    for (i = 0; csv.header && i < count; i++) {
        const struct app_field *field = rows[i];

        print_header(field->name, field->unit, i);
    }
    fputs(csv.header && count > 0 ? "\n" : "", stdout);
    for (i = 0; count > 0 && i < smi->gpu_count; i++) {
        print_apps(smi, &smi->gpus[i], rows, count, csv.units);
    }
    return count > 0 ? 0 : SMI_EXIT_USAGE;
}
