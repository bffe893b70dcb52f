/* SPDX-License-Identifier: MIT */
#include <stddef.h>
#include "paging.h"

#define PRESENT 0x1ull
#define LARGE 0x80ull
#define ADDRESS 0x000ffffffffff000ull

static bool fits(const struct paging *p, uint32_t level, uint64_t virt, uint64_t phys, uint64_t length)
{
    uint64_t size = 1ull << (12 + 9 * level);
    if (level == 0)
        return true;
    if (level > 2 || (level == 2 && !p->gib_pages))
        return false;
    return ((virt | phys) & (size - 1)) == 0 && length >= size;
}

/* Maps one page at virt, as large as it can be; returns its size, 0: no memory for a table. */
static uint64_t map_one(struct paging *p, uint64_t virt, uint64_t phys, uint64_t length, uint64_t flags)
{
    uint64_t *table = p->root;
    for (uint32_t level = 3;; level--) {
        uint64_t *entry = &table[(virt >> (12 + 9 * level)) & 511];
        uint64_t size = 1ull << (12 + 9 * level);
        bool leaf = (*entry & PRESENT) != 0 && (level == 0 || (*entry & LARGE) != 0);
        if (leaf)
            return size - (virt & (size - 1));
        if ((*entry & PRESENT) == 0 && fits(p, level, virt, phys, length)) {
            *entry = phys | flags | PRESENT | (level > 0 ? LARGE : 0);
            return size;
        }
        if ((*entry & PRESENT) == 0) {
            void *page = p->alloc(p->ctx);
            if (page == NULL)
                return 0;
            *entry = (uint64_t)(uintptr_t)page | PAGING_WRITE | PRESENT;
        }
        table = (uint64_t *)(uintptr_t)(*entry & ADDRESS);
    }
}

bool paging_map(struct paging *p, uint64_t virt, uint64_t phys, uint64_t length, uint64_t flags)
{
    while (length > 0) {
        uint64_t step = map_one(p, virt, phys, length, flags);
        if (step == 0)
            return false;
        if (step >= length)
            return true;
        virt += step;
        phys += step;
        length -= step;
    }
    return true;
}
