/* SPDX-License-Identifier: MIT */
/*
 * pages.c — zeroed memory in one physical piece, so that devices can be given its address.
 *
 * From 2 MiB on it starts on a 2 MiB boundary: the direct map then covers it with large pages.
 */
#include <ggmk/hal.h>

#include "pmm.h"

#define PAGE ((size_t)4096)
#define LARGE_PAGES ((uint64_t)512)

static uint64_t pages_of(size_t bytes) { return bytes / PAGE + (bytes % PAGE != 0); }

void *gmk_hal_page_alloc(size_t bytes)
{
    uint64_t pages = pages_of(bytes);
    if (pages == 0)
        return NULL;
    uint64_t phys = pmm_alloc(pages, pages >= LARGE_PAGES ? LARGE_PAGES : 1);
    return phys != 0 ? gmk_hal_memset(phys_to_virt(phys), 0, pages * PAGE) : NULL;
}

void gmk_hal_page_free(void *p, size_t bytes)
{
    if (p != NULL)
        pmm_free(virt_to_phys(p), pages_of(bytes));
}
