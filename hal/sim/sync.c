/* SPDX-License-Identifier: MIT */
/* sync.c — locks and park slots of the simulation HAL; misuse ends the run. */
#include "memory.h"

#define LOCK_MAGIC 0x6c6f636bu
#define PARK_MAGIC 0x7061726bu

static void check_lock(const gmk_hal_lock_t *l)
{
    if (l->magic != LOCK_MAGIC)
        sim_end("misuse", "a lock that is not initialised, or was destroyed");
}

void gmk_hal_lock_init(gmk_hal_lock_t *l)
{
    *l = (gmk_hal_lock_t){.magic = LOCK_MAGIC};
    sim_object_clear(l);
}

void gmk_hal_lock_acquire(gmk_hal_lock_t *l)
{
    struct sim_entry *e = sim_point(SIM_LOCK, l);
    uint32_t me = sim.current->id + 1;

    check_lock(l);
    if (l->owner == me)
        sim_end("misuse", "a lock is taken again by its owner");
    e->value = l->owner;
    while (l->owner != 0)
        sim_block(SIM_ON_LOCK, l, UINT64_MAX);
    check_lock(l);
    l->owner = me;
    sim_object_acquire(l);
}

void gmk_hal_lock_release(gmk_hal_lock_t *l)
{
    (void)sim_point(SIM_UNLOCK, l);
    check_lock(l);
    if (l->owner != sim.current->id + 1)
        sim_end("misuse", "a lock is released by somebody who does not hold it");
    l->owner = 0;
    sim_object_release(l);
    for (uint32_t i = 0; i < sim.n_fibers; i++) {
        struct sim_fiber *f = sim_fiber_at(i);
        if (f->state == SIM_ON_LOCK && f->waits_on == l)
            sim_make_runnable(f); /* they compete for it */
    }
    sim_wrote();
    sim_after();
}

void gmk_hal_lock_destroy(gmk_hal_lock_t *l)
{
    check_lock(l);
    if (l->owner != 0)
        sim_end("misuse", "a lock is destroyed while it is held");
    l->magic = 0;
}

static void check_park(const gmk_hal_park_t *p)
{
    if (p->magic != PARK_MAGIC)
        sim_end("misuse", "a park slot that is not initialised, or was destroyed");
}

void gmk_hal_park_init(gmk_hal_park_t *p)
{
    *p = (gmk_hal_park_t){.magic = PARK_MAGIC};
    sim_object_clear(p);
}

/* A spurious wake-up comes at once or after a while, in place of the wait. */
static bool spurious(struct sim_fiber *f, gmk_hal_park_t *p)
{
    if (!sim_fault_comes(SIM_FAULT_SPURIOUS, sim.options.spurious))
        return false;
    if (sim_chance(32768)) {
        p->waiter = f->id + 1;
        sim_block(SIM_ON_PARK, p, sim_due(1));
        p->waiter = 0;
    }
    return true;
}

bool gmk_hal_park_wait(gmk_hal_park_t *p, uint64_t timeout_ns)
{
    struct sim_entry *e = sim_point(SIM_PARK, p);
    struct sim_fiber *f = sim.current;

    check_park(p);
    if (p->waiter != 0)
        sim_end("misuse", "two threads wait on one park slot");
    e->value = p->token;
    bool woken = p->token != 0 || (timeout_ns != 0 && spurious(f, p));
    if (!woken && timeout_ns != 0) {
        p->waiter = f->id + 1;
        sim_block(SIM_ON_PARK, p, sim_due(timeout_ns));
        check_park(p);
        p->waiter = 0;
        e = sim_point(SIM_PARKED, p);
        e->value = woken = p->token != 0;
    }
    p->token = 0;
    if (woken)
        sim_object_acquire(p);
    return woken;
}

/* At once, or after a time of which the token is already a witness. */
static void rouse(struct sim_fiber *f)
{
    if (!sim_fault_comes(SIM_FAULT_DELAYED, sim.options.delayed))
        sim_make_runnable(f);
    else
        sim_due_by(f, sim_due(1 + sim_below(65536)));
}

void gmk_hal_park_wake(gmk_hal_park_t *p)
{
    struct sim_entry *e = sim_point(SIM_WAKE, p);

    check_park(p);
    e->value = p->waiter;
    p->token = 1;
    sim_object_release(p);
    if (p->waiter != 0 && sim_fiber_at(p->waiter - 1)->state == SIM_ON_PARK)
        rouse(sim_fiber_at(p->waiter - 1));
    sim_wrote();
    sim_after();
}

void gmk_hal_park_destroy(gmk_hal_park_t *p)
{
    check_park(p);
    if (p->waiter != 0)
        sim_end("misuse", "a park slot is destroyed while somebody waits on it");
    p->magic = 0;
}
