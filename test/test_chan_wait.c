/* SPDX-License-Identifier: MIT */
/* Waiting for credits, suspended mailboxes, and circles of waits. */
#include "chan_kit.h"

#include <sys/resource.h>

/* meta1 of a relayed task is the channel it goes to; it waits until there is room. */
static atomic_uint relay_waits, relay_wrong, relay_closed, relay_want;

static int relay_run(gmk_ctx_t *c)
{
    gmk_chan_t to = {(uint32_t)c->task->meta1};
    gmk_task_t t = {.meta0 = c->task->meta0, .flags = (uint16_t)(c->task->flags & GMK_PRIO_MASK)};
    int rc = gmk_chan_emit(c, to, &t);
    if (rc == GMK_CHAN_CLOSED)
        atomic_fetch_add(&relay_closed, 1);
    else if (rc == GMK_CHAN_FULL) {
        atomic_fetch_add(&relay_waits, 1);
        rc = gmk_chan_wait(c, to, atomic_load(&relay_want));
        if (rc == GMK_CHAN_CLOSED) {
            atomic_fetch_add(&relay_closed, 1);
            rc = GMK_OK;
        }
        if (rc != GMK_OK)
            atomic_fetch_add(&relay_wrong, 1);
    } else if (rc != GMK_OK)
        atomic_fetch_add(&relay_wrong, 1);
    return GMK_OK;
}

/* As relay_run, on a channel whose id the test leaves here: for two channels that feed each other. */
static gmk_chan_t circle[2];

static int circle_run(gmk_ctx_t *c)
{
    gmk_chan_t to = circle[c->task->type == T_OWN + 1 ? 1 : 0];
    gmk_task_t t = {0};
    if (c->task->meta0 == 0)
        return GMK_OK;
    int rc = gmk_chan_emit(c, to, &t);
    if (rc == GMK_CHAN_FULL)
        (void)gmk_chan_wait(c, to, 1);
    return GMK_OK;
}

/* Waits once, and notes when it goes on. */
static uint8_t queue_ran[64], queue_order[64];
static atomic_uint queue_n;

static int queue_run(gmk_ctx_t *c)
{
    uint32_t i = (uint32_t)c->task->meta0 & 63;
    if (queue_ran[i]++ == 0)
        return gmk_chan_wait(c, (gmk_chan_t){(uint32_t)c->task->meta1}, 1);
    queue_order[atomic_fetch_add(&queue_n, 1) & 63] = (uint8_t)i;
    return GMK_OK;
}

static const gmk_handler_reg_t wait_handlers[] = {{.type = T_OWN, .fn = relay_run},
                                                  {.type = T_OWN + 3, .fn = queue_run},
                                                  {.type = T_OWN + 1, .fn = circle_run},
                                                  {.type = T_OWN + 2, .fn = circle_run}};
static gmk_module_t wait_module = {.name = "waiters", .handlers = wait_handlers, .n_handlers = 4};

static int wait_up(void **state)
{
    (void)state;
    fix_boot(kit_cfg(2));
    load_extra(&wait_module);
    atomic_store(&relay_waits, 0);
    atomic_store(&relay_wrong, 0);
    atomic_store(&relay_closed, 0);
    atomic_store(&relay_want, 1);
    return 0;
}

static int wait_up_one(void **state)
{
    wait_up(state);
    gmk_detach(&F.port);
    F.extra = NULL;
    assert_int_equal(gmk_halt(&F.t.k), GMK_OK);
    fix_boot(kit_cfg(1));
    load_extra(&wait_module);
    return 0;
}

static void relay(gmk_chan_t to, uint64_t meta, uint32_t prio)
{
    gmk_task_t t = {.type = T_OWN, .meta0 = meta, .meta1 = to.id, .flags = (uint16_t)prio};
    assert_int_equal(gmk_emit(F.c, &t), GMK_OK);
}

static uint64_t cpu_ns(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (uint64_t)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * KIT_S +
           (uint64_t)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1000;
}

static void a_waiting_handler_uses_no_cpu(void **state)
{
    (void)state;
    uint64_t time = kit_env("GGMK_LONG") ? 60 * KIT_S : 2 * KIT_S;
    gmk_chan_t from = open_chan("from", GMK_P2P, GMK_LOSSLESS, 256),
               to = open_chan("to", GMK_P2P, GMK_LOSSLESS, 4);
    gmk_drain(&F.t.k, KIT_PATIENCE);
    emit_range(to, 0, 4); /* messages that wait for a subscriber: full, and nothing runs */
    sub_to(from, T_OWN);
    for (uint32_t i = 4; i < 204; i++) {
        gmk_task_t t = {.meta0 = i, .meta1 = to.id};
        assert_int_equal(gmk_chan_emit(F.c, from, &t), GMK_OK);
    }
    KIT_WAIT(kit_stats(&F.t).waiting == 1);
    uint64_t cpu = cpu_ns(), start = kit_now();
    struct timespec nap = {.tv_sec = (time_t)(time / KIT_S)};
    nanosleep(&nap, NULL);
    cpu = cpu_ns() - cpu;
    assert_true(kit_now() - start >= time);
    if (!KIT_TSAN && !KIT_ASAN)
        assert_true(cpu < time / 10);
    gmk_stats_t s = kit_stats(&F.t);
    assert_true(s.waiting == 1 && s.retries == 0 && s.yields == 0 && s.failed == 0);
    assert_int_equal(chan_figures_of(to).waiters, 1);
    assert_int_equal(atomic_load(&relay_waits), 1);
    sub_to(to, T_A);
    wait_seen(T_A, 204);
    for (uint32_t i = 0; i < 204; i++)
        assert_int_equal(seen[T_A].at[i].meta0, i);
    kit_drain(&F.t);
    s = kit_stats(&F.t);
    assert_true(s.waiting == 0 && s.retries == 0 && s.yields == 0 && s.failed == 0);
    assert_int_equal(s.waits, atomic_load(&relay_waits));
    assert_int_equal(atomic_load(&relay_wrong), 0);
}

static void waiters_go_on_in_order(void **state)
{
    (void)state;
    gmk_chan_t to = open_chan("queue", GMK_P2P, GMK_LOSSLESS, 2);
    emit_range(to, 0, 2);
    memset(queue_ran, 0, sizeof queue_ran);
    atomic_store(&queue_n, 0);
    for (uint32_t i = 0; i < 40; i++) {
        gmk_task_t t = {.type = T_OWN + 3, .meta0 = i, .meta1 = to.id};
        assert_int_equal(gmk_emit(F.c, &t), GMK_OK);
        KIT_WAIT(kit_stats(&F.t).waiting == i + 1);
    }
    assert_int_equal(chan_figures_of(to).waiters, 40);
    sub_to(to, T_A);
    kit_drain(&F.t);
    assert_int_equal(atomic_load(&queue_n), 40);
    for (uint32_t i = 0; i < 40; i++)
        assert_int_equal(queue_order[i], i);
}

static void a_waiter_gets_all_it_asked_for(void **state)
{
    (void)state;
    gmk_chan_t to = open_chan("eight", GMK_P2P, GMK_LOSSLESS, 8);
    emit_range(to, 0, 7);
    seen[T_A].hold = 1;
    sub_to(to, T_A);
    KIT_WAIT(atomic_load(&seen[T_A].inside) == 1);
    emit_range(to, 7, 8);
    atomic_store(&relay_want, 8);
    relay(to, 8, 0);
    KIT_WAIT(kit_stats(&F.t).waiting == 1);
    atomic_store(&seen[T_A].hold, 0);
    wait_seen(T_A, 9);
    assert_int_equal(atomic_load(&relay_waits), 1);
}

/* Credits of the reserve are not for it, so it does not wait for them either. */
static void a_waiter_of_low_priority_gets_what_it_may(void **state)
{
    (void)state;
    gmk_chan_t to = open_cfg((gmk_chan_cfg_t){.name = "low", .slots = 8, .reserve_pct = 50});
    gmk_task_t t = {.flags = 3};
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(gmk_chan_emit(F.c, to, &t), GMK_OK);
    atomic_store(&relay_want, 8);
    relay(to, 4, 3);
    KIT_WAIT(kit_stats(&F.t).waiting == 1);
    sub_to(to, T_A);
    wait_seen(T_A, 5);
}

static void a_waiter_learns_of_the_close(void **state)
{
    (void)state;
    gmk_chan_t from = open_chan("from", GMK_P2P, GMK_LOSSLESS, 8),
               to = open_chan("to", GMK_P2P, GMK_LOSSLESS, 1);
    emit_range(to, 0, 1);
    sub_to(from, T_OWN);
    relay(to, 1, 0);
    gmk_task_t t = {.meta0 = 2, .meta1 = to.id};
    assert_int_equal(gmk_chan_emit(F.c, from, &t), GMK_OK);
    KIT_WAIT(kit_stats(&F.t).waiting == 2);
    assert_int_equal(gmk_chan_close(F.c, to), GMK_OK);
    assert_int_equal(gmk_wait_closed(F.c, to, KIT_PATIENCE), GMK_OK);
    kit_drain(&F.t);
    assert_int_equal(atomic_load(&relay_closed), 2);
    assert_int_equal(atomic_load(&relay_wrong), 0);
}

static void waiting_under_load(uint32_t mode, uint32_t guarantee, uint32_t order)
{
    uint32_t n = KIT_TSAN ? 2000 : 20000;
    grow_for_parallel(64);
    gmk_chan_t from = open_chan("from", GMK_P2P, GMK_LOSSLESS, 64);
    gmk_chan_t to = open_cfg(
        (gmk_chan_cfg_t){.name = "to", .mode = mode, .guarantee = guarantee, .slots = 3});
    sub_cfg(from, (gmk_sub_cfg_t){.handler = T_OWN, .order = order});
    sub_to(to, T_A);
    for (uint32_t i = 0; i < n; i++) {
        gmk_task_t t = {.meta0 = i, .meta1 = to.id};
        assert_int_equal(gmk_chan_emit_wait(F.c, from, &t, NEVER), GMK_OK);
        if (i % 8 == 0)
            relay(to, i, 0);
    }
    kit_drain(&F.t);
    gmk_chan_stats_t s = chan_figures_of(to);
    assert_int_equal(s.completed + s.shed, n + n / 8);
    assert_int_equal(atomic_load(&relay_wrong), 0);
    assert_int_equal(kit_stats(&F.t).failed, 0);
}

static void nobody_is_forgotten_under_load(void **state)
{
    (void)state;
    waiting_under_load(GMK_P2P, GMK_LOSSLESS, GMK_ORDERED);
    close_all();
    waiting_under_load(GMK_FANOUT, GMK_LOSSLESS, GMK_PARALLEL);
    close_all();
    waiting_under_load(GMK_FANOUT, GMK_LOSSY, GMK_PARALLEL);
}

/* ---- circles -------------------------------------------------------------------------------- */

/* Runs drain with fd 2 in a pipe; returns what was said. */
static void drain_aloud(char *text, size_t size)
{
    int to[2], err = dup(2);
    assert_true(err >= 0 && pipe(to) == 0);
    fflush(stderr);
    dup2(to[1], 2);
    int rc = gmk_drain(&F.t.k, 50 * KIT_MS);
    dup2(err, 2);
    close(err);
    close(to[1]);
    ssize_t n, have = 0;
    while ((n = read(to[0], text + have, size - 1 - (size_t)have)) > 0)
        have += n;
    text[have] = '\0';
    close(to[0]);
    assert_int_equal(rc, GMK_ERR_TIMEOUT);
}

static void circles_are_named(void **state)
{
    (void)state;
    char text[4096];
    circle[0] = open_chan("ring.there", GMK_P2P, GMK_LOSSLESS, 1);
    circle[1] = open_chan("ring.back", GMK_P2P, GMK_LOSSLESS, 1);
    emit_range(circle[0], 1, 2);
    emit_range(circle[1], 1, 2);
    sub_to(circle[0], T_OWN + 1); /* each handler waits for the other channel */
    sub_to(circle[1], T_OWN + 2);
    KIT_WAIT(kit_stats(&F.t).waiting == 2);
    drain_aloud(text, sizeof text);
    assert_non_null(strstr(text, "wait for each other"));
    assert_true(strstr(text, "ring.there -> ring.back -> ring.there") != NULL ||
                strstr(text, "ring.back -> ring.there -> ring.back") != NULL);
    assert_int_equal(gmk_chan_close(F.c, circle[0]), GMK_OK); /* breaks it */
    kit_drain(&F.t);
}

static void a_chain_is_no_circle(void **state)
{
    (void)state;
    char text[4096];
    gmk_chan_t a = open_chan("chain.a", GMK_P2P, GMK_LOSSLESS, 1),
               b = open_chan("chain.b", GMK_P2P, GMK_LOSSLESS, 1),
               d = open_chan("chain.c", GMK_P2P, GMK_LOSSLESS, 1);
    gmk_task_t t = {.meta0 = 1, .meta1 = d.id};
    assert_int_equal(gmk_chan_emit(F.c, b, &t), GMK_OK);
    t.meta1 = b.id;
    assert_int_equal(gmk_chan_emit(F.c, a, &t), GMK_OK);
    emit_range(d, 0, 1);
    sub_to(a, T_OWN);
    sub_to(b, T_OWN);
    KIT_WAIT(kit_stats(&F.t).waiting == 2);
    drain_aloud(text, sizeof text);
    assert_null(strstr(text, "wait for each other"));
    sub_to(d, T_A);
    kit_drain(&F.t);
}

static int loud_up(void **state)
{
    (void)state;
    gmk_boot_cfg_t cfg = kit_cfg(2);
    cfg.flags = GMK_BOOT_NO_WATCHDOG;
    fix_boot(cfg);
    load_extra(&wait_module);
    atomic_store(&relay_want, 1);
    return 0;
}

/* ---- suspended heads ------------------------------------------------------------------------ */

/* meta1 says what happens before the message is done, meta0 which one it is. */
enum { DO_NOTHING, DO_RETRY, DO_YIELD, DO_FAULT = 16, DO_RETRY_FOREVER, DO_YIELD_FOREVER, DO_FAIL };
static atomic_uint step_n, step_runs;
static uint32_t step[256];

KIT_WILD static void wild_write(volatile int *p) { *p = 1; }

static int step_run(gmk_ctx_t *c)
{
    const gmk_task_t *t = c->task;
    atomic_fetch_add(&step_runs, 1);
    switch (t->meta1) {
    case DO_RETRY:
        if (t->retry_count < 3)
            return GMK_RETRY;
        break;
    case DO_YIELD:
        if (t->yield_count < 5)
            return gmk_yield(c);
        break;
    case DO_FAULT:
        wild_write((volatile int *)((volatile gmk_task_t *)(uintptr_t)t)->meta1); /* DO_FAULT is no address */
        break;
    case DO_RETRY_FOREVER: return GMK_RETRY;
    case DO_YIELD_FOREVER: return gmk_yield(c);
    case DO_FAIL: return GMK_FAIL(3);
    default: break;
    }
    step[atomic_fetch_add(&step_n, 1) & 255] = (uint32_t)t->meta0;
    return GMK_OK;
}

static void a_suspended_head_keeps_its_place(void **state)
{
    (void)state;
    static const gmk_handler_reg_t h[] = {{.type = T_OWN + 4, .fn = step_run, .max_retries = 4}};
    static gmk_module_t m = {.name = "steps", .handlers = h, .n_handlers = 1};
    static const uint32_t script[] = {DO_NOTHING,       DO_RETRY, DO_NOTHING, DO_YIELD,
                                      DO_NOTHING,       DO_FAULT, DO_NOTHING, DO_RETRY_FOREVER,
                                      DO_YIELD_FOREVER, DO_FAIL,  DO_NOTHING};
    uint32_t n = KIT_TSAN || KIT_ASAN ? 5 : sizeof script / sizeof *script;
    wait_up(NULL); /* here and not before: cmocka takes the signals back after the set-up */
    for (uint32_t mode = 0; mode < 2; mode++) {
        atomic_store(&step_n, 0);
        gmk_chan_t ch = open_chan("steps", mode, GMK_LOSSLESS, 32);
        if (mode == 0) {
            gmk_module_unload(&F.t.k, F.extra->name);
            load_extra(&m);
            listen_to("sys.error", T_ERR);
        }
        sub_to(ch, T_OWN + 4);
        for (uint32_t i = 0; i < n; i++) {
            gmk_task_t t = {.meta0 = i, .meta1 = script[i]};
            assert_int_equal(gmk_chan_emit(F.c, ch, &t), GMK_OK);
        }
        kit_drain(&F.t);
        static const uint32_t done[] = {0, 1, 2, 3, 4, 6, 10};
        uint32_t finished = n == 5 ? 5 : 7;
        assert_int_equal(atomic_load(&step_n), finished);
        for (uint32_t i = 0; i < finished; i++)
            assert_int_equal(step[i], done[i]);
        assert_int_equal(chan_figures_of(ch).failed, n - finished);
        assert_int_equal(chan_figures_of(ch).used, 0);
        close_all();
    }
    static const int code[] = {GMK_ERR_FAULT, GMK_ERR_RETRY_LIMIT, GMK_ERR_YIELD_LIMIT, GMK_FAIL(3)};
    if (n != 5)
        wait_seen(T_ERR, 8);
    for (uint32_t i = 0; i < 8 && n != 5; i++)
        assert_int_equal(dead_code_at(&seen[T_ERR], i), code[i % 4]);
    assert_int_equal(kit_stats(&F.t).faults, n == 5 ? 0 : 2);
    fix_down(NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, wait_up, fix_down)
#define TEST_ONE(f) cmocka_unit_test_setup_teardown(f, wait_up_one, fix_down)
#define TEST_LOUD(f) cmocka_unit_test_setup_teardown(f, loud_up, fix_down)
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_suspended_head_keeps_its_place), /* first: none has held the signals yet */
        TEST(a_waiting_handler_uses_no_cpu),
        TEST_ONE(waiters_go_on_in_order),
        TEST(a_waiter_gets_all_it_asked_for),
        TEST(a_waiter_of_low_priority_gets_what_it_may),
        TEST(a_waiter_learns_of_the_close),
        TEST(nobody_is_forgotten_under_load),
        TEST_LOUD(circles_are_named),
        TEST_LOUD(a_chain_is_no_circle),
    };
    return cmocka_run_group_tests_name("chan_wait", tests, NULL, NULL);
}
