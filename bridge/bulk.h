/* SPDX-License-Identifier: MIT */
/*
 * bulk.h — the kernel's side of a copy engine, see ggmk/copier.h.
 *
 * Who orders keeps a ticket, and asks for it later.  Ticket 0 is none: it is always done.  All by the pump, or
 * with its lock.
 */
#ifndef GMK_BULK_H
#define GMK_BULK_H

#include <ggmk/copier.h>

typedef struct gmk_bulk {
    gmk_copier_t engine;
    uint64_t ordered, done; /* done: as last seen */
} gmk_bulk_t;

/* Is a payload of so many bytes for the engine? */
static inline bool gmk_bulk_takes(const gmk_bulk_t *b, uint64_t bytes)
{
    return b->engine.ring != NULL && bytes >= b->engine.least;
}

/* Orders a copy: its ticket, 0 = there are too many under way. */
uint64_t gmk_bulk_order(gmk_bulk_t *b, void *to, const void *from, uint64_t bytes);

/* Asked for every message, of which most have no ticket. */
static inline bool gmk_bulk_is_done(gmk_bulk_t *b, uint64_t ticket)
{
    if (__builtin_expect((int64_t)(b->done - ticket) < 0, 0))
        b->done = gmk_load64(&b->engine.done->n, GMK_ACQ, GMK_SYSTEM);
    return (int64_t)(b->done - ticket) >= 0;
}

static inline bool gmk_bulk_is_idle(gmk_bulk_t *b) { return gmk_bulk_is_done(b, b->ordered); }

#endif
