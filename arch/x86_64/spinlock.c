/* SPDX-License-Identifier: MIT */
/* spinlock.c — ticket locks with interrupts off; spinlock.h says what they guarantee. */
#include "spinlock.h"

#include "cpu.h"
#include "smp.h"

void spin_lock_raw(spinlock_t *l)
{
    uint32_t ticket = gmk_add32(&l->next, 1, GMK_RLX, GMK_KERNEL);
    while (gmk_load32(&l->serving, GMK_ACQ, GMK_KERNEL) != ticket) {
        cpu_pause();
        smp_poll();
    }
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
