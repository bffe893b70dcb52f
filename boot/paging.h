/* SPDX-License-Identifier: MIT
 *
 * Builds four-level page tables (Intel SDM 3A, 4.5), with the largest pages that fit.  The tables are reached
 * at their physical addresses.
 */
#ifndef GMK_BOOT_PAGING_H
#define GMK_BOOT_PAGING_H

#include <stdbool.h>
#include <stdint.h>

#define PAGING_WRITE 0x2ull
#define PAGING_NO_EXEC (1ull << 63)

struct paging {
    uint64_t *root;
    bool gib_pages;
    void *(*alloc)(void *ctx); /* a page of zeros; NULL: no memory */
    void *ctx;
};

/* All three page-aligned.  What is mapped already, stays.  false: no memory for a table. */
bool paging_map(struct paging *p, uint64_t virt, uint64_t phys, uint64_t length, uint64_t flags);

#endif
