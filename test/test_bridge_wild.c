/* SPDX-License-Identifier: MIT */
/*
 * A peer that breaks the rules.  Side 1 is played by the test itself, which writes into the region what no
 * kernel would; side 0 must fail the bridge with a reason, serve on, and account for everything.
 */
#include "harness.h"

#include <ggmk/bridge.h>

#include "../bridge/link.h"

#include <stdalign.h>
#include <sys/mman.h>

enum { W_NOTE = 1, W_LOCAL = 2 };

static atomic_uint notes, locals, hold;
static int note(gmk_ctx_t *c)
{
    KIT_HOLD((gmk_over_budget(c), atomic_load(&hold) == 0));
    atomic_fetch_add(&notes, 1);
    return GMK_OK;
}

static int local(gmk_ctx_t *c)
{
    (void)c;
    atomic_fetch_add(&locals, 1);
    return GMK_OK;
}

typedef struct wild {
    kit_t kit;
    gmk_bridge_t *b;
    gmk_port_t port;
    gmk_ctx_t *c;
    unsigned char *region;
    uint64_t bytes;
    gmk_region_view_t v; /* as the peer sees it */
    gmk_link_out_t out, control_out;
    gmk_link_in_t in, control_in;
} wild_t;

static const gmk_region_cfg_t small = {.ring_slots = 64, .control_slots = 256, .pool_bytes = 65536};

static void wild_region(wild_t *w)
{
    w->bytes = gmk_region_bytes(&small);
    w->region = mmap(NULL, w->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(w->region != MAP_FAILED);
    assert_int_equal(gmk_region_format(w->region, w->bytes, &small), GMK_OK);
}

static void tell(wild_t *w, gmk_control_t c)
{
    gmk_region_slot_t *s = gmk_link_fill(&w->control_out);
    memcpy(s->body, &c, sizeof c);
    gmk_link_publish(&w->control_out);
    gmk_bridge_wake(w->b);
}

static gmk_control_t named(uint8_t op, const char *name)
{
    gmk_control_t c = {.op = op};
    strncpy(c.u.name, name, sizeof c.u.name - 1);
    return c;
}

/* Takes what side 0 says, and answers a route. */
static void answer_routes(wild_t *w)
{
    gmk_control_t c;
    for (uint32_t n; (n = gmk_link_ready(&w->control_in, 1)) != 0; gmk_link_took(&w->control_in, 1)) {
        memcpy(&c, gmk_link_slot(&w->control_in, 0)->body, sizeof c);
        if (c.op != GMK_CONTROL_ROUTE)
            continue;
        gmk_control_t grant = {
            .op = GMK_CONTROL_GRANT, .msg_type = c.msg_type, .route = c.route, .slots = 16};
        tell(w, grant);
    }
}

/* Boots side 0 with a channel that leads to the peer and one that comes from it, and plays a decent peer. */
static void wild_begin(wild_t *w)
{
    static const gmk_handler_reg_t handlers[] = {{.type = W_NOTE, .fn = note},
                                                 {.type = W_LOCAL, .fn = local}};
    static const gmk_chan_decl_t channels[] = {
        {.name = "t.in", .direction = GMK_CONSUMES, .msg_type = 7, .handler = W_NOTE},
        {.name = "t.out", .direction = GMK_PRODUCES, .msg_type = 8}};
    const char *why;
    memset(w, 0, sizeof *w);
    atomic_store(&notes, 0);
    wild_region(w);
    kit_boot_module(
        &w->kit, kit_cfg(1),
        (gmk_module_t){
            .name = "wild", .handlers = handlers, .n_handlers = 2, .channels = channels, .n_channels = 2});
    assert_int_equal(gmk_bridge_create(&w->kit.k, NULL, &w->b), GMK_OK);
    assert_int_equal(gmk_attach(&w->kit.k, &w->port), GMK_OK);
    w->c = gmk_port_ctx(&w->port);
    assert_int_equal(gmk_region_view(&w->v, w->region, w->bytes, 1, &why), GMK_OK);
    gmk_link_out_init(&w->out, w->v.ring_out, w->v.ring_slots, &w->v.theirs->ring_head, w->v.epoch);
    gmk_link_out_init(&w->control_out, w->v.control_out, w->v.control_slots, &w->v.theirs->control_head,
                      w->v.epoch);
    gmk_link_in_init(&w->in, w->v.ring_in, w->v.ring_slots, &w->v.mine->ring_head, w->v.epoch);
    gmk_link_in_init(&w->control_in, w->v.control_in, w->v.control_slots, &w->v.mine->control_head,
                     w->v.epoch);
    assert_int_equal(gmk_bridge_up(w->b, w->region, w->bytes, 0), GMK_OK);
    gmk_control_t in = named(GMK_CONTROL_DECL, "t.in"), out = named(GMK_CONTROL_DECL, "t.out");
    in.msg_type = 7;
    out.msg_type = 8;
    out.flags = GMK_CONTROL_CONSUMES;
    tell(w, in);
    tell(w, out);
    tell(w, (gmk_control_t){.op = GMK_CONTROL_END});
    gmk_control_t route = named(GMK_CONTROL_ROUTE, "t.in");
    route.route = 5;
    tell(w, route);
    gmk_store64(&w->v.mine->state, GMK_BRIDGE_READY, GMK_REL, GMK_SYSTEM);
    KIT_WAIT((answer_routes(w), gmk_bridge_wait_ready(w->b, 0) == GMK_OK));
}

static gmk_bridge_stats_t wild_stats(wild_t *w)
{
    gmk_bridge_stats_t s;
    assert_int_equal(gmk_bridge_stats(w->b, &s), GMK_OK);
    return s;
}

/* The channels that come with a bridge stay, so not every block is back. */
static void wild_halt(kit_t *kit)
{
    gmk_mem_stats_t m;
    kit_drain(kit);
    kit_conserved(kit, 0);
    assert_int_equal(gmk_mem_stats(&kit->k, &m), GMK_OK);
    assert_int_equal(m.payloads_live, kit->begin.payloads_live);
    assert_int_equal(m.bad_frees, 0);
    assert_int_equal(gmk_halt(&kit->k), GMK_OK);
}

/* The kernel still does its own work, and everything has its outcome. */
static void wild_end(wild_t *w)
{
    uint32_t before = atomic_load(&locals);
    gmk_task_t t = {.type = W_LOCAL};
    assert_int_equal(gmk_submit(&w->kit.k, &t), GMK_OK);
    KIT_WAIT(atomic_load(&locals) == before + 1);
    gmk_bridge_destroy(w->b);
    gmk_detach(&w->port);
    wild_halt(&w->kit);
    munmap(w->region, w->bytes);
}

static void expect_failed(wild_t *w, const char *word)
{
    KIT_WAIT((gmk_bridge_wake(w->b), wild_stats(w).state == GMK_BRIDGE_FAILED));
    gmk_bridge_stats_t s = wild_stats(w);
    if (strstr(s.text, word) == NULL)
        fail_msg("expected '%s', the bridge says '%s'", word, s.text);
    assert_true(s.code < 0);
    assert_int_equal(gmk_load64(&w->v.theirs->state, GMK_ACQ, GMK_SYSTEM) & 0xff, GMK_BRIDGE_FAILED);
    wild_end(w);
}

static void put(wild_t *w, gmk_task_t t)
{
    gmk_region_slot_t *s = gmk_link_fill(&w->out);
    memcpy(s->body, &t, sizeof t);
    gmk_link_publish(&w->out);
    gmk_bridge_wake(w->b);
}

static void test_a_decent_peer(void **state)
{
    wild_t w;
    (void)state;
    wild_begin(&w);
    for (uint32_t i = 0; i < 16; i++)
        put(&w, (gmk_task_t){.channel = 5, .seq = i, .type = 7});
    KIT_WAIT(atomic_load(&notes) == 16);
    KIT_WAIT(gmk_load64(&w.v.theirs->ack[5].delivered, GMK_ACQ, GMK_SYSTEM) == 16);
    assert_int_equal(wild_stats(&w).state, GMK_BRIDGE_READY);
    wild_end(&w);
}

static void test_wild_slots(void **state)
{
    static const struct {
        gmk_task_t t;
        const char *word;
    } cases[] = {
        {{.channel = 6}, "has not asked for"},
        {{.channel = 0xffffffff}, "has not asked for"},
        {{.channel = 5, .seq = 1}, "out of order"},
        {{.channel = 5, .payload_ptr = 65537, .payload_len = 1}, "outside the pool"},
        {{.channel = 5, .payload_ptr = 1, .payload_len = 65537}, "outside the pool"},
        {{.channel = 5, .payload_ptr = 65536, .payload_len = 0xffffffff}, "outside the pool"},
        {{.channel = 5, .payload_ptr = UINT64_MAX, .payload_len = 2}, "outside the pool"},
        {{.channel = 5, .payload_len = 8}, "outside the pool"},
        {{.channel = GMK_REGION_TICK, .flags = 0xff}, "record of a tick that is none"},
        {{.channel = GMK_REGION_TICK, .flags = GMK_TICK_OPEN, .payload_ptr = 1}, "not the next"},
        {{.channel = GMK_REGION_TICK, .flags = GMK_TICK_TASK}, "has not opened"},
        {{.channel = GMK_REGION_TICK, .flags = GMK_TICK_ORDER}, "has not opened"},
    };
    (void)state;
    for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wild_t w;
        wild_begin(&w);
        put(&w, cases[i].t);
        expect_failed(&w, cases[i].word);
    }
}

/* Labels that this kernel does not have are made to fit; flags that are the kernel's are taken away. */
static void test_odd_labels(void **state)
{
    wild_t w;
    (void)state;
    wild_begin(&w);
    put(&w, (gmk_task_t){.channel = 5,
                         .seq = 0,
                         .type = 0xffffffff,
                         .tenant = 0xffff,
                         .flags = (uint16_t)~GMK_TASK_DETERMINISTIC,
                         .yield_count = 0xffff,
                         .retry_count = 0xffff});
    KIT_WAIT(atomic_load(&notes) == 1);
    wild_end(&w);
}

static void test_wild_commit(void **state)
{
    const uint64_t bad[] = {1, (uint64_t)1 << 32 | 2, (uint64_t)2 << 32 | 1, UINT64_MAX};
    (void)state;
    for (uint32_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        wild_t w;
        wild_begin(&w);
        gmk_store64(&w.v.ring_out[0].commit, bad[i], GMK_REL, GMK_SYSTEM);
        expect_failed(&w, "damaged");
        wild_begin(&w);
        gmk_store64(&w.v.control_out[w.control_out.tail].commit, bad[i], GMK_REL, GMK_SYSTEM);
        expect_failed(&w, "damaged");
    }
}

/* The channel holds 1024 messages and the stash behind it a window of 256: one more was never granted. */
static void test_more_than_granted(void **state)
{
    wild_t w;
    uint32_t i = 0;
    (void)state;
    wild_begin(&w);
    atomic_store(&hold, 1);
    for (; i < 1024 + 256; i++) {
        KIT_WAIT((gmk_bridge_wake(w.b), gmk_link_room(&w.out, 1) != 0));
        put(&w, (gmk_task_t){.channel = 5, .seq = i});
    }
    KIT_WAIT(gmk_load64(&w.v.theirs->ring_head, GMK_ACQ, GMK_SYSTEM) == i);
    assert_int_equal(wild_stats(&w).state, GMK_BRIDGE_READY);
    assert_int_equal(gmk_load64(&w.v.theirs->ack[5].delivered, GMK_ACQ, GMK_SYSTEM), 1024);
    put(&w, (gmk_task_t){.channel = 5, .seq = i});
    KIT_WAIT(wild_stats(&w).state == GMK_BRIDGE_FAILED);
    atomic_store(&hold, 0);
    expect_failed(&w, "more messages than it was granted");
}

static void test_wild_acknowledgements(void **state)
{
    wild_t w;
    gmk_chan_t ch;
    gmk_task_t t = {.meta0 = 1};
    (void)state;
    wild_begin(&w);
    assert_int_equal(gmk_chan_find(w.c, "t.out", &ch), GMK_OK);
    assert_int_equal(gmk_chan_emit(w.c, ch, &t), GMK_OK);
    gmk_task_t got = {.channel = GMK_REGION_TICK};
    for (uint32_t i = 0; got.channel == GMK_REGION_TICK; i++) { /* not what is said about ticks */
        KIT_WAIT(gmk_link_ready(&w.in, i + 1) == i + 1);
        memcpy(&got, gmk_link_slot(&w.in, i)->body, sizeof got);
    }
    assert_in_range(got.channel, 0, GMK_REGION_ROUTES - 1);
    gmk_store64(&w.v.mine->ack[got.channel].delivered, 2, GMK_REL, GMK_SYSTEM);
    expect_failed(&w, "never sent");
}

static void test_wild_heads(void **state)
{
    wild_t w;
    gmk_chan_t ch;
    (void)state;
    wild_begin(&w);
    assert_int_equal(gmk_chan_find(w.c, "t.out", &ch), GMK_OK);
    gmk_store64(&w.v.mine->ring_head, UINT64_MAX / 2, GMK_REL, GMK_SYSTEM); /* not believed */
    for (uint32_t i = 0; i < 16; i++) {
        gmk_task_t t = {.meta0 = i};
        assert_int_equal(gmk_chan_emit(w.c, ch, &t), GMK_OK);
    }
    KIT_WAIT(gmk_link_ready(&w.in, 16) == 16);
    assert_int_equal(wild_stats(&w).state, GMK_BRIDGE_READY);
    wild_end(&w);
}

static void test_wild_control(void **state)
{
    gmk_control_t cases[] = {{.op = 0},
                             {.op = 200},
                             {.op = GMK_CONTROL_GRANT, .route = 256, .slots = 1},
                             {.op = GMK_CONTROL_GRANT, .route = 99, .slots = 1},
                             {.op = GMK_CONTROL_GRANT, .route = 1, .slots = 0},
                             {.op = GMK_CONTROL_REFUSE, .route = 0xffffffff},
                             {.op = GMK_CONTROL_ROUTE, .route = 256},
                             {.op = GMK_CONTROL_DECL, .mode = 9},
                             {.op = GMK_CONTROL_DECL},
                             {.op = GMK_CONTROL_CLOSE}};
    (void)state;
    memset(cases[9].u.name, 'x', sizeof cases[9].u.name); /* a name that does not end */
    strcpy(cases[7].u.name, "t.x");
    strcpy(cases[8].u.name, "T X");
    for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wild_t w;
        wild_begin(&w);
        tell(&w, cases[i]);
        KIT_WAIT(wild_stats(&w).state == GMK_BRIDGE_FAILED);
        wild_end(&w);
    }
}

/* A clock that runs backwards, a name nobody closed, more channels than there can be. */
static void test_odd_control(void **state)
{
    wild_t w;
    (void)state;
    wild_begin(&w);
    gmk_control_t pong = {.op = GMK_CONTROL_PONG};
    pong.u.time[0] = UINT64_MAX;
    tell(&w, pong);
    tell(&w, named(GMK_CONTROL_CLOSE, "t.nobody"));
    KIT_WAIT(gmk_load64(&w.v.theirs->control_head, GMK_ACQ, GMK_SYSTEM) == w.control_out.tail);
    assert_int_equal(wild_stats(&w).state, GMK_BRIDGE_READY);
    for (uint32_t i = 0; i < 260; i++) {
        char name[16];
        snprintf(name, sizeof name, "t.n%u", i);
        KIT_WAIT(gmk_link_room(&w.control_out, 1) != 0);
        tell(&w, named(GMK_CONTROL_DECL, name));
    }
    expect_failed(&w, "more than 256 channels");
}

static void test_a_peer_that_fails(void **state)
{
    wild_t w;
    uint64_t words[GMK_REGION_TEXT_WORDS];
    (void)state;
    wild_begin(&w);
    memset(words, 0x1b, sizeof words); /* no end, and nothing to print */
    memcpy(words, "out of sorts", 12);
    for (uint32_t i = 0; i < GMK_REGION_TEXT_WORDS; i++)
        gmk_store64(&w.v.mine->text[i], words[i], GMK_RLX, GMK_SYSTEM);
    gmk_store64(&w.v.mine->state, GMK_BRIDGE_FAILED, GMK_REL, GMK_SYSTEM);
    expect_failed(&w, "out of sorts");
}

/* ---- regions that are none ----------------------------------------------------------------- */

static void test_regions(void **state)
{
    wild_t w;
    (void)state;
    memset(&w, 0, sizeof w);
    wild_region(&w);
    kit_boot_module(&w.kit, kit_cfg(1),
                    (gmk_module_t){.name = "wild",
                                   .handlers = (gmk_handler_reg_t[]){{.type = 1, .fn = note}},
                                   .n_handlers = 1});
    assert_int_equal(gmk_bridge_create(&w.kit.k, NULL, &w.b), GMK_OK);
    assert_int_equal(gmk_bridge_up(w.b, NULL, w.bytes, 0), GMK_ERR_INVAL);
    assert_int_equal(gmk_bridge_up(w.b, w.region + 64, w.bytes, 0), GMK_ERR_INVAL);
    assert_int_equal(gmk_bridge_up(w.b, w.region, w.bytes, 2), GMK_ERR_INVAL);
    assert_int_equal(gmk_bridge_up(w.b, w.region, 100, 0), GMK_ERR_RANGE);
    assert_int_equal(gmk_bridge_up(w.b, w.region, w.bytes - 1, 0), GMK_ERR_RANGE);
    assert_int_equal(gmk_bridge_wait_ready(w.b, 0), GMK_ERR_STATE);
    assert_int_equal(gmk_bridge_flush(w.b, 0), GMK_ERR_STATE);
    assert_int_equal(gmk_bridge_ask_stop(w.b), GMK_ERR_STATE);
    /* Every byte of the head's fields matters. */
    for (uint32_t at = 0; at < sizeof(gmk_region_head_t); at++) {
        unsigned char was = w.region[at];
        w.region[at] = (unsigned char)(was ^ 0x41);
        int rc = gmk_bridge_up(w.b, w.region, w.bytes, 0);
        if (rc == GMK_OK &&
            !(at >= offsetof(gmk_region_head_t, epoch) && at < offsetof(gmk_region_head_t, ring_slots)) &&
            !(at >= offsetof(gmk_region_head_t, name)))
            fail_msg("a region with byte %u changed is taken", at);
        if (rc == GMK_OK)
            assert_int_equal(gmk_bridge_down(w.b, false), GMK_OK);
        w.region[at] = was;
        if (rc == GMK_OK) { /* that epoch is used now */
            gmk_bridge_destroy(w.b);
            assert_int_equal(gmk_bridge_create(&w.kit.k, NULL, &w.b), GMK_OK);
        }
    }
    ((gmk_region_head_t *)(void *)w.region)->version = 2;
    assert_int_equal(gmk_bridge_up(w.b, w.region, w.bytes, 0), GMK_ERR_VERSION);
    gmk_bridge_destroy(w.b);
    wild_halt(&w.kit);
    munmap(w.region, w.bytes);
}

static void test_formats(void **state)
{
    static alignas(4096) unsigned char page[4096];
    char args[GMK_REGION_ARGS_MAX + 2];
    (void)state;
    const gmk_region_cfg_t bad[] = {
        {.ring_slots = 63},      {.ring_slots = 32},   {.ring_slots = 131072},           {.control_slots = 8},
        {.control_slots = 8192}, {.pool_bytes = 1000}, {.pool_bytes = (uint64_t)5 << 30}};
    for (uint32_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(gmk_region_bytes(&bad[i]), 0);
        assert_int_equal(gmk_region_format(page, sizeof page, &bad[i]), GMK_ERR_RANGE);
    }
    memset(args, 'a', sizeof args);
    args[sizeof args - 1] = '\0';
    uint64_t bytes = gmk_region_bytes(&small);
    unsigned char *m = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    gmk_region_cfg_t cfg = small;
    cfg.args = args;
    assert_int_equal(gmk_region_format(m, bytes, &cfg), GMK_ERR_INVAL);
    cfg.args = NULL;
    cfg.name[0] = "no blanks";
    assert_int_equal(gmk_region_format(m, bytes, &cfg), GMK_ERR_INVAL);
    cfg.name[0] = NULL;
    assert_int_equal(gmk_region_format(m, bytes - 1, &cfg), GMK_ERR_RANGE);
    assert_int_equal(gmk_region_format(NULL, bytes, &cfg), GMK_ERR_INVAL);
    munmap(m, bytes);
}

/* ---- configurations ------------------------------------------------------------------------ */

static void test_configurations(void **state)
{
    kit_t kit;
    gmk_bridge_t *b[20] = {NULL};
    const gmk_bridge_cfg_t bad[] = {{.batch = 65},           {.flush_ns = 1000000001}, {.beat_ns = 999},
                                    {.spin_ns = 1000000001}, {.nap_ns = 999},          {.window = 15},
                                    {.window = 24},          {.window = 8192},         {.flags = 2}};
    gmk_boot_cfg_t cfg = kit_cfg(1);
    (void)state;
    cfg.max_ports = 20;
    cfg.arena_size = (uint64_t)64 << 20;
    kit_boot_module(&kit, cfg,
                    (gmk_module_t){.name = "m",
                                   .handlers = (gmk_handler_reg_t[]){{.type = 1, .fn = note}},
                                   .n_handlers = 1});
    for (uint32_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(gmk_bridge_create(&kit.k, &bad[i], &b[0]), GMK_ERR_RANGE);
    assert_int_equal(gmk_bridge_create(NULL, NULL, &b[0]), GMK_ERR_INVAL);
    assert_int_equal(gmk_bridge_create(&kit.k, NULL, NULL), GMK_ERR_INVAL);
    for (uint32_t i = 0; i < 15; i++)
        assert_int_equal(gmk_bridge_create(&kit.k, NULL, &b[i]), GMK_OK);
    assert_int_equal(gmk_bridge_create(&kit.k, NULL, &b[15]), GMK_ERR_LIMIT);
    assert_int_equal(gmk_halt(&kit.k), GMK_ERR_STATE); /* their ports are attached */
    for (uint32_t i = 0; i < 15; i++)
        gmk_bridge_destroy(b[i]);
    gmk_bridge_destroy(NULL);
    gmk_port_t ports[20];
    for (uint32_t i = 0; i < 20; i++)
        assert_int_equal(gmk_attach(&kit.k, &ports[i]), GMK_OK);
    assert_int_equal(gmk_bridge_create(&kit.k, NULL, &b[0]), GMK_ERR_LIMIT);
    for (uint32_t i = 0; i < 20; i++)
        gmk_detach(&ports[i]);
    assert_int_equal(gmk_halt(&kit.k), GMK_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_decent_peer),     cmocka_unit_test(test_wild_slots),
        cmocka_unit_test(test_odd_labels),        cmocka_unit_test(test_wild_commit),
        cmocka_unit_test(test_more_than_granted), cmocka_unit_test(test_wild_acknowledgements),
        cmocka_unit_test(test_wild_heads),        cmocka_unit_test(test_wild_control),
        cmocka_unit_test(test_odd_control),       cmocka_unit_test(test_a_peer_that_fails),
        cmocka_unit_test(test_regions),           cmocka_unit_test(test_formats),
        cmocka_unit_test(test_configurations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
