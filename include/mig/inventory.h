/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Talking to the driver: an NVML session, and one snapshot of the node that everything else works
 * on.
 *
 * libnvidia-ml.so.1 is opened with dlopen, never linked. Symbols that old drivers lack degrade:
 * what could not be read is MIG_UNKNOWN or comes from the catalogue, and mig_session_missing()
 * names why.
 *
 * Every call has a deadline: it runs on a thread of the session while the caller waits; when the
 * driver does not answer in time the caller gets MIG_E_FAILED with the name of the call that hangs,
 * and the session refuses all further calls. A session may be used by one thread at a time.
 */
#ifndef MIG_INVENTORY_H
#define MIG_INVENTORY_H

#include <mig/node.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MIG_DEADLINE_DEFAULT_MS 60000

struct mig_session;

struct mig_session_options {
    const char *library;  /* path or SONAME; NULL = libnvidia-ml.so.1 by the loader's rules */
    unsigned deadline_ms; /* per NVML call; 0 = MIG_DEADLINE_DEFAULT_MS */
    const char *sys_root; /* what stands before /sys/bus/pci; NULL = "" */
};

/* Loads the library and initialises NVML. MIG_E_NO_DRIVER when either fails. `options` may be NULL.
 */
MIG_PUBLIC int mig_session_open(const struct mig_session_options *options, struct mig_session **ret,
                                struct mig_error *error);

/* Shuts NVML down and frees the session. NULL is allowed. A session with a hung call leaks its
 * thread, on purpose. */
MIG_PUBLIC void mig_session_close(struct mig_session *session);

/* The index-th NVML symbol that this driver lacks, with what is missing because of it; NULL past
 * the end. */
MIG_PUBLIC const char *mig_session_missing(const struct mig_session *session, size_t index);

/* Number of NVML calls made so far by this session. */
MIG_PUBLIC uint64_t mig_session_call_count(const struct mig_session *session);

/*
 * Reads the whole node. Models of equal GPUs are shared and belong to the session: the node must
 * not outlive it. The calls are read-only.
 */
MIG_PUBLIC int mig_inventory_read(struct mig_session *session, struct mig_node **ret,
                                  struct mig_error *error);

#ifdef __cplusplus
}
#endif
#endif
