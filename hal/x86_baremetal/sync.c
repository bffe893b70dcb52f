/* SPDX-License-Identifier: MIT */
/*
 * sync.c — locks and park slots of the bare-metal HAL.
 *
 * A lock gives tickets; who waits for its turn lets other threads of its CPU run, because the holder may
 * be one of them.  A lock is never taken by an interrupt routine.
 *
 * A park slot is one word:
 *
 *   EMPTY     nobody waits and nobody has woken
 *   TOKEN     a wake came first; the next wait takes it and returns at once
 *   a thread  the owner sleeps, or is about to
 *
 * Order.  A wake is an acquire-release exchange to TOKEN, and a wait returns true only after it has taken
 * a TOKEN with acquire: all that came before the wake is seen after the wait.  No wake is lost: one that
 * finds the thread unblocks it, and an unblock before its block counts.  After the exchange the waker
 * touches the slot no more, so the owner may destroy it; the thread it found may have gone on by then, or
 * ended, which thread_unblock allows.
 */
#include <ggmk/hal.h>

#include "clock.h"
#include "panic.h"
#include "thread.h"

#define PARK_EMPTY 0u
#define PARK_TOKEN 1u

/* ---- locks ---------------------------------------------------------------------------------- */

void gmk_hal_lock_init(gmk_hal_lock_t *l)
{
    gmk_store32(&l->next, 0, GMK_RLX, GMK_KERNEL);
    gmk_store32(&l->serving, 0, GMK_REL, GMK_KERNEL);
}

void gmk_hal_lock_acquire(gmk_hal_lock_t *l)
{
    uint32_t ticket = gmk_add32(&l->next, 1, GMK_RLX, GMK_KERNEL);
    for (uint32_t round = 0; gmk_load32(&l->serving, GMK_ACQ, GMK_KERNEL) != ticket; round++)
        gmk_hal_relax(round);
}

void gmk_hal_lock_release(gmk_hal_lock_t *l)
{
    gmk_store32(&l->serving, gmk_load32(&l->serving, GMK_RLX, GMK_KERNEL) + 1, GMK_REL, GMK_KERNEL);
}

void gmk_hal_lock_destroy(gmk_hal_lock_t *l)
{
    if (gmk_load32(&l->serving, GMK_ACQ, GMK_KERNEL) != gmk_load32(&l->next, GMK_RLX, GMK_KERNEL))
        panic("ggmk: a lock was destroyed while held");
}

/* ---- park slots ----------------------------------------------------------------------------- */

static bool take_token(gmk_hal_park_t *p)
{
    uint64_t expected = PARK_TOKEN;
    return gmk_cas64(&p->word, &expected, PARK_EMPTY, GMK_ACQ, GMK_KERNEL);
}

static uint64_t deadline_after(uint64_t timeout_ns)
{
    uint64_t now = clock_now_ns();
    return timeout_ns < THREAD_NEVER - now ? now + timeout_ns : THREAD_NEVER;
}

void gmk_hal_park_init(gmk_hal_park_t *p) { gmk_store64(&p->word, PARK_EMPTY, GMK_REL, GMK_KERNEL); }

bool gmk_hal_park_wait(gmk_hal_park_t *p, uint64_t timeout_ns)
{
    uint64_t expected = PARK_EMPTY, me = (uint64_t)(uintptr_t)thread_self();

    if (take_token(p))
        return true;
    if (timeout_ns == 0)
        return false;
    uint64_t deadline = deadline_after(timeout_ns);
    if (!gmk_cas64(&p->word, &expected, me, GMK_REL, GMK_KERNEL))
        return take_token(p); /* only a wake can have changed the word */
    for (;;) {
        bool unblocked = thread_block(deadline);
        if (take_token(p))
            return true;
        if (!unblocked) /* a wake may have come since the look above */
            return gmk_xchg64(&p->word, PARK_EMPTY, GMK_ACQ, GMK_KERNEL) == PARK_TOKEN;
    }
}

void gmk_hal_park_wake(gmk_hal_park_t *p)
{
    uint64_t before = gmk_xchg64(&p->word, PARK_TOKEN, GMK_ACQ_REL, GMK_KERNEL);
    if (before != PARK_EMPTY && before != PARK_TOKEN)
        thread_unblock((thread_t *)(uintptr_t)before);
}

void gmk_hal_park_destroy(gmk_hal_park_t *p) { (void)p; }
