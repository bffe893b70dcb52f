/* SPDX-License-Identifier: MIT */
/* Tasks that become ready at a time or at a tick. */
#include "harness.h"

enum { T_NOTE = 1, T_GATE, T_AGAIN };

#define MANY 2000u
static struct {
    atomic_uint n;
    uint32_t index[MANY];
    uint64_t at[MANY];
} fired;
static kit_gate_t gate;

/* meta1: index.  One worker at a time in these tests, or only the number counts. */
static int note_run(gmk_ctx_t *c)
{
    uint32_t i = atomic_load(&fired.n);
    if (i < MANY) {
        fired.index[i] = (uint32_t)c->task->meta1;
        fired.at[i] = kit_now();
    }
    atomic_store(&fired.n, i + 1);
    return GMK_OK;
}

/* Emits itself again, meta1 times. */
static int again_run(gmk_ctx_t *c)
{
    gmk_task_t next = *c->task;
    atomic_fetch_add(&fired.n, 1);
    if (next.meta1-- != 0)
        (void)gmk_emit_after(c, &next, 20000);
    return GMK_OK;
}

static const gmk_handler_reg_t handlers[] = {
    {.type = T_NOTE, .fn = note_run},
    {.type = T_GATE, .fn = kit_gate_run},
    {.type = T_AGAIN, .fn = again_run},
};

static gmk_task_t noted(uint32_t index, uint32_t prio)
{
    return (gmk_task_t){.type = T_NOTE, .flags = (uint16_t)prio, .meta1 = index};
}

static void boot(kit_t *t, uint32_t workers)
{
    gmk_boot_cfg_t cfg = kit_cfg(workers);
    cfg.lq_slots = 4096; /* fired timers stay in one queue, so their order can be seen */
    atomic_store(&fired.n, 0);
    KIT_BOOT(t, cfg, handlers);
}

static void timers_fire_in_exact_order_and_never_early(void **state)
{
    static uint64_t due[MANY], latest[MANY]; /* the kernel's own reading lies between */
    uint64_t seed = 12345;
    kit_t t;
    (void)state;
    boot(&t, 1);
    for (uint32_t i = 0; i < MANY; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX generator */
        uint64_t ns = 10 * KIT_MS + (seed >> 33) % 2000 * 10000;
        gmk_task_t task = noted(i, 0);
        due[i] = kit_now() + ns;
        assert_int_equal(gmk_submit_after(&t.k, &task, ns), GMK_OK);
        latest[i] = kit_now() + ns;
    }
    KIT_WAIT(atomic_load(&fired.n) == MANY);
    for (uint32_t i = 0; i < MANY; i++) {
        assert_true(fired.at[i] >= due[fired.index[i]]);
        if (i > 0 && latest[fired.index[i]] < due[fired.index[i - 1]])
            fail_msg("timer %u fired after a later one", fired.index[i]);
    }
    assert_int_equal(kit_stats(&t).timers, 0);
    kit_end(&t);
}

static void equal_times_keep_the_order_of_the_calls(void **state)
{
    kit_t t;
    (void)state;
    boot(&t, 1);
    for (uint32_t i = 0; i < 1500; i++) { /* one key: a tick */
        gmk_task_t task = noted(i, i < 500 ? 2 : i < 1000 ? 0 : 1);
        assert_int_equal(gmk_submit_at(&t.k, &task, 3), GMK_OK);
    }
    assert_int_equal(gmk_tick_advance(&t.k), 1);
    assert_int_equal(gmk_tick_advance(&t.k), 2);
    kit_drain(&t);
    assert_int_equal(atomic_load(&fired.n), 0);
    kit_conserved(&t, 1500);
    assert_int_equal(kit_stats(&t).timers, 1500);
    assert_int_equal(gmk_tick_advance(&t.k), 3);
    KIT_WAIT(atomic_load(&fired.n) == 1500);
    for (uint32_t i = 0; i < 1500; i++) /* by priority, then by number */
        assert_int_equal(fired.index[i], i < 500 ? 500 + i : i < 1000 ? 500 + i : i - 1000);
    kit_end(&t);
}

static void a_tick_that_has_begun_fires_at_once(void **state)
{
    kit_t t;
    (void)state;
    boot(&t, 2);
    for (uint32_t i = 0; i < 5; i++)
        (void)gmk_tick_advance(&t.k);
    const uint32_t tick[] = {5, 4, 0, (uint32_t)-100};
    for (uint32_t i = 0; i < 4; i++) {
        gmk_task_t task = noted(i, 0);
        assert_int_equal(gmk_submit_at(&t.k, &task, tick[i]), GMK_OK);
        KIT_WAIT(atomic_load(&fired.n) == i + 1);
    }
    kit_end(&t);
}

static void a_time_of_zero_fires_at_once_and_the_end_of_time_never(void **state)
{
    kit_t t;
    (void)state;
    boot(&t, 2);
    gmk_task_t task = noted(1, 0);
    assert_int_equal(gmk_submit_after(&t.k, &task, UINT64_MAX), GMK_OK);
    assert_int_equal(gmk_submit_after(&t.k, &task, UINT64_MAX - 1), GMK_OK);
    assert_int_equal(gmk_submit_after(&t.k, &task, 0), GMK_OK);
    KIT_WAIT(atomic_load(&fired.n) == 1);
    kit_drain(&t);
    kit_conserved(&t, 2);
    gmk_halt_report_t r;
    assert_int_equal(gmk_halt_within(&t.k, KIT_PATIENCE, &r), GMK_OK);
    assert_int_equal(r.completed, 1);
    assert_int_equal(r.dropped, 2);
}

static void an_earlier_timer_wakes_an_idle_kernel(void **state)
{
    kit_t t;
    (void)state;
    boot(&t, 4);
    gmk_task_t late = noted(2, 0), soon = noted(1, 0);
    assert_int_equal(gmk_submit_after(&t.k, &late, 60000 * KIT_MS), GMK_OK); /* the halt drops it */
    for (uint32_t i = 0; i < 20; i++) {
        atomic_store(&fired.n, 0);
        KIT_WAIT(kit_stats(&t).parked == 4);
        uint64_t begin = kit_now();
        assert_int_equal(gmk_submit_after(&t.k, &soon, KIT_MS), GMK_OK);
        KIT_WAIT(atomic_load(&fired.n) == 1);
        assert_int_equal(fired.index[0], 1);
        assert_true(fired.at[0] - begin >= KIT_MS);
    }
    kit_drain(&t);
    kit_conserved(&t, 1);
    assert_int_equal(gmk_halt(&t.k), GMK_OK);
}

static void timers_fire_while_all_workers_but_one_are_busy(void **state)
{
    gmk_boot_cfg_t cfg = kit_cfg(3);
    kit_t t;
    (void)state;
    atomic_store(&fired.n, 0);
    cfg.watchdog_ns = 10 * KIT_MS;
    KIT_BOOT(&t, cfg, handlers);
    KIT_WAIT(kit_stats(&t).parked == 3);
    gmk_task_t task = noted(1, 0);
    assert_int_equal(gmk_submit_after(&t.k, &task, 30 * KIT_MS), GMK_OK);
    kit_gate_shut(&t, &gate, T_GATE, 2); /* whoever kept the timer may be among them */
    KIT_WAIT(atomic_load(&fired.n) == 1);
    kit_gate_open(&gate);
    kit_end(&t);
}

static void chains_of_timers_all_come_to_their_end(void **state)
{
    gmk_boot_cfg_t cfg = kit_cfg(4);
    kit_t t;
    (void)state;
    atomic_store(&fired.n, 0);
    KIT_BOOT(&t, cfg, handlers);
    for (uint32_t i = 0; i < 200; i++) {
        gmk_task_t task = {.type = T_AGAIN, .meta1 = 49};
        assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    }
    KIT_WAIT(atomic_load(&fired.n) == 200 * 50);
    kit_end(&t);
}

static void deterministic_tasks_know_no_time(void **state)
{
    kit_t t;
    (void)state;
    boot(&t, 1);
    gmk_task_t task = noted(1, 0);
    task.flags |= GMK_TASK_DETERMINISTIC;
    assert_int_equal(gmk_submit_after(&t.k, &task, 1), GMK_ERR_UNSUPPORTED);
    assert_int_equal(kit_stats(&t).refused, 1);
    kit_end(&t);
}

static void empty_ticks_cost_no_memory(void **state)
{
    kit_t t;
    gmk_mem_stats_t before, after;
    (void)state;
    boot(&t, 1);
    for (uint32_t i = 0; i < 100; i++)
        (void)gmk_tick_advance(&t.k);
    assert_int_equal(gmk_mem_stats(&t.k, &before), GMK_OK);
    for (uint32_t i = 0; i < 100000; i++)
        (void)gmk_tick_advance(&t.k);
    assert_int_equal(gmk_mem_stats(&t.k, &after), GMK_OK);
    assert_int_equal(after.spans_used, before.spans_used);
    assert_int_equal(kit_stats(&t).tick, 100100);
    kit_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_in_exact_order_and_never_early),
        cmocka_unit_test(equal_times_keep_the_order_of_the_calls),
        cmocka_unit_test(a_tick_that_has_begun_fires_at_once),
        cmocka_unit_test(a_time_of_zero_fires_at_once_and_the_end_of_time_never),
        cmocka_unit_test(an_earlier_timer_wakes_an_idle_kernel),
        cmocka_unit_test(timers_fire_while_all_workers_but_one_are_busy),
        cmocka_unit_test(chains_of_timers_all_come_to_their_end),
        cmocka_unit_test(deterministic_tasks_know_no_time),
        cmocka_unit_test(empty_ticks_cost_no_memory),
    };
    return cmocka_run_group_tests_name("sched_timer", tests, NULL, NULL);
}
