/* SPDX-License-Identifier: Apache-2.0 */
/* What sysfs says of a PCI device: class, NUMA node, and whether it is a virtual GPU. */
#ifndef MIG_GPU_PCI_H
#define MIG_GPU_PCI_H

#include <mig/node.h>

#define MIG_PCI_CONFIG_MAX 4096 /* bytes of a configuration space */

/* Fills pci_class, numa_node and vgpu* of `gpu` as far as they can be read; `sys_root` stands
 * before /sys. Nothing of it is an error. */
void mig_pci_read(const char *sys_root, struct mig_gpu *gpu);

/*
 * Looks for NVIDIA's vendor-specific capability in a configuration space. True when it is a virtual
 * GPU; then version and branch of the host's driver are in the buffers, "" where it does not say.
 */
bool mig_pci_parse_vgpu(const unsigned char *space, size_t size, char version[MIG_VGPU_TEXT_SIZE],
                        char branch[MIG_VGPU_TEXT_SIZE]);

#endif
