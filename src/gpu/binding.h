/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NVML session: the library opened with dlopen, one table of its symbols, and one worker thread
 * on which all calls are made so that none can hang the caller.
 *
 * A piece of work (a "job") runs on the worker as a whole, while the caller watches the deadline of
 * each single NVML call in it: a call costs two stores and one reading of the clock, a job one
 * change of threads. When a call hangs, the caller goes away with an error; the job, everything it
 * points to and the session are then left to the worker for ever, since the driver may still write
 * to them. So a job lives on the heap and points to nothing of the caller's. The late worker makes
 * no further NVML call.
 */
#ifndef MIG_GPU_BINDING_H
#define MIG_GPU_BINDING_H

#include "base/cleanup.h"
#include "nvml/nvml_abi.h"
#include "nvml/nvml_functions.h"
#include <mig/inventory.h>
#include <pthread.h>
#include <stdatomic.h>

/*
 * Every NVML function that libmig calls. An optional one comes with the words of what is missing
 * without it.
 */
#define MIG_NVML_SYMBOLS(REQUIRED, OPTIONAL)                                                       \
    REQUIRED(nvmlInit_v2)                                                                          \
    REQUIRED(nvmlShutdown)                                                                         \
    REQUIRED(nvmlErrorString)                                                                      \
    REQUIRED(nvmlSystemGetDriverVersion)                                                           \
    REQUIRED(nvmlDeviceGetCount_v2)                                                                \
    REQUIRED(nvmlDeviceGetHandleByIndex_v2)                                                        \
    REQUIRED(nvmlDeviceGetHandleByUUID)                                                            \
    REQUIRED(nvmlDeviceGetName)                                                                    \
    REQUIRED(nvmlDeviceGetUUID)                                                                    \
    REQUIRED(nvmlDeviceGetPciInfo_v3)                                                              \
    REQUIRED(nvmlDeviceGetMemoryInfo)                                                              \
    OPTIONAL(nvmlSystemGetNVMLVersion, "the version of the library is not shown")                  \
    OPTIONAL(nvmlSystemGetCudaDriverVersion, "the version of CUDA is not known")                   \
    OPTIONAL(nvmlSystemGetProcessName, "processes are named by /proc only")                        \
    OPTIONAL(nvmlDeviceGetMinorNumber, "device minor numbers are not known")                       \
    OPTIONAL(nvmlDeviceGetCudaComputeCapability, "the architecture comes from the catalogue")      \
    OPTIONAL(nvmlDeviceGetMigMode, "no GPU can be partitioned")                                    \
    OPTIONAL(nvmlDeviceSetMigMode, "MIG mode cannot be changed")                                   \
    OPTIONAL(nvmlDeviceGetMaxMigDeviceCount, "MIG devices have no index and no UUID")              \
    OPTIONAL(nvmlDeviceGetMigDeviceHandleByIndex, "MIG devices have no index and no UUID")         \
    OPTIONAL(nvmlDeviceGetGpuInstanceId, "MIG devices have no index and no UUID")                  \
    OPTIONAL(nvmlDeviceGetComputeInstanceId, "MIG devices have no index and no UUID")              \
    OPTIONAL(nvmlDeviceGetAttributes_v2, "what MIG devices have comes from their profile")         \
    OPTIONAL(nvmlDeviceGetGpuFabricInfoV, "the clique of the NVLink fabric is read the old way")   \
    OPTIONAL(nvmlDeviceGetGpuFabricInfo, "the clique of the NVLink fabric is not known")           \
    OPTIONAL(nvmlDeviceGetGpuInstanceProfileInfo, "profiles of very old drivers are not read")     \
    OPTIONAL(nvmlDeviceGetGpuInstanceProfileInfoV, "profile names come from the catalogue")        \
    OPTIONAL(nvmlDeviceGetGpuInstancePossiblePlacements, "placements of old drivers are not read") \
    OPTIONAL(nvmlDeviceGetGpuInstancePossiblePlacements_v2, "placements are read the old way")     \
    OPTIONAL(nvmlDeviceGetGpuInstances, "GPU instances cannot be seen")                            \
    OPTIONAL(nvmlDeviceGetGpuInstanceById, "GPU instances cannot be changed")                      \
    OPTIONAL(nvmlGpuInstanceGetInfo, "GPU instances cannot be seen")                               \
    OPTIONAL(nvmlGpuInstanceGetComputeInstances, "compute instances cannot be seen")               \
    OPTIONAL(nvmlGpuInstanceGetComputeInstanceById, "compute instances cannot be changed")         \
    OPTIONAL(nvmlGpuInstanceGetComputeInstanceProfileInfo,                                         \
             "compute-instance profiles come from the catalogue")                                  \
    OPTIONAL(nvmlGpuInstanceGetComputeInstanceProfileInfoV,                                        \
             "names of compute-instance profiles come from the catalogue")                         \
    OPTIONAL(nvmlGpuInstanceGetComputeInstancePossiblePlacements,                                  \
             "compute-instance placements come from the catalogue")                                \
    OPTIONAL(nvmlComputeInstanceGetInfo, "compute instances of old drivers are not read")          \
    OPTIONAL(nvmlComputeInstanceGetInfo_v2, "places of compute instances are not known")           \
    OPTIONAL(nvmlDeviceCreateGpuInstanceWithPlacement, "GPU instances cannot be created")          \
    OPTIONAL(nvmlGpuInstanceDestroy, "GPU instances cannot be destroyed")                          \
    OPTIONAL(nvmlGpuInstanceCreateComputeInstance, "compute instances cannot be created")          \
    OPTIONAL(nvmlGpuInstanceCreateComputeInstanceWithPlacement,                                    \
             "the driver chooses where compute instances go")                                      \
    OPTIONAL(nvmlComputeInstanceDestroy, "compute instances cannot be destroyed")                  \
    OPTIONAL(nvmlEventSetCreate, "changes by others are found by asking")                          \
    OPTIONAL(nvmlEventSetFree, "changes by others are found by asking")                            \
    OPTIONAL(nvmlEventSetWait_v2, "critical errors are not seen")                                  \
    OPTIONAL(nvmlDeviceRegisterEvents, "critical errors are not seen")                             \
    OPTIONAL(nvmlDeviceGetSupportedEventTypes, "critical errors are not seen")                     \
    OPTIONAL(nvmlDeviceGetComputeRunningProcesses_v3, "processes are read the old way")            \
    OPTIONAL(nvmlDeviceGetComputeRunningProcesses_v2, "processes are read the old way")            \
    OPTIONAL(nvmlDeviceGetComputeRunningProcesses, "compute processes are not seen")               \
    OPTIONAL(nvmlDeviceGetGraphicsRunningProcesses_v3, "processes are read the old way")           \
    OPTIONAL(nvmlDeviceGetGraphicsRunningProcesses_v2, "processes are read the old way")           \
    OPTIONAL(nvmlDeviceGetGraphicsRunningProcesses, "graphics processes are not seen")             \
    OPTIONAL(nvmlDeviceGetMPSComputeRunningProcesses_v3, "processes are read the old way")         \
    OPTIONAL(nvmlDeviceGetMPSComputeRunningProcesses_v2, "processes are read the old way")         \
    OPTIONAL(nvmlDeviceGetMPSComputeRunningProcesses, "MPS processes are not seen")                \
    OPTIONAL(nvmlDeviceGetComputeMode, "the compute mode of GPUs is not known")                    \
    OPTIONAL(nvmlDeviceSetComputeMode, "GPUs shared by MPS stay open to other processes")          \
    OPTIONAL(nvmlDeviceGetMemoryInfo_v2, "reserved memory is counted as used")                     \
    OPTIONAL(nvmlDeviceGetClockInfo, "clocks are not measured")                                    \
    OPTIONAL(nvmlDeviceGetTemperature, "temperatures are not measured")                            \
    OPTIONAL(nvmlDeviceGetPowerUsage, "power is not measured")                                     \
    OPTIONAL(nvmlDeviceGetUtilizationRates, "load is not measured")                                \
    OPTIONAL(nvmlDeviceGetEncoderUtilization, "load of encoders is not measured")                  \
    OPTIONAL(nvmlDeviceGetDecoderUtilization, "load of decoders is not measured")                  \
    OPTIONAL(nvmlDeviceGetCurrentClocksThrottleReasons, "why clocks are low is not known")         \
    OPTIONAL(nvmlDeviceGetFieldValues, "energy, errors and remapped rows are not measured")        \
    OPTIONAL(nvmlGpmQueryDeviceSupport, "load of MIG devices is not measured")                     \
    OPTIONAL(nvmlGpmSampleAlloc, "load of MIG devices is not measured")                            \
    OPTIONAL(nvmlGpmSampleFree, "load of MIG devices is not measured")                             \
    OPTIONAL(nvmlGpmSampleGet, "load of MIG devices is not measured")                              \
    OPTIONAL(nvmlGpmMigSampleGet, "load of MIG devices is not measured")                           \
    OPTIONAL(nvmlGpmMetricsGet, "load of MIG devices is not measured")

/* The functions, typed by their declarations; NULL = this driver lacks it. */
struct mig_nvml {
#define MIG_NVML_FIELD(symbol, ...) __typeof__(&(symbol)) symbol;
    MIG_NVML_SYMBOLS(MIG_NVML_FIELD, MIG_NVML_FIELD)
#undef MIG_NVML_FIELD
};

/* A job: returns 0 or a negative MIG_E_*, with the error filled. Runs on the worker. */
typedef int mig_job_function(struct mig_session *session, void *job, struct mig_error *error);

/* Which call the worker is in. Read by the caller while the worker writes. */
struct mig_call {
    _Atomic(const char *) name;
    _Atomic uint32_t gpu;        /* MIG_ID_NONE: no single one */
    _Atomic uint64_t started_us; /* 0 = between calls */
    _Atomic uint64_t count;
};

struct mig_worker {
    pthread_t thread;
    pthread_mutex_t mutex; /* holds the fields below together */
    pthread_cond_t posted, finished;
    mig_job_function *function; /* NULL = nothing to do */
    void *job;
    int result;
    bool stop;
    struct mig_error error;
};

struct mig_models; /* model_reader.h */
struct mig_gpm;    /* gpm.h */

struct mig_session {
    void *library;
    struct mig_nvml nvml;
    uint32_t missing_count;
    const char *missing[128];
    unsigned deadline_ms;
    struct mig_worker worker;
    struct mig_call call;
    _Atomic bool poisoned; /* a call hung: nothing is called any more */
    bool initialised;      /* nvmlInit holds */
    uint32_t epoch;        /* counts the times that NVML was initialised */
    uint64_t generation;
    char driver_version[NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE];
    char nvml_version[NVML_SYSTEM_NVML_VERSION_BUFFER_SIZE];
    int cuda_version; /* MIG_UNKNOWN */
    char sys_root[256];
    struct mig_models *models;
    struct mig_gpm *gpm; /* NULL until something is measured */
    struct mig_session *next_abandoned;
};

/*
 * Runs a job on the worker and waits for it. `*job` is malloc'd memory of the caller; when a call
 * hangs it is taken away (*job becomes NULL), never to be freed. Fails with MIG_E_FAILED naming the
 * call that hangs, or with what the job returned.
 */
int mig_session_run(struct mig_session *session, mig_job_function *function, void **job,
                    struct mig_error *error);

/*
 * Shuts NVML down and initialises it again: a GPU can be reset only while nobody, not even we, has
 * it open.
 */
int mig_session_suspend(struct mig_session *session, struct mig_error *error);
int mig_session_resume(struct mig_session *session, struct mig_error *error);

MIG_DEFINE_CLEANUP(node, struct mig_node, mig_node_free)

/* Before and after each NVML call, on the worker; use MIG_CALL. */
bool mig_call_begin(struct mig_session *session, const char *name, uint32_t gpu);
nvmlReturn_t mig_call_end(struct mig_session *session, nvmlReturn_t code);

/*
 * Calls an NVML function from a job: MIG_CALL(session, gpu index, nvmlDeviceGetName, device, ...).
 * NVML_ERROR_FUNCTION_NOT_FOUND when the driver lacks it.
 */
#define MIG_CALL(session, gpu, function, ...)                  \
    (!(session)->nvml.function ? NVML_ERROR_FUNCTION_NOT_FOUND \
     : !mig_call_begin((session), #function, (gpu))            \
         ? NVML_ERROR_TIMEOUT                                  \
         : mig_call_end((session), (session)->nvml.function(__VA_ARGS__)))

/*
 * Turns an NVML code into an error: "WHAT: In use by another client", with the result code and the
 * hint that belong to it. Returns the result code, never 0.
 */
int mig_nvml_error(const struct mig_session *session, nvmlReturn_t code, struct mig_error *error,
                   const char *format, ...) MIG_PRINTF(4, 5);

/* The library's text for a code; never NULL. */
const char *mig_nvml_text(const struct mig_session *session, nvmlReturn_t code);

/* True for the codes that mean "this driver or GPU does not have that". */
bool mig_nvml_is_absent(nvmlReturn_t code);

#endif
