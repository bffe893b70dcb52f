/* SPDX-License-Identifier: MIT */
/* The rings, the intrusive queue and the slab: bounds, order, and everything in exactly once. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include <ggmk/mpmc.h>
#include <ggmk/spsc.h>

#include "mpsc.h"
#include "slab.h"

#define THREADS_MAX 4u

typedef struct __attribute__((aligned(16))) item {
    uint64_t producer;
    uint64_t number;
    uint64_t check[4]; /* all equal to a mix of the two: a torn copy shows */
} item_t;

_Static_assert(sizeof(item_t) == 48, "as large as a task");

static item_t item_make(uint64_t producer, uint64_t number)
{
    uint64_t mix = (producer + 1) * 0x9e3779b97f4a7c15u ^ number;

    return (item_t){producer, number, {mix, mix, mix, mix}};
}

static bool item_whole(const item_t *i)
{
    item_t made = item_make(i->producer, i->number);

    return memcmp(i, &made, sizeof made) == 0;
}

static void *lines(size_t bytes)
{
    void *p = aligned_alloc(GMK_CACHE_LINE, (bytes + GMK_CACHE_LINE - 1) / GMK_CACHE_LINE * GMK_CACHE_LINE);

    assert_non_null(p);
    return p;
}

/* Starts `n` threads together and waits for all. */
static void run_threads(uint32_t n, void *(*fn)(void *), void **args)
{
    pthread_t t[2 * THREADS_MAX];

    assert_true(n <= 2 * THREADS_MAX);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(pthread_create(&t[i], NULL, fn, args[i]), 0);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
}

/* ---- spsc --------------------------------------------------------------------------------- */

static void test_spsc_init(void **state)
{
    gmk_spsc_t r;
    uint64_t mem[4];

    (void)state;
    assert_int_equal(gmk_spsc_bytes(4, 8), 32);
    assert_int_equal(gmk_spsc_bytes(4, SIZE_MAX / 2), 0);
    assert_int_equal(gmk_spsc_init(NULL, mem, 4, 8), GMK_ERR_INVAL);
    assert_int_equal(gmk_spsc_init(&r, NULL, 4, 8), GMK_ERR_INVAL);
    assert_int_equal(gmk_spsc_init(&r, mem, 4, 0), GMK_ERR_INVAL);
    assert_int_equal(gmk_spsc_init(&r, mem, 0, 8), GMK_ERR_RANGE);
    assert_int_equal(gmk_spsc_init(&r, mem, 1, 8), GMK_ERR_RANGE);
    assert_int_equal(gmk_spsc_init(&r, mem, 3, 8), GMK_ERR_RANGE);
    assert_int_equal(gmk_spsc_init(&r, mem, 0x80000000u, 8), GMK_ERR_RANGE);
    assert_int_equal(gmk_spsc_init(&r, mem, 4, SIZE_MAX / 2), GMK_ERR_RANGE);
    assert_int_equal(gmk_spsc_init(&r, mem, 4, 8), GMK_OK);
    assert_int_equal(gmk_spsc_count(&r), 0);
}

static void test_spsc_bounds(void **state)
{
    gmk_spsc_t r;
    uint64_t mem[4], v = 0, in[6] = {10, 11, 12, 13, 14, 15}, out[6];

    (void)state;
    assert_int_equal(gmk_spsc_init(&r, mem, 4, sizeof v), GMK_OK);
    /* The numbers are about to wrap. */
    gmk_store32(&r.head, UINT32_MAX - 5, GMK_RLX, GMK_KERNEL);
    gmk_store32(&r.tail, UINT32_MAX - 5, GMK_RLX, GMK_KERNEL);
    r.head_seen = r.tail_seen = UINT32_MAX - 5;
    for (uint32_t lap = 0; lap < 5; lap++) {
        assert_false(gmk_spsc_pop(&r, &v, sizeof v));
        assert_int_equal(gmk_spsc_pop_n(&r, out, sizeof v, 6), 0);
        for (uint64_t i = 0; i < 4; i++) {
            assert_true(gmk_spsc_push(&r, &i, sizeof i));
            assert_int_equal(gmk_spsc_count(&r), i + 1);
        }
        assert_false(gmk_spsc_push(&r, &v, sizeof v));
        assert_int_equal(gmk_spsc_push_n(&r, in, sizeof v, 1), 0);
        for (uint64_t i = 0; i < 4; i++) {
            assert_true(gmk_spsc_pop(&r, &v, sizeof v));
            assert_int_equal(v, i);
        }
        assert_int_equal(gmk_spsc_push_n(&r, in, sizeof v, 0), 0);
        assert_int_equal(gmk_spsc_push_n(&r, in, sizeof v, 3), 3);
        assert_int_equal(gmk_spsc_push_n(&r, in + 3, sizeof v, 3), 1);
        assert_int_equal(gmk_spsc_pop_n(&r, out, sizeof v, 0), 0);
        assert_int_equal(gmk_spsc_pop_n(&r, out, sizeof v, 3), 3);
        assert_int_equal(gmk_spsc_pop_n(&r, out + 3, sizeof v, 3), 1);
        assert_memory_equal(in, out, 4 * sizeof v);
        assert_true(gmk_spsc_push(&r, &v, sizeof v)); /* shift the laps against the memory's end */
        assert_true(gmk_spsc_pop(&r, &v, sizeof v));
    }
}

/* A count taken while head and tail move is never more than the capacity. */
static void test_spsc_count_clamped(void **state)
{
    gmk_spsc_t r;
    uint64_t mem[4];

    (void)state;
    assert_int_equal(gmk_spsc_init(&r, mem, 4, 8), GMK_OK);
    gmk_store32(&r.tail, 9, GMK_RLX, GMK_KERNEL);
    assert_int_equal(gmk_spsc_count(&r), 4);
    gmk_store32(&r.head, 10, GMK_RLX, GMK_KERNEL);
    assert_int_equal(gmk_spsc_count(&r), 0);
}

#define SPSC_ITEMS 60000u

typedef struct spsc_run {
    gmk_spsc_t ring;
    bool batch;
    bool broken;
} spsc_run_t;

static void *spsc_produce(void *arg)
{
    spsc_run_t *run = arg;
    item_t items[7];

    for (uint64_t n = 0; n < SPSC_ITEMS;) {
        uint32_t want = run->batch ? 1 + (uint32_t)(n % 7) : 1, got;

        if (want > SPSC_ITEMS - n)
            want = (uint32_t)(SPSC_ITEMS - n);
        for (uint32_t i = 0; i < want; i++)
            items[i] = item_make(0, n + i);
        got = run->batch ? gmk_spsc_push_n(&run->ring, items, sizeof(item_t), want)
                         : gmk_spsc_push(&run->ring, items, sizeof(item_t));
        if (got == 0)
            sched_yield();
        n += got;
    }
    return NULL;
}

static void *spsc_consume(void *arg)
{
    spsc_run_t *run = arg;
    item_t items[5];

    for (uint64_t n = 0; n < SPSC_ITEMS;) {
        uint32_t got = run->batch ? gmk_spsc_pop_n(&run->ring, items, sizeof(item_t), 5)
                                  : gmk_spsc_pop(&run->ring, items, sizeof(item_t));

        if (got == 0)
            sched_yield();
        for (uint32_t i = 0; i < got; i++, n++)
            run->broken |= items[i].number != n || !item_whole(&items[i]);
        run->broken |= gmk_spsc_count(&run->ring) > 64;
    }
    return NULL;
}

static void *spsc_side(void *arg)
{
    return ((uintptr_t)arg & 1) != 0 ? spsc_consume((char *)arg - 1) : spsc_produce(arg);
}

static void test_spsc_threads(void **state)
{
    spsc_run_t *run = lines(sizeof *run);
    void *mem = lines(gmk_spsc_bytes(64, sizeof(item_t)));

    (void)state;
    for (uint32_t batch = 0; batch < 2; batch++) {
        assert_int_equal(gmk_spsc_init(&run->ring, mem, 64, sizeof(item_t)), GMK_OK);
        run->batch = batch != 0;
        run->broken = false;
        run_threads(2, spsc_side, (void *[]){run, (char *)run + 1});
        assert_false(run->broken);
        assert_int_equal(gmk_spsc_count(&run->ring), 0);
    }
    free(mem);
    free(run);
}

/* ---- mpmc --------------------------------------------------------------------------------- */

static void test_mpmc_init(void **state)
{
    gmk_mpmc_t r;
    unsigned char *mem = lines(4096);

    (void)state;
    assert_int_equal(gmk_mpmc_stride(8), 16);
    assert_int_equal(gmk_mpmc_stride(16), 32);
    assert_int_equal(gmk_mpmc_stride(48), 64);
    assert_int_equal(gmk_mpmc_stride(56), 64);
    assert_int_equal(gmk_mpmc_bytes(4, 48), 256);
    assert_int_equal(gmk_mpmc_bytes(4, SIZE_MAX), 0);
    assert_int_equal(gmk_mpmc_bytes(8, SIZE_MAX / 4), 0);
    assert_int_equal(gmk_mpmc_init(NULL, mem, 4, 48), GMK_ERR_INVAL);
    assert_int_equal(gmk_mpmc_init(&r, NULL, 4, 48), GMK_ERR_INVAL);
    assert_int_equal(gmk_mpmc_init(&r, mem, 4, 0), GMK_ERR_INVAL);
    assert_int_equal(gmk_mpmc_init(&r, mem + 16, 4, 48), GMK_ERR_INVAL);
    assert_int_equal(gmk_mpmc_init(&r, mem, 0, 48), GMK_ERR_RANGE);
    assert_int_equal(gmk_mpmc_init(&r, mem, 1, 48), GMK_ERR_RANGE);
    assert_int_equal(gmk_mpmc_init(&r, mem, 6, 48), GMK_ERR_RANGE);
    assert_int_equal(gmk_mpmc_init(&r, mem, 0x80000000u, 48), GMK_ERR_RANGE);
    assert_int_equal(gmk_mpmc_init(&r, mem, 4, SIZE_MAX / 2), GMK_ERR_RANGE);
    assert_int_equal(gmk_mpmc_init(&r, mem, 4, 48), GMK_OK);
    assert_true(gmk_mpmc_empty(&r));
    assert_int_equal(gmk_mpmc_count(&r), 0);
    free(mem);
}

static void test_mpmc_bounds(void **state)
{
    gmk_mpmc_t r;
    void *mem = lines(gmk_mpmc_bytes(4, sizeof(item_t)));
    item_t in[6], out[6], v;

    (void)state;
    for (uint64_t i = 0; i < 6; i++)
        in[i] = item_make(1, i);
    assert_int_equal(gmk_mpmc_init(&r, mem, 4, sizeof v), GMK_OK);
    for (uint32_t lap = 0; lap < 5; lap++) {
        assert_false(gmk_mpmc_pop(&r, &v, sizeof v));
        assert_int_equal(gmk_mpmc_pop_n(&r, out, sizeof v, 6), 0);
        for (uint32_t i = 0; i < 4; i++) {
            assert_true(gmk_mpmc_push(&r, &in[i], sizeof v));
            assert_int_equal(gmk_mpmc_count(&r), i + 1);
            assert_false(gmk_mpmc_empty(&r));
        }
        assert_false(gmk_mpmc_push(&r, &in[4], sizeof v));
        assert_int_equal(gmk_mpmc_push_n(&r, in, sizeof v, 6), 0);
        for (uint32_t i = 0; i < 4; i++) {
            assert_true(gmk_mpmc_pop(&r, &v, sizeof v));
            assert_memory_equal(&v, &in[i], sizeof v);
        }
        assert_true(gmk_mpmc_empty(&r));
        assert_int_equal(gmk_mpmc_push_n(&r, in, sizeof v, 0), 0);
        assert_int_equal(gmk_mpmc_pop_n(&r, out, sizeof v, 0), 0);
        assert_int_equal(gmk_mpmc_push_n(&r, in, sizeof v, 3), 3);
        assert_int_equal(gmk_mpmc_push_n(&r, in + 3, sizeof v, 3), 1); /* the prefix that fits */
        assert_int_equal(gmk_mpmc_pop_n(&r, out, sizeof v, 3), 3);
        assert_int_equal(gmk_mpmc_pop_n(&r, out + 3, sizeof v, 3), 1);
        assert_memory_equal(in, out, 4 * sizeof v);
        assert_true(gmk_mpmc_push(&r, &v, sizeof v));
        assert_true(gmk_mpmc_pop(&r, &v, sizeof v));
    }
    free(mem);
}

/* Elements of 56 bytes lie 64 apart in the caller's arrays. */
static void test_mpmc_pitch(void **state)
{
    typedef struct __attribute__((aligned(16))) wide {
        uint64_t word[7];
    } wide_t;
    gmk_mpmc_t r;
    void *mem = lines(gmk_mpmc_bytes(4, 56));
    wide_t in[3] = {{{1, 2, 3, 4, 5, 6, 7}}, {{11, 12, 13, 14, 15, 16, 17}}, {{21, 22, 23, 24, 25, 26, 27}}},
           out[3];

    (void)state;
    assert_int_equal(gmk_mpmc_pitch(56), sizeof(wide_t));
    assert_int_equal(gmk_mpmc_init(&r, mem, 4, 56), GMK_OK);
    for (uint32_t lap = 0; lap < 3; lap++) {
        assert_int_equal(gmk_mpmc_push_n(&r, in, 56, 3), 3);
        assert_int_equal(gmk_mpmc_pop_n(&r, out, 56, 3), 3);
        for (uint32_t i = 0; i < 3; i++)
            assert_memory_equal(in[i].word, out[i].word, 56);
    }
    free(mem);
}

/* A claimant that stopped: the ring answers, and goes on from there once it has published. */
static void test_mpmc_stopped_claimant(void **state)
{
    gmk_mpmc_t r;
    void *mem = lines(gmk_mpmc_bytes(4, sizeof(item_t)));
    item_t in[4], out[4];
    uint64_t pos;

    (void)state;
    for (uint64_t i = 0; i < 4; i++)
        in[i] = item_make(2, i);
    assert_int_equal(gmk_mpmc_init(&r, mem, 4, sizeof(item_t)), GMK_OK);
    assert_true(gmk_mpmc_push(&r, &in[0], sizeof(item_t)));
    assert_int_equal(gmk_mpmc_claim(&r, &r.tail, 0, sizeof(item_t), 1, &pos), 1);
    assert_int_equal(pos, 1);
    assert_true(gmk_mpmc_push(&r, &in[2], sizeof(item_t)));
    assert_int_equal(gmk_mpmc_pop_n(&r, out, sizeof(item_t), 4), 1); /* up to the unpublished one */
    assert_false(gmk_mpmc_pop(&r, out, sizeof(item_t)));
    assert_false(gmk_mpmc_empty(&r));
    memcpy(gmk_mpmc_slot(&r, 1, sizeof(item_t)), &in[1], sizeof(item_t));
    gmk_store64(gmk_mpmc_seq(gmk_mpmc_slot(&r, 1, sizeof(item_t)), sizeof(item_t)), 2, GMK_REL, GMK_KERNEL);
    assert_int_equal(gmk_mpmc_pop_n(&r, out + 1, sizeof(item_t), 4), 2);
    assert_memory_equal(in, out, 3 * sizeof(item_t));

    assert_int_equal(gmk_mpmc_push_n(&r, in, sizeof(item_t), 4), 4);
    assert_int_equal(gmk_mpmc_claim(&r, &r.head, 1, sizeof(item_t), 1, &pos), 1); /* a stopped consumer */
    assert_int_equal(gmk_mpmc_pop_n(&r, out, sizeof(item_t), 2), 2);
    assert_false(gmk_mpmc_push(&r, in, sizeof(item_t)));
    assert_int_equal(gmk_mpmc_count(&r), 1);
    free(mem);
}

/* Whatever is read of indices that move, the count stays within 0 .. capacity. */
static void test_mpmc_count_clamped(void **state)
{
    gmk_mpmc_t r;
    void *mem = lines(gmk_mpmc_bytes(4, 48));

    (void)state;
    assert_int_equal(gmk_mpmc_init(&r, mem, 4, 48), GMK_OK);
    gmk_store64(&r.head, 5, GMK_RLX, GMK_KERNEL);
    assert_int_equal(gmk_mpmc_count(&r), 0);
    assert_true(gmk_mpmc_empty(&r));
    gmk_store64(&r.tail, 12, GMK_RLX, GMK_KERNEL);
    assert_int_equal(gmk_mpmc_count(&r), 4);
    free(mem);
}

#define MPMC_ITEMS 20000u /* of each producer */

typedef struct mpmc_run {
    gmk_mpmc_t ring;
    uint32_t producers, batch;
    gmk_a32_t left;      /* items nobody popped yet */
    unsigned char *seen; /* [producers][MPMC_ITEMS], written by whoever popped the item */
    gmk_a32_t broken;
} mpmc_run_t;

typedef struct mpmc_side {
    mpmc_run_t *run;
    uint32_t index;
} mpmc_side_t;

static void mpmc_produce(mpmc_run_t *run, uint32_t self)
{
    item_t items[8];

    for (uint64_t n = 0; n < MPMC_ITEMS;) {
        uint32_t want = run->batch, got;

        if (want > MPMC_ITEMS - n)
            want = (uint32_t)(MPMC_ITEMS - n);
        for (uint32_t i = 0; i < want; i++)
            items[i] = item_make(self, n + i);
        got = gmk_mpmc_push_n(&run->ring, items, sizeof(item_t), want);
        if (got == 0)
            sched_yield();
        n += got;
    }
}

static void mpmc_consume(mpmc_run_t *run)
{
    uint64_t last[THREADS_MAX] = {0}; /* 1 + number of the last item of each producer */
    bool broken = false;
    item_t items[8];

    while (gmk_load32(&run->left, GMK_RLX, GMK_KERNEL) != 0) {
        uint32_t got = gmk_mpmc_pop_n(&run->ring, items, sizeof(item_t), run->batch);

        if (got == 0)
            sched_yield();
        for (uint32_t i = 0; i < got; i++) {
            item_t *it = &items[i];

            if (!item_whole(it) || it->producer >= run->producers || it->number >= MPMC_ITEMS) {
                broken = true;
                continue;
            }
            broken |= it->number + 1 <= last[it->producer];
            last[it->producer] = it->number + 1;
            run->seen[it->producer * MPMC_ITEMS + it->number]++;
        }
        broken |= gmk_mpmc_count(&run->ring) > run->ring.mask + 1;
        (void)gmk_sub32(&run->left, got, GMK_RLX, GMK_KERNEL);
    }
    if (broken)
        gmk_store32(&run->broken, 1, GMK_RLX, GMK_KERNEL);
}

static void *mpmc_side(void *arg)
{
    mpmc_side_t *side = arg;

    if (side->index < side->run->producers)
        mpmc_produce(side->run, side->index);
    else
        mpmc_consume(side->run);
    return NULL;
}

static void mpmc_threads(uint32_t producers, uint32_t consumers, uint32_t batch, uint32_t capacity)
{
    mpmc_run_t *run = lines(sizeof *run);
    void *mem = lines(gmk_mpmc_bytes(capacity, sizeof(item_t)));
    mpmc_side_t sides[2 * THREADS_MAX];
    void *args[2 * THREADS_MAX];

    assert_int_equal(gmk_mpmc_init(&run->ring, mem, capacity, sizeof(item_t)), GMK_OK);
    run->producers = producers;
    run->batch = batch;
    run->seen = calloc(producers, MPMC_ITEMS);
    assert_non_null(run->seen);
    gmk_store32(&run->left, producers * MPMC_ITEMS, GMK_RLX, GMK_KERNEL);
    gmk_store32(&run->broken, 0, GMK_RLX, GMK_KERNEL);
    for (uint32_t i = 0; i < producers + consumers; i++) {
        sides[i] = (mpmc_side_t){run, i};
        args[i] = &sides[i];
    }
    run_threads(producers + consumers, mpmc_side, args);
    assert_int_equal(gmk_load32(&run->broken, GMK_RLX, GMK_KERNEL), 0);
    for (uint32_t i = 0; i < producers * MPMC_ITEMS; i++)
        assert_int_equal(run->seen[i], 1);
    assert_true(gmk_mpmc_empty(&run->ring));
    free(run->seen);
    free(mem);
    free(run);
}

static void test_mpmc_threads(void **state)
{
    (void)state;
    mpmc_threads(1, 1, 1, 64);
    mpmc_threads(2, 2, 1, 4);
    mpmc_threads(3, 3, 1, 64);
    mpmc_threads(2, 2, 8, 64);
    mpmc_threads(3, 2, 5, 4);
}

/* ---- mpsc --------------------------------------------------------------------------------- */

typedef struct linked {
    gmk_link_t link;
    uint32_t producer;
    uint32_t number;
} linked_t;

static void test_mpsc_single(void **state)
{
    gmk_mpsc_t q;
    linked_t n[4];

    (void)state;
    gmk_mpsc_init(&q);
    assert_true(gmk_mpsc_empty(&q));
    assert_null(gmk_mpsc_pop(&q));
    for (uint32_t lap = 0; lap < 3; lap++) {
        gmk_mpsc_push(&q, &n[0].link);
        assert_false(gmk_mpsc_empty(&q));
        assert_ptr_equal(gmk_mpsc_pop(&q), &n[0]);
        assert_true(gmk_mpsc_empty(&q));
        assert_null(gmk_mpsc_pop(&q));
        for (uint32_t i = 0; i < 4; i++)
            gmk_mpsc_push(&q, &n[i].link);
        for (uint32_t i = 0; i < 4; i++) {
            assert_false(gmk_mpsc_empty(&q));
            assert_ptr_equal(gmk_mpsc_pop(&q), &n[i]);
        }
        assert_true(gmk_mpsc_empty(&q));
    }
    /* A node that was popped is free to be pushed again at once. */
    gmk_mpsc_push(&q, &n[0].link);
    gmk_mpsc_push(&q, &n[1].link);
    assert_ptr_equal(gmk_mpsc_pop(&q), &n[0]);
    gmk_mpsc_push(&q, &n[0].link);
    assert_ptr_equal(gmk_mpsc_pop(&q), &n[1]);
    assert_ptr_equal(gmk_mpsc_pop(&q), &n[0]);
    assert_null(gmk_mpsc_pop(&q));
}

static void test_mpsc_chain(void **state)
{
    gmk_mpsc_t q;
    linked_t n[5];

    (void)state;
    gmk_mpsc_init(&q);
    gmk_mpsc_push(&q, &n[0].link);
    for (uint32_t i = 1; i < 3; i++)
        gmk_store64(&n[i].link.next, gmk_link_word(&n[i + 1].link), GMK_RLX, GMK_KERNEL);
    gmk_mpsc_push_chain(&q, &n[1].link, &n[3].link);
    gmk_mpsc_push(&q, &n[4].link);
    for (uint32_t i = 0; i < 5; i++)
        assert_ptr_equal(gmk_mpsc_pop(&q), &n[i]);
    assert_true(gmk_mpsc_empty(&q));
}

/* A producer that stands between its two steps hides what comes behind, and nothing is lost. */
static void test_mpsc_half_push(void **state)
{
    gmk_mpsc_t q;
    linked_t n[3];
    uint64_t before;

    (void)state;
    gmk_mpsc_init(&q);
    for (uint32_t first = 0; first < 2; first++) { /* behind the dummy, then behind a node */
        if (first != 0)
            gmk_mpsc_push(&q, &n[2].link);
        gmk_store64(&n[0].link.next, 0, GMK_RLX, GMK_KERNEL);
        before = gmk_xchg64(&q.tail, gmk_link_word(&n[0].link), GMK_ACQ_REL, GMK_KERNEL);
        gmk_mpsc_push(&q, &n[1].link);
        for (uint32_t i = 0; i < 3; i++) {
            assert_null(gmk_mpsc_pop(&q));
            assert_false(gmk_mpsc_empty(&q));
        }
        gmk_store64(&gmk_link_at(before)->next, gmk_link_word(&n[0].link), GMK_REL, GMK_KERNEL);
        if (first != 0)
            assert_ptr_equal(gmk_mpsc_pop(&q), &n[2]);
        assert_ptr_equal(gmk_mpsc_pop(&q), &n[0]);
        assert_ptr_equal(gmk_mpsc_pop(&q), &n[1]);
        assert_true(gmk_mpsc_empty(&q));
        assert_null(gmk_mpsc_pop(&q));
    }
}

#define MPSC_ITEMS 20000u /* of each producer */

typedef struct mpsc_run {
    gmk_mpsc_t q;
    gmk_a32_t flag; /* held by the consumer of the moment */
    gmk_a32_t left;
    gmk_a32_t broken;
    uint32_t next[THREADS_MAX]; /* next number of each producer; the flag's holder's */
    linked_t *nodes;            /* [THREADS_MAX][MPSC_ITEMS] */
} mpsc_run_t;

typedef struct mpsc_side {
    mpsc_run_t *run;
    uint32_t index;
} mpsc_side_t;

static void mpsc_produce(mpsc_run_t *run, uint32_t self)
{
    linked_t *mine = run->nodes + (size_t)self * MPSC_ITEMS;

    for (uint32_t n = 0; n < MPSC_ITEMS;) {
        uint32_t last = n + n % 3;

        last = last < MPSC_ITEMS ? last : MPSC_ITEMS - 1;
        for (uint32_t i = n; i <= last; i++) {
            mine[i].producer = self;
            mine[i].number = i;
            if (i < last)
                gmk_store64(&mine[i].link.next, gmk_link_word(&mine[i + 1].link), GMK_RLX, GMK_KERNEL);
        }
        gmk_mpsc_push_chain(&run->q, &mine[n].link, &mine[last].link);
        n = last + 1;
    }
}

static void mpsc_consume(mpsc_run_t *run)
{
    while (gmk_load32(&run->left, GMK_RLX, GMK_KERNEL) != 0) {
        uint32_t clear = 0, got = 0;
        linked_t *n;

        if (!gmk_cas32(&run->flag, &clear, 1, GMK_ACQ, GMK_KERNEL)) {
            sched_yield();
            continue;
        }
        while (got < 50 && (n = (linked_t *)(void *)gmk_mpsc_pop(&run->q)) != NULL) {
            if (n->number != run->next[n->producer]++)
                gmk_store32(&run->broken, 1, GMK_RLX, GMK_KERNEL);
            got++;
        }
        gmk_store32(&run->flag, 0, GMK_REL, GMK_KERNEL);
        (void)gmk_sub32(&run->left, got, GMK_RLX, GMK_KERNEL);
        if (got == 0)
            sched_yield();
    }
}

static void *mpsc_side(void *arg)
{
    mpsc_side_t *side = arg;

    if (side->index < THREADS_MAX)
        mpsc_produce(side->run, side->index);
    else
        mpsc_consume(side->run);
    return NULL;
}

static void test_mpsc_threads(void **state)
{
    mpsc_run_t *run = lines(sizeof *run);
    mpsc_side_t sides[THREADS_MAX + 2];
    void *args[THREADS_MAX + 2];

    (void)state;
    memset(run, 0, sizeof *run);
    gmk_mpsc_init(&run->q);
    gmk_store32(&run->left, THREADS_MAX * MPSC_ITEMS, GMK_RLX, GMK_KERNEL);
    run->nodes = calloc((size_t)THREADS_MAX * MPSC_ITEMS, sizeof *run->nodes);
    assert_non_null(run->nodes);
    for (uint32_t i = 0; i < THREADS_MAX + 2; i++) {
        sides[i] = (mpsc_side_t){run, i};
        args[i] = &sides[i];
    }
    run_threads(THREADS_MAX + 2, mpsc_side, args);
    assert_int_equal(gmk_load32(&run->broken, GMK_RLX, GMK_KERNEL), 0);
    for (uint32_t i = 0; i < THREADS_MAX; i++)
        assert_int_equal(run->next[i], MPSC_ITEMS);
    assert_true(gmk_mpsc_empty(&run->q));
    free(run->nodes);
    free(run);
}

/* ---- slab --------------------------------------------------------------------------------- */

static void test_slab_errors(void **state)
{
    gmk_slab_t s;
    unsigned char *mem = lines(4096);

    (void)state;
    assert_int_equal(gmk_slab_init(NULL, 16), GMK_ERR_INVAL);
    assert_int_equal(gmk_slab_init(&s, 7), GMK_ERR_RANGE);
    assert_int_equal(gmk_slab_init(&s, ((size_t)1 << 20) + 1), GMK_ERR_RANGE);
    assert_int_equal(gmk_slab_init(&s, 40), GMK_OK);
    assert_int_equal(gmk_slab_object_bytes(&s), 48);
    assert_null(gmk_slab_alloc(&s, NULL));
    assert_false(gmk_slab_reserve(&s, 1));
    assert_true(gmk_slab_reserve(&s, 0));
    assert_int_equal(gmk_slab_add_segment(NULL, mem, 1), GMK_ERR_INVAL);
    assert_int_equal(gmk_slab_add_segment(&s, NULL, 1), GMK_ERR_INVAL);
    assert_int_equal(gmk_slab_add_segment(&s, mem + 8, 1), GMK_ERR_INVAL);
    assert_int_equal(gmk_slab_add_segment(&s, mem, 0), GMK_ERR_RANGE);
    assert_int_equal(gmk_slab_add_segment(&s, mem, GMK_SLAB_MAX), GMK_ERR_LIMIT);
    for (uint32_t i = 0; i < GMK_SLAB_SEGMENTS; i++)
        assert_int_equal(gmk_slab_add_segment(&s, mem + i * 48, 1), GMK_OK);
    assert_int_equal(gmk_slab_add_segment(&s, mem + GMK_SLAB_SEGMENTS * 48, 1), GMK_ERR_LIMIT);
    assert_int_equal(gmk_slab_capacity(&s), GMK_SLAB_SEGMENTS);
    free(mem);
}

/* Allocates all there is, each object once and inside its segment; frees all in another order. */
static void slab_all(gmk_slab_t *s, gmk_slab_cache_t *cache, unsigned char **mem, uint32_t per, uint32_t n)
{
    unsigned char **got = calloc(n, sizeof *got);

    assert_non_null(got);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t seg = 0;

        got[i] = gmk_slab_alloc(s, cache);
        assert_non_null(got[i]);
        while (got[i] < mem[seg] || got[i] >= mem[seg] + (size_t)per * 48)
            seg++;
        assert_int_equal((got[i] - mem[seg]) % 48, 0);
        assert_int_not_equal(got[i][8], 0xa5);
        memset(got[i] + 8, 0xa5, 40);
    }
    assert_null(gmk_slab_alloc(s, cache));
    assert_int_equal(gmk_slab_free_count(s), 0);
    for (uint32_t i = 0; i < n; i++) {
        unsigned char *p = got[i * 7 % n];

        assert_int_equal(p[8], 0xa5);
        memset(p + 8, 0, 40);
        gmk_slab_free(s, cache, p);
        assert_true(cache == NULL || gmk_slab_cache_count(cache) <= GMK_SLAB_CACHE);
    }
    free(got);
}

static void test_slab_single(void **state)
{
    gmk_slab_t *s = lines(sizeof *s);
    gmk_slab_cache_t *cache = lines(sizeof *cache);
    unsigned char *mem[3];

    (void)state;
    memset(cache, 0, sizeof *cache);
    assert_int_equal(gmk_slab_init(s, 48), GMK_OK);
    for (uint32_t i = 0; i < 3; i++) {
        mem[i] = lines(100 * 48);
        memset(mem[i], 0, 100 * 48);
        assert_int_equal(gmk_slab_add_segment(s, mem[i], 100), GMK_OK);
        assert_int_equal(gmk_slab_capacity(s), 100 * (i + 1));
        assert_int_equal(gmk_slab_free_count(s), 100 * (i + 1));
    }
    gmk_slab_free(s, cache, NULL);
    for (uint32_t lap = 0; lap < 3; lap++) {
        slab_all(s, NULL, mem, 100, 300);
        assert_int_equal(gmk_slab_free_count(s), 300);
        slab_all(s, cache, mem, 100, 300);
        assert_int_equal(gmk_slab_free_count(s) + gmk_slab_cache_count(cache), 300);
        gmk_slab_cache_flush(s, cache);
        gmk_slab_cache_flush(s, cache);
        assert_int_equal(gmk_slab_free_count(s), 300);
        assert_int_equal(gmk_slab_cache_count(cache), 0);
    }
    for (uint32_t i = 0; i < 3; i++)
        free(mem[i]);
    free(cache);
    free(s);
}

static void test_slab_reserve(void **state)
{
    gmk_slab_t *s = lines(sizeof *s);
    unsigned char *mem = lines(100 * 16);

    (void)state;
    assert_int_equal(gmk_slab_init(s, 16), GMK_OK);
    assert_int_equal(gmk_slab_add_segment(s, mem, 100), GMK_OK);
    assert_false(gmk_slab_reserve(s, 101));
    assert_true(gmk_slab_reserve(s, 100));
    assert_false(gmk_slab_reserve(s, 1));
    assert_int_equal(gmk_slab_reserved(s), 100);
    gmk_slab_unreserve(s, 60);
    gmk_slab_set_stranding(s, 32);
    assert_false(gmk_slab_reserve(s, 29));
    assert_false(gmk_slab_reserve(s, UINT32_MAX));
    assert_true(gmk_slab_reserve(s, 28));
    gmk_slab_set_stranding(s, 101);
    assert_false(gmk_slab_reserve(s, 1));
    gmk_slab_unreserve(s, 68);
    assert_int_equal(gmk_slab_reserved(s), 0);
    free(mem);
    free(s);
}

/* The list's head word never comes back, though the same object does: every change counts the tag up. */
static void test_slab_tag(void **state)
{
    gmk_slab_t *s = lines(sizeof *s);
    unsigned char *mem = lines(2 * 16);
    uint64_t word[3];
    void *p;

    (void)state;
    assert_int_equal(gmk_slab_init(s, 16), GMK_OK);
    assert_int_equal(gmk_slab_add_segment(s, mem, 2), GMK_OK);
    word[0] = gmk_load64(&s->head, GMK_RLX, GMK_KERNEL);
    p = gmk_slab_alloc(s, NULL);
    word[1] = gmk_load64(&s->head, GMK_RLX, GMK_KERNEL);
    gmk_slab_free(s, NULL, p);
    word[2] = gmk_load64(&s->head, GMK_RLX, GMK_KERNEL);
    assert_int_equal((uint32_t)word[0], (uint32_t)word[2]);
    assert_int_equal((word[1] >> 32) - (word[0] >> 32), 1);
    assert_int_equal((word[2] >> 32) - (word[1] >> 32), 1);
    free(mem);
    free(s);
}

#define SLAB_THREADS 4u
#define SLAB_OBJECTS (SLAB_THREADS * GMK_SLAB_CACHE + 40u)
#define SLAB_ROUNDS 4000u

typedef struct slab_object {
    gmk_link_t link;
    gmk_a32_t owner;
    uint32_t plain; /* a race shows to the sanitizer */
} slab_object_t;

typedef struct slab_run {
    gmk_slab_t slab;
    gmk_slab_cache_t cache[SLAB_THREADS];
    gmk_a32_t missing; /* allocations refused in spite of a reservation */
    gmk_a32_t doubled; /* objects somebody else held too */
} slab_run_t;

typedef struct slab_side {
    slab_run_t *run;
    uint32_t self;
} slab_side_t;

static void slab_take(slab_run_t *run, gmk_slab_cache_t *cache, uint32_t self, slab_object_t **p)
{
    uint32_t nobody = 0;

    *p = gmk_slab_alloc(&run->slab, cache);
    if (*p == NULL) {
        (void)gmk_add32(&run->missing, 1, GMK_RLX, GMK_KERNEL);
        return;
    }
    if (!gmk_cas32(&(*p)->owner, &nobody, self + 1, GMK_RLX, GMK_KERNEL))
        (void)gmk_add32(&run->doubled, 1, GMK_RLX, GMK_KERNEL);
    (*p)->plain++;
    gmk_store64(&(*p)->link.next, UINT64_MAX - self, GMK_RLX, GMK_KERNEL); /* a wild link for late readers */
}

static void slab_give(slab_run_t *run, gmk_slab_cache_t *cache, slab_object_t *p)
{
    if (p == NULL)
        return;
    p->plain++;
    gmk_store32(&p->owner, 0, GMK_RLX, GMK_KERNEL);
    gmk_slab_free(&run->slab, cache, p);
}

static void *slab_side(void *arg)
{
    slab_side_t *side = arg;
    slab_run_t *run = side->run;
    slab_object_t *held[40];

    for (uint32_t round = 0; round < SLAB_ROUNDS; round++) {
        gmk_slab_cache_t *cache = round % 5 == 0 ? NULL : &run->cache[side->self];
        uint32_t n = 1 + (round * 7 + side->self) % 40;

        if (!gmk_slab_reserve(&run->slab, n)) {
            sched_yield();
            continue;
        }
        for (uint32_t i = 0; i < n; i++)
            slab_take(run, cache, side->self, &held[i]);
        for (uint32_t i = 0; i < n; i++)
            slab_give(run, round % 3 == 0 ? NULL : &run->cache[side->self], held[i]);
        gmk_slab_unreserve(&run->slab, n);
        if (round % 64 == 0)
            gmk_slab_cache_flush(&run->slab, &run->cache[side->self]);
    }
    gmk_slab_cache_flush(&run->slab, &run->cache[side->self]);
    return NULL;
}

static void test_slab_threads(void **state)
{
    slab_run_t *run = lines(sizeof *run);
    void *mem = lines(SLAB_OBJECTS * sizeof(slab_object_t));
    slab_side_t sides[SLAB_THREADS];
    void *args[SLAB_THREADS];

    (void)state;
    memset(run, 0, sizeof *run);
    memset(mem, 0, SLAB_OBJECTS * sizeof(slab_object_t));
    assert_int_equal(gmk_slab_init(&run->slab, sizeof(slab_object_t)), GMK_OK);
    assert_int_equal(gmk_slab_add_segment(&run->slab, mem, SLAB_OBJECTS), GMK_OK);
    gmk_slab_set_stranding(&run->slab, SLAB_THREADS * GMK_SLAB_CACHE);
    for (uint32_t i = 0; i < SLAB_THREADS; i++) {
        sides[i] = (slab_side_t){run, i};
        args[i] = &sides[i];
    }
    run_threads(SLAB_THREADS, slab_side, args);
    assert_int_equal(gmk_load32(&run->missing, GMK_RLX, GMK_KERNEL), 0);
    assert_int_equal(gmk_load32(&run->doubled, GMK_RLX, GMK_KERNEL), 0);
    assert_int_equal(gmk_slab_reserved(&run->slab), 0);
    assert_int_equal(gmk_slab_free_count(&run->slab), SLAB_OBJECTS);
    free(mem);
    free(run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spsc_init),          cmocka_unit_test(test_spsc_bounds),
        cmocka_unit_test(test_spsc_count_clamped), cmocka_unit_test(test_spsc_threads),
        cmocka_unit_test(test_mpmc_init),          cmocka_unit_test(test_mpmc_bounds),
        cmocka_unit_test(test_mpmc_pitch),         cmocka_unit_test(test_mpmc_stopped_claimant),
        cmocka_unit_test(test_mpmc_count_clamped), cmocka_unit_test(test_mpmc_threads),
        cmocka_unit_test(test_mpsc_single),        cmocka_unit_test(test_mpsc_chain),
        cmocka_unit_test(test_mpsc_half_push),     cmocka_unit_test(test_mpsc_threads),
        cmocka_unit_test(test_slab_errors),        cmocka_unit_test(test_slab_single),
        cmocka_unit_test(test_slab_reserve),       cmocka_unit_test(test_slab_tag),
        cmocka_unit_test(test_slab_threads),
    };

    return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
