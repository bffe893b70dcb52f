/* SPDX-License-Identifier: MIT */
/*
 * bench_bridge.h — what the parts of the bridge's benchmark share: the two sides of a region, as two threads or
 * as two processes, each on a CPU of its own, and the numbered messages that show what was lost on the way.
 */
#ifndef GGMK_BENCH_BRIDGE_H
#define GGMK_BENCH_BRIDGE_H

#include "../bridge/link.h"
#include "bench_sched.h"

enum { BRIDGE_WORDS = 6, BRIDGE_BATCH = 64 };
#define BRIDGE_STEP UINT64_C(0x9e3779b97f4a7c15)

/* Message i of a direction: its number first, and words that no other message has. */
static inline void bridge_write(uint64_t *body, uint64_t i)
{
    body[0] = i;
    for (uint32_t w = 1; w < BRIDGE_WORDS; w++)
        body[w] = i + w * BRIDGE_STEP;
}

/* 0 when this is message i, whole. */
static inline uint64_t bridge_check(const uint64_t *body, uint64_t i)
{
    uint64_t wrong = body[0] ^ i;

    for (uint32_t w = 1; w < BRIDGE_WORDS; w++)
        wrong |= body[w] ^ (i + w * BRIDGE_STEP);
    return wrong;
}

/* What the two sides share besides the region. */
typedef struct bridge_desk {
    _Alignas(128) _Atomic uint32_t arrived;      /* sides that have come to a meeting, ever */
    _Alignas(128) _Atomic uint32_t line[2][32];  /* [side][0]: a raw cache line each way */
    _Alignas(128) _Atomic uint64_t count[2][16]; /* [side][0]: payloads sent, and taken */
    double ns[2];                                /* what a side measured */
    uint64_t wrong[2];
} bridge_desk_t;

typedef struct bridge_side {
    _Alignas(128) uint32_t side; /* the sides share no line */
    gmk_region_view_t view;
    gmk_link_out_t out;
    gmk_link_in_t in;
    bridge_desk_t *desk;
    uint64_t n;
    uint32_t commit; /* messages per publication */
} bridge_side_t;

/* One step of waiting: the other side may have lost its CPU. */
static inline void bridge_wait(uint32_t *round)
{
    if (++*round % 1024 == 0)
        sched_yield();
    else
        BENCH_RELAX();
}

/* Both sides are here. */
static inline void bridge_meet(bridge_desk_t *d)
{
    uint32_t target = (atomic_fetch_add(&d->arrived, 1) | 1) + 1, round = 0;

    while ((int32_t)(atomic_load(&d->arrived) - target) < 0)
        bridge_wait(&round);
}

/* Runs `side` for both sides of a fresh region and returns the longer of their times; ends on a wrong message. */
double bridge_run(void (*side)(bridge_side_t *s), bool processes, uint64_t n, uint32_t commit);

/* The cases of bench_bridge_kernels.c. */
void bridge_kernels_messages(uint32_t unused, uint64_t n);
void bridge_kernels_single(uint32_t unused, uint64_t n);
void bridge_kernels_trips(uint32_t unused, uint64_t n);
void bridge_kernels_load(uint32_t unused, uint64_t n);
void bridge_kernels_payloads(uint32_t unused, uint64_t bytes_each);

#endif
