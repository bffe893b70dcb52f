/* SPDX-License-Identifier: MIT */
/* spinlock.c — ticket locks with interrupts off; spinlock.h says what they guarantee. */
#include "spinlock.h"

#include "cpu.h"
#include "smp.h"

#define CPUID_HYPERVISOR (1u << 31)

static bool unfair;

void spin_init(void)
{
    uint32_t a, b, c, d;
    cpuid(1, 0, &a, &b, &c, &d);
    unfair = (c & CPUID_HYPERVISOR) != 0;
}

/* `serving` never passes `next`: if `next` still is what `serving` was, the lock is free, and it is ours. */
static bool take_free(spinlock_t *l)
{
    uint32_t serving = gmk_load32(&l->serving, GMK_ACQ, GMK_KERNEL);
    return gmk_load32(&l->next, GMK_RLX, GMK_KERNEL) == serving &&
           gmk_cas32(&l->next, &serving, serving + 1, GMK_ACQ, GMK_KERNEL);
}

static void lock_unfair(spinlock_t *l)
{
    while (!take_free(l)) {
        cpu_pause();
        smp_poll();
    }
}

static void lock_in_turn(spinlock_t *l)
{
    uint32_t ticket = gmk_add32(&l->next, 1, GMK_RLX, GMK_KERNEL);
    while (gmk_load32(&l->serving, GMK_ACQ, GMK_KERNEL) != ticket) {
        cpu_pause();
        smp_poll();
    }
}

void spin_lock_raw(spinlock_t *l)
{
    if (unfair)
        lock_unfair(l);
    else
        lock_in_turn(l);
}

void spin_unlock_raw(spinlock_t *l)
{
    /* Only the holder writes it, so this is no read-modify-write. */
    gmk_store32(&l->serving, gmk_load32(&l->serving, GMK_RLX, GMK_KERNEL) + 1, GMK_REL, GMK_KERNEL);
}

uint64_t spin_lock(spinlock_t *l)
{
    uint64_t flags = irq_save();
    spin_lock_raw(l);
    return flags;
}

void spin_unlock(spinlock_t *l, uint64_t flags)
{
    spin_unlock_raw(l);
    irq_restore(flags);
}
