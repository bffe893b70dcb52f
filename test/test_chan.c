/* SPDX-License-Identifier: MIT */
/* Channels: arguments, limits, handles, credits, reserve, emit calls, statistics. */
#include "chan_kit.h"

/* ---- open, find, close ---------------------------------------------------------------------- */

static int try_open(gmk_chan_cfg_t cfg)
{
    gmk_chan_t ch = {77};
    int rc = gmk_chan_open(F.c, &cfg, &ch);
    if (rc == GMK_OK)
        fix_keep(ch);
    else
        assert_int_equal(ch.id, 0);
    return rc;
}

static void open_checks_names(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "Upper.x", "a b", "a/b", "sys.mine", "\xc3\xa9", "abcdefghijklmnopqrstuvwxyz123456"};
    for (uint32_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(try_open((gmk_chan_cfg_t){.name = bad[i]}), GMK_ERR_INVAL);
    assert_int_equal(try_open((gmk_chan_cfg_t){.name = "abcdefghijklmnopqrstuvwxyz12345"}), GMK_OK);
    assert_int_equal(try_open((gmk_chan_cfg_t){.name = "sysx.a_b-c.9"}), GMK_OK);
    assert_int_equal(try_open((gmk_chan_cfg_t){.name = "sysx.a_b-c.9"}), GMK_ERR_EXISTS);
    assert_int_equal(try_open((gmk_chan_cfg_t){.name = "sysx.a_b-c"}), GMK_OK);
}

static void open_checks_pointers(void **state)
{
    (void)state;
    gmk_chan_cfg_t cfg = {.name = "a.b"};
    gmk_chan_t ch;
    gmk_ctx_t nothing = {0};
    assert_int_equal(gmk_chan_open(NULL, &cfg, &ch), GMK_ERR_INVAL);
    assert_int_equal(gmk_chan_open(&nothing, &cfg, &ch), GMK_ERR_INVAL);
    assert_int_equal(gmk_chan_open(F.c, NULL, &ch), GMK_ERR_INVAL);
    assert_int_equal(gmk_chan_open(F.c, &cfg, NULL), GMK_ERR_INVAL);
    cfg.name = NULL;
    assert_int_equal(gmk_chan_open(F.c, &cfg, &ch), GMK_ERR_INVAL);
    assert_int_equal(gmk_chan_find(NULL, "a.b", &ch), GMK_ERR_INVAL);
    assert_int_equal(gmk_chan_find(F.c, NULL, &ch), GMK_ERR_INVAL);
    assert_int_equal(gmk_chan_find(F.c, "a.b", NULL), GMK_ERR_INVAL);
    assert_int_equal(gmk_chan_close(NULL, ch), GMK_ERR_INVAL);
    assert_int_equal(gmk_chan_unsub(NULL, (gmk_sub_t){1}), GMK_ERR_INVAL);
    assert_int_equal(gmk_chan_on_error(NULL, ch, 1), GMK_ERR_INVAL);
    assert_int_equal(gmk_wait_closed(NULL, ch, 0), GMK_ERR_INVAL);
    assert_int_equal(gmk_chan_wait(NULL, ch, 1), GMK_ERR_INVAL);
    assert_int_equal(gmk_chan_gap(NULL), 0);
    assert_int_equal(gmk_chan_gap(F.c), 0);
}

static void open_checks_ranges(void **state)
{
    (void)state;
    uint32_t most = GMK_MAX_SLOTS;
    const gmk_chan_cfg_t range[] = {
        {.name = "r", .mode = 2},         {.name = "r", .guarantee = 2},
        {.name = "r", .slots = most + 1}, {.name = "r", .mode = GMK_FANOUT, .replay = most + 1},
        {.name = "r", .reserve_pct = 51}, {.name = "r", .reserve_pct = UINT32_MAX - 1},
        {.name = "r", .flags = 4},
    };
    const gmk_chan_cfg_t unfit[] = {
        {.name = "r", .replay = 8},
        {.name = "r", .mode = GMK_FANOUT, .guarantee = GMK_LOSSY, .replay = 8},
        {.name = "r", .mode = GMK_FANOUT, .flags = GMK_CHAN_DEGRADE},
        {.name = "r", .flags = GMK_CHAN_DROP_OLDEST},
        {.name = "r", .mode = GMK_FANOUT, .replay = 8, .flags = GMK_CHAN_DROP_OLDEST},
    };
    for (uint32_t i = 0; i < sizeof range / sizeof *range; i++)
        assert_int_equal(try_open(range[i]), GMK_ERR_RANGE);
    for (uint32_t i = 0; i < sizeof unfit / sizeof *unfit; i++)
        assert_int_equal(try_open(unfit[i]), GMK_ERR_INVAL);
    assert_int_equal(try_open((gmk_chan_cfg_t){.name = "r", .reserve_pct = 50, .slots = 1}), GMK_OK);
}

static void open_without_memory_undoes_itself(void **state)
{
    (void)state;
    assert_int_equal(try_open((gmk_chan_cfg_t){.name = "big", .slots = GMK_MAX_SLOTS}), GMK_ALLOC_FAIL);
    assert_int_equal(try_open((gmk_chan_cfg_t){.name = "big", .slots = 16}), GMK_OK);
}

static void find_knows_open_channels(void **state)
{
    (void)state;
    gmk_chan_t ch = open_chan("find.me", GMK_P2P, GMK_LOSSLESS, 0), found;
    assert_int_equal(gmk_chan_find(F.c, "find.me", &found), GMK_OK);
    assert_int_equal(found.id, ch.id);
    assert_int_equal(chan_figures_of(ch).slots, GMK_DEFAULT_SLOTS);
    assert_int_equal(gmk_chan_find(F.c, "find.m", &found), GMK_ERR_NOTFOUND);
    assert_int_equal(found.id, 0);
    assert_int_equal(gmk_chan_find(F.c, "find.me.too", &found), GMK_ERR_NOTFOUND);
    assert_int_equal(gmk_chan_find(F.c, "FIND", &found), GMK_ERR_INVAL);
    assert_int_equal(gmk_chan_find(F.c, "", &found), GMK_ERR_INVAL);
    assert_int_equal(gmk_chan_close(F.c, ch), GMK_OK);
    assert_int_equal(gmk_chan_find(F.c, "find.me", &found), GMK_ERR_NOTFOUND);
}

static void system_channels_are_always_there(void **state)
{
    (void)state;
    static const char *const name[] = {"sys.dropped", "sys.error", "sys.trace"};
    for (uint32_t i = 0; i < 3; i++) {
        gmk_chan_t ch;
        assert_int_equal(gmk_chan_find(F.c, name[i], &ch), GMK_OK);
        assert_int_equal(gmk_chan_close(F.c, ch), GMK_ERR_INVAL);
        assert_int_equal(chan_figures_of(ch).mode, GMK_FANOUT);
        assert_string_equal(chan_figures_of(ch).name, name[i]);
    }
}

static void close_answers_closed_afterwards(void **state)
{
    (void)state;
    gmk_chan_t ch = open_chan("close.me", GMK_P2P, GMK_LOSSLESS, 4);
    assert_int_equal(gmk_chan_close(F.c, (gmk_chan_t){0}), GMK_CHAN_CLOSED);
    assert_int_equal(gmk_chan_close(F.c, (gmk_chan_t){ch.id + 7}), GMK_CHAN_CLOSED);
    assert_int_equal(gmk_chan_close(F.c, ch), GMK_OK);
    assert_int_equal(gmk_chan_close(F.c, ch), GMK_CHAN_CLOSED);
    assert_int_equal(emit_meta(ch, 1), GMK_CHAN_CLOSED);
    assert_int_equal(gmk_wait_closed(F.c, ch, KIT_PATIENCE), GMK_OK);
    assert_int_equal(emit_meta(ch, 1), GMK_CHAN_CLOSED);
    gmk_chan_stats_t s;
    assert_int_equal(gmk_chan_stats(&F.t.k, ch, &s), GMK_CHAN_CLOSED);
}

static void a_name_is_free_as_soon_as_it_is_closed(void **state)
{
    (void)state;
    gmk_chan_t ch = open_chan("again", GMK_P2P, GMK_LOSSLESS, 4);
    seen[T_A].hold = 1;
    sub_to(ch, T_A);
    emit_range(ch, 0, 3);
    KIT_WAIT(atomic_load(&seen[T_A].inside) == 1);
    assert_int_equal(gmk_chan_close(F.c, ch), GMK_OK);
    gmk_chan_t next = open_chan("again", GMK_P2P, GMK_LOSSLESS, 4);
    assert_int_not_equal(next.id, ch.id);
    sub_to(next, T_B);
    emit_range(next, 10, 12);
    wait_seen(T_B, 2);
    atomic_store(&seen[T_A].hold, 0);
}

static void a_kernel_has_256_channels(void **state)
{
    (void)state;
    char name[16];
    for (uint32_t i = 0; i < GMK_MAX_CHANNELS - 3; i++) {
        snprintf(name, sizeof name, "many.%u", i);
        open_chan(name, i % 2, GMK_LOSSLESS, 1);
    }
    assert_int_equal(try_open((gmk_chan_cfg_t){.name = "more", .slots = 1}), GMK_ERR_LIMIT);
    assert_int_equal(gmk_chan_close(F.c, F.chans[100]), GMK_OK);
    assert_int_equal(gmk_wait_closed(F.c, F.chans[100], KIT_PATIENCE), GMK_OK);
    gmk_chan_cfg_t cfg = {.name = "more", .slots = 1};
    gmk_chan_t ch;
    assert_int_equal(gmk_chan_open(F.c, &cfg, &ch), GMK_OK);
    assert_int_equal(ch.id & 0xff, F.chans[100].id & 0xff);
    F.chans[100] = ch;
}

/* ---- subscribe ------------------------------------------------------------------------------ */

static int try_sub(gmk_chan_t ch, gmk_sub_cfg_t cfg)
{
    gmk_sub_t sub = {5};
    int rc = gmk_chan_sub(F.c, ch, &cfg, &sub);
    assert_true((rc == GMK_OK) == (sub.id != 0));
    return rc;
}

static void sub_checks_arguments(void **state)
{
    (void)state;
    gmk_chan_t ch = open_chan("sub.args", GMK_FANOUT, GMK_LOSSLESS, 4);
    gmk_sub_cfg_t ok = {.handler = T_A};
    assert_int_equal(gmk_chan_sub(NULL, ch, &ok, NULL), GMK_ERR_INVAL);
    assert_int_equal(gmk_chan_sub(F.c, ch, NULL, NULL), GMK_ERR_INVAL);
    assert_int_equal(try_sub((gmk_chan_t){0}, ok), GMK_CHAN_CLOSED);
    assert_int_equal(try_sub(ch, (gmk_sub_cfg_t){.handler = 0}), GMK_ERR_RANGE);
    assert_int_equal(try_sub(ch, (gmk_sub_cfg_t){.handler = 256}), GMK_ERR_RANGE);
    assert_int_equal(try_sub(ch, (gmk_sub_cfg_t){.handler = 200}), GMK_ERR_NOTFOUND);
    assert_int_equal(try_sub(ch, (gmk_sub_cfg_t){.handler = T_A, .order = 2}), GMK_ERR_RANGE);
    assert_int_equal(try_sub(ch, (gmk_sub_cfg_t){.handler = T_A, .pinned = 1, .worker = 2}), GMK_ERR_RANGE);
    assert_int_equal(try_sub(ch, (gmk_sub_cfg_t){.handler = T_A, .pinned = 1, .worker = GMK_ANY_WORKER}),
                     GMK_ERR_RANGE);
    assert_int_equal(try_sub(ch, (gmk_sub_cfg_t){.handler = T_A, .pinned = 1, .order = GMK_PARALLEL}),
                     GMK_ERR_INVAL);
    assert_int_equal(try_sub(ch, (gmk_sub_cfg_t){.handler = T_A, .replay_from = 1}), GMK_ERR_RANGE);
    assert_int_equal(gmk_chan_sub(F.c, ch, &ok, NULL), GMK_OK);
    assert_int_equal(chan_figures_of(ch).subs, 1);
    assert_int_equal(gmk_chan_close(F.c, ch), GMK_OK);
    assert_int_equal(try_sub(ch, ok), GMK_CHAN_CLOSED);
}

static void p2p_has_one_subscriber(void **state)
{
    (void)state;
    gmk_chan_t ch = open_chan("one", GMK_P2P, GMK_LOSSLESS, 4);
    gmk_sub_t a = sub_to(ch, T_A);
    assert_int_equal(try_sub(ch, (gmk_sub_cfg_t){.handler = T_B}), GMK_CHAN_ALREADY_BOUND);
    assert_int_equal(gmk_chan_unsub(F.c, a), GMK_OK);
    assert_int_equal(try_sub(ch, (gmk_sub_cfg_t){.handler = T_B}), GMK_OK);
    assert_int_equal(try_sub(ch, (gmk_sub_cfg_t){.handler = T_A}), GMK_CHAN_ALREADY_BOUND);
}

static void fanout_has_32_subscribers(void **state)
{
    (void)state;
    gmk_chan_t ch = open_chan("full", GMK_FANOUT, GMK_LOSSLESS, 8);
    gmk_sub_t sub[GMK_MAX_SUBS];
    for (uint32_t i = 0; i < GMK_MAX_SUBS; i++)
        sub[i] = sub_to(ch, T_A + i % 3);
    assert_int_equal(try_sub(ch, (gmk_sub_cfg_t){.handler = T_A}), GMK_ERR_LIMIT);
    emit_range(ch, 0, 4);
    KIT_WAIT(seen[T_A].n + seen[T_B].n + seen[T_C].n == 4 * GMK_MAX_SUBS);
    assert_int_equal(gmk_chan_unsub(F.c, sub[9]), GMK_OK);
    KIT_WAIT(try_sub(ch, (gmk_sub_cfg_t){.handler = T_A}) == GMK_OK);
    assert_int_equal(chan_figures_of(ch).subs, GMK_MAX_SUBS);
}

static void unsub_checks_its_handle(void **state)
{
    (void)state;
    gmk_chan_t ch = open_chan("un", GMK_FANOUT, GMK_LOSSLESS, 4);
    gmk_sub_t a = sub_to(ch, T_A), b = sub_to(ch, T_B);
    assert_int_equal(gmk_chan_unsub(F.c, (gmk_sub_t){0}), GMK_ERR_NOTFOUND);
    assert_int_equal(gmk_chan_unsub(F.c, (gmk_sub_t){a.id ^ (uint64_t)1 << 40}), GMK_ERR_NOTFOUND);
    assert_int_equal(gmk_chan_unsub(F.c, (gmk_sub_t){ch.id | 30u << 8}), GMK_ERR_NOTFOUND);
    assert_int_equal(gmk_chan_unsub(F.c, a), GMK_OK);
    assert_int_equal(gmk_chan_unsub(F.c, a), GMK_ERR_NOTFOUND);
    assert_int_equal(gmk_chan_close(F.c, ch), GMK_OK);
    assert_int_equal(gmk_chan_unsub(F.c, b), GMK_ERR_NOTFOUND);
}

static void stale_handles_are_refused(void **state)
{
    (void)state;
    gmk_chan_t old = open_chan("stale", GMK_P2P, GMK_LOSSLESS, 4);
    gmk_sub_t sub = sub_to(old, T_A);
    gmk_chan_stats_t s;
    assert_int_equal(gmk_chan_close(F.c, old), GMK_OK);
    assert_int_equal(gmk_wait_closed(F.c, old, KIT_PATIENCE), GMK_OK);
    gmk_chan_t ch = open_chan("stale", GMK_P2P, GMK_LOSSLESS, 4);
    assert_int_equal(ch.id & 0xff, old.id & 0xff);
    assert_int_not_equal(ch.id, old.id);
    sub_to(ch, T_B);
    assert_int_equal(emit_meta(old, 1), GMK_CHAN_CLOSED);
    gmk_task_t t = {0};
    assert_int_equal(gmk_chan_emit_n(F.c, old, &t, 1), GMK_CHAN_CLOSED);
    assert_int_equal(gmk_chan_emit_wait(F.c, old, &t, NEVER), GMK_CHAN_CLOSED);
    assert_int_equal(try_sub(old, (gmk_sub_cfg_t){.handler = T_A}), GMK_CHAN_CLOSED);
    assert_int_equal(gmk_chan_close(F.c, old), GMK_CHAN_CLOSED);
    assert_int_equal(gmk_chan_on_error(F.c, old, T_ERR), GMK_CHAN_CLOSED);
    assert_int_equal(gmk_chan_stats(&F.t.k, old, &s), GMK_CHAN_CLOSED);
    assert_int_equal(gmk_chan_unsub(F.c, sub), GMK_ERR_NOTFOUND);
    assert_int_equal(gmk_wait_closed(F.c, old, 0), GMK_OK);
    assert_int_equal(chan_figures_of(ch).emitted, 0);
}

/* ---- emit ----------------------------------------------------------------------------------- */

static void message_types_are_checked(void **state)
{
    (void)state;
    gmk_chan_t typed = open_cfg((gmk_chan_cfg_t){.name = "typed", .msg_type = T_B, .slots = 8});
    gmk_chan_t any = open_chan("any", GMK_P2P, GMK_LOSSLESS, 8);
    sub_to(typed, T_A);
    sub_to(any, T_C);
    gmk_task_t t = {.type = T_C};
    assert_int_equal(gmk_chan_emit(F.c, typed, &t), GMK_CHAN_TYPE_MISMATCH);
    assert_int_equal(gmk_chan_emit(F.c, any, &t), GMK_OK);
    t.type = T_B;
    assert_int_equal(gmk_chan_emit(F.c, typed, &t), GMK_OK);
    t.type = 0;
    assert_int_equal(gmk_chan_emit(F.c, typed, &t), GMK_OK);
    assert_int_equal(gmk_chan_emit(F.c, any, &t), GMK_OK);
    wait_seen(T_A, 2); /* deliveries carry the subscription's handler type */
    wait_seen(T_C, 2);
    assert_int_equal(chan_figures_of(typed).refused, 1);
}

static void emit_checks_its_message(void **state)
{
    (void)state;
    gmk_chan_t ch = open_chan("emit", GMK_P2P, GMK_LOSSLESS, 8);
    int here = 0;
    gmk_task_t t = {0};
    uint64_t refused = kit_stats(&F.t).refused;
    assert_int_equal(gmk_chan_emit(NULL, ch, &t), GMK_ERR_INVAL);
    assert_int_equal(gmk_chan_emit(F.c, ch, NULL), GMK_ERR_INVAL);
    assert_int_equal(gmk_chan_emit_wait(NULL, ch, &t, 0), GMK_ERR_INVAL);
    assert_int_equal(gmk_chan_emit_wait(F.c, ch, NULL, 0), GMK_ERR_INVAL);
    assert_int_equal(gmk_chan_emit(F.c, (gmk_chan_t){0}, &t), GMK_CHAN_CLOSED);
    t.tenant = 1;
    assert_int_equal(gmk_chan_emit(F.c, ch, &t), GMK_ERR_RANGE);
    t = (gmk_task_t){.type = 256};
    assert_int_equal(gmk_chan_emit(F.c, ch, &t), GMK_ERR_RANGE);
    t = (gmk_task_t){.payload_ptr = (uint64_t)(uintptr_t)&here, .payload_len = 4};
    assert_int_equal(gmk_chan_emit(F.c, ch, &t), GMK_ERR_INVAL);
    t = (gmk_task_t){.flags = GMK_TASK_PAYLOAD_RC};
    assert_int_equal(gmk_chan_emit(F.c, ch, &t), GMK_ERR_INVAL);
    t = (gmk_task_t){.payload_len = 4};
    assert_int_equal(gmk_chan_emit(F.c, ch, &t), GMK_ERR_INVAL);
    assert_int_equal(kit_stats(&F.t).refused - refused, 6);
    assert_int_equal(chan_figures_of(ch).refused, 5);
}

static void emit_n_takes_the_first_so_many(void **state)
{
    (void)state;
    gmk_chan_t ch = open_cfg((gmk_chan_cfg_t){.name = "n", .slots = 100, .reserve_pct = UINT32_MAX});
    gmk_task_t t[150];
    memset(t, 0, sizeof t);
    for (uint32_t i = 0; i < 150; i++) {
        t[i].meta0 = i;
        t[i].flags = (uint16_t)(i / 3 % 4); /* runs of one priority */
    }
    assert_int_equal(gmk_chan_emit_n(NULL, ch, t, 1), GMK_ERR_INVAL);
    assert_int_equal(gmk_chan_emit_n(F.c, ch, NULL, 1), GMK_ERR_INVAL);
    assert_int_equal(gmk_chan_emit_n(F.c, ch, NULL, 0), 0);
    t[40].tenant = 9;
    assert_int_equal(gmk_chan_emit_n(F.c, ch, t, 150), 40);
    assert_int_equal(gmk_chan_emit_n(F.c, ch, t + 40, 10), GMK_ERR_RANGE);
    t[40].tenant = 0;
    assert_int_equal(gmk_chan_emit_n(F.c, ch, t + 40, 110), 60);
    assert_int_equal(gmk_chan_emit_n(F.c, ch, t + 100, 50), GMK_CHAN_FULL);
    sub_to(ch, T_A);
    wait_seen(T_A, 100);
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(seen[T_A].at[i].meta0, i);
        assert_int_equal(seen[T_A].at[i].seq, i);
    }
}

static int emit_wait_in_handler(gmk_ctx_t *c)
{
    gmk_task_t t = {0};
    gmk_chan_t ch = {(uint32_t)c->task->meta0};
    int got[] = {gmk_chan_emit_wait(c, ch, &t, 0), gmk_wait_closed(c, ch, 0), gmk_chan_wait(c, ch, 0),
                 gmk_chan_wait(c, ch, 9), gmk_chan_wait(c, (gmk_chan_t){0}, 1)};
    bool ok = got[0] == GMK_ERR_STATE && got[1] == GMK_ERR_STATE && got[2] == GMK_ERR_RANGE &&
              got[3] == GMK_ERR_RANGE && got[4] == GMK_CHAN_CLOSED;
    return ok ? GMK_OK : GMK_FAIL(1);
}

static void waiting_calls_know_where_they_are(void **state)
{
    (void)state;
    static const gmk_handler_reg_t h[] = {{.type = T_OWN, .fn = emit_wait_in_handler}};
    static gmk_module_t m = {.name = "waits", .handlers = h, .n_handlers = 1};
    gmk_chan_t ch = open_chan("here", GMK_P2P, GMK_LOSSLESS, 8);
    load_extra(&m);
    gmk_task_t t = {.type = T_OWN, .meta0 = ch.id};
    assert_int_equal(gmk_emit(F.c, &t), GMK_OK);
    kit_drain(&F.t);
    assert_int_equal(kit_type(&F.t, T_OWN).completed, 1);
    assert_int_equal(gmk_chan_wait(F.c, ch, 1), GMK_ERR_STATE);
    assert_int_equal(gmk_wait_closed(F.c, ch, NEVER), GMK_ERR_STATE);
}

static void emit_wait_gives_up_in_time(void **state)
{
    (void)state;
    gmk_chan_t ch = open_chan("slow", GMK_P2P, GMK_LOSSLESS, 2);
    gmk_task_t t = {0};
    emit_range(ch, 0, 2);
    uint64_t start = kit_now();
    assert_int_equal(gmk_chan_emit_wait(F.c, ch, &t, 0), GMK_ERR_TIMEOUT);
    assert_int_equal(gmk_chan_emit_wait(F.c, ch, &t, 30 * KIT_MS), GMK_ERR_TIMEOUT);
    assert_true(kit_now() - start >= 30 * KIT_MS);
}

static void send_all(crew_t *me)
{
    for (uint64_t i = 0; i < me->n; i++) {
        gmk_task_t t = {.meta0 = i};
        int rc = gmk_chan_emit_wait(me->c, me->ch, &t, NEVER);
        if (rc != GMK_OK) {
            me->sent = i;
            me->failed = rc != GMK_CHAN_CLOSED;
            return;
        }
    }
    me->sent = me->n;
}

static void emit_wait_goes_on_when_credits_return(void **state)
{
    (void)state;
    gmk_chan_t ch = open_chan("flow", GMK_P2P, GMK_LOSSLESS, 2);
    crew_t crew;
    seen[T_A].hold = 1;
    sub_to(ch, T_A);
    crew_start(&crew, 1, (crew_t){.work = send_all, .ch = ch, .n = 1000});
    KIT_WAIT(atomic_load(&seen[T_A].inside) == 1 && chan_figures_of(ch).used == 2);
    atomic_store(&seen[T_A].hold, 0);
    assert_int_equal(crew_join(&crew, 1), 1000);
    wait_seen(T_A, 1000);
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(seen[T_A].at[i].meta0, i);
}

static void emit_wait_learns_of_a_close(void **state)
{
    (void)state;
    gmk_chan_t ch = open_chan("shut", GMK_P2P, GMK_LOSSLESS, 2);
    crew_t crew[3];
    crew_start(crew, 3, (crew_t){.work = send_all, .ch = ch, .n = 1000});
    KIT_WAIT(chan_figures_of(ch).used == 2);
    assert_int_equal(gmk_chan_close(F.c, ch), GMK_OK);
    assert_int_equal(crew_join(crew, 3), 2);
}

/* ---- credits -------------------------------------------------------------------------------- */

static void credits_are_exact(void **state)
{
    (void)state;
    static const uint32_t slots[] = {1, 2, 3, 7, 16, 33};
    for (uint32_t i = 0; i < sizeof slots / sizeof *slots; i++)
        for (uint32_t mode = 0; mode < 2; mode++) {
            gmk_chan_t ch = open_cfg((gmk_chan_cfg_t){
                .name = "exact", .mode = mode, .slots = slots[i], .reserve_pct = UINT32_MAX});
            uint32_t before = atomic_load(&seen[T_A].n);
            sub_to(ch, T_A);
            for (uint32_t round = 0; round < 4; round++) {
                atomic_store(&seen[T_A].hold, 1);
                emit_range(ch, 0, slots[i]);
                assert_int_equal(emit_meta(ch, 99), GMK_CHAN_FULL);
                assert_int_equal(chan_figures_of(ch).used, slots[i]);
                atomic_store(&seen[T_A].hold, 0);
                KIT_WAIT(chan_figures_of(ch).used == 0);
                assert_int_equal(atomic_load(&seen[T_A].n), before + (round + 1) * slots[i]);
            }
            assert_int_equal(chan_figures_of(ch).refused, 4);
            close_all();
        }
}

static void the_slowest_subscriber_holds_the_credits(void **state)
{
    (void)state;
    gmk_chan_t ch = open_chan("slowest", GMK_FANOUT, GMK_LOSSLESS, 4);
    gmk_sub_t slow = sub_slow(ch, T_B);
    sub_to(ch, T_A);
    emit_range(ch, 1, 4);
    wait_seen(T_A, 3);
    assert_int_equal(emit_meta(ch, 4), GMK_CHAN_FULL);
    assert_int_equal(gmk_chan_unsub(F.c, slow), GMK_OK); /* its head still runs */
    assert_int_equal(emit_meta(ch, 4), GMK_CHAN_FULL);
    atomic_store(&seen[T_B].hold, 0);
    KIT_WAIT(emit_meta(ch, 4) == GMK_OK);
    wait_seen(T_A, 4);
    assert_int_equal(atomic_load(&seen[T_B].n), 1);
}

static uint32_t emit_until_full(gmk_chan_t ch, uint32_t prio)
{
    gmk_task_t t = {.flags = (uint16_t)prio};
    uint32_t n = 0;
    int rc;
    while ((rc = gmk_chan_emit(F.c, ch, &t)) == GMK_OK)
        n++;
    assert_int_equal(rc, GMK_CHAN_FULL);
    return n;
}

static void the_reserve_is_for_priority_zero(void **state)
{
    (void)state;
    static const struct {
        uint32_t slots, pct, low;
    } is[] = {{100, 0, 90}, {100, 50, 50}, {100, 1, 99}, {100, UINT32_MAX, 100},
              {9, 0, 9},    {10, 0, 9},    {3, 50, 2}};
    for (uint32_t i = 0; i < sizeof is / sizeof *is; i++) {
        gmk_chan_t ch = open_cfg(
            (gmk_chan_cfg_t){.name = "reserve", .slots = is[i].slots, .reserve_pct = is[i].pct});
        assert_int_equal(emit_until_full(ch, 1 + i % 3), is[i].low);
        assert_int_equal(emit_until_full(ch, 0), is[i].slots - is[i].low);
        assert_int_equal(emit_until_full(ch, 3), 0);
        close_all();
    }
}

/* ---- errors and figures --------------------------------------------------------------------- */

static void failures_go_to_the_channels_own_handler(void **state)
{
    (void)state;
    gmk_chan_t ch = open_chan("err", GMK_P2P, GMK_LOSSLESS, 8);
    listen_to("sys.error", T_ERR);
    sub_to(ch, T_A);
    atomic_store(&seen[T_A].result, GMK_FAIL(7));
    assert_int_equal(gmk_chan_on_error(F.c, ch, 256), GMK_ERR_RANGE);
    assert_int_equal(gmk_chan_on_error(F.c, ch, 200), GMK_ERR_NOTFOUND);
    assert_int_equal(gmk_chan_on_error(F.c, (gmk_chan_t){0}, T_C), GMK_CHAN_CLOSED);
    assert_int_equal(gmk_chan_on_error(F.c, ch, T_C), GMK_OK);
    emit_range(ch, 0, 2);
    wait_seen(T_C, 2);
    for (uint32_t i = 0; i < 2; i++) {
        gmk_task_t r = {.meta0 = seen[T_C].at[i].meta0, .meta1 = seen[T_C].at[i].meta1};
        assert_int_equal(gmk_dead_code(&r), GMK_FAIL(7));
        assert_int_equal(gmk_dead_count(&r), 1);
        assert_int_equal(gmk_dead_type(&r), T_A);
        assert_int_equal(gmk_dead_channel(&r), ch.id);
        assert_int_equal(seen[T_C].at[i].channel, 0); /* a direct task */
    }
    assert_int_equal(atomic_load(&seen[T_ERR].n), 0);
    assert_int_equal(gmk_chan_on_error(F.c, ch, 0), GMK_OK);
    emit_range(ch, 0, 1);
    wait_seen(T_ERR, 1);
    assert_int_equal(dead_code_at(&seen[T_ERR], 0), GMK_FAIL(7));
    assert_int_equal(chan_figures_of(ch).failed, 3);
    kit_drain(&F.t);
    assert_int_equal(kit_stats(&F.t).dead_letters, 3);
    atomic_store(&seen[T_A].result, GMK_OK);
}

static void figures_add_up(void **state)
{
    (void)state;
    gmk_chan_t ch = open_cfg((gmk_chan_cfg_t){
        .name = "figures", .msg_type = T_B, .mode = GMK_FANOUT, .slots = 8, .reserve_pct = UINT32_MAX});
    gmk_chan_stats_t s = chan_figures_of(ch);
    assert_string_equal(s.name, "figures");
    assert_int_equal(s.msg_type, T_B);
    assert_int_equal(s.mode, GMK_FANOUT);
    assert_int_equal(s.guarantee, GMK_LOSSLESS);
    assert_true(s.slots == 8 && s.subs == 0 && s.waiters == 0 && s.used == 0 && s.emitted == 0);
    emit_range(ch, 0, 3); /* nobody listens */
    s = chan_figures_of(ch);
    assert_true(s.emitted == 3 && s.unheard == 3 && s.used == 0);
    sub_slow(ch, T_A);
    gmk_sub_t b = sub_to(ch, T_B);
    emit_range(ch, 4, 11);
    assert_int_equal(emit_meta(ch, 11), GMK_CHAN_FULL);
    wait_seen(T_B, 7);
    s = chan_figures_of(ch);
    assert_true(s.emitted == 11 && s.subs == 2 && s.used == 8 && s.refused == 1);
    assert_int_equal(gmk_chan_unsub(F.c, b), GMK_OK);
    assert_int_equal(chan_figures_of(ch).subs, 1);
    atomic_store(&seen[T_A].hold, 0);
    kit_drain(&F.t);
    s = chan_figures_of(ch);
    assert_true(s.completed == 15 && s.failed == 0 && s.dropped == 0 && s.shed == 0 && s.used == 0);
    assert_int_equal(kit_stats(&F.t).unheard, 3);
    gmk_chan_stats_t none;
    assert_int_equal(gmk_chan_stats(NULL, ch, &none), GMK_ERR_INVAL);
    assert_int_equal(gmk_chan_stats(&F.t.k, ch, NULL), GMK_ERR_INVAL);
    assert_int_equal(gmk_chan_stats(&F.t.k, (gmk_chan_t){0}, &none), GMK_CHAN_CLOSED);
    close_all();
    ch = open_chan("figures", GMK_FANOUT, GMK_LOSSLESS, 8); /* the same place counts afresh */
    s = chan_figures_of(ch);
    assert_true(s.emitted == 0 && s.unheard == 0 && s.completed == 0 && s.refused == 0);
}

static void wait_closed_waits_for_the_last_handler(void **state)
{
    (void)state;
    gmk_chan_t ch = open_chan("last", GMK_P2P, GMK_LOSSLESS, 4);
    seen[T_A].hold = 1;
    sub_to(ch, T_A);
    emit_range(ch, 0, 1);
    KIT_WAIT(atomic_load(&seen[T_A].inside) == 1);
    assert_int_equal(gmk_wait_closed(F.c, ch, NEVER), GMK_ERR_STATE);
    assert_int_equal(gmk_chan_close(F.c, ch), GMK_OK);
    assert_int_equal(gmk_wait_closed(F.c, ch, 0), GMK_ERR_TIMEOUT);
    assert_int_equal(gmk_wait_closed(F.c, ch, 20 * KIT_MS), GMK_ERR_TIMEOUT);
    atomic_store(&seen[T_A].hold, 0);
    assert_int_equal(gmk_wait_closed(F.c, ch, KIT_PATIENCE), GMK_OK);
    assert_int_equal(atomic_load(&seen[T_A].n), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fix_up, fix_down)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(open_checks_names),
        TEST(open_checks_pointers),
        TEST(open_checks_ranges),
        TEST(open_without_memory_undoes_itself),
        TEST(find_knows_open_channels),
        TEST(system_channels_are_always_there),
        TEST(close_answers_closed_afterwards),
        TEST(a_name_is_free_as_soon_as_it_is_closed),
        TEST(a_kernel_has_256_channels),
        TEST(sub_checks_arguments),
        TEST(p2p_has_one_subscriber),
        TEST(fanout_has_32_subscribers),
        TEST(unsub_checks_its_handle),
        TEST(stale_handles_are_refused),
        TEST(message_types_are_checked),
        TEST(emit_checks_its_message),
        TEST(emit_n_takes_the_first_so_many),
        TEST(waiting_calls_know_where_they_are),
        TEST(emit_wait_gives_up_in_time),
        TEST(emit_wait_goes_on_when_credits_return),
        TEST(emit_wait_learns_of_a_close),
        TEST(credits_are_exact),
        TEST(the_slowest_subscriber_holds_the_credits),
        TEST(the_reserve_is_for_priority_zero),
        TEST(failures_go_to_the_channels_own_handler),
        TEST(figures_add_up),
        TEST(wait_closed_waits_for_the_last_handler),
    };
    return cmocka_run_group_tests_name("chan", tests, NULL, NULL);
}
