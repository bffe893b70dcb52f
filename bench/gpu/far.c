/* SPDX-License-Identifier: MIT */
/*
 * far.c — the module bench.far: does what bench.near orders, and measures inside its own kernel.  It knows
 * no platform: the same source is part of an image for a GPU.
 */
#include "gauge.h"

#include <ggmk/hal.h>

enum { ORDER = 32, PING, SINK, SOURCE, FAN, EMPTY, WATCH, LINK, HOLD, KICK, STAMP };

static gmk_chan_t result, pong, up;
static gauge_sink_t sink;
static gauge_source_t source;

/* Of the order that is being carried out; touched by one task at a time. */
static struct {
    uint64_t left, start, before; /* before: tasks of the type that had run */
} job;

static int answer(gmk_ctx_t *c, uint64_t order, uint64_t figure)
{
    const gmk_task_t t = {.meta0 = order, .meta1 = figure};

    return gmk_chan_emit(c, result, &t);
}

/* ---- messages ------------------------------------------------------------------------------ */

static int on_ping(gmk_ctx_t *c)
{
    const gmk_task_t t = {.meta0 = c->task->meta0, .meta1 = c->task->meta1};

    return gmk_chan_emit(c, pong, &t);
}

static int on_sink(gmk_ctx_t *c)
{
    return gauge_take(&sink, c->task) ? answer(c, GAUGE_EXPECT, sink.wrong) : GMK_OK;
}
static int on_source(gmk_ctx_t *c) { return gauge_send(c, up, &source); }

/* ---- tasks of this kernel ------------------------------------------------------------------- */

static uint64_t have_run(gmk_ctx_t *c, uint32_t type)
{
    gmk_type_stats_t s;

    return gmk_type_stats(c->kernel, type, &s) == GMK_OK ? s.completed : 0;
}

static int on_empty(gmk_ctx_t *c)
{
    (void)c;
    return GMK_OK;
}

/* Comes back until the kernel's own counter says that all have run; more than all would be wrong too. */
static int on_watch(gmk_ctx_t *c)
{
    uint64_t ran = have_run(c, EMPTY) - job.before, all = c->task->meta0;

    if (ran < all)
        return gmk_yield(c);
    return answer(c, GAUGE_FAN, ran == all ? gmk_now_ns(c) - job.start : 0);
}

/* Spawns until there is no credit, then gives the spawned a chance to run. */
static int on_fan(gmk_ctx_t *c)
{
    const gmk_task_t watch = {.type = WATCH, .meta0 = c->task->meta0};
    gmk_task_t t[GAUGE_BATCH];

    for (uint32_t i = 0; i < GAUGE_BATCH; i++)
        t[i] = (gmk_task_t){.type = EMPTY};
    while (job.left != 0) {
        uint32_t n = job.left < GAUGE_BATCH ? (uint32_t)job.left : GAUGE_BATCH;
        int got = gmk_emit_n(c, t, n);
        if (got <= 0)
            return got == 0 || got == GMK_ERR_FULL ? gmk_yield(c) : got;
        job.left -= (uint32_t)got;
    }
    return gmk_emit(c, &watch);
}

static int order_fan(gmk_ctx_t *c, uint64_t n)
{
    const gmk_task_t t = {.type = FAN, .meta0 = n};

    job.left = n;
    job.before = have_run(c, EMPTY);
    job.start = gmk_now_ns(c);
    return gmk_emit(c, &t);
}

/* ---- chains that wait in the ready queue ----------------------------------------------------- */

/*
 * The last link of a chain notes the time in a word of its own.  So no two links share a word that they write, as a
 * counter would be, and each word proves that its chain has run to its end.
 */
static gmk_a64_t end[GAUGE_WAITING];
static gmk_a64_t held, released; /* workers in on_hold; the last round whose workers may go */
static struct {
    uint64_t round, n, links, start, before;
} chains;

static int on_link(gmk_ctx_t *c)
{
    const gmk_task_t next = {.type = LINK, .meta0 = c->task->meta0 - 1, .meta1 = c->task->meta1};

    if (next.meta0 != 0)
        return gmk_emit(c, &next);
    gmk_store64(&end[next.meta1], gmk_now_ns(c), GMK_RLX, GMK_KERNEL);
    return GMK_OK;
}

/* gmk_over_budget is a sign of life for whoever watches this kernel. */
static int on_hold(gmk_ctx_t *c)
{
    (void)gmk_add64(&held, 1, GMK_ACQ_REL, GMK_KERNEL);
    while (gmk_load64(&released, GMK_ACQ, GMK_KERNEL) < c->task->meta0)
        (void)gmk_over_budget(c);
    return GMK_OK;
}

static uint64_t workers(gmk_ctx_t *c)
{
    gmk_stats_t s;

    return gmk_stats(c->kernel, &s) == GMK_OK ? s.workers : 0;
}

/*
 * Holds every worker but this one: one after the other, since a worker takes more than one task at a time.  They are
 * submitted, not emitted: what a worker of a CPU emits goes into a queue of its own.
 */
static bool hold_others(gmk_ctx_t *c)
{
    const gmk_task_t t = {.type = HOLD, .meta0 = chains.round};

    for (uint64_t i = 0, others = workers(c) - 1; i < others; i++) {
        if (gmk_submit(c->kernel, &t) != GMK_OK)
            return false;
        while (gmk_load64(&held, GMK_ACQ, GMK_KERNEL) == i)
            (void)gmk_over_budget(c);
    }
    return true;
}

static bool fill(gmk_ctx_t *c)
{
    gmk_task_t t[GAUGE_BATCH];

    for (uint64_t at = 0; at < chains.n;) {
        uint32_t n = chains.n - at < GAUGE_BATCH ? (uint32_t)(chains.n - at) : GAUGE_BATCH;
        for (uint32_t i = 0; i < n; i++) {
            t[i] = (gmk_task_t){.type = LINK, .meta0 = chains.links, .meta1 = at + i};
            gmk_store64(&end[at + i], 0, GMK_RLX, GMK_KERNEL);
        }
        int got = gmk_submit_n(c->kernel, t, n);
        if (got <= 0)
            return false;
        at += (uint32_t)got;
        (void)gmk_over_budget(c);
    }
    return true;
}

/* This handler holds its own worker. */
static int order_chain(gmk_ctx_t *c, uint64_t n, uint64_t links)
{
    if (n > GAUGE_WAITING || links == 0)
        return GMK_ERR_INVAL;
    chains.round++;
    chains.n = n;
    chains.links = links;
    chains.before = have_run(c, LINK);
    gmk_store64(&held, 0, GMK_RLX, GMK_KERNEL);
    int rc = answer(c, GAUGE_READY, hold_others(c) && fill(c) ? n : 0);
    chains.start = gmk_now_ns(c);
    gmk_store64(&released, chains.round, GMK_REL, GMK_KERNEL);
    return rc;
}

static uint64_t chains_ns(gmk_ctx_t *c)
{
    uint64_t ran = have_run(c, LINK) - chains.before, all = chains.n * chains.links, last = 0;

    if (ran < all)
        return GAUGE_NOT_YET;
    for (uint64_t i = 0; i < chains.n; i++) {
        uint64_t at = gmk_load64(&end[i], GMK_RLX, GMK_KERNEL);
        if (at < chains.start)
            return at == 0 ? GAUGE_NOT_YET : 0;
        last = at > last ? at : last;
    }
    return ran == all ? last - chains.start : 0;
}

/* ---- from emit to handler, in an idle kernel ------------------------------------------------- */

enum { PAUSE_NS = 100000 };

static int on_kick(gmk_ctx_t *c)
{
    const gmk_task_t t = {.type = STAMP, .meta0 = gmk_now_ns(c)};

    return gmk_emit(c, &t);
}

static int on_stamp(gmk_ctx_t *c)
{
    const gmk_task_t again = {.type = KICK};
    uint64_t ns = gmk_now_ns(c) - c->task->meta0;
    int rc = answer(c, GAUGE_IDLE, ns);

    return rc == GMK_OK && --job.left != 0 ? gmk_emit_after(c, &again, PAUSE_NS) : rc;
}

static uint64_t clock_step(gmk_ctx_t *c)
{
    uint64_t least = UINT64_MAX;

    for (uint32_t i = 0; i < 64; i++) {
        uint64_t a = gmk_now_ns(c), b = a;
        while (b == a)
            b = gmk_now_ns(c);
        least = b - a < least ? b - a : least;
    }
    return least;
}

/* ---- orders -------------------------------------------------------------------------------- */

static int expect(gmk_ctx_t *c, uint64_t n, uint32_t bytes)
{
    sink = (gauge_sink_t){.end = n, .bytes = bytes};
    return answer(c, GAUGE_READY, n);
}

static int order_source(gmk_ctx_t *c, uint64_t n, uint32_t bytes)
{
    const gmk_task_t t = {.type = SOURCE};
    int rc = gauge_begin(c, &source, n, bytes);

    return rc == GMK_OK ? gmk_emit(c, &t) : rc;
}

static int order_idle(gmk_ctx_t *c, uint64_t n)
{
    const gmk_task_t t = {.type = KICK};

    job.left = n;
    return gmk_emit_after(c, &t, PAUSE_NS);
}

static int on_order(gmk_ctx_t *c)
{
    uint64_t what = c->task->meta0 & 255, n = c->task->meta1;
    uint32_t bytes = (uint32_t)(c->task->meta0 >> 8), links = bytes;

    switch (what) {
    case GAUGE_EXPECT: return expect(c, n, bytes);
    case GAUGE_SOURCE: return order_source(c, n, bytes);
    case GAUGE_FAN: return order_fan(c, n);
    case GAUGE_CHAIN: return order_chain(c, n, links);
    case GAUGE_LOOK: return answer(c, GAUGE_LOOK, chains_ns(c));
    case GAUGE_IDLE: return order_idle(c, n);
    case GAUGE_CLOCK: return answer(c, GAUGE_CLOCK, clock_step(c));
    case GAUGE_WORKERS: return answer(c, GAUGE_WORKERS, workers(c));
    default: return GMK_ERR_INVAL;
    }
}

static int init(gmk_ctx_t *c)
{
    int rc = gmk_chan_find(c, "bench.result", &result);

    if (rc == GMK_OK)
        rc = gmk_chan_find(c, "bench.pong", &pong);
    return rc == GMK_OK ? gmk_chan_find(c, "bench.up", &up) : rc;
}

static const gmk_handler_reg_t handlers[] = {
    {.type = ORDER, .fn = on_order, .name = "order"},
    {.type = PING, .fn = on_ping, .name = "ping"},
    {.type = SINK, .fn = on_sink, .name = "sink"},
    {.type = SOURCE, .fn = on_source, .name = "source"},
    {.type = FAN, .fn = on_fan, .name = "fan", .max_yields = GMK_YIELDS_UNLIMITED},
    {.type = EMPTY, .fn = on_empty, .name = "empty"},
    {.type = WATCH, .fn = on_watch, .name = "watch", .max_yields = GMK_YIELDS_UNLIMITED},
    {.type = LINK, .fn = on_link, .name = "link"},
    {.type = HOLD, .fn = on_hold, .name = "hold"},
    {.type = KICK, .fn = on_kick, .name = "kick"},
    {.type = STAMP, .fn = on_stamp, .name = "stamp"},
};

static const gmk_chan_decl_t channels[] = {
    {.name = "bench.order", .direction = GMK_CONSUMES, .handler = ORDER},
    {.name = "bench.result", .direction = GMK_PRODUCES},
    {.name = "bench.ping", .direction = GMK_CONSUMES, .handler = PING},
    {.name = "bench.pong", .direction = GMK_PRODUCES},
    {.name = "bench.down", .direction = GMK_CONSUMES, .handler = SINK, .slots = GAUGE_SLOTS},
    {.name = "bench.up", .direction = GMK_PRODUCES, .slots = GAUGE_SLOTS},
};

gmk_module_t bench_far = {.name = "bench.far",
                          .version = 1,
                          .handlers = handlers,
                          .n_handlers = sizeof handlers / sizeof handlers[0],
                          .channels = channels,
                          .n_channels = sizeof channels / sizeof channels[0],
                          .init = init};

GMK_MODULE(bench_far);
