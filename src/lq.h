/* SPDX-License-Identifier: MIT */
/*
 * lq.h — the local queue of one worker: a FIFO ring that its owner fills and empties and that
 * other workers steal from.
 *
 * Who may call: push and pop are the owner's (ONE lane); steal is any other worker's; empty is
 * anybody's.  Indices are 32 bits and wrap.
 *
 * The head word holds two indices (the scheme of the Tokio runtime's queue): `real`, the next
 * task to take, and `steal`, the oldest slot a thief may still be copying.  They differ only
 * while one thief copies, and then no other thief starts.
 *   - A taker, owner or thief, moves `real` by CAS before it copies: every slot is taken once.
 *   - A thief leaves `steal` behind until its copy is done; the owner reuses only slots before
 *     `steal`.  So nothing is overwritten while it is read.
 * Orders: the owner's store-release of tail publishes the slots to the thief's load-acquire.
 * The thief's release of `steal` hands the copied slots back to the owner's load-acquire of
 * head in push.  The owner's own pop copies what it wrote itself.
 *
 * The last quarter of the ring is for yielded tasks, so that a flood of new work cannot push a
 * running task's continuation out to the shared queues.
 */
#ifndef GMK_LQ_H
#define GMK_LQ_H

#include "core.h"

static inline uint32_t gmk_lq_real(uint64_t head) { return (uint32_t)head; }
static inline uint32_t gmk_lq_steal(uint64_t head) { return (uint32_t)(head >> 32); }
static inline uint64_t gmk_lq_pack(uint32_t steal, uint32_t real) { return (uint64_t)steal << 32 | real; }

static inline void gmk_lq_init(gmk_lq_t *q, gmk_slot_t *slots, uint32_t capacity)
{
    gmk_store64(&q->head, 0, GMK_RLX, GMK_KERNEL);
    gmk_store32(&q->tail, 0, GMK_RLX, GMK_KERNEL);
    q->seen = 0;
    q->mask = capacity - 1;
    q->soft = capacity - capacity / 4;
    q->low = 0;
    q->slots = slots;
}

/* False when the ring (without the reserve, unless `reserve`) is full. */
static inline bool gmk_lq_push(gmk_lq_t *q, const gmk_task_t *t, uint64_t stamp, bool reserve)
{
    uint32_t tail = gmk_load32(&q->tail, GMK_RLX, GMK_KERNEL);
    uint32_t room = reserve ? q->mask + 1 : q->soft;
    if (GMK_UNLIKELY(tail - q->seen >= room)) {
        q->seen = gmk_lq_steal(gmk_load64(&q->head, GMK_ACQ, GMK_KERNEL));
        if (tail - q->seen >= room)
            return false;
    }
    gmk_slot_t *s = &q->slots[tail & q->mask];
    gmk_task_move(&s->task, t);
    s->stamp = stamp;
    gmk_store32(&q->tail, tail + 1, GMK_REL, GMK_KERNEL);
    return true;
}

/* Tasks queued, as the owner sees it. */
static inline uint32_t gmk_lq_count(const gmk_lq_t *q)
{
    return gmk_load32(&q->tail, GMK_RLX, GMK_KERNEL) - gmk_lq_real(gmk_load64(&q->head, GMK_RLX, GMK_KERNEL));
}

/* Anybody: is there something to steal?  The head is read first, so the difference is never negative. */
static inline bool gmk_lq_empty(const gmk_lq_t *q)
{
    uint32_t real = gmk_lq_real(gmk_load64(&q->head, GMK_ACQ, GMK_KERNEL));
    return (int32_t)(gmk_load32(&q->tail, GMK_ACQ, GMK_KERNEL) - real) <= 0;
}

uint32_t gmk_lq_pop(gmk_lq_t *q, gmk_slot_t *out, uint32_t max);

/* Takes half of what is there (at least one), at most max.  0: nothing, or another thief is at it. */
uint32_t gmk_lq_steal_half(gmk_lq_t *victim, gmk_slot_t *out, uint32_t max);

#endif
