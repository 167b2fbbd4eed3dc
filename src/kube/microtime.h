/* SPDX-License-Identifier: Apache-2.0 */
/* Times as Kubernetes writes them (meta/v1 MicroTime). */
#ifndef MIG_KUBE_MICROTIME_H
#define MIG_KUBE_MICROTIME_H

#include <stdint.h>

#define MIG_KUBE_MICROTIME_SIZE 40u

/* Of the clock on the wall, for others to read; nothing is decided by it. */
uint64_t mig_kube_realtime_us(void);

/* "2026-01-31T12:00:00.000000Z" */
void mig_kube_microtime(uint64_t realtime_us, char text[MIG_KUBE_MICROTIME_SIZE]);

#endif
