/* SPDX-License-Identifier: MIT */
/* What a bridge between two kernels of one process does with messages. */
#include "bridge_kit.h"

#include "../bridge/bridge_int.h"

static const gmk_chan_decl_t sends[] = {
    {.name = "t.to", .direction = GMK_PRODUCES, .msg_type = 7},
    {.name = "t.back", .direction = GMK_CONSUMES, .msg_type = 8, .handler = B_NOTE}};
static const gmk_chan_decl_t gets[] = {
    {.name = "t.to", .direction = GMK_CONSUMES, .msg_type = 7, .handler = B_NOTE},
    {.name = "t.back", .direction = GMK_PRODUCES, .msg_type = 8}};

static void emit_numbers(peers_t *p, uint32_t side, gmk_chan_t ch, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++) {
        gmk_task_t t = {.meta0 = i};
        assert_int_equal(gmk_chan_emit_wait(p->c[side], ch, &t, KIT_PATIENCE), GMK_OK);
    }
}

static void assert_numbers(const noted_t *s, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (s->meta0[i] != i)
            fail_msg("message %llu carries %llu", (unsigned long long)i, (unsigned long long)s->meta0[i]);
}

static void test_delivery_and_order(void **state)
{
    peers_t p;
    (void)state;
    PEERS_BOOT(&p, sends, gets);
    emit_numbers(&p, CPU, peers_chan(&p, CPU, "t.to"), 0, 20000);
    emit_numbers(&p, GPU, peers_chan(&p, GPU, "t.back"), 0, 20000);
    KIT_WAIT(atomic_load(&noted[GPU][B_NOTE].n) == 20000 && atomic_load(&noted[CPU][B_NOTE].n) == 20000);
    assert_numbers(&noted[GPU][B_NOTE], 20000);
    assert_numbers(&noted[CPU][B_NOTE], 20000);
    assert_int_equal(gmk_bridge_flush(p.end[CPU], KIT_PATIENCE), GMK_OK);
    gmk_bridge_stats_t s = peers_stats(&p, CPU);
    assert_int_equal(s.sent, 20000);
    assert_int_equal(s.acknowledged, 20000);
    assert_int_equal(s.received, 20000);
    assert_int_equal(s.routes_out, 1);
    assert_int_equal(s.routes_in, 1);
    assert_string_equal(s.peer.name, "gpu.0");
    peers_end(&p);
}

static void test_backpressure(void **state)
{
    peers_t p;
    gmk_chan_t ch;
    uint64_t sent = 0;
    int rc;
    (void)state;
    PEERS_BOOT(&p, sends, gets);
    ch = peers_chan(&p, CPU, "t.to");
    atomic_store(&noted[GPU][B_NOTE].hold, 1);
    for (uint64_t quiet = kit_now(); kit_now() - quiet < 200 * KIT_MS;) {
        gmk_task_t t = {.meta0 = sent};
        rc = gmk_chan_emit(p.c[CPU], ch, &t);
        if (rc == GMK_OK) {
            sent++;
            quiet = kit_now();
        } else {
            assert_int_equal(rc, GMK_CHAN_FULL);
            kit_nap();
        }
    }
    /* What fits: the slots of both channels and a window of the bridge. */
    assert_in_range(sent, 1024, 2 * 1024 + 256 + 1);
    atomic_store(&noted[GPU][B_NOTE].hold, 0);
    KIT_WAIT(atomic_load(&noted[GPU][B_NOTE].n) == sent);
    assert_numbers(&noted[GPU][B_NOTE], sent);
    peers_end(&p);
}

static void test_payloads(void **state)
{
    peers_t p;
    const uint32_t lens[] = {4096, 1, 63, 64, 65, 65536, 65537, 300000, 1000000};
    (void)state;
    PEERS_BOOT(&p, sends, gets);
    for (uint32_t i = 0; i < 300; i++) {
        send_payload(&p, CPU, peers_chan(&p, CPU, "t.to"), lens[i % 9], i);
        send_payload(&p, GPU, peers_chan(&p, GPU, "t.back"), lens[(i + 4) % 9], i);
    }
    KIT_WAIT(atomic_load(&noted[GPU][B_NOTE].n) == 300 && atomic_load(&noted[CPU][B_NOTE].n) == 300);
    assert_payloads(&noted[GPU][B_NOTE], 300);
    assert_payloads(&noted[CPU][B_NOTE], 300);
    assert_int_equal(peers_stats(&p, CPU).payloads_out, 300);
    peers_end(&p);
}

/* Emits payloads until there is no memory for one more. */
static uint32_t fill_with_payloads(peers_t *p, uint32_t side, const char *name, uint32_t len)
{
    gmk_chan_t ch = peers_chan(p, side, name);
    uint32_t n = 0;
    for (unsigned char *b; (b = gmk_payload_alloc(p->c[side], len)) != NULL; n++) {
        memset(b, (int)n, len);
        gmk_task_t t = payload_task(b, len);
        assert_int_equal(gmk_chan_emit(p->c[side], ch, &t), GMK_OK);
    }
    return n;
}

/* Each kernel is full of messages for the other, and none has memory for what arrives but what was reserved. */
static void test_memory_full_on_both_sides(void **state)
{
    static const uint32_t lens[] = {100000, 2000000, 40000};
    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t n[2];
        peers_t p;
        PEERS_BOOT(&p, sends, gets);
        for (uint32_t side = 0; side < 2; side++)
            gmk_bridge_lock(p.end[side]); /* the pumps stand still */
        n[CPU] = fill_with_payloads(&p, CPU, "t.to", lens[i]);
        n[GPU] = fill_with_payloads(&p, GPU, "t.back", lens[i]);
        assert_true(n[CPU] >= 5 && n[GPU] >= 5);
        for (uint32_t side = 0; side < 2; side++)
            gmk_bridge_unlock(p.end[side]);
        KIT_WAIT(atomic_load(&noted[GPU][B_NOTE].n) == n[CPU]);
        KIT_WAIT(atomic_load(&noted[CPU][B_NOTE].n) == n[GPU]);
        assert_payloads(&noted[GPU][B_NOTE], n[CPU]);
        assert_payloads(&noted[CPU][B_NOTE], n[GPU]);
        peers_end(&p);
    }
}

#define HOARD 1000u

/* All memory of a kernel but the reserve; returns how many blocks. */
static uint32_t hoard(peers_t *p, uint32_t side, void **blocks)
{
    uint32_t n = 0;
    while (n < HOARD && (blocks[n] = gmk_payload_alloc(p->c[side], 60000)) != NULL)
        n++;
    assert_in_range(n, 1, HOARD - 1);
    return n;
}

static void unhoard(peers_t *p, uint32_t side, void **blocks, uint32_t n)
{
    while (n > 0)
        assert_int_equal(gmk_payload_release(p->c[side], blocks[--n]), GMK_OK);
}

/* A route that has waited for the reserve, and found other memory, keeps nobody from it. */
static void test_reserve_is_free_again(void **state)
{
    static void *blocks[HOARD];
    const gmk_chan_decl_t out[] = {{.name = "t.a", .direction = GMK_PRODUCES, .msg_type = 7},
                                   {.name = "t.b", .direction = GMK_PRODUCES, .msg_type = 7}};
    const gmk_chan_decl_t in[] = {
        {.name = "t.a", .direction = GMK_CONSUMES, .msg_type = 7, .handler = B_NOTE},
        {.name = "t.b", .direction = GMK_CONSUMES, .msg_type = 7, .handler = B_OTHER}};
    peers_t p;
    (void)state;
    PEERS_BOOT(&p, out, in);
    uint32_t n = hoard(&p, GPU, blocks);
    atomic_store(&noted[GPU][B_NOTE].hold, 1);
    for (uint32_t i = 0; i < 8; i++) /* of a MB each: more than the reserve */
        send_payload(&p, CPU, peers_chan(&p, CPU, "t.a"), 1000000, i);
    assert_int_equal(gmk_bridge_flush(p.end[CPU], 100 * KIT_MS), GMK_ERR_TIMEOUT);
    unhoard(&p, GPU, blocks, n);
    assert_int_equal(gmk_bridge_flush(p.end[CPU], KIT_PATIENCE), GMK_OK);
    atomic_store(&noted[GPU][B_NOTE].hold, 0);
    kit_drain(&p.kit[GPU]);
    n = hoard(&p, GPU, blocks);
    send_payload(&p, CPU, peers_chan(&p, CPU, "t.b"), 1000000, 1);
    KIT_WAIT(atomic_load(&noted[GPU][B_OTHER].n) == 1);
    assert_payloads(&noted[GPU][B_OTHER], 1);
    unhoard(&p, GPU, blocks, n);
    peers_end(&p);
}

static void test_payload_larger_than_the_pool(void **state)
{
    peers_t p;
    (void)state;
    PEERS_BOOT(&p, sends, gets);
    emit_numbers(&p, CPU, peers_chan(&p, CPU, "t.to"), 0, 1);
    send_payload(&p, CPU, peers_chan(&p, CPU, "t.to"), 5u << 20, 1);
    emit_numbers(&p, CPU, peers_chan(&p, CPU, "t.to"), 1, 2);
    KIT_WAIT(atomic_load(&noted[GPU][B_NOTE].n) == 2 && atomic_load(&noted[CPU][B_DEAD].letters) == 1);
    assert_int_equal(atomic_load(&noted[CPU][B_DEAD].code), GMK_DROP_BRIDGE);
    assert_numbers(&noted[GPU][B_NOTE], 2);
    peers_end(&p);
}

static void test_batches_grow(void **state)
{
    peers_t p;
    (void)state;
    PEERS_BOOT(&p, sends, gets);
    emit_numbers(&p, CPU, peers_chan(&p, CPU, "t.to"), 0, 60000);
    KIT_WAIT(atomic_load(&noted[GPU][B_NOTE].n) == 60000);
    gmk_bridge_stats_t s = peers_stats(&p, CPU);
    assert_in_range(s.publications, 1, 59999);
    peers_end(&p);
}

/* ---- who listens --------------------------------------------------------------------------- */

static void test_fanout_on_both_sides(void **state)
{
    const gmk_chan_decl_t both[] = {{.name = "t.all",
                                     .direction = GMK_CONSUMES | GMK_PRODUCES,
                                     .mode = GMK_FANOUT,
                                     .msg_type = 7,
                                     .handler = B_NOTE}};
    peers_t p;
    (void)state;
    PEERS_BOOT(&p, both, both);
    emit_numbers(&p, CPU, peers_chan(&p, CPU, "t.all"), 0, 1000);
    KIT_WAIT(atomic_load(&noted[GPU][B_NOTE].n) == 1000 && atomic_load(&noted[CPU][B_NOTE].n) == 1000);
    emit_numbers(&p, GPU, peers_chan(&p, GPU, "t.all"), 0, 1000);
    KIT_WAIT(atomic_load(&noted[GPU][B_NOTE].n) == 2000 && atomic_load(&noted[CPU][B_NOTE].n) == 2000);
    assert_int_equal(gmk_bridge_flush(p.end[CPU], KIT_PATIENCE), GMK_OK);
    assert_int_equal(gmk_bridge_flush(p.end[GPU], KIT_PATIENCE), GMK_OK);
    assert_int_equal(atomic_load(&noted[GPU][B_NOTE].n), 2000); /* nothing came back to where it was from */
    assert_int_equal(atomic_load(&noted[CPU][B_NOTE].n), 2000);
    assert_int_equal(peers_stats(&p, CPU).sent, 1000);
    peers_end(&p);
}

/* Both sides fill one channel, each waiting for the other's slots: what arrives has slots of its own. */
static void test_fanout_full_on_both_sides(void **state)
{
    const gmk_chan_decl_t both[] = {{.name = "t.all",
                                     .direction = GMK_CONSUMES | GMK_PRODUCES,
                                     .mode = GMK_FANOUT,
                                     .msg_type = 7,
                                     .slots = 8,
                                     .handler = B_NOTE}};
    const uint32_t each = 5000;
    uint32_t sent[2] = {0, 0};
    gmk_chan_t ch[2];
    peers_t p;
    (void)state;
    PEERS_BOOT(&p, both, both);
    for (uint32_t i = 0; i < 2; i++)
        ch[i] = peers_chan(&p, i, "t.all");
    for (uint64_t quiet = kit_now(); sent[CPU] + sent[GPU] < 2 * each && kit_now() - quiet < KIT_PATIENCE;)
        for (uint32_t i = 0; i < 2; i++) {
            gmk_task_t t = {.meta0 = sent[i]};
            if (sent[i] < each && gmk_chan_emit(p.c[i], ch[i], &t) == GMK_OK) {
                sent[i]++;
                quiet = kit_now();
            }
        }
    assert_int_equal(sent[CPU] + sent[GPU], 2 * each);
    KIT_WAIT(atomic_load(&noted[GPU][B_NOTE].n) == 2 * each &&
             atomic_load(&noted[CPU][B_NOTE].n) == 2 * each);
    peers_end(&p);
}

static void test_lossy_sheds_for_the_slow_one(void **state)
{
    const gmk_chan_decl_t out[] = {
        {.name = "t.lossy", .direction = GMK_PRODUCES, .guarantee = GMK_LOSSY, .msg_type = 7, .slots = 64}};
    const gmk_chan_decl_t in[] = {{.name = "t.lossy",
                                   .direction = GMK_CONSUMES,
                                   .guarantee = GMK_LOSSY,
                                   .msg_type = 7,
                                   .slots = 64,
                                   .handler = B_NOTE}};
    peers_t p;
    (void)state;
    PEERS_BOOT(&p, out, in);
    gmk_chan_t ch = peers_chan(&p, CPU, "t.lossy");
    atomic_store(&noted[GPU][B_NOTE].hold, 1);
    for (uint64_t i = 0; i < 5000; i++) {
        gmk_task_t t = {.meta0 = i};
        assert_int_equal(gmk_chan_emit(p.c[CPU], ch, &t), GMK_OK);
    }
    atomic_store(&noted[GPU][B_NOTE].hold, 0);
    KIT_WAIT(atomic_load(&noted[GPU][B_NOTE].n) + atomic_load(&noted[CPU][B_DEAD].letters) +
                 atomic_load(&noted[GPU][B_DEAD].letters) ==
             5000);
    assert_in_range(atomic_load(&noted[GPU][B_NOTE].n), 1, 4999);
    peers_end(&p);
}

static void test_opened_later(void **state)
{
    const gmk_chan_decl_t none[] = {{.name = "t.unused", .direction = GMK_PRODUCES}};
    const gmk_chan_cfg_t cfg = {.name = "t.late", .msg_type = 9};
    const gmk_sub_cfg_t sub = {.handler = B_OTHER};
    gmk_chan_t near, far;
    peers_t p;
    (void)state;
    PEERS_BOOT(&p, none, none);
    assert_int_equal(gmk_chan_open(p.c[CPU], &cfg, &near), GMK_OK);
    emit_numbers(&p, CPU, near, 0, 10); /* wait for a subscriber, wherever */
    assert_int_equal(gmk_chan_open(p.c[GPU], &cfg, &far), GMK_OK);
    assert_int_equal(gmk_chan_sub(p.c[GPU], far, &sub, NULL), GMK_OK);
    KIT_WAIT(atomic_load(&noted[GPU][B_OTHER].n) == 10);
    emit_numbers(&p, CPU, near, 10, 2000);
    KIT_WAIT(atomic_load(&noted[GPU][B_OTHER].n) == 2000);
    assert_numbers(&noted[GPU][B_OTHER], 2000);
    /* One channel: closed there is closed here. */
    assert_int_equal(gmk_chan_close(p.c[GPU], far), GMK_OK);
    gmk_task_t t = {.meta0 = 0};
    KIT_WAIT(gmk_chan_emit(p.c[CPU], near, &t) == GMK_CHAN_CLOSED);
    assert_int_equal(gmk_wait_closed(p.c[CPU], near, KIT_PATIENCE), GMK_OK);
    KIT_WAIT(peers_stats(&p, CPU).routes_out == 0);
    peers_end(&p);
}

/* ---- what disagrees ------------------------------------------------------------------------ */

static void fails_to_join(const gmk_chan_decl_t *cpu, const gmk_chan_decl_t *gpu, int code, const char *word)
{
    peers_t p;
    peers_boot(&p, cpu, 1, gpu, 1, NULL);
    assert_int_equal(peers_join(&p), GMK_OK);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(gmk_bridge_wait_ready(p.end[i], KIT_PATIENCE), code);
        gmk_bridge_stats_t s = peers_stats(&p, i);
        if (strstr(s.text, word) == NULL || strstr(s.text, "near") == NULL || strstr(s.text, "far") == NULL)
            fail_msg("side %u says: %s", i, s.text);
    }
    peers_end(&p);
}

static void test_disagreements(void **state)
{
    const gmk_chan_decl_t a = {.name = "t.x", .direction = GMK_PRODUCES, .msg_type = 7};
    gmk_chan_decl_t b = {.name = "t.x", .direction = GMK_CONSUMES, .msg_type = 8, .handler = B_NOTE};
    (void)state;
    fails_to_join(&a, &b, GMK_CHAN_TYPE_MISMATCH, "message type");
    b.msg_type = 7;
    b.mode = GMK_FANOUT;
    fails_to_join(&a, &b, GMK_ERR_INVAL, "mode");
    b.mode = GMK_P2P;
    b.guarantee = GMK_LOSSY;
    fails_to_join(&a, &b, GMK_ERR_INVAL, "guarantee");
    b.guarantee = GMK_LOSSLESS;
    fails_to_join(&b, &b, GMK_CHAN_ALREADY_BOUND, "consumed on both sides");
}

/* ---- the peer goes away -------------------------------------------------------------------- */

static void test_reset(void **state)
{
    peers_t p;
    (void)state;
    PEERS_BOOT(&p, sends, gets);
    gmk_chan_t ch = peers_chan(&p, CPU, "t.to");
    emit_numbers(&p, CPU, ch, 0, 100);
    KIT_WAIT(atomic_load(&noted[GPU][B_NOTE].n) == 100);
    atomic_store(&noted[GPU][B_NOTE].hold, 1);
    for (uint64_t i = 0; i < 1000; i++) { /* an idempotent one keeps its place until it is completed */
        gmk_task_t t = {.meta0 = i, .flags = i % 2 == 0 ? GMK_TASK_IDEMPOTENT : 0};
        assert_int_equal(gmk_chan_emit_wait(p.c[CPU], ch, &t, KIT_PATIENCE), GMK_OK);
    }
    /* The end here is taken down as if the peer had died; there, what has arrived goes on. */
    assert_int_equal(gmk_bridge_down(p.end[CPU], true), GMK_OK);
    gmk_bridge_stats_t s = peers_stats(&p, CPU);
    assert_int_equal(s.state, GMK_BRIDGE_DOWN);
    assert_int_equal(s.lost_epochs, 1);
    gmk_task_t t = {.meta0 = 0};
    assert_int_equal(gmk_chan_emit(p.c[CPU], ch, &t), GMK_CHAN_CLOSED);
    KIT_WAIT(atomic_load(&noted[CPU][B_ERROR].letters) == s.reset);
    if (s.reset != 0)
        assert_int_equal(atomic_load(&noted[CPU][B_ERROR].code), GMK_ERR_KERNEL_RESET);
    atomic_store(&noted[GPU][B_NOTE].hold, 0);
    gmk_bridge_part(&p.pair, true);
    kit_drain(&p.kit[GPU]);
    uint32_t before = atomic_load(&noted[GPU][B_NOTE].n);
    peers_ready(&p);
    assert_int_equal(gmk_bridge_flush(p.end[CPU], KIT_PATIENCE), GMK_OK);
    kit_drain(&p.kit[GPU]);
    /* Every message ran there, or failed here; the idempotent ones under way ran twice. */
    uint32_t ran = atomic_load(&noted[GPU][B_NOTE].n) - 100;
    s.resent = peers_stats(&p, CPU).resent;
    assert_in_range(ran + s.reset, 1000, 1000 + s.resent + s.reset);
    assert_true(before >= 100);
    emit_numbers(&p, CPU, ch, 0, 50);
    KIT_WAIT(atomic_load(&noted[GPU][B_NOTE].n) == ran + 150);
    assert_int_equal(peers_stats(&p, CPU).epochs, 2);
    peers_end(&p);
}

static void test_gone_for_good(void **state)
{
    peers_t p;
    (void)state;
    PEERS_BOOT(&p, sends, gets);
    gmk_chan_t ch = peers_chan(&p, CPU, "t.to");
    atomic_store(&noted[GPU][B_NOTE].hold, 1);
    emit_numbers(&p, CPU, ch, 0, 1600);
    assert_int_equal(gmk_bridge_down(p.end[CPU], false), GMK_OK);
    gmk_bridge_stats_t s = peers_stats(&p, CPU);
    kit_drain(&p.kit[CPU]);
    /* What was under way failed, what was queued was dropped, nothing is left. */
    KIT_WAIT(atomic_load(&noted[CPU][B_ERROR].letters) == s.reset);
    gmk_stats_t k = kit_stats(&p.kit[CPU]);
    assert_int_equal(k.pending, 0);
    assert_true(k.dropped >= s.dropped);
    atomic_store(&noted[GPU][B_NOTE].hold, 0);
    peers_end(&p);
}

/* ---- many channels ------------------------------------------------------------------------- */

#define NAMES 40u
static void channel_name(char name[16], uint32_t i) { snprintf(name, 16, "t.c%02u", i); }

/* Opens as many channels on both sides, consumed there. */
static void open_many(peers_t *p, gmk_chan_t near[], uint32_t n)
{
    const gmk_sub_cfg_t sub = {.handler = B_OTHER};
    for (uint32_t i = 0; i < n; i++) {
        char name[16];
        gmk_chan_t far;
        channel_name(name, i);
        const gmk_chan_cfg_t cfg = {.name = name, .slots = 64};
        assert_int_equal(gmk_chan_open(p->c[CPU], &cfg, &near[i]), GMK_OK);
        assert_int_equal(gmk_chan_open(p->c[GPU], &cfg, &far), GMK_OK);
        assert_int_equal(gmk_chan_sub(p->c[GPU], far, &sub, NULL), GMK_OK);
    }
    KIT_WAIT(peers_stats(p, CPU).routes_out == n);
}

static const gmk_chan_decl_t nothing[] = {{.name = "t.unused", .direction = GMK_PRODUCES}};

/* Each of them gets its part of the pool, also when there are more than parts of the usual size. */
static void test_payloads_on_many_channels(void **state)
{
    gmk_chan_t near[NAMES];
    peers_t p;
    (void)state;
    PEERS_BOOT(&p, nothing, nothing);
    open_many(&p, near, NAMES);
    for (uint32_t i = 0; i < NAMES * 8; i++)
        send_payload(&p, CPU, near[i % NAMES], i % 3 == 0 ? 70000 : 100, i);
    KIT_WAIT(gmk_bridge_flush(p.end[CPU], KIT_PATIENCE) == GMK_OK);
    kit_drain(&p.kit[GPU]);
    assert_int_equal(peers_stats(&p, CPU).dropped, 0);
    assert_int_equal(peers_stats(&p, GPU).payloads_in, NAMES * 8);
    peers_end(&p);
}

/* One that needs most of the pool waits until the others have given up their parts. */
static void test_a_payload_for_most_of_the_pool(void **state)
{
    gmk_chan_t near[8];
    peers_t p;
    (void)state;
    PEERS_BOOT(&p, nothing, nothing);
    open_many(&p, near, 8);
    for (uint32_t i = 0; i < 8; i++)
        send_payload(&p, CPU, near[i], 1000, i);
    send_payload(&p, CPU, near[0], 3500000, 9);
    KIT_WAIT(gmk_bridge_flush(p.end[CPU], KIT_PATIENCE) == GMK_OK);
    assert_int_equal(peers_stats(&p, CPU).dropped, 0);
    assert_int_equal(peers_stats(&p, CPU).payloads_out, 9);
    peers_end(&p);
}

/* A name that is closed and opened again is joined again, in whatever place of the table. */
static void test_closed_and_opened_again(void **state)
{
    gmk_chan_t near[4], far;
    peers_t p;
    (void)state;
    PEERS_BOOT(&p, nothing, nothing);
    open_many(&p, near, 4);
    for (uint32_t round = 0; round < 3; round++) {
        const gmk_sub_cfg_t sub = {.handler = B_OTHER};
        const gmk_chan_cfg_t cfg = {.name = "t.c03", .slots = 64};
        gmk_task_t t = {.meta0 = round};
        if (round == 1) /* a place further up comes free first */
            assert_int_equal(gmk_chan_close(p.c[CPU], near[0]), GMK_OK);
        if (round == 1)
            assert_int_equal(gmk_wait_closed(p.c[CPU], near[0], KIT_PATIENCE), GMK_OK);
        assert_int_equal(gmk_chan_close(p.c[CPU], near[3]), GMK_OK);
        KIT_WAIT(gmk_chan_find(p.c[GPU], "t.c03", &far) == GMK_ERR_NOTFOUND); /* closed there, too */
        assert_int_equal(gmk_chan_open(p.c[CPU], &cfg, &near[3]), GMK_OK);
        assert_int_equal(gmk_chan_open(p.c[GPU], &cfg, &far), GMK_OK);
        assert_int_equal(gmk_chan_sub(p.c[GPU], far, &sub, NULL), GMK_OK);
        assert_int_equal(gmk_chan_emit(p.c[CPU], near[3], &t), GMK_OK);
        KIT_WAIT(atomic_load(&noted[GPU][B_OTHER].n) == round + 1);
    }
    peers_end(&p);
}

/* A channel that is closed under a peer that is dead, or away, ends all the same. */
static void test_closed_without_a_peer(void **state)
{
    peers_t p;
    (void)state;
    for (uint32_t away = 0; away < 2; away++) {
        PEERS_BOOT(&p, sends, gets);
        gmk_chan_t ch = peers_chan(&p, CPU, "t.to");
        atomic_store(&noted[GPU][B_NOTE].hold, 1);
        for (uint32_t i = 0; i < 900; i++) {
            gmk_task_t t = {.meta0 = i, .flags = i % 2 == 0 ? GMK_TASK_IDEMPOTENT : 0};
            assert_int_equal(gmk_chan_emit_wait(p.c[CPU], ch, &t, KIT_PATIENCE), GMK_OK);
        }
        if (away != 0)
            assert_int_equal(gmk_bridge_down(p.end[CPU], true), GMK_OK);
        assert_int_equal(gmk_chan_close(p.c[CPU], ch), GMK_OK);
        if (away == 0)
            assert_int_equal(gmk_bridge_down(p.end[CPU], true), GMK_OK);
        assert_int_equal(gmk_wait_closed(p.c[CPU], ch, KIT_PATIENCE), GMK_OK);
        kit_drain(&p.kit[CPU]);
        kit_conserved(&p.kit[CPU], 0);
        atomic_store(&noted[GPU][B_NOTE].hold, 0);
        peers_end(&p);
    }
}

/* ---- turns --------------------------------------------------------------------------------- */

/* A flood on one channel does not keep a few messages of another from passing. */
static void test_routes_take_turns(void **state)
{
    gmk_chan_t near[2];
    peers_t p;
    uint64_t flood = 0;
    (void)state;
    PEERS_BOOT(&p, nothing, nothing);
    open_many(&p, near, 2);
    for (uint32_t i = 0; i < 200; i++) {
        gmk_task_t t = {.flags = GMK_PRIO_1, .meta0 = i};
        for (uint32_t j = 0; j < 100; j++)
            flood += gmk_chan_emit(p.c[CPU], near[0], &t) == GMK_OK;
        assert_int_equal(gmk_chan_emit_wait(p.c[CPU], near[1], &t, KIT_PATIENCE), GMK_OK);
    }
    KIT_WAIT(atomic_load(&noted[GPU][B_OTHER].n) == (uint32_t)flood + 200);
    peers_end(&p);
}

/* The peer's last subscriber of a fan-out channel goes: its messages are not carried any more. */
static void test_the_last_consumer_leaves(void **state)
{
    const gmk_chan_cfg_t cfg = {.name = "t.fan", .mode = GMK_FANOUT};
    const gmk_sub_cfg_t sub = {.handler = B_OTHER};
    gmk_chan_t near, far;
    gmk_sub_t there;
    peers_t p;
    (void)state;
    PEERS_BOOT(&p, nothing, nothing);
    assert_int_equal(gmk_chan_open(p.c[CPU], &cfg, &near), GMK_OK);
    assert_int_equal(gmk_chan_open(p.c[GPU], &cfg, &far), GMK_OK);
    for (uint32_t round = 0; round < 3; round++) {
        assert_int_equal(gmk_chan_sub(p.c[GPU], far, &sub, &there), GMK_OK);
        KIT_WAIT(peers_stats(&p, CPU).routes_out == 1);
        gmk_task_t t = {.meta0 = round};
        assert_int_equal(gmk_chan_emit(p.c[CPU], near, &t), GMK_OK);
        KIT_WAIT(atomic_load(&noted[GPU][B_OTHER].n) == round + 1);
        assert_int_equal(gmk_chan_unsub(p.c[GPU], there), GMK_OK);
        KIT_WAIT(peers_stats(&p, CPU).routes_out == 0);
        assert_int_equal(gmk_chan_emit(p.c[CPU], near, &t), GMK_OK); /* unheard */
    }
    assert_int_equal(kit_stats(&p.kit[CPU]).unheard, 3);
    peers_end(&p);
}

static void test_an_epoch_is_used_once(void **state)
{
    peers_t p;
    (void)state;
    PEERS_BOOT(&p, sends, gets);
    gmk_bridge_part(&p.pair, true);
    p.epoch = 0;
    assert_int_equal(peers_join(&p), GMK_ERR_STATE);
    p.epoch = 1;
    peers_ready(&p);
    assert_int_equal(peers_join(&p), GMK_ERR_STATE); /* it is up */
    peers_end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delivery_and_order),
        cmocka_unit_test(test_backpressure),
        cmocka_unit_test(test_payloads),
        cmocka_unit_test(test_memory_full_on_both_sides),
        cmocka_unit_test(test_reserve_is_free_again),
        cmocka_unit_test(test_payload_larger_than_the_pool),
        cmocka_unit_test(test_batches_grow),
        cmocka_unit_test(test_fanout_on_both_sides),
        cmocka_unit_test(test_fanout_full_on_both_sides),
        cmocka_unit_test(test_lossy_sheds_for_the_slow_one),
        cmocka_unit_test(test_opened_later),
        cmocka_unit_test(test_disagreements),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_gone_for_good),
        cmocka_unit_test(test_an_epoch_is_used_once),
        cmocka_unit_test(test_payloads_on_many_channels),
        cmocka_unit_test(test_a_payload_for_most_of_the_pool),
        cmocka_unit_test(test_closed_and_opened_again),
        cmocka_unit_test(test_closed_without_a_peer),
        cmocka_unit_test(test_routes_take_turns),
        cmocka_unit_test(test_the_last_consumer_leaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
