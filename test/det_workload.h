/* SPDX-License-Identifier: MIT */
/*
 * det_workload.h — one deterministic workload whose hash is a constant: the hosted test runs it on
 * threads, the simulator on every schedule it can think of, and both must see DET_WORKLOAD_HASH.
 *
 * All decisions come out of the values that tasks carry: types that run serially and in parallel,
 * priorities, payloads, emissions direct, for later ticks, and on channels with fewer slots than
 * messages; yields, retries, failures until a type is poisoned.
 */
#ifndef GGMK_TEST_DET_WORKLOAD_H
#define GGMK_TEST_DET_WORKLOAD_H

#include <ggmk.h>

#define DET_WORKLOAD_HASH UINT64_C(0x66921ecb8ec19eba)
#define DET_WORKLOAD_TASKS 136u /* deliveries with an outcome */
#define DET_WORKLOAD_TICKS 40u
#define DET_WORKLOAD_POISON 6u /* gmk_boot_cfg_t.poison_failures */
#define DET_WORKLOAD_SEED 42u

enum { DET_SERIAL = 1, DET_PARALLEL, DET_FAILING, DET_HEAR_ONE, DET_HEAR_ALL, DET_HEAR_TOO };

static inline uint64_t det_mix(uint64_t x) /* the finalizer of splitmix64 (Steele, Lea, Flood 2014) */
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static inline gmk_task_t det_task(uint64_t value, uint64_t depth)
{
    static const uint32_t type[8] = {DET_SERIAL,   DET_PARALLEL, DET_PARALLEL, DET_FAILING,
                                     DET_PARALLEL, DET_SERIAL,   DET_PARALLEL, DET_PARALLEL};
    return (gmk_task_t){.type = type[value & 7],
                        .flags = (uint16_t)(GMK_TASK_DETERMINISTIC | (value >> 3 & GMK_PRIO_MASK)),
                        .meta0 = value,
                        .meta1 = depth};
}

/* Some tasks more: for the next tick, for a later one, for the subscribers of a channel. */
static inline void det_spawn(gmk_ctx_t *c)
{
    gmk_chan_t ch;
    uint64_t value = c->task->meta0, depth = c->task->meta1;
    for (uint64_t i = 0; depth != 0 && i < 1 + (value >> 8) % 2; i++) {
        gmk_task_t t = det_task(det_mix(value + i), depth - 1);
        if ((t.meta0 >> 10) % 4 == 0)
            (void)gmk_emit_at(c, &t, gmk_tick(c) + 1 + (uint32_t)(t.meta0 >> 12) % 3);
        else
            (void)gmk_emit(c, &t);
    }
    if (depth != 0 && (value >> 16) % 4 == 0 &&
        gmk_chan_find(c, (value >> 18) % 2 == 0 ? "det.one" : "det.all", &ch) == GMK_OK) {
        gmk_task_t t = {.flags = (uint16_t)(GMK_TASK_DETERMINISTIC | (value >> 20 & GMK_PRIO_MASK)),
                        .meta0 = det_mix(value),
                        .meta1 = depth - 1};
        (void)gmk_chan_emit(c, ch, &t);
    }
}

static inline int det_run(gmk_ctx_t *c)
{
    uint64_t value = c->task->meta0;
    if ((value >> 24) % 8 == 0 && c->task->retry_count < 2)
        return GMK_RETRY;
    if ((value >> 28) % 8 == 0 && c->task->yield_count < 2)
        return gmk_yield_at(c, det_mix(value));
    det_spawn(c);
    return (value >> 32) % 16 == 0 ? GMK_FAIL((int)(value >> 40 & 7)) : GMK_OK;
}

static inline int det_fail(gmk_ctx_t *c)
{
    det_spawn(c);
    return GMK_FAIL((int)(c->task->meta0 & 3));
}

static inline int det_hear(gmk_ctx_t *c)
{
    if (c->task->retry_count == 0 && c->task->meta0 % 4 == 0)
        return GMK_RETRY;
    det_spawn(c);
    return GMK_OK;
}

static const gmk_handler_reg_t det_handlers[] = {
    {.type = DET_SERIAL, .fn = det_run, .flags = GMK_HANDLER_DETERMINISTIC},
    {.type = DET_PARALLEL, .fn = det_run, .flags = GMK_HANDLER_DET_PARALLEL},
    {.type = DET_FAILING, .fn = det_fail, .flags = GMK_HANDLER_DET_PARALLEL},
    {.type = DET_HEAR_ONE, .fn = det_hear, .flags = GMK_HANDLER_DETERMINISTIC},
    {.type = DET_HEAR_ALL, .fn = det_hear, .flags = GMK_HANDLER_DET_PARALLEL},
    {.type = DET_HEAR_TOO, .fn = det_hear, .flags = GMK_HANDLER_DETERMINISTIC},
};

static const gmk_chan_decl_t det_channels[] = {
    {.name = "det.one", .direction = GMK_CONSUMES, .handler = DET_HEAR_ONE, .slots = 2},
    {.name = "det.all", .direction = GMK_CONSUMES, .mode = GMK_FANOUT, .handler = DET_HEAR_ALL, .slots = 2},
    {.name = "det.all", .direction = GMK_CONSUMES, .mode = GMK_FANOUT, .handler = DET_HEAR_TOO, .slots = 2},
};

#define DET_MODULE                                                                                           \
    {                                                                                                        \
        .name = "det", .handlers = det_handlers, .n_handlers = sizeof det_handlers / sizeof det_handlers[0], \
        .channels = det_channels, .n_channels = sizeof det_channels / sizeof det_channels[0]                 \
    }

/*
 * Hands in the input, some of it with a payload, before the first tick: every step-th task from `first` on, for a
 * kernel that has the others' from somebody else.  Returns 0, or the first error.
 */
static inline int det_input_part(gmk_kernel_t *k, uint64_t first, uint64_t step)
{
    gmk_port_t port;
    int rc = gmk_attach(k, &port);
    for (uint64_t i = first; i < 10 && rc == GMK_OK; i += step) {
        gmk_ctx_t *c = gmk_port_ctx(&port);
        gmk_task_t t = det_task(det_mix(i * 7), 3);
        if (i % 3 == 0) {
            uint64_t *p = gmk_payload_alloc(c, 3 * sizeof *p);
            if (p == NULL)
                return GMK_ALLOC_FAIL;
            for (uint64_t j = 0; j < 3; j++)
                p[j] = det_mix(i + j);
            t.flags |= GMK_TASK_PAYLOAD_RC;
            t.payload_ptr = (uint64_t)(uintptr_t)p;
            t.payload_len = 3 * sizeof *p - 5;
        }
        rc = gmk_emit_at(c, &t, 1 + (uint32_t)i % 4);
    }
    gmk_detach(&port);
    return rc;
}

static inline int det_input(gmk_kernel_t *k) { return det_input_part(k, 0, 1); }

#endif
