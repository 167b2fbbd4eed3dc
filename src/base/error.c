/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filling in struct mig_error. Nothing here allocates, and texts that are too long are cut, so an
 * error can be told in every situation.
 */
#include "base/text.h"
#include <errno.h>
#include <mig/error.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void mig_error_clear(struct mig_error *error)
{
    if (error) {
        *error = (struct mig_error){0};
    }
}

MIG_PRINTF(4, 0)
static void set_message(struct mig_error *error, enum mig_error_domain domain, int code,
                        const char *format, va_list arguments)
{
    char message[MIG_ERROR_MESSAGE_SIZE];

    /* formatted first: the arguments may point into the error that is replaced */
    vsnprintf(message, sizeof(message), format, arguments);
    mig_error_clear(error);
    error->domain = domain;
    error->code = code;
    mig_text_copy(error->message, sizeof(error->message), message);
}

int mig_error_set(struct mig_error *error, int result, enum mig_error_domain domain, int code,
                  const char *format, ...)
{
    if (error) {
        va_list arguments;

        va_start(arguments, format);
        set_message(error, domain, code, format, arguments);
        va_end(arguments);
    }
    return result;
}

int mig_error_set_errno(struct mig_error *error, int result, int errnum, const char *format, ...)
{
    char reason[128];
    va_list arguments;
    size_t length;

    if (!error) {
        return result;
    }
    va_start(arguments, format);
    set_message(error, MIG_DOMAIN_ERRNO, errnum, format, arguments);
    va_end(arguments);
    length = strlen(error->message);
    snprintf(error->message + length, sizeof(error->message) - length, ": %s",
             strerror_r(errnum, reason, sizeof(reason)));
    return result;
}

void mig_error_prefix(struct mig_error *error, const char *format, ...)
{
    char prefix[256];
    char message[MIG_ERROR_MESSAGE_SIZE];
    va_list arguments;

    if (!error) {
        return;
    }
    va_start(arguments, format);
    vsnprintf(prefix, sizeof(prefix), format, arguments);
    va_end(arguments);
    mig_text_copy(message, sizeof(message), error->message);
    mig_text_copy(error->message, sizeof(error->message), prefix);
    snprintf(error->message + strlen(error->message),
             sizeof(error->message) - strlen(error->message), ": %s", message);
}

int mig_error_hint(struct mig_error *error, int result, const char *format, ...)
{
    if (error) {
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(error->hint, sizeof(error->hint), format, arguments);
        va_end(arguments);
    }
    return result;
}

void mig_error_add_holder(struct mig_error *error, const char *format, ...)
{
    va_list arguments;
    size_t length;

    if (!error) {
        return;
    }
    length = strlen(error->holders);
    if (length > 0) {
        snprintf(error->holders + length, sizeof(error->holders) - length, ", ");
        length = strlen(error->holders);
    }
    va_start(arguments, format);
    vsnprintf(error->holders + length, sizeof(error->holders) - length, format, arguments);
    va_end(arguments);
}
