/* SPDX-License-Identifier: MIT */
/*
 * mpsc.h — intrusive first-in first-out queue for many producers and one consumer.
 *
 * Any thread pushes; it never waits or fails, and needs one exchange, for a chain too.  One
 * consumer at a time pops; the role may be handed on by anything that orders the old consumer
 * before the new one (a lock or flag the caller holds).  empty may be asked by any thread.
 *
 * Algorithm: Vyukov's intrusive node-based queue.  A push takes two steps: it exchanges the
 * tail, and links the node it got from there to its own.  Between the two the nodes behind are
 * in the queue but out of reach: pop then says NULL, and empty still says false.
 *
 * Memory order.  The exchange is acquire-release: its release part publishes the node's own
 * cleared link to whoever pushes behind it and links it, and its acquire part is the partner of
 * that.  The store that links is a release; the consumer loads links with acquire, so it sees
 * what the producer wrote to the node, and to every node of a chain, before pushing.
 */
#ifndef GGMK_MPSC_H
#define GGMK_MPSC_H

#include <ggmk/hal.h>

/* A node's link to the next one: an address, 0 = none.  Touched only through the HAL. */
typedef struct gmk_link {
    gmk_a64_t next;
} gmk_link_t;

typedef struct gmk_mpsc {
    _Alignas(GMK_CACHE_LINE) gmk_a64_t tail; /* producers: the node pushed last */
    _Alignas(GMK_CACHE_LINE) gmk_a64_t head; /* consumer: the node to pop next, or the dummy */
    gmk_link_t dummy;                        /* keeps the list from ever being empty */
} gmk_mpsc_t;

static inline uint64_t gmk_link_word(const gmk_link_t *n) { return (uint64_t)(uintptr_t)n; }

static inline gmk_link_t *gmk_link_at(uint64_t word) { return (gmk_link_t *)(uintptr_t)word; }

static inline void gmk_mpsc_init(gmk_mpsc_t *q)
{
    gmk_store64(&q->dummy.next, 0, GMK_RLX, GMK_KERNEL);
    gmk_store64(&q->tail, gmk_link_word(&q->dummy), GMK_RLX, GMK_KERNEL);
    gmk_store64(&q->head, gmk_link_word(&q->dummy), GMK_RLX, GMK_KERNEL);
}

/*
 * Pushes first .. last, in this order.  The caller has linked them to each other with relaxed
 * stores; last's link is set here.  Nobody comes between them.
 */
static inline void gmk_mpsc_push_chain(gmk_mpsc_t *q, gmk_link_t *first, gmk_link_t *last)
{
    uint64_t before;

    gmk_store64(&last->next, 0, GMK_RLX, GMK_KERNEL);
    before = gmk_xchg64(&q->tail, gmk_link_word(last), GMK_ACQ_REL, GMK_KERNEL);
    gmk_store64(&gmk_link_at(before)->next, gmk_link_word(first), GMK_REL, GMK_KERNEL);
}

static inline void gmk_mpsc_push(gmk_mpsc_t *q, gmk_link_t *n) { gmk_mpsc_push_chain(q, n, n); }

/* Consumer: moves the head to the node behind n, if it is in reach, and returns n; else NULL. */
static inline gmk_link_t *gmk_mpsc_advance(gmk_mpsc_t *q, gmk_link_t *n)
{
    uint64_t next = gmk_load64(&n->next, GMK_ACQ, GMK_KERNEL);

    if (next == 0)
        return NULL;
    gmk_store64(&q->head, next, GMK_RLX, GMK_KERNEL);
    return n;
}

/* Consumer: the oldest node, or NULL (empty, or a producer is between its two steps). */
static inline gmk_link_t *gmk_mpsc_pop(gmk_mpsc_t *q)
{
    gmk_link_t *n = gmk_link_at(gmk_load64(&q->head, GMK_RLX, GMK_KERNEL));

    if (n == &q->dummy) {
        if (gmk_mpsc_advance(q, n) == NULL)
            return NULL;
        n = gmk_link_at(gmk_load64(&q->head, GMK_RLX, GMK_KERNEL));
    }
    if (gmk_mpsc_advance(q, n) != NULL)
        return n;
    /* n is the last in reach.  When it is the last of all, the dummy goes behind it. */
    if (gmk_load64(&q->tail, GMK_RLX, GMK_KERNEL) != gmk_link_word(n))
        return NULL;
    gmk_mpsc_push(q, &q->dummy);
    return gmk_mpsc_advance(q, n);
}

/*
 * Any thread: true when nothing is in the queue.  A node whose push happened before this call
 * and that was not popped is never missed.  The dummy is the tail only after every node before it
 * was pushed, and storing it there was a release made when the head was a node: the acquire load
 * lets us see at least that head, so a head that is the dummy means those nodes are gone.
 */
static inline bool gmk_mpsc_empty(const gmk_mpsc_t *q)
{
    uint64_t dummy = gmk_link_word(&q->dummy);

    return gmk_load64(&q->tail, GMK_ACQ, GMK_KERNEL) == dummy &&
           gmk_load64(&q->head, GMK_RLX, GMK_KERNEL) == dummy;
}

#endif
