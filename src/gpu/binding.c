/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening libnvidia-ml.so.1, and running jobs against it under a deadline.
 *
 * The worker and the caller share the mutex-held fields of struct mig_worker for handing jobs over,
 * and the atomics of struct mig_call for watching. Whether a job is finished or given up is decided
 * under the mutex, by whoever comes first: after `poisoned` is set there, the worker ends without
 * touching anything that the caller may use.
 */
#include "gpu/binding.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "gpu/gpm.h"
#include "gpu/model_reader.h"
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#define LIBRARY_DEFAULT "libnvidia-ml.so.1"

struct symbol {
    const char *name;
    size_t offset;       /* of its pointer in struct mig_nvml */
    const char *missing; /* "NAME: words"; NULL = required */
};

static const struct symbol symbols[] = {
#define REQUIRED_SYMBOL(symbol) {#symbol, offsetof(struct mig_nvml, symbol), NULL},
#define OPTIONAL_SYMBOL(symbol, words) \
    {#symbol, offsetof(struct mig_nvml, symbol), #symbol ": " words},
    MIG_NVML_SYMBOLS(REQUIRED_SYMBOL, OPTIONAL_SYMBOL)
#undef REQUIRED_SYMBOL
#undef OPTIONAL_SYMBOL
};

_Static_assert(MIG_ARRAY_SIZE(symbols) <= MIG_ARRAY_SIZE(((struct mig_session *)0)->missing),
               "every symbol may be missing");

/* ---- calls, on the worker ---- */

bool mig_call_begin(struct mig_session *session, const char *name, uint32_t gpu)
{
    struct mig_call *call = &session->call;

    if (atomic_load_explicit(&session->poisoned, memory_order_acquire)) {
        return false;
    }
    atomic_store_explicit(&call->name, name, memory_order_relaxed);
    atomic_store_explicit(&call->gpu, gpu, memory_order_relaxed);
    atomic_fetch_add_explicit(&call->count, 1, memory_order_relaxed);
    atomic_store_explicit(&call->started_us, mig_now_us(), memory_order_release);
    return true;
}

nvmlReturn_t mig_call_end(struct mig_session *session, nvmlReturn_t code)
{
    atomic_store_explicit(&session->call.started_us, 0, memory_order_release);
    return code;
}

/* ---- the worker ---- */

static void *worker_main(void *data)
{
    struct mig_session *session = data;
    struct mig_worker *worker = &session->worker;

    pthread_mutex_lock(&worker->mutex);
    while (!worker->stop) {
        int result;

        if (!worker->function) {
            pthread_cond_wait(&worker->posted, &worker->mutex);
            continue;
        }
        pthread_mutex_unlock(&worker->mutex);
        mig_error_clear(&worker->error);
        result = worker->function(session, worker->job, &worker->error);
        pthread_mutex_lock(&worker->mutex);
        if (atomic_load(&session->poisoned)) {
            break;
        }
        worker->result = result;
        worker->function = NULL;
        pthread_cond_signal(&worker->finished);
    }
    pthread_mutex_unlock(&worker->mutex);
    return NULL;
}

static int worker_start(struct mig_session *session, struct mig_error *error)
{
    struct mig_worker *worker = &session->worker;
    pthread_condattr_t attributes;
    sigset_t all, before;
    int rc;

    pthread_mutex_init(&worker->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&worker->posted, NULL);
    pthread_cond_init(&worker->finished, &attributes);
    pthread_condattr_destroy(&attributes);
    /* signals are the program's business: its own threads take them */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&worker->thread, NULL, worker_main, session);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, rc, "could not start a thread for NVML");
    }
    return 0;
}

static void worker_stop(struct mig_session *session)
{
    struct mig_worker *worker = &session->worker;

    pthread_mutex_lock(&worker->mutex);
    worker->stop = true;
    pthread_cond_signal(&worker->posted);
    pthread_mutex_unlock(&worker->mutex);
    pthread_join(worker->thread, NULL);
    pthread_cond_destroy(&worker->posted);
    pthread_cond_destroy(&worker->finished);
    pthread_mutex_destroy(&worker->mutex);
}

/* Waits until the job is done or its current call is overdue; returns whether it is done. */
static bool wait_finished(struct mig_session *session)
{
    struct mig_worker *worker = &session->worker;
    uint64_t deadline_us = (uint64_t)session->deadline_ms * 1000;

    while (worker->function) {
        uint64_t now_us = mig_now_us();
        uint64_t started_us = atomic_load_explicit(&session->call.started_us, memory_order_acquire);
        uint64_t end_us = (started_us > 0 ? started_us : now_us) + deadline_us;
        struct timespec until;

        if (now_us >= end_us) {
            return false;
        }
        until.tv_sec = (time_t)(end_us / 1000000);
        until.tv_nsec = (long)(end_us % 1000000) * 1000;
        pthread_cond_timedwait(&worker->finished, &worker->mutex, &until);
    }
    return true;
}

static int set_hung(const struct mig_session *session, struct mig_error *error)
{
    const char *name = atomic_load(&session->call.name);
    uint32_t gpu = atomic_load(&session->call.gpu);
    char where[32] = "";

    if (gpu != MIG_ID_NONE) {
        snprintf(where, sizeof(where), " for GPU %u", gpu);
    }
    mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NVML, NVML_ERROR_TIMEOUT,
                  "the driver did not answer %s%s within %u ms", name, where, session->deadline_ms);
    return mig_error_hint(error, MIG_E_FAILED,
                          "see the kernel log (dmesg | grep -i -e nvrm -e xid); the GPU may need a "
                          "reset or the machine a reboot");
}

static int refuse_poisoned(struct mig_error *error)
{
    return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NVML, NVML_ERROR_TIMEOUT,
                         "an earlier call to the driver never came back");
}

int mig_session_run(struct mig_session *session, mig_job_function *function, void **job,
                    struct mig_error *error)
{
    struct mig_worker *worker = &session->worker;
    int result;

    if (atomic_load(&session->poisoned)) {
        return refuse_poisoned(error);
    }
    pthread_mutex_lock(&worker->mutex);
    worker->job = *job;
    worker->function = function;
    pthread_cond_signal(&worker->posted);
    if (wait_finished(session)) {
        result = worker->result;
        if (error && result != 0) {
            *error = worker->error;
        }
    } else {
        atomic_store(&session->poisoned, true);
        *job = NULL;
        result = set_hung(session, error);
    }
    pthread_mutex_unlock(&worker->mutex);
    return result;
}

/* ---- errors ---- */

const char *mig_nvml_text(const struct mig_session *session, nvmlReturn_t code)
{
    const char *text = session->nvml.nvmlErrorString(code);

    return text ? text : "Unknown Error";
}

bool mig_nvml_is_absent(nvmlReturn_t code)
{
    return code == NVML_ERROR_NOT_SUPPORTED || code == NVML_ERROR_FUNCTION_NOT_FOUND;
}

static int result_of(nvmlReturn_t code)
{
    if (code == NVML_ERROR_DRIVER_NOT_LOADED || code == NVML_ERROR_LIBRARY_NOT_FOUND ||
        code == NVML_ERROR_LIB_RM_VERSION_MISMATCH) {
        return MIG_E_NO_DRIVER;
    }
    return code == NVML_ERROR_IN_USE ? MIG_E_BUSY : MIG_E_FAILED;
}

struct code_hint {
    nvmlReturn_t code;
    const char *text;
};

static const struct code_hint code_hints[] = {
    {NVML_ERROR_DRIVER_NOT_LOADED,
     "load the driver (modprobe nvidia); `nvidia-smi` shows whether it works"},
    {NVML_ERROR_LIBRARY_NOT_FOUND,
     "the driver is not installed in full; `nvidia-smi` shows whether it works"},
    {NVML_ERROR_LIB_RM_VERSION_MISMATCH,
     "the driver was upgraded while an old kernel module is loaded: reload the module or reboot"},
    {NVML_ERROR_NO_PERMISSION, "run as root, or with read access to the MIG capability files "
                               "(/dev/nvidia-caps, /proc/driver/nvidia/capabilities/mig/config)"},
    {NVML_ERROR_GPU_IS_LOST,
     "the GPU fell off the bus: see the kernel log, reset it or reboot the machine"},
    {NVML_ERROR_RESET_REQUIRED, "the GPU has to be reset (nvidia-smi --gpu-reset -i BUS_ID)"},
    {NVML_ERROR_IN_USE, "end what uses it (fuser -v /dev/nvidia*), then try again"},
};

int mig_nvml_error(const struct mig_session *session, nvmlReturn_t code, struct mig_error *error,
                   const char *format, ...)
{
    char what[MIG_ERROR_MESSAGE_SIZE];
    va_list arguments;
    int result = result_of(code);

    va_start(arguments, format);
    vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    if (code == NVML_ERROR_FUNCTION_NOT_FOUND) {
        mig_error_set(error, result, MIG_DOMAIN_NVML, (int)code,
                      "%s: this driver is too old for it", what);
    } else {
        mig_error_set(error, result, MIG_DOMAIN_NVML, (int)code, "%s: %s", what,
                      mig_nvml_text(session, code));
    }
    for (size_t i = 0; i < MIG_ARRAY_SIZE(code_hints); i++) {
        if (code_hints[i].code == code) {
            mig_error_hint(error, result, "%s", code_hints[i].text);
        }
    }
    return result;
}

/* ---- opening and closing ---- */

static int open_library(struct mig_session *session, const char *name, struct mig_error *error)
{
    session->library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!session->library) {
        const char *reason = dlerror();

        mig_error_set(error, MIG_E_NO_DRIVER, MIG_DOMAIN_NONE, 0, "could not load '%s': %s", name,
                      reason ? reason : "unknown reason");
        return mig_error_hint(error, MIG_E_NO_DRIVER,
                              "is the NVIDIA driver installed, and does the loader find its "
                              "libraries (ldconfig, LD_LIBRARY_PATH)? `nvidia-smi` shows whether "
                              "it works");
    }
    return 0;
}

static int find_symbols(struct mig_session *session, const char *name, struct mig_error *error)
{
    for (size_t i = 0; i < MIG_ARRAY_SIZE(symbols); i++) {
        void *address = dlsym(session->library, symbols[i].name);

        if (!address && !symbols[i].missing) {
            mig_error_set(error, MIG_E_NO_DRIVER, MIG_DOMAIN_NONE, 0,
                          "'%s' cannot be used: it has no function '%s'", name, symbols[i].name);
            return mig_error_hint(error, MIG_E_NO_DRIVER,
                                  "the driver is too old for MIG; it needs at least release 450");
        }
        if (!address) {
            session->missing[session->missing_count++] = symbols[i].missing;
        }
        /* POSIX promises that a function's address survives in a void pointer */
        memcpy((char *)&session->nvml + symbols[i].offset, &address, sizeof(address));
    }
    return 0;
}

static int initialise(struct mig_session *session, void *job, struct mig_error *error)
{
    nvmlReturn_t code = MIG_CALL(session, MIG_ID_NONE, nvmlInit_v2);

    (void)job;
    if (code != NVML_SUCCESS) {
        int result = mig_nvml_error(session, code, error, "could not start NVML");

        return result == MIG_E_BUSY ? MIG_E_FAILED : result;
    }
    session->initialised = true;
    session->epoch++;
    code = MIG_CALL(session, MIG_ID_NONE, nvmlSystemGetDriverVersion, session->driver_version,
                    (unsigned)sizeof(session->driver_version));
    if (code != NVML_SUCCESS) {
        return mig_nvml_error(session, code, error, "could not read the driver's version");
    }
    code = MIG_CALL(session, MIG_ID_NONE, nvmlSystemGetNVMLVersion, session->nvml_version,
                    (unsigned)sizeof(session->nvml_version));
    if (code != NVML_SUCCESS) {
        session->nvml_version[0] = '\0';
    }
    if (MIG_CALL(session, MIG_ID_NONE, nvmlSystemGetCudaDriverVersion, &session->cuda_version) !=
        NVML_SUCCESS) {
        session->cuda_version = MIG_UNKNOWN;
    }
    return 0;
}

static int shut_down(struct mig_session *session, void *job, struct mig_error *error)
{
    nvmlReturn_t code;

    (void)job;
    mig_gpm_drop(session);
    code = MIG_CALL(session, MIG_ID_NONE, nvmlShutdown);
    if (code != NVML_SUCCESS) {
        return mig_nvml_error(session, code, error, "could not shut NVML down");
    }
    return 0;
}

int mig_session_suspend(struct mig_session *session, struct mig_error *error)
{
    void *job = NULL;

    session->initialised = false;
    return mig_session_run(session, shut_down, &job, error);
}

int mig_session_resume(struct mig_session *session, struct mig_error *error)
{
    void *job = NULL;

    return mig_session_run(session, initialise, &job, error);
}

/* What has no worker yet. */
static void release_library(struct mig_session *session)
{
    if (session->library) {
        dlclose(session->library);
    }
    mig_models_free(session->models);
    mig_gpm_free(session->gpm);
    free(session);
}

MIG_DEFINE_CLEANUP(library, struct mig_session, release_library)
MIG_DEFINE_CLEANUP(session, struct mig_session, mig_session_close)

int mig_session_open(const struct mig_session_options *options, struct mig_session **ret,
                     struct mig_error *error)
{
    const char *name = options && options->library ? options->library : LIBRARY_DEFAULT;
    MIG_CLEANUP(cleanup_library) struct mig_session *half = calloc(1, sizeof(*half));
    MIG_CLEANUP(cleanup_session) struct mig_session *session = NULL;
    int rc;

    if (!half) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not open a session");
    }
    half->deadline_ms =
        options && options->deadline_ms > 0 ? options->deadline_ms : MIG_DEADLINE_DEFAULT_MS;
    if (options && options->sys_root &&
        !mig_text_copy(half->sys_root, sizeof(half->sys_root), options->sys_root)) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "the folder with /sys in it has a name that is too long: '%s'",
                             options->sys_root);
    }
    rc = open_library(half, name, error);
    if (rc < 0) {
        return rc;
    }
    rc = find_symbols(half, name, error);
    if (rc < 0) {
        return rc;
    }
    rc = worker_start(half, error);
    if (rc < 0) {
        return rc;
    }
    session = MIG_TAKE(half);
    rc = mig_session_resume(session, error);
    if (rc < 0) {
        return rc;
    }
    *ret = MIG_TAKE(session);
    return 0;
}

/* Sessions that are left to a hung call: kept in a list, so that they count as kept, not lost. */
static _Atomic(struct mig_session *) abandoned;

/* The worker may come back from the driver at any time: its memory has to stay. */
static void abandon(struct mig_session *session)
{
    pthread_detach(session->worker.thread);
    session->next_abandoned = atomic_load(&abandoned);
    while (!atomic_compare_exchange_weak(&abandoned, &session->next_abandoned, session)) {
        ;
    }
}

void mig_session_close(struct mig_session *session)
{
    if (!session) {
        return;
    }
    if (session->initialised) {
        (void)mig_session_suspend(session, NULL);
    }
    if (atomic_load(&session->poisoned)) {
        abandon(session);
        return;
    }
    worker_stop(session);
    release_library(session);
}

const char *mig_session_missing(const struct mig_session *session, size_t index)
{
    return index < session->missing_count ? session->missing[index] : NULL;
}

uint64_t mig_session_call_count(const struct mig_session *session)
{
    return atomic_load(&session->call.count);
}
