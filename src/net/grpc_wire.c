/* SPDX-License-Identifier: Apache-2.0 */
/* gRPC as it is on the wire, apart from who calls whom. A message grows by what has come, not by
 * what its prefix promises. */
#include "net/grpc_wire.h"
#include "base/text.h"
#include <string.h>

#define TIMEOUT_MAX_MS 86400000u /* a day */
#define TIMEOUT_DIGITS_MAX 8     /* as the protocol says */

/* ---- messages ------------------------------------------------------------------------------- */

void mig_grpc_reader_init(struct mig_grpc_reader *reader)
{
    *reader = (struct mig_grpc_reader){0};
    mig_buffer_init(&reader->message, MIG_GRPC_MESSAGE_MAX);
}

void mig_grpc_reader_release(struct mig_grpc_reader *reader)
{
    mig_buffer_release(&reader->message);
}

/* The five bytes in front are complete. */
static int check_prefix(struct mig_grpc_reader *reader, const char **reason)
{
    const uint8_t *prefix = reader->prefix;

    if (prefix[0] != 0) {
        *reason = prefix[0] == 1 ? "compressed messages are not supported"
                                 : "the flag of a message is neither 0 nor 1";
        return prefix[0] == 1 ? -MIG_GRPC_UNIMPLEMENTED : -MIG_GRPC_INTERNAL;
    }
    reader->message_size =
        (size_t)prefix[1] << 24 | (size_t)prefix[2] << 16 | (size_t)prefix[3] << 8 | prefix[4];
    if (reader->message_size > MIG_GRPC_MESSAGE_MAX) {
        *reason = "the message is larger than 4 MiB";
        return -MIG_GRPC_RESOURCE_EXHAUSTED;
    }
    return 0;
}

static void move(const uint8_t **bytes, size_t *size, size_t count)
{
    *bytes += count;
    *size -= count;
}

int mig_grpc_read(struct mig_grpc_reader *reader, const uint8_t **bytes, size_t *size,
                  const char **reason)
{
    size_t count;

    if (reader->whole) {
        reader->whole = false;
        reader->prefix_size = 0;
        mig_buffer_release(&reader->message);
    }
    if (reader->prefix_size < MIG_GRPC_PREFIX_SIZE) {
        int rc;

        count = MIG_GRPC_PREFIX_SIZE - reader->prefix_size;
        count = count < *size ? count : *size;
        memcpy(reader->prefix + reader->prefix_size, *bytes, count);
        reader->prefix_size += count;
        move(bytes, size, count);
        if (reader->prefix_size < MIG_GRPC_PREFIX_SIZE) {
            return 0;
        }
        rc = check_prefix(reader, reason);
        if (rc < 0) {
            return rc;
        }
    }
    count = reader->message_size - reader->message.size;
    count = count < *size ? count : *size;
    if (mig_buffer_append(&reader->message, *bytes, count)) {
        *reason = "no memory for the message";
        return -MIG_GRPC_RESOURCE_EXHAUSTED;
    }
    move(bytes, size, count);
    reader->whole = reader->message.size == reader->message_size;
    return reader->whole;
}

bool mig_grpc_reader_cut(const struct mig_grpc_reader *reader)
{
    return !reader->whole && reader->prefix_size > 0;
}

void mig_grpc_put_prefix(uint8_t prefix[MIG_GRPC_PREFIX_SIZE], size_t size)
{
    prefix[0] = 0;
    for (unsigned i = 0; i < 4; i++) {
        prefix[i + 1] = (uint8_t)(size >> (24 - 8 * i));
    }
}

/* ---- texts ---------------------------------------------------------------------------------- */

const char *mig_grpc_status_name(int status)
{
    static const char *const names[] = {
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    };

    return status >= 0 && (size_t)status < MIG_ARRAY_SIZE(names) ? names[status] : "UNKNOWN";
}

void mig_grpc_encode_text(const char *text, char *encoded, size_t size)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t length = 0;

    for (; *text && length + 4 <= size; text++) {
        uint8_t byte = (uint8_t)*text;

        if (byte >= ' ' && byte <= '~' && byte != '%') {
            encoded[length++] = (char)byte;
        } else {
            encoded[length++] = '%';
            encoded[length++] = digits[byte >> 4];
            encoded[length++] = digits[byte & 15];
        }
    }
    encoded[length] = '\0';
}

static int hex_digit(char byte)
{
    return byte >= '0' && byte <= '9'   ? byte - '0'
           : byte >= 'A' && byte <= 'F' ? byte - 'A' + 10
           : byte >= 'a' && byte <= 'f' ? byte - 'a' + 10
                                        : -1;
}

void mig_grpc_decode_text(const char *encoded, char *text, size_t size)
{
    size_t length = 0;

    for (; *encoded && length + 1 < size; encoded++) {
        int high = *encoded == '%' ? hex_digit(encoded[1]) : -1;
        int low = high >= 0 ? hex_digit(encoded[2]) : -1;

        /* an encoded NUL would end the text */
        if (low >= 0 && (high | low) != 0) {
            text[length++] = (char)(high << 4 | low);
            encoded += 2;
        } else {
            text[length++] = *encoded;
        }
    }
    text[length] = '\0';
}

bool mig_grpc_parse_timeout(const char *text, unsigned *ret_ms)
{
    uint64_t number = 0, ms;
    size_t digits = 0;

    for (; text[digits] >= '0' && text[digits] <= '9'; digits++) {
        if (digits == TIMEOUT_DIGITS_MAX) {
            return false;
        }
        number = number * 10 + (uint64_t)(text[digits] - '0');
    }
    if (digits == 0 || !text[digits] || text[digits + 1]) {
        return false;
    }
    switch (text[digits]) {
    case 'H':
        ms = number * 3600 * 1000;
        break;
    case 'M':
        ms = number * 60 * 1000;
        break;
    case 'S':
        ms = number * 1000;
        break;
    case 'm':
        ms = number;
        break;
    case 'u':
        ms = number / 1000;
        break;
    case 'n':
        ms = number / 1000000;
        break;
    default:
        return false;
    }
    *ret_ms = ms < TIMEOUT_MAX_MS ? (unsigned)ms : TIMEOUT_MAX_MS;
    return true;
}

void mig_grpc_format_timeout(unsigned timeout_ms, char *text, size_t size)
{
    if (timeout_ms > 99999999) {
        snprintf(text, size, "%uS", timeout_ms / 1000);
    } else {
        snprintf(text, size, "%um", timeout_ms);
    }
}

const char *mig_grpc_find_header(const struct mig_h2_header *headers, size_t count,
                                 const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(headers[i].name, name) == 0) {
            return headers[i].value;
        }
    }
    return NULL;
}

bool mig_grpc_content_type(const struct mig_h2_header *headers, size_t count)
{
    static const char expected[] = "application/grpc";
    const char *type = mig_grpc_find_header(headers, count, "content-type");

    return type && mig_text_starts_with(type, expected) &&
           strchr("+;", type[sizeof(expected) - 1]) != NULL;
}

/* ---- deadlines ------------------------------------------------------------------------------ */

struct mig_grpc_deadline {
    uv_timer_t timer;
    void (*passed)(void *data);
    void *data;
};

static void rang(uv_timer_t *timer)
{
    struct mig_grpc_deadline *deadline = timer->data;

    deadline->passed(deadline->data);
}

static void closed(uv_handle_t *handle)
{
    free(handle->data);
}

struct mig_grpc_deadline *mig_grpc_deadline_start(uv_loop_t *loop, unsigned timeout_ms,
                                                  void (*passed)(void *data), void *data)
{
    struct mig_grpc_deadline *deadline = calloc(1, sizeof(*deadline));

    if (deadline) {
        deadline->passed = passed;
        deadline->data = data;
        uv_timer_init(loop, &deadline->timer);
        deadline->timer.data = deadline;
        uv_update_time(loop);
        uv_timer_start(&deadline->timer, rang, timeout_ms, 0);
    }
    return deadline;
}

void mig_grpc_deadline_stop(struct mig_grpc_deadline *deadline)
{
    if (deadline) {
        uv_close((uv_handle_t *)&deadline->timer, closed);
    }
}
