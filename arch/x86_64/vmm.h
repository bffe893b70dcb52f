/* SPDX-License-Identifier: MIT */
/*
 * vmm.h — virtual memory: the kernel's page tables, its heap of pages, stacks, devices.
 *
 * One address space for all CPUs, four levels.  Its lower half is empty; the image is mapped with
 * the permissions of its segments; all memory is mapped once in the HHDM, never executable, and the
 * image's read-only part is read-only there too.  No page is writable and executable.
 *
 * Allocating: any CPU, any thread, interrupts on or off; not from NMI, #MC or #PF.  Freeing and
 * unmapping: the same, but the caller holds no spinlock, because it waits for every CPU to give up
 * the translations (shootdown.h).
 *
 * Demand-paged memory may be touched everywhere but in NMI, #MC and #PF, and under the locks of pmm.c and
 * vmm_space.c: supplying a page takes the lock of pmm.c and no other.  They hold it only around pure code
 * over bitmaps that are always there.
 */
#ifndef GMK_X86_VMM_H
#define GMK_X86_VMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VMM_PAGE 4096u

enum {
    VMM_RW = 0,     /* memory at once, zeroed */
    VMM_DEMAND = 1, /* each page is supplied, zeroed, when first touched */
    VMM_GUARD = 2   /* an unmapped page on each side */
};

enum vmm_cache { VMM_UC, VMM_WC, VMM_WB };

typedef struct vmm_stats {
    uint64_t heap_pages, heap_used, heap_largest; /* of address space */
    uint64_t stack_pages, stack_used;             /* of address space, guard pages included */
    uint64_t device_maps, device_used;            /* mappings; pieces of 2 MiB of address space */
    uint64_t tables;                              /* frames that hold page tables */
    uint64_t demand_faults, starved;              /* starved: there was no memory, the fault stayed one */
    uint64_t shootdowns;
} vmm_stats_t;

/* Once, on the boot CPU, after pmm_init and cpu_init_boot: builds the tables and loads them. */
void vmm_init(void);

/*
 * On each further CPU: vmm_load() as early as one likes (nothing but the image and the HHDM is mapped
 * before), vmm_cpu_online() when cpu_this() works and the CPU can take interrupts or polls.  From
 * then on others wait for its acknowledgements; so between the two it must not free or keep using
 * memory that another CPU frees.
 */
void vmm_load(void);
void vmm_cpu_online(void);

/* Whole pages from the kernel heap, 2 MiB-aligned from 2 MiB on; NULL when there is no more. */
void *vmm_alloc(size_t bytes, uint32_t flags);
/* The whole of an allocation and nothing else: anything else is a panic with GMK_DEBUG, else it is
 * reported and left alone.  The frames can be reused when this returns. */
void vmm_free(void *p, size_t bytes);

/* A stack, zeroed, all of it there, with a guard page below: the address just above it, or NULL. */
void *vmm_stack_alloc(size_t bytes);
void vmm_stack_free(void *top, size_t bytes);

/*
 * Maps what is no memory: registers (VMM_UC), frame buffers (VMM_WC), shared-memory BARs and firmware
 * tables (VMM_WB, which may also lie in memory).  Any alignment.  NULL when the range is empty, wraps
 * or ends above the CPU's physical addresses, when it is memory and not VMM_WB, or without room.
 */
void *vmm_map_device(uint64_t phys, uint64_t bytes, enum vmm_cache cache);
void vmm_unmap_device(void *p, uint64_t bytes);

uint64_t vmm_phys(const void *p); /* any mapped address; 0 = not mapped */

/* From the #PF handler, interrupts off: true = the page was supplied, go on. */
bool vmm_fault(uint64_t addr, uint64_t error);
bool vmm_is_guard(uint64_t addr);

/* Walks all tables: pages that are writable and executable, or a second, writable mapping of the image's
 * code and constants, plus pages of the lower half. */
int vmm_check_wx(void);

/* The page-table entry that maps p (of the 4 KiB, 2 MiB or 1 GiB page); 0 = not mapped. */
uint64_t vmm_entry(const void *p);

/* From the 0xFD handler, and from every loop that spins with interrupts off (smp_poll). */
void vmm_shootdown_poll(void);

void vmm_stats(vmm_stats_t *s);

#endif
