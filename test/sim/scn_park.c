/* SPDX-License-Identifier: MIT */
/* scn_park.c — park slots: tokens, hand-over, timeouts, and the lost wake they exist to prevent. */
#include "scenarios.h"

#define ROUNDS 10u

struct pair {
    gmk_hal_park_t here, there;
    gmk_a32_t turn;
    uint32_t plain;
};

static void init(struct pair *p)
{
    *p = (struct pair){.plain = 0};
    gmk_hal_park_init(&p->here);
    gmk_hal_park_init(&p->there);
}

void scn_park_token(void *arg)
{
    (void)arg;
    struct pair p;

    sim_options()->spurious = 0;
    init(&p);
    gmk_hal_park_wake(&p.here);
    gmk_hal_park_wake(&p.here);
    sim_check(gmk_hal_park_wait(&p.here, GMK_HAL_FOREVER));
    sim_check(!gmk_hal_park_wait(&p.here, 0));
    uint64_t start = sim_time();
    sim_check(!gmk_hal_park_wait(&p.here, 1000));
    sim_check(sim_time() - start == 1000);
    gmk_hal_park_wake(&p.there);
    sim_check(gmk_hal_park_wait(&p.there, 0));
    gmk_hal_park_destroy(&p.here);
    gmk_hal_park_destroy(&p.there);
}

/* Waits until it is `me`'s turn: a return from the park alone proves nothing. */
static void await_turn(struct pair *p, uint32_t me, gmk_hal_park_t *slot, uint64_t timeout)
{
    while (gmk_load32(&p->turn, GMK_ACQ, GMK_KERNEL) != me)
        (void)gmk_hal_park_wait(slot, timeout);
}

static void other_side(void *arg)
{
    struct pair *p = arg;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        await_turn(p, 1, &p->there, GMK_HAL_FOREVER);
        p->plain++;
        gmk_store32(&p->turn, 0, GMK_REL, GMK_KERNEL);
        gmk_hal_park_wake(&p->here);
    }
}

static void hand_over(uint64_t timeout)
{
    struct pair p;
    gmk_hal_thread_t t;

    init(&p);
    sim_check(sim_thread_create(&t, "other", 1, other_side, &p) == 0);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        await_turn(&p, 0, &p.here, timeout);
        sim_check(p.plain == i);
        gmk_store32(&p.turn, 1, GMK_REL, GMK_KERNEL);
        gmk_hal_park_wake(&p.there);
    }
    gmk_hal_thread_join(&t);
    sim_check(p.plain == ROUNDS);
}

void scn_park_data(void *arg)
{
    (void)arg;
    hand_over(GMK_HAL_FOREVER);
}

void scn_park_timeout(void *arg)
{
    (void)arg;
    sim_options()->early_timeout = 4096;
    hand_over(100);
}

/* Wrong: says that it sleeps only after it has looked. */
static void careless_sleeper(void *arg)
{
    struct pair *p = arg;
    if (gmk_load32(&p->turn, GMK_ACQ, GMK_KERNEL) == 0) {
        gmk_store32(&p->turn, 2, GMK_RLX, GMK_KERNEL);
        while (gmk_load32(&p->turn, GMK_ACQ, GMK_KERNEL) != 1)
            (void)gmk_hal_park_wait(&p->there, GMK_HAL_FOREVER);
    }
}

void scn_park_lost_wake(void *arg)
{
    (void)arg;
    struct pair p;
    gmk_hal_thread_t t;

    init(&p);
    sim_check(sim_thread_create(&t, "sleeper", 1, careless_sleeper, &p) == 0);
    if (gmk_xchg32(&p.turn, 1, GMK_ACQ_REL, GMK_KERNEL) == 2)
        gmk_hal_park_wake(&p.there);
    gmk_hal_thread_join(&t);
}
