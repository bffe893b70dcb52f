/* SPDX-License-Identifier: MIT */
/*
 * bench_chan.c — channels by their public calls: 48-byte messages emitted by one handler and
 * handled by one (p2p) or each of three (fanout) ordered subscriptions.  A sample is one case in
 * one process.  Every message is checked for its number: nothing lost, doubled, or out of order.
 */
#include "bench_sched.h"

enum { PRODUCE = 1, CONSUME = 2, SUBSCRIBERS = 3, MESSAGE = CONSUME + SUBSCRIBERS };
enum { SLOTS = 1024, BATCH = 32 };

typedef struct consumer {
    _Alignas(128) uint64_t seen, wrong;
} consumer_t;

static consumer_t consumers[SUBSCRIBERS];
static gmk_chan_t channel;
static uint32_t subscribers, mode;
static struct {
    _Alignas(128) uint64_t next, end;
    uint32_t batch;
} producer;

static int produce_batch(gmk_ctx_t *c)
{
    gmk_task_t t[BATCH];
    uint32_t n = producer.end - producer.next < producer.batch ? (uint32_t)(producer.end - producer.next)
                                                               : producer.batch;

    for (uint32_t i = 0; i < n; i++)
        t[i] = (gmk_task_t){.type = MESSAGE, .meta0 = producer.next + i, .meta1 = i};
    int got = n == 1 ? gmk_chan_emit(c, channel, t) : gmk_chan_emit_n(c, channel, t, n);
    if (got < 0)
        return got;
    producer.next += n == 1 ? 1 : (uint32_t)got;
    return GMK_OK;
}

static int on_produce(gmk_ctx_t *c)
{
    int rc = GMK_OK;

    while (producer.next < producer.end && rc == GMK_OK)
        rc = produce_batch(c);
    return rc == GMK_CHAN_FULL ? gmk_chan_wait(c, channel, SLOTS / 2) : rc;
}

static int on_message(gmk_ctx_t *c)
{
    consumer_t *me = &consumers[c->task->type - CONSUME];

    me->wrong += c->task->meta0 != me->seen;
    me->seen++;
    return GMK_OK;
}

static int init(gmk_ctx_t *c)
{
    const gmk_chan_cfg_t cfg = {.name = "bench.messages", .msg_type = MESSAGE, .mode = mode, .slots = SLOTS};
    int rc = gmk_chan_open(c, &cfg, &channel);

    for (uint32_t i = 0; i < subscribers && rc == GMK_OK; i++) {
        gmk_sub_cfg_t sub = {.handler = CONSUME + i};
        gmk_sub_t ignored;
        rc = gmk_chan_sub(c, channel, &sub, &ignored);
    }
    return rc;
}

static double produce(gmk_kernel_t *k, uint64_t n)
{
    const gmk_task_t first = {.type = PRODUCE};
    double start = bench_ns();

    producer.end += n;
    bench_check(gmk_submit(k, &first), "submit");
    bench_check(gmk_drain(k, (uint64_t)60000000000), "drain");
    return (bench_ns() - start) / (double)n;
}

static void run(uint32_t workers, uint64_t n, uint32_t how_many, uint32_t batch)
{
    static const gmk_handler_reg_t handlers[] = {
        {.type = PRODUCE, .fn = on_produce, .name = "produce"},
        {.type = CONSUME, .fn = on_message, .name = "consume.0"},
        {.type = CONSUME + 1, .fn = on_message, .name = "consume.1"},
        {.type = CONSUME + 2, .fn = on_message, .name = "consume.2"},
    };
    static gmk_module_t module = {.name = "bench", .handlers = handlers, .n_handlers = 4, .init = init};
    gmk_kernel_t k;

    subscribers = how_many;
    mode = how_many == 1 ? GMK_P2P : GMK_FANOUT;
    producer.batch = batch;
    bench_boot(&k, workers, &module);
    (void)produce(&k, n / 10);
    bench_print("ns", produce(&k, n));
    bench_check(gmk_halt(&k), "halt");
    for (uint32_t i = 0; i < how_many; i++) {
        if (consumers[i].wrong || consumers[i].seen != n / 10 + n) {
            fprintf(stderr, "bench: subscriber %u has seen %llu messages, %llu out of place\n", i,
                    (unsigned long long)consumers[i].seen, (unsigned long long)consumers[i].wrong);
            exit(1);
        }
    }
}

static void run_p2p(uint32_t workers, uint64_t n) { run(workers, n, 1, 1); }
static void run_p2p_batch(uint32_t workers, uint64_t n) { run(workers, n, 1, BATCH); }
static void run_fanout(uint32_t workers, uint64_t n) { run(workers, n, SUBSCRIBERS, 1); }
static void run_fanout_batch(uint32_t workers, uint64_t n) { run(workers, n, SUBSCRIBERS, BATCH); }

int main(int argc, char **argv)
{
    static const bench_case_t cases[] = {
        {"p2p", run_p2p, 2000000},
        {"p2p32", run_p2p_batch, 2000000},
        {"fanout", run_fanout, 1000000},
        {"fanout32", run_fanout_batch, 1000000},
        {NULL, NULL, 0},
    };

    return bench_main(argc, argv, cases);
}
