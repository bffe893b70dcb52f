/* SPDX-License-Identifier: MIT */
/* Channels that end, payloads that outlive them, and everything at once under load. */
#include "chan_kit.h"

/* ---- what is queued at the end -------------------------------------------------------------- */

static void emit_marks(gmk_chan_t ch, uint32_t from, uint32_t to)
{
    for (; from < to; from++) {
        gmk_task_t t = marked(F.c, from);
        assert_int_equal(gmk_chan_emit(F.c, ch, &t), GMK_OK);
    }
}

/* The dead letters from `first` on are `code`, in the order of their payloads' marks. */
static void dead_in_order(uint32_t first, uint32_t n, uint32_t mark, int code)
{
    wait_seen(T_DEAD, first + n);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(dead_code_at(&seen[T_DEAD], first + i), code);
        assert_int_equal(seen[T_DEAD].at[first + i].mark, mark + i);
        assert_int_equal(seen[T_DEAD].at[first + i].meta0 >> 32, 1);
    }
}

static void close_drops_in_order(void **state)
{
    (void)state;
    for (uint32_t mode = 0; mode < 2; mode++) {
        uint32_t dead = atomic_load(&seen[T_DEAD].n), ran = atomic_load(&seen[T_A].n);
        gmk_chan_t ch = open_chan("end", mode, GMK_LOSSLESS, 64);
        if (mode == 0)
            listen_to("sys.dropped", T_DEAD);
        sub_slow(ch, T_A);
        emit_marks(ch, 1, 51);
        assert_int_equal(gmk_chan_close(F.c, ch), GMK_OK);
        assert_int_equal(emit_meta(ch, 0), GMK_CHAN_CLOSED);
        atomic_store(&seen[T_A].hold, 0);
        dead_in_order(dead, 50, 1, GMK_DROP_CLOSED);
        assert_int_equal(atomic_load(&seen[T_A].n), ran + 1); /* the one that had begun */
        close_all();
    }
}

static void close_drops_what_nobody_took(void **state)
{
    (void)state;
    gmk_chan_t ch = open_chan("unread", GMK_P2P, GMK_LOSSLESS, 64);
    listen_to("sys.dropped", T_DEAD);
    emit_marks(ch, 0, 40);
    assert_int_equal(gmk_chan_close(F.c, ch), GMK_OK);
    dead_in_order(0, 40, 0, GMK_DROP_CLOSED);
}

static void close_behind_a_leaving_subscriber(void **state)
{
    (void)state;
    gmk_chan_t ch = open_chan("behind", GMK_P2P, GMK_LOSSLESS, 64);
    listen_to("sys.dropped", T_DEAD);
    gmk_sub_t a = sub_slow(ch, T_A);
    emit_marks(ch, 1, 10);
    assert_int_equal(gmk_chan_unsub(F.c, a), GMK_OK);
    emit_marks(ch, 10, 20);
    assert_int_equal(gmk_chan_close(F.c, ch), GMK_OK);
    atomic_store(&seen[T_A].hold, 0);
    dead_in_order(0, 19, 1, GMK_DROP_CLOSED);
}

static void unsub_drops_in_order(void **state)
{
    (void)state;
    gmk_chan_t ch = open_chan("leave", GMK_FANOUT, GMK_LOSSLESS, 64);
    listen_to("sys.dropped", T_DEAD);
    gmk_sub_t a = sub_slow(ch, T_A);
    sub_to(ch, T_B);
    emit_marks(ch, 1, 31);
    wait_seen(T_B, 30);
    assert_int_equal(gmk_chan_unsub(F.c, a), GMK_OK);
    emit_marks(ch, 31, 41);
    atomic_store(&seen[T_A].hold, 0);
    dead_in_order(0, 30, 1, GMK_DROP_CLOSED);
    wait_seen(T_B, 40);
    for (uint32_t i = 0; i < 40; i++)
        assert_int_equal(seen[T_B].at[i].mark, 1 + i);
    assert_int_equal(atomic_load(&seen[T_A].n), 1);
}

static void parallel_deliveries_do_not_start_after_unsub(void **state)
{
    (void)state;
    grow_for_parallel(64);
    gmk_chan_t ch = open_chan("par.end", GMK_P2P, GMK_LOSSLESS, 64);
    listen_to("sys.dropped", T_DEAD);
    seen[T_A].hold = 1;
    gmk_sub_t a = sub_cfg(ch, (gmk_sub_cfg_t){.handler = T_A, .order = GMK_PARALLEL});
    emit_range(ch, 0, 50);
    KIT_WAIT(atomic_load(&seen[T_A].inside) == 2);
    assert_int_equal(gmk_chan_unsub(F.c, a), GMK_OK);
    atomic_store(&seen[T_A].hold, 0);
    KIT_WAIT(atomic_load(&seen[T_DEAD].count) == 48);
    wait_seen(T_A, 2);
    KIT_WAIT(chan_figures_of(ch).used == 0);
}

/* ---- payloads ------------------------------------------------------------------------------- */

static void fanout_counts_payloads(void **state)
{
    (void)state;
    uint64_t before = payloads_live();
    gmk_chan_t ch = open_chan("pay", GMK_FANOUT, GMK_LOSSLESS, 8);
    sub_slow(ch, T_A);
    sub_to(ch, T_B);
    sub_to(ch, T_C);
    emit_marks(ch, 1, 8);
    wait_seen(T_B, 7);
    wait_seen(T_C, 7);
    assert_int_equal(payloads_live() - before, 7);
    atomic_store(&seen[T_A].hold, 0);
    wait_seen(T_A, 8);
    kit_drain(&F.t);
    assert_int_equal(payloads_live(), before);
    for (uint32_t i = 0; i < 7; i++)
        assert_true(seen[T_B].at[i].mark == i + 1 && seen[T_C].at[i].mark == i + 1);
}

static void an_error_leaves_the_payload_to_the_caller(void **state)
{
    (void)state;
    uint64_t before = payloads_live();
    gmk_chan_t ch = open_cfg(
        (gmk_chan_cfg_t){.name = "mine", .msg_type = T_B, .mode = GMK_FANOUT, .slots = 1});
    sub_slow(ch, T_A);
    sub_to(ch, T_C);
    gmk_task_t t = marked(F.c, 5);
    void *p = (void *)(uintptr_t)t.payload_ptr;
    assert_int_equal(gmk_chan_emit(F.c, ch, &t), GMK_CHAN_FULL);
    assert_int_equal(gmk_chan_emit_wait(F.c, ch, &t, KIT_MS), GMK_ERR_TIMEOUT);
    t.type = T_C;
    assert_int_equal(gmk_chan_emit(F.c, ch, &t), GMK_CHAN_TYPE_MISMATCH);
    t.type = 0;
    assert_int_equal(gmk_chan_close(F.c, ch), GMK_OK);
    assert_int_equal(gmk_chan_emit(F.c, ch, &t), GMK_CHAN_CLOSED);
    assert_int_equal(payloads_live(), before + 1);
    assert_int_equal(gmk_payload_release(F.c, p), GMK_OK);
    assert_int_equal(payloads_live(), before);
    atomic_store(&seen[T_A].hold, 0);
}

static void unheard_messages_are_released(void **state)
{
    (void)state;
    uint64_t before = payloads_live();
    gmk_chan_t ch = open_chan("void", GMK_FANOUT, GMK_LOSSLESS, 4);
    emit_marks(ch, 0, 10);
    assert_int_equal(payloads_live(), before);
    assert_int_equal(chan_figures_of(ch).unheard, 10);
    assert_int_equal(kit_stats(&F.t).unheard, 10);
    assert_int_equal(kit_stats(&F.t).accepted, 0);
}

static void dead_letters_inherit_the_payload(void **state)
{
    (void)state;
    uint64_t before = payloads_live();
    gmk_chan_t ch = open_chan("heir", GMK_P2P, GMK_LOSSLESS, 16);
    sub_to(ch, T_A);
    atomic_store(&seen[T_A].result, GMK_FAIL(1));
    emit_marks(ch, 0, 5); /* nobody listens: released and counted */
    kit_drain(&F.t);
    assert_int_equal(payloads_live(), before);
    listen_to("sys.error", T_ERR);
    emit_marks(ch, 5, 10);
    wait_seen(T_ERR, 5);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(seen[T_ERR].at[i].mark, 5 + i);
    kit_drain(&F.t);
    assert_int_equal(payloads_live(), before);
    assert_int_equal(kit_stats(&F.t).dead_letters, 10);
}

/* ---- dead letters --------------------------------------------------------------------------- */

static void repeats_coalesce(void **state)
{
    (void)state;
    gmk_chan_t ch = open_chan("storm", GMK_P2P, GMK_LOSSY, 4),
               other = open_chan("storm.2", GMK_P2P, GMK_LOSSY, 4);
    listen_to("sys.dropped", T_DEAD);
    sub_slow(ch, T_A);
    emit_range(other, 0, 4);
    seen[T_DEAD].hold = 1;
    for (uint32_t i = 0; i < 2000; i++) {
        assert_int_equal(emit_meta(ch, i), GMK_OK);
        assert_int_equal(emit_meta(other, i), GMK_OK);
    }
    atomic_store(&seen[T_DEAD].hold, 0);
    KIT_WAIT(atomic_load(&seen[T_DEAD].count) == 1997 + 2000);
    uint64_t of[2] = {0, 0};
    uint32_t most = 0, n = atomic_load(&seen[T_DEAD].n);
    assert_true(n < 1000);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t count = (uint32_t)(seen[T_DEAD].at[i].meta0 >> 32);
        of[(uint32_t)(seen[T_DEAD].at[i].meta1 >> 32) == other.id] += count;
        most = count > most ? count : most;
    }
    assert_true(of[0] == 1997 && of[1] == 2000 && most > 100);
    atomic_store(&seen[T_A].hold, 0);
}

/* More causes than the box has places: still every delivery is counted. */
static void more_causes_than_places(void **state)
{
    (void)state;
    char name[16];
    kit_gate_t gate;
    listen_to("sys.dropped", T_DEAD);
    gmk_chan_t ch[100];
    for (uint32_t i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "cause.%u", i);
        ch[i] = open_chan(name, GMK_P2P, GMK_LOSSY, 1);
        emit_range(ch[i], 0, 1);
    }
    kit_gate_shut(&F.t, &gate, T_GATE, 1);
    for (uint32_t i = 0; i < 1000; i++)
        emit_range(ch[i % 100], 0, 1);
    kit_gate_open(&gate);
    KIT_WAIT(atomic_load(&seen[T_DEAD].count) == 1000);
}

static void trouble_on_system_channels_makes_no_more(void **state)
{
    (void)state;
    gmk_chan_t ch = open_chan("loop", GMK_P2P, GMK_LOSSLESS, 8);
    listen_to("sys.error", T_ERR);
    sub_to(ch, T_A);
    atomic_store(&seen[T_A].result, GMK_FAIL(1));
    atomic_store(&seen[T_ERR].result, GMK_FAIL(2));
    emit_range(ch, 0, 5);
    wait_seen(T_ERR, 5);
    kit_drain(&F.t);
    assert_int_equal(kit_stats(&F.t).dead_letters, 5);
    assert_int_equal(kit_stats(&F.t).failed, 10);
}

/* ---- halt ----------------------------------------------------------------------------------- */

static void halt_accounts_for_what_is_queued(void **state)
{
    (void)state;
    gmk_halt_report_t r;
    kit_t t;
    gmk_port_t port;
    gmk_chan_t bound, unbound, fan, lossy;
    KIT_BOOT(&t, kit_cfg(1), chan_handlers);
    assert_int_equal(gmk_attach(&t.k, &port), GMK_OK);
    gmk_ctx_t *c = gmk_port_ctx(&port);
    assert_int_equal(gmk_chan_open(c, &(gmk_chan_cfg_t){.name = "h.bound"}, &bound), GMK_OK);
    assert_int_equal(gmk_chan_open(c, &(gmk_chan_cfg_t){.name = "h.unbound"}, &unbound), GMK_OK);
    assert_int_equal(gmk_chan_open(c, &(gmk_chan_cfg_t){.name = "h.fan", .mode = GMK_FANOUT}, &fan), GMK_OK);
    assert_int_equal(
        gmk_chan_open(c, &(gmk_chan_cfg_t){.name = "h.lossy", .mode = GMK_FANOUT, .guarantee = GMK_LOSSY},
                      &lossy),
        GMK_OK);
    gmk_chan_t all[] = {bound, fan, lossy, fan, lossy};
    gmk_sub_t sub[5];
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(gmk_chan_sub(c, all[i], &(gmk_sub_cfg_t){.handler = i < 3 ? T_A : T_B}, &sub[i]),
                         GMK_OK);
    gmk_task_t m = {0};
    for (uint32_t i = 0; i < 20; i++)
        for (uint32_t j = 0; j < 3; j++)
            assert_int_equal(gmk_chan_emit(c, all[j], &m), GMK_OK);
    kit_drain(&t);
    kit_gate_t gate;
    kit_gate_shut(&t, &gate, T_GATE, 1);
    for (uint32_t i = 0; i < 10; i++) {
        for (uint32_t j = 0; j < 3; j++)
            assert_int_equal(gmk_chan_emit(c, all[j], &m), GMK_OK);
        assert_int_equal(gmk_chan_emit(c, unbound, &m), GMK_OK);
    }
    assert_int_equal(gmk_chan_unsub(c, sub[3]), GMK_OK);
    uint64_t accepted = kit_stats(&t).accepted;
    assert_int_equal(accepted, 30 * 5 + 10 + 1);
    gmk_detach(&port);
    kit_gate_open(&gate);
    assert_int_equal(gmk_halt_within(&t.k, KIT_PATIENCE, &r), GMK_OK);
    assert_int_equal(r.completed + r.failed + r.dropped, accepted);
    assert_true(r.dropped >= 10);
}

/* ---- everything at once --------------------------------------------------------------------- */

/* Parallel subscriptions that came and went may have made the node slab grow. */
static void forgive_segments(uint32_t others)
{
    uint64_t begin = F.t.begin.objects_live, now = objects_at_rest();
    if (now == 0)
        return; /* not a debug build */
    assert_in_range(now, begin + others, begin + others + 64);
    F.t.begin.objects_live = now - others;
}

static void churn(crew_t *me)
{
    uint64_t until = kit_now() + me->n;
    uint32_t rng = 12345 + me->id * 777, round = 0;
    while (kit_now() < until) {
        char name[GMK_NAME_MAX + 1];
        gmk_chan_t ch;
        gmk_sub_t sub[3] = {{0}, {0}, {0}};
        rng = rng * 1664525 + 1013904223;
        bool fan = (rng >> 8 & 1) != 0, lossy = (rng >> 9 & 1) != 0;
        gmk_chan_cfg_t cfg = {.name = name,
                              .mode = fan,
                              .guarantee = lossy,
                              .slots = 1 + (rng >> 10) % 40,
                              .flags = lossy && (rng >> 16 & 1) != 0 ? GMK_CHAN_DROP_OLDEST : 0,
                              .replay = fan && !lossy && (rng >> 16 & 1) != 0 ? 8 : 0};
        snprintf(name, sizeof name, "churn.%u.%u", me->id, round++);
        int rc = gmk_chan_open(me->c, &cfg, &ch);
        if (rc == GMK_ERR_LIMIT) {
            kit_nap();
            continue;
        }
        if (rc == GMK_ALLOC_FAIL) { /* what is leaving still holds it */
            kit_nap();
            continue;
        }
        me->failed += rc != GMK_OK;
        for (uint32_t i = 0; i < (fan ? 3 : 1); i++) {
            gmk_sub_cfg_t cs = {.handler = T_A + i % 3, .order = (rng >> (17 + i)) & 1, .worker = 1};
            cs.pinned = cs.order == GMK_ORDERED && i == 2;
            rc = gmk_chan_sub(me->c, ch, &cs, &sub[i]);
            me->failed += rc != GMK_OK && rc != GMK_ALLOC_FAIL;
        }
        for (uint32_t i = 0; i < 60; i++) {
            gmk_task_t t = marked(me->c, i);
            if (t.payload_ptr == 0)
                continue;
            rc = gmk_chan_emit(me->c, ch, &t);
            if (rc == GMK_OK)
                me->sent++;
            else
                (void)gmk_payload_release(me->c, (void *)(uintptr_t)t.payload_ptr);
            if (i == 20 && (rng >> 21 & 1) != 0 && sub[0].id != 0)
                me->failed += gmk_chan_unsub(me->c, sub[0]) != GMK_OK;
            if (i == 40 && (rng >> 22 & 1) != 0)
                me->failed += gmk_chan_sub(me->c, ch, &(gmk_sub_cfg_t){.handler = T_B}, NULL) ==
                              GMK_ERR_INVAL;
        }
        me->failed += gmk_chan_close(me->c, ch) != GMK_OK;
        if ((rng >> 23 & 3) == 0)
            me->failed += gmk_wait_closed(me->c, ch, KIT_PATIENCE) != GMK_OK;
    }
}

static void open_and_close_under_load(void **state)
{
    (void)state;
    crew_t crew[4];
    grow_for_parallel(200);
    listen_to("sys.dropped", T_DEAD);
    crew_start(crew, 4, (crew_t){.work = churn, .n = KIT_S});
    assert_true(crew_join(crew, 4) > 100);
    kit_drain(&F.t);
    gmk_stats_t s = kit_stats(&F.t);
    assert_int_equal(s.accepted, s.completed + s.failed + s.dropped);
    forgive_segments(1); /* the listener stays */
}

/* Subscribers come and go on channels that others emit into all the time. */
static void come_and_go(crew_t *me)
{
    uint32_t rng = me->id * 31 + 7;
    while (atomic_load(me->stop) == 0) {
        rng = rng * 1664525 + 1013904223;
        if (me->id < 2) {
            gmk_task_t t = marked(me->c, rng);
            if (t.payload_ptr == 0)
                continue;
            t.flags |= (uint16_t)(rng >> 30);
            if (gmk_chan_emit_wait(me->c, me->ch, &t, KIT_MS) == GMK_OK)
                me->sent++;
            else
                (void)gmk_payload_release(me->c, (void *)(uintptr_t)t.payload_ptr);
            continue;
        }
        gmk_sub_t sub = {0};
        gmk_sub_cfg_t cfg = {.handler = T_A + rng % 3, .order = rng >> 20 & 1};
        if (gmk_chan_sub(me->c, me->ch, &cfg, &sub) != GMK_OK)
            continue;
        if ((rng >> 24 & 1) != 0)
            kit_nap();
        me->failed += gmk_chan_unsub(me->c, sub) != GMK_OK;
    }
}

static void subscribers_come_and_go(uint32_t mode, uint32_t guarantee, uint32_t flags, uint32_t replay)
{
    crew_t crew[4];
    atomic_uint stop = 0;
    gmk_chan_t ch = open_cfg((gmk_chan_cfg_t){.name = "visits",
                                              .mode = mode,
                                              .guarantee = guarantee,
                                              .slots = 16,
                                              .flags = flags,
                                              .replay = replay});
    crew_start(crew, 4, (crew_t){.work = come_and_go, .ch = ch, .stop = &stop});
    struct timespec nap = {.tv_nsec = 250000000};
    nanosleep(&nap, NULL);
    atomic_store(&stop, 1);
    (void)crew_join(crew, 4);
    if (mode == GMK_P2P)
        KIT_WAIT(gmk_chan_sub(F.c, ch, &(gmk_sub_cfg_t){.handler = T_A}, NULL) == GMK_OK);
    kit_drain(&F.t);
    KIT_WAIT(chan_figures_of(ch).used == 0);
    close_all();
    forgive_segments(0);
}

static void lossless_fanout_visits(void **state)
{
    (void)state;
    subscribers_come_and_go(GMK_FANOUT, GMK_LOSSLESS, 0, 0);
}

static void lossy_fanout_visits(void **state)
{
    (void)state;
    subscribers_come_and_go(GMK_FANOUT, GMK_LOSSY, GMK_CHAN_DROP_OLDEST, 0);
}

static void degrading_fanout_visits(void **state)
{
    (void)state;
    subscribers_come_and_go(GMK_FANOUT, GMK_LOSSLESS, GMK_CHAN_DEGRADE, 16);
}

static void p2p_visits(void **state)
{
    (void)state;
    subscribers_come_and_go(GMK_P2P, GMK_LOSSLESS, 0, 0);
}

static int plain_up(void **state)
{
    (void)state;
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fix_up, fix_down)
#define TEST_ONE(f) cmocka_unit_test_setup_teardown(f, fix_up_one, fix_down)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(close_drops_in_order),
        TEST(close_drops_what_nobody_took),
        TEST(close_behind_a_leaving_subscriber),
        TEST(unsub_drops_in_order),
        TEST(parallel_deliveries_do_not_start_after_unsub),
        TEST(fanout_counts_payloads),
        TEST(an_error_leaves_the_payload_to_the_caller),
        TEST(unheard_messages_are_released),
        TEST(dead_letters_inherit_the_payload),
        TEST(repeats_coalesce),
        TEST_ONE(more_causes_than_places),
        TEST(trouble_on_system_channels_makes_no_more),
        cmocka_unit_test_setup(halt_accounts_for_what_is_queued, plain_up),
        TEST(open_and_close_under_load),
        TEST(lossless_fanout_visits),
        TEST(lossy_fanout_visits),
        TEST(degrading_fanout_visits),
        TEST(p2p_visits),
    };
    return cmocka_run_group_tests_name("chan_life", tests, NULL, NULL);
}
