/* SPDX-License-Identifier: MIT */
/*
 * spinlock.h — locks between CPUs, and between a CPU and its own interrupts.
 *
 * Any context except NMI and #MC, from the first line of C on.  spin_lock turns interrupts off and returns
 * the flags that spin_unlock puts back.  Held for a few hundred instructions at most, never across
 * anything that blocks.  Who comes first is served first (tickets), except in a virtual machine: there
 * the CPU whose turn it is may itself wait for a CPU of its host, so whoever runs takes a free lock.  While it spins it does what other
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

/* Once, on the boot CPU: finds out whether this is a virtual machine.  Locks work before it. */
void spin_init(void);

/* The same for who has interrupts off already and keeps them off. */
void spin_lock_raw(spinlock_t *l);
void spin_unlock_raw(spinlock_t *l);

#endif
