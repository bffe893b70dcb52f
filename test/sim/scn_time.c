/* SPDX-License-Identifier: MIT */
/* scn_time.c — spinning and virtual time. */
#include "scenarios.h"

static void set_later(void *arg)
{
    gmk_a32_t *flag = *(gmk_a32_t **)arg;
    for (uint32_t i = 0; i < sim_rand(20); i++)
        sim_yield();
    gmk_store32(flag, 1, GMK_REL, GMK_KERNEL);
}

static void await_flag(const gmk_a32_t *flag)
{
    for (uint32_t round = 0; gmk_load32(flag, GMK_ACQ, GMK_KERNEL) == 0; round++)
        gmk_hal_relax(round);
}

void scn_relax(void *arg)
{
    (void)arg;
    gmk_a32_t flag = {0}, *args[1] = {&flag};
    gmk_hal_thread_t t;

    sim_check(sim_thread_create(&t, "setter", 1, set_later, &args[0]) == 0);
    await_flag(&flag);
    gmk_hal_thread_join(&t);
    uint64_t until = gmk_hal_now_ns() + 20000;
    for (uint32_t round = 0; gmk_hal_now_ns() < until; round++)
        gmk_hal_relax(round);
    sim_check(sim_time() < until + 40000);
}

void scn_relax_forever(void *arg)
{
    (void)arg;
    gmk_a32_t flag = {0};
    await_flag(&flag);
}

static void undo(void *arg)
{
    gmk_a32_t *flag = *(gmk_a32_t **)arg;
    for (;;)
        (void)gmk_xchg32(flag, gmk_load32(flag, GMK_RLX, GMK_KERNEL) ^ 1, GMK_ACQ_REL, GMK_KERNEL);
}

void scn_busy_forever(void *arg)
{
    (void)arg;
    gmk_a32_t flag = {0}, *args[2] = {&flag, &flag};
    sim_options()->max_steps = 1000;
    scn_together(2, undo, args, sizeof args[0]);
}

struct sleeper {
    uint64_t minutes;
    gmk_a32_t *rank;
    uint32_t woke;
};

static void sleep_some(void *arg)
{
    struct sleeper *s = arg;
    sim_sleep(s->minutes * 60000000000u);
    s->woke = scn_inc(s->rank);
}

void scn_time(void *arg)
{
    (void)arg;
    gmk_a32_t rank = {0};
    struct sleeper s[3] = {{60, &rank, 0}, {1, &rank, 0}, {10, &rank, 0}};
    uint64_t start = gmk_hal_now_ns();

    scn_together(3, sleep_some, s, sizeof s[0]);
    sim_check(s[1].woke == 0 && s[2].woke == 1 && s[0].woke == 2);
    sim_check(gmk_hal_now_ns() - start >= 3600000000000u);
    sim_check(gmk_hal_now_ns() - start < 3600000001000u);
}

void scn_thread_left(void *arg)
{
    (void)arg;
    static gmk_a32_t flag;
    static gmk_a32_t *args[1] = {&flag};
    gmk_hal_thread_t t;
    sim_check(sim_thread_create(&t, "left", 1, set_later, &args[0]) == 0);
}
