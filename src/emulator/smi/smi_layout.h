/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the tables of nvidia-smi are drawn, by driver branch (facts/README, section 10): widths and
 * spacing are data of the branch, drawing is common. A cell is exactly as wide as its column: text
 * that is too long loses its end, mostly blanks, and the frame stays straight.
 */
#ifndef MIG_EMULATOR_SMI_LAYOUT_H
#define MIG_EMULATOR_SMI_LAYOUT_H

#include <stddef.h>

/* Names of the memory columns; they changed with driver 580. */
struct smi_mig_headings {
    const char *memory, *bar1;
    const char *engines[2]; /* two header lines of the engine column */
};

struct smi_layout {
    unsigned branch;             /* major number of the driver version */
    unsigned inner;              /* columns between the outer bars of the default table */
    unsigned gpu[3];             /* columns of the GPU table */
    unsigned mig[4];             /* columns of the MIG device table */
    unsigned version_width;      /* column of the tool's own version in the first line */
    unsigned driver_width;       /* of the driver version */
    unsigned name_max;           /* longer GPU names end in "..." */
    unsigned persistence_column; /* where On or Off starts */
    unsigned used_width;         /* digits of used, whole memory, power used, cap */
    unsigned total_width;
    unsigned power_width, cap_width;
    const char *gpu_header[2]; /* first column, two lines */
    struct smi_mig_headings headings;
    unsigned bar1_used_width; /* digits, in the BAR1 line of a MIG device */
    unsigned profile_name;    /* width of names in -lgip and -lgi, which are one size apart */
};

/* The layout of a driver version such as "550.90.07". */
struct smi_layout smi_layout_of(const char *driver_version);

/* A rule across columns, with the given ends: the line under the heading starts with a bar. */
void smi_table_rule(const unsigned *widths, size_t count, char fill, char first, char last);
/* "+----+----+" with the given fill. */
void smi_rule(const unsigned *widths, size_t count, char fill);
/* "|====+====|": bars at the ends. */
void smi_bar_rule(const unsigned *widths, size_t count, char fill);
/* One cell of exactly `width` columns. */
void smi_cell(unsigned width, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same, at the right edge with one blank after it. */
void smi_cell_right(unsigned width, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
