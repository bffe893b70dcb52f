/* SPDX-License-Identifier: MIT */
/* near.c — the module bench.near, and the calls by which a program drives it. */
#include "near.h"
#include "gauge.h"

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { RESULT = 32, PONG, SINK, SOURCE, ORDER, PING };
enum { WAIT_S = 60, MAX_RESULTS = 4096 };

_Static_assert(NEAR_WAITING == GAUGE_WAITING, "what near.h promises");

static gmk_kernel_t *kernel;
static gmk_chan_t order_chan, ping, down;
static sem_t came; /* posted for each thing that is waited for */
static gauge_sink_t sink;
static gauge_source_t source;
static double sink_end, result_end;
static struct {
    uint64_t what, n, figure[MAX_RESULTS];
} results;
static struct {
    double *ns;
    uint32_t i, n;
} trips;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void die(const char *what, const char *why)
{
    fprintf(stderr, "bench: %s: %s\n", what, why);
    exit(1);
}

static void wait_for(const char *what)
{
    struct timespec t;
    int rc;

    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += WAIT_S;
    while ((rc = sem_timedwait(&came, &t)) != 0 && errno == EINTR)
        ;
    if (rc != 0)
        die(what, "no answer from the other kernel within 60 s");
}

static void submit(uint32_t type, uint64_t meta0, uint64_t meta1)
{
    const gmk_task_t t = {.type = type, .meta0 = meta0, .meta1 = meta1};
    int rc = gmk_submit(kernel, &t);

    if (rc != GMK_OK)
        die("submit", gmk_strerror(rc));
}

/* ---- handlers ------------------------------------------------------------------------------ */

static int on_order(gmk_ctx_t *c)
{
    const gmk_task_t t = {.meta0 = c->task->meta0, .meta1 = c->task->meta1};

    return gmk_chan_emit(c, order_chan, &t);
}

static int on_result(gmk_ctx_t *c)
{
    if (c->task->meta0 != results.what && c->task->meta0 != GAUGE_READY)
        return GMK_ERR_INVAL;
    result_end = now();
    results.figure[results.n++ % MAX_RESULTS] = c->task->meta1;
    sem_post(&came);
    return GMK_OK;
}

static int on_sink(gmk_ctx_t *c)
{
    if (!gauge_take(&sink, c->task))
        return GMK_OK;
    sink_end = now();
    sem_post(&came);
    return GMK_OK;
}

/* A task that finds the last sending done begins one. */
static int on_source(gmk_ctx_t *c)
{
    if (source.next == source.end) {
        int rc = gauge_begin(c, &source, c->task->meta0, (uint32_t)c->task->meta1);
        if (rc != GMK_OK)
            return rc;
    }
    return gauge_send(c, down, &source);
}

static int on_ping(gmk_ctx_t *c)
{
    const gmk_task_t t = {.meta0 = trips.i};

    trips.ns[trips.i] = now();
    return gmk_chan_emit(c, ping, &t);
}

static int on_pong(gmk_ctx_t *c)
{
    if (c->task->meta0 != trips.i)
        return GMK_ERR_INVAL;
    trips.ns[trips.i] = now() - trips.ns[trips.i];
    if (++trips.i < trips.n)
        return on_ping(c);
    sem_post(&came);
    return GMK_OK;
}

static int init(gmk_ctx_t *c)
{
    int rc = gmk_chan_find(c, "bench.order", &order_chan);

    if (rc == GMK_OK)
        rc = gmk_chan_find(c, "bench.ping", &ping);
    return rc == GMK_OK ? gmk_chan_find(c, "bench.down", &down) : rc;
}

static const gmk_handler_reg_t handlers[] = {
    {.type = RESULT, .fn = on_result, .name = "result"}, {.type = PONG, .fn = on_pong, .name = "pong"},
    {.type = SINK, .fn = on_sink, .name = "sink"},       {.type = SOURCE, .fn = on_source, .name = "source"},
    {.type = ORDER, .fn = on_order, .name = "order"},    {.type = PING, .fn = on_ping, .name = "ping"},
};

static const gmk_chan_decl_t channels[] = {
    {.name = "bench.order", .direction = GMK_PRODUCES},
    {.name = "bench.result", .direction = GMK_CONSUMES, .handler = RESULT},
    {.name = "bench.ping", .direction = GMK_PRODUCES},
    {.name = "bench.pong", .direction = GMK_CONSUMES, .handler = PONG},
    {.name = "bench.down", .direction = GMK_PRODUCES, .slots = GAUGE_SLOTS},
    {.name = "bench.up", .direction = GMK_CONSUMES, .handler = SINK, .slots = GAUGE_SLOTS},
};

gmk_module_t bench_near = {.name = "bench.near",
                           .version = 1,
                           .handlers = handlers,
                           .n_handlers = sizeof handlers / sizeof handlers[0],
                           .channels = channels,
                           .n_channels = sizeof channels / sizeof channels[0],
                           .init = init};

/* ---- measuring ----------------------------------------------------------------------------- */

void near_open(gmk_kernel_t *k)
{
    kernel = k;
    if (sem_init(&came, 0, 0) != 0)
        die("sem_init", "no");
}

/* more: bytes of a payload, or links of a chain. */
static void order(uint32_t what, uint64_t n, uint32_t more)
{
    results.what = what;
    results.n = 0;
    submit(ORDER, what | (uint64_t)more << 8, n);
}

/* Orders, and waits for so many results. */
static void ask(uint32_t what, uint64_t n, uint64_t answers, const char *name)
{
    order(what, n, 0);
    for (uint64_t i = 0; i < answers; i++)
        wait_for(name);
}

double near_messages(uint64_t n_down, uint64_t n_up, uint32_t bytes)
{
    sink = (gauge_sink_t){.end = n_up, .bytes = bytes};
    if (n_down != 0) {
        order(GAUGE_EXPECT, n_down, bytes);
        wait_for("messages");
    }
    sink_end = result_end = 0;
    double start = now();
    if (n_up != 0)
        submit(ORDER, GAUGE_SOURCE | (uint64_t)bytes << 8, n_up);
    if (n_down != 0)
        submit(SOURCE, n_down, bytes);
    for (int i = 0; i < (n_down != 0) + (n_up != 0); i++)
        wait_for("messages");
    if (sink.wrong != 0 || (n_down != 0 && results.figure[1] != 0))
        die("messages", "one was lost, doubled, out of order or damaged");
    return (sink_end > result_end ? sink_end : result_end) - start;
}

void near_trips(double *ns, uint32_t n)
{
    trips.ns = ns;
    trips.i = 0;
    trips.n = n;
    submit(PING, 0, 0);
    wait_for("round trips");
}

static double tasks_ns(const char *name)
{
    if (results.figure[0] == 0)
        die(name, "a task has run twice, or before it was to");
    return (double)results.figure[0];
}

double near_fan(uint64_t n)
{
    ask(GAUGE_FAN, n, 1, "fan");
    return tasks_ns("fan");
}

double near_chains(uint32_t n, uint32_t links)
{
    double give_up = now() + WAIT_S * 1e9;

    order(GAUGE_CHAIN, n, links);
    wait_for("chains");
    if (results.figure[0] != n)
        die("chains", "the other kernel does not hold so many tasks");
    do {
        if (now() > give_up)
            die("chains", "one was lost: not all have run within 60 s");
        ask(GAUGE_LOOK, 0, 1, "chains");
    } while (results.figure[0] == GAUGE_NOT_YET);
    return tasks_ns("chains");
}

void near_idle(double *ns, uint32_t n)
{
    n = n < MAX_RESULTS ? n : MAX_RESULTS;
    ask(GAUGE_IDLE, n, n, "emit to handler");
    for (uint32_t i = 0; i < n; i++)
        ns[i] = (double)results.figure[i];
}

double near_clock_step(void)
{
    ask(GAUGE_CLOCK, 0, 1, "clock");
    return (double)results.figure[0];
}

uint32_t near_workers(void)
{
    ask(GAUGE_WORKERS, 0, 1, "workers");
    return (uint32_t)results.figure[0];
}
