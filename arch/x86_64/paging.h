/* SPDX-License-Identifier: MIT */
/*
 * paging.h — the page tables themselves: building, loading, looking up, walking.
 *
 * For pmm.c, vmm*.c and shootdown.c; everyone else uses vmm.h.  Tables are only ever added, never
 * given back, and every entry is one atomic word, so looking up takes no lock and works in the
 * page-fault handler.  Four levels, Intel SDM 3A §4.5.
 */
#ifndef GMK_X86_PAGING_H
#define GMK_X86_PAGING_H

#include <ggmk/hal.h>

#include "kprintf.h"
#include "panic.h"

/* The address space: HHDM from somewhere here up to PAGING_DYNAMIC ... */
#define PAGING_UPPER 0xffff800000000000ull
/* ... heap, stacks and devices in this one PML4 slot, and the image in the last one. */
#define PAGING_DYNAMIC 0xffffff0000000000ull
#define PAGING_DYNAMIC_END 0xffffff8000000000ull

#define PAGE_SIZE 4096ull
#define PAGE_LARGE ((uint64_t)2 << 20)

#define PTE_PRESENT ((uint64_t)1 << 0)
#define PTE_WRITE ((uint64_t)1 << 1)
#define PTE_PWT ((uint64_t)1 << 3)
#define PTE_PCD ((uint64_t)1 << 4)
#define PTE_ACCESSED ((uint64_t)1 << 5)
#define PTE_DIRTY ((uint64_t)1 << 6)
#define PTE_LARGE ((uint64_t)1 << 7)      /* in a PDPTE or PDE */
#define PTE_PAT ((uint64_t)1 << 7)        /* in a PTE */
#define PTE_PAT_LARGE ((uint64_t)1 << 12) /* in a PDPTE or PDE with PTE_LARGE */
#define PTE_NX ((uint64_t)1 << 63)
#define PTE_FRAME 0x000ffffffffff000ull

/* Bits the CPU ignores: of present entries FIRST and LAST, of others all. */
#define PTE_DEMAND ((uint64_t)1 << 9) /* not present: supply a frame at the first touch */
#define PTE_GUARD ((uint64_t)1 << 10) /* not present, on purpose */
#define PTE_DYING ((uint64_t)1 << 11) /* not present any more, but its frame is not yet free */
#define PTE_FIRST ((uint64_t)1 << 52) /* first page of an allocation */
#define PTE_LAST ((uint64_t)1 << 53)  /* its last */

/* Present data: accessed and dirty from the start, so that the CPU never has to write the entry. */
#define PTE_RO_DATA (PTE_PRESENT | PTE_ACCESSED | PTE_DIRTY | PTE_NX)
#define PTE_DATA (PTE_RO_DATA | PTE_WRITE)
#define PTE_CODE (PTE_PRESENT | PTE_ACCESSED)

/*
 * PAT entries as the Limine protocol leaves them, so that nothing changes under a mapping in use:
 * 0 WB, 1 WT, 2 UC-, 3 UC, 4 WP, 5 WC (Intel SDM 3A §11.12).
 */
#define PAGING_PAT 0x0000010500070406ull
#define PTE_UC (PTE_PCD | PTE_PWT) /* PAT entry 3 */
#define PTE_WC (PTE_PAT | PTE_PWT) /* PAT entry 5; paging_map moves the bit for large pages */

/* A mistake of the kernel: fatal where it is being debugged, else said and survived. */
#ifdef GMK_DEBUG
#define PAGING_BUG(fmt, ...) panic(fmt, __VA_ARGS__)
#else
#define PAGING_BUG(fmt, ...) kprintf(fmt "\n", __VA_ARGS__)
#endif

typedef gmk_a64_t pte_t;

void paging_init(void);           /* boot CPU: builds the tables of image and HHDM; does not load them */
void paging_load(void);           /* any CPU: NX, write protection, PAT, CR3 */
uint64_t paging_phys_limit(void); /* first physical address the CPU does not have */

/* The 4 KiB entry of va.  make: adds the tables on the way.  NULL: no table, a larger page, no memory. */
pte_t *paging_entry(uint64_t va, bool make);

/*
 * Maps [va, va + bytes) to [pa, ...), all multiples of 4 KiB, with the largest pages that fit and are
 * not above `level` (1: 4 KiB, 2: 2 MiB, 3: 1 GiB).  False: no memory for a table, or something is
 * mapped there; the part before it is then mapped.
 */
bool paging_map(uint64_t va, uint64_t pa, uint64_t bytes, uint64_t flags, unsigned level);
/* Clears the entries of the pages in the range, whatever their size; no shoot-down. */
void paging_unmap(uint64_t va, uint64_t bytes);

/* The entry that maps va, of a page of any size, and that size; 0 = not mapped. */
uint64_t paging_lookup(uint64_t va, uint64_t *size);
uint64_t paging_phys(uint64_t va); /* 0 = not mapped */
/* The same in tables that another PML4 heads. */
uint64_t paging_translate(uint64_t top, uint64_t va);
/* The physical address of our PML4, made at the first call; 0 = no memory. */
uint64_t paging_root(void);

void paging_zero(void *page); /* 4 KiB, without the library */
uint64_t paging_tables(void); /* frames used for tables */

/* Every present page of the address space, with the permissions of all levels put together. */
typedef void paging_visit_fn(void *arg, uint64_t va, uint64_t size, uint64_t entry);
void paging_walk(paging_visit_fn *visit, void *arg);
/* Whether any of this memory is the image's code or constants: no mapping may write there. */
bool paging_is_fixed(uint64_t phys, uint64_t bytes);

#endif
