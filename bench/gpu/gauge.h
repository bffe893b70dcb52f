/* SPDX-License-Identifier: MIT */
/*
 * gauge.h — what the two modules that measure a pair of kernels say to each other.
 *
 * bench.near (near.c) lives on the kernel that measures and drives everything; bench.far (far.c) on the
 * other one, be it a GPU, the software device or a second kernel of the same process.
 *
 *   bench.order   near -> far   meta0: what (GAUGE_*) | bytes of a payload, or links of a chain << 8;
 *                               meta1: how many
 *   bench.result  far -> near   meta0: what was ordered; meta1: the figure
 *   bench.ping    near -> far   answered on bench.pong with the same meta
 *   bench.down    near -> far   numbered messages
 *   bench.up      far -> near   numbered messages
 *
 * A numbered message is right when it has the next number and the words that go with it; a payload when its
 * first word, its last, and one in each page between are those of its number.
 */
#ifndef GGMK_BENCH_GAUGE_H
#define GGMK_BENCH_GAUGE_H

#include <ggmk/chan.h>
#include <ggmk/kernel.h>
#include <ggmk/mem.h>
#include <ggmk/module.h>

enum gauge_order {
    GAUGE_EXPECT =
        1, /* count the next so many on bench.down; answered by READY at once, and by EXPECT with the
                         number of wrong ones when they are there */
    GAUGE_READY,
    GAUGE_SOURCE, /* send so many on bench.up */
    GAUGE_FAN,    /* one handler spawns so many empty tasks; the result: ns until all have run */
    GAUGE_CHAIN,  /* so many chains, each link spawned by the one before; the first links wait in the ready
                     queue until all are there, while no worker is free.  READY: how many waited, 0 = it failed */
    GAUGE_LOOK,   /* what became of the chains: ns from the release to the last end, 0 when a link has run
                     twice or a chain before the release, or GAUGE_NOT_YET */
    GAUGE_IDLE,   /* so many times: from emit to handler in an idle kernel; each result is one sample in ns */
    GAUGE_CLOCK,  /* the result: the least ns by which gmk_now_ns moves */
    GAUGE_WORKERS /* the result: workers */
};

#define GAUGE_NOT_YET UINT64_MAX
#define GAUGE_WAITING 48000u /* tasks of chains at a time: below what task credits and the ready queue hold */
#define GAUGE_SLOTS 1024u
#define GAUGE_BATCH 32u
#define GAUGE_BLOCKS 8u /* payloads that a source sends by turns */
#define GAUGE_STEP UINT64_C(0x9e3779b97f4a7c15)
#define GAUGE_PAGE (4096u / sizeof(uint64_t))

/* ---- sending: state of the one task that does ------------------------------------------------ */

typedef struct gauge_source {
    uint64_t next, end;
    uint32_t bytes;
    void *block[GAUGE_BLOCKS];
} gauge_source_t;

/* The payload of message i is block i % GAUGE_BLOCKS: its words depend on that alone. */
static inline uint64_t gauge_word(uint64_t block, uint64_t at) { return (block + 1) * GAUGE_STEP + at; }

static inline void gauge_free(gmk_ctx_t *c, gauge_source_t *s)
{
    for (uint32_t b = 0; b < GAUGE_BLOCKS; b++) {
        if (s->block[b] != NULL)
            (void)gmk_payload_release(c, s->block[b]);
        s->block[b] = NULL;
    }
}

/* Payloads of `bytes`, a multiple of 8, or none. */
static inline int gauge_begin(gmk_ctx_t *c, gauge_source_t *s, uint64_t n, uint32_t bytes)
{
    s->next = 0;
    s->end = n;
    s->bytes = bytes;
    for (uint32_t b = 0; bytes != 0 && b < GAUGE_BLOCKS; b++) {
        uint64_t *w = s->block[b] = gmk_payload_alloc(c, bytes);
        if (w == NULL) {
            gauge_free(c, s);
            return GMK_ALLOC_FAIL;
        }
        for (uint64_t i = 0; i < bytes / sizeof *w; i++)
            w[i] = gauge_word(b, i);
    }
    return GMK_OK;
}

static inline void gauge_number(gmk_task_t *t, uint64_t i)
{
    *t = (gmk_task_t){.meta0 = i, .meta1 = i * GAUGE_STEP};
}

static inline int gauge_send_payload(gmk_ctx_t *c, gmk_chan_t to, gauge_source_t *s)
{
    void *p = s->block[s->next % GAUGE_BLOCKS];
    gmk_task_t t;
    gauge_number(&t, s->next);
    t.payload_ptr = (uint64_t)(uintptr_t)p;
    t.payload_len = s->bytes;
    t.flags = GMK_TASK_PAYLOAD_RC;
    int rc = gmk_payload_retain(c, p);
    if (rc == GMK_OK)
        rc = gmk_chan_emit(c, to, &t);
    if (rc == GMK_OK)
        s->next++;
    else
        (void)gmk_payload_release(c, p);
    return rc;
}

static inline int gauge_send_batch(gmk_ctx_t *c, gmk_chan_t to, gauge_source_t *s)
{
    gmk_task_t t[GAUGE_BATCH];
    uint32_t n = s->end - s->next < GAUGE_BATCH ? (uint32_t)(s->end - s->next) : GAUGE_BATCH;
    for (uint32_t i = 0; i < n; i++)
        gauge_number(&t[i], s->next + i);
    int rc = gmk_chan_emit_n(c, to, t, n);
    if (rc > 0)
        s->next += (uint32_t)rc;
    return rc > 0 ? GMK_OK : rc;
}

/* In a handler: sends what there is room for, and comes back for the rest. */
static inline int gauge_send(gmk_ctx_t *c, gmk_chan_t to, gauge_source_t *s)
{
    int rc = GMK_OK;
    while (s->next < s->end && rc == GMK_OK)
        rc = s->bytes != 0 ? gauge_send_payload(c, to, s) : gauge_send_batch(c, to, s);
    if (rc == GMK_CHAN_FULL)
        return gmk_chan_wait(c, to, GAUGE_SLOTS / 2);
    gauge_free(c, s);
    return rc;
}

/* ---- receiving: state of an ordered subscription ------------------------------------------------ */

typedef struct gauge_sink {
    uint64_t seen, end, wrong;
    uint32_t bytes;
} gauge_sink_t;

static inline bool gauge_payload_right(const gmk_task_t *t)
{
    const uint64_t *w = (const uint64_t *)(uintptr_t)t->payload_ptr;
    uint64_t words = t->payload_len / sizeof *w, block = t->meta0 % GAUGE_BLOCKS;
    for (uint64_t i = 0; i < words; i += GAUGE_PAGE)
        if (w[i] != gauge_word(block, i))
            return false;
    return words == 0 || w[words - 1] == gauge_word(block, words - 1);
}

/* True: that was the last one. */
static inline bool gauge_take(gauge_sink_t *s, const gmk_task_t *t)
{
    s->wrong += t->meta0 != s->seen || t->meta1 != s->seen * GAUGE_STEP || t->payload_len != s->bytes ||
                !gauge_payload_right(t);
    return ++s->seen == s->end;
}

#endif
