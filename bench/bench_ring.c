/* SPDX-License-Identifier: MIT */
/* The C half of the ring benchmark: our rings, Concurrency Kit's ck_ring, and DPDK's rte_ring. */
#include <ck_ring.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>
#include <stdbool.h>
#include <stdlib.h>

#include <ggmk/mpmc.h>
#include <ggmk/spsc.h>

#include "bench_ring.h"

/* ---- ours --------------------------------------------------------------------------------- */

typedef struct {
    gmk_spsc_t r;
    void *mem;
} our_spsc_t;
typedef struct {
    gmk_mpmc_t r;
    void *mem;
} our_mpmc_t;

static void *our_spsc_make(size_t elem)
{
    our_spsc_t *q = bench_lines(sizeof *q);

    q->mem = bench_lines(gmk_spsc_bytes(BENCH_CAPACITY, elem));
    if (gmk_spsc_init(&q->r, q->mem, BENCH_CAPACITY, elem) != GMK_OK)
        abort();
    return q;
}

static void our_spsc_destroy(void *q)
{
    free(((our_spsc_t *)q)->mem);
    free(q);
}

#define OUR_SPSC(id, E)                                                                                      \
    static void *id##_make(void) { return our_spsc_make(sizeof(E)); }                                        \
    static void id##_destroy(void *q) { our_spsc_destroy(q); }                                               \
    BENCH_SINGLE(id, our_spsc_t, E, BENCH_NOTHING, gmk_spsc_push(&q->r, &e, sizeof e), BENCH_NOTHING,        \
                 gmk_spsc_pop(&q->r, &e, sizeof e))                                                          \
    BENCH_BULK(id, our_spsc_t, E, BENCH_NOTHING, gmk_spsc_push_n(&q->r, a, sizeof(E), k), BENCH_NOTHING,     \
               gmk_spsc_pop_n(&q->r, a, sizeof(E), k))

OUR_SPSC(our8, bench_e8_t)
OUR_SPSC(our64, bench_e64_t)

static void *our48_make(void)
{
    our_mpmc_t *q = bench_lines(sizeof *q);

    q->mem = bench_lines(gmk_mpmc_bytes(BENCH_CAPACITY, sizeof(bench_e48_t)));
    if (gmk_mpmc_init(&q->r, q->mem, BENCH_CAPACITY, sizeof(bench_e48_t)) != GMK_OK)
        abort();
    return q;
}

static void our48_destroy(void *q)
{
    free(((our_mpmc_t *)q)->mem);
    free(q);
}

BENCH_SINGLE(our48, our_mpmc_t, bench_e48_t, BENCH_NOTHING, gmk_mpmc_push(&q->r, &e, sizeof e), BENCH_NOTHING,
             gmk_mpmc_pop(&q->r, &e, sizeof e))
BENCH_BULK(our48, our_mpmc_t, bench_e48_t, BENCH_NOTHING, gmk_mpmc_push_n(&q->r, a, sizeof(bench_e48_t), k),
           BENCH_NOTHING, gmk_mpmc_pop_n(&q->r, a, sizeof(bench_e48_t), k))

/* ---- ck_ring ------------------------------------------------------------------------------ */

typedef struct {
    ck_ring_t r;
    void *mem;
} ck_t;

struct ck8 {
    uint64_t w[1];
};
struct ck48 {
    _Alignas(16) uint64_t w[6];
};
struct ck64 {
    _Alignas(16) uint64_t w[8];
};
CK_RING_PROTOTYPE(e8, ck8)
CK_RING_PROTOTYPE(e48, ck48)
CK_RING_PROTOTYPE(e64, ck64)

static void *ck_make(size_t elem)
{
    ck_t *q = bench_lines(sizeof *q);

    q->mem = bench_lines(BENCH_CAPACITY * elem);
    ck_ring_init(&q->r, BENCH_CAPACITY);
    return q;
}

static void ck_destroy(void *q)
{
    free(((ck_t *)q)->mem);
    free(q);
}

#define CK(id, E, KIND, NAME)                                                                                \
    static void *id##_make(void) { return ck_make(sizeof(E)); }                                              \
    static void id##_destroy(void *q) { ck_destroy(q); }                                                     \
    BENCH_SINGLE(id, ck_t, E, BENCH_NOTHING, ck_ring_enqueue_##KIND##_##NAME(&q->r, q->mem, &e),             \
                 BENCH_NOTHING, ck_ring_dequeue_##KIND##_##NAME(&q->r, q->mem, &e))

CK(ck8, struct ck8, spsc, e8)
CK(ck48, struct ck48, mpmc, e48)
CK(ck64, struct ck64, spsc, e64)

/* ---- rte_ring, without the environment layer: a ring over memory of ours -------------------- */

static void *rte_make(size_t elem, unsigned flags)
{
    struct rte_ring *r = bench_lines((size_t)rte_ring_get_memsize_elem((unsigned)elem, BENCH_CAPACITY));

    if (rte_ring_init(r, "bench", BENCH_CAPACITY, flags) != 0)
        abort();
    return r;
}

#define RTE(id, E, FLAGS, P, C)                                                                              \
    static void *id##_make(void) { return rte_make(sizeof(E), FLAGS); }                                      \
    static void id##_destroy(void *q) { free(q); }                                                           \
    BENCH_SINGLE(id, struct rte_ring, E, BENCH_NOTHING, rte_ring_##P##_enqueue_elem(q, &e, sizeof e) == 0,   \
                 BENCH_NOTHING, rte_ring_##C##_dequeue_elem(q, &e, sizeof e) == 0)                           \
    BENCH_BULK(id, struct rte_ring, E, BENCH_NOTHING,                                                        \
               rte_ring_##P##_enqueue_burst_elem(q, a, sizeof(E), k, NULL), BENCH_NOTHING,                   \
               rte_ring_##C##_dequeue_burst_elem(q, a, sizeof(E), k, NULL))

RTE(rte8, bench_e8_t, RING_F_SP_ENQ | RING_F_SC_DEQ, sp, sc)
RTE(rte48, bench_e48_t, 0, mp, mc)
RTE(rte64, bench_e64_t, RING_F_SP_ENQ | RING_F_SC_DEQ, sp, sc)

const bench_queue_t bench_c_spsc8[] = {
    BENCH_ROW(our8, "ggmk"), BENCH_ROW_SINGLE(ck8, "ck_ring"), BENCH_ROW(rte8, "rte_ring"), {0}};
const bench_queue_t bench_c_spsc64[] = {
    BENCH_ROW(our64, "ggmk"), BENCH_ROW_SINGLE(ck64, "ck_ring"), BENCH_ROW(rte64, "rte_ring"), {0}};
const bench_queue_t bench_c_mpmc48[] = {
    BENCH_ROW(our48, "ggmk"), BENCH_ROW_SINGLE(ck48, "ck_ring"), BENCH_ROW(rte48, "rte_ring"), {0}};
