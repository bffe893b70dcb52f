/* SPDX-License-Identifier: MIT */
#include "bench_timer.h"

#include <stdlib.h>

#include "timerq.h"

typedef struct timer {
    gmk_tnode_t node;
    bench_payload_t payload;
} timer_slot_t;

typedef struct timers {
    gmk_timerq_t *q;
    timer_slot_t *slots;
} timers_t;

void *bench_our_timers_make(uint32_t n)
{
    timers_t *t = malloc(sizeof *t);
    void *mem = aligned_alloc(GMK_CACHE_LINE, gmk_timerq_bytes());

    if (t == NULL || mem == NULL)
        abort();
    t->q = gmk_timerq_init(mem);
    t->slots = calloc(n, sizeof *t->slots);
    if (t->slots == NULL)
        abort();
    return t;
}

void bench_our_timers_destroy(void *vq)
{
    timers_t *t = vq;

    free(t->q);
    free(t->slots);
    free(t);
}

static void fill(timers_t *t, const uint64_t *keys, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        timer_slot_t *s = &t->slots[i];

        s->node.key = keys[i];
        s->node.order = i;
        s->payload.word[0] = i;
        gmk_timerq_insert(t->q, &s->node);
    }
}

uint64_t bench_our_timers_fill_drain(void *vq, const uint64_t *keys, uint32_t n)
{
    timers_t *t = vq;
    uint64_t sum = 0;
    gmk_tnode_t *m;

    t->q = gmk_timerq_init(t->q); /* time starts over */
    fill(t, keys, n);
    while ((m = gmk_timerq_pop_due(t->q, UINT64_MAX)) != NULL)
        sum = bench_mix(sum, ((timer_slot_t *)(void *)m)->payload.word[0]);
    return sum;
}

uint64_t bench_our_timers_hold(void *vq, const uint64_t *keys, uint32_t n, uint32_t steps)
{
    timers_t *t = vq;
    uint64_t sum = 0;

    t->q = gmk_timerq_init(t->q);
    fill(t, keys, n);
    for (uint32_t i = 0; i < steps; i++) {
        timer_slot_t *s = (timer_slot_t *)(void *)gmk_timerq_pop_due(t->q, UINT64_MAX);

        sum = bench_mix(sum, s->payload.word[0]);
        s->node.key += keys[i % n];
        s->node.order = n + i;
        gmk_timerq_insert(t->q, &s->node);
    }
    while (gmk_timerq_pop(t->q) != NULL)
        ;
    return sum;
}
