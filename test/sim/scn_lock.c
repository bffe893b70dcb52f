/* SPDX-License-Identifier: MIT */
/* scn_lock.c — locks: exclusion, and the two ways to wait for ever. */
#include "scenarios.h"

struct shared {
    gmk_hal_lock_t a, b;
    uint32_t inside, total;
};

static void enter_often(void *arg)
{
    struct shared *s = *(struct shared **)arg;
    for (uint32_t i = 0; i < 6; i++) {
        gmk_hal_lock_acquire(&s->a);
        sim_check(s->inside == 0);
        s->inside = 1;
        sim_yield();
        s->inside = 0;
        s->total++;
        gmk_hal_lock_release(&s->a);
    }
}

static void init(struct shared *s)
{
    *s = (struct shared){.total = 0};
    gmk_hal_lock_init(&s->a);
    gmk_hal_lock_init(&s->b);
}

void scn_lock(void *arg)
{
    (void)arg;
    struct shared s, *args[4] = {&s, &s, &s, &s};
    init(&s);
    scn_together(4, enter_often, args, sizeof args[0]);
    sim_check(s.total == 24);
    gmk_hal_lock_destroy(&s.a);
    gmk_hal_lock_destroy(&s.b);
}

static void take_both(void *arg)
{
    gmk_hal_lock_t **l = arg;
    gmk_hal_lock_acquire(l[0]);
    gmk_hal_lock_acquire(l[1]);
    gmk_hal_lock_release(l[1]);
    gmk_hal_lock_release(l[0]);
}

void scn_lock_order(void *arg)
{
    (void)arg;
    struct shared s;
    init(&s);
    gmk_hal_lock_t *args[2][2] = {{&s.a, &s.b}, {&s.b, &s.a}};
    scn_together(2, take_both, args, sizeof args[0]);
}

void scn_lock_twice(void *arg)
{
    (void)arg;
    struct shared s;
    init(&s);
    gmk_hal_lock_acquire(&s.a);
    gmk_hal_lock_acquire(&s.a);
}
