/* SPDX-License-Identifier: MIT */
/*
 * spinlock.h — locks between CPUs, and between a CPU and its own interrupts.
 *
 * Any context except NMI and #MC, from the first line of C on.  spin_lock turns interrupts off and returns
 * the flags that spin_unlock puts back.  Tickets: who comes first is served first.  Held for a few
 * hundred instructions at most, never across anything that blocks.  While it spins it does what other
 * CPUs wait for (smp_poll), so that a CPU that waits for an acknowledgement and one that waits for a
 * lock, both with interrupts off, do not wait for each other.
 *
 * Order: taking the lock reads `serving` with acquire, giving it up writes it with release.
 */
#ifndef ARCH_SPINLOCK_H
#define ARCH_SPINLOCK_H

#include <ggmk/hal.h>

typedef struct spinlock {
    gmk_a32_t next;    /* the ticket of who comes next */
    gmk_a32_t serving; /* the ticket that holds the lock */
} spinlock_t;

#define SPINLOCK_INIT                                                                                        \
    {                                                                                                        \
        {0}, { 0 }                                                                                           \
    }

uint64_t spin_lock(spinlock_t *l);
void spin_unlock(spinlock_t *l, uint64_t flags);

/* The same for who has interrupts off already and keeps them off. */
void spin_lock_raw(spinlock_t *l);
void spin_unlock_raw(spinlock_t *l);

#endif
