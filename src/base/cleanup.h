/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cleanup by scope, the one cleanup idiom of the project: a variable declared with one of the
 * macros below is released when its scope ends, whichever way. MIG_TAKE() hands ownership out.
 * Every release function accepts NULL (or -1 for descriptors).
 */
#ifndef MIG_BASE_CLEANUP_H
#define MIG_BASE_CLEANUP_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MIG_CLEANUP(function) __attribute__((cleanup(function)))

/* Defines cleanup_NAME for `type *` released by `release`. A type cannot stand in parentheses. */
#define MIG_DEFINE_CLEANUP(name, type, release)                                                \
    static inline void cleanup_##name(type **pointer) /* NOLINT(bugprone-macro-parentheses) */ \
    {                                                                                          \
        if (*pointer) {                                                                        \
            release(*pointer);                                                                 \
        }                                                                                      \
    }

static inline void mig_cleanup_free(void *pointer)
{
    free(*(void **)pointer);
}

static inline void mig_cleanup_close(const int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
}

MIG_DEFINE_CLEANUP(fclose, FILE, fclose)
MIG_DEFINE_CLEANUP(closedir, DIR, closedir)

#define MIG_AUTO_FREE MIG_CLEANUP(mig_cleanup_free)
#define MIG_AUTO_CLOSE MIG_CLEANUP(mig_cleanup_close)
#define MIG_AUTO_FCLOSE MIG_CLEANUP(cleanup_fclose)
#define MIG_AUTO_CLOSEDIR MIG_CLEANUP(cleanup_closedir)

/* Moves a pointer out of a variable that would release it. */
#define MIG_TAKE(pointer)                       \
    __extension__({                             \
        __typeof__(pointer) taken_ = (pointer); \
        (pointer) = NULL;                       \
        taken_;                                 \
    })

#define MIG_TAKE_FD(fd)       \
    __extension__({           \
        int taken_fd_ = (fd); \
        (fd) = -1;            \
        taken_fd_;            \
    })

#define MIG_ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#endif
