/* SPDX-License-Identifier: MIT */
/* What becomes of a task: yields, retries, failures, budgets, poison; scratch memory and blocks; idle workers. */
#include "harness.h"

#include <sys/resource.h>

enum {
    T_RUN = 1,
    T_YIELD,
    T_FEW,
    T_MANY,
    T_RETRY,
    T_ONCE,
    T_CODE,
    T_BUDGET,
    T_LETTER,
    T_BUMP,
    T_MEMORY,
    T_OTHER
};

static atomic_uint ran, runs_left;
static atomic_ullong started;

static int run_run(gmk_ctx_t *c)
{
    (void)c;
    if (atomic_load(&started) == 0)
        atomic_store(&started, kit_now());
    atomic_fetch_add(&ran, 1);
    return GMK_OK;
}

/* ---- yields ------------------------------------------------------------------------------- */

static atomic_ullong phases;

static int yield_run(gmk_ctx_t *c)
{
    atomic_fetch_add(&ran, 1);
    if (c->task->yield_count >= c->task->meta1)
        return GMK_OK;
    return gmk_yield(c);
}

static int phase_run(gmk_ctx_t *c)
{
    atomic_fetch_add(&phases, c->task->meta0 * 1000 + c->task->yield_count);
    return c->task->meta0 == 9 ? GMK_OK : gmk_yield_at(c, c->task->meta0 + 2);
}

/* Asks for ever. */
static int always_run(gmk_ctx_t *c)
{
    atomic_fetch_add(&ran, 1);
    return gmk_yield(c);
}

static int sub_one_run(gmk_ctx_t *c)
{
    atomic_fetch_add(&ran, 1);
    return atomic_fetch_sub(&runs_left, 1) > 1 ? gmk_yield(c) : GMK_OK;
}

static int letters_init(gmk_ctx_t *c) { return kit_hear(c, "sys.error", T_LETTER); }

static void boot_heard(kit_t *t, gmk_boot_cfg_t cfg, const gmk_handler_reg_t *h, uint32_t n)
{
    memset(&kit_dead, 0, sizeof kit_dead);
    atomic_store(&ran, 0);
    kit_boot_module(t, cfg,
                    (gmk_module_t){.name = "test", .handlers = h, .n_handlers = n, .init = letters_init});
}
#define BOOT_HEARD(t, cfg, h) boot_heard(t, cfg, h, sizeof(h) / sizeof((h)[0]))

static void a_yielding_task_runs_again_with_its_state(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_YIELD, .fn = yield_run},
                                          {.type = T_OTHER, .fn = phase_run}};
    kit_t t;
    (void)state;
    atomic_store(&ran, 0);
    atomic_store(&phases, 0);
    KIT_BOOT(&t, kit_cfg(2), h);
    gmk_task_t task = {.type = T_YIELD, .meta1 = 16}; /* as often as it may by default */
    assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    kit_drain(&t);
    assert_int_equal(atomic_load(&ran), 17);
    assert_int_equal(kit_stats(&t).yields, 16);
    assert_int_equal(kit_type(&t, T_YIELD).yields, 16);
    task = (gmk_task_t){.type = T_OTHER, .meta0 = 1};
    assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    kit_drain(&t);
    assert_int_equal(atomic_load(&phases), (1 + 3 + 5 + 7 + 9) * 1000 + (0 + 1 + 2 + 3 + 4));
    assert_int_equal(kit_stats(&t).completed, 2);
    kit_end(&t);
}

static void one_yield_too_many_fails(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_YIELD, .fn = always_run},
                                          {.type = T_FEW, .fn = always_run, .max_yields = 3},
                                          {.type = T_MANY, .fn = always_run, .max_yields = 65535},
                                          {.type = T_LETTER, .fn = kit_letter_run}};
    const uint32_t most[] = {16, 3, 65535};
    kit_t t;
    (void)state;
    BOOT_HEARD(&t, kit_cfg(1), h);
    for (uint32_t i = 0; i < 3; i++) {
        atomic_store(&ran, 0);
        kit_submit(&t, T_YIELD + i, NULL);
        KIT_WAIT(atomic_load(&kit_dead.n) == i + 1);
        assert_int_equal(atomic_load(&ran), most[i] + 1);
        assert_int_equal(kit_dead.letter[i].code, GMK_ERR_YIELD_LIMIT);
        assert_int_equal(kit_dead.letter[i].type, T_YIELD + i);
    }
    assert_int_equal(kit_stats(&t).failed, 3);
    kit_end(&t);
}

static void limits_that_no_task_can_count_to_are_refused(void **state)
{
    const gmk_handler_reg_t h[] = {{.type = T_RUN, .fn = run_run, .max_yields = 65536},
                                   {.type = T_RUN, .fn = run_run, .max_retries = 65536}};
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        gmk_kernel_t k;
        gmk_module_t m = {.name = "test", .handlers = &h[i], .n_handlers = 1}, *list[] = {&m};
        gmk_boot_cfg_t cfg = kit_cfg(1);
        assert_int_equal(gmk_boot(&k, &cfg, list, 1), GMK_ERR_RANGE);
    }
}

static void an_unlimited_type_yields_more_often_than_the_counter_holds(void **state)
{
    static const gmk_handler_reg_t h[] = {
        {.type = T_YIELD, .fn = sub_one_run, .max_yields = GMK_YIELDS_UNLIMITED}};
    kit_t t;
    (void)state;
    atomic_store(&ran, 0);
    atomic_store(&runs_left, 70000);
    KIT_BOOT(&t, kit_cfg(1), h);
    kit_submit(&t, T_YIELD, NULL);
    kit_drain(&t);
    assert_int_equal(atomic_load(&ran), 70000);
    assert_int_equal(kit_stats(&t).yields, 69999);
    kit_end(&t);
}

static void nobody_yields_outside_a_handler(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_RUN, .fn = run_run}};
    gmk_port_t port;
    kit_t t;
    (void)state;
    KIT_BOOT(&t, kit_cfg(1), h);
    assert_int_equal(gmk_attach(&t.k, &port), GMK_OK);
    assert_int_equal(gmk_yield(gmk_port_ctx(&port)), GMK_ERR_STATE);
    assert_int_equal(gmk_yield_at(gmk_port_ctx(&port), 1), GMK_ERR_STATE);
    assert_false(gmk_over_budget(gmk_port_ctx(&port)));
    assert_null(gmk_bump(gmk_port_ctx(&port), 16));
    assert_int_equal(gmk_self_worker(gmk_port_ctx(&port)), UINT32_MAX);
    gmk_detach(&port);
    kit_end(&t);
}

/* ---- retries ------------------------------------------------------------------------------ */

static uint64_t tried[16];

static int retry_run(gmk_ctx_t *c)
{
    uint32_t i = atomic_fetch_add(&ran, 1);
    if (i < 16)
        tried[i] = kit_now();
    return c->task->retry_count < c->task->meta1 ? GMK_RETRY : GMK_OK;
}

static void a_retry_backs_off_exponentially(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_RETRY, .fn = retry_run}};
    gmk_boot_cfg_t cfg = kit_cfg(2);
    kit_t t;
    (void)state;
    atomic_store(&ran, 0);
    cfg.retry_base_ns = KIT_MS;
    KIT_BOOT(&t, cfg, h);
    gmk_task_t task = {.type = T_RETRY, .meta1 = 6};
    assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    KIT_WAIT(atomic_load(&ran) == 7);
    kit_drain(&t);
    for (uint32_t i = 0; i < 6;
         i++) /* a quarter of jitter either way; a busy machine may be late, never early */
        assert_true(tried[i + 1] - tried[i] >= (KIT_MS << i) * 3 / 4);
    gmk_stats_t s = kit_stats(&t);
    assert_int_equal(s.retries, 6);
    assert_int_equal(s.completed, 1);
    assert_int_equal(kit_type(&t, T_RETRY).retries, 6);
    kit_end(&t);
}

static void one_retry_too_many_fails(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_RETRY, .fn = retry_run},
                                          {.type = T_ONCE, .fn = retry_run, .max_retries = 1},
                                          {.type = T_LETTER, .fn = kit_letter_run}};
    gmk_boot_cfg_t cfg = kit_cfg(2);
    kit_t t;
    (void)state;
    cfg.retry_base_ns = 1000;
    BOOT_HEARD(&t, cfg, h);
    for (uint32_t i = 0; i < 2; i++) {
        gmk_task_t task = {.type = T_RETRY + i, .meta1 = 100};
        atomic_store(&ran, 0);
        assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
        KIT_WAIT(atomic_load(&kit_dead.n) == i + 1);
        assert_int_equal(atomic_load(&ran), i == 0 ? 9 : 2);
        assert_int_equal(kit_dead.letter[i].code, GMK_ERR_RETRY_LIMIT);
    }
    kit_end(&t);
}

/* ---- results ------------------------------------------------------------------------------ */

/* Returns meta1 as its result, after asking to yield when meta0 says so. */
static int code_run(gmk_ctx_t *c)
{
    atomic_fetch_add(&ran, 1);
    if (c->task->meta0 == 1)
        (void)gmk_yield(c);
    return (int)(int64_t)c->task->meta1;
}

static void a_failure_is_reported_with_its_code(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_CODE, .fn = code_run},
                                          {.type = T_LETTER, .fn = kit_letter_run}};
    const int result[] = {GMK_FAIL(0), GMK_FAIL(77), GMK_ERR_NOTFOUND, -12345, 2, 1000};
    const int code[] = {-1000, -1077, GMK_ERR_NOTFOUND, -12345, GMK_ERR_INVAL, GMK_ERR_INVAL};
    kit_t t;
    (void)state;
    BOOT_HEARD(&t, kit_cfg(1), h);
    for (uint32_t i = 0; i < 6; i++) {
        gmk_task_t task = {.type = T_CODE, .meta1 = (uint64_t)(int64_t)result[i]};
        assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
        KIT_WAIT(atomic_load(&kit_dead.n) == i + 1);
        assert_int_equal(kit_dead.letter[i].code, code[i]);
        assert_int_equal(kit_dead.letter[i].type, T_CODE);
        assert_int_equal(kit_dead.letter[i].count, 1);
    }
    assert_int_equal(kit_type(&t, T_CODE).failed, 6);
    assert_int_equal(kit_stats(&t).dead_letters, 6);
    kit_end(&t);
}

static void a_bad_result_wins_over_a_yield(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_CODE, .fn = code_run},
                                          {.type = T_LETTER, .fn = kit_letter_run}};
    kit_t t;
    (void)state;
    BOOT_HEARD(&t, kit_cfg(1), h);
    gmk_task_t task = {.type = T_CODE, .meta0 = 1, .meta1 = (uint64_t)(int64_t)GMK_FAIL(5)};
    assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    KIT_WAIT(atomic_load(&kit_dead.n) == 1);
    kit_drain(&t);
    assert_int_equal(atomic_load(&ran), 1);
    assert_int_equal(kit_stats(&t).yields, 0);
    kit_end(&t);
}

/* ---- budgets ------------------------------------------------------------------------------ */

static atomic_uint over[2];

static int budget_run(gmk_ctx_t *c)
{
    if (c->task->meta1 == 0)
        return GMK_OK;
    atomic_store(&over[0], gmk_over_budget(c));
    KIT_HOLD(gmk_over_budget(c));
    atomic_store(&over[1], gmk_over_budget(c));
    return GMK_OK;
}

static void overruns_are_counted(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_BUDGET, .fn = budget_run, .budget_ns = 50 * KIT_MS},
                                          {.type = T_RUN, .fn = run_run}};
    gmk_boot_cfg_t cfg = kit_cfg(1);
    kit_t t;
    (void)state;
    cfg.trace_level = GMK_TRACE_WARN;
    KIT_BOOT(&t, cfg, h);
    for (uint32_t i = 0; i < 6; i++) {
        gmk_task_t task = {.type = T_BUDGET, .meta1 = i % 3 == 2};
        assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
        kit_submit(&t, T_RUN, NULL);
    }
    kit_drain(&t);
    assert_int_equal(atomic_load(&over[0]), 0);
    assert_int_equal(atomic_load(&over[1]), 1);
    assert_true(kit_stats(&t).overruns >= 2);
    assert_int_equal(kit_type(&t, T_BUDGET).overruns, kit_stats(&t).overruns);
    assert_int_equal(kit_type(&t, T_RUN).overruns, 0);
    assert_true(kit_type(&t, T_BUDGET).run_samples >= 6); /* every run with a budget is timed */
    kit_end(&t);
}

/* ---- poison ------------------------------------------------------------------------------- */

static void submit_codes(kit_t *t, uint32_t n, int code)
{
    for (uint32_t i = 0; i < n; i++) {
        gmk_task_t task = {.type = T_CODE, .meta1 = (uint64_t)(int64_t)code};
        assert_int_equal(gmk_submit(&t->k, &task), GMK_OK);
    }
    kit_drain(t);
}

static void a_type_that_keeps_failing_is_poisoned_until_reset(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_CODE, .fn = code_run}, {.type = T_RUN, .fn = run_run}};
    gmk_boot_cfg_t cfg = kit_cfg(2);
    kit_t t;
    (void)state;
    atomic_store(&ran, 0);
    cfg.poison_ns = 1000 * KIT_S;
    KIT_BOOT(&t, cfg, h);
    submit_codes(&t, 31, GMK_FAIL(1));
    submit_codes(&t, 10, GMK_OK);
    assert_int_equal(atomic_load(&ran), 41);
    assert_int_equal(kit_type(&t, T_CODE).poisoned, 0);
    submit_codes(&t, 1, GMK_FAIL(1));
    assert_int_equal(kit_type(&t, T_CODE).poisoned, 1);
    submit_codes(&t, 20, GMK_OK); /* not run */
    kit_submit(&t, T_RUN, NULL);  /* other types are */
    kit_drain(&t);
    assert_int_equal(atomic_load(&ran), 43);
    gmk_type_stats_t ts = kit_type(&t, T_CODE);
    assert_int_equal(ts.failed, 32 + 20);
    assert_int_equal(ts.completed, 10);
    for (uint32_t round = 0; round < 2; round++) {
        assert_int_equal(gmk_type_reset(&t.k, T_CODE), GMK_OK);
        assert_int_equal(kit_type(&t, T_CODE).poisoned, 0);
        submit_codes(&t, 31, GMK_FAIL(1)); /* the count starts afresh */
        submit_codes(&t, 1, GMK_OK);
        assert_int_equal(kit_type(&t, T_CODE).poisoned, 0);
        submit_codes(&t, 1, GMK_FAIL(1));
        assert_int_equal(kit_type(&t, T_CODE).poisoned, 1);
    }
    assert_int_equal(gmk_type_reset(&t.k, 256), GMK_ERR_RANGE);
    assert_int_equal(gmk_type_reset(&t.k, 99), GMK_ERR_NOTFOUND);
    assert_int_equal(gmk_type_reset(&t.k, 0), GMK_ERR_NOTFOUND);
    kit_end(&t);
}

static void failures_far_apart_are_no_poison(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_CODE, .fn = code_run}};
    gmk_boot_cfg_t cfg = kit_cfg(1);
    kit_t t;
    (void)state;
    cfg.poison_failures = 4;
    cfg.poison_ns = 3 * KIT_MS;
    KIT_BOOT(&t, cfg, h);
    for (uint32_t i = 0; i < 12; i++) { /* one per window: three of the last four are too old */
        uint64_t begin = kit_now();
        submit_codes(&t, 1, GMK_FAIL(1));
        KIT_WAIT(kit_now() - begin > 2 * KIT_MS);
    }
    assert_int_equal(kit_type(&t, T_CODE).poisoned, 0);
    kit_end(&t);
}

/* ---- memory ------------------------------------------------------------------------------- */

static atomic_uint wrong;
static void *bump_first;
#define EXPECT(cond)                                                                                         \
    do {                                                                                                     \
        if (!(cond) && atomic_exchange(&wrong, __LINE__) == 0)                                               \
            print_error("line %d: %s\n", __LINE__, #cond);                                                   \
    } while (0)

static int bump_run(gmk_ctx_t *c)
{
    unsigned char *p[8];
    uint64_t left = c->task->meta1, got = 0;
    EXPECT(gmk_bump(c, 0) == NULL && gmk_bump(c, SIZE_MAX) == NULL && gmk_bump(c, left + 1) == NULL);
    for (uint32_t i = 0; i < 8; i++) {
        p[i] = gmk_bump(c, 1 + 7 * i);
        EXPECT(p[i] != NULL && (uintptr_t)p[i] % 16 == 0);
        memset(p[i], (int)i, 1 + 7 * i);
    }
    for (uint32_t i = 0; i < 8; i++)
        for (uint32_t j = 0; j < 1 + 7 * i; j++)
            EXPECT(p[i][j] == i);
    if (bump_first == NULL)
        bump_first = p[0];
    EXPECT(p[0] == bump_first); /* every task starts with all of it */
    while (gmk_bump(c, 4096) != NULL)
        got += 4096;
    EXPECT(got > left - 2 * 4096 - 400 && gmk_bump(c, 4096) == NULL);
    gmk_bump_reset(c);
    EXPECT(gmk_bump(c, 16) == p[0]);
    atomic_fetch_add(&ran, 1);
    return GMK_OK;
}

static void scratch_memory_lasts_until_the_handler_returns(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_BUMP, .fn = bump_run}};
    kit_t t;
    (void)state;
    atomic_store(&ran, 0);
    atomic_store(&wrong, 0);
    bump_first = NULL;
    KIT_BOOT(&t, kit_cfg(1), h);
    for (uint32_t i = 0; i < 40; i++) {
        gmk_task_t task = {.type = T_BUMP, .meta1 = t.begin.bump_bytes};
        assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    }
    kit_drain(&t);
    assert_int_equal(atomic_load(&ran), 40);
    assert_int_equal(atomic_load(&wrong), 0);
    kit_end(&t);
}

static int memory_run(gmk_ctx_t *c)
{
    void *p[64];
    EXPECT(gmk_alloc(c, 0) == NULL && gmk_alloc(c, SIZE_MAX) == NULL);
    for (uint32_t i = 0; i < 64; i++) {
        p[i] = gmk_alloc(c, 1 + i * 97);
        EXPECT(p[i] != NULL);
        memset(p[i], 1, 1 + i * 97);
    }
    for (uint32_t i = 0; i < 64; i++)
        gmk_free(c, p[i]);
    gmk_free(c, NULL);

    char *q = gmk_payload_alloc(c, 1000);
    EXPECT(q != NULL && gmk_payload_retain(c, q) == GMK_OK);
    EXPECT(gmk_payload_release(c, q) == GMK_OK && gmk_payload_release(c, q) == GMK_OK);
    if (c->task->meta1 == 0) /* once: debug builds report it on the console */
        EXPECT(gmk_payload_release(c, q) < 0 && gmk_payload_retain(c, q) < 0);
    EXPECT(gmk_payload_release(c, &q) == GMK_ERR_INVAL && gmk_payload_retain(c, NULL) == GMK_ERR_INVAL);
    EXPECT(gmk_payload_alloc(c, SIZE_MAX) == NULL);
    atomic_fetch_add(&ran, 1);
    return GMK_OK;
}

static void handlers_take_and_give_back_memory(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_MEMORY, .fn = memory_run}};
    kit_t t;
    (void)state;
    atomic_store(&ran, 0);
    atomic_store(&wrong, 0);
    KIT_BOOT(&t, kit_cfg(2), h);
    for (uint32_t i = 0; i < 200; i++) {
        gmk_task_t task = {.type = T_MEMORY, .meta1 = i};
        assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    }
    kit_drain(&t);
    assert_int_equal(atomic_load(&ran), 200);
    assert_int_equal(atomic_load(&wrong), 0);
    gmk_mem_stats_t m;
    assert_int_equal(gmk_mem_stats(&t.k, &m), GMK_OK);
    assert_true(m.alloc_fails >= 400);
    kit_end(&t);
}

static void what_a_handler_leaks_shows_in_the_figures(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_RUN, .fn = run_run}};
    gmk_mem_stats_t m;
    gmk_port_t port;
    kit_t t;
    (void)state;
    KIT_BOOT(&t, kit_cfg(1), h);
    assert_int_equal(gmk_attach(&t.k, &port), GMK_OK);
    gmk_ctx_t *c = gmk_port_ctx(&port);
    void *p = gmk_payload_alloc(c, 100), *big = gmk_alloc(c, 1 << 20);
    assert_true(p != NULL && big != NULL);
    assert_int_equal(gmk_mem_stats(&t.k, &m), GMK_OK);
    assert_int_equal(m.payloads_live, 1);
    assert_true(m.spans_used >= t.begin.spans_used + 16);
    gmk_free(c, big);
    gmk_free(c, (char *)t.k.arena + 5); /* not a block: ignored and counted */
    assert_int_equal(gmk_payload_release(c, p), GMK_OK);
    assert_int_equal(gmk_mem_stats(&t.k, &m), GMK_OK);
    assert_int_equal(m.bad_frees, 1);
    t.begin.bad_frees = 1;
    gmk_detach(&port);
    kit_end(&t);
}

/* A counted payload is released after the outcome, whatever that is. */
static int payload_run(gmk_ctx_t *c)
{
    atomic_fetch_add(&ran, 1);
    return c->task->meta1 == 0      ? GMK_OK
         : c->task->meta1 == 1      ? GMK_FAIL(1)
         : c->task->yield_count < 3 ? gmk_yield(c)
                                    : (c->task->retry_count < 2 ? GMK_RETRY : GMK_OK);
}

static void a_payload_is_released_after_the_outcome(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_RUN, .fn = payload_run}};
    gmk_port_t port;
    kit_t t;
    (void)state;
    KIT_BOOT(&t, kit_cfg(2), h);
    assert_int_equal(gmk_attach(&t.k, &port), GMK_OK);
    gmk_ctx_t *c = gmk_port_ctx(&port);
    for (uint32_t i = 0; i < 30; i++) {
        void *p = gmk_payload_alloc(c, 10 + i * 100);
        assert_non_null(p);
        gmk_task_t task = {.type = i % 4 == 3 ? 99 : T_RUN, /* completes, fails, goes round, is dropped */
                           .flags = GMK_TASK_PAYLOAD_RC,
                           .payload_ptr = (uint64_t)(uintptr_t)p,
                           .payload_len = 10,
                           .meta1 = i % 4};
        task.tenant = 7; /* wrong: still ours */
        assert_int_equal(gmk_emit(c, &task), GMK_ERR_RANGE);
        task.tenant = 0;
        assert_int_equal(gmk_emit(c, &task), GMK_OK);
    }
    gmk_detach(&port);
    kit_end(&t);
}

/* ---- idle workers ------------------------------------------------------------------------- */

static uint64_t cpu_ns(void)
{
    struct rusage u;
    assert_int_equal(getrusage(RUSAGE_SELF, &u), 0);
    return ((uint64_t)u.ru_utime.tv_sec + (uint64_t)u.ru_stime.tv_sec) * KIT_S +
           ((uint64_t)u.ru_utime.tv_usec + (uint64_t)u.ru_stime.tv_usec) * 1000;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void an_idle_kernel_uses_no_cpu_and_wakes_at_once(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_RUN, .fn = run_run}};
    gmk_boot_cfg_t cfg = kit_cfg(4);
    uint64_t took[21];
    kit_t t;
    (void)state;
    cfg.watchdog_ns = 10 * KIT_MS;
    KIT_BOOT(&t, cfg, h);
    for (uint32_t i = 0; i < 1000; i++)
        kit_submit(&t, T_RUN, NULL);
    kit_drain(&t);
    gmk_task_t later = {.type = T_RUN};
    assert_int_equal(gmk_submit_after(&t.k, &later, 3600 * KIT_S), GMK_OK); /* a timer costs nothing either */
    struct timespec settle = {.tv_nsec = 200000000}, span = {.tv_sec = kit_env("GMK_TEST_LONG") ? 10 : 2};
    nanosleep(&settle, NULL); /* until the watchdog sleeps too */
    uint64_t parks = kit_stats(&t).parks, before = cpu_ns();
    nanosleep(&span, NULL); /* what is measured */
    uint64_t used = cpu_ns() - before;
    assert_int_equal(kit_stats(&t).parks, parks);
    print_message("# idle: %llu us of CPU in %ld s\n", (unsigned long long)(used / 1000), (long)span.tv_sec);
    assert_true(used < (KIT_TSAN || KIT_ASAN ? 100 * KIT_MS : 3 * KIT_MS));
    for (uint32_t i = 0; i < 21; i++) {
        KIT_WAIT(kit_stats(&t).parked == 4);
        atomic_store(&started, 0);
        uint64_t begin = kit_now();
        kit_submit(&t, T_RUN, NULL);
        KIT_WAIT(atomic_load(&started) != 0);
        took[i] = atomic_load(&started) - begin;
    }
    qsort(took, 21, sizeof took[0], by_size);
    print_message("# a parked kernel starts a task after %llu us (median)\n",
                  (unsigned long long)(took[10] / 1000));
    assert_true(took[0] < 5 * KIT_MS); /* the best of 21: other programs use this machine too */
    kit_drain(&t);
    kit_conserved(&t, 1);
    kit_memory_back(&t);
    assert_int_equal(gmk_halt(&t.k), GMK_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_yielding_task_runs_again_with_its_state),
        cmocka_unit_test(one_yield_too_many_fails),
        cmocka_unit_test(limits_that_no_task_can_count_to_are_refused),
        cmocka_unit_test(an_unlimited_type_yields_more_often_than_the_counter_holds),
        cmocka_unit_test(nobody_yields_outside_a_handler),
        cmocka_unit_test(a_retry_backs_off_exponentially),
        cmocka_unit_test(one_retry_too_many_fails),
        cmocka_unit_test(a_failure_is_reported_with_its_code),
        cmocka_unit_test(a_bad_result_wins_over_a_yield),
        cmocka_unit_test(overruns_are_counted),
        cmocka_unit_test(a_type_that_keeps_failing_is_poisoned_until_reset),
        cmocka_unit_test(failures_far_apart_are_no_poison),
        cmocka_unit_test(scratch_memory_lasts_until_the_handler_returns),
        cmocka_unit_test(handlers_take_and_give_back_memory),
        cmocka_unit_test(what_a_handler_leaks_shows_in_the_figures),
        cmocka_unit_test(a_payload_is_released_after_the_outcome),
        cmocka_unit_test(an_idle_kernel_uses_no_cpu_and_wakes_at_once),
    };
    return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}
