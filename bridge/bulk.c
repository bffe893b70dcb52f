/* SPDX-License-Identifier: MIT */
#include "bulk.h"

uint64_t gmk_bulk_order(gmk_bulk_t *b, void *to, const void *from, uint64_t bytes)
{
    gmk_copy_ring_t *ring = b->engine.ring;
    if (b->ordered >= GMK_COPIES && !gmk_bulk_is_done(b, b->ordered - GMK_COPIES + 1))
        return 0;
    ring->order[b->ordered & (GMK_COPIES - 1)] = (gmk_copy_t){
        .to = (uint64_t)(uintptr_t)to, .from = (uint64_t)(uintptr_t)from, .bytes = bytes};
    gmk_store64(&ring->ordered, ++b->ordered, GMK_REL, GMK_SYSTEM);
    if (b->engine.wake != NULL)
        b->engine.wake(b->engine.arg);
    return b->ordered;
}
