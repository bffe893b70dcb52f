/* SPDX-License-Identifier: MIT */
/*
 * vmm_device.h — the part of the address space where device memory is mapped.
 *
 * For vmm.c: vmm_init calls vmm_device_init once  The mappings themselves are in vmm.h.
 */
#ifndef GMK_X86_VMM_DEVICE_H
#define GMK_X86_VMM_DEVICE_H

#include <stdint.h>

void vmm_device_init(void);
/* Mappings there are now, and the 2 MiB pieces of address space they use. */
void vmm_device_stats(uint64_t *mappings, uint64_t *pieces);

#endif
