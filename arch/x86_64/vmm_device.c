/* SPDX-License-Identifier: MIT */
/*
 * vmm_device.c — mappings of device memory, uncached, write-combining or write-back.
 *
 * Address space is handed out in pieces of 2 MiB, and a mapping keeps its physical address modulo that,
 * so that large BARs get large pages and what lies beside a small one is unmapped.
 */
#include "vmm_device.h"

#include "paging.h"
#include "pmm.h"
#include "shootdown.h"
#include "vmm.h"
#include "vmm_space.h"

#define DEVICE_BASE (PAGING_DYNAMIC + ((uint64_t)256 << 30))
#define DEVICE_PIECES (((uint64_t)128 << 30) / PAGE_LARGE)

static uint64_t device_words[RUNS_WORDS(DEVICE_PIECES)];
static space_t devices = {.base = DEVICE_BASE,
                          .page = PAGE_LARGE,
                          .pages = DEVICE_PIECES,
                          .words = device_words,
                          .lock = SPINLOCK_INIT};
static gmk_a64_t maps;

/*
 * Small mappings take single pieces from below, where they leave page tables behind; large ones look from
 * half way up, where they find none and get large pages.
 */
void vmm_device_init(void)
{
    space_init(&devices);
    devices.runs.next = DEVICE_PIECES / 2;
}

void vmm_device_stats(uint64_t *mappings, uint64_t *pieces)
{
    uint64_t largest;

    *mappings = gmk_load64(&maps, GMK_RLX, GMK_KERNEL);
    space_stats(&devices, pieces, &largest);
}

/* A mapping: the pages that hold the bytes, and the pieces of address space that hold the pages. */
typedef struct extent {
    uint64_t offset; /* of the first byte in its piece */
    uint64_t pages;  /* bytes of whole pages */
    uint64_t pieces;
} extent_t;

static extent_t extent_of(uint64_t address, uint64_t bytes)
{
    uint64_t offset = address % PAGE_LARGE, within = address % PAGE_SIZE;
    return (extent_t){.offset = offset,
                      .pages = (within + bytes + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1),
                      .pieces = (offset + bytes + PAGE_LARGE - 1) / PAGE_LARGE};
}

static bool allowed(uint64_t phys, uint64_t bytes, enum vmm_cache cache)
{
    uint64_t limit = paging_phys_limit();
    return bytes > 0 && phys < limit && bytes <= limit - phys &&
           (cache == VMM_WB || !pmm_is_ram(phys, bytes));
}

static uint64_t flags_of(enum vmm_cache cache)
{
    return PTE_DATA | (cache == VMM_UC ? PTE_UC : cache == VMM_WC ? PTE_WC : 0);
}

void *vmm_map_device(uint64_t phys, uint64_t bytes, enum vmm_cache cache)
{
    extent_t e;
    uint64_t piece, page;

    if (!allowed(phys, bytes, cache))
        return NULL;
    e = extent_of(phys, bytes);
    piece = space_take(&devices, e.pieces, 1, 0);
    if (piece == 0)
        return NULL;
    page = piece + (e.offset & ~(PAGE_SIZE - 1));
    if (!paging_map(page, phys & ~(PAGE_SIZE - 1), e.pages, flags_of(cache), 2)) {
        paging_unmap(page, e.pages);
        shootdown(page, e.pages / PAGE_SIZE);
        space_give(&devices, piece, e.pieces);
        return NULL;
    }
    gmk_add64(&maps, 1, GMK_RLX, GMK_KERNEL);
    return (void *)(uintptr_t)(piece + e.offset);
}

void vmm_unmap_device(void *p, uint64_t bytes)
{
    uint64_t va = (uint64_t)(uintptr_t)p, size;
    extent_t e = extent_of(va, bytes);
    uint64_t page = va & ~(PAGE_SIZE - 1), piece = va & ~(PAGE_LARGE - 1);

    if (!space_holds(&devices, va) || bytes == 0 || bytes > DEVICE_PIECES * PAGE_LARGE ||
        !paging_lookup(page, &size) || !paging_lookup(page + e.pages - PAGE_SIZE, &size)) {
        PAGING_BUG("vmm: unmapping %llu bytes of a device at %p, where they are not mapped",
                   (unsigned long long)bytes, p);
        return;
    }
    paging_unmap(page, e.pages);
    shootdown(page, e.pages / PAGE_SIZE);
    space_give(&devices, piece, e.pieces);
    gmk_sub64(&maps, 1, GMK_RLX, GMK_KERNEL);
}
