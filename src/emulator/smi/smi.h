/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvidia-smi for emulated hosts: what its files share.
 *
 * The program is a plain NVML client: it knows nothing about the emulator but the one private
 * symbol that resets a GPU (NVML has no call for that). Output goes to standard output as
 * NVIDIA's tool writes it, errors included; the exit status is the NVML code of the failure.
 */
#ifndef MIG_EMULATOR_SMI_H
#define MIG_EMULATOR_SMI_H

#include "emulator/smi/smi_layout.h"
#include "emulator/smi/smi_nvml.h"
#include <stdbool.h>
#include <stddef.h>

#define SMI_GPU_MAX 64
#define SMI_NAME_SIZE NVML_DEVICE_NAME_V2_BUFFER_SIZE
#define SMI_PROFILE_MAX 64  /* profile numbers asked for; the driver ends the list earlier */
#define SMI_INSTANCE_MAX 64 /* instances of one profile; hardware has at most 15 */
#define SMI_PROCESS_MAX 4096

/* Exit status of nvidia-smi for an error in its arguments, and for one it does not know. */
#define SMI_EXIT_USAGE 2
#define SMI_EXIT_UNKNOWN_OPTION 255
/* Inside the program: the end, without an error. */
#define SMI_EXIT_NOTHING_TO_DO (-1)
/* ... and for a reset that some GPUs refused. */
#define SMI_EXIT_RESET_FAILED 255

struct smi_gpu {
    nvmlDevice_t handle;
    unsigned index;
    nvmlPciInfo_t pci;
};

struct smi {
    struct smi_nvml nvml;
    struct smi_layout layout;
    char driver_version[NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE];
    struct smi_gpu gpus[SMI_GPU_MAX]; /* those selected by -i, or all */
    size_t gpu_count;
};

/* A list of small numbers from the command line; none given means all. */
struct smi_ids {
    unsigned ids[SMI_INSTANCE_MAX];
    size_t count;
};

/* smi_select.c */
int smi_select_all(struct smi *smi);
int smi_select(struct smi *smi, const char *list); /* index, UUID or bus id, comma separated */
/* Says that there is no handle for `gpu` `which` ("GPU" "1"); returns the exit status. */
int smi_fail_handle(const struct smi *smi, const char *gpu, const char *which, nvmlReturn_t code);
bool smi_ids_parse(const char *list, struct smi_ids *ret);
bool smi_ids_has(const struct smi_ids *ids, unsigned id); /* true when the list is empty */
bool smi_parse_number(const char *text, unsigned max, unsigned *ret);
bool smi_mig_enabled(const struct smi *smi, nvmlDevice_t gpu);
bool smi_mig_supported(const struct smi *smi, nvmlDevice_t gpu);
/* The next piece of a comma separated list into `piece`; false at the end or when too long. */
bool smi_next_piece(const char **list, char *piece, size_t size);

/* smi_table.c, smi_list.c, smi_full.c, smi_query.c: each prints and returns the exit status. */
int smi_show_table(struct smi *smi);
int smi_show_list(const struct smi *smi);
int smi_show_full(struct smi *smi);
int smi_show_full_xml(struct smi *smi);
int smi_query_gpus(struct smi *smi, const char *list, const char *format);
int smi_query_apps(struct smi *smi, const char *list, const char *format);

/* smi_mode.c */
int smi_set_mig_mode(struct smi *smi, bool enable);
int smi_set_persistence(struct smi *smi, bool enable);
int smi_reset_gpus(struct smi *smi);

/* smi_mig.c: the `mig` verb with its own options. */
int smi_mig_main(struct smi *smi, int argc, char **argv);

/* The MIG profile part of a MIG device's name ("2g.12gb" of "NVIDIA A30 MIG 2g.12gb"). */
const char *smi_mig_name(const char *device_name);

/* smi_process.c */
struct smi_process {
    unsigned pid;
    unsigned gi, ci; /* NO_GPU_INSTANCE_ID outside MIG */
    unsigned long long memory;
    char type; /* 'C' or 'G' */
    char name[256];
};

/* The processes of a GPU by type; *ret is malloc'd. Returns an NVML code. */
nvmlReturn_t smi_processes(const struct smi *smi, nvmlDevice_t gpu, struct smi_process **ret,
                           size_t *ret_count);
void smi_sort_processes(struct smi_process *list, size_t count); /* by instance and pid */

#endif
