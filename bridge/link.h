/* SPDX-License-Identifier: MIT */
/*
 * link.h — the two ends of a ring of 64-byte slots between kernels.
 *
 * One producer and one consumer, each in its own kernel; no word of the ring is written by both.  The
 * producer fills slots, and then publishes any number of them at once; the consumer sees how many are
 * there, copies them, and gives them back at once.
 *
 * ORDERING, at system scope.  Bodies are plain stores.  Publishing is one release fence and then a relaxed
 * store of each commit word; seeing is a relaxed load of each commit word and then one acquire fence: the
 * fences synchronise over any commit that was seen (C11 7.17.4), so a body is whole once its commit is.  One
 * fence serves many slots, because on a GPU a release store at system scope is a fence of its own.
 * Giving back is the same the other way round: bodies are read, then `head` is stored with release; the producer
 * loads it with acquire before it writes there again.
 *
 * A commit word is epoch << 32 | lap, and the lap of a slot changes each time round, so a slot needs no
 * clearing.  The consumer takes the lap it expects and waits while the one before stands there; anything else,
 * another epoch included, comes from a peer that is out of its mind.
 */
#ifndef GMK_LINK_H
#define GMK_LINK_H

#include "region.h"

typedef struct gmk_link_out {
    gmk_region_slot_t *slots;
    const gmk_a64_t *head; /* the consumer's: taken so far */
    uint64_t tail;         /* published */
    uint64_t head_seen;
    uint32_t filled; /* written behind tail, not published */
    uint32_t mask, shift;
    uint32_t epoch;
} gmk_link_out_t;

typedef struct gmk_link_in {
    gmk_region_slot_t *slots;
    gmk_a64_t *head; /* ours */
    uint64_t next;   /* taken */
    uint32_t mask, shift;
    uint32_t epoch;
    bool broken; /* a commit word that nobody in his senses writes */
} gmk_link_in_t;

static inline uint64_t gmk_link_commit(uint32_t epoch, uint64_t index, uint32_t shift)
{
    return (uint64_t)epoch << 32 | (uint32_t)((index >> shift) + 1);
}

/* slots: a power of two. */
static inline void gmk_link_out_init(gmk_link_out_t *l, gmk_region_slot_t *slots, uint32_t n,
                                     const gmk_a64_t *head, uint32_t epoch)
{
    *l = (gmk_link_out_t){
        .slots = slots, .head = head, .mask = n - 1, .shift = (uint32_t)__builtin_ctz(n), .epoch = epoch};
}

static inline void gmk_link_in_init(gmk_link_in_t *l, gmk_region_slot_t *slots, uint32_t n, gmk_a64_t *head,
                                    uint32_t epoch)
{
    *l = (gmk_link_in_t){
        .slots = slots, .head = head, .mask = n - 1, .shift = (uint32_t)__builtin_ctz(n), .epoch = epoch};
}

/* ---- producer ------------------------------------------------------------------------------ */

/*
 * Slots that may still be filled: looks at the peer's word only when it knows of fewer than `want`.  A peer that
 * says it took what was never published is not believed.
 */
static inline uint32_t gmk_link_room(gmk_link_out_t *l, uint32_t want)
{
    uint64_t used = l->tail + l->filled - l->head_seen;
    if (l->mask + 1 - used < want) {
        uint64_t head = gmk_load64(l->head, GMK_ACQ, GMK_SYSTEM);
        if (head - l->head_seen <= l->tail - l->head_seen)
            l->head_seen = head;
        used = l->tail + l->filled - l->head_seen;
    }
    return l->mask + 1 - (uint32_t)used;
}

/* The next slot to fill; there is room. */
static inline gmk_region_slot_t *gmk_link_fill(gmk_link_out_t *l)
{
    return &l->slots[(l->tail + l->filled++) & l->mask];
}

/* Makes all filled slots visible; returns how many. */
static inline uint32_t gmk_link_publish(gmk_link_out_t *l)
{
    uint32_t n = l->filled;
    if (n == 0)
        return 0;
    gmk_fence(GMK_REL, GMK_SYSTEM);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t at = l->tail + i;
        gmk_store64(&l->slots[at & l->mask].commit, gmk_link_commit(l->epoch, at, l->shift), GMK_RLX,
                    GMK_SYSTEM);
    }
    l->tail += n;
    l->filled = 0;
    return n;
}

/* Has the consumer taken all that was published? */
static inline bool gmk_link_is_idle(gmk_link_out_t *l)
{
    (void)gmk_link_room(l, l->mask + 1);
    return l->tail == l->head_seen;
}

/* ---- consumer ------------------------------------------------------------------------------ */

enum gmk_link_look { GMK_LINK_EMPTY, GMK_LINK_READY, GMK_LINK_BROKEN };

/* What the commit word of the i-th slot to come says; it orders nothing. */
static inline enum gmk_link_look gmk_link_look(const gmk_link_in_t *l, uint32_t i)
{
    uint64_t at = l->next + i;
    uint64_t commit = gmk_load64(&l->slots[at & l->mask].commit, GMK_RLX, GMK_SYSTEM);
    if (commit == gmk_link_commit(l->epoch, at, l->shift))
        return GMK_LINK_READY;
    uint64_t before = at <= l->mask ? 0 /* a slot begins as zero */
                                    : gmk_link_commit(l->epoch, at - l->mask - 1, l->shift);
    return commit == before ? GMK_LINK_EMPTY : GMK_LINK_BROKEN;
}

/* How many slots can be read, at most max.  Sets `broken`. */
static inline uint32_t gmk_link_ready(gmk_link_in_t *l, uint32_t max)
{
    uint32_t n = 0;
    enum gmk_link_look look = GMK_LINK_READY;
    while (n < max && (look = gmk_link_look(l, n)) == GMK_LINK_READY)
        n++;
    l->broken |= look == GMK_LINK_BROKEN;
    if (n != 0)
        gmk_fence(GMK_ACQ, GMK_SYSTEM);
    return n;
}

/* The i-th of those: to be copied once, whatever is in it. */
static inline const gmk_region_slot_t *gmk_link_slot(const gmk_link_in_t *l, uint32_t i)
{
    return &l->slots[(l->next + i) & l->mask];
}

/* Copies a body, each word once: what the peer does to it meanwhile is seen by nobody. */
static inline void gmk_link_copy(void *to, const gmk_region_slot_t *slot)
{
    uint64_t words[6];
    for (uint32_t i = 0; i < 6; i++)
        words[i] = gmk_hal_once64(&slot->body[i]);
    gmk_hal_memcpy(to, words, sizeof words);
}

/* n slots were copied: they are the producer's again. */
static inline void gmk_link_took(gmk_link_in_t *l, uint32_t n)
{
    l->next += n;
    gmk_store64(l->head, l->next, GMK_REL, GMK_SYSTEM);
}

#endif
