/* SPDX-License-Identifier: MIT */
/* A handler that does not come back: its worker is replaced, and nothing is lost or done twice. */
#include "harness.h"

enum { T_HOG = 1, T_MATE, T_MSG, T_ALIVE };

#define MANY 400u
static atomic_uint mate[MANY], mates, hogs, go, inside, who, alive;
static atomic_ullong heard;

static int mate_run(gmk_ctx_t *c)
{
    atomic_fetch_add(&mate[c->task->meta1], 1);
    atomic_fetch_add(&mates, 1);
    return GMK_OK;
}

/* Fills its local queue with meta1 tasks, then stays until it is let go, without a sign of life. */
static int hog_run(gmk_ctx_t *c)
{
    for (uint32_t i = 0; i < c->task->meta1; i++) {
        gmk_task_t t = {.type = T_MATE, .meta1 = MANY / 2 + i};
        (void)gmk_emit(c, &t);
    }
    atomic_store(&who, gmk_self_worker(c));
    atomic_fetch_add(&inside, 1);
    KIT_HOLD(atomic_load(&go) != 0);
    atomic_fetch_add(&hogs, 1);
    return GMK_OK;
}

/* Pinned messages, one at a time, in order. */
static int msg_run(gmk_ctx_t *c)
{
    if (atomic_load(&heard) != c->task->meta1)
        atomic_store(&heard, 1u << 30);
    atomic_fetch_add(&heard, 1);
    return GMK_OK;
}

/* Long, but says so. */
static int alive_run(gmk_ctx_t *c)
{
    uint64_t until = kit_now() + 400 * KIT_MS;
    while (kit_now() < until) {
        (void)gmk_over_budget(c);
        kit_nap();
    }
    atomic_fetch_add(&alive, 1);
    return GMK_OK;
}

static const gmk_handler_reg_t handlers[] = {
    {.type = T_HOG, .fn = hog_run},
    {.type = T_MATE, .fn = mate_run},
    {.type = T_MSG, .fn = msg_run},
    {.type = T_ALIVE, .fn = alive_run},
};

static gmk_boot_cfg_t cfg_with(uint32_t workers, uint64_t watchdog_ns)
{
    gmk_boot_cfg_t cfg = kit_cfg(workers);
    cfg.watchdog_ns = watchdog_ns;
    for (uint32_t i = 0; i < MANY; i++)
        atomic_store(&mate[i], 0);
    atomic_store(&mates, 0);
    atomic_store(&hogs, 0);
    atomic_store(&go, 0);
    atomic_store(&inside, 0);
    atomic_store(&heard, 0);
    atomic_store(&alive, 0);
    return cfg;
}

static void each_mate_once(void)
{
    for (uint32_t i = 0; i < MANY; i++)
        assert_true(atomic_load(&mate[i]) <= 1);
}

/* One worker, so its batch and its local queue can be run by its replacement only. */
static void a_stalled_worker_is_replaced_and_its_tasks_are_run_by_others(void **state)
{
    gmk_task_t task[31];
    kit_t t;
    (void)state;
    KIT_BOOT(&t, cfg_with(1, 20 * KIT_MS), handlers);
    task[0] = (gmk_task_t){.type = T_HOG, .meta1 = 150};
    for (uint32_t i = 1; i < 31; i++)
        task[i] = (gmk_task_t){.type = T_MATE, .meta1 = i};
    uint64_t begin = kit_now();
    assert_int_equal(gmk_submit_n(&t.k, task, 31), 31);
    KIT_WAIT(atomic_load(&mates) == 30 + 150); /* while the hog is still inside */
    assert_int_equal(atomic_load(&hogs), 0);
    gmk_stats_t s = kit_stats(&t);
    assert_int_equal(s.zombies, 1);
    assert_int_equal(gmk_drain(&t.k, 10 * KIT_MS), GMK_ERR_TIMEOUT); /* it is still running */
    assert_int_equal(kit_stats(&t).pending, 1);
    kit_submit(&t, T_MATE, NULL); /* the replacement serves */
    KIT_WAIT(atomic_load(&mates) == 181);
    KIT_WAIT(kit_now() - begin > KIT_S);
    atomic_store(&go, 1);
    KIT_WAIT(kit_stats(&t).zombies == 0);
    kit_drain(&t);
    assert_int_equal(atomic_load(&hogs), 1);
    each_mate_once();
    assert_int_equal(kit_type(&t, T_HOG).completed, 1); /* accounted once, when it returned */
    assert_int_equal(kit_stats(&t).completed, 182);
    kit_end(&t);
}

static void what_a_zombie_emits_is_run_and_its_place_is_used_again(void **state)
{
    kit_t t;
    (void)state;
    KIT_BOOT(&t, cfg_with(2, 5 * KIT_MS), handlers);
    for (uint32_t round = 1; round <= 4; round++) { /* more often than there are spares */
        atomic_store(&go, 0);
        gmk_task_t hog = {.type = T_HOG, .meta1 = 0};
        assert_int_equal(gmk_submit(&t.k, &hog), GMK_OK);
        KIT_WAIT(kit_stats(&t).zombies == 1);
        for (uint32_t i = 0; i < 50; i++)
            kit_submit(&t, T_MATE, NULL);
        KIT_WAIT(atomic_load(&mates) == 50 * round);
        atomic_store(&go, 1);
        KIT_WAIT(kit_stats(&t).zombies == 0);
        assert_int_equal(atomic_load(&hogs), round);
    }
    kit_end(&t);
}

static void more_stalls_than_spares_wait_for_one(void **state)
{
    gmk_boot_cfg_t cfg = cfg_with(2, 5 * KIT_MS);
    kit_t t;
    (void)state;
    cfg.max_spares = 1;
    KIT_BOOT(&t, cfg, handlers);
    gmk_task_t hog = {.type = T_HOG};
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(gmk_submit(&t.k, &hog), GMK_OK);
        KIT_WAIT(atomic_load(&inside) == i + 1);
    }
    assert_int_equal(kit_stats(&t).zombies, 1);
    for (uint32_t i = 0; i < 10; i++)
        kit_submit(&t, T_MATE, NULL);
    assert_int_equal(gmk_drain(&t.k, 50 * KIT_MS), GMK_ERR_TIMEOUT);
    atomic_store(&go, 1);
    KIT_WAIT(atomic_load(&hogs) == 3 && atomic_load(&mates) == 10);
    KIT_WAIT(kit_stats(&t).zombies == 0);
    kit_end(&t);
}

static gmk_chan_t pinned;

static int pin_init(gmk_ctx_t *c)
{
    gmk_sub_t sub;
    int rc = gmk_chan_open(c, &(gmk_chan_cfg_t){.name = "dog.pinned"}, &pinned);
    return rc < 0
             ? rc
             : gmk_chan_sub(c, pinned, &(gmk_sub_cfg_t){.handler = T_MSG, .pinned = 1, .worker = 0}, &sub);
}

static void pins_and_inbox_move_to_the_replacement(void **state)
{
    kit_t t;
    gmk_port_t port;
    (void)state;
    kit_boot_module(&t, cfg_with(1, 10 * KIT_MS),
                    (gmk_module_t){.name = "test", .handlers = handlers, .n_handlers = 4, .init = pin_init});
    gmk_task_t hog = {.type = T_HOG};
    assert_int_equal(gmk_submit(&t.k, &hog), GMK_OK);
    KIT_WAIT(atomic_load(&inside) == 1);
    assert_int_equal(gmk_attach(&t.k, &port), GMK_OK);
    for (uint32_t i = 0; i < 100; i++) {
        gmk_task_t msg = {.meta1 = i};
        assert_int_equal(gmk_chan_emit(gmk_port_ctx(&port), pinned, &msg), GMK_OK);
    }
    KIT_WAIT(atomic_load(&heard) == 100);
    assert_int_equal(atomic_load(&hogs), 0);
    atomic_store(&go, 1);
    KIT_WAIT(kit_stats(&t).zombies == 0);
    gmk_detach(&port);
    kit_end(&t);
}

static void a_sign_of_life_keeps_a_long_handler_its_worker(void **state)
{
    kit_t t;
    (void)state;
    KIT_BOOT(&t, cfg_with(1, 50 * KIT_MS), handlers);
    kit_submit(&t, T_ALIVE, NULL);
    while (atomic_load(&alive) == 0) {
        assert_int_equal(kit_stats(&t).zombies, 0);
        kit_nap();
    }
    kit_end(&t);
}

static void without_a_watchdog_nobody_is_replaced(void **state)
{
    gmk_boot_cfg_t cfg = cfg_with(1, KIT_MS);
    kit_t t;
    (void)state;
    cfg.flags |= GMK_BOOT_NO_WATCHDOG;
    KIT_BOOT(&t, cfg, handlers);
    gmk_task_t hog = {.type = T_HOG};
    assert_int_equal(gmk_submit(&t.k, &hog), GMK_OK);
    KIT_WAIT(atomic_load(&inside) == 1);
    assert_int_equal(gmk_drain(&t.k, 50 * KIT_MS), GMK_ERR_TIMEOUT);
    assert_int_equal(kit_stats(&t).zombies, 0);
    atomic_store(&go, 1);
    kit_end(&t);
}

static void a_halt_with_a_zombie_is_busy_until_it_returns(void **state)
{
    gmk_halt_report_t r;
    kit_t t;
    (void)state;
    KIT_BOOT(&t, cfg_with(2, 5 * KIT_MS), handlers);
    gmk_task_t hog = {.type = T_HOG};
    assert_int_equal(gmk_submit(&t.k, &hog), GMK_OK);
    KIT_WAIT(kit_stats(&t).zombies == 1);
    gmk_task_t later = {.type = T_MATE};
    for (uint32_t i = 0; i < 7; i++)
        assert_int_equal(gmk_submit_after(&t.k, &later, 3600 * KIT_S), GMK_OK);
    assert_int_equal(gmk_halt_within(&t.k, KIT_S, &r), GMK_ERR_BUSY);
    assert_int_equal(r.zombies, 1);
    assert_int_equal(r.stuck_type, T_HOG);
    assert_int_equal(gmk_submit(&t.k, &later), GMK_ERR_STATE); /* the arena is still there */
    assert_int_equal(gmk_halt_within(&t.k, 0, &r), GMK_ERR_BUSY);
    atomic_store(&go, 1);
    assert_int_equal(gmk_halt_within(&t.k, KIT_PATIENCE, &r), GMK_OK);
    assert_int_equal(r.zombies, 0);
    assert_int_equal(r.completed, 1);
    assert_int_equal(r.dropped, 7);
    assert_null(t.k.core);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stalled_worker_is_replaced_and_its_tasks_are_run_by_others),
        cmocka_unit_test(what_a_zombie_emits_is_run_and_its_place_is_used_again),
        cmocka_unit_test(more_stalls_than_spares_wait_for_one),
        cmocka_unit_test(pins_and_inbox_move_to_the_replacement),
        cmocka_unit_test(a_sign_of_life_keeps_a_long_handler_its_worker),
        cmocka_unit_test(without_a_watchdog_nobody_is_replaced),
        cmocka_unit_test(a_halt_with_a_zombie_is_busy_until_it_returns),
    };
    return cmocka_run_group_tests_name("worker_watchdog", tests, NULL, NULL);
}
