/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one error type of libmig.
 *
 * A function that can fail returns 0 (MIG_OK) or one of the negative codes below, and takes as its
 * last parameter a `struct mig_error *` that belongs to the caller and may be NULL. The codes are
 * few and mean what a caller can do about them; they are, negated, the exit codes of migctl. What
 * exactly happened is in the struct: it has a fixed size and nothing in it is allocated, so it
 * works when memory is short.
 *
 * Wording: `message` says what was asked and what stopped it, lower case, no full stop, no function
 * names; `holders` says who is in the way (processes, pods), `hint` what to do about it. Either may
 * be empty.
 */
#ifndef MIG_ERROR_H
#define MIG_ERROR_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define MIG_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define MIG_PUBLIC __attribute__((visibility("default")))
#else
#define MIG_PRINTF(fmt, args)
#define MIG_PUBLIC
#endif

/* What a caller can do about it. The negated value is migctl's exit code. */
enum mig_result {
    MIG_OK = 0,
    MIG_E_FAILED = -1,    /* it failed; whatever had been changed was put back */
    MIG_E_USAGE = -2,     /* the caller asked for something that makes no sense */
    MIG_E_CONFIG = -3,    /* a file or text given by the user is not valid */
    MIG_E_NO_FIT = -4,    /* the wanted instances cannot fit, whoever is asked to leave */
    MIG_E_BUSY = -5,      /* users of the slices (or of the GPU, or of the lock) are in the way */
    MIG_E_NO_DRIVER = -6, /* no NVIDIA driver, or none that can be talked to */
    MIG_E_BROKEN = -7,    /* it failed and the old state could not be put back */
};

/* Where `code` comes from. */
enum mig_error_domain {
    MIG_DOMAIN_NONE = 0, /* code has no meaning */
    MIG_DOMAIN_ERRNO,    /* code is an errno value */
    MIG_DOMAIN_NVML,     /* code is an nvmlReturn_t */
    MIG_DOMAIN_CONFIG,   /* code is a line number, or 0 */
    MIG_DOMAIN_PLAN,     /* code is an enum mig_refusal (plan.h) */
    MIG_DOMAIN_EXIT,     /* code is the wait status of a command that was run */
    MIG_DOMAIN_HTTP,     /* code is the status that an HTTP server answered */
};

#define MIG_ERROR_MESSAGE_SIZE 768
#define MIG_ERROR_HOLDERS_SIZE 384
#define MIG_ERROR_HINT_SIZE 384

struct mig_error {
    enum mig_error_domain domain;
    int code;
    char message[MIG_ERROR_MESSAGE_SIZE];
    char holders[MIG_ERROR_HOLDERS_SIZE];
    char hint[MIG_ERROR_HINT_SIZE];
};

/* Empties `error`. NULL is allowed. */
MIG_PUBLIC void mig_error_clear(struct mig_error *error);

/*
 * Sets domain, code and message (printf style, cut to size), empties holders and hint, and returns
 * `result`, so that callers can write `return mig_error_set(...)`. `error` may be NULL.
 */
MIG_PUBLIC int mig_error_set(struct mig_error *error, int result, enum mig_error_domain domain,
                             int code, const char *format, ...) MIG_PRINTF(5, 6);

/* As mig_error_set with MIG_DOMAIN_ERRNO; appends ": " and the text of `errnum` to the message. */
MIG_PUBLIC int mig_error_set_errno(struct mig_error *error, int result, int errnum,
                                   const char *format, ...) MIG_PRINTF(4, 5);

/* Puts "PREFIX: " (printf style) in front of the message. */
MIG_PUBLIC void mig_error_prefix(struct mig_error *error, const char *format, ...) MIG_PRINTF(2, 3);

/* Sets what to do about it; returns `result` unchanged, for `return mig_error_hint(e, rc, ...)`. */
MIG_PUBLIC int mig_error_hint(struct mig_error *error, int result, const char *format, ...)
    MIG_PRINTF(3, 4);

/* Adds one holder to the list of who is in the way, separated by ", ". */
MIG_PUBLIC void mig_error_add_holder(struct mig_error *error, const char *format, ...)
    MIG_PRINTF(2, 3);

#ifdef __cplusplus
}
#endif
#endif
