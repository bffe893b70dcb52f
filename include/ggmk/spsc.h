/* SPDX-License-Identifier: MIT */
/*
 * spsc.h — bounded first-in first-out ring for one producer and one consumer.
 *
 * One thread of execution pushes, one pops; they may be the same, and either role may be handed
 * on by anything that orders the old holder before the new one.  count may be asked by any
 * thread.  No call waits, retries or fails for another reason than full or empty.
 *
 * The size of an element is an argument of every call.  Pass a constant: the calls are inlined
 * and a copy becomes a few moves.  It must be the size the ring was initialised with.
 *
 * Each side keeps its own index and a copy of the other's on its own cache line, and looks at
 * the other's line only when the copy says full or empty (Lee, Bu and Chandranmenon 2009).
 *
 * Memory order.  The producer fills slots and then stores tail with release; the consumer loads
 * tail with acquire and then reads the slots: it sees whole elements.  The consumer empties
 * slots and then stores head with release; the producer loads head with acquire and then
 * overwrites the slots: it never overwrites one that is still being read.  The index a side owns
 * is written by nobody else, so it reads its own with relaxed order.
 */
#ifndef GGMK_SPSC_H
#define GGMK_SPSC_H

#include <ggmk/error.h>
#include <ggmk/hal.h>

typedef struct gmk_spsc {
    /* producer */
    _Alignas(GMK_CACHE_LINE) gmk_a32_t tail; /* elements ever pushed, modulo 2^32 */
    uint32_t head_seen;                      /* head when the producer last looked */
    /* consumer */
    _Alignas(GMK_CACHE_LINE) gmk_a32_t head; /* elements ever popped, modulo 2^32 */
    uint32_t tail_seen;
    /* constant */
    _Alignas(GMK_CACHE_LINE) uint32_t mask; /* capacity - 1 */
    uint32_t reserved;
    unsigned char *base;
} gmk_spsc_t;

#define GMK_SPSC_MAX 0x40000000u /* largest capacity */

/* Bytes of memory a ring of `capacity` elements needs; 0 when that wraps. */
static inline size_t gmk_spsc_bytes(uint32_t capacity, size_t elem)
{
    return elem != 0 && capacity > SIZE_MAX / elem ? 0 : (size_t)capacity * elem;
}

/*
 * Makes an empty ring over gmk_spsc_bytes() bytes at mem, which must be aligned as the elements
 * are (a cache line is best) and stay until the last call.  INVAL (null, elem 0), RANGE
 * (capacity is not a power of two from 2 to GMK_SPSC_MAX, or its bytes wrap).
 */
static inline int gmk_spsc_init(gmk_spsc_t *r, void *mem, uint32_t capacity, size_t elem)
{
    if (r == NULL || mem == NULL || elem == 0)
        return GMK_ERR_INVAL;
    if (capacity < 2 || capacity > GMK_SPSC_MAX || (capacity & (capacity - 1)) != 0 ||
        gmk_spsc_bytes(capacity, elem) == 0)
        return GMK_ERR_RANGE;
    gmk_store32(&r->tail, 0, GMK_RLX, GMK_KERNEL);
    gmk_store32(&r->head, 0, GMK_RLX, GMK_KERNEL);
    r->head_seen = 0;
    r->tail_seen = 0;
    r->mask = capacity - 1;
    r->reserved = 0;
    r->base = mem;
    return GMK_OK;
}

/* Address of the slot with number `index`. */
static inline void *gmk_spsc_slot(const gmk_spsc_t *r, uint32_t index, size_t elem)
{
    return r->base + (size_t)(index & r->mask) * elem;
}

/* Producer: false when the ring is full. */
static inline bool gmk_spsc_push(gmk_spsc_t *r, const void *e, size_t elem)
{
    uint32_t tail = gmk_load32(&r->tail, GMK_RLX, GMK_KERNEL);

    if (tail - r->head_seen > r->mask) {
        r->head_seen = gmk_load32(&r->head, GMK_ACQ, GMK_KERNEL);
        if (tail - r->head_seen > r->mask)
            return false;
    }
    gmk_hal_memcpy(gmk_spsc_slot(r, tail, elem), e, elem);
    gmk_store32(&r->tail, tail + 1, GMK_REL, GMK_KERNEL);
    return true;
}

/* Consumer: false when the ring is empty. */
static inline bool gmk_spsc_pop(gmk_spsc_t *r, void *e, size_t elem)
{
    uint32_t head = gmk_load32(&r->head, GMK_RLX, GMK_KERNEL);

    if (head == r->tail_seen) {
        r->tail_seen = gmk_load32(&r->tail, GMK_ACQ, GMK_KERNEL);
        if (head == r->tail_seen)
            return false;
    }
    gmk_hal_memcpy(e, gmk_spsc_slot(r, head, elem), elem);
    gmk_store32(&r->head, head + 1, GMK_REL, GMK_KERNEL);
    return true;
}

/* Slots from the one with number `index` to the end of the memory, at most n. */
static inline uint32_t gmk_spsc_straight(const gmk_spsc_t *r, uint32_t index, uint32_t n)
{
    uint32_t to_end = r->mask + 1 - (index & r->mask);

    return n < to_end ? n : to_end;
}

/* Producer: pushes the first so many of n elements; returns how many, 0 = full. */
static inline uint32_t gmk_spsc_push_n(gmk_spsc_t *r, const void *e, size_t elem, uint32_t n)
{
    uint32_t tail = gmk_load32(&r->tail, GMK_RLX, GMK_KERNEL);
    uint32_t room = r->mask + 1 - (tail - r->head_seen);
    uint32_t part;

    if (room < n) {
        r->head_seen = gmk_load32(&r->head, GMK_ACQ, GMK_KERNEL);
        room = r->mask + 1 - (tail - r->head_seen);
        n = n < room ? n : room;
    }
    if (n == 0)
        return 0;
    part = gmk_spsc_straight(r, tail, n);
    gmk_hal_memcpy(gmk_spsc_slot(r, tail, elem), e, part * elem);
    if (part < n)
        gmk_hal_memcpy(r->base, (const unsigned char *)e + part * elem, (n - part) * elem);
    gmk_store32(&r->tail, tail + n, GMK_REL, GMK_KERNEL);
    return n;
}

/* Consumer: pops up to n elements; returns how many, 0 = empty. */
static inline uint32_t gmk_spsc_pop_n(gmk_spsc_t *r, void *e, size_t elem, uint32_t n)
{
    uint32_t head = gmk_load32(&r->head, GMK_RLX, GMK_KERNEL);
    uint32_t ready = r->tail_seen - head;
    uint32_t part;

    if (ready < n) {
        r->tail_seen = gmk_load32(&r->tail, GMK_ACQ, GMK_KERNEL);
        ready = r->tail_seen - head;
        n = n < ready ? n : ready;
    }
    if (n == 0)
        return 0;
    part = gmk_spsc_straight(r, head, n);
    gmk_hal_memcpy(e, gmk_spsc_slot(r, head, elem), part * elem);
    if (part < n)
        gmk_hal_memcpy((unsigned char *)e + part * elem, r->base, (n - part) * elem);
    gmk_store32(&r->head, head + n, GMK_REL, GMK_KERNEL);
    return n;
}

/*
 * Elements in the ring.  Exact for the producer as an upper bound and for the consumer as a
 * lower one; an estimate for anybody else.  Never more than the capacity.
 */
static inline uint32_t gmk_spsc_count(const gmk_spsc_t *r)
{
    uint32_t head = gmk_load32(&r->head, GMK_ACQ, GMK_KERNEL);
    uint32_t used = gmk_load32(&r->tail, GMK_ACQ, GMK_KERNEL) - head;

    /* A pop between the two loads makes `used` too large; a tail that lags wraps it. */
    if ((int32_t)used < 0)
        return 0;
    return used > r->mask + 1 ? r->mask + 1 : used;
}

#endif
