/* SPDX-License-Identifier: MIT */
/*
 * copier.h — how a copy engine serves a bridge: orders in a ring, a word that says how many are done.
 *
 * An engine copies large payloads without the kernel's workers.  It may be a GPU's copy engine, driven by the process
 * that owns the GPU; a DMA unit; or a thread.  An end of a bridge may be lent one for each direction
 * (gmk_bridge_cfg_t.copy_out, .copy_in): payloads of `least` bytes and more are then ordered from it, several at a
 * time, and small messages go by meanwhile.
 *
 * The kernel orders, the engine serves; each is ONE thread.  Orders are done in the order they came in: order number
 * n, from 0, is done when the word is more than n.  Ring and word are zero at first, and stay until the bridge has
 * been destroyed.  The bridge waits for all it has ordered before gmk_bridge_down returns: an engine serves every
 * order, or ends together with the kernel.
 *
 * ORDERING, at system scope: every word has one writer.  An order is written by plain stores and then counted in
 * `ordered` with release; the engine loads that with acquire.  What was copied is made visible by the release of
 * `done`, which the kernel loads with acquire; the order's place is the kernel's again then.
 */
#ifndef GGMK_COPIER_H
#define GGMK_COPIER_H

#include <ggmk/bridge.h>
#include <ggmk/hal.h>

#define GMK_COPIES 32u /* orders under way at most, a power of two */

/* Addresses are the kernel's; the two ranges do not overlap. */
typedef struct gmk_copy {
    uint64_t to, from, bytes;
} gmk_copy_t;

typedef struct gmk_copy_ring {
    _Alignas(GMK_CACHE_LINE) gmk_a64_t ordered; /* by the kernel, ever */
    _Alignas(GMK_CACHE_LINE) gmk_copy_t order[GMK_COPIES];
} gmk_copy_ring_t;

typedef struct gmk_copy_done {
    _Alignas(GMK_CACHE_LINE) gmk_a64_t n; /* by the engine, ever */
} gmk_copy_done_t;

/* The engine: is order number n there?  Then it is copied to *out. */
static inline bool gmk_copier_next(const gmk_copier_t *c, uint64_t n, gmk_copy_t *out)
{
    if ((int64_t)(gmk_load64(&c->ring->ordered, GMK_ACQ, GMK_SYSTEM) - n) <= 0)
        return false;
    *out = c->ring->order[n & (GMK_COPIES - 1)];
    return true;
}

/* The engine: n orders are done, ever. */
static inline void gmk_copier_did(const gmk_copier_t *c, uint64_t n)
{
    gmk_store64(&c->done->n, n, GMK_REL, GMK_SYSTEM);
}

#endif
