/* SPDX-License-Identifier: Apache-2.0 */
/* Reads /proc/self/stat, /proc/stat and /proc/self/fd, as every Prometheus client library does. */
#include "exporter/process.h"
#include "base/cleanup.h"
#include "base/file.h"
#include <string.h>
#include <time.h>

#define STAT_MAX 4096u
#define FIELD_CPU_USER 14 /* numbered from 1, as in proc(5) */
#define FIELD_CPU_SYSTEM 15
#define FIELD_START 22
#define FIELD_VIRTUAL 23
#define FIELD_RESIDENT 24

static void read_stat(double fields[FIELD_RESIDENT + 1])
{
    MIG_AUTO_FREE char *text = NULL;
    size_t size = 0;
    const char *at;

    if (mig_file_read("/proc/self/stat", STAT_MAX, &text, &size, NULL) < 0) {
        return;
    }
    at = strrchr(text, ')'); /* the name before it may hold anything */
    for (int field = 3; at && field <= FIELD_RESIDENT; field++) {
        at = strchr(at + 1, ' ');
        fields[field] = at && field > 3 ? strtod(at, NULL) : 0;
    }
}

static uint32_t count_fds(void)
{
    MIG_AUTO_CLOSEDIR DIR *folder = opendir("/proc/self/fd");
    uint32_t count = 0;

    while (folder && readdir(folder)) {
        count++;
    }
    return count > 3 ? count - 3 : 0; /* without ".", ".." and the folder's own */
}

void mig_metrics_read_process(struct mig_metrics_process *ret)
{
    double fields[FIELD_RESIDENT + 1] = {0};
    double ticks = (double)sysconf(_SC_CLK_TCK), page = (double)sysconf(_SC_PAGESIZE);
    struct timespec real = {0}, boot = {0};

    *ret = (struct mig_metrics_process){.fd_count = count_fds()};
    read_stat(fields);
    clock_gettime(CLOCK_REALTIME, &real);
    clock_gettime(CLOCK_BOOTTIME, &boot);
    if (ticks > 0 && fields[FIELD_START] > 0) {
        ret->cpu_s = (fields[FIELD_CPU_USER] + fields[FIELD_CPU_SYSTEM]) / ticks;
        ret->start_s = (double)(real.tv_sec - boot.tv_sec) + fields[FIELD_START] / ticks;
    }
    ret->virtual_bytes = (uint64_t)fields[FIELD_VIRTUAL];
    ret->resident_bytes = (uint64_t)(fields[FIELD_RESIDENT] * page);
}
