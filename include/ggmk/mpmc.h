/* SPDX-License-Identifier: MIT */
/*
 * mpmc.h — bounded first-in first-out ring for many producers and many consumers.
 *
 * Any thread may push and pop.  No call waits for another: each answers full or empty at once.
 * The order of claims is the order of the queue, and each producer's order is kept.  It is not
 * lock-free: a producer or consumer that stops between its claim and its publication makes the
 * ring look full or empty, from that slot on, until it goes on.
 *
 * The size of an element is an argument of every call.  Pass a constant: the calls are inlined
 * and a copy becomes a few vector moves.  It must be the size the ring was initialised with.
 * Elements are aligned to 16, the caller's too: in the arrays of push_n and pop_n they lie
 * gmk_mpmc_pitch(elem) bytes apart, elem rounded up to 16, as in an array of a type so aligned.
 *
 * Algorithm: Vyukov 2010.  Each slot holds an element and, after it, a sequence number:
 *   seq == pos                slot is free for the push with number pos
 *   seq == pos + 1            it holds the element of that push
 *   seq == pos + capacity     it was popped, and is free for the push one lap later
 * Numbers are 64 bits wide and never wrap.
 *
 * Memory order.  Who fills a slot stores seq with release; who takes it loaded seq with acquire,
 * so it reads the whole element.  Who empties a slot stores seq with release; who fills it next
 * loaded seq with acquire, so the read was over.  head and tail only hand out numbers: whether a
 * claim is right is decided by the sequence numbers seen before it and by the compare-and-swap
 * that finds the index unchanged since; an index never returns to an old value.  So they are
 * relaxed, and a stale one costs a retry at most.
 */
#ifndef GGMK_MPMC_H
#define GGMK_MPMC_H

#include <ggmk/error.h>
#include <ggmk/hal.h>

typedef struct gmk_mpmc {
    _Alignas(GMK_CACHE_LINE) gmk_a64_t tail; /* pushes claimed */
    _Alignas(GMK_CACHE_LINE) gmk_a64_t head; /* pops claimed */
    _Alignas(GMK_CACHE_LINE) uint64_t mask;  /* capacity - 1 */
    unsigned char *base;
} gmk_mpmc_t;

#define GMK_MPMC_MAX 0x40000000u /* largest capacity */

/* Bytes from an element to its sequence number. */
static inline size_t gmk_mpmc_seq_at(size_t elem) { return (elem + 7) & ~(size_t)7; }

/* Bytes from element to element in the caller's arrays. */
static inline size_t gmk_mpmc_pitch(size_t elem) { return (elem + 15) & ~(size_t)15; }

/* Bytes from slot to slot: a whole cache line for elements of 41 to 56 bytes. */
static inline size_t gmk_mpmc_stride(size_t elem)
{
    return (gmk_mpmc_seq_at(elem) + sizeof(gmk_a64_t) + 15) & ~(size_t)15;
}

/* Bytes of memory a ring of `capacity` elements needs; 0 when that wraps. */
static inline size_t gmk_mpmc_bytes(uint32_t capacity, size_t elem)
{
    if (elem > SIZE_MAX / 2 || (capacity != 0 && gmk_mpmc_stride(elem) > SIZE_MAX / capacity))
        return 0;
    return (size_t)capacity * gmk_mpmc_stride(elem);
}

static inline unsigned char *gmk_mpmc_slot(const gmk_mpmc_t *r, uint64_t pos, size_t elem)
{
    return r->base + (size_t)(pos & r->mask) * gmk_mpmc_stride(elem);
}

static inline gmk_a64_t *gmk_mpmc_seq(unsigned char *slot, size_t elem)
{
    return (gmk_a64_t *)(void *)(slot + gmk_mpmc_seq_at(elem));
}

/*
 * Makes an empty ring over gmk_mpmc_bytes() bytes at mem, aligned to a cache line, which must
 * stay until the last call.  INVAL (null, elem 0, memory not aligned), RANGE (capacity is not a
 * power of two from 2 to GMK_MPMC_MAX, or its bytes wrap).
 */
static inline int gmk_mpmc_init(gmk_mpmc_t *r, void *mem, uint32_t capacity, size_t elem)
{
    if (r == NULL || mem == NULL || elem == 0 || ((uintptr_t)mem & (GMK_CACHE_LINE - 1)) != 0)
        return GMK_ERR_INVAL;
    if (capacity < 2 || capacity > GMK_MPMC_MAX || (capacity & (capacity - 1)) != 0 ||
        gmk_mpmc_bytes(capacity, elem) == 0)
        return GMK_ERR_RANGE;
    r->mask = capacity - 1;
    r->base = mem;
    gmk_store64(&r->tail, 0, GMK_RLX, GMK_KERNEL);
    gmk_store64(&r->head, 0, GMK_RLX, GMK_KERNEL);
    for (uint64_t i = 0; i < capacity; i++)
        gmk_store64(gmk_mpmc_seq(gmk_mpmc_slot(r, i, elem), elem), i, GMK_RLX, GMK_KERNEL);
    return GMK_OK;
}

/*
 * Claims the longest run of at most n slots from *index on whose sequence number is its own
 * position + `state` (0 = free, 1 = filled) with one compare-and-swap.  Returns its length and
 * stores its first position to *first; 0 = full or empty.
 */
static inline uint32_t gmk_mpmc_claim(gmk_mpmc_t *r, gmk_a64_t *index, uint64_t state, size_t elem,
                                      uint32_t n, uint64_t *first)
{
    uint64_t pos = gmk_load64(index, GMK_RLX, GMK_KERNEL);

    for (;;) {
        uint32_t ready = 0;
        uint64_t seq = 0;

        while (ready < n) {
            seq = gmk_load64(gmk_mpmc_seq(gmk_mpmc_slot(r, pos + ready, elem), elem), GMK_ACQ, GMK_KERNEL);
            if (seq != pos + ready + state)
                break;
            ready++;
        }
        if (ready != 0) {
            if (gmk_cas64(index, &pos, pos + ready, GMK_RLX, GMK_KERNEL)) {
                *first = pos;
                return ready;
            }
            continue; /* pos is the newer index */
        }
        if (n == 0 || (int64_t)(seq - (pos + state)) < 0)
            return 0;
        pos = gmk_load64(index, GMK_RLX, GMK_KERNEL); /* the slot is ahead: our index was stale */
    }
}

/* Pushes the first so many of n elements; returns how many, 0 = full. */
static inline uint32_t gmk_mpmc_push_n(gmk_mpmc_t *r, const void *e, size_t elem, uint32_t n)
{
    const unsigned char *from = e;
    uint64_t pos;
    uint32_t got = gmk_mpmc_claim(r, &r->tail, 0, elem, n, &pos);

    for (uint32_t i = 0; i < got; i++, pos++, from += gmk_mpmc_pitch(elem)) {
        unsigned char *slot = gmk_mpmc_slot(r, pos, elem);

        gmk_hal_memcpy(slot, from, elem);
        gmk_store64(gmk_mpmc_seq(slot, elem), pos + 1, GMK_REL, GMK_KERNEL);
    }
    return got;
}

/* Pops up to n elements; returns how many, 0 = empty. */
static inline uint32_t gmk_mpmc_pop_n(gmk_mpmc_t *r, void *e, size_t elem, uint32_t n)
{
    unsigned char *to = e;
    uint64_t pos;
    uint32_t got = gmk_mpmc_claim(r, &r->head, 1, elem, n, &pos);

    for (uint32_t i = 0; i < got; i++, pos++, to += gmk_mpmc_pitch(elem)) {
        unsigned char *slot = gmk_mpmc_slot(r, pos, elem);

        gmk_hal_memcpy(to, slot, elem);
        gmk_store64(gmk_mpmc_seq(slot, elem), pos + r->mask + 1, GMK_REL, GMK_KERNEL);
    }
    return got;
}

/*
 * Claims the slot of *index if its sequence number is its position + `state`, with one
 * compare-and-swap; its address, or NULL = full or empty.
 */
static inline unsigned char *gmk_mpmc_claim_one(gmk_mpmc_t *r, gmk_a64_t *index, uint64_t state, size_t elem,
                                                uint64_t *first)
{
    uint64_t pos = gmk_load64(index, GMK_RLX, GMK_KERNEL);

    for (;;) {
        unsigned char *slot = gmk_mpmc_slot(r, pos, elem);
        uint64_t seq = gmk_load64(gmk_mpmc_seq(slot, elem), GMK_ACQ, GMK_KERNEL);

        if (seq == pos + state) {
            if (gmk_cas64(index, &pos, pos + 1, GMK_RLX, GMK_KERNEL)) {
                *first = pos;
                return slot;
            }
        } else if ((int64_t)(seq - (pos + state)) < 0) {
            return NULL;
        } else {
            pos = gmk_load64(index, GMK_RLX, GMK_KERNEL);
        }
    }
}

/* false when the ring is full. */
static inline bool gmk_mpmc_push(gmk_mpmc_t *r, const void *e, size_t elem)
{
    uint64_t pos;
    unsigned char *slot = gmk_mpmc_claim_one(r, &r->tail, 0, elem, &pos);

    if (slot == NULL)
        return false;
    gmk_hal_memcpy(slot, e, elem);
    gmk_store64(gmk_mpmc_seq(slot, elem), pos + 1, GMK_REL, GMK_KERNEL);
    return true;
}

/* false when the ring is empty. */
static inline bool gmk_mpmc_pop(gmk_mpmc_t *r, void *e, size_t elem)
{
    uint64_t pos;
    unsigned char *slot = gmk_mpmc_claim_one(r, &r->head, 1, elem, &pos);

    if (slot == NULL)
        return false;
    gmk_hal_memcpy(e, slot, elem);
    gmk_store64(gmk_mpmc_seq(slot, elem), pos + r->mask + 1, GMK_REL, GMK_KERNEL);
    return true;
}

/* About how many elements are claimed and not popped: 0 .. capacity. */
static inline uint64_t gmk_mpmc_count(const gmk_mpmc_t *r)
{
    uint64_t head = gmk_load64(&r->head, GMK_ACQ, GMK_KERNEL);
    uint64_t tail = gmk_load64(&r->tail, GMK_ACQ, GMK_KERNEL);

    /* Pops between the loads make the difference too large; a tail that lags, negative. */
    if (tail <= head)
        return 0;
    return tail - head > r->mask + 1 ? r->mask + 1 : tail - head;
}

/*
 * true when nothing is in the ring.  An element whose push happened before this call and that
 * nobody popped is never missed; one that is claimed but not yet published counts as there.
 */
static inline bool gmk_mpmc_empty(const gmk_mpmc_t *r)
{
    uint64_t head = gmk_load64(&r->head, GMK_ACQ, GMK_KERNEL);

    return gmk_load64(&r->tail, GMK_ACQ, GMK_KERNEL) <= head;
}

#endif
