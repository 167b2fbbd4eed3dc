/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mapped state file: opening, consistent reads, and transactions.
 *
 * Invariants: the generation only grows; the image it points at (its lowest bit) is complete and
 * is not written until the generation has moved on. A writer therefore never disturbs readers of
 * the current image, and a reader that was overtaken by a whole commit notices it by the
 * generation and reads again. The lock is an open-file-description lock on a descriptor of the
 * transaction's own: it excludes threads as well as processes, and the kernel drops it with the
 * writer.
 */
#include "emulator/machine/machine_file.h"
#include "emulator/machine/meter.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_STEP_US 20
#define LOCK_STEP_MAX_US 2000
#define LOCK_LIMIT_US 30000000

_Static_assert(sizeof(struct emu_state) % 8 == 0, "the state is copied in words");
_Static_assert(sizeof(struct emu_gpu) % 8 == 0, "a GPU's state is copied in words");
_Static_assert(offsetof(struct emu_state, gpus) % 8 == 0, "a GPU's state starts on a word");
_Static_assert(offsetof(struct emu_gpu, gis) % 8 == 0, "so is what comes before its instances");
_Static_assert(sizeof(struct emu_trace) % 8 == 0, "traces are copied in words");
_Static_assert(sizeof(struct emu_node_info) % 8 == 0, "the description is hashed in words");

void emu_words_load(void *to, const void *from, size_t size)
{
    const _Atomic uint64_t *source = from;
    uint64_t *target = to;
#pragma GCC unroll 8 /* most of what a query costs */
    for (size_t i = 0; i < size / 8; i++) {
        target[i] = atomic_load_explicit(&source[i], memory_order_relaxed);
    }
}

void emu_words_store(void *to, const void *from, size_t size)
{
    _Atomic uint64_t *target = to;
    const uint64_t *source = from;
    for (size_t i = 0; i < size / 8; i++) {
        atomic_store_explicit(&target[i], source[i], memory_order_relaxed);
    }
}

uint64_t emu_hash(const void *data, size_t size)
{
    const uint64_t *words = data;
    uint64_t hash = 0x9e3779b97f4a7c15u ^ size;
    for (size_t i = 0; i < size / 8; i++) {
        hash = (hash ^ words[i]) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    return hash;
}

size_t emu_info_size(uint32_t gpu_count)
{
    return offsetof(struct emu_node_info, gpus) + gpu_count * sizeof(struct emu_gpu_info);
}

size_t emu_state_size(uint32_t gpu_count)
{
    return offsetof(struct emu_state, gpus) + gpu_count * sizeof(struct emu_gpu);
}

uint64_t emu_state_checksum(const struct emu_state *state)
{
    return emu_hash(&state->change_count,
                    emu_state_size(state->gpu_count) - offsetof(struct emu_state, change_count));
}

/* ---- reading -------------------------------------------------------------------------------- */

uint64_t emu_machine_generation(const struct emu_machine *machine)
{
    return atomic_load_explicit(&machine->file->generation, memory_order_acquire);
}

int emu_machine_read_part(const struct emu_machine *machine, size_t offset, void *ret, size_t size)
{
    for (unsigned i = 0; i < EMU_READ_TRIES; i++) {
        uint64_t generation = emu_machine_generation(machine);
        const char *image = (const char *)&machine->file->images[generation & 1];
        emu_words_load(ret, image + offset, size);
        atomic_thread_fence(memory_order_acquire);
        if (emu_machine_generation(machine) == generation) {
            return 0;
        }
    }
    return -EAGAIN;
}

int emu_machine_read_gpu(const struct emu_machine *machine, unsigned gpu, struct emu_gpu *ret)
{
    size_t offset = offsetof(struct emu_state, gpus) + gpu * sizeof(struct emu_gpu);
    size_t head = offsetof(struct emu_gpu, gis);
    int rc = emu_machine_read_part(machine, offset, ret, head);
    /* without MIG there are no instances, which are most of it */
    if (rc == 0 && !ret->mode) {
        memset(ret->gis, 0, sizeof ret->gis);
        return 0;
    }
    return rc == 0 ? emu_machine_read_part(machine, offset, ret, sizeof *ret) : rc;
}

int emu_machine_read(const struct emu_machine *machine, struct emu_state *ret)
{
    memset(ret->gpus, 0, sizeof ret->gpus);
    return emu_machine_read_part(machine, 0, ret, emu_state_size(machine->file->info.gpu_count));
}

const char *emu_machine_path(const struct emu_machine *machine)
{
    return machine->path;
}

const struct emu_node_info *emu_machine_info(const struct emu_machine *machine)
{
    return &machine->file->info;
}

bool emu_machine_is_writable(const struct emu_machine *machine)
{
    return machine->writable;
}

uid_t emu_machine_owner(const struct emu_machine *machine)
{
    return machine->owner;
}

static bool is_same_file(const struct emu_machine *machine, const struct stat *status)
{
    return status->st_dev == machine->device && status->st_ino == machine->inode;
}

bool emu_machine_is_current(const struct emu_machine *machine)
{
    struct stat status;
    return stat(machine->path, &status) == 0 && is_same_file(machine, &status);
}

/* ---- transactions --------------------------------------------------------------------------- */

static int take_lock(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    unsigned waited_us = 0, step_us = LOCK_STEP_US;
    while (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
        if (errno != EAGAIN && errno != EACCES && errno != EINTR) {
            return -errno;
        }
        if (waited_us >= LOCK_LIMIT_US) {
            return -ETIMEDOUT;
        }
        struct timespec pause = {.tv_nsec = (long)step_us * 1000};
        nanosleep(&pause, NULL);
        waited_us += step_us;
        step_us = step_us * 2 < LOCK_STEP_MAX_US ? step_us * 2 : LOCK_STEP_MAX_US;
    }
    return 0;
}

static void drop_lock(int fd)
{
    /* Explicitly: a child forked meanwhile has a copy of the descriptor. */
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_len = 1};
    (void)fcntl(fd, F_OFD_SETLK, &lock);
    close(fd);
}

/* Opens the file afresh and locks it; the descriptor or a negative errno. */
static int open_locked(const struct emu_machine *machine)
{
    int fd = open(machine->path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? -ESTALE : -errno;
    }
    int rc = take_lock(fd);
    struct stat status;
    if (rc == 0 && (fstat(fd, &status) < 0 || !is_same_file(machine, &status))) {
        rc = -ESTALE;
    }
    if (rc < 0) {
        drop_lock(fd);
        return rc;
    }
    return fd;
}

int emu_begin(const struct emu_machine *machine, struct emu_transaction *ret)
{
    *ret = (struct emu_transaction){.machine = machine, .lock_fd = -1};
    if (!machine->writable) {
        return -EACCES;
    }
    struct emu_state *state = calloc(1, sizeof *state);
    if (!state) {
        return -ENOMEM;
    }
    int fd = open_locked(machine);
    if (fd < 0) {
        free(state);
        return fd;
    }
    ret->generation = emu_machine_generation(machine);
    emu_words_load(state, &machine->file->images[ret->generation & 1],
                   emu_state_size(machine->file->info.gpu_count));
    ret->lock_fd = fd;
    ret->state = state;
    return 0;
}

void emu_abort(struct emu_transaction *transaction)
{
    if (transaction->lock_fd >= 0) {
        drop_lock(transaction->lock_fd);
    }
    free(transaction->state);
    transaction->lock_fd = -1;
    transaction->state = NULL;
}

void emu_commit(struct emu_transaction *transaction)
{
    if (!transaction->state) {
        return;
    }
    struct emu_file *file = transaction->machine->file;
    struct emu_state *state = transaction->state;
    uint64_t next = transaction->generation + 1;
    emu_meter_settle(&file->info, state, emu_clock_at(&state->clock, emu_host_ns()));
    state->change_count++;
    state->checksum = emu_state_checksum(state);
    /* Readers that still copy this image (two generations ago) must see that it is too late. */
    atomic_thread_fence(memory_order_seq_cst);
    emu_words_store(&file->images[next & 1], state, emu_state_size(file->info.gpu_count));
    atomic_store_explicit(&file->generation, next, memory_order_release);
    emu_abort(transaction);
}

/* ---- opening -------------------------------------------------------------------------------- */

static int check_description(const struct emu_file *file)
{
    if (memcmp(file->magic, EMU_MAGIC, sizeof file->magic) != 0) {
        return -EBADMSG;
    }
    if (file->schema != EMU_SCHEMA || file->layout_size != sizeof *file) {
        return -EPROTO;
    }
    if (file->info.gpu_count > EMU_GPU_MAX ||
        emu_hash(&file->info, emu_info_size(file->info.gpu_count)) != file->description_hash ||
        !emu_info_is_sane(&file->info)) {
        return -EBADMSG;
    }
    return 0;
}

static bool state_is_good(const struct emu_file *file, const struct emu_state *state)
{
    return state->gpu_count == file->info.gpu_count && state->checksum == emu_state_checksum(state);
}

/*
 * A host that lost power may have written the generation but not the image. Then the state before
 * it holds.
 */
static int fall_back(struct emu_machine *machine, struct emu_state *scratch)
{
    if (!machine->writable) {
        return -EBADMSG;
    }
    int fd = open_locked(machine);
    if (fd < 0) {
        return fd;
    }
    struct emu_file *file = machine->file;
    uint64_t generation = emu_machine_generation(machine);
    size_t size = emu_state_size(file->info.gpu_count);
    int rc = 0;
    emu_words_load(scratch, &file->images[generation & 1], size);
    if (!state_is_good(file, scratch)) {
        emu_words_load(scratch, &file->images[(generation + 1) & 1], size);
        if (state_is_good(file, scratch)) {
            emu_words_store(&file->images[generation & 1], scratch, size);
        } else {
            rc = -EBADMSG;
        }
    }
    drop_lock(fd);
    return rc;
}

static int check_state(struct emu_machine *machine)
{
    struct emu_state *scratch = calloc(1, sizeof *scratch);
    if (!scratch) {
        return -ENOMEM;
    }
    int rc = emu_machine_read(machine, scratch);
    if (rc == 0 && !state_is_good(machine->file, scratch)) {
        rc = fall_back(machine, scratch);
    }
    free(scratch);
    return rc;
}

static int map_file(struct emu_machine *machine, int fd)
{
    struct stat status;
    if (fstat(fd, &status) < 0) {
        return -errno;
    }
    if (!S_ISREG(status.st_mode) || status.st_size < (off_t)sizeof(uint64_t)) {
        return -EBADMSG;
    }
    if (status.st_size != (off_t)sizeof(struct emu_file)) {
        return -EPROTO;
    }
    int protection = machine->writable ? PROT_READ | PROT_WRITE : PROT_READ;
    void *memory = mmap(NULL, sizeof(struct emu_file), protection, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        return -errno;
    }
    machine->file = memory;
    machine->owner = status.st_uid;
    machine->device = status.st_dev;
    machine->inode = status.st_ino;
    int rc = check_description(machine->file);
    return rc < 0 ? rc : check_state(machine);
}

static int state_path(const char *node, char path[PATH_MAX])
{
    char directory[PATH_MAX];
    if (!node || !*node) {
        return -ENOENT;
    }
    if (!realpath(node, directory)) {
        return -errno;
    }
    int size = snprintf(path, PATH_MAX, "%s/state", directory);
    return size < 0 || size >= PATH_MAX ? -ENAMETOOLONG : 0;
}

int emu_machine_open(const char *node, struct emu_machine **ret)
{
    struct emu_machine *machine = calloc(1, sizeof *machine);
    if (!machine) {
        return -ENOMEM;
    }
    int rc = state_path(node, machine->path);
    if (rc == 0) {
        machine->writable = true;
        int fd = open(machine->path, O_RDWR | O_CLOEXEC);
        if (fd < 0 && (errno == EACCES || errno == EROFS || errno == EPERM)) {
            machine->writable = false;
            fd = open(machine->path, O_RDONLY | O_CLOEXEC);
        }
        rc = fd < 0 ? -errno : map_file(machine, fd);
        if (fd >= 0) {
            close(fd);
        }
    }
    if (rc < 0) {
        emu_machine_close(machine);
        return rc;
    }
    *ret = machine;
    return 0;
}

void emu_machine_close(struct emu_machine *machine)
{
    if (!machine) {
        return;
    }
    if (machine->file) {
        munmap(machine->file, sizeof *machine->file);
    }
    free(machine);
}
