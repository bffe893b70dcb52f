/* SPDX-License-Identifier: MIT */
/* Accepting work, credits, spilling and stealing, through the public calls. */
#include "harness.h"

enum { T_COUNT = 1, T_GATE, T_EMIT, T_FILL, T_SPREAD, T_SEEN, T_UNKNOWN = 99, T_LETTER = 20 };

#define MANY 5000u
static atomic_uint seen[MANY];
static atomic_uint ran;
static kit_gate_t gate;

static void forget(void)
{
    for (uint32_t i = 0; i < MANY; i++)
        atomic_store(&seen[i], 0);
    atomic_store(&ran, 0);
}

/* meta1 is the index. */
static int count_run(gmk_ctx_t *c)
{
    if (c->task->meta1 < MANY)
        atomic_fetch_add(&seen[c->task->meta1], 1);
    atomic_fetch_add(&ran, 1);
    return GMK_OK;
}

static gmk_task_t counted(uint32_t i) { return (gmk_task_t){.type = T_COUNT, .meta1 = i}; }

static void each_once(uint32_t n)
{
    assert_int_equal(atomic_load(&ran), n);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(atomic_load(&seen[i]), 1);
}

/* ---- accepting ---------------------------------------------------------------------------- */

static void every_submitted_task_runs_once(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_COUNT, .fn = count_run}};
    kit_t t;
    (void)state;
    forget();
    KIT_BOOT(&t, kit_cfg(4), h);
    for (uint32_t i = 0; i < 2000; i++) {
        gmk_task_t task = counted(i);
        task.flags = (uint16_t)(i & GMK_PRIO_MASK);
        assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    }
    kit_drain(&t);
    each_once(2000);
    assert_int_equal(kit_stats(&t).completed, 2000);
    kit_end(&t);
}

static struct {
    gmk_kernel_t *kernel;
    gmk_task_t task;
    uint32_t worker, tenant, lane, lanes, tick;
    uint64_t now;
} shown;

static int show_run(gmk_ctx_t *c)
{
    shown.kernel = c->kernel;
    shown.task = *c->task;
    shown.worker = gmk_self_worker(c);
    shown.tenant = gmk_self_tenant(c);
    shown.lane = gmk_lane(c);
    shown.lanes = gmk_lanes(c);
    shown.tick = gmk_tick(c);
    shown.now = gmk_now_ns(c);
    gmk_barrier(c);
    shown.task.meta1 += gmk_reduce_sum(c, 5);
    return GMK_OK;
}

static void a_handler_sees_its_task_and_its_place(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = 7, .fn = show_run}};
    gmk_boot_cfg_t cfg = kit_cfg(2);
    kit_t t;
    (void)state;
    cfg.n_tenants = 3;
    KIT_BOOT(&t, cfg, h);
    gmk_task_t task = {.type = 7,
                       .flags = GMK_PRIO_2 | GMK_TASK_IDEMPOTENT | GMK_TASK_CHANNEL_MSG | GMK_TASK_INTERNAL,
                       .tenant = 2,
                       .channel = 77,
                       .yield_count = 9,
                       .retry_count = 9,
                       .meta0 = 42,
                       .meta1 = 43};
    assert_int_equal(gmk_tick_advance(&t.k), 1);
    assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    kit_drain(&t);
    assert_ptr_equal(shown.kernel, &t.k);
    assert_int_equal(shown.task.type, 7);
    assert_int_equal(shown.task.flags,
                     GMK_PRIO_2 | GMK_TASK_IDEMPOTENT); /* the kernel's own are not taken over */
    assert_int_equal(shown.task.channel, 0);
    assert_int_equal(shown.task.yield_count, 0);
    assert_int_equal(shown.task.retry_count, 0);
    assert_int_equal(shown.task.meta0, 42);
    assert_int_equal(shown.task.meta1, 43 + 5);
    assert_true(shown.worker < 2);
    assert_int_equal(shown.tenant, 2);
    assert_int_equal(shown.lane, 0);
    assert_int_equal(shown.lanes, 1);
    assert_int_equal(shown.tick, 1);
    assert_true(shown.now <= kit_now());
    kit_end(&t);
}

static void submit_n_accepts_a_whole_array(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_COUNT, .fn = count_run}};
    static gmk_task_t task[1000];
    kit_t t;
    (void)state;
    forget();
    KIT_BOOT(&t, kit_cfg(2), h);
    for (uint32_t i = 0; i < 1000; i++) {
        task[i] = counted(i);
        task[i].flags = (uint16_t)(i / 7 % 4); /* runs of one priority */
    }
    assert_int_equal(gmk_submit_n(&t.k, task, 0), 0);
    assert_int_equal(gmk_submit_n(&t.k, NULL, 0), 0);
    assert_int_equal(gmk_submit_n(&t.k, task, 1000), 1000);
    kit_drain(&t);
    each_once(1000);
    kit_end(&t);
}

static void submit_n_stops_before_the_first_wrong_task(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_COUNT, .fn = count_run}};
    gmk_task_t task[60];
    kit_t t;
    (void)state;
    forget();
    KIT_BOOT(&t, kit_cfg(2), h);
    for (uint32_t i = 0; i < 60; i++)
        task[i] = counted(i);
    task[40].type = 100000;
    assert_int_equal(gmk_submit_n(&t.k, task, 60), 40);
    assert_int_equal(gmk_submit_n(&t.k, task + 40, 20), GMK_ERR_RANGE);
    kit_drain(&t);
    each_once(40);
    kit_end(&t);
}

static int emit_rc[8];

/* One of each way to emit; meta1 of what it emits counts from 0. */
static int emit_run(gmk_ctx_t *c)
{
    gmk_task_t t[52];
    for (uint32_t i = 0; i < 52; i++)
        t[i] = counted(i);
    emit_rc[0] = gmk_emit(c, &t[0]);
    emit_rc[1] = gmk_emit_n(c, t + 1, 49);
    emit_rc[2] = gmk_emit_after(c, &t[50], 3 * KIT_MS);
    emit_rc[3] = gmk_emit_at(c, &t[51], gmk_tick(c) + 1);
    emit_rc[4] = gmk_emit_n(c, t, 0);
    emit_rc[5] = gmk_emit_n(c, NULL, 1);
    emit_rc[6] = gmk_emit(c, NULL);
    t[0].type = 0;
    emit_rc[7] = gmk_emit(c, &t[0]);
    return GMK_OK;
}

static void a_handler_emits_now_later_and_at_a_tick(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_COUNT, .fn = count_run},
                                          {.type = T_EMIT, .fn = emit_run}};
    kit_t t;
    (void)state;
    forget();
    KIT_BOOT(&t, kit_cfg(3), h);
    kit_submit(&t, T_EMIT, NULL);
    KIT_WAIT(atomic_load(&ran) == 51);
    kit_drain(&t);
    assert_int_equal(atomic_load(&seen[51]), 0);
    assert_int_equal(gmk_tick_advance(&t.k), 1);
    KIT_WAIT(atomic_load(&ran) == 52);
    each_once(52);
    assert_int_equal(emit_rc[0], GMK_OK);
    assert_int_equal(emit_rc[1], 49);
    assert_int_equal(emit_rc[2], GMK_OK);
    assert_int_equal(emit_rc[3], GMK_OK);
    assert_int_equal(emit_rc[4], 0);
    assert_int_equal(emit_rc[5], GMK_ERR_INVAL);
    assert_int_equal(emit_rc[6], GMK_ERR_INVAL);
    assert_int_equal(emit_rc[7], GMK_ERR_RANGE);
    kit_end(&t);
}

static void wrong_tasks_are_refused_and_counted(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_COUNT, .fn = count_run}};
    gmk_boot_cfg_t cfg = kit_cfg(1);
    kit_t t;
    (void)state;
    cfg.n_types = 50;
    cfg.n_tenants = 2;
    KIT_BOOT(&t, cfg, h);
    char outside[64] = {0};
    const gmk_task_t wrong[] = {
        {.type = 0},
        {.type = 50},
        {.type = UINT32_MAX},
        {.type = T_COUNT, .tenant = 2},
        {.type = T_COUNT, .payload_len = 4},
        {.type = T_COUNT, .flags = GMK_TASK_PAYLOAD_RC},
        {.type = T_COUNT, .payload_ptr = 8, .payload_len = 4},
        {.type = T_COUNT, .payload_ptr = (uint64_t)(uintptr_t)outside, .payload_len = 64},
        {.type = T_COUNT, .payload_ptr = (uint64_t)(uintptr_t)t.k.arena, .payload_len = UINT32_MAX},
        {.type = T_COUNT,
         .flags = GMK_TASK_PAYLOAD_RC,
         .payload_ptr = (uint64_t)(uintptr_t)t.k.arena,
         .payload_len = 16}};
    const int expect[] = {GMK_ERR_RANGE, GMK_ERR_RANGE, GMK_ERR_RANGE, GMK_ERR_RANGE, GMK_ERR_INVAL,
                          GMK_ERR_INVAL, GMK_ERR_INVAL, GMK_ERR_INVAL, GMK_ERR_INVAL, GMK_ERR_INVAL};
    for (uint32_t i = 0; i < 10; i++) {
        uint64_t before = kit_stats(&t).refused;
        assert_int_equal(gmk_submit(&t.k, &wrong[i]), expect[i]);
        assert_int_equal(gmk_submit_after(&t.k, &wrong[i], 0), expect[i]);
        assert_int_equal(gmk_submit_at(&t.k, &wrong[i], 1), expect[i]);
        assert_int_equal(gmk_submit_n(&t.k, &wrong[i], 1), expect[i]);
        assert_int_equal(kit_stats(&t).refused, before + 4);
    }
    assert_int_equal(kit_stats(&t).accepted, 0);
    kit_end(&t);
}

static void a_payload_anywhere_in_the_arena_is_passed_on_uncounted(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = 7, .fn = show_run}};
    kit_t t;
    (void)state;
    KIT_BOOT(&t, kit_cfg(1), h);
    gmk_port_t port;
    assert_int_equal(gmk_attach(&t.k, &port), GMK_OK);
    char *p = gmk_alloc(gmk_port_ctx(&port), 100);
    assert_non_null(p);
    gmk_task_t task = {.type = 7, .payload_ptr = (uint64_t)(uintptr_t)p, .payload_len = 100};
    assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    kit_drain(&t);
    assert_int_equal(shown.task.payload_ptr, (uint64_t)(uintptr_t)p);
    assert_int_equal(shown.task.payload_len, 100);
    gmk_free(gmk_port_ctx(&port), p);
    gmk_detach(&port);
    kit_end(&t);
}

static int letters_init(gmk_ctx_t *c) { return kit_hear(c, "sys.dropped", T_LETTER); }

static void a_type_without_a_handler_is_dropped_with_a_dead_letter(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_LETTER, .fn = kit_letter_run}};
    kit_t t;
    (void)state;
    memset(&kit_dead, 0, sizeof kit_dead);
    kit_boot_module(&t, kit_cfg(2),
                    (gmk_module_t){.name = "test", .handlers = h, .n_handlers = 1, .init = letters_init});
    for (uint32_t i = 0; i < 5; i++)
        kit_submit(&t, T_UNKNOWN, NULL);
    KIT_WAIT(atomic_load(&kit_dead.count) == 5);
    kit_drain(&t);
    assert_int_equal(kit_dead.letter[0].code, GMK_DROP_NO_TYPE);
    assert_int_equal(kit_dead.letter[0].type, T_UNKNOWN);
    gmk_stats_t s = kit_stats(&t);
    assert_int_equal(s.dropped, 5);
    assert_int_equal(s.dead_letters, 5);
    assert_int_equal(s.refused, 0);
    gmk_type_stats_t ts;
    assert_int_equal(gmk_type_stats(&t.k, T_UNKNOWN, &ts), GMK_ERR_NOTFOUND);
    kit_end(&t);
}

static void dead_letters_that_nobody_hears_are_counted(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_COUNT, .fn = count_run}};
    kit_t t;
    (void)state;
    KIT_BOOT(&t, kit_cfg(1), h);
    for (uint32_t i = 0; i < 1000; i++)
        kit_submit(&t, T_UNKNOWN, NULL);
    kit_drain(&t);
    gmk_stats_t s = kit_stats(&t);
    assert_int_equal(s.dropped, 1000);
    assert_int_equal(s.dead_letters, 1000);
    assert_int_equal(s.unheard, 1000);
    kit_end(&t);
}

/* ---- credits ------------------------------------------------------------------------------ */

static void an_idle_kernel_accepts_exactly_task_max(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_COUNT, .fn = count_run}};
    gmk_boot_cfg_t cfg = kit_cfg(4);
    kit_t t;
    (void)state;
    forget();
    cfg.task_max = 100;
    KIT_BOOT(&t, cfg, h);
    assert_int_equal(kit_stats(&t).task_max, 100);
    for (uint32_t round = 1; round < 4; round++) {
        gmk_task_t task = counted(0);
        for (uint32_t i = 0; i < 100; i++) {
            task.meta1 = i;
            assert_int_equal(gmk_submit_at(&t.k, &task, round), GMK_OK);
        }
        assert_int_equal(gmk_submit_at(&t.k, &task, round), GMK_ERR_FULL);
        assert_int_equal(gmk_submit(&t.k, &task), GMK_ERR_FULL);
        assert_int_equal(gmk_submit_after(&t.k, &task, 1), GMK_ERR_FULL);
        assert_int_equal(gmk_submit_n(&t.k, &task, 1), 0);
        kit_conserved(&t, 100);
        assert_int_equal(gmk_tick_advance(&t.k), round);
        KIT_WAIT(atomic_load(&ran) == round * 100);
        kit_drain(&t);
        KIT_WAIT(kit_stats(&t).parked == 4);
    }
    assert_int_equal(kit_stats(&t).refused, 12);
    kit_end(&t);
}

static void submit_n_takes_what_credits_there_are(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_COUNT, .fn = count_run},
                                          {.type = T_GATE, .fn = kit_gate_run}};
    static gmk_task_t task[300];
    gmk_boot_cfg_t cfg = kit_cfg(2);
    kit_t t;
    (void)state;
    forget();
    cfg.task_max = 200;
    KIT_BOOT(&t, cfg, h);
    KIT_WAIT(kit_stats(&t).parked == 2);
    kit_gate_shut(&t, &gate, T_GATE, 2);
    for (uint32_t i = 0; i < 300; i++)
        task[i] = counted(i);
    assert_int_equal(gmk_submit_n(&t.k, task, 300), 198);
    assert_int_equal(gmk_submit_n(&t.k, task, 300), 0);
    kit_gate_open(&gate);
    kit_drain(&t);
    each_once(198);
    kit_end(&t);
}

static atomic_uint filled;
static int fill_last;

/* Emits until there is no credit left. */
static int fill_run(gmk_ctx_t *c)
{
    gmk_task_t task = counted(0);
    while ((fill_last = gmk_emit(c, &task)) == GMK_OK)
        task.meta1 = atomic_fetch_add(&filled, 1) + 1;
    return GMK_OK;
}

static void a_handler_gets_the_last_credit(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_COUNT, .fn = count_run},
                                          {.type = T_FILL, .fn = fill_run}};
    gmk_boot_cfg_t cfg = kit_cfg(1);
    kit_t t;
    (void)state;
    forget();
    atomic_store(&filled, 0);
    cfg.task_max = 777;
    KIT_BOOT(&t, cfg, h);
    kit_submit(&t, T_FILL, NULL);
    kit_drain(&t);
    assert_int_equal(atomic_load(&filled), 776); /* its own task holds one */
    assert_int_equal(fill_last, GMK_ERR_FULL);
    each_once(776);
    kit_end(&t);
}

static void a_port_gives_its_credits_back(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_COUNT, .fn = count_run}};
    gmk_boot_cfg_t cfg = kit_cfg(1);
    gmk_port_t port;
    kit_t t;
    (void)state;
    forget();
    cfg.task_max = 500;
    KIT_BOOT(&t, cfg, h);
    assert_int_equal(gmk_attach(&t.k, &port), GMK_OK);
    gmk_task_t task = counted(0);
    assert_int_equal(gmk_emit(gmk_port_ctx(&port), &task), GMK_OK); /* keeps a block at hand */
    KIT_WAIT(atomic_load(&ran) == 1);
    kit_drain(&t);
    gmk_detach(&port);
    KIT_WAIT(kit_stats(&t).parked == 1);
    for (uint32_t i = 0; i < 500; i++)
        assert_int_equal(gmk_submit_at(&t.k, &task, 1), GMK_OK);
    assert_int_equal(gmk_submit_at(&t.k, &task, 1), GMK_ERR_FULL);
    assert_int_equal(gmk_tick_advance(&t.k), 1);
    KIT_WAIT(atomic_load(&ran) == 501);
    kit_end(&t);
}

/* ---- spilling and stealing ---------------------------------------------------------------- */

static gmk_boot_cfg_t tiny(uint32_t workers)
{
    gmk_boot_cfg_t cfg = kit_cfg(workers);
    cfg.lq_slots = 16;
    cfg.rq_slots = 64;
    cfg.task_max = 8000;
    return cfg;
}

static void tiny_rings_spill_and_lose_nothing(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_COUNT, .fn = count_run},
                                          {.type = T_GATE, .fn = kit_gate_run}};
    kit_t t;
    (void)state;
    forget();
    KIT_BOOT(&t, tiny(2), h);
    kit_gate_shut(&t, &gate, T_GATE, 2);
    for (uint32_t i = 0; i < MANY; i++) {
        gmk_task_t task = counted(i);
        task.flags = (uint16_t)(i % 3 == 0);
        assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    }
    assert_true(kit_stats(&t).spills >= MANY - 128);
    kit_gate_open(&gate);
    kit_drain(&t);
    each_once(MANY);
    kit_end(&t);
}

static void a_handler_spills_what_its_queues_do_not_hold(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_COUNT, .fn = count_run},
                                          {.type = T_FILL, .fn = fill_run}};
    gmk_boot_cfg_t cfg = tiny(1);
    kit_t t;
    (void)state;
    forget();
    atomic_store(&filled, 0);
    cfg.task_max = 4000;
    KIT_BOOT(&t, cfg, h);
    kit_submit(&t, T_FILL, NULL);
    kit_drain(&t);
    each_once(3999);
    assert_true(kit_stats(&t).spills > 3000);
    kit_end(&t);
}

static int pingpong_run(gmk_ctx_t *c)
{
    gmk_task_t next = *c->task;
    atomic_fetch_add(&ran, 1);
    if (next.meta1-- != 0)
        (void)gmk_emit(c, &next); /* a credit is there: this task's comes back right after */
    return GMK_OK;
}

static void chains_run_to_their_end_in_tiny_rings(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_SEEN, .fn = pingpong_run}};
    kit_t t;
    (void)state;
    forget();
    KIT_BOOT(&t, tiny(3), h);
    for (uint32_t i = 0; i < 300; i++) {
        gmk_task_t task = {.type = T_SEEN, .flags = (uint16_t)(i & 3), .meta1 = 99};
        assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    }
    kit_drain(&t);
    assert_int_equal(atomic_load(&ran), 300 * 100);
    kit_end(&t);
}

static atomic_uint workers_seen;

static int seen_run(gmk_ctx_t *c)
{
    atomic_fetch_or(&workers_seen, 1u << gmk_self_worker(c));
    return count_run(c);
}

/* Queues 100 tasks locally and keeps its worker until others have run all of them. */
static int spread_run(gmk_ctx_t *c)
{
    for (uint32_t i = 0; i < 100; i++) {
        gmk_task_t task = {.type = T_SEEN, .meta1 = i};
        (void)gmk_emit(c, &task);
    }
    atomic_store(&filled, gmk_self_worker(c));
    KIT_HOLD(atomic_load(&ran) == 100);
    return GMK_OK;
}

static void a_busy_workers_local_queue_is_stolen(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_SEEN, .fn = seen_run},
                                          {.type = T_SPREAD, .fn = spread_run}};
    gmk_boot_cfg_t cfg = kit_cfg(4);
    kit_t t;
    (void)state;
    forget();
    atomic_store(&workers_seen, 0);
    cfg.watchdog_ns = 10 * KIT_S;
    KIT_BOOT(&t, cfg, h);
    kit_submit(&t, T_SPREAD, NULL);
    kit_drain(&t);
    each_once(100);
    assert_int_equal(atomic_load(&workers_seen) >> atomic_load(&filled) & 1, 0);
    gmk_stats_t s = kit_stats(&t);
    assert_true(s.steals >= 1);
    assert_int_equal(s.stolen, 100);
    kit_end(&t);
}

/* Each waits until a second worker has come. */
static int meet_run(gmk_ctx_t *c)
{
    uint32_t bit = 1u << gmk_self_worker(c);
    atomic_fetch_or(&workers_seen, bit);
    KIT_HOLD((atomic_load(&workers_seen) & ~bit) != 0);
    return GMK_OK;
}

static void long_tasks_from_outside_run_on_several_workers(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_SEEN, .fn = meet_run}};
    gmk_boot_cfg_t cfg = kit_cfg(4);
    kit_t t;
    (void)state;
    forget();
    atomic_store(&workers_seen, 0);
    cfg.watchdog_ns = 10 * KIT_S;
    KIT_BOOT(&t, cfg, h);
    for (uint32_t i = 0; i < 64; i++)
        kit_submit(&t, T_SEEN, NULL);
    kit_drain(&t);
    assert_int_equal(kit_stats(&t).completed, 64);
    kit_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_submitted_task_runs_once),
        cmocka_unit_test(a_handler_sees_its_task_and_its_place),
        cmocka_unit_test(submit_n_accepts_a_whole_array),
        cmocka_unit_test(submit_n_stops_before_the_first_wrong_task),
        cmocka_unit_test(a_handler_emits_now_later_and_at_a_tick),
        cmocka_unit_test(wrong_tasks_are_refused_and_counted),
        cmocka_unit_test(a_payload_anywhere_in_the_arena_is_passed_on_uncounted),
        cmocka_unit_test(a_type_without_a_handler_is_dropped_with_a_dead_letter),
        cmocka_unit_test(dead_letters_that_nobody_hears_are_counted),
        cmocka_unit_test(an_idle_kernel_accepts_exactly_task_max),
        cmocka_unit_test(submit_n_takes_what_credits_there_are),
        cmocka_unit_test(a_handler_gets_the_last_credit),
        cmocka_unit_test(a_port_gives_its_credits_back),
        cmocka_unit_test(tiny_rings_spill_and_lose_nothing),
        cmocka_unit_test(a_handler_spills_what_its_queues_do_not_hold),
        cmocka_unit_test(chains_run_to_their_end_in_tiny_rings),
        cmocka_unit_test(a_busy_workers_local_queue_is_stolen),
        cmocka_unit_test(long_tasks_from_outside_run_on_several_workers),
    };
    return cmocka_run_group_tests_name("sched", tests, NULL, NULL);
}
