/* SPDX-License-Identifier: MIT */
/* What channels lose, what they keep, and that every loss is reported: lossy, degrade, replay. */
#include "chan_kit.h"

static void wait_dead(uint64_t count, int code)
{
    KIT_WAIT(atomic_load(&seen[T_DEAD].count) >= count);
    kit_drain(&F.t);
    assert_int_equal(atomic_load(&seen[T_DEAD].count), count);
    for (uint32_t i = 0; i < atomic_load(&seen[T_DEAD].n) && i < SEEN_MAX; i++)
        assert_int_equal(dead_code_at(&seen[T_DEAD], i), code);
}

/* ---- lossy ---------------------------------------------------------------------------------- */

static void p2p_newest_is_shed(void **state)
{
    (void)state;
    gmk_chan_t ch = open_chan("newest", GMK_P2P, GMK_LOSSY, 8);
    listen_to("sys.dropped", T_DEAD);
    sub_slow(ch, T_A);
    emit_range(ch, 1, 20); /* never FULL */
    wait_seen(T_DEAD, 12);
    atomic_store(&seen[T_A].hold, 0);
    wait_seen(T_A, 8);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(seen[T_A].at[i].meta0, i);
    assert_int_equal((uint32_t)(seen[T_DEAD].at[0].meta1 >> 32), ch.id);
    wait_dead(12, GMK_DROP_SHED);
    gmk_chan_stats_t s = chan_figures_of(ch);
    assert_true(s.completed == 8 && s.shed == 12 && s.dropped == 12 && s.refused == 0);
}

static void p2p_oldest_is_shed(void **state)
{
    (void)state;
    gmk_chan_t ch = open_cfg((gmk_chan_cfg_t){
        .name = "oldest", .guarantee = GMK_LOSSY, .slots = 8, .flags = GMK_CHAN_DROP_OLDEST});
    listen_to("sys.dropped", T_DEAD);
    sub_slow(ch, T_A);
    emit_range(ch, 1, 20);
    atomic_store(&seen[T_A].hold, 0);
    wait_seen(T_A, 8);
    for (uint32_t i = 1; i < 8; i++)
        assert_int_equal(seen[T_A].at[i].meta0, 12 + i);
    assert_int_equal(seen[T_A].at[1].gap, 12);
    assert_int_equal(seen[T_A].at[2].gap, 0);
    wait_dead(12, GMK_DROP_SHED);
}

static void lossy_p2p_without_a_subscriber(void **state)
{
    (void)state;
    gmk_chan_t ch = open_cfg((gmk_chan_cfg_t){
        .name = "nobody", .guarantee = GMK_LOSSY, .slots = 4, .flags = GMK_CHAN_DROP_OLDEST});
    listen_to("sys.dropped", T_DEAD);
    emit_range(ch, 0, 10);
    KIT_WAIT(atomic_load(&seen[T_DEAD].count) == 6);
    sub_to(ch, T_A);
    wait_seen(T_A, 4);
    wait_dead(6, GMK_DROP_SHED);
}

static void fanout_slow_loses_its_own(uint32_t flags)
{
    gmk_chan_t ch = open_cfg((gmk_chan_cfg_t){
        .name = "own", .mode = GMK_FANOUT, .guarantee = GMK_LOSSY, .slots = 32, .flags = flags});
    listen_to("sys.dropped", T_DEAD);
    sub_slow(ch, T_A);
    sub_to(ch, T_B);
    for (uint32_t i = 1; i < 201; i += 10) { /* as fast as the fast one */
        emit_range(ch, i, i + 10);
        wait_seen(T_B, i + 9);
    }
    atomic_store(&seen[T_A].hold, 0);
    wait_seen(T_A, 32);
    for (uint32_t i = 0; i < 200; i++) {
        assert_int_equal(seen[T_B].at[i].meta0, i + 1);
        assert_int_equal(seen[T_B].at[i].gap, 0);
    }
    uint32_t first = flags == 0 ? 1 : 201 - 31;
    for (uint32_t i = 1; i < 32; i++)
        assert_int_equal(seen[T_A].at[i].meta0, first + i - 1);
    assert_int_equal(seen[T_A].at[1].gap, first - 1);
    wait_dead(201 - 32, GMK_DROP_SHED);
    emit_range(ch, 300, 301);
    wait_seen(T_A, 33);
    assert_int_equal(seen[T_A].at[32].gap, flags == 0 ? 201 - 32 : 0);
    wait_seen(T_B, 201);
    gmk_chan_stats_t s = chan_figures_of(ch);
    assert_true(s.refused == 0 && s.shed == 201 - 32);
}

static void fanout_newest_is_shed(void **state)
{
    (void)state;
    fanout_slow_loses_its_own(0);
}

static void fanout_oldest_is_shed(void **state)
{
    (void)state;
    fanout_slow_loses_its_own(GMK_CHAN_DROP_OLDEST);
}

/* The emitter does the distributor's work when every worker is busy. */
static void lossy_never_waits_for_a_worker(void **state)
{
    (void)state;
    for (uint32_t flags = 0; flags < 2; flags++) {
        uint32_t a = atomic_load(&seen[T_A].n), b = atomic_load(&seen[T_B].n);
        uint64_t dead = atomic_load(&seen[T_DEAD].count);
        kit_gate_t gate;
        gmk_chan_t ch = open_cfg((gmk_chan_cfg_t){
            .name = "busy", .mode = GMK_FANOUT, .guarantee = GMK_LOSSY, .slots = 16, .flags = flags});
        if (F.n_ears == 0)
            listen_to("sys.dropped", T_DEAD);
        sub_to(ch, T_A);
        sub_to(ch, T_B);
        kit_drain(&F.t);
        kit_gate_shut(&F.t, &gate, T_GATE, 1);
        emit_range(ch, 0, 500);
        assert_int_equal(atomic_load(&seen[T_A].n), a);
        kit_gate_open(&gate);
        kit_drain(&F.t);
        a = atomic_load(&seen[T_A].n) - a;
        b = atomic_load(&seen[T_B].n) - b;
        assert_in_range(a, 16, 32);
        assert_int_equal(a, b);
        KIT_WAIT(a + b + atomic_load(&seen[T_DEAD].count) - dead == 1000);
        assert_int_equal(chan_figures_of(ch).refused, 0);
        close_all();
    }
}

static void emit_all(crew_t *me)
{
    for (; me->sent < me->n; me->sent++) {
        gmk_task_t t = {.meta0 = me->sent, .flags = (uint16_t)(me->id % 4)};
        int rc = gmk_chan_emit(me->c, me->ch, &t);
        if (rc == GMK_CHAN_FULL && me->stop != NULL)
            me->sent--;
        else if (rc != GMK_OK)
            me->failed++;
    }
}

static void sheds_under_load(uint32_t mode, uint32_t guarantee, uint32_t flags, uint32_t order)
{
    crew_t crew[3];
    atomic_uint may_be_full = 0;
    bool degrade = guarantee == GMK_LOSSLESS;
    bool full = mode == GMK_FANOUT; /* when one that holds a ticket has lost its CPU */
    grow_for_parallel(16);
    gmk_chan_t ch = open_cfg((gmk_chan_cfg_t){.name = "load",
                                              .mode = mode,
                                              .guarantee = guarantee,
                                              .slots = 16,
                                              .flags = flags,
                                              .replay = degrade ? 16 : 0});
    listen_to("sys.dropped", T_DEAD);
    sub_cfg(ch, (gmk_sub_cfg_t){.handler = T_A, .order = order});
    if (mode == GMK_FANOUT)
        sub_to(ch, T_B);
    uint64_t n = KIT_TSAN ? 2000 : 30000;
    crew_start(crew, 3, (crew_t){.work = emit_all, .ch = ch, .n = n, .stop = full ? &may_be_full : NULL});
    (void)crew_join(crew, 3);
    kit_drain(&F.t);
    uint64_t all = 3 * n * (mode == GMK_FANOUT ? 2 : 1);
    KIT_WAIT(atomic_load(&seen[T_A].n) + atomic_load(&seen[T_B].n) + atomic_load(&seen[T_DEAD].count) == all);
    gmk_chan_stats_t s = chan_figures_of(ch);
    assert_int_equal(s.completed + s.dropped, all);
    assert_int_equal(s.shed, atomic_load(&seen[T_DEAD].count));
    assert_int_equal(s.used, 0);
}

static void lossy_p2p_accounts_for_all(void **state)
{
    (void)state;
    sheds_under_load(GMK_P2P, GMK_LOSSY, 0, GMK_ORDERED);
}

static void drop_oldest_p2p_accounts_for_all(void **state)
{
    (void)state;
    sheds_under_load(GMK_P2P, GMK_LOSSY, GMK_CHAN_DROP_OLDEST, GMK_ORDERED);
}

static void drop_oldest_parallel_accounts_for_all(void **state)
{
    (void)state;
    sheds_under_load(GMK_P2P, GMK_LOSSY, GMK_CHAN_DROP_OLDEST, GMK_PARALLEL);
}

static void lossy_fanout_accounts_for_all(void **state)
{
    (void)state;
    sheds_under_load(GMK_FANOUT, GMK_LOSSY, 0, GMK_ORDERED);
}

static void drop_oldest_fanout_accounts_for_all(void **state)
{
    (void)state;
    sheds_under_load(GMK_FANOUT, GMK_LOSSY, GMK_CHAN_DROP_OLDEST, GMK_PARALLEL);
}

static void degrade_accounts_for_all(void **state)
{
    (void)state;
    sheds_under_load(GMK_FANOUT, GMK_LOSSLESS, GMK_CHAN_DEGRADE, GMK_ORDERED);
}

/* ---- degrade -------------------------------------------------------------------------------- */

static gmk_chan_t degrading(void)
{
    return open_cfg((gmk_chan_cfg_t){
        .name = "degrade", .mode = GMK_FANOUT, .slots = 8, .replay = 8, .flags = GMK_CHAN_DEGRADE});
}

/* Every number between two deliveries is in the gap of the second. */
static uint64_t gaps_add_up(const seen_t *s, uint32_t n)
{
    uint64_t lost = 0;
    for (uint32_t i = 1; i < n; i++) {
        assert_int_equal(s->at[i].gap, s->at[i].seq - s->at[i - 1].seq - 1);
        lost += s->at[i].gap;
    }
    return lost;
}

static void degrade_lets_the_slow_one_fall_behind(void **state)
{
    (void)state;
    gmk_chan_t ch = degrading();
    listen_to("sys.dropped", T_DEAD);
    sub_slow(ch, T_A);
    sub_to(ch, T_B);
    for (uint32_t i = 1; i < 101; i += 4) {
        emit_range(ch, i, i + 4); /* the emitter is not held */
        wait_seen(T_B, i + 3);
    }
    atomic_store(&seen[T_A].hold, 0);
    kit_drain(&F.t);
    uint32_t n = atomic_load(&seen[T_A].n);
    uint64_t lost = gaps_add_up(&seen[T_A], n);
    assert_true(lost > 0 && n < 20);
    assert_int_equal(n + lost, 101);
    assert_int_equal(seen[T_A].at[n - 1].seq, 100);
    assert_int_equal(gaps_add_up(&seen[T_B], 100), 0);
    wait_dead(lost, GMK_DROP_SHED);
}

static void degrade_does_not_wait_for_a_worker(void **state)
{
    (void)state;
    gmk_chan_t ch = degrading();
    listen_to("sys.dropped", T_DEAD);
    sub_slow(ch, T_A); /* on the only worker */
    sub_to(ch, T_B);
    emit_range(ch, 1, 61);
    atomic_store(&seen[T_A].hold, 0);
    kit_drain(&F.t);
    uint32_t a = atomic_load(&seen[T_A].n), b = atomic_load(&seen[T_B].n);
    assert_int_equal(a + gaps_add_up(&seen[T_A], a), 61);
    assert_int_equal(seen[T_B].at[0].gap + gaps_add_up(&seen[T_B], b) + b, 60);
    wait_dead(121 - a - b, GMK_DROP_SHED);
}

/* ---- replay --------------------------------------------------------------------------------- */

static int sub_from(gmk_chan_t ch, uint32_t handler, uint32_t from)
{
    gmk_sub_cfg_t cfg = {.handler = handler, .replay_from = 1, .from = from};
    return gmk_chan_sub(F.c, ch, &cfg, NULL);
}

static void replay_gives_exact_numbers(void **state)
{
    (void)state;
    gmk_chan_t ch = open_cfg(
        (gmk_chan_cfg_t){.name = "replay", .mode = GMK_FANOUT, .slots = 8, .replay = 24});
    assert_int_equal(sub_from(ch, T_A, 0), GMK_OK); /* nothing yet */
    for (uint32_t i = 0; i < 100; i++) {
        gmk_task_t t = {.meta0 = 1000 + i};
        assert_int_equal(gmk_chan_emit_wait(F.c, ch, &t, NEVER), GMK_OK);
    }
    wait_seen(T_A, 100);
    kit_drain(&F.t);
    assert_int_equal(sub_from(ch, T_B, 0), GMK_ERR_RANGE);
    assert_int_equal(sub_from(ch, T_B, 101), GMK_ERR_RANGE);
    assert_int_equal(sub_from(ch, T_B, UINT32_MAX), GMK_ERR_RANGE);
    assert_int_equal(sub_from(ch, T_B, 76), GMK_OK);
    wait_seen(T_B, 24);
    assert_int_equal(sub_from(ch, T_C, 100), GMK_OK);
    KIT_WAIT(chan_figures_of(ch).used == 0);
    emit_range(ch, 1100, 1101);
    wait_seen(T_B, 25);
    wait_seen(T_C, 1);
    for (uint32_t i = 0; i < 25; i++) {
        assert_int_equal(seen[T_B].at[i].seq, 76 + i);
        assert_int_equal(seen[T_B].at[i].meta0, 1076 + i);
        assert_int_equal(seen[T_B].at[i].gap, 0);
    }
    assert_int_equal(seen[T_C].at[0].seq, 100);
    assert_int_equal(chan_figures_of(ch).completed, 101 + 25 + 1);
}

static void replay_keeps_what_nobody_heard(void **state)
{
    (void)state;
    gmk_chan_t ch = open_cfg((gmk_chan_cfg_t){.name = "kept", .mode = GMK_FANOUT, .slots = 8, .replay = 24});
    emit_range(ch, 0, 50);
    assert_int_equal(chan_figures_of(ch).unheard, 0);
    assert_int_equal(sub_from(ch, T_A, 26), GMK_OK);
    wait_seen(T_A, 24);
    for (uint32_t i = 0; i < 24; i++)
        assert_int_equal(seen[T_A].at[i].meta0, 26 + i);
}

/* Whoever has catching up to do holds the emitter as any subscriber does. */
static void a_late_reader_holds_the_emitter(void **state)
{
    (void)state;
    gmk_chan_t ch = open_cfg((gmk_chan_cfg_t){.name = "late", .mode = GMK_FANOUT, .slots = 4, .replay = 12});
    emit_range(ch, 0, 16);
    seen[T_A].hold = 1;
    assert_int_equal(sub_from(ch, T_A, 4), GMK_OK);
    assert_int_equal(emit_meta(ch, 16), GMK_CHAN_FULL);
    KIT_WAIT(atomic_load(&seen[T_A].inside) == 1);
    assert_int_equal(emit_meta(ch, 16), GMK_CHAN_FULL);
    atomic_store(&seen[T_A].hold, 0);
    KIT_WAIT(emit_meta(ch, 16) == GMK_OK);
    wait_seen(T_A, 13);
    for (uint32_t i = 0; i < 13; i++)
        assert_int_equal(seen[T_A].at[i].meta0, 4 + i);
}

static void replay_holds_payloads(void **state)
{
    (void)state;
    gmk_chan_t ch = open_cfg((gmk_chan_cfg_t){.name = "held", .mode = GMK_FANOUT, .slots = 8, .replay = 24});
    uint64_t before = payloads_live();
    gmk_sub_t a = sub_to(ch, T_A);
    for (uint32_t i = 0; i < 100; i++) {
        gmk_task_t t = marked(F.c, 500 + i);
        assert_int_equal(gmk_chan_emit_wait(F.c, ch, &t, NEVER), GMK_OK);
    }
    wait_seen(T_A, 100);
    kit_drain(&F.t);
    assert_int_equal(payloads_live() - before, 32); /* as many as the log has places */
    assert_int_equal(sub_from(ch, T_B, 70), GMK_OK);
    wait_seen(T_B, 30);
    for (uint32_t i = 0; i < 30; i++)
        assert_int_equal(seen[T_B].at[i].mark, 570 + i);
    kit_drain(&F.t);
    assert_int_equal(payloads_live() - before, 32);
    assert_int_equal(gmk_chan_unsub(F.c, a), GMK_OK);
    close_all();
    assert_int_equal(payloads_live(), before);
}

static void emit_marked(crew_t *me)
{
    for (; me->sent < me->n; me->sent++) {
        gmk_task_t t = marked(me->c, (uint32_t)me->sent);
        if (t.payload_ptr == 0 || gmk_chan_emit_wait(me->c, me->ch, &t, NEVER) != GMK_OK)
            me->failed++;
    }
}

/* Nobody listens, so no credit keeps the emitters within one lap of each other. */
static void replay_is_safe_without_subscribers(void **state)
{
    (void)state;
    crew_t crew[4];
    gmk_chan_t ch = open_cfg((gmk_chan_cfg_t){.name = "laps", .mode = GMK_FANOUT, .slots = 1, .replay = 1});
    uint64_t before = payloads_live();
    crew_start(crew, 4, (crew_t){.work = emit_marked, .ch = ch, .n = KIT_TSAN ? 2000 : 20000});
    uint64_t sent = crew_join(crew, 4);
    assert_int_equal(payloads_live() - before, 2);
    assert_int_equal(sub_from(ch, T_A, (uint32_t)sent - 2), GMK_OK);
    wait_seen(T_A, 2);
    assert_int_equal(seen[T_A].at[1].seq, sent - 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fix_up, fix_down)
#define TEST_ONE(f) cmocka_unit_test_setup_teardown(f, fix_up_one, fix_down)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(p2p_newest_is_shed),
        TEST(p2p_oldest_is_shed),
        TEST(lossy_p2p_without_a_subscriber),
        TEST(fanout_newest_is_shed),
        TEST(fanout_oldest_is_shed),
        TEST_ONE(lossy_never_waits_for_a_worker),
        TEST(lossy_p2p_accounts_for_all),
        TEST(drop_oldest_p2p_accounts_for_all),
        TEST(drop_oldest_parallel_accounts_for_all),
        TEST(lossy_fanout_accounts_for_all),
        TEST(drop_oldest_fanout_accounts_for_all),
        TEST(degrade_accounts_for_all),
        TEST(degrade_lets_the_slow_one_fall_behind),
        TEST_ONE(degrade_does_not_wait_for_a_worker),
        TEST(replay_gives_exact_numbers),
        TEST(replay_keeps_what_nobody_heard),
        TEST(a_late_reader_holds_the_emitter),
        TEST(replay_holds_payloads),
        TEST(replay_is_safe_without_subscribers),
    };
    return cmocka_run_group_tests_name("chan_loss", tests, NULL, NULL);
}
