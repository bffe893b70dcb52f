/* SPDX-License-Identifier: MIT */
/* What channels promise about order: P2P, fan-out, parallel, pinned, priority of activation. */
#include "chan_kit.h"

#define PRODUCERS 4u

/* How many messages the big runs send: GGMK_LONG=1 sends ten times as many. */
static uint64_t many(void)
{
    uint64_t n = kit_env("GGMK_LONG") ? 10000000 : 1000000;
    return KIT_TSAN ? n / 50 : KIT_ASAN ? n / 5 : n;
}

/* Each producer counts up from 0: meta0 is its id and its count. */
typedef struct tally {
    uint64_t next[PRODUCERS], n, hash, wrong;
    uint32_t seq;
} tally_t;
static tally_t tally[3];

static void take_in(tally_t *y, const gmk_task_t *t)
{
    uint32_t id = (uint32_t)(t->meta0 >> 56) % PRODUCERS;
    y->wrong += (t->meta0 << 8 >> 8) != y->next[id]++;
    y->wrong += y->n != 0 && t->seq != y->seq + 1;
    y->seq = t->seq;
    y->hash = (y->hash ^ t->meta0) * UINT64_C(0x100000001b3);
    y->n++;
}

static int tally_run(gmk_ctx_t *c)
{
    take_in(&tally[c->task->type - T_OWN], c->task);
    return GMK_OK;
}

static const gmk_handler_reg_t tally_handlers[] = {{.type = T_OWN, .fn = tally_run},
                                                   {.type = T_OWN + 1, .fn = tally_run},
                                                   {.type = T_OWN + 2, .fn = tally_run}};
static gmk_module_t tally_module = {.name = "tally", .handlers = tally_handlers, .n_handlers = 3};

/* Even ones one by one, odd ones in batches. */
static void produce(crew_t *me)
{
    gmk_task_t t[16];
    memset(t, 0, sizeof t);
    while (me->sent < me->n) {
        uint32_t want = me->id % 2 == 0 ? 1 : me->n - me->sent < 16 ? (uint32_t)(me->n - me->sent) : 16;
        for (uint32_t i = 0; i < want; i++)
            t[i].meta0 = (uint64_t)me->id << 56 | (me->sent + i);
        int got = gmk_chan_emit_n(me->c, me->ch, t, want);
        if (got == GMK_CHAN_FULL)
            got = gmk_chan_emit_wait(me->c, me->ch, t, NEVER) == GMK_OK ? 1 : -1;
        if (got < 0) {
            me->failed++;
            return;
        }
        me->sent += (uint32_t)got;
    }
}

static void big_run(uint32_t mode, uint32_t subs, uint64_t n, uint32_t slots)
{
    crew_t crew[PRODUCERS];
    memset(tally, 0, sizeof tally);
    gmk_chan_t ch = open_chan("big", mode, GMK_LOSSLESS, slots);
    load_extra(&tally_module);
    for (uint32_t i = 0; i < subs; i++)
        sub_to(ch, T_OWN + i);
    crew_start(crew, PRODUCERS, (crew_t){.work = produce, .ch = ch, .n = n / PRODUCERS});
    assert_int_equal(crew_join(crew, PRODUCERS), n);
    kit_drain(&F.t);
    for (uint32_t i = 0; i < subs; i++) {
        assert_int_equal(tally[i].n, n);
        assert_int_equal(tally[i].wrong, 0);
        assert_int_equal(tally[i].hash, tally[0].hash); /* the same order for all */
    }
    gmk_chan_stats_t s = chan_figures_of(ch);
    assert_int_equal(s.emitted, n);
    assert_int_equal(s.completed, n * subs);
}

static void p2p_loses_nothing_and_keeps_order(void **state)
{
    (void)state;
    big_run(GMK_P2P, 1, many(), 1024);
}

static void p2p_with_few_credits(void **state)
{
    (void)state;
    big_run(GMK_P2P, 1, many() / 50, 3);
}

static void fanout_has_one_order_for_all(void **state)
{
    (void)state;
    big_run(GMK_FANOUT, 3, many() / 4, 1024);
}

static void fanout_with_few_credits(void **state)
{
    (void)state;
    big_run(GMK_FANOUT, 3, many() / 100, 3);
}

/* ---- parallel, ordered, pinned -------------------------------------------------------------- */

static atomic_uchar once[65536];
static atomic_uint once_twice;

static int once_run(gmk_ctx_t *c)
{
    if (atomic_fetch_add(&once[c->task->meta0 & 65535], 1) != 0)
        atomic_fetch_add(&once_twice, 1);
    uint32_t odd = (uint32_t)c->task->meta0;
    if (odd % 97 == 0 && c->task->yield_count < 3) {
        atomic_fetch_sub(&once[c->task->meta0 & 65535], 1);
        return gmk_yield(c);
    }
    if (odd % 101 == 0 && c->task->retry_count < 2) {
        atomic_fetch_sub(&once[c->task->meta0 & 65535], 1);
        return GMK_RETRY;
    }
    return odd % 1009 == 0 ? GMK_FAIL(0) : GMK_OK;
}

static void parallel_once(uint32_t mode)
{
    static const gmk_handler_reg_t h[] = {{.type = T_OWN, .fn = once_run}};
    static gmk_module_t m = {.name = "once", .handlers = h, .n_handlers = 1};
    uint32_t n = KIT_TSAN ? 6000 : 20000;
    grow_for_parallel(64);
    gmk_chan_t ch = open_cfg((gmk_chan_cfg_t){.name = "parallel", .mode = mode, .slots = 64});
    load_extra(&m);
    memset(once, 0, sizeof once);
    atomic_store(&once_twice, 0);
    sub_cfg(ch, (gmk_sub_cfg_t){.handler = T_OWN, .order = GMK_PARALLEL});
    for (uint32_t i = 0; i < n; i++) {
        gmk_task_t t = {.meta0 = i, .flags = (uint16_t)(i % 4)};
        assert_int_equal(gmk_chan_emit_wait(F.c, ch, &t, NEVER), GMK_OK);
    }
    kit_drain(&F.t);
    assert_int_equal(atomic_load(&once_twice), 0);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(once[i], 1);
    gmk_chan_stats_t s = chan_figures_of(ch);
    assert_int_equal(s.used, 0);
    assert_int_equal(s.completed + s.failed, n);
    assert_int_equal(s.failed, (n + 1008) / 1009);
}

static void parallel_runs_each_once(void **state)
{
    (void)state;
    parallel_once(GMK_P2P);
}

static void parallel_fanout_runs_each_once(void **state)
{
    (void)state;
    parallel_once(GMK_FANOUT);
}

static void parallel_runs_on_several_workers(void **state)
{
    (void)state;
    grow_for_parallel(8);
    gmk_chan_t ch = open_chan("par.two", GMK_P2P, GMK_LOSSLESS, 8);
    sub_cfg(ch, (gmk_sub_cfg_t){.handler = T_A, .order = GMK_PARALLEL});
    emit_range(ch, 0, 1); /* so that its run time is known to be short or long */
    wait_seen(T_A, 1);
    seen[T_A].hold = 1;
    emit_range(ch, 0, 1);
    KIT_WAIT(atomic_load(&seen[T_A].inside) == 1);
    emit_range(ch, 0, 1);
    KIT_WAIT(atomic_load(&seen[T_A].inside) == 2);
}

static void ordered_runs_one_at_a_time(void **state)
{
    (void)state;
    gmk_chan_t ch = open_chan("ord.one", GMK_P2P, GMK_LOSSLESS, 8);
    gmk_chan_t other = open_chan("ord.two", GMK_P2P, GMK_LOSSLESS, 8);
    sub_to(other, T_B);
    sub_slow(ch, T_A);
    emit_range(ch, 1, 6);
    emit_range(other, 0, 5); /* the other worker is free and leaves the mailbox alone */
    wait_seen(T_B, 5);
    assert_int_equal(atomic_load(&seen[T_A].inside), 1);
    atomic_store(&seen[T_A].hold, 0);
    wait_seen(T_A, 6);
    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal(seen[T_A].at[i].meta0, i);
}

static int fix_up_three(void **state)
{
    (void)state;
    fix_boot(kit_cfg(3));
    return 0;
}

static int sometimes_again(gmk_ctx_t *c)
{
    uint32_t i = (uint32_t)c->task->meta0;
    if (i % 7 == 3 && c->task->yield_count < 2)
        return gmk_yield(c);
    if (i % 11 == 5 && c->task->retry_count < 1)
        return GMK_RETRY;
    seen_t *s = &seen[c->task->type];
    uint32_t n = atomic_load(&s->n);
    if (n < SEEN_MAX)
        s->at[n] = (seen_at_t){.meta0 = i, .seq = c->task->seq, .worker = gmk_self_worker(c)};
    atomic_store(&s->n, n + 1);
    return GMK_OK;
}

static const gmk_handler_reg_t again_handlers[] = {{.type = T_OWN, .fn = sometimes_again},
                                                   {.type = T_OWN + 1, .fn = sometimes_again}};
static gmk_module_t again_module = {.name = "again", .handlers = again_handlers, .n_handlers = 2};

static void pinned_stays_on_its_worker(void **state)
{
    (void)state;
    gmk_chan_t ch = open_chan("pin.p2p", GMK_P2P, GMK_LOSSLESS, 64);
    gmk_chan_t fan = open_chan("pin.fan", GMK_FANOUT, GMK_LOSSLESS, 64);
    load_extra(&again_module);
    emit_range(ch, 0, 32); /* activations from before the pin is known */
    sub_cfg(ch, (gmk_sub_cfg_t){.handler = T_OWN, .pinned = 1, .worker = 2});
    sub_cfg(fan, (gmk_sub_cfg_t){.handler = T_OWN + 1, .pinned = 1, .worker = 0});
    for (uint32_t i = 0; i < 1000; i++) {
        gmk_task_t t = {.meta0 = i + 32, .flags = (uint16_t)(i % 4)};
        assert_int_equal(gmk_chan_emit_wait(F.c, ch, &t, NEVER), GMK_OK);
        assert_int_equal(gmk_chan_emit_wait(F.c, fan, &t, NEVER), GMK_OK);
    }
    wait_seen(T_OWN, 1032);
    wait_seen(T_OWN + 1, 1000);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(seen[T_OWN].at[i].worker, 2);
        assert_int_equal(seen[T_OWN].at[i].meta0, i);
        assert_int_equal(seen[T_OWN + 1].at[i].worker, 0);
        assert_int_equal(seen[T_OWN + 1].at[i].meta0, i + 32);
    }
}

/* A pin holds from the first message, whatever was queued for the channel before. */
static void pins_change_with_the_subscriber(void **state)
{
    (void)state;
    load_extra(&again_module);
    gmk_chan_t ch = open_chan("pin.turns", GMK_P2P, GMK_LOSSLESS, 64);
    for (uint32_t round = 0; round < 60; round++) {
        uint32_t type = T_OWN + round % 2, worker = round % 3, before = atomic_load(&seen[type].n);
        emit_range(ch, 0, 4);
        gmk_sub_t sub = sub_cfg(ch, (gmk_sub_cfg_t){.handler = type, .pinned = 1, .worker = worker});
        emit_range(ch, 4, 8);
        wait_seen(type, before + 8);
        for (uint32_t i = 0; i < 8; i++)
            assert_int_equal(seen[type].at[before + i].worker, worker);
        assert_int_equal(gmk_chan_unsub(F.c, sub), GMK_OK);
    }
}

static void heads_that_come_back_keep_the_order(void **state)
{
    (void)state;
    load_extra(&again_module);
    gmk_chan_t ch = open_chan("head", GMK_P2P, GMK_LOSSLESS, 64);
    gmk_chan_t fan = open_chan("head.fan", GMK_FANOUT, GMK_LOSSLESS, 64);
    sub_to(ch, T_OWN);
    sub_to(fan, T_OWN + 1);
    for (uint32_t i = 0; i < 2000; i++) {
        gmk_task_t t = {.meta0 = i};
        assert_int_equal(gmk_chan_emit_wait(F.c, ch, &t, NEVER), GMK_OK);
        assert_int_equal(gmk_chan_emit_wait(F.c, fan, &t, NEVER), GMK_OK);
    }
    wait_seen(T_OWN, 2000);
    wait_seen(T_OWN + 1, 2000);
    for (uint32_t i = 0; i < 2000; i++) {
        assert_int_equal(seen[T_OWN].at[i].meta0, i);
        assert_int_equal(seen[T_OWN + 1].at[i].meta0, i);
    }
    assert_true(kit_stats(&F.t).yields >= 2 * 2 * 285 && kit_stats(&F.t).retries >= 2 * 181);
}

/* ---- priority ------------------------------------------------------------------------------- */

static atomic_uint turn;
static uint32_t turn_of[8];

static int turn_run(gmk_ctx_t *c)
{
    turn_of[c->task->meta0 & 7] = atomic_fetch_add(&turn, 1);
    return GMK_OK;
}

static const gmk_handler_reg_t turn_handlers[] = {{.type = T_OWN, .fn = turn_run},
                                                  {.type = T_OWN + 1, .fn = turn_run}};
static gmk_module_t turn_module = {.name = "turn", .handlers = turn_handlers, .n_handlers = 2};

static void emit_prio(gmk_chan_t ch, uint64_t meta, uint32_t prio)
{
    gmk_task_t t = {.meta0 = meta, .flags = (uint16_t)prio};
    assert_int_equal(gmk_chan_emit(F.c, ch, &t), GMK_OK);
}

static void the_urgent_mailbox_comes_first(uint32_t mode)
{
    kit_gate_t gate;
    atomic_store(&turn, 0);
    gmk_chan_t low = open_chan("low", mode, GMK_LOSSLESS, 8), high = open_chan("high", mode, GMK_LOSSLESS, 8);
    load_extra(&turn_module);
    sub_to(low, T_OWN);
    sub_to(high, T_OWN + 1);
    kit_drain(&F.t);
    kit_gate_shut(&F.t, &gate, T_GATE, 1);
    emit_prio(low, 0, 3);
    emit_prio(high, 1, 0);
    kit_gate_open(&gate);
    kit_drain(&F.t);
    assert_true(turn_of[1] < turn_of[0]);
    kit_gate_shut(&F.t, &gate, T_GATE, 1); /* an urgent message carries those before it along */
    emit_prio(low, 2, 3);
    emit_prio(high, 3, 2);
    emit_prio(low, 4, 0);
    kit_gate_open(&gate);
    kit_drain(&F.t);
    assert_true(turn_of[2] < turn_of[4] && turn_of[4] < turn_of[3]);
}

static void priority_decides_activation(void **state)
{
    (void)state;
    the_urgent_mailbox_comes_first(GMK_P2P);
}

/* ---- subscribers that come and go ----------------------------------------------------------- */

static void messages_wait_for_a_p2p_subscriber(void **state)
{
    (void)state;
    gmk_chan_t ch = open_chan("later", GMK_P2P, GMK_LOSSLESS, 5);
    emit_range(ch, 10, 15);
    assert_int_equal(emit_meta(ch, 15), GMK_CHAN_FULL);
    assert_int_equal(gmk_drain(&F.t.k, 0), GMK_ERR_TIMEOUT);
    sub_to(ch, T_A);
    wait_seen(T_A, 5);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(seen[T_A].at[i].meta0, 10 + i);
    kit_drain(&F.t);
    assert_int_equal(chan_figures_of(ch).used, 0);
}

static void the_next_p2p_subscriber_follows_exactly(void **state)
{
    (void)state;
    gmk_chan_t ch = open_chan("next", GMK_P2P, GMK_LOSSLESS, 32);
    listen_to("sys.dropped", T_DEAD);
    gmk_sub_t a = sub_slow(ch, T_A);
    emit_range(ch, 1, 10);
    assert_int_equal(gmk_chan_unsub(F.c, a), GMK_OK);
    emit_range(ch, 10, 15);
    sub_to(ch, T_B);
    emit_range(ch, 15, 20);
    assert_int_equal(atomic_load(&seen[T_B].n), 0); /* the head of the first has not returned */
    atomic_store(&seen[T_A].hold, 0);
    wait_seen(T_B, 10);
    assert_int_equal(atomic_load(&seen[T_A].n), 1);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(seen[T_B].at[i].meta0, 10 + i);
        assert_int_equal(seen[T_B].at[i].gap, 0);
    }
    KIT_WAIT(atomic_load(&seen[T_DEAD].count) == 9);
    for (uint32_t i = 0; i < seen[T_DEAD].n; i++)
        assert_int_equal(dead_code_at(&seen[T_DEAD], i), GMK_DROP_CLOSED);
}

static void produce_until(crew_t *me)
{
    while (atomic_load(me->stop) == 0) {
        gmk_task_t t = {.meta0 = me->sent};
        int rc = gmk_chan_emit_wait(me->c, me->ch, &t, 10 * KIT_MS);
        if (rc == GMK_OK)
            me->sent++;
        else if (rc != GMK_ERR_TIMEOUT)
            me->failed++;
    }
}

static struct {
    atomic_ullong n, wrong;
    uint32_t last;
} relay;

/* One P2P channel, one subscriber after the other: each message at most once, numbers only grow. */
static int relay_run(gmk_ctx_t *c)
{
    if (atomic_load(&relay.n) != 0 && (int32_t)(c->task->seq - relay.last) <= 0)
        atomic_fetch_add(&relay.wrong, 1);
    relay.last = c->task->seq;
    atomic_fetch_add(&relay.n, 1);
    return GMK_OK;
}

static void p2p_turns_under_load(void **state)
{
    (void)state;
    static const gmk_handler_reg_t h[] = {{.type = T_OWN, .fn = relay_run}};
    static gmk_module_t m = {.name = "relay", .handlers = h, .n_handlers = 1};
    memset(&relay, 0, sizeof relay);
    crew_t crew[2];
    atomic_uint stop = 0;
    gmk_chan_t ch = open_chan("turns", GMK_P2P, GMK_LOSSLESS, 64);
    listen_to("sys.dropped", T_DEAD);
    load_extra(&m);
    crew_start(crew, 2, (crew_t){.work = produce_until, .ch = ch, .stop = &stop});
    uint64_t until = kit_now() + 400 * KIT_MS;
    while (kit_now() < until) {
        gmk_sub_t sub = {0};
        gmk_sub_cfg_t cfg = {.handler = T_OWN};
        int rc = gmk_chan_sub(F.c, ch, &cfg, &sub);
        assert_true(rc == GMK_OK || rc == GMK_ERR_LIMIT);
        if (rc != GMK_OK) {
            kit_nap();
            continue;
        }
        if (sub.id >> 32 & 1)
            kit_nap();
        assert_int_equal(gmk_chan_unsub(F.c, sub), GMK_OK);
    }
    KIT_WAIT(gmk_chan_sub(F.c, ch, &(gmk_sub_cfg_t){.handler = T_OWN}, NULL) == GMK_OK);
    atomic_store(&stop, 1);
    uint64_t sent = crew_join(crew, 2);
    kit_drain(&F.t);
    KIT_WAIT(atomic_load(&relay.n) + atomic_load(&seen[T_DEAD].count) == sent);
    assert_int_equal(relay.wrong, 0);
    gmk_chan_stats_t s = chan_figures_of(ch);
    assert_int_equal(s.emitted, sent);
    assert_int_equal(s.completed + s.dropped, sent);
    assert_int_equal(s.used, 0);
}

/* Fan-out: whoever joins and leaves sees consecutive numbers while it is there, and only then. */
typedef struct visit {
    atomic_uint n, wrong, first, last;
} visit_t;
static visit_t visit;

static int visit_run(gmk_ctx_t *c)
{
    uint32_t n = atomic_load(&visit.n), seq = c->task->seq;
    if (n == 0)
        atomic_store(&visit.first, seq);
    else if (seq != atomic_load(&visit.last) + 1)
        atomic_fetch_add(&visit.wrong, 1);
    atomic_store(&visit.last, seq);
    atomic_store(&visit.n, n + 1);
    return GMK_OK;
}

static void visits_under_load(uint32_t replay)
{
    static const gmk_handler_reg_t h[] = {{.type = T_OWN, .fn = visit_run}};
    static gmk_module_t m = {.name = "visit", .handlers = h, .n_handlers = 1};
    crew_t crew[2];
    atomic_uint stop = 0;
    gmk_chan_t ch = open_cfg(
        (gmk_chan_cfg_t){.name = "visits", .mode = GMK_FANOUT, .slots = 64, .replay = replay});
    sub_to(ch, T_B);
    crew_start(crew, 2, (crew_t){.work = produce_until, .ch = ch, .stop = &stop});
    uint64_t until = kit_now() + 300 * KIT_MS, visits = 0;
    while (kit_now() < until) {
        memset(&visit, 0, sizeof visit);
        assert_int_equal(gmk_module_load(&F.t.k, &m), GMK_OK);
        gmk_sub_t sub = {0};
        uint32_t now = (uint32_t)chan_figures_of(ch).emitted;
        gmk_sub_cfg_t cfg = {.handler = T_OWN, .replay_from = replay != 0, .from = now - 8};
        int rc = gmk_chan_sub(F.c, ch, &cfg, &sub);
        if (rc == GMK_OK) {
            KIT_WAIT(atomic_load(&visit.n) >= 3);
            assert_int_equal(gmk_chan_unsub(F.c, sub), GMK_OK);
            if (replay != 0)
                assert_int_equal(atomic_load(&visit.first), now - 8);
        } else {
            assert_true(rc == GMK_ERR_RANGE && replay != 0); /* too early, or too slow */
        }
        assert_int_equal(gmk_module_unload(&F.t.k, "visit"), GMK_OK); /* from here on it runs no more */
        assert_int_equal(atomic_load(&visit.wrong), 0);
        visits += rc == GMK_OK;
    }
    assert_true(visits != 0);
    atomic_store(&stop, 1);
    uint64_t sent = crew_join(crew, 2);
    kit_drain(&F.t);
    assert_int_equal(atomic_load(&seen[T_B].n), sent);
    assert_int_equal(chan_figures_of(ch).emitted, sent);
    close_all();
}

static void fanout_visits_under_load(void **state)
{
    (void)state;
    visits_under_load(0);
}

static void fanout_visits_with_replay(void **state)
{
    (void)state;
    visits_under_load(64);
}

/* The last message before a silence reaches a subscriber that joined in the middle of it. */
static void a_joiner_is_not_forgotten(void **state)
{
    (void)state;
    gmk_chan_t ch = open_cfg((gmk_chan_cfg_t){.name = "joiner", .mode = GMK_FANOUT, .slots = 8, .replay = 8});
    sub_to(ch, T_B);
    for (uint32_t i = 0; i < 400; i++) {
        emit_range(ch, i, i + 1);
        uint32_t before = atomic_load(&seen[T_A].n);
        gmk_sub_t sub = sub_cfg(ch, (gmk_sub_cfg_t){.handler = T_A, .replay_from = 1, .from = i});
        wait_seen(T_A, before + 1);
        assert_int_equal(seen[T_A].at[before].meta0, i);
        assert_int_equal(gmk_chan_unsub(F.c, sub), GMK_OK);
        KIT_WAIT(chan_figures_of(ch).used == 0);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fix_up, fix_down)
#define TEST_ONE(f) cmocka_unit_test_setup_teardown(f, fix_up_one, fix_down)
#define TEST_THREE(f) cmocka_unit_test_setup_teardown(f, fix_up_three, fix_down)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(p2p_loses_nothing_and_keeps_order),
        TEST(p2p_with_few_credits),
        TEST(fanout_has_one_order_for_all),
        TEST(fanout_with_few_credits),
        TEST(parallel_runs_each_once),
        TEST(parallel_fanout_runs_each_once),
        TEST(parallel_runs_on_several_workers),
        TEST(ordered_runs_one_at_a_time),
        TEST_THREE(pinned_stays_on_its_worker),
        TEST_THREE(pins_change_with_the_subscriber),
        TEST(heads_that_come_back_keep_the_order),
        TEST_ONE(priority_decides_activation),
        TEST(messages_wait_for_a_p2p_subscriber),
        TEST(the_next_p2p_subscriber_follows_exactly),
        TEST(p2p_turns_under_load),
        TEST(fanout_visits_under_load),
        TEST(fanout_visits_with_replay),
        TEST(a_joiner_is_not_forgotten),
    };
    return cmocka_run_group_tests_name("chan_order", tests, NULL, NULL);
}
