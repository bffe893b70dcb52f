/* SPDX-License-Identifier: MIT */
/* Payloads by copy engines: threads that copy, slowly where a test wants it. */
#include "bridge_kit.h"

#include <pthread.h>

#include <ggmk/copier.h>

#define LEAST 1000u

/* Two lines each way: one for payloads, one for small messages. */
static const gmk_chan_decl_t sends[] = {
    {.name = "t.to", .direction = GMK_PRODUCES, .msg_type = 7},
    {.name = "t.small", .direction = GMK_PRODUCES, .msg_type = 9},
    {.name = "t.back", .direction = GMK_CONSUMES, .msg_type = 8, .handler = B_NOTE}};
static const gmk_chan_decl_t gets[] = {
    {.name = "t.to", .direction = GMK_CONSUMES, .msg_type = 7, .handler = B_NOTE},
    {.name = "t.small", .direction = GMK_CONSUMES, .msg_type = 9, .handler = B_OTHER},
    {.name = "t.back", .direction = GMK_PRODUCES, .msg_type = 8}};

typedef struct engine {
    gmk_copy_ring_t ring;
    gmk_copy_done_t done;
    gmk_copier_t reach;
    pthread_t thread;
    atomic_uint hold, ending;        /* hold: orders are left where they are */
    atomic_uint woken, served, most; /* most: orders found waiting at once */
} engine_t;

enum { OUT = 0, IN = 1 };
static engine_t engine[2][2]; /* side, direction */

static void wake(void *arg) { atomic_fetch_add(&((engine_t *)arg)->woken, 1); }

static void serve_one(engine_t *e, uint64_t n, const gmk_copy_t *c)
{
    uint32_t waiting = (uint32_t)(gmk_load64(&e->ring.ordered, GMK_ACQ, GMK_SYSTEM) - n);
    if (waiting > atomic_load(&e->most))
        atomic_store(&e->most, waiting);
    memcpy((void *)(uintptr_t)c->to, (const void *)(uintptr_t)c->from, c->bytes);
    gmk_copier_did(&e->reach, n + 1);
    atomic_fetch_add(&e->served, 1);
}

static void *serve(void *arg)
{
    engine_t *e = arg;
    gmk_copy_t c;
    for (uint64_t n = 0; atomic_load(&e->ending) == 0;)
        if (atomic_load(&e->hold) == 0 && gmk_copier_next(&e->reach, n, &c))
            serve_one(e, n++, &c);
        else
            kit_nap();
    return NULL;
}

static gmk_copier_t engine_begin(engine_t *e)
{
    memset(e, 0, sizeof *e);
    e->reach = (gmk_copier_t){.ring = &e->ring, .done = &e->done, .least = LEAST, .wake = wake, .arg = e};
    assert_int_equal(pthread_create(&e->thread, NULL, serve, e), 0);
    return e->reach;
}

static void engines_begin(peers_t *p)
{
    memset(p, 0, sizeof *p);
    gmk_bridge_cfg_t cfg[2] = {{0}, {0}};
    for (uint32_t side = 0; side < 2; side++) {
        cfg[side].copy_out = engine_begin(&engine[side][OUT]);
        cfg[side].copy_in = engine_begin(&engine[side][IN]);
    }
    peers_boot_each(p, sends, 3, gets, 3, &cfg[CPU], &cfg[GPU]);
    peers_ready(p);
}

static void engines_end(peers_t *p)
{
    peers_end(p);
    for (uint32_t i = 0; i < 4; i++) {
        engine_t *e = &engine[i / 2][i % 2];
        atomic_store(&e->ending, 1);
        assert_int_equal(pthread_join(e->thread, NULL), 0);
        assert_int_equal(atomic_load(&e->served), gmk_load64(&e->ring.ordered, GMK_ACQ, GMK_SYSTEM));
        assert_int_equal(atomic_load(&e->woken), atomic_load(&e->served));
    }
}

/* Of no bytes: without a payload. */
static void send(peers_t *p, uint32_t side, const char *name, uint32_t len, uint32_t seed)
{
    gmk_chan_t ch = peers_chan(p, side, name);
    const gmk_task_t t = {.meta0 = seed};
    if (len != 0)
        send_payload(p, side, ch, len, seed);
    else
        assert_int_equal(gmk_chan_emit_wait(p->c[side], ch, &t, KIT_PATIENCE), GMK_OK);
}

static uint32_t sum_served(void)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < 4; i++)
        n += atomic_load(&engine[i / 2][i % 2].served);
    return n;
}

/* Of all sizes both ways, in order: those that are worth it by the engines, each of them twice. */
static void test_payloads(void **state)
{
    static const uint32_t lens[] = {4096, 1, LEAST - 1, LEAST, 0, 65536, 65537, 300000, 1000000};
    const uint32_t large = 6;
    peers_t p;
    (void)state;
    engines_begin(&p);
    for (uint32_t i = 0; i < 270; i++) {
        send(&p, CPU, "t.to", lens[i % 9], i);
        send(&p, GPU, "t.back", lens[(i + 4) % 9], i);
    }
    KIT_WAIT(atomic_load(&noted[GPU][B_NOTE].n) == 270 && atomic_load(&noted[CPU][B_NOTE].n) == 270);
    for (uint32_t side = 0; side < 2; side++)
        for (uint32_t i = 0; i < 270; i++) {
            uint32_t len = lens[(i + (side == CPU ? 4 : 0)) % 9];
            assert_int_equal(noted[side][B_NOTE].len[i], len);
            if (len != 0)
                assert_int_equal(noted[side][B_NOTE].sum[i], (uint32_t)noted[side][B_NOTE].meta0[i]);
        }
    assert_int_equal(sum_served(), 4 * 30 * large);
    assert_int_equal(peers_stats(&p, CPU).payloads_out, 270 - 30);
    engines_end(&p);
}

/* An engine that has nothing to wait for but the next order is idle: it has several at once. */
static void test_several_under_way(void **state)
{
    peers_t p;
    (void)state;
    engines_begin(&p);
    atomic_store(&engine[CPU][OUT].hold, 1);
    for (uint32_t i = 0; i < 4; i++)
        send(&p, CPU, "t.to", 20000, i);
    KIT_WAIT(gmk_load64(&engine[CPU][OUT].ring.ordered, GMK_ACQ, GMK_SYSTEM) == 4);
    assert_int_equal(peers_stats(&p, CPU).sent, 0);
    atomic_store(&engine[GPU][IN].hold, 1);
    atomic_store(&engine[CPU][OUT].hold, 0);
    KIT_WAIT(gmk_load64(&engine[GPU][IN].ring.ordered, GMK_ACQ, GMK_SYSTEM) == 4);
    assert_int_equal(atomic_load(&noted[GPU][B_NOTE].n), 0);
    atomic_store(&engine[GPU][IN].hold, 0);
    KIT_WAIT(atomic_load(&noted[GPU][B_NOTE].n) == 4);
    assert_payloads(&noted[GPU][B_NOTE], 4);
    assert_in_range(atomic_load(&engine[CPU][OUT].most), 2, 4);
    engines_end(&p);
}

/* While a large payload waits for its engine, on either side, small messages on other channels go by. */
static void test_small_ones_go_by(void **state)
{
    peers_t p;
    (void)state;
    engines_begin(&p);
    for (uint32_t which = 0; which < 2; which++) {
        engine_t *slow = which == 0 ? &engine[CPU][OUT] : &engine[GPU][IN];
        uint64_t before = gmk_load64(&slow->ring.ordered, GMK_ACQ, GMK_SYSTEM);
        atomic_store(&slow->hold, 1);
        send(&p, CPU, "t.to", 500000, which);
        KIT_WAIT(gmk_load64(&slow->ring.ordered, GMK_ACQ, GMK_SYSTEM) == before + 1);
        for (uint32_t i = 0; i < 100; i++)
            send(&p, CPU, "t.small", 0, i);
        KIT_WAIT(atomic_load(&noted[GPU][B_OTHER].n) == 100 * (which + 1));
        assert_int_equal(atomic_load(&noted[GPU][B_NOTE].n), which);
        atomic_store(&slow->hold, 0);
        KIT_WAIT(atomic_load(&noted[GPU][B_NOTE].n) == which + 1);
    }
    assert_payloads(&noted[GPU][B_NOTE], 2);
    engines_end(&p);
}

static atomic_uint downs;
static void *take_down(void *arg)
{
    peers_t *p = arg;
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(gmk_bridge_down(p->end[i], true), GMK_OK);
        atomic_fetch_add(&downs, 1);
    }
    return NULL;
}

/* The bridge goes down with copies under way: it waits for them, and what was not sent goes in the next epoch. */
static void test_down_waits_for_the_engine(void **state)
{
    peers_t p;
    pthread_t thread;
    (void)state;
    engines_begin(&p);
    atomic_store(&downs, 0);
    atomic_store(&engine[CPU][OUT].hold, 1);
    for (uint32_t i = 0; i < 3; i++)
        send(&p, CPU, "t.to", 60000, i);
    KIT_WAIT(gmk_load64(&engine[CPU][OUT].ring.ordered, GMK_ACQ, GMK_SYSTEM) == 3);
    assert_int_equal(pthread_create(&thread, NULL, take_down, &p), 0);
    for (uint32_t i = 0; i < 50; i++)
        kit_nap();
    assert_int_equal(atomic_load(&downs), 0);
    atomic_store(&engine[CPU][OUT].hold, 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    gmk_bridge_part(&p.pair, true);
    peers_ready(&p);
    KIT_WAIT(atomic_load(&noted[GPU][B_NOTE].n) == 3);
    assert_payloads(&noted[GPU][B_NOTE], 3);
    assert_int_equal(peers_stats(&p, CPU).reset, 0);
    engines_end(&p);
}

/* Its channel is closed while the engine fills the payload: that is dropped when the engine has done, and counted. */
static void test_closed_meanwhile(void **state)
{
    peers_t p;
    (void)state;
    engines_begin(&p);
    atomic_store(&engine[GPU][IN].hold, 1);
    send(&p, CPU, "t.to", 100000, 1);
    KIT_WAIT(gmk_load64(&engine[GPU][IN].ring.ordered, GMK_ACQ, GMK_SYSTEM) == 1);
    gmk_chan_t far = peers_chan(&p, GPU, "t.to");
    assert_int_equal(gmk_chan_close(p.c[GPU], far), GMK_OK);
    assert_int_equal(gmk_wait_closed(p.c[GPU], far, KIT_PATIENCE), GMK_OK);
    assert_int_equal(atomic_load(&noted[GPU][B_DEAD].letters), 0);
    atomic_store(&engine[GPU][IN].hold, 0);
    KIT_WAIT(atomic_load(&noted[GPU][B_DEAD].letters) == 1);
    assert_int_equal(atomic_load(&noted[GPU][B_DEAD].code), GMK_DROP_CLOSED);
    engines_end(&p);
}

/* The peer has gone, and the channel is closed while the engine reads the payload: it is nobody else's before. */
static void test_closed_without_a_peer(void **state)
{
    peers_t p;
    (void)state;
    engines_begin(&p);
    atomic_store(&engine[CPU][OUT].hold, 1);
    send(&p, CPU, "t.to", 60000, 1);
    KIT_WAIT(gmk_load64(&engine[CPU][OUT].ring.ordered, GMK_ACQ, GMK_SYSTEM) == 1);
    assert_int_equal(gmk_bridge_down(p.end[GPU], false), GMK_OK);
    KIT_WAIT(peers_stats(&p, CPU).state == GMK_BRIDGE_STOPPED);
    gmk_chan_t near = peers_chan(&p, CPU, "t.to");
    assert_int_equal(gmk_chan_close(p.c[CPU], near), GMK_OK);
    assert_int_equal(gmk_wait_closed(p.c[CPU], near, 50 * KIT_MS), GMK_ERR_TIMEOUT);
    assert_int_equal(atomic_load(&noted[CPU][B_DEAD].letters), 0);
    atomic_store(&engine[CPU][OUT].hold, 0);
    assert_int_equal(gmk_wait_closed(p.c[CPU], near, KIT_PATIENCE), GMK_OK);
    KIT_WAIT(atomic_load(&noted[CPU][B_DEAD].letters) == 1);
    assert_int_equal(atomic_load(&noted[CPU][B_DEAD].code), GMK_DROP_CLOSED);
    engines_end(&p);
}

static void test_half_an_engine(void **state)
{
    kit_t kit;
    gmk_copy_done_t done;
    gmk_bridge_t *b;
    const gmk_handler_reg_t handlers[] = {{.type = B_NOTE, .fn = note_cpu}};
    const gmk_bridge_cfg_t cfg = {.copy_in = {.done = &done}},
                           other = {.copy_out = {.ring = &engine[0][0].ring}};
    (void)state;
    KIT_BOOT(&kit, kit_cfg(1), handlers);
    assert_int_equal(gmk_bridge_create(&kit.k, &cfg, &b), GMK_ERR_INVAL);
    assert_null(b);
    assert_int_equal(gmk_bridge_create(&kit.k, &other, &b), GMK_ERR_INVAL);
    kit_end(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_payloads),         cmocka_unit_test(test_several_under_way),
        cmocka_unit_test(test_small_ones_go_by), cmocka_unit_test(test_down_waits_for_the_engine),
        cmocka_unit_test(test_closed_meanwhile), cmocka_unit_test(test_closed_without_a_peer),
        cmocka_unit_test(test_half_an_engine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
