/* SPDX-License-Identifier: MIT */
/*
 * bump.h — scratch memory of one worker, given back all at once.
 *
 * alloc: any lane of the owning worker.  init and clear: one lane, while no other allocates.
 * Every block is 16-aligned; NULL means the region is exhausted, and nothing has changed.
 */
#ifndef GMK_BUMP_H
#define GMK_BUMP_H

#include <ggmk/hal.h>

#define GMK_BUMP_ALIGN 16u

typedef struct gmk_bump {
    unsigned char *base; /* 16-aligned */
    uint64_t size;       /* bytes from base, a multiple of 16 */
    gmk_a64_t off;       /* bytes handed out; never above size */
} gmk_bump_t;

/* Takes the aligned part of [base, base + size); it may be empty. */
static inline void gmk_bump_init(gmk_bump_t *b, void *base, uint64_t size)
{
    uint64_t skip = (0u - (uint64_t)(uintptr_t)base) & (GMK_BUMP_ALIGN - 1);
    if (skip > size)
        skip = size;
    b->base = (unsigned char *)base + skip;
    b->size = (size - skip) & ~(uint64_t)(GMK_BUMP_ALIGN - 1);
    gmk_store64(&b->off, 0, GMK_RLX, GMK_WORKER);
}

/*
 * A size of 0 is answered with NULL.  The lanes of a worker claim disjoint ranges; nobody reads
 * what another wrote through this word, so relaxed order is enough.  A compare-and-swap, not an
 * add: a request that does not fit must leave the room to a smaller one.
 */
static inline void *gmk_bump_alloc(gmk_bump_t *b, uint64_t size)
{
    uint64_t off = gmk_load64(&b->off, GMK_RLX, GMK_WORKER);
    uint64_t need;
    do {
        if (size - 1 >= b->size - off) /* also when size is 0 */
            return NULL;
        need = (size + GMK_BUMP_ALIGN - 1) & ~(uint64_t)(GMK_BUMP_ALIGN - 1);
    } while (!gmk_cas64(&b->off, &off, off + need, GMK_RLX, GMK_WORKER));
    return b->base + off;
}

static inline void gmk_bump_clear(gmk_bump_t *b) { gmk_store64(&b->off, 0, GMK_RLX, GMK_WORKER); }

#endif
