/* SPDX-License-Identifier: MIT */
/*
 * Deterministic mode: one input, one hash, whatever the number of workers.  The workload makes its
 * decisions out of the values it carries: serial and parallel types, several priorities, emissions
 * direct, for later ticks and on channels (P2P, fan-out, with fewer slots than messages), retries,
 * yields, failures, poison and payloads.
 */
#include "harness.h"

#include "core.h"

#include <pthread.h>

enum {
    T_SERIAL = 1,
    T_PAR,
    T_RETRY,
    T_YIELD,
    T_FAIL,
    T_LEAF,
    T_PAYLOAD,
    T_PLAIN,
    T_HEAR,
    T_FAULT,
    T_GROW,
    T_FILL,
    T_WHEN,
    T_LETTER
};

static gmk_chan_t p2p, fan;
static atomic_ullong order_hash; /* of what serial handlers see, in the order in which they run */
static atomic_uint order_n, odd;
static kit_gate_t gate;

static uint64_t mix(uint64_t x) /* the finalizer of splitmix64 (Steele, Lea, Flood 2014) */
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Serial handlers run one at a time, so this needs no lock; a second thread inside would show. */
static void note(gmk_ctx_t *c)
{
    static atomic_uint inside;
    if (atomic_fetch_add(&inside, 1) != 0)
        atomic_store(&odd, 1);
    uint64_t h = atomic_load(&order_hash);
    h = mix(h ^ c->task->meta0 ^ (uint64_t)c->task->type << 40 ^ gmk_tick(c) ^ (uint64_t)c->task->seq << 20);
    atomic_store(&order_hash, h);
    atomic_fetch_add(&order_n, 1);
    atomic_fetch_sub(&inside, 1);
}

static void check(bool ok)
{
    if (!ok)
        atomic_store(&odd, 1);
}

static gmk_task_t child(const gmk_task_t *t, uint32_t i)
{
    static const uint32_t type[] = {T_SERIAL, T_PAR, T_RETRY, T_YIELD, T_FAIL, T_LEAF, T_PAR, T_PAYLOAD};
    uint64_t v = mix(t->meta0 + i);
    return (gmk_task_t){.type = type[v % 8],
                        .flags = (uint16_t)(GMK_TASK_DETERMINISTIC | (v >> 8 & GMK_PRIO_MASK)),
                        .meta0 = v,
                        .meta1 = t->meta1 - 1};
}

/* Children, direct or on channels, some of them some ticks later. */
static void spawn(gmk_ctx_t *c)
{
    const gmk_task_t *t = c->task;
    uint64_t v = mix(t->meta0);
    for (uint32_t i = 0; t->meta1 != 0 && i < 1 + v % 3; i++) {
        gmk_task_t next = child(t, i);
        switch (v >> (8 + i) & 7) {
        case 0:
            check(gmk_chan_emit(
                      c, p2p, &(gmk_task_t){.flags = next.flags, .meta0 = next.meta0, .meta1 = next.meta1}) ==
                  GMK_OK);
            break;
        case 1:
            check(gmk_chan_emit(c, fan, &(gmk_task_t){.flags = next.flags, .meta0 = next.meta0}) == GMK_OK);
            break;
        case 2: check(gmk_emit_at(c, &next, gmk_tick(c) + 1 + (uint32_t)(v >> 20 & 3)) == GMK_OK); break;
        case 3: check(gmk_emit_n(c, &next, 1) == 1); break;
        default: check(gmk_emit(c, &next) == GMK_OK);
        }
    }
}

static int serial_run(gmk_ctx_t *c)
{
    note(c);
    spawn(c);
    return GMK_OK;
}

static int par_run(gmk_ctx_t *c)
{
    spawn(c);
    return c->task->meta0 % 97 == 0 ? GMK_FAIL(3) : GMK_OK;
}

static int retry_run(gmk_ctx_t *c)
{
    note(c);
    if (c->task->retry_count < c->task->meta0 % 5)
        return GMK_RETRY;
    spawn(c);
    return GMK_OK;
}

static int yield_run(gmk_ctx_t *c)
{
    if (c->task->yield_count < c->task->meta0 % 4)
        return gmk_yield_at(c, c->task->meta0 + 4);
    spawn(c);
    return GMK_OK;
}

static int fail_run(gmk_ctx_t *c)
{
    note(c);
    return c->task->meta0 % 3 == 0 ? GMK_OK : GMK_FAIL(c->task->meta0 % 100);
}

static int leaf_run(gmk_ctx_t *c)
{
    (void)c;
    return GMK_OK;
}

/* Reads its payload, or sends one on. */
static int payload_run(gmk_ctx_t *c)
{
    gmk_task_t t = {.type = T_PAYLOAD, .flags = GMK_TASK_DETERMINISTIC, .meta0 = mix(c->task->meta0)};
    if (c->task->payload_ptr != 0) {
        const unsigned char *p = (const unsigned char *)(uintptr_t)c->task->payload_ptr;
        for (uint32_t i = 0; i < c->task->payload_len; i++)
            check(p[i] == (unsigned char)(i + p[0]));
        return GMK_OK;
    }
    uint32_t n = 1 + (uint32_t)(t.meta0 % 300);
    unsigned char *p = gmk_payload_alloc(c, n);
    check(p != NULL);
    if (p == NULL)
        return GMK_FAIL(1);
    for (uint32_t i = 0; i < n; i++)
        p[i] = (unsigned char)(i + t.meta0);
    t.payload_ptr = (uint64_t)(uintptr_t)p;
    t.payload_len = n;
    t.flags |= GMK_TASK_PAYLOAD_RC;
    if ((t.meta0 >> 30 & 1) != 0) {
        t.type = 0;
        check(gmk_chan_emit(c, fan, &t) == GMK_OK);
    } else {
        check(gmk_emit(c, &t) == GMK_OK);
    }
    return GMK_OK;
}

static int hear_run(gmk_ctx_t *c)
{
    if ((c->task->flags & GMK_TASK_PAYLOAD_RC) == 0)
        spawn(c);
    return GMK_OK;
}

static KIT_WILD int fault_run(gmk_ctx_t *c)
{
    note(c);
    if (c->task->meta0 % 2 == 0)
        *(volatile int *)(uintptr_t)(c->task->meta0 % 8) = 1;
    return GMK_OK;
}

/* Notes the tick it runs in, under the number in meta1; waits for the gate when it has one. */
static atomic_uint ran_in[64];

static int when_run(gmk_ctx_t *c)
{
    atomic_store(&ran_in[c->task->meta1 % 64], gmk_tick(c));
    return c->task->meta0 != 0 ? kit_gate_run(c) : GMK_OK;
}

static int open_channels(gmk_ctx_t *c)
{
    gmk_sub_t sub;
    int rc = gmk_chan_open(c, &(gmk_chan_cfg_t){.name = "det.p2p", .slots = 3}, &p2p);
    if (rc == GMK_OK)
        rc = gmk_chan_open(c, &(gmk_chan_cfg_t){.name = "det.fan", .mode = GMK_FANOUT, .slots = 5}, &fan);
    if (rc == GMK_OK)
        rc = gmk_chan_sub(c, p2p, &(gmk_sub_cfg_t){.handler = T_HEAR}, &sub);
    for (uint32_t i = 0; i < 3 && rc == GMK_OK; i++)
        rc = gmk_chan_sub(c, fan, &(gmk_sub_cfg_t){.handler = i == 0 ? T_PAYLOAD : T_HEAR, .order = i == 2},
                          &sub);
    return rc;
}

static int grow_run(gmk_ctx_t *c);

static const gmk_handler_reg_t handlers[] = {
    {.type = T_SERIAL, .fn = serial_run, .flags = GMK_HANDLER_DETERMINISTIC},
    {.type = T_PAR, .fn = par_run, .flags = GMK_HANDLER_DET_PARALLEL},
    {.type = T_RETRY, .fn = retry_run, .flags = GMK_HANDLER_DETERMINISTIC, .max_retries = 3},
    {.type = T_YIELD, .fn = yield_run, .flags = GMK_HANDLER_DET_PARALLEL, .max_yields = 2},
    {.type = T_FAIL, .fn = fail_run, .flags = GMK_HANDLER_DETERMINISTIC},
    {.type = T_LEAF, .fn = leaf_run, .flags = GMK_HANDLER_DET_PARALLEL},
    {.type = T_PAYLOAD, .fn = payload_run, .flags = GMK_HANDLER_DET_PARALLEL},
    {.type = T_HEAR, .fn = hear_run, .flags = GMK_HANDLER_DET_PARALLEL},
    {.type = T_FAULT, .fn = fault_run, .flags = GMK_HANDLER_DETERMINISTIC},
    {.type = T_GROW, .fn = grow_run, .flags = GMK_HANDLER_DETERMINISTIC},
    {.type = T_PLAIN, .fn = leaf_run},
    {.type = T_FILL, .fn = kit_gate_run},
    {.type = T_WHEN, .fn = when_run, .flags = GMK_HANDLER_DETERMINISTIC},
    {.type = T_LETTER, .fn = kit_letter_run},
};

static void boot(kit_t *t, uint32_t workers, uint32_t flags)
{
    gmk_boot_cfg_t cfg = kit_cfg(workers);
    cfg.flags |= flags;
    cfg.rq_slots = 64;
    cfg.lq_slots = 16;
    cfg.task_max = 64; /* deterministic work takes no credits */
    atomic_store(&order_hash, 0);
    atomic_store(&order_n, 0);
    atomic_store(&odd, 0);
    kit_boot_module(t, cfg,
                    (gmk_module_t){.name = "det",
                                   .handlers = handlers,
                                   .n_handlers = sizeof handlers / sizeof handlers[0],
                                   .init = open_channels});
}

typedef struct result {
    uint64_t hash, order, completed, failed, dropped, retries, yields, faults;
    uint32_t notes, tick;
} result_t;

enum { PACE_DRAINED, PACE_BURST, PACE_AUTO };

static gmk_task_t input(uint32_t i, uint32_t depth)
{
    static const uint32_t type[] = {T_SERIAL, T_PAR, T_FAULT, T_YIELD, T_RETRY, T_SERIAL};
    return (gmk_task_t){.type = type[i % 6],
                        .flags = (uint16_t)(GMK_TASK_DETERMINISTIC | (i & GMK_PRIO_MASK)),
                        .meta0 = mix(i),
                        .meta1 = depth};
}

#define TICKS 60u

static result_t workload(uint32_t workers, uint32_t pace)
{
    kit_t t;
    boot(&t, workers, 0);
    for (uint32_t i = 0; i < 60; i++) {
        gmk_task_t task = input(i, 6);
        if (i < 30)
            assert_int_equal(gmk_submit_at(&t.k, &task, 1 + i % 3), GMK_OK);
        else
            assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    }
    for (uint32_t i = 1; i <= TICKS; i++) {
        assert_int_equal(gmk_tick_advance(&t.k), i);
        if (pace == PACE_DRAINED)
            kit_drain(&t);
    }
    kit_drain(&t);
    gmk_stats_t s = kit_stats(&t);
    assert_int_equal(atomic_load(&odd), 0);
    assert_int_equal(s.pending, 0);
    result_t r = {.hash = s.det_hash,
                  .order = atomic_load(&order_hash),
                  .completed = s.completed,
                  .failed = s.failed,
                  .dropped = s.dropped,
                  .retries = s.retries,
                  .yields = s.yields,
                  .faults = s.faults,
                  .notes = atomic_load(&order_n),
                  .tick = s.tick};
    kit_end(&t);
    return r;
}

static uint32_t runs(void) { return kit_env("GMK_TEST_LONG") ? 100 : KIT_TSAN || KIT_ASAN ? 3 : 25; }

static void one_workload_has_one_hash_with_any_number_of_workers(void **state)
{
    static const uint32_t workers[] = {1, 2, 3, 8};
    (void)state;
    result_t first = workload(1, PACE_DRAINED);
    assert_true(first.completed > 300 && first.failed > 5 && first.retries > 5 && first.yields > 5 &&
                first.faults > 2);
    for (uint32_t run = 0; run < runs(); run++)
        for (uint32_t i = 0; i < 4; i++) {
            result_t r = workload(workers[i], run % 2 == 0 ? PACE_DRAINED : PACE_BURST);
            if (memcmp(&r, &first, sizeof r) != 0)
                fail_msg(
                    "run %u with %u workers: hash %llx, not %llx; order %llx, not %llx; %llu/%llu/%llu, not %llu/%llu/%llu",
                    run, workers[i], (unsigned long long)r.hash, (unsigned long long)first.hash,
                    (unsigned long long)r.order, (unsigned long long)first.order,
                    (unsigned long long)r.completed, (unsigned long long)r.failed,
                    (unsigned long long)r.dropped, (unsigned long long)first.completed,
                    (unsigned long long)first.failed, (unsigned long long)first.dropped);
        }
}

static void another_input_has_another_hash(void **state)
{
    uint64_t hash[3];
    kit_t t;
    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        boot(&t, 2, 0);
        gmk_task_t task = input(1, 0);
        task.meta1 = i == 1 ? 1u << 20 : 0; /* one bit of one task; or a tenant, or nothing */
        task.type = T_LEAF;
        assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
        if (i == 2)
            (void)gmk_tick_advance(&t.k), task.meta0++, assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
        (void)gmk_tick_advance(&t.k);
        kit_drain(&t);
        hash[i] = kit_stats(&t).det_hash;
        kit_end(&t);
    }
    assert_true(hash[0] != hash[1] && hash[0] != hash[2] && hash[1] != hash[2] && hash[0] != 0);
}

/* One root: when it starts does not matter, all else follows from it. */
static result_t auto_run(uint32_t seed, uint32_t workers)
{
    kit_t t;
    boot(&t, workers, GMK_BOOT_AUTO_TICK);
    gmk_task_t task = input(6 * seed, 9);
    assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    KIT_WAIT((kit_drain(&t), kit_stats(&t).pending == 0));
    gmk_stats_t s = kit_stats(&t);
    result_t r = {
        .hash = s.det_hash, .order = atomic_load(&order_hash), .completed = s.completed, .tick = s.tick};
    assert_int_equal(atomic_load(&odd), 0);
    kit_end(&t);
    return r;
}

static void auto_tick_leaps_over_ticks_without_work(void **state)
{
    const uint32_t far = 2000000000;
    kit_t t;
    (void)state;
    boot(&t, 2, GMK_BOOT_AUTO_TICK);
    gmk_task_t task = input(1, 0);
    task.type = T_LEAF;
    assert_int_equal(gmk_submit_at(&t.k, &task, far), GMK_OK);
    assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    KIT_WAIT((kit_drain(&t), kit_stats(&t).pending == 0));
    gmk_stats_t s = kit_stats(&t);
    assert_int_equal(s.completed, 2);
    assert_in_range(s.tick, far - 1, far + 1);
    kit_end(&t);
}

static void input_for_a_tick_that_was_leapt_over_runs_in_the_next(void **state)
{
    const uint32_t far = 2000000000;
    static const uint32_t ahead[] = {0, 1, 3, 1}; /* of far: runs in it, too late, in time, no wish */
    kit_t t;
    (void)state;
    boot(&t, 2, GMK_BOOT_AUTO_TICK);
    atomic_store(&gate.in, 0);
    atomic_store(&gate.open, 0);
    gmk_task_t task = kit_task(T_WHEN, &gate);
    task.flags = GMK_TASK_DETERMINISTIC;
    assert_int_equal(gmk_submit_at(&t.k, &task, far), GMK_OK);
    KIT_WAIT(atomic_load(&gate.in) == 1); /* tick `far` is under way */
    task.meta0 = 0;
    task.meta1 = 1;
    assert_int_equal(gmk_submit_at(&t.k, &task, 5), GMK_OK);
    task.meta1 = 2;
    assert_int_equal(gmk_submit_at(&t.k, &task, far + 3), GMK_OK);
    task.meta1 = 3;
    assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    kit_gate_open(&gate);
    KIT_WAIT((kit_drain(&t), kit_stats(&t).pending == 0));
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(atomic_load(&ran_in[i]), far + ahead[i]);
    assert_int_equal(kit_stats(&t).tick, far + 3);
    kit_end(&t);
}

typedef struct rival {
    gmk_kernel_t *k;
    uint32_t tick, number;
} rival_t;

static void *submit_rival(void *arg)
{
    const rival_t *r = arg;
    gmk_task_t task = {.type = T_WHEN, .flags = GMK_TASK_DETERMINISTIC, .meta1 = r->number};
    check(gmk_submit_at(r->k, &task, r->tick) == GMK_OK);
    return NULL;
}

/* A far tick and a near one, handed in at once: both run, the far one in its tick. */
static void inputs_that_race_a_leap_are_not_lost(void **state)
{
    kit_t t;
    uint32_t base = 0;
    (void)state;
    boot(&t, 2, GMK_BOOT_AUTO_TICK);
    for (uint32_t i = 0; i < 100; i++) {
        pthread_t thread;
        rival_t near = {&t.k, base + 3, 1}, far = {&t.k, base + 1000, 2};
        atomic_store(&ran_in[1], 0);
        atomic_store(&ran_in[2], 0);
        assert_int_equal(pthread_create(&thread, NULL, submit_rival, &near), 0);
        (void)submit_rival(&far);
        assert_int_equal(pthread_join(thread, NULL), 0);
        KIT_WAIT((kit_drain(&t), kit_stats(&t).pending == 0));
        assert_int_equal(atomic_load(&ran_in[2]), base + 1000);
        assert_true(atomic_load(&ran_in[1]) == base + 3 || atomic_load(&ran_in[1]) == base + 1000 ||
                    atomic_load(&ran_in[1]) == base + 1001);
        base = kit_stats(&t).tick;
    }
    assert_int_equal(atomic_load(&odd), 0);
    kit_end(&t);
}

static void auto_tick_runs_until_nothing_waits_for_a_tick(void **state)
{
    uint32_t most = 0;
    (void)state;
    for (uint32_t seed = 0; seed < 12; seed++) {
        result_t one = auto_run(seed, 1), four = auto_run(seed, 4);
        assert_memory_equal(&one, &four, sizeof one);
        most = one.tick > most ? one.tick : most;
    }
    assert_true(most > 7);
}

static void input_for_a_later_tick_waits_for_it(void **state)
{
    kit_t t;
    (void)state;
    boot(&t, 2, 0);
    gmk_task_t task = {.type = T_SERIAL, .flags = GMK_TASK_DETERMINISTIC};
    assert_int_equal(gmk_submit_at(&t.k, &task, 5), GMK_OK);
    assert_int_equal(gmk_submit_at(&t.k, &task, 5), GMK_OK);
    assert_int_equal(gmk_submit_at(&t.k, &task, (uint32_t)-7), GMK_OK); /* has been: the next one */
    assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    kit_drain(&t);
    kit_conserved(&t, 4);
    for (uint32_t tick = 1; tick < 5; tick++) {
        assert_int_equal(gmk_tick_advance(&t.k), tick);
        kit_drain(&t);
        assert_int_equal(atomic_load(&order_n), 2);
    }
    assert_int_equal(gmk_tick_advance(&t.k), 5);
    kit_drain(&t);
    assert_int_equal(atomic_load(&order_n), 4);
    kit_end(&t);
}

static void tasks_of_a_tick_run_by_priority_type_and_number(void **state)
{
    kit_t t;
    uint64_t expect = 0;
    (void)state;
    boot(&t, 3, 0);
    for (uint32_t i = 0; i < 24; i++) { /* priorities and types mixed up, the later the more urgent */
        gmk_task_t task = {.type = i % 2 == 0 ? T_FAULT : T_SERIAL,
                           .flags = (uint16_t)(GMK_TASK_DETERMINISTIC | (3 - i / 6)),
                           .meta0 = 2 * i + 1};
        assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    }
    (void)gmk_tick_advance(&t.k);
    kit_drain(&t);
    for (uint32_t prio = 0; prio < 4; prio++)
        for (uint32_t type = 0; type < 2; type++)
            for (uint32_t i = 18 - 6 * prio; i < 24 - 6 * prio; i++)
                if (i % 2 != type)
                    expect = mix(expect ^ (2 * i + 1) ^ (uint64_t)(type == 0 ? T_SERIAL : T_FAULT) << 40 ^ 1 ^
                                 (uint64_t)i << 20);
    assert_int_equal(atomic_load(&order_n), 24);
    assert_true(atomic_load(&order_hash) == expect);
    kit_end(&t);
}

static void faults_fail_their_task_and_the_tick_goes_on(void **state)
{
    kit_t t;
    (void)state;
    boot(&t, 2, 0);
    for (uint32_t i = 0; i < 40; i++) {
        gmk_task_t task = {.type = T_FAULT, .flags = GMK_TASK_DETERMINISTIC, .meta0 = i};
        assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    }
    (void)gmk_tick_advance(&t.k);
    kit_drain(&t);
    assert_int_equal(atomic_load(&order_n), 40);
    gmk_stats_t s = kit_stats(&t);
    assert_int_equal(s.faults, 20);
    assert_int_equal(s.failed, 20);
    assert_int_equal(s.completed, 20);
    kit_end(&t);
}

/* Fails so often that its type is poisoned, on many workers at once: always with the same tick. */
static void poison_starts_with_a_tick(void **state)
{
    result_t first = {0};
    (void)state;
    for (uint32_t run = 0; run < 12; run++) {
        kit_t t;
        boot(&t, 1 + run % 4, 0);
        for (uint32_t i = 0; i < 120; i++) {
            gmk_task_t task = {.type = T_PAR, .flags = GMK_TASK_DETERMINISTIC, .meta0 = (uint64_t)i * 97};
            assert_int_equal(gmk_submit_at(&t.k, &task, 1 + i / 50), GMK_OK);
        }
        for (uint32_t i = 0; i < 3; i++)
            (void)gmk_tick_advance(&t.k);
        kit_drain(&t);
        assert_int_equal(kit_type(&t, T_PAR).poisoned, 1);
        gmk_stats_t s = kit_stats(&t);
        result_t r = {.hash = s.det_hash, .failed = s.failed};
        assert_int_equal(s.failed, 120);
        if (run == 0)
            first = r;
        assert_memory_equal(&r, &first, sizeof r);
        kit_end(&t);
    }
}

static void a_channel_hands_over_as_many_messages_as_it_has_slots(void **state)
{
    kit_t t;
    gmk_port_t port;
    (void)state;
    boot(&t, 2, 0);
    assert_int_equal(gmk_attach(&t.k, &port), GMK_OK);
    for (uint32_t i = 0; i < 10; i++) {
        gmk_task_t msg = {.flags = GMK_TASK_DETERMINISTIC, .meta0 = i};
        assert_int_equal(gmk_chan_emit(gmk_port_ctx(&port), p2p, &msg), GMK_OK);
        assert_int_equal(gmk_chan_emit(gmk_port_ctx(&port), fan, &msg), GMK_OK);
    }
    static const uint32_t after[] = {3 + 5 * 3, 6 + 10 * 3, 9 + 10 * 3, 10 + 10 * 3, 10 + 10 * 3};
    for (uint32_t i = 0; i < 5; i++) { /* T_PAYLOAD, one of the three on fan, sends one on in the next tick */
        (void)gmk_tick_advance(&t.k);
        kit_drain(&t);
        assert_true(kit_type(&t, T_HEAR).completed + kit_type(&t, T_PAYLOAD).completed >= after[i]);
    }
    for (uint32_t i = 0; i < 10; i++) {
        (void)gmk_tick_advance(&t.k);
        kit_drain(&t);
    }
    assert_int_equal(kit_stats(&t).failed + kit_stats(&t).dropped, 0);
    gmk_detach(&port);
    kit_end(&t);
}

static void a_closed_channel_hears_no_deterministic_message(void **state)
{
    kit_t t;
    gmk_port_t port;
    (void)state;
    boot(&t, 1, 0);
    assert_int_equal(gmk_attach(&t.k, &port), GMK_OK);
    gmk_ctx_t *c = gmk_port_ctx(&port);
    void *p = gmk_payload_alloc(c, 100);
    gmk_task_t msg = {.flags = GMK_TASK_DETERMINISTIC | GMK_TASK_PAYLOAD_RC,
                      .payload_ptr = (uint64_t)(uintptr_t)p,
                      .payload_len = 100};
    assert_int_equal(gmk_chan_emit(c, fan, &msg), GMK_OK);
    assert_int_equal(gmk_chan_close(c, fan), GMK_OK);
    assert_int_equal(gmk_wait_closed(c, fan, KIT_PATIENCE), GMK_OK);
    assert_int_equal(gmk_chan_emit(c, fan, &msg), GMK_CHAN_CLOSED);
    (void)gmk_tick_advance(&t.k);
    kit_drain(&t);
    gmk_detach(&port);
    assert_int_equal(gmk_mem_stats(&t.k, &t.begin), GMK_OK); /* what belonged to the channel is gone */
    assert_int_equal(t.begin.payloads_live, 0);
    gmk_stats_t s = kit_stats(&t);
    assert_int_equal(s.accepted, 1); /* it was answered OK: so it is accounted for */
    assert_int_equal(s.dropped, 1);
    assert_int_equal(s.dead_letters, 1);
    kit_end(&t);
}

/* The same while the channel is still there, because a subscriber is at work on an older message. */
static void a_closing_channel_drops_deterministic_messages(void **state)
{
    kit_t t;
    gmk_port_t port;
    gmk_chan_t ch;
    gmk_sub_t sub;
    gmk_chan_stats_t figures;
    (void)state;
    boot(&t, 2, 0);
    memset(&kit_dead, 0, sizeof kit_dead);
    atomic_store(&gate.in, 0);
    atomic_store(&gate.open, 0);
    assert_int_equal(gmk_attach(&t.k, &port), GMK_OK);
    gmk_ctx_t *c = gmk_port_ctx(&port);
    assert_int_equal(kit_hear(c, "sys.dropped", T_LETTER), GMK_OK);
    gmk_chan_cfg_t cfg = {.name = "det.shut", .mode = GMK_FANOUT, .msg_type = T_HEAR, .slots = 2};
    assert_int_equal(gmk_chan_open(c, &cfg, &ch), GMK_OK);
    assert_int_equal(gmk_chan_sub(c, ch, &(gmk_sub_cfg_t){.handler = T_FILL}, &sub), GMK_OK);
    gmk_task_t plain = kit_task(0, &gate), msg = {.flags = GMK_TASK_DETERMINISTIC};
    assert_int_equal(gmk_chan_emit(c, ch, &plain), GMK_OK);
    KIT_WAIT(atomic_load(&gate.in) == 1);
    for (uint32_t i = 0; i < 5; i++) /* more than the channel has slots: all are dropped at once */
        assert_int_equal(gmk_chan_emit(c, ch, &msg), GMK_OK);
    assert_int_equal(gmk_chan_close(c, ch), GMK_OK);
    (void)gmk_tick_advance(&t.k);
    gmk_stats_t s = kit_stats(&t);
    assert_int_equal(s.dropped, 5);
    assert_int_equal(s.unheard, 0);
    assert_int_equal(gmk_chan_stats(&t.k, ch, &figures), GMK_OK);
    assert_int_equal(figures.dropped, 5);
    kit_gate_open(&gate);
    KIT_WAIT(atomic_load(&kit_dead.count) == 5);
    for (uint32_t i = 0; i < atomic_load(&kit_dead.n); i++) {
        assert_int_equal(kit_dead.letter[i].code, GMK_DROP_CLOSED);
        assert_int_equal(kit_dead.letter[i].type, T_HEAR);
    }
    assert_int_equal(gmk_wait_closed(c, ch, KIT_PATIENCE), GMK_OK);
    assert_int_equal(gmk_mem_stats(&t.k, &t.begin), GMK_OK);
    gmk_detach(&port);
    kit_end(&t);
}

static void a_deterministic_message_behind_ordinary_ones_waits_for_its_tick(void **state)
{
    kit_t t;
    gmk_port_t port;
    gmk_task_t msg[4] = {{.meta0 = 0}, {.flags = GMK_TASK_DETERMINISTIC}, {.meta0 = 0}, {.meta0 = 0}};
    (void)state;
    boot(&t, 2, 0);
    msg[3].flags = GMK_TASK_DETERMINISTIC;
    assert_int_equal(gmk_attach(&t.k, &port), GMK_OK);
    gmk_ctx_t *c = gmk_port_ctx(&port);
    assert_int_equal(gmk_chan_emit_n(c, p2p, msg, 4), 4);
    kit_drain(&t);
    assert_int_equal(kit_stats(&t).completed, 2);
    assert_true(kit_stats(&t).det_hash == 0);
    (void)gmk_tick_advance(&t.k);
    kit_drain(&t);
    assert_int_equal(kit_stats(&t).completed, 4);
    assert_true(kit_stats(&t).det_hash != 0);
    gmk_detach(&port);
    kit_end(&t);
}

/* ---- threads from outside ----------------------------------------------------------------- */

static atomic_uint advancing, advanced, lock_free, saw_free;

static void *advance(void *arg)
{
    kit_t *t = arg;
    atomic_store(&advancing, 1);
    (void)gmk_tick_advance(&t->k);
    atomic_store(&saw_free, atomic_load(&lock_free));
    atomic_store(&advanced, 1);
    return NULL;
}

/*
 * A thread from outside holds no grace period up, so it may look subscribers up only while nothing can
 * be freed: with the control lock, which this test has.  It gives a wrong tick some time to get by.
 */
static void a_tick_from_outside_keeps_the_subscribers_it_looks_up(void **state)
{
    kit_t t;
    gmk_port_t port;
    pthread_t thread;
    gmk_task_t msg = {.flags = GMK_TASK_DETERMINISTIC};
    (void)state;
    boot(&t, 1, 0);
    atomic_store(&advancing, 0);
    atomic_store(&advanced, 0);
    atomic_store(&lock_free, 0);
    assert_int_equal(gmk_attach(&t.k, &port), GMK_OK);
    assert_int_equal(gmk_chan_emit(gmk_port_ctx(&port), p2p, &msg), GMK_OK);
    gmk_detach(&port);
    gmk_hal_lock_acquire(&t.k.core->control);
    assert_int_equal(pthread_create(&thread, NULL, advance, &t), 0);
    KIT_WAIT(atomic_load(&advancing) == 1);
    for (uint64_t until = kit_now() + 30 * KIT_MS; atomic_load(&advanced) == 0 && kit_now() < until;)
        kit_nap();
    atomic_store(&lock_free, 1);
    gmk_hal_lock_release(&t.k.core->control);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(atomic_load(&saw_free), 1);
    kit_drain(&t);
    assert_int_equal(kit_stats(&t).completed, 1);
    kit_end(&t);
}

static void *advance_until(void *arg)
{
    kit_t *t = arg;
    while (atomic_load(&advanced) == 0)
        (void)gmk_tick_advance(&t->k);
    return NULL;
}

static void subscribers_come_and_go_while_ticks_pass(void **state)
{
    kit_t t;
    gmk_port_t port;
    pthread_t thread;
    gmk_sub_t sub;
    gmk_chan_t ch;
    gmk_chan_cfg_t cfg = {.name = "det.brief", .mode = GMK_FANOUT, .slots = 4};
    gmk_task_t msg = {.flags = GMK_TASK_DETERMINISTIC};
    (void)state;
    boot(&t, 2, 0);
    atomic_store(&advanced, 0);
    assert_int_equal(gmk_attach(&t.k, &port), GMK_OK);
    gmk_ctx_t *c = gmk_port_ctx(&port);
    assert_int_equal(pthread_create(&thread, NULL, advance_until, &t), 0);
    for (uint32_t i = 0; i < (KIT_TSAN || KIT_ASAN ? 50 : 200); i++) {
        assert_int_equal(gmk_chan_open(c, &cfg, &ch), GMK_OK);
        for (uint32_t n = 0; n < 4; n++) {
            assert_int_equal(gmk_chan_sub(c, ch, &(gmk_sub_cfg_t){.handler = T_HEAR}, &sub), GMK_OK);
            assert_int_equal(gmk_chan_emit(c, ch, &msg), GMK_OK);
        }
        assert_int_equal(gmk_chan_unsub(c, sub), GMK_OK);
        assert_int_equal(gmk_chan_close(c, ch), GMK_OK);
        assert_int_equal(gmk_wait_closed(c, ch, KIT_PATIENCE), GMK_OK);
    }
    atomic_store(&advanced, 1);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)gmk_tick_advance(&t.k);
    gmk_detach(&port);
    kit_end(&t);
}

static void ticks_advanced_from_outside_are_traced(void **state)
{
    kit_t t;
    gmk_trace_reader_t cursor = {0};
    gmk_trace_record_t rec[8];
    uint64_t lost = 0;
    (void)state;
    boot(&t, 1, 0);
    assert_int_equal(gmk_trace_level(&t.k, NULL, GMK_TRACE_INFO), GMK_OK);
    for (uint32_t i = 1; i <= 5; i++)
        assert_int_equal(gmk_tick_advance(&t.k), i);
    assert_int_equal(gmk_trace_read(t.k.core->outside->ring, &cursor, rec, 8, &lost), 5);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(rec[i].ev, GMK_EV_TICK);
        assert_int_equal(rec[i].a0, i + 1);
    }
    kit_end(&t);
}

static void what_a_deterministic_run_cannot_do_is_refused(void **state)
{
    kit_t t;
    (void)state;
    boot(&t, 1, 0);
    gmk_task_t task = {.type = T_PLAIN, .flags = GMK_TASK_DETERMINISTIC};
    assert_int_equal(gmk_submit(&t.k, &task), GMK_ERR_UNSUPPORTED); /* no deterministic handler */
    assert_int_equal(gmk_submit_at(&t.k, &task, 1), GMK_ERR_UNSUPPORTED);
    task.type = T_SERIAL;
    assert_int_equal(gmk_submit_after(&t.k, &task, 0), GMK_ERR_UNSUPPORTED);
    task.type = 0;
    assert_int_equal(gmk_submit_at(&t.k, &task, 1), GMK_ERR_RANGE);
    assert_int_equal(kit_stats(&t).accepted, 0);
    kit_end(&t);
}

/* ---- handlers that are only deterministic for these tests --------------------------------- */

static atomic_int grow_rc, after_rc;

static int grow_run(gmk_ctx_t *c)
{
    gmk_task_t next[2] = {*c->task, *c->task};
    int rc = gmk_emit_n(c, next, 2);
    if (rc != 2)
        atomic_store(&grow_rc, rc);
    atomic_store(&after_rc, gmk_emit_after(c, next, 1));
    return GMK_OK;
}

static void an_exhausted_arena_ends_the_run_with_an_error(void **state)
{
    kit_t t;
    gmk_boot_cfg_t cfg = kit_cfg(2);
    (void)state;
    cfg.flags |= GMK_BOOT_AUTO_TICK;
    cfg.arena_size = (uint64_t)12 << 20;
    atomic_store(&grow_rc, 0);
    kit_boot_module(&t, cfg,
                    (gmk_module_t){.name = "det",
                                   .handlers = handlers,
                                   .n_handlers = sizeof handlers / sizeof handlers[0]});
    gmk_task_t task = {.type = T_GROW, .flags = GMK_TASK_DETERMINISTIC};
    assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    KIT_WAIT(gmk_drain(&t.k, KIT_PATIENCE) == GMK_OK && kit_stats(&t).pending == 0);
    assert_true(atomic_load(&grow_rc) == GMK_ALLOC_FAIL || atomic_load(&grow_rc) == 1);
    assert_int_equal(atomic_load(&after_rc), GMK_ERR_UNSUPPORTED);
    assert_int_equal(gmk_submit(&t.k, &task), GMK_ALLOC_FAIL);
    gmk_stats_t s = kit_stats(&t);
    assert_true(s.dropped > 0);
    kit_submit(&t, T_PLAIN, NULL); /* everything else goes on */
    kit_drain(&t);
    assert_true(kit_type(&t, T_PLAIN).completed > 0);
    kit_end(&t);
}

static gmk_chan_t big;

static int open_big(gmk_ctx_t *c)
{
    gmk_sub_t sub;
    int rc = gmk_chan_open(c, &(gmk_chan_cfg_t){.name = "det.big", .mode = GMK_FANOUT, .slots = 8192}, &big);
    for (uint32_t i = 0; i < 3 && rc == GMK_OK; i++)
        rc = gmk_chan_sub(c, big, &(gmk_sub_cfg_t){.handler = T_HEAR}, &sub);
    return rc;
}

/* As many messages as fit, then a tick, which has no room to hand all of them to all three subscribers. */
static void messages_that_an_exhausted_arena_has_no_room_for_are_dropped(void **state)
{
    kit_t t;
    gmk_port_t port;
    gmk_boot_cfg_t cfg = kit_cfg(2);
    gmk_task_t msg = {.flags = GMK_TASK_DETERMINISTIC};
    uint64_t emitted = 0;
    int rc;
    (void)state;
    cfg.arena_size = (uint64_t)12 << 20;
    kit_boot_module(&t, cfg,
                    (gmk_module_t){.name = "det",
                                   .handlers = handlers,
                                   .n_handlers = sizeof handlers / sizeof handlers[0],
                                   .init = open_big});
    assert_int_equal(gmk_attach(&t.k, &port), GMK_OK);
    gmk_ctx_t *c = gmk_port_ctx(&port);
    void *room = gmk_payload_alloc(c, 1 << 20); /* for sorting, and for some of the deliveries */
    assert_non_null(room);
    while ((rc = gmk_chan_emit(c, big, &msg)) == GMK_OK)
        emitted++;
    assert_int_equal(rc, GMK_ALLOC_FAIL);
    assert_int_equal(gmk_payload_release(c, room), GMK_OK);
    gmk_detach(&port);
    (void)gmk_tick_advance(&t.k);
    kit_drain(&t);
    gmk_stats_t s = kit_stats(&t);
    assert_int_equal(s.accepted, 3 * emitted);
    assert_true(s.completed > 0 && s.dropped > 0);
    assert_int_equal(s.dead_letters, s.dropped);
    kit_end(&t);
}

static void a_halt_drops_what_waits_for_a_tick(void **state)
{
    kit_t t;
    gmk_port_t port;
    gmk_halt_report_t r;
    (void)state;
    boot(&t, 2, 0);
    assert_int_equal(gmk_attach(&t.k, &port), GMK_OK);
    gmk_task_t task = {.type = T_SERIAL, .flags = GMK_TASK_DETERMINISTIC};
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(gmk_submit_at(&t.k, &task, i), GMK_OK);
    task.type = 0;
    assert_int_equal(gmk_chan_emit(gmk_port_ctx(&port), p2p, &task), GMK_OK);
    (void)gmk_tick_advance(&t.k);
    kit_drain(&t);
    assert_int_equal(gmk_chan_emit(gmk_port_ctx(&port), p2p, &task), GMK_OK); /* these two stay */
    assert_int_equal(gmk_chan_emit(gmk_port_ctx(&port), fan, &task), GMK_OK);
    gmk_detach(&port);
    assert_int_equal(gmk_halt_within(&t.k, KIT_PATIENCE, &r), GMK_OK);
    assert_int_equal(r.completed, 3); /* ticks 0 and 1, and the message */
    assert_int_equal(r.dropped, 8 + 1 + 3);
}

static void plain_and_deterministic_work_go_side_by_side(void **state)
{
    uint64_t hash[2];
    kit_t t;
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        boot(&t, 3, 0);
        if (i == 1)
            kit_gate_shut(&t, &gate, T_FILL, 2); /* two workers have other things to do */
        for (uint32_t n = 0; n < 30; n++) {
            gmk_task_t task = input(n, 4);
            assert_int_equal(gmk_submit_at(&t.k, &task, 1), GMK_OK);
        }
        for (uint32_t n = 0; n < 40; n++) {
            (void)gmk_tick_advance(&t.k);
            if (i == 1)
                kit_submit(&t, T_PLAIN, NULL);
        }
        kit_gate_open(&gate);
        kit_drain(&t);
        hash[i] = kit_stats(&t).det_hash;
        kit_end(&t);
    }
    assert_true(hash[0] == hash[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_workload_has_one_hash_with_any_number_of_workers),
        cmocka_unit_test(another_input_has_another_hash),
        cmocka_unit_test(auto_tick_runs_until_nothing_waits_for_a_tick),
        cmocka_unit_test(auto_tick_leaps_over_ticks_without_work),
        cmocka_unit_test(input_for_a_tick_that_was_leapt_over_runs_in_the_next),
        cmocka_unit_test(inputs_that_race_a_leap_are_not_lost),
        cmocka_unit_test(input_for_a_later_tick_waits_for_it),
        cmocka_unit_test(tasks_of_a_tick_run_by_priority_type_and_number),
        cmocka_unit_test(faults_fail_their_task_and_the_tick_goes_on),
        cmocka_unit_test(poison_starts_with_a_tick),
        cmocka_unit_test(a_channel_hands_over_as_many_messages_as_it_has_slots),
        cmocka_unit_test(a_closed_channel_hears_no_deterministic_message),
        cmocka_unit_test(a_closing_channel_drops_deterministic_messages),
        cmocka_unit_test(a_deterministic_message_behind_ordinary_ones_waits_for_its_tick),
        cmocka_unit_test(a_tick_from_outside_keeps_the_subscribers_it_looks_up),
        cmocka_unit_test(subscribers_come_and_go_while_ticks_pass),
        cmocka_unit_test(ticks_advanced_from_outside_are_traced),
        cmocka_unit_test(what_a_deterministic_run_cannot_do_is_refused),
        cmocka_unit_test(an_exhausted_arena_ends_the_run_with_an_error),
        cmocka_unit_test(messages_that_an_exhausted_arena_has_no_room_for_are_dropped),
        cmocka_unit_test(a_halt_drops_what_waits_for_a_tick),
        cmocka_unit_test(plain_and_deterministic_work_go_side_by_side),
    };
    return cmocka_run_group_tests_name("det", tests, NULL, NULL);
}
