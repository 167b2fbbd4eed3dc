/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing and reading the journal.
 *
 *     migd journal 1
 *     boot 6a1c8d0e-...
 *     run 4242 7 migctl                    pid, steps of the run, program
 *     gpu GPU-8d1f... 1 1 0 0              mode before, mode after, changes it, may reset
 *     old 2@4 2@0                          NVML profile@start, then its compute instances
 *     new 0@4 0@0
 *     end 5d9c3a17                         checksum of all lines above
 *     0f3a9b12 done 1                      checksum, and progress
 *     51c0a7de rollback
 *
 * The reader takes nothing on trust: the format is exact (single blanks, no leading zeros), every
 * number has a limit, and a checksum stands before anything is believed.
 */
#include "gpu/journal.h"
#include "base/buffer.h"
#include "base/checksum.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define TITLE "migd journal 1"
#define LINE_MAX_SIZE 512
#define WORD_MAX (2 + MIG_CI_MAX)
#define BOOT_ID_PATH "/proc/sys/kernel/random/boot_id"
#define STEP_COUNT_MAX (MIG_GPU_MAX * MIG_STEP_MAX)
#define PROFILE_NUMBER_MAX 63

/* ---- writing ---- */

static void put_geometry(struct mig_buffer *buffer, const char *word,
                         const struct mig_geometry *geometry)
{
    for (unsigned i = 0; i < geometry->gi_count; i++) {
        const struct mig_geometry_gi *gi = &geometry->gis[i];

        mig_buffer_printf(buffer, "%s %u@%u", word, gi->profile, gi->start);
        for (unsigned j = 0; j < gi->ci_count; j++) {
            if (gi->cis[j].start == MIG_START_ANY) {
                mig_buffer_printf(buffer, " %u@-", gi->cis[j].profile);
            } else {
                mig_buffer_printf(buffer, " %u@%u", gi->cis[j].profile, gi->cis[j].start);
            }
        }
        mig_buffer_puts(buffer, "\n");
    }
}

int mig_journal_format(const struct mig_journal *journal, char **ret, size_t *ret_size,
                       struct mig_error *error)
{
    MIG_AUTO_BUFFER struct mig_buffer buffer;

    mig_buffer_init(&buffer, MIG_JOURNAL_BYTES_MAX);
    mig_buffer_printf(&buffer, TITLE "\nboot %s\nrun %u %u %s\n", journal->boot_id, journal->pid,
                      journal->step_count, journal->command);
    for (uint32_t i = 0; i < journal->gpu_count; i++) {
        const struct mig_journal_gpu *gpu = &journal->gpus[i];

        mig_buffer_printf(&buffer, "gpu %s %d %d %d %d\n", gpu->uuid, gpu->old_mode, gpu->new_mode,
                          gpu->set_mode, gpu->may_reset);
        put_geometry(&buffer, "old", &gpu->old_geometry);
        put_geometry(&buffer, "new", &gpu->new_geometry);
    }
    if (!buffer.error) {
        mig_buffer_printf(&buffer, "end %08x\n", mig_checksum(0, buffer.data, buffer.size));
    }
    if (buffer.error) {
        return mig_error_set_errno(error, MIG_E_FAILED, buffer.error, "could not make a journal");
    }
    *ret_size = buffer.size;
    *ret = mig_buffer_take(&buffer);
    return 0;
}

/* ---- reading ---- */

struct cursor {
    const char *name;
    const char *data;
    size_t size, position;
    unsigned line;
    char text[LINE_MAX_SIZE]; /* the current line, cut into words */
    unsigned word_count;
    char *words[WORD_MAX];
    struct mig_error *error;
};

static int refuse(const struct cursor *cursor, const char *what)
{
    return mig_error_set(cursor->error, MIG_E_CONFIG, MIG_DOMAIN_CONFIG, (int)cursor->line,
                         "%s:%u: the journal is damaged: %s", cursor->name, cursor->line, what);
}

/* Takes the next whole line; false at the end, or when it cannot be one of ours. */
static bool next_line(struct cursor *cursor)
{
    const char *start = cursor->data + cursor->position;
    size_t left = cursor->size - cursor->position;
    const char *end = left > 0 ? memchr(start, '\n', left) : NULL;
    size_t length = end ? (size_t)(end - start) : 0;

    cursor->line++;
    if (!end || length >= sizeof(cursor->text)) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (start[i] < ' ' || start[i] > '~') {
            return false;
        }
        cursor->text[i] = start[i];
    }
    cursor->text[length] = '\0';
    cursor->position += length + 1;
    return true;
}

/* Cuts the line at single blanks; false when there are empty or too many words. */
static bool split(struct cursor *cursor)
{
    char *position = cursor->text;

    cursor->word_count = 0;
    for (;;) {
        char *blank = strchr(position, ' ');

        if (cursor->word_count == WORD_MAX || blank == position || *position == '\0') {
            return false;
        }
        cursor->words[cursor->word_count++] = position;
        if (!blank) {
            return true;
        }
        *blank = '\0';
        position = blank + 1;
    }
}

/* Decimal without leading zeros, so that there is one way to write a journal. */
static bool parse_number(const char *text, uint32_t max, uint32_t *ret)
{
    uint64_t value;

    if ((text[0] == '0' && text[1] != '\0') || !mig_text_parse_u64(text, max, &value)) {
        return false;
    }
    *ret = (uint32_t)value;
    return true;
}

static bool parse_flag(const char *text, bool *ret)
{
    uint32_t value;

    if (!parse_number(text, 1, &value)) {
        return false;
    }
    *ret = value == 1;
    return true;
}

static bool parse_checksum(const char *text, uint32_t *ret)
{
    *ret = 0;
    for (unsigned i = 0; i < 8; i++) {
        static const char digits[] = "0123456789abcdef";
        const char *digit = text[i] != '\0' ? strchr(digits, text[i]) : NULL;

        if (!digit) {
            return false;
        }
        *ret = *ret << 4 | (uint32_t)(digit - digits);
    }
    return text[8] == '\0';
}

/* "PROFILE@START", START may be "-" when that is allowed. */
static bool parse_place(char *word, bool may_be_unknown, uint8_t *profile, uint8_t *start)
{
    char *at = strchr(word, '@');
    uint32_t number, place = MIG_START_ANY;

    if (!at) {
        return false;
    }
    *at = '\0';
    if (!parse_number(word, PROFILE_NUMBER_MAX, &number)) {
        return false;
    }
    if (!(may_be_unknown && strcmp(at + 1, "-") == 0) &&
        !parse_number(at + 1, MIG_UNIT_MAX - 1, &place)) {
        return false;
    }
    *profile = (uint8_t)number;
    *start = (uint8_t)place;
    return true;
}

static int parse_gi(struct cursor *cursor, struct mig_geometry *geometry)
{
    struct mig_geometry_gi gi = {0};

    if (cursor->word_count < 2 || cursor->word_count - 2 > MIG_CI_MAX ||
        geometry->gi_count >= MIG_GI_MAX ||
        !parse_place(cursor->words[1], false, &gi.profile, &gi.start)) {
        return refuse(cursor, "not a GPU instance");
    }
    for (unsigned i = 2; i < cursor->word_count; i++) {
        struct mig_geometry_ci *ci = &gi.cis[gi.ci_count++];

        if (!parse_place(cursor->words[i], true, &ci->profile, &ci->start)) {
            return refuse(cursor, "not a compute instance");
        }
    }
    for (unsigned i = 0; i < geometry->gi_count; i++) {
        if (geometry->gis[i].start == gi.start) {
            return refuse(cursor, "two GPU instances at one place");
        }
    }
    geometry->gis[geometry->gi_count++] = gi;
    return 0;
}

static int parse_gpu(struct cursor *cursor, struct mig_journal *journal)
{
    struct mig_journal_gpu *gpu;

    if (journal->gpu_count >= MIG_GPU_MAX) {
        return refuse(cursor, "too many GPUs");
    }
    gpu = &journal->gpus[journal->gpu_count++];
    if (cursor->word_count != 6 || !mig_text_copy(gpu->uuid, sizeof(gpu->uuid), cursor->words[1]) ||
        !parse_flag(cursor->words[2], &gpu->old_mode) ||
        !parse_flag(cursor->words[3], &gpu->new_mode) ||
        !parse_flag(cursor->words[4], &gpu->set_mode) ||
        !parse_flag(cursor->words[5], &gpu->may_reset)) {
        return refuse(cursor, "not a GPU");
    }
    return 0;
}

/* The lines between the head and the end: GPUs, each with its instances. */
static int parse_body_line(struct cursor *cursor, struct mig_journal *journal)
{
    struct mig_journal_gpu *gpu =
        journal->gpu_count > 0 ? &journal->gpus[journal->gpu_count - 1] : NULL;

    if (strcmp(cursor->words[0], "gpu") == 0) {
        return parse_gpu(cursor, journal);
    }
    if (gpu && strcmp(cursor->words[0], "old") == 0) {
        if (gpu->new_geometry.gi_count > 0) {
            return refuse(cursor, "what was stands behind what is wanted");
        }
        return parse_gi(cursor, &gpu->old_geometry);
    }
    if (gpu && strcmp(cursor->words[0], "new") == 0) {
        return parse_gi(cursor, &gpu->new_geometry);
    }
    return refuse(cursor, "not a line of a journal");
}

static int parse_head(struct cursor *cursor, struct mig_journal *journal)
{
    if (!next_line(cursor) || strcmp(cursor->text, TITLE) != 0) {
        return refuse(cursor, "the first line is not '" TITLE "'");
    }
    if (!next_line(cursor) || !split(cursor) || cursor->word_count != 2 ||
        strcmp(cursor->words[0], "boot") != 0 ||
        !mig_text_copy(journal->boot_id, sizeof(journal->boot_id), cursor->words[1])) {
        return refuse(cursor, "the boot is missing");
    }
    if (!next_line(cursor) || !split(cursor) || cursor->word_count != 4 ||
        strcmp(cursor->words[0], "run") != 0 ||
        !parse_number(cursor->words[1], UINT32_MAX, &journal->pid) ||
        !parse_number(cursor->words[2], STEP_COUNT_MAX, &journal->step_count) ||
        !mig_text_copy(journal->command, sizeof(journal->command), cursor->words[3])) {
        return refuse(cursor, "the run is missing");
    }
    return 0;
}

/* Up to and with the "end" line; *ret_seed is its checksum. */
static int parse_first_part(struct cursor *cursor, struct mig_journal *journal, uint32_t *ret_seed)
{
    int rc = parse_head(cursor, journal);

    while (rc == 0) {
        size_t start = cursor->position;

        if (!next_line(cursor) || !split(cursor)) {
            return refuse(cursor, "it is cut, or not text");
        }
        if (strcmp(cursor->words[0], "end") == 0) {
            if (cursor->word_count != 2 || !parse_checksum(cursor->words[1], ret_seed) ||
                *ret_seed != mig_checksum(0, cursor->data, start)) {
                return refuse(cursor, "the checksum is wrong");
            }
            return 0;
        }
        rc = parse_body_line(cursor, journal);
    }
    return rc;
}

/* False ends the progress. */
static bool parse_progress_line(struct cursor *cursor, uint32_t seed, struct mig_journal *journal)
{
    uint32_t expected, step;
    const char *text = cursor->text + 9;

    if (strlen(cursor->text) < 10 || cursor->text[8] != ' ') {
        return false;
    }
    cursor->text[8] = '\0';
    if (!parse_checksum(cursor->text, &expected) ||
        expected != mig_checksum(seed, text, strlen(text))) {
        return false;
    }
    if (strcmp(text, "rollback") == 0) {
        journal->rolling_back = true;
    } else if (strcmp(text, "attempt") == 0) {
        journal->attempt_count++;
    } else if (mig_text_starts_with(text, "done ") &&
               parse_number(text + 5, journal->step_count, &step) &&
               step == journal->steps_done + 1) {
        journal->steps_done = step;
    } else {
        return false;
    }
    return true;
}

int mig_journal_parse(const char *name, const char *data, size_t size, struct mig_journal *ret,
                      struct mig_error *error)
{
    struct cursor cursor = {.name = name, .data = data, .size = size, .error = error};
    int rc;

    *ret = (struct mig_journal){0};
    if (size > MIG_JOURNAL_BYTES_MAX) {
        return refuse(&cursor, "it is too long");
    }
    rc = parse_first_part(&cursor, ret, &ret->seed);
    if (rc < 0) {
        return rc;
    }
    do {
        ret->valid_size = cursor.position;
    } while (next_line(&cursor) && parse_progress_line(&cursor, ret->seed, ret));
    return 0;
}

/* ---- the file ---- */

int mig_journal_create(const char *path, const struct mig_journal *journal,
                       struct mig_journal_file *ret, struct mig_error *error)
{
    MIG_AUTO_FREE char *text = NULL;
    MIG_AUTO_FREE struct mig_journal *read_back = malloc(sizeof(*read_back));
    size_t size = 0;
    int rc = mig_journal_format(journal, &text, &size, error);

    if (rc < 0) {
        return rc;
    }
    if (!read_back) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not make a journal");
    }
    /* nothing is begun with a journal that a later run could not read */
    if (mig_journal_parse(path, text, size, read_back, error) < 0) {
        return MIG_E_FAILED;
    }
    rc = mig_file_write_atomic(path, text, size, 0600, error);
    if (rc < 0) {
        return rc;
    }
    return mig_journal_reopen(path, read_back, ret, error);
}

int mig_journal_reopen(const char *path, const struct mig_journal *journal,
                       struct mig_journal_file *ret, struct mig_error *error)
{
    ret->seed = journal->seed;
    ret->fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
    if (ret->fd < 0 || ftruncate(ret->fd, (off_t)journal->valid_size) < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno, "could not open '%s'", path);
    }
    return 0;
}

static int append(const struct mig_journal_file *file, const char *text, struct mig_error *error)
{
    char line[LINE_MAX_SIZE];
    int length = snprintf(line, sizeof(line), "%08x %s\n",
                          mig_checksum(file->seed, text, strlen(text)), text);
    int rc = mig_write_all(file->fd, line, (size_t)length);

    if (rc < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, -rc, "could not write the journal");
    }
    return 0;
}

int mig_journal_step_done(const struct mig_journal_file *file, uint32_t step,
                          struct mig_error *error)
{
    char text[32];

    snprintf(text, sizeof(text), "done %u", step);
    return append(file, text, error);
}

int mig_journal_rolling_back(const struct mig_journal_file *file, struct mig_error *error)
{
    return append(file, "rollback", error);
}

int mig_journal_attempt(const struct mig_journal_file *file, struct mig_error *error)
{
    return append(file, "attempt", error);
}

void mig_journal_close(struct mig_journal_file *file)
{
    if (file->fd >= 0) {
        close(file->fd);
    }
    file->fd = -1;
}

void mig_boot_id(char *buffer, size_t size)
{
    MIG_AUTO_FREE char *text = NULL;
    size_t length = 0;

    mig_text_copy(buffer, size, "unknown");
    if (mig_file_read(BOOT_ID_PATH, 128, &text, &length, NULL) == 0) {
        text[strcspn(text, " \n")] = '\0';
        if (text[0] != '\0') {
            mig_text_copy(buffer, size, text);
        }
    }
}
