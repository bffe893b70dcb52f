/* SPDX-License-Identifier: MIT */
/* Whatever floods the kernel, a task of priority 0 starts within two gathers of a worker. */
#include "harness.h"

enum { T_PROBE = 1, T_RESPAWN, T_YIELD, T_TIMER, T_FORK };

#define PROBES 100u
static atomic_uint stop, floods, probes, alive;
static atomic_ullong probe_batch;

static int probe_run(gmk_ctx_t *c)
{
    gmk_stats_t s;
    (void)gmk_stats(c->kernel, &s);
    atomic_store(&probe_batch, s.batches);
    atomic_fetch_add(&probes, 1);
    return GMK_OK;
}

static int respawn_run(gmk_ctx_t *c)
{
    gmk_task_t next = *c->task;
    atomic_fetch_add(&floods, 1);
    if (atomic_load(&stop) == 0)
        (void)gmk_emit(c, &next);
    return GMK_OK;
}

static int yield_run(gmk_ctx_t *c)
{
    atomic_fetch_add(&floods, 1);
    return atomic_load(&stop) == 0 ? gmk_yield(c) : GMK_OK;
}

static int timer_run(gmk_ctx_t *c)
{
    gmk_task_t next = *c->task;
    atomic_fetch_add(&floods, 1);
    if (atomic_load(&stop) == 0)
        (void)gmk_emit_after(c, &next, c->task->meta1 % 5000);
    return GMK_OK;
}

/* Two for one up to 5000 of them: the local queue is always full, and the others spill. */
static int fork_run(gmk_ctx_t *c)
{
    gmk_task_t next[2] = {*c->task, *c->task};
    atomic_fetch_add(&floods, 1);
    uint32_t want = atomic_load(&stop) != 0 ? 0 : atomic_load(&alive) < 5000 ? 2 : 1;
    int got = gmk_emit_n(c, next, want);
    atomic_fetch_add(&alive, (uint32_t)got - 1);
    return GMK_OK;
}

static const gmk_handler_reg_t handlers[] = {
    {.type = T_PROBE, .fn = probe_run},
    {.type = T_RESPAWN, .fn = respawn_run},
    {.type = T_YIELD, .fn = yield_run, .max_yields = GMK_YIELDS_UNLIMITED},
    {.type = T_TIMER, .fn = timer_run},
    {.type = T_FORK, .fn = fork_run},
};

/* The batch in which the probe ran is at most the second after the one under way when it was queued. */
static void probe(kit_t *t)
{
    gmk_task_t task = {.type = T_PROBE, .flags = GMK_PRIO_0};
    uint32_t before = atomic_load(&probes);
    assert_int_equal(gmk_submit(&t->k, &task), GMK_OK);
    uint64_t queued = kit_stats(t).batches;
    KIT_WAIT(atomic_load(&probes) == before + 1);
    uint64_t started = atomic_load(&probe_batch);
    if (started > queued + 2)
        fail_msg("queued in batch %llu, started in batch %llu", (unsigned long long)queued,
                 (unsigned long long)started);
}

static void flooded(uint32_t type, uint32_t tasks, uint32_t lq_slots)
{
    gmk_boot_cfg_t cfg = kit_cfg(1);
    kit_t t;
    cfg.lq_slots = lq_slots;
    cfg.task_max = 6000;
    atomic_store(&stop, 0);
    atomic_store(&floods, 0);
    KIT_BOOT(&t, cfg, handlers);
    for (uint32_t i = 0; i < tasks; i++) {
        gmk_task_t task = {.type = type, .flags = GMK_PRIO_3, .meta1 = i};
        assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    }
    for (uint32_t i = 0; i < PROBES; i++) {
        uint32_t so_far = atomic_load(&floods);
        probe(&t);
        KIT_WAIT(atomic_load(&floods) - so_far > 100); /* the flood goes on */
    }
    atomic_store(&stop, 1);
    kit_end(&t);
}

static void a_self_respawning_flood_holds_nobody_up(void **state)
{
    (void)state;
    flooded(T_RESPAWN, 2000, 256);
}

static void a_local_queue_flood_holds_nobody_up(void **state)
{
    (void)state;
    flooded(T_YIELD, 1000, 4096);
}

static void a_timer_storm_holds_nobody_up(void **state)
{
    (void)state;
    flooded(T_TIMER, 2000, 256);
}

static void a_flood_that_spills_holds_nobody_up(void **state)
{
    (void)state;
    atomic_store(&alive, 1);
    flooded(T_FORK, 1, 256);
}

/* Priorities of what a worker finds in its queues: the order in which single tasks begin. */
static uint8_t began[64];
static atomic_uint n_began;
static kit_gate_t gate;

static int note_run(gmk_ctx_t *c)
{
    uint32_t i = atomic_fetch_add(&n_began, 1);
    if (i < sizeof began)
        began[i] = (uint8_t)(c->task->flags & GMK_PRIO_MASK);
    return GMK_OK;
}

static void the_most_urgent_task_starts_first(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = 1, .fn = note_run}, {.type = 2, .fn = kit_gate_run}};
    gmk_boot_cfg_t cfg = kit_cfg(1);
    kit_t t;
    (void)state;
    atomic_store(&n_began, 0);
    KIT_BOOT(&t, cfg, h);
    kit_gate_shut(&t, &gate, 2, 1);
    for (uint32_t i = 0; i < 8; i++) {
        gmk_task_t task = {.type = 1, .flags = (uint16_t)(3 - i / 2)};
        assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    }
    kit_gate_open(&gate);
    kit_drain(&t);
    assert_int_equal(atomic_load(&n_began), 8);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(began[i], i / 2);
    kit_end(&t);
}

/* With a flood at every level none starves. */
static atomic_uint level_ran[4];

static int level_run(gmk_ctx_t *c)
{
    gmk_task_t next = *c->task;
    atomic_fetch_add(&level_ran[c->task->flags & GMK_PRIO_MASK], 1);
    if (atomic_load(&stop) == 0)
        (void)gmk_emit(c, &next);
    return GMK_OK;
}

static void floods_of_all_priorities_share(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = 1, .fn = level_run}};
    kit_t t;
    (void)state;
    atomic_store(&stop, 0);
    KIT_BOOT(&t, kit_cfg(1), h);
    for (uint32_t i = 0; i < 400; i++) {
        gmk_task_t task = {.type = 1, .flags = (uint16_t)(i & 3)};
        assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    }
    for (uint32_t p = 0; p < 4; p++)
        KIT_WAIT(atomic_load(&level_ran[p]) > 2000);
    atomic_store(&stop, 1);
    kit_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_self_respawning_flood_holds_nobody_up),
        cmocka_unit_test(a_local_queue_flood_holds_nobody_up),
        cmocka_unit_test(a_timer_storm_holds_nobody_up),
        cmocka_unit_test(a_flood_that_spills_holds_nobody_up),
        cmocka_unit_test(the_most_urgent_task_starts_first),
        cmocka_unit_test(floods_of_all_priorities_share),
    };
    return cmocka_run_group_tests_name("sched_prio", tests, NULL, NULL);
}
