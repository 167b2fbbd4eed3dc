/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Widths and spacing of nvidia-smi's tables. The numbers are read from captured output of drivers
 * 510 to 610; a branch without a capture takes the newest layout before it.
 */
#include "emulator/smi/smi_layout.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define CELL_MAX 256

static const struct smi_layout layouts[] = {
    {.branch = 0,
     .inner = 77,
     .gpu = {31, 22, 22},
     .mig = {18, 22, 11, 23},
     .version_width = 12,
     .driver_width = 12,
     .name_max = 18,
     .persistence_column = 26,
     .used_width = 7,
     .total_width = 5,
     .power_width = 6,
     .cap_width = 3,
     .gpu_header = {" GPU  Name        Persistence-M", " Fan  Temp  Perf  Pwr:Usage/Cap"},
     .headings = {"Memory-Usage",
                  "BAR1-Usage",
                  {"         Shared        ", " CE  ENC  DEC  OFA  JPG"}},
     .bar1_used_width = 7,
     .profile_name = 14},
    {.branch = 530,
     .inner = 87,
     .gpu = {41, 22, 22},
     .mig = {18, 32, 11, 23},
     .version_width = 22,
     .driver_width = 12,
     .name_max = 27,
     .persistence_column = 37,
     .used_width = 7,
     .total_width = 5,
     .power_width = 16,
     .cap_width = 3,
     .gpu_header = {" GPU  Name                 Persistence-M ",
                    " Fan  Temp   Perf          Pwr:Usage/Cap "},
     .headings = {"Memory-Usage",
                  "BAR1-Usage",
                  {"      Shared           ", " CE ENC DEC OFA JPG    "}},
     .bar1_used_width = 16,
     .profile_name = 14},
    {.branch = 545,
     .inner = 89,
     .gpu = {41, 24, 22},
     .mig = {18, 34, 11, 23},
     .version_width = 22,
     .driver_width = 14,
     .name_max = 27,
     .persistence_column = 37,
     .used_width = 8,
     .total_width = 6,
     .power_width = 15,
     .cap_width = 4,
     .gpu_header = {" GPU  Name                 Persistence-M ",
                    " Fan  Temp   Perf          Pwr:Usage/Cap "},
     .headings = {"Memory-Usage",
                  "BAR1-Usage",
                  {"      Shared           ", " CE ENC DEC OFA JPG    "}},
     .bar1_used_width = 18,
     .profile_name = 14},
};

/* The later branches differ from 545 in words and in one width. */
static void apply_late_changes(struct smi_layout *layout, unsigned branch)
{
    if (branch >= 560) {
        layout->headings.engines[0] = "        Shared         ";
        layout->headings.engines[1] = " CE ENC  DEC  OFA  JPG ";
    }
    if (branch >= 570) {
        layout->profile_name = 16;
    }
    if (branch >= 580) {
        layout->headings.memory = "Shared Memory-Usage";
        layout->headings.bar1 = "Shared BAR1-Usage";
        layout->bar1_used_width = 16;
    }
}

struct smi_layout smi_layout_of(const char *driver_version)
{
    unsigned long branch = strtoul(driver_version, NULL, 10);
    struct smi_layout layout = layouts[0];
    size_t i;

    for (i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
        if (branch >= layouts[i].branch) {
            layout = layouts[i];
        }
    }
    layout.branch = branch > 9999 ? 9999 : (unsigned)branch;
    apply_late_changes(&layout, layout.branch);
    return layout;
}

static void print_fill(unsigned width, char fill)
{
    while (width-- > 0) {
        putchar(fill);
    }
}

void smi_table_rule(const unsigned *widths, size_t count, char fill, char first, char last)
{
    size_t i;

    for (i = 0; i < count; i++) {
        putchar(i == 0 ? first : '+');
        print_fill(widths[i], fill);
    }
    putchar(last);
    putchar('\n');
}

void smi_rule(const unsigned *widths, size_t count, char fill)
{
    smi_table_rule(widths, count, fill, '+', '+');
}

void smi_bar_rule(const unsigned *widths, size_t count, char fill)
{
    smi_table_rule(widths, count, fill, '|', '|');
}

void smi_cell(unsigned width, const char *format, ...)
{
    char text[CELL_MAX];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    printf("%-*.*s", (int)width, (int)width, text);
}

void smi_cell_right(unsigned width, const char *format, ...)
{
    char text[CELL_MAX];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    printf("%*.*s ", (int)width - 1, (int)width - 1, text);
}
