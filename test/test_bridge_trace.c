/* SPDX-License-Identifier: MIT */
/* Traces and figures of a kernel behind a bridge, in the exports of the one before it. */
#include "bridge_kit.h"

#include <stdio.h>
#include <stdlib.h>

#include <ggmk/observe.h>

#include "../bridge/trace_clock.h"
#include "../bridge/trace_msg.h"
#include "../src/core.h"
#include "fxt_read.h"

#define N 20u /* messages each way: their records fit the rings */

static const gmk_chan_decl_t near_chans[] = {
    {.name = "t.to", .direction = GMK_PRODUCES, .msg_type = 7},
    {.name = "t.back", .direction = GMK_CONSUMES, .msg_type = 8, .handler = B_NOTE}};
static const gmk_chan_decl_t far_chans[] = {
    {.name = "t.to", .direction = GMK_CONSUMES, .msg_type = 7, .handler = B_OTHER},
    {.name = "t.back", .direction = GMK_PRODUCES, .msg_type = 8}};

/* ---- helpers ----------------------------------------------------------------------------------- */

typedef struct sink {
    unsigned char *data;
    size_t size, room;
} sink_t;

static int sink_write(void *arg, const void *data, size_t size)
{
    sink_t *s = arg;
    if (s->size + size >= s->room) {
        s->room = 2 * (s->size + size) + 65536;
        s->data = realloc(s->data, s->room);
        assert_non_null(s->data);
    }
    memcpy(s->data + s->size, data, size);
    s->size += size;
    s->data[s->size] = '\0';
    return 0;
}

static bool have(const char *program)
{
    char cmd[128];
    snprintf(cmd, sizeof cmd, "command -v %s >/dev/null 2>&1", program);
    if (system(cmd) == 0)
        return true;
    print_message("# %s is not installed\n", program);
    return false;
}

static void save(const char *dir, const char *name, const sink_t *s)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(s->data, 1, s->size, f), s->size);
    assert_int_equal(fclose(f), 0);
}

/* Output and errors of a command on a folder as text; fails the test unless it exits with 0. */
static char *output_on(const char *dir, const char *command)
{
    static char text[1 << 20];
    char cmd[512];
    snprintf(cmd, sizeof cmd, "cd %s && %s 2>&1; rc=$?; rm -rf %s; exit $rc", dir, command, dir);
    FILE *p = popen(cmd, "r");
    assert_non_null(p);
    size_t n = fread(text, 1, sizeof text - 1, p);
    text[n] = '\0';
    if (pclose(p) != 0)
        fail_msg("%s\n%s", command, text);
    return text;
}

static void says(const char *text, const char *what)
{
    if (strstr(text, what) == NULL)
        fail_msg("missing: %s\n%.4000s", what, text);
}

static void trace_at(peers_t *p, uint32_t side, int level)
{
    assert_int_equal(gmk_trace_level(&p->kit[side].k, NULL, level), GMK_OK);
}

static void emit(peers_t *p, uint32_t side, const char *name, uint32_t n, uint16_t flags)
{
    gmk_chan_t ch = peers_chan(p, side, name);
    for (uint32_t i = 0; i < n; i++) {
        gmk_task_t t = {.meta0 = i, .flags = flags};
        assert_int_equal(gmk_chan_emit_wait(p->c[side], ch, &t, KIT_PATIENCE), GMK_OK);
    }
}

/* So many messages each way, and all of it is over. */
static void converse(peers_t *p, uint32_t n)
{
    uint32_t to = atomic_load(&noted[GPU][B_OTHER].n), back = atomic_load(&noted[CPU][B_NOTE].n);
    emit(p, CPU, "t.to", n, 0);
    emit(p, GPU, "t.back", n, 0);
    KIT_WAIT(atomic_load(&noted[GPU][B_OTHER].n) == to + n && atomic_load(&noted[CPU][B_NOTE].n) == back + n);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(gmk_bridge_flush(p->end[i], KIT_PATIENCE), GMK_OK);
        kit_drain(&p->kit[i]);
    }
}

static uint64_t told(peers_t *p)
{
    gmk_chan_stats_t st;
    assert_int_equal(gmk_chan_stats(&p->kit[GPU].k, peers_chan(p, GPU, "sys.trace"), &st), GMK_OK);
    return st.emitted;
}

/* ---- FXT --------------------------------------------------------------------------------------- */

static void export_fxt(peers_t *p, fxt_trace_t *t)
{
    sink_t s = {0};
    assert_int_equal(gmk_export_fxt(&p->kit[CPU].k, sink_write, &s), GMK_OK);
    const char *bad = fxt_parse(s.data, s.size, t);
    if (bad == NULL)
        bad = fxt_check_slices(t);
    if (bad != NULL)
        fail_msg("%s", bad);
    free(s.data);
}

static uint64_t process_of(const fxt_trace_t *t, const char *name)
{
    for (size_t i = 0; i < t->n_objects; i++)
        if (t->object[i].type == 1 && strcmp(t->object[i].name, name) == 0)
            return t->object[i].koid;
    fail_msg("no process %s", name);
    return 0;
}

static uint32_t count(const fxt_trace_t *t, uint64_t process, int kind, const char *name)
{
    uint32_t n = 0;
    for (size_t i = 0; i < t->n_events; i++)
        n += t->event[i].process == process && t->event[i].kind == kind &&
             strcmp(t->event[i].name, name) == 0;
    return n;
}

/* The event of a flow: its beginning, or where it ends. */
static const fxt_event_t *of_flow(const fxt_trace_t *t, uint64_t id, int kind)
{
    for (size_t i = 0; i < t->n_events; i++)
        if (t->event[i].kind == kind && t->event[i].id == id)
            return &t->event[i];
    return NULL;
}

/* The flow that begins in the slice in which another one ends. */
static const fxt_event_t *goes_on(const fxt_trace_t *t, const fxt_event_t *end)
{
    for (size_t i = 0; i < t->n_events; i++) {
        const fxt_event_t *e = &t->event[i];
        if (e->kind == FXT_FLOW_BEGIN && e->process == end->process && e->thread == end->thread &&
            e->order == end->order + 1)
            return e;
    }
    return NULL;
}

/*
 * Follows each emit on one kernel: emit, bridge_send there, bridge_recv and the run on the other; returns how many
 * came through.  Nothing goes back in time by more than the clocks may differ.
 */
static uint32_t chains(const fxt_trace_t *t, uint64_t from, uint64_t to, const char *run, uint64_t error)
{
    uint32_t n = 0;
    for (size_t i = 0; i < t->n_events; i++) {
        const fxt_event_t *emitted = &t->event[i];
        if (emitted->kind != FXT_FLOW_BEGIN || emitted->process != from ||
            strcmp(emitted->name, "chan_emit") != 0)
            continue;
        const fxt_event_t *sent = of_flow(t, emitted->id, FXT_FLOW_END);
        const fxt_event_t *hop = sent == NULL ? NULL : goes_on(t, sent);
        const fxt_event_t *received = hop == NULL ? NULL : of_flow(t, hop->id, FXT_FLOW_END);
        const fxt_event_t *in = received == NULL ? NULL : goes_on(t, received);
        const fxt_event_t *ran = in == NULL ? NULL : of_flow(t, in->id, FXT_FLOW_END);
        if (ran == NULL)
            continue;
        assert_string_equal(sent->name, "bridge_send");
        assert_string_equal(received->name, "bridge_recv");
        assert_true(sent->process == from && received->process == to && ran->process == to);
        assert_string_equal(ran->name, run);
        assert_true(emitted->time <= sent->time && received->time <= ran->time);
        if (sent->time > received->time + error)
            fail_msg("received %llu ns before it was sent, the clocks are good to %llu",
                     (unsigned long long)(sent->time - received->time), (unsigned long long)error);
        n++;
    }
    return n;
}

static void numbered(char name[32], uint32_t type) { snprintf(name, 32, "type.%u", type); }

/* The name that the export has for a handler. */
static void handler_name(peers_t *p, uint32_t side, uint32_t type, char name[GMK_NAME_MAX + 1])
{
    gmk_type_stats_t st;
    assert_int_equal(gmk_type_stats(&p->kit[side].k, type, &st), GMK_OK);
    if (st.name[0] != '\0')
        snprintf(name, GMK_NAME_MAX + 1, "%s", st.name);
    else
        numbered(name, type);
}

static void assert_conversation(peers_t *p, uint32_t n)
{
    fxt_trace_t t;
    char there[GMK_NAME_MAX + 1], here[GMK_NAME_MAX + 1];
    export_fxt(p, &t);
    uint64_t cpu = process_of(&t, "cpu.0"), gpu = process_of(&t, "gpu.0");
    /* The clocks were compared all the time; while they were, the best is what counts. */
    uint64_t error = peers_stats(p, CPU).peer.clock_error_ns;
    error = error > KIT_S ? KIT_S : error + 2 * KIT_MS;
    handler_name(p, GPU, B_OTHER, there);
    handler_name(p, CPU, B_NOTE, here);
    assert_int_equal(count(&t, gpu, FXT_BEGIN, there), n);
    assert_int_equal(count(&t, cpu, FXT_BEGIN, here), n);
    assert_int_equal(count(&t, cpu, FXT_BEGIN, "bridge_send"), n);
    assert_int_equal(count(&t, gpu, FXT_BEGIN, "bridge_recv"), n);
    assert_int_equal(chains(&t, cpu, gpu, there, error), n);
    assert_int_equal(chains(&t, gpu, cpu, here, error), n);
    assert_int_equal(fxt_loose_flows(&t), 0);
    fxt_free(&t);
}

static void test_one_time_line(void **state)
{
    peers_t p;
    (void)state;
    PEERS_BOOT(&p, near_chans, far_chans);
    trace_at(&p, CPU, GMK_TRACE_ALL);
    trace_at(&p, GPU, GMK_TRACE_ALL);
    converse(&p, N);
    assert_conversation(&p, N);
    assert_conversation(&p, N); /* and again: nothing comes twice */
    peers_end(&p);
}

/* One that is flagged is seen all its way, whatever the levels. */
static void test_a_flagged_message(void **state)
{
    peers_t p;
    fxt_trace_t t;
    char there[GMK_NAME_MAX + 1];
    (void)state;
    PEERS_BOOT(&p, near_chans, far_chans);
    emit(&p, CPU, "t.to", 3, 0);
    emit(&p, CPU, "t.to", 1, GMK_TASK_EMIT_TRACE);
    emit(&p, CPU, "t.to", 3, 0);
    KIT_WAIT(atomic_load(&noted[GPU][B_OTHER].n) == 7);
    kit_drain(&p.kit[GPU]);
    export_fxt(&p, &t);
    handler_name(&p, GPU, B_OTHER, there);
    assert_int_equal(chains(&t, process_of(&t, "cpu.0"), process_of(&t, "gpu.0"), there, KIT_S), 1);
    assert_int_equal(count(&t, process_of(&t, "cpu.0"), FXT_BEGIN, "bridge_send"), 1);
    assert_int_equal(count(&t, process_of(&t, "gpu.0"), FXT_BEGIN, "bridge_recv"), 1);
    assert_int_equal(count(&t, process_of(&t, "gpu.0"), FXT_BEGIN, there), 1);
    fxt_free(&t);
    peers_end(&p);
}

/* What one kernel samples the other one shows: each message's whole way, or nothing. */
static void test_sampling_goes_across(void **state)
{
    peers_t p;
    fxt_trace_t t;
    char there[GMK_NAME_MAX + 1];
    (void)state;
    PEERS_BOOT(&p, near_chans, far_chans);
    emit(&p, GPU, "t.to", 3, 0); /* so that numbers differ */
    KIT_WAIT(atomic_load(&noted[GPU][B_OTHER].n) == 3);
    for (uint32_t i = 0; i < 2; i++) {
        trace_at(&p, i, GMK_TRACE_ALL);
        assert_int_equal(gmk_trace_sample(&p.kit[i].k, 4), GMK_OK);
    }
    emit(&p, CPU, "t.to", 100, 0);
    KIT_WAIT(atomic_load(&noted[GPU][B_OTHER].n) == 103);
    kit_drain(&p.kit[GPU]);
    export_fxt(&p, &t);
    handler_name(&p, GPU, B_OTHER, there);
    uint32_t sent = count(&t, process_of(&t, "cpu.0"), FXT_BEGIN, "bridge_send");
    assert_in_range(sent, 15, 35);
    assert_int_equal(chains(&t, process_of(&t, "cpu.0"), process_of(&t, "gpu.0"), there, KIT_S), sent);
    fxt_free(&t);
    peers_end(&p);
}

/* ---- CTF and Prometheus ------------------------------------------------------------------------ */

static uint32_t lines_with(const char *text, const char *a, const char *b)
{
    uint32_t n = 0;
    for (const char *line = text; *line != '\0';) {
        const char *end = strchr(line, '\n');
        size_t len = end != NULL ? (size_t)(end - line) : strlen(line);
        const char *at = strstr(line, a), *bt = strstr(line, b);
        n += at != NULL && at < line + len && bt != NULL && bt < line + len;
        line += len + (end != NULL);
    }
    return n;
}

static void test_ctf(void **state)
{
    peers_t p;
    sink_t meta = {0}, data = {0};
    char dir[] = "/tmp/gmk-bridge-trace-XXXXXX";
    (void)state;
    if (!have("babeltrace2"))
        skip();
    PEERS_BOOT(&p, near_chans, far_chans);
    trace_at(&p, CPU, GMK_TRACE_ALL);
    trace_at(&p, GPU, GMK_TRACE_ALL);
    converse(&p, N);
    assert_int_equal(gmk_export_ctf(&p.kit[CPU].k, 1, sink_write, &meta), GMK_OK);
    assert_int_equal(gmk_export_ctf(&p.kit[CPU].k, 0, sink_write, &data), GMK_OK);
    assert_non_null(mkdtemp(dir));
    save(dir, "metadata", &meta);
    save(dir, "stream", &data);
    const char *text = output_on(dir, "babeltrace2 --clock-seconds .");
    assert_int_equal(lines_with(text, " bridge_send: ", "kernel = ( \"cpu.0\""), N);
    assert_int_equal(lines_with(text, " bridge_recv: ", "kernel = ( \"gpu.0\""), N);
    assert_int_equal(lines_with(text, " bridge_recv: ", "kernel = ( \"cpu.0\""), N);
    assert_int_equal(lines_with(text, " chan_begin: ", "kernel = ( \"gpu.0\""), N);
    says(text, "channel = ( \"t.to\"");
    says(text, "ring = ( \"worker ");
    assert_null(strstr(text, "discarded"));
    free(meta.data);
    free(data.data);
    peers_end(&p);
}

static char *prometheus(peers_t *p)
{
    sink_t s = {0};
    assert_int_equal(gmk_export_prometheus(&p->kit[CPU].k, sink_write, &s), GMK_OK);
    return (char *)s.data;
}

/* The value of a line that begins like that. */
static unsigned long long value_of(const char *text, const char *line)
{
    const char *at = strstr(text, line);
    if (at == NULL)
        fail_msg("missing: %s", line);
    return strtoull(at + strlen(line), NULL, 10);
}

static void test_prometheus(void **state)
{
    static const struct {
        const char *name;
        int kind;
    } all[] = {{"hits", GMK_COUNTER}, {"depth", GMK_GAUGE}, {"bytes", GMK_HISTOGRAM}};
    peers_t p;
    uint32_t id;
    (void)state;
    PEERS_BOOT(&p, near_chans, far_chans);
    for (uint32_t side = 0; side < 2; side++)
        for (uint32_t i = side; i < 3; i++) { /* hits on cpu.0 only */
            assert_int_equal(gmk_metric_register(&p.kit[side].k, all[i].name, all[i].kind, &id), GMK_OK);
            gmk_metric_inc(p.c[side], id, 5);
            gmk_metric_set(p.c[side], id, -3);
            gmk_metric_observe(p.c[side], id, 40 + side);
        }
    assert_int_equal(gmk_metric_register(&p.kit[GPU].k, "own", GMK_COUNTER, &id), GMK_OK);
    converse(&p, N);
    char *text = prometheus(&p);
    assert_int_equal(value_of(text, "\nggmk_workers{kernel=\"cpu.0\"} "), 2);
    assert_int_equal(value_of(text, "\nggmk_workers{kernel=\"gpu.0\"} "), 2);
    assert_int_equal(
        value_of(text, "\nggmk_channel_emitted_total{kernel=\"gpu.0\",channel=\"t.to\",channel_id=\"3\"} ") +
            value_of(text,
                     "\nggmk_channel_emitted_total{kernel=\"gpu.0\",channel=\"t.back\",channel_id=\"4\"} "),
        2 * N);
    assert_int_equal(value_of(text, "\nggmk_user_hits_total{kernel=\"cpu.0\"} "), 5);
    assert_int_equal(value_of(text, "\nggmk_user_bytes_sum{kernel=\"gpu.0\"} "), 41);
    assert_int_equal(value_of(text, "\nggmk_user_own_total{kernel=\"gpu.0\"} "), 0);
    assert_int_equal(value_of(text, "\nggmk_peer_records_lost_total{kernel=\"gpu.0\"} "), 0);
    says(text, "\nggmk_user_depth{kernel=\"cpu.0\"} -3\nggmk_user_depth{kernel=\"gpu.0\"} -3\n");
    /* Telling it is work too. */
    assert_in_range(value_of(text, "\nggmk_tasks_completed_total{kernel=\"gpu.0\"} "), 2 * N,
                    kit_stats(&p.kit[GPU]).completed);
    if (have("promtool")) {
        char dir[] = "/tmp/gmk-bridge-trace-XXXXXX";
        assert_non_null(mkdtemp(dir));
        save(dir, "metrics", &(sink_t){.data = (unsigned char *)text, .size = strlen(text)});
        assert_string_equal(output_on(dir, "promtool check metrics < metrics"), "");
    }
    free(text);
    peers_end(&p);
}

/* ---- what is not wanted, and what is lost ------------------------------------------------------- */

static void test_nothing_unless_wanted(void **state)
{
    peers_t p;
    gmk_bridge_cfg_t cfg = {.beat_ns = KIT_MS};
    (void)state;
    peers_boot(&p, near_chans, 2, far_chans, 2, &cfg);
    peers_ready(&p);
    trace_at(&p, GPU, GMK_TRACE_ALL);
    converse(&p, N);
    uint64_t beats = peers_stats(&p, CPU).peer.beats;
    KIT_WAIT(peers_stats(&p, CPU).peer.beats > beats + 5);
    assert_int_equal(told(&p), 0);
    assert_int_equal(peers_stats(&p, GPU).routes_out, 1);
    assert_int_equal(peers_stats(&p, GPU).sent, N);
    /* Once it is wanted it comes by itself, until it is not. */
    trace_at(&p, CPU, GMK_TRACE_INFO);
    KIT_WAIT(told(&p) != 0);
    trace_at(&p, CPU, GMK_TRACE_ERROR);
    trace_at(&p, GPU, GMK_TRACE_ERROR);
    uint64_t before;
    do {
        before = told(&p);
        beats = peers_stats(&p, GPU).peer.beats;
        KIT_WAIT(peers_stats(&p, GPU).peer.beats > beats + 5);
    } while (told(&p) != before);
    trace_at(&p, GPU, GMK_TRACE_ALL);
    converse(&p, N);
    beats = peers_stats(&p, CPU).peer.beats;
    KIT_WAIT(peers_stats(&p, CPU).peer.beats > beats + 5);
    assert_int_equal(told(&p), before);
    peers_end(&p);
}

/* A module that listens to sys.trace wants it, and gets what trace_msg.h says. */
static void test_a_subscriber(void **state)
{
    peers_t p;
    gmk_bridge_cfg_t cfg = {.beat_ns = KIT_MS};
    (void)state;
    peers_boot(&p, near_chans, 2, far_chans, 2, &cfg);
    peers_ready(&p);
    trace_at(&p, GPU, GMK_TRACE_ALL);
    assert_int_equal(kit_hear(p.c[CPU], "sys.trace", B_OTHER), GMK_OK);
    emit(&p, CPU, "t.to", N, 0);
    KIT_WAIT(atomic_load(&noted[CPU][B_OTHER].n) > 3);
    const noted_t *s = &noted[CPU][B_OTHER];
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(s->meta0[i], i + 1);
        assert_in_range(s->len[i], sizeof(gmk_tell_head_t), GMK_TELL_BYTES);
        assert_int_equal(s->len[i] % 8, 0);
    }
    peers_end(&p);
}

/* All that the rings of a kernel have lost, and what is in them. */
static void rings_of(peers_t *p, uint32_t side, uint64_t *there, uint64_t *lost)
{
    const gmk_core_t *k = p->kit[side].k.core;
    gmk_trace_record_t r;
    *there = *lost = 0;
    for (uint32_t i = 0; i < k->n_fronts; i++) {
        gmk_trace_reader_t cursor = {0};
        while (gmk_trace_read(k->fronts[i]->ring, &cursor, &r, 1, lost) == 1)
            (*there)++;
    }
}

static void test_lost_ones_are_counted(void **state)
{
    peers_t p;
    uint64_t there, lost;
    (void)state;
    PEERS_BOOT(&p, near_chans, far_chans);
    trace_at(&p, GPU, GMK_TRACE_ALL);
    converse(&p, 5000);
    trace_at(&p, GPU, GMK_TRACE_OFF);
    kit_drain(&p.kit[GPU]);
    rings_of(&p, GPU, &there, &lost);
    assert_true(lost > 5000);
    fxt_trace_t t;
    export_fxt(&p, &t);
    fxt_free(&t);
    char *text = prometheus(&p);
    assert_int_equal(value_of(text, "\nggmk_peer_records_lost_total{kernel=\"gpu.0\"} "), lost);
    free(text);
    peers_end(&p);
}

/* How many of a kernel's two workers run a handler. */
static uint32_t in_handlers(const kit_t *t)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < 2; i++)
        n += gmk_load32(&t->k.core->workers[i].cur_type, GMK_ACQ, GMK_KERNEL) != 0;
    return n;
}

/* Nobody drains the workers of the peer: what it did is told all the same. */
static void test_a_peer_whose_workers_hang(void **state)
{
    peers_t p;
    fxt_trace_t t;
    char there[GMK_NAME_MAX + 1];
    (void)state;
    PEERS_BOOT(&p, near_chans, far_chans);
    trace_at(&p, GPU, GMK_TRACE_ALL);
    const gmk_sub_cfg_t sub = {.handler = B_NOTE};
    const gmk_chan_cfg_t cfg = {.name = "t.held"};
    gmk_chan_t held;
    assert_int_equal(gmk_chan_open(p.c[GPU], &cfg, &held), GMK_OK);
    assert_int_equal(gmk_chan_sub(p.c[GPU], held, &sub, NULL), GMK_OK);
    atomic_store(&noted[GPU][B_NOTE].hold, 1);
    atomic_store(&noted[GPU][B_OTHER].hold, 1);
    emit(&p, GPU, "t.held", 1, 0);
    KIT_WAIT(in_handlers(&p.kit[GPU]) == 1); /* or one worker might take both in a batch */
    emit(&p, CPU, "t.to", 1, 0);
    KIT_WAIT(in_handlers(&p.kit[GPU]) == 2);
    handler_name(&p, GPU, B_OTHER, there);
    uint32_t hangs = 0;
    for (uint64_t until = kit_now() + KIT_PATIENCE / 4;
         hangs == 0 && kit_now() < until;) { /* they hold on longer */
        export_fxt(&p, &t);
        hangs = count(&t, process_of(&t, "gpu.0"), FXT_BEGIN, there);
        fxt_free(&t);
    }
    assert_int_equal(hangs, 1);
    atomic_store(&noted[GPU][B_NOTE].hold, 0);
    atomic_store(&noted[GPU][B_OTHER].hold, 0);
    KIT_WAIT(atomic_load(&noted[GPU][B_NOTE].n) == 1 && atomic_load(&noted[GPU][B_OTHER].n) == 1);
    peers_end(&p);
}

/* ---- the bridge goes down and comes up ----------------------------------------------------------- */

static void test_epochs(void **state)
{
    peers_t p;
    gmk_bridge_cfg_t cfg = {.beat_ns = KIT_MS};
    fxt_trace_t t;
    char there[GMK_NAME_MAX + 1];
    (void)state;
    peers_boot(&p, near_chans, 2, far_chans, 2, &cfg);
    peers_ready(&p);
    handler_name(&p, GPU, B_OTHER, there);
    trace_at(&p, CPU, GMK_TRACE_ALL);
    trace_at(&p, GPU, GMK_TRACE_ALL);
    converse(&p, N);
    export_fxt(&p, &t);
    fxt_free(&t);
    gmk_bridge_part(&p.pair, true);
    export_fxt(&p, &t); /* what came before is still there */
    assert_int_equal(count(&t, process_of(&t, "gpu.0"), FXT_BEGIN, there), N);
    fxt_free(&t);
    peers_ready(&p);
    converse(&p, N);
    assert_conversation(&p, 2 * N);
    peers_end(&p);
}

/* A kernel without a bridge says nothing of one. */
static void test_without_a_bridge(void **state)
{
    const gmk_handler_reg_t handlers[] = {{.type = B_NOTE, .fn = note_cpu}};
    kit_t kit;
    sink_t meta = {0}, fxt = {0};
    (void)state;
    KIT_BOOT(&kit, kit_cfg(1), handlers);
    assert_int_equal(gmk_export_ctf(&kit.k, 1, sink_write, &meta), GMK_OK);
    assert_int_equal(gmk_export_fxt(&kit.k, sink_write, &fxt), GMK_OK);
    assert_null(strstr((char *)meta.data, "bridge"));
    assert_null(strstr((char *)meta.data, "kernel _kernel"));
    assert_null(memmem(fxt.data, fxt.size, "bridge", 6));
    free(meta.data);
    free(fxt.data);
    kit_end(&kit);
}

/* ---- clocks -------------------------------------------------------------------------------------- */

static void test_clocks(void **state)
{
    static gmk_clocks_t c;
    const uint64_t ahead = UINT64_C(1) << 62;
    (void)state;
    memset(&c, 0, sizeof c);
    assert_int_equal(gmk_clocks_offset(&c, 5, 0), 0);
    gmk_clocks_add(&c, ahead + 1000, ahead, 5, 3);
    assert_true(gmk_clocks_offset(&c, ahead, 3) == ahead && gmk_clocks_offset(&c, ahead + KIT_S, 3) == ahead);
    assert_int_equal(gmk_clocks_offset(&c, ahead, 2), 0);
    /* 50 ppm fast, for an hour, with the offset taken every 100 ms. */
    memset(&c, 0, sizeof c);
    for (uint64_t local = 0; local <= 3600 * KIT_S; local += KIT_S / 10)
        gmk_clocks_add(&c, local + ahead + local / 20000, ahead + local / 20000, 5, 7);
    for (uint64_t local = 0; local <= 3660 * KIT_S; local += KIT_S * 17 / 10) {
        uint64_t peer = local + ahead + local / 20000;
        int64_t off = (int64_t)(peer - gmk_clocks_offset(&c, peer, 7) - local);
        if (off < -20 || off > 20)
            fail_msg("at %llu: %lld ns", (unsigned long long)local, (long long)off);
    }
    /* A bad one at first does not spoil it: the first good one is better where that one was, too. */
    memset(&c, 0, sizeof c);
    gmk_clocks_add(&c, KIT_S, 20 * KIT_MS, 20 * KIT_MS, 1);
    gmk_clocks_add(&c, KIT_S + 40 * KIT_MS, 500, 1000, 1);
    gmk_clocks_add(&c, KIT_S + 50 * KIT_MS, 600, 1000, 1);
    assert_int_equal(gmk_clocks_offset(&c, KIT_S, 1), 500);
    assert_int_equal(gmk_clocks_offset(&c, KIT_S + 45 * KIT_MS, 1), 550);
    /* Backwards too, from the rate of all of it; and a slow one. */
    memset(&c, 0, sizeof c);
    for (uint64_t local = 10 * KIT_S; local <= 20 * KIT_S; local += KIT_S)
        gmk_clocks_add(&c, local - local / 10000, 0 - local / 10000, 5, 1);
    for (uint64_t local = KIT_S; local <= 30 * KIT_S; local += KIT_S / 4) {
        uint64_t peer = local - local / 10000;
        int64_t off = (int64_t)(peer - gmk_clocks_offset(&c, peer, 1) - local);
        if (off < -20 || off > 20)
            fail_msg("at %llu: %lld ns", (unsigned long long)local, (long long)off);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clocks),
        cmocka_unit_test(test_without_a_bridge),
        cmocka_unit_test(test_one_time_line),
        cmocka_unit_test(test_a_flagged_message),
        cmocka_unit_test(test_sampling_goes_across),
        cmocka_unit_test(test_ctf),
        cmocka_unit_test(test_prometheus),
        cmocka_unit_test(test_nothing_unless_wanted),
        cmocka_unit_test(test_a_subscriber),
        cmocka_unit_test(test_lost_ones_are_counted),
        cmocka_unit_test(test_a_peer_whose_workers_hang),
        cmocka_unit_test(test_epochs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
