/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The emulated machine: one file, NODE/state, mapped by every process that takes part.
 *
 * Three parts. The description (node and GPUs) is written once, before the file gets its name, and
 * never changes. The state (modes, instances, processes, holders, faults, options) is kept in two
 * images: a writer fills the image that is not current, under a lock that the kernel drops when
 * the writer dies, and then makes it current with one store of the generation. A process killed at
 * any instruction leaves the old state or the new one. The live part (counters, trace) is atomics.
 *
 * The library and migemu both work through this interface. The description carries all that is
 * particular to a GPU, so neither the library nor this file knows any product.
 *
 * Functions return 0 or a negative errno value, unless they return nvmlReturn_t: those are the
 * driver's own operations, and their codes are part of what is emulated.
 */
#ifndef MIG_EMULATOR_MACHINE_H
#define MIG_EMULATOR_MACHINE_H

#include "nvml/nvml_abi.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define EMU_SCHEMA 1u
#define EMU_GPU_MAX 32
#define EMU_PROFILE_MAX 24
#define EMU_CI_PROFILE_MAX 12
#define EMU_START_MAX 16
#define EMU_CI_START_MAX 8
#define EMU_UNIT_MAX 32
#define EMU_SLICE_MAX 8
#define EMU_GI_MAX 16 /* a GI's slot is its id; ids go to MAX_GPU_INSTANCE_IDS - 1 */
#define EMU_CI_MAX 8  /* a CI's slot is its id */
#define EMU_PROCESS_MAX 256
#define EMU_HOLDER_MAX 64
#define EMU_FAULT_MAX 64
#define EMU_TRACE_MAX 4096
#define EMU_EVENT_MAX 1024
#define EMU_FUNCTION_MAX 512
#define EMU_START_ANY 0xffffffffu /* the driver chooses */
#define EMU_ID_NONE 0xffffffffu   /* the whole GPU; a GPU instance without a compute instance */
#define EMU_UNKNOWN (-1)

/* ---- the description ------------------------------------------------------------------------ */

/* A compute-instance profile inside one GPU-instance profile. Placements are in compute slots. */
struct emu_ci_profile {
    char name[32];
    int32_t driver_id; /* what create takes and nvidia-smi shows */
    int32_t sm_count;
    uint8_t enum_value; /* NVML_COMPUTE_INSTANCE_PROFILE_* */
    uint8_t slice_count, max_instances;
    uint8_t is_default;
    uint8_t size, start_count; /* start_count 0: the profile cannot be used */
    uint8_t starts[EMU_CI_START_MAX];
};

enum emu_variant {
    EMU_VARIANT_BASE = 0,
    EMU_VARIANT_MEM2X,
    EMU_VARIANT_ME,     /* ME and ALL_ME together at most once per GPU */
    EMU_VARIANT_ALL_ME, /* beside it only NO_ME instances */
    EMU_VARIANT_NO_ME,
    EMU_VARIANT_GFX
}; /* the same order as enum mig_variant */

/* A GPU-instance profile. Placements are in units of the GPU. */
struct emu_profile {
    char name[32];
    int32_t driver_id;
    int32_t memory_mib;      /* memorySizeMB */
    int32_t bar1_mib;        /* EMU_UNKNOWN: worked out from the GPU's BAR1 */
    int32_t idle_memory_mib; /* used by a MIG device without processes */
    int32_t sm_count;
    int16_t copy_engines, decoders, encoders, jpegs, ofas;
    uint8_t enum_value; /* NVML_GPU_INSTANCE_PROFILE_* */
    uint8_t slice_count, max_instances;
    uint8_t variant; /* enum emu_variant */
    uint8_t p2p;
    uint8_t size, start_count; /* start_count 0: the profile cannot be used (NOT_SUPPORTED) */
    uint8_t starts[EMU_START_MAX];
    uint8_t ci_profile_count;
    struct emu_ci_profile ci_profiles[EMU_CI_PROFILE_MAX];
};

enum emu_numbering { EMU_NUMBERING_DIRECT = 0, EMU_NUMBERING_HALF_SWAPPED };

/* A GPU. Fields from `temperature_c` on are what sensors show; emu_gpu_defaults() fills them. */
struct emu_gpu_info {
    char name[96];
    char uuid[NVML_DEVICE_UUID_BUFFER_SIZE]; /* "GPU-8-4-4-4-12" */
    char serial[NVML_DEVICE_SERIAL_BUFFER_SIZE];
    char vbios[NVML_DEVICE_VBIOS_VERSION_BUFFER_SIZE];
    char part_number[32];
    uint32_t pci_domain, pci_bus, pci_device_number;
    uint32_t pci_device, pci_subsystem; /* id << 16 | vendor */
    uint32_t minor;                     /* /dev/nvidiaN */
    uint32_t architecture;              /* NVML_DEVICE_ARCH_* */
    uint32_t brand;                     /* nvmlBrandType_t */
    uint8_t cc_major, cc_minor;
    uint8_t mig_capable;
    uint8_t mode_needs_reset, mode_persists_reboot; /* Ampere: both; Hopper on: neither */
    uint8_t numbering;                              /* enum emu_numbering */
    uint8_t unit_count, compute_slice_count;
    uint8_t max_mig_devices;
    uint8_t profile_count;
    int32_t sm_total;
    int64_t memory_mib, reserved_memory_mib, idle_memory_mib, bar1_mib;

    int32_t temperature_c, power_idle_mw, power_limit_mw, power_min_mw, power_max_mw;
    int32_t clock_graphics_mhz, clock_memory_mhz, clock_video_mhz; /* highest */
    int32_t clock_idle_mhz;
    int32_t pcie_generation, pcie_width;
    int32_t numa_node;
    uint8_t has_fan, ecc_capable;

    struct emu_profile profiles[EMU_PROFILE_MAX];
};

struct emu_node_info {
    char driver_version[NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE]; /* "550.90.07" */
    int32_t cuda_version;                                        /* 12040 = 12.4 */
    uint32_t gpu_count;
    struct emu_gpu_info gpus[EMU_GPU_MAX]; /* in the order of NVML's index */
};

/* ---- the state ------------------------------------------------------------------------------ */

struct emu_ci {
    uint8_t used, profile, start, size; /* profile: index into the GI profile's ci_profiles */
    uint32_t birth;                     /* tells it from others that had the same id */
};

struct emu_gi {
    uint8_t used, profile, start, size; /* profile: index into the GPU's profiles */
    uint32_t birth;
    uint32_t load_percent; /* of its processes */
    struct emu_ci cis[EMU_CI_MAX];
};

/* Level of a GPU's load and power since a moment, and where its meters stood then; meter.h. */
struct emu_meter {
    uint64_t since_ns, energy_uj; /* energy since the driver was loaded */
    int64_t temperature_mc;       /* thousandths of a degree */
    uint32_t load_percent, memory_load_percent, swing_percent;
    int32_t power_mw;
};

struct emu_gpu {
    uint8_t mode, mode_pending;
    uint8_t persistence, compute_mode;
    uint8_t ecc, ecc_pending;
    uint8_t lost;              /* fell off the bus: every call gives GPU_IS_LOST */
    uint8_t reset_required;    /* instance calls give RESET_REQUIRED until the next reset */
    uint8_t create_needs_idle; /* option: creating a GI is refused while the whole GPU has users */
    uint8_t accounting;
    uint8_t stale_devices; /* option: an index of a MIG device means the same one for a session */
    uint16_t
        mode_blocked; /* option: nvmlReturn_t that a mode change reports instead of its reset */
    uint32_t reset_count;
    int32_t power_limit_mw;
    uint32_t load_percent, memory_load_percent;            /* options: at least so much */
    uint64_t ecc_corrected, ecc_uncorrected;               /* since the last reset */
    uint64_t ecc_corrected_before, ecc_uncorrected_before; /* of the aggregate, before that */
    uint16_t app_graphics_mhz, app_memory_mhz;             /* applications clocks; 0: default */
    uint16_t lock_graphics_mhz[2], lock_memory_mhz[2];     /* lowest, highest; 0: not locked */
    uint8_t drain;                                         /* takes no new clients */
    uint8_t gpm_streaming;
    uint8_t recovery_action; /* nvmlDeviceGpuRecoveryAction_t */
    uint8_t reserved;
    struct emu_meter meter;
    struct emu_gi gis[EMU_GI_MAX];
};

/* Who uses a GPU. `gi` and `ci` are EMU_ID_NONE for the whole GPU. */
struct emu_process {
    uint32_t pid; /* 0: the slot is free */
    uint8_t gpu;
    char type;            /* 'C' compute, 'G' graphics, 'M' MPS */
    uint8_t real;         /* a process of the host: gone when pid and start_time are */
    uint8_t load_percent; /* of what it is on */
    uint32_t gi, ci;
    uint64_t start_time; /* emu_process_start_time() of a real process */
    uint64_t memory_bytes;
    uint64_t token; /* tells entries apart; given by emu_process_add */
    char name[96];
};

enum emu_holder_kind {
    EMU_HOLDER_FREE = 0,
    EMU_HOLDER_LEAKED, /* in no process list, yet the instance (or GPU) counts as in use */
    EMU_HOLDER_CLIENT, /* a kernel client such as nvidia_drm: mode changes and resets are refused */
};

struct emu_holder {
    uint8_t kind; /* enum emu_holder_kind */
    uint8_t gpu;
    uint8_t survives_reboot; /* is there again after a reset, reload or reboot */
    uint8_t reserved;
    uint32_t gi, ci;
    char name[32];
};

enum emu_fault_action { EMU_FAULT_NONE = 0, EMU_FAULT_RETURN, EMU_FAULT_KILL, EMU_FAULT_XID };

/* A rule of the fault script; fault.h has its text form. */
struct emu_fault {
    uint8_t used;
    uint8_t action; /* enum emu_fault_action; NONE with a delay only delays */
    uint8_t after;  /* act when the call has had its effect, not before */
    uint8_t reserved;
    int32_t gpu;   /* EMU_UNKNOWN: any */
    int32_t code;  /* nvmlReturn_t of EMU_FAULT_RETURN, number of EMU_FAULT_XID */
    uint32_t nth;  /* first matching call to act on, from 1; 0 = 1 */
    uint32_t hits; /* how many calls to act on; 0 = no end */
    uint32_t delay_ms;
    uint32_t chance_ppm; /* acts with this chance per call, by seed; 0 = always */
    uint32_t seed;
    uint64_t functions[EMU_FUNCTION_MAX / 64]; /* bit = function id */
    char text[128];
};

enum emu_permission {
    EMU_PERMISSION_OWNER = 0, /* root, and the owner of the state file */
    EMU_PERMISSION_OPEN,
    EMU_PERMISSION_ROOT
};

/* How long changes take; 0 by default. GPU instances by the slices of their profile. */
struct emu_latency {
    uint32_t gi_create_ms[EMU_SLICE_MAX + 1], gi_destroy_ms[EMU_SLICE_MAX + 1];
    uint32_t ci_create_ms, ci_destroy_ms, mode_ms, reset_ms;
};

/* The machine's own time. */
struct emu_clock {
    uint64_t machine_ns; /* its time when the host's was ... */
    uint64_t host_ns;    /* ... this (CLOCK_REALTIME) */
    uint64_t rate;       /* machine seconds in a thousand of the host's; 0: it stands still */
};

struct emu_state {
    uint64_t checksum;     /* of all that follows */
    uint64_t change_count; /* commits so far */
    uint32_t boot_count, driver_load_count;
    uint32_t birth_count; /* last birth given */
    uint32_t gpu_count;
    uint32_t permission;      /* enum emu_permission */
    uint32_t driver_unloaded; /* nvmlInit says DRIVER_NOT_LOADED */
    uint64_t token_count;
    struct emu_clock clock;
    struct emu_latency latency;
    /* What every call looks at. */
    uint32_t query_us; /* how long it takes */
    uint32_t reserved;
    uint32_t fault_count; /* rules in use */
    uint32_t process_count, holder_count;
    uint32_t reserved_too;
    struct emu_process processes[EMU_PROCESS_MAX]; /* the first process_count are used */
    struct emu_holder holders[EMU_HOLDER_MAX];
    struct emu_fault faults[EMU_FAULT_MAX];
    struct emu_gpu gpus[EMU_GPU_MAX];
};

/* ---- the live part -------------------------------------------------------------------------- */

/* One NVML call that ended. */
struct emu_trace {
    uint64_t sequence; /* number of the call, from 1, machine-wide */
    uint64_t time_ns;  /* CLOCK_REALTIME at its end */
    uint32_t pid;
    int32_t result; /* nvmlReturn_t */
    uint32_t duration_us;
    uint16_t function; /* id */
    int16_t gpu;       /* EMU_UNKNOWN when the call has none */
    uint32_t gi, ci;   /* EMU_ID_NONE */
};

/* Something that waiting clients are told. */
struct emu_event {
    uint64_t sequence; /* from 1, machine-wide */
    uint64_t type;     /* nvmlEventType*, one bit */
    uint64_t data;     /* the XID of a critical error */
    uint32_t gpu;
    uint32_t gi, ci; /* EMU_ID_NONE */
    uint32_t reserved;
};

/* ---- the machine ---------------------------------------------------------------------------- */

struct emu_machine;

/*
 * Makes NODE/state, complete or not at all; -EEXIST when there is one. The directory must exist.
 * `permission` is an enum emu_permission. -EINVAL when `info` makes no sense.
 */
int emu_machine_create(const char *node, const struct emu_node_info *info, unsigned permission);

/*
 * Opens NODE/state. Falls back to read-only when the caller may not write (then transactions give
 * -EACCES and counters stand still). -ENOENT, -EPROTO (another schema), -EBADMSG (damaged).
 */
int emu_machine_open(const char *node, struct emu_machine **ret);
void emu_machine_close(struct emu_machine *machine); /* NULL is allowed */

const char *emu_machine_path(const struct emu_machine *machine); /* absolute path of the file */
const struct emu_node_info *emu_machine_info(const struct emu_machine *machine);
bool emu_machine_is_writable(const struct emu_machine *machine);
uid_t emu_machine_owner(const struct emu_machine *machine);

/* True while the file that was opened still is NODE/state. */
bool emu_machine_is_current(const struct emu_machine *machine);

/* A consistent copy of the whole state (large: keep it on the heap). -EAGAIN when writers never
 * leave it alone long enough. */
int emu_machine_read(const struct emu_machine *machine, struct emu_state *ret);

/* Generation of the current state; changes with every commit. */
uint64_t emu_machine_generation(const struct emu_machine *machine);

/* Consistent copies of parts, for calls that need no more; -EAGAIN as emu_machine_read. */
int emu_machine_read_gpu(const struct emu_machine *machine, unsigned gpu, struct emu_gpu *ret);
int emu_machine_read_part(const struct emu_machine *machine, size_t offset, void *ret, size_t size);

/*
 * A transaction: *ret is the state to change, until commit or abort. Waits for other writers.
 * -EACCES when the file cannot be written, -ESTALE when it is no longer NODE/state, -ETIMEDOUT
 * when another writer keeps the lock.
 */
struct emu_transaction {
    const struct emu_machine *machine;
    int lock_fd;
    uint64_t generation;
    struct emu_state *state; /* a private copy */
};
int emu_begin(const struct emu_machine *machine, struct emu_transaction *ret);
void emu_commit(struct emu_transaction *transaction); /* cannot fail */
void emu_abort(struct emu_transaction *transaction);  /* after commit: does nothing */

/* Counters of calls since the machine was made. */
uint64_t emu_call_count(const struct emu_machine *machine);
uint64_t emu_function_count(const struct emu_machine *machine, unsigned function);
void emu_counters_clear(const struct emu_machine *machine);

/* Copies the calls numbered from `from` on that the ring still has, oldest first. */
size_t emu_trace_read(const struct emu_machine *machine, uint64_t from, struct emu_trace *ret,
                      size_t max);

/* Counts the call and keeps it in the ring. For the library. */
void emu_trace_add(const struct emu_machine *machine, struct emu_trace *entry);

/* Tells every event set of every process that listens for it. */
void emu_event_post(const struct emu_machine *machine, const struct emu_event *event);

/* Number of the latest event. */
uint64_t emu_event_last(const struct emu_machine *machine);

/*
 * The first event after *cursor that the ring still has; moves *cursor to it (or, when there is
 * none, to the latest). -ENOENT when there is none.
 */
int emu_event_next(const struct emu_machine *machine, uint64_t *cursor, struct emu_event *ret);

/* Sleeps until an event after `seen` or the deadline (CLOCK_MONOTONIC, ns). */
void emu_event_wait(const struct emu_machine *machine, uint64_t seen, uint64_t deadline_ns);

/* Ids of functions: "DeviceGetCount_v2" (with or without "nvml"); names are without. */
int emu_function_find(const char *name);          /* EMU_UNKNOWN when there is none */
const char *emu_function_name(unsigned function); /* NULL past the end */

/* Matching calls seen and acted on by the fault rule in a slot. */
uint64_t emu_fault_seen(const struct emu_machine *machine, unsigned slot);
uint64_t emu_fault_hits(const struct emu_machine *machine, unsigned slot);

/* Sensors and idle memory of a GPU of that architecture, where the caller knows no better. */
void emu_gpu_defaults(struct emu_gpu_info *info);

/* ---- users of the machine, in a transaction ------------------------------------------------- */

/* Start time of a host process in the kernel's ticks; 0 when there is no such process. */
uint64_t emu_process_start_time(uint32_t pid);

/* False for a real process that has ended. */
bool emu_process_is_alive(const struct emu_process *process);

/* Adds; 0, -ENOSPC, or -ENOENT when the GPU or instance is not there. Sets process->token. */
int emu_process_add(struct emu_state *state, struct emu_process *process);

/* Removes every entry of a pid (or the one with this token); the number of entries removed. */
unsigned emu_process_remove(struct emu_state *state, uint32_t pid, uint64_t token);

/* Drops real processes that have ended; the number of entries dropped. */
unsigned emu_process_reap(struct emu_state *state);

int emu_holder_add(struct emu_state *state, const struct emu_holder *holder);
int emu_holder_remove(struct emu_state *state, unsigned slot); /* -ENOENT when it is free */

/* Number of processes and holders on a GPU (gi EMU_ID_NONE), a GI (ci EMU_ID_NONE) or a CI. */
unsigned emu_users(const struct emu_state *state, unsigned gpu, unsigned gi, unsigned ci);

/* The same on a GPU, without kernel clients; and those that hold the GPU as a whole only. */
unsigned emu_users_no_client(const struct emu_state *state, unsigned gpu);
unsigned emu_users_whole_gpu(const struct emu_state *state, unsigned gpu);

/* ---- what happens to the machine, in a transaction ------------------------------------------ */

/*
 * A critical error (XID) and what it does: 79 loses the GPU, 48 and 95 count an uncorrectable error
 * and want a reset, 94 ends the processes of the instance. Post the event after the commit, and
 * another one when it returns true: the recovery action is another one too.
 */
bool emu_xid(struct emu_state *state, unsigned gpu, unsigned gi, unsigned ci, unsigned xid);

/* IN_USE while the GPU has users; otherwise the pending modes hold and instances are gone. */
nvmlReturn_t emu_gpu_reset(const struct emu_node_info *info, struct emu_state *state, unsigned gpu);

/* IN_USE while any GPU has users. */
nvmlReturn_t emu_driver_reload(const struct emu_node_info *info, struct emu_state *state);

/* Ends everything: processes, holders that do not survive, instances, volatile modes. */
void emu_reboot(const struct emu_node_info *info, struct emu_state *state);

#endif
