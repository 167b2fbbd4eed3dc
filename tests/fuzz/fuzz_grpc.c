/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What gRPC puts on the wire. Message frames give the same messages and the same end however the
 * bytes are cut; a status text comes back as it was sent, and any text is decoded to something; a
 * timeout that is accepted means the same when it is written again.
 */
#include "fuzz.h"
#include "net/grpc_wire.h"

struct outcome {
    uint64_t hash; /* of the messages and their sizes */
    unsigned messages;
    int status;
    bool cut;
};

static uint64_t add(uint64_t hash, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3u;
    }
    return hash;
}

static struct outcome read_all(const uint8_t *data, size_t size, size_t part)
{
    struct outcome outcome = {.hash = 1};
    struct mig_grpc_reader reader;

    mig_grpc_reader_init(&reader);
    while (size > 0 && outcome.status == 0) {
        size_t left = size < part ? size : part, given = left;
        const uint8_t *position = data;

        while (left > 0 && outcome.status == 0) {
            const char *reason = NULL;
            int rc = mig_grpc_read(&reader, &position, &left, &reason);

            FUZZ_CHECK(rc >= -MIG_GRPC_UNAUTHENTICATED && rc <= 1 && (rc >= 0 || *reason));
            if (rc == 1) {
                FUZZ_CHECK(reader.message.size <= MIG_GRPC_MESSAGE_MAX);
                outcome.hash = add(outcome.hash, &reader.message.size, sizeof(size_t));
                outcome.hash = add(outcome.hash, reader.message.data, reader.message.size);
                outcome.messages++;
            }
            outcome.status = rc < 0 ? rc : 0;
        }
        data += given;
        size -= given;
    }
    outcome.cut = mig_grpc_reader_cut(&reader);
    mig_grpc_reader_release(&reader);
    return outcome;
}

static void check_frames(const uint8_t *data, size_t size)
{
    struct outcome whole = read_all(data, size, SIZE_MAX);

    for (size_t part = 1; part <= 7; part += 3) {
        struct outcome parts = read_all(data, size, part);

        FUZZ_CHECK(parts.hash == whole.hash && parts.messages == whole.messages &&
                   parts.status == whole.status && parts.cut == whole.cut);
    }
}

static void check_texts(const char *text)
{
    char encoded[3 * 512 + 1], decoded[sizeof(encoded)], timeout[16];
    unsigned ms, again;

    if (strlen(text) <= 512) {
        mig_grpc_encode_text(text, encoded, sizeof(encoded));
        mig_grpc_decode_text(encoded, decoded, sizeof(decoded));
        FUZZ_CHECK(strcmp(decoded, text) == 0);
    }
    mig_grpc_decode_text(text, decoded, sizeof(decoded));
    mig_grpc_decode_text(text, decoded, 3);
    if (mig_grpc_parse_timeout(text, &ms)) {
        mig_grpc_format_timeout(ms, timeout, sizeof(timeout));
        FUZZ_CHECK(mig_grpc_parse_timeout(timeout, &again) && again == ms);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);

    check_frames(data, size);
    check_texts(text);
    free(text);
    return 0;
}
