/* SPDX-License-Identifier: MIT */
/*
 * timerq.h — queue of timers in exact order.
 *
 * Timers leave in ascending order of (key, order), whatever order they came in, also when one
 * comes that is earlier than those that have already left.  The queue is intrusive and has no
 * capacity: inserting cannot fail.  One thread at a time uses it; the caller holds a lock or a
 * flag.  A node must stay in place, its key and order unchanged, until it is popped.
 */
#ifndef GGMK_TIMERQ_H
#define GGMK_TIMERQ_H

#include "mpsc.h"

typedef struct gmk_tnode {
    gmk_link_t link; /* the queue's while the node is in it */
    uint64_t key;    /* when: nanoseconds or ticks, the smallest first */
    uint64_t order;  /* among equal keys: priority << 62 | a 62-bit number */
} gmk_tnode_t;

typedef struct gmk_timerq gmk_timerq_t;

/* Bytes of memory a queue needs, aligned to a cache line. */
size_t gmk_timerq_bytes(void);

/* Makes an empty queue in gmk_timerq_bytes() bytes at mem and returns it. */
gmk_timerq_t *gmk_timerq_init(void *mem);

/* Puts n into the queue: O(1), or O(log n) amortised for one earlier than the last to leave. */
void gmk_timerq_insert(gmk_timerq_t *q, gmk_tnode_t *n);

/* Stores the smallest key to *key; false when the queue is empty.  key may be NULL. */
bool gmk_timerq_min(const gmk_timerq_t *q, uint64_t *key);

/* Takes the first node if its key is at most `now`; else NULL. */
gmk_tnode_t *gmk_timerq_pop_due(gmk_timerq_t *q, uint64_t now);

/* Takes the first node whenever it is due; NULL when the queue is empty. */
gmk_tnode_t *gmk_timerq_pop(gmk_timerq_t *q);

uint64_t gmk_timerq_count(const gmk_timerq_t *q);

#endif
