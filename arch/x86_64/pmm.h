/* SPDX-License-Identifier: MIT */
/*
 * pmm.h — physical memory: frames of 4 KiB, handed out in runs.
 *
 * Any CPU, any context except NMI and #MC, interrupts on or off; never blocks.  One spinlock, held
 * for a search of the bitmap and nothing else.  Nothing here touches demand-paged memory, so the
 * page-fault handler may allocate.
 */
#ifndef GMK_X86_PMM_H
#define GMK_X86_PMM_H

#include "frames.h"

/*
 * Once, on the boot CPU, while the loader's page tables are in use.  The map (boot_info()->memmap) is
 * kept: it must stay where it is.  hhdm: the address at which the loader mapped physical address 0.
 * Panics when there is no usable memory.
 */
void pmm_init(const boot_range_t *map, uint32_t count, uint64_t hhdm);

/*
 * `pages` frames in a row whose address is a multiple of align_pages frames (a power of two; 0 and 1
 * mean any): the physical address, 0 = none.  Contents undefined.
 */
uint64_t pmm_alloc(uint64_t pages, uint64_t align_pages);

/* All or part of what was allocated.  Frames that are free already or not memory's: panics with
 * GMK_DEBUG, else reports it on the console and leaves them alone. */
void pmm_free(uint64_t phys, uint64_t pages);

/*
 * Frees the loader's memory and returns the number of frames: once, when no CPU runs on a stack,
 * page tables, GDT or code of the loader and nobody reads its responses any more.  A CPU that never
 * answered still does; then leave it be.
 */
uint64_t pmm_reclaim(void);

void pmm_stats(pmm_stats_t *s);

/* Whether any byte of the range is memory (of any kind: usable, kernel, ACPI, ...). */
bool pmm_is_ram(uint64_t phys, uint64_t bytes);

/* The map given to pmm_init, with the addresses that can be used at all. */
const mem_map_t *pmm_map(void);

/*
 * The HHDM: every byte of memory, usable or not, has one address in it, from pmm_init on.  What is no
 * memory in the map (devices; on many machines the RSDP and the ACPI tables, which lie in reserved
 * ranges) is not there once vmm_init has run: vmm_map_device.
 */
void *phys_to_virt(uint64_t phys);
uint64_t virt_to_phys(const void *p); /* of an HHDM address; else vmm_phys() */
uint64_t pmm_hhdm(void);

#endif
