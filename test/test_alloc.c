/* SPDX-License-Identifier: MIT */
/* The heap: classes, spans, caches, counted payloads, and what it does with wrong pointers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bump.h"
#include "debug.h"
#include "heap.h"

#define AREA (4u << 20)
#define SPAN ((size_t)GMK_SPAN_BYTES)
#define MOST (AREA / 32)

typedef struct fixture {
    gmk_heap_t h;
    gmk_heap_cache_t a, b;
    unsigned char *area;
    void **got; /* [MOST] */
} fixture_t;

static int set_up(void **state)
{
    fixture_t *f = aligned_alloc(GMK_CACHE_LINE, (sizeof *f + 63) & ~(size_t)63);
    assert_non_null(f);
    f->area = malloc(AREA);
    f->got = calloc(MOST, sizeof *f->got);
    assert_non_null(f->area);
    assert_non_null(f->got);
    memset(f->area, 0xA5, AREA);
    assert_int_equal(gmk_heap_init(&f->h, f->area, AREA), GMK_OK);
    gmk_heap_cache_init(&f->a);
    gmk_heap_cache_init(&f->b);
    gmk_heap_cache_register(&f->h, &f->a);
    gmk_heap_cache_register(&f->h, &f->b);
    *state = f;
    return 0;
}

static gmk_mem_stats_t stats(fixture_t *f)
{
    gmk_mem_stats_t s;
    memset(&s, 0, sizeof s);
    gmk_heap_stats(&f->h, &s);
    return s;
}

/* Every test ends with all memory back. */
static int tear_down(void **state)
{
    fixture_t *f = *state;
    gmk_heap_cache_flush(&f->h, &f->a);
    gmk_heap_cache_flush(&f->h, &f->b);
    gmk_mem_stats_t s = stats(f);
    bool back = s.spans_used == 0 && s.block_bytes_used == 0 && s.payloads_live == 0 && s.objects_live == 0;
    free(f->area);
    free(f->got);
    free(f);
    return back ? 0 : -1;
}

static size_t class_bytes(uint32_t cls) { return (size_t)32 << cls; }

static uint32_t fill(fixture_t *f, size_t size)
{
    uint32_t n = 0;
    while ((f->got[n] = gmk_heap_alloc(&f->h, &f->a, size)) != NULL) {
        memset(f->got[n], (int)(n & 0x7f), size);
        n++;
    }
    return n;
}

static void empty(fixture_t *f, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        assert_true(gmk_heap_free(&f->h, &f->a, f->got[i]));
}

/* ---- set-up and questions ------------------------------------------------------------------ */

static void test_init(void **state)
{
    fixture_t *f = *state;
    static gmk_heap_t h;
    assert_int_equal(gmk_heap_init(NULL, f->area, AREA), GMK_ERR_INVAL);
    assert_int_equal(gmk_heap_init(&h, NULL, AREA), GMK_ERR_INVAL);
    assert_int_equal(gmk_heap_init(&h, f->area, SIZE_MAX), GMK_ERR_INVAL);
    assert_int_equal(gmk_heap_init(&h, f->area, 0), GMK_ALLOC_FAIL);
    assert_int_equal(gmk_heap_init(&h, f->area, SPAN), GMK_ALLOC_FAIL);
    unsigned char *mine = malloc(6 * SPAN + 7);
    assert_non_null(mine);
    for (size_t bytes = SPAN; bytes <= 5 * SPAN; bytes += SPAN / 2 + 77) {
        int rc = gmk_heap_init(&h, mine + 7, bytes);
        if (rc == GMK_ALLOC_FAIL) {
            assert_true(bytes < 2 * SPAN + 4096);
            continue;
        }
        assert_int_equal(rc, GMK_OK);
        assert_int_equal(h.base % SPAN, 0);
        assert_true(h.base > (uintptr_t)mine + 7);
        assert_true(h.base + h.spans * SPAN <= (uintptr_t)mine + 7 + bytes);
        assert_true((h.spans + 2) * SPAN + SPAN / 4 > bytes); /* alignment and descriptions take no more */
    }
    free(mine);
    assert_in_range(f->h.spans, AREA / SPAN - 2, AREA / SPAN - 1);
}

static void test_contains(void **state)
{
    fixture_t *f = *state;
    unsigned char *base = (unsigned char *)f->h.base;
    uint64_t all = f->h.spans * SPAN;
    assert_true(gmk_heap_contains(&f->h, base, 0));
    assert_true(gmk_heap_contains(&f->h, base, all));
    assert_true(gmk_heap_contains(&f->h, base + all - 1, 1));
    assert_true(gmk_heap_contains(&f->h, base + all, 0));
    assert_false(gmk_heap_contains(&f->h, base, all + 1));
    assert_false(gmk_heap_contains(&f->h, base + 1, all));
    assert_false(gmk_heap_contains(&f->h, base - 1, 1));
    assert_false(gmk_heap_contains(&f->h, base + 16, UINT64_MAX));
    assert_false(gmk_heap_contains(&f->h, base + 16, UINT64_MAX - 15));
    assert_false(gmk_heap_contains(&f->h, NULL, 0));
    assert_false(gmk_heap_contains(&f->h, &all, 8));
}

/* ---- blocks -------------------------------------------------------------------------------- */

static void test_every_class_is_aligned_and_fits(void **state)
{
    fixture_t *f = *state;
    for (uint32_t cls = 0; cls < GMK_HEAP_CLASSES; cls++) {
        size_t bytes = class_bytes(cls), sizes[3] = {cls == 0 ? 1 : bytes / 2 + 1, bytes - 1, bytes};
        for (uint32_t i = 0; i < 3; i++) {
            unsigned char *p = gmk_heap_alloc(&f->h, &f->a, sizes[i]);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % bytes, 0);
            assert_int_equal(gmk_heap_block_size(&f->h, p), bytes);
            assert_true(gmk_heap_contains(&f->h, p, bytes));
            memset(p, 0xFF, bytes);
            f->got[i] = p;
        }
        empty(f, 3);
    }
}

static void test_sizes_refused(void **state)
{
    fixture_t *f = *state;
    size_t bad[] = {0,
                    SIZE_MAX,
                    SIZE_MAX - 1,
                    SIZE_MAX - SPAN,
                    SIZE_MAX - SPAN + 2,
                    SIZE_MAX / 2,
                    f->h.spans * SPAN + 1,
                    (size_t)1 << 48};
    for (uint32_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(gmk_heap_alloc(&f->h, &f->a, bad[i]));
        assert_null(gmk_heap_alloc(&f->h, NULL, bad[i]));
        assert_null(gmk_payload_new(&f->h, &f->a, bad[i]));
    }
    assert_int_equal(stats(f).alloc_fails, 3 * sizeof bad / sizeof *bad);
    assert_int_equal(stats(f).spans_used, 0);
}

static int by_address(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t) * (void *const *)a, y = (uintptr_t) * (void *const *)b;
    return x < y ? -1 : x > y;
}

static void test_exhaustion_and_recovery(void **state)
{
    fixture_t *f = *state;
    for (uint32_t cls = 0; cls < GMK_HEAP_CLASSES; cls++) {
        size_t bytes = class_bytes(cls);
        uint32_t n = fill(f, bytes);
        assert_int_equal(n, f->h.spans * f->h.cls[cls].blocks);
        if (!GMK_DEBUG_ON)
            assert_true(n * bytes >= f->h.spans * SPAN / 8 * 7);
        assert_int_equal(stats(f).spans_used, f->h.spans);
        assert_int_equal(stats(f).block_bytes_used, n * bytes);
        assert_int_equal(stats(f).objects_live, GMK_DEBUG_ON ? n : 0);
        assert_int_equal(stats(f).alloc_fails, cls + 1);
        qsort(f->got, n, sizeof *f->got, by_address);
        for (uint32_t i = 1; i < n; i++)
            assert_true((char *)f->got[i] - (char *)f->got[i - 1] >= (ptrdiff_t)bytes);
        empty(f, n);
        gmk_heap_cache_flush(&f->h, &f->a);
        assert_int_equal(stats(f).spans_used, 0);
    }
}

static void test_content_survives_neighbours(void **state)
{
    fixture_t *f = *state;
    uint32_t n = fill(f, 64);
    for (uint32_t i = 0; i < n; i += 2)
        assert_true(gmk_heap_free(&f->h, i & 2 ? &f->b : &f->a, f->got[i]));
    for (uint32_t i = 1; i < n; i += 2)
        for (uint32_t k = 0; k < 64; k++)
            assert_int_equal(((unsigned char *)f->got[i])[k], i & 0x7f);
    for (uint32_t i = 1; i < n; i += 2)
        assert_true(gmk_heap_free(&f->h, NULL, f->got[i]));
}

/* No class runs dry while another has room, though the caller's own cache still holds blocks. */
static void test_spans_migrate_between_classes(void **state)
{
    fixture_t *f = *state;
    uint32_t order[] = {0, 11, 3, 10, 0, 6, 11};
    for (uint32_t i = 0; i < sizeof order / sizeof *order; i++) {
        uint32_t n = fill(f, class_bytes(order[i]));
        assert_int_equal(n, f->h.spans * f->h.cls[order[i]].blocks);
        empty(f, n);
    }
    void *all = gmk_heap_alloc(&f->h, &f->a, f->h.spans * SPAN);
    assert_non_null(all);
    assert_true(gmk_heap_free(&f->h, &f->a, all));
}

static void test_runs(void **state)
{
    fixture_t *f = *state;
    size_t all = f->h.spans * SPAN;
    void *p = gmk_heap_alloc(&f->h, &f->a, all);
    assert_int_equal((uintptr_t)p, f->h.base);
    memset(p, 1, all);
    assert_int_equal(gmk_heap_block_size(&f->h, p), all);
    assert_int_equal(stats(f).block_bytes_used, all);
    assert_null(gmk_heap_alloc(&f->h, &f->a, 1));
    assert_true(gmk_heap_free(&f->h, NULL, p));
    assert_int_equal(stats(f).spans_used, 0);

    uint32_t n = fill(f, 3 * SPAN - 5);
    assert_int_equal(n, f->h.spans / 3);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal((uintptr_t)f->got[i] % SPAN, 0);
    for (uint32_t i = 0; i < n; i += 2)
        assert_true(gmk_heap_free(&f->h, &f->a, f->got[i]));
    assert_null(gmk_heap_alloc(&f->h, &f->a, 6 * SPAN)); /* holes of three */
    void *three = gmk_heap_alloc(&f->h, &f->a, 2 * SPAN + 1);
    assert_non_null(three);
    assert_true(gmk_heap_free(&f->h, &f->a, three));
    for (uint32_t i = 1; i < n; i += 2)
        assert_true(gmk_heap_free(&f->h, &f->a, f->got[i]));
    assert_int_equal(stats(f).spans_used, 0);
}

/* Runs that cross words of the map, and runs that fill whole words. */
static void test_runs_across_words(void **state)
{
    (void)state;
    static gmk_heap_t h;
    size_t bytes = 201 * SPAN;
    void *area = malloc(bytes), *low[200], *p;
    uint32_t n = 0;
    assert_non_null(area);
    assert_int_equal(gmk_heap_init(&h, area, bytes), GMK_OK);
    assert_true(h.spans > 192);
    while (n < 60 && (low[n] = gmk_heap_alloc(&h, NULL, SPAN)) != NULL)
        n++;
    assert_int_equal(n, 60);
    for (size_t k = h.spans - 60; k > 1; k--) {
        p = gmk_heap_alloc(&h, NULL, k * SPAN);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p + k * SPAN, h.base + h.spans * SPAN);
        assert_true(gmk_heap_free(&h, NULL, p));
    }
    assert_null(gmk_heap_alloc(&h, NULL, (h.spans - 59) * SPAN));
    assert_true(gmk_heap_free(&h, NULL, low[0]));
    assert_ptr_equal(gmk_heap_alloc(&h, NULL, SPAN), low[0]); /* single spans from the bottom */
    for (uint32_t i = 0; i < n; i++)
        assert_true(gmk_heap_free(&h, NULL, low[i]));
    assert_int_equal(h.pool.used.v, 0);
    free(area);
}

static void cache_is_bounded(fixture_t *f, size_t share, uint32_t least)
{
    for (uint32_t cls = 0; cls < GMK_HEAP_CLASSES; cls++) {
        size_t bytes = class_bytes(cls), most = GMK_HEAP_CACHE_MOST * bytes;
        most = most > share ? share : most;
        most = most < least * bytes ? least * bytes : most;
        uint32_t n = cls < 8 ? 100 : 40;
        for (uint32_t i = 0; i < n; i++)
            assert_non_null(f->got[i] = gmk_heap_alloc(&f->h, &f->a, bytes));
        empty(f, n);
        assert_true(stats(f).block_bytes_used <= most);
        assert_true(stats(f).block_bytes_used >= bytes); /* and there is one */
        gmk_heap_cache_flush(&f->h, &f->a);
        assert_int_equal(stats(f).block_bytes_used, 0);
    }
}

/* Takes whatever there is for everybody, as runs of n spans and then as single ones; returns how many spans. */
static uint64_t take_all(fixture_t *f, uint64_t n, uint32_t *blocks)
{
    uint64_t spans = 0;
    for (void *p; (p = gmk_payload_new(&f->h, &f->a, n * SPAN)) != NULL; spans += n)
        f->got[(*blocks)++] = p;
    for (void *p; (p = gmk_payload_new(&f->h, &f->a, SPAN)) != NULL; spans++)
        f->got[(*blocks)++] = p;
    return spans;
}

static void test_reserve(void **state)
{
    fixture_t *f = *state;
    uint32_t n = 0;
    assert_int_equal(gmk_heap_reserved(&f->h), 0);
    assert_null(gmk_payload_new_reserved(&f->h, &f->a, 1)); /* nobody reserves */
    gmk_heap_reserve(&f->h, true);
    uint64_t kept = gmk_heap_reserved(&f->h);
    assert_int_equal(kept, f->h.spans / 8);
    assert_true(kept >= 5);
    gmk_heap_reserve(&f->h, true);
    gmk_heap_reserve(&f->h, false); /* counted */
    assert_int_equal(take_all(f, 3, &n), f->h.spans - kept);
    void *small = gmk_payload_new_reserved(&f->h, &f->a, 100);
    void *large = gmk_payload_new_reserved(&f->h, &f->a, (kept - 1) * SPAN);
    assert_non_null(small);
    assert_non_null(large);
    assert_null(gmk_payload_new_reserved(&f->h, &f->a, 1));
    assert_int_equal(gmk_heap_block_size(&f->h, small), SPAN);
    assert_int_equal(stats(f).block_bytes_used, f->h.spans * SPAN);
    memset(small, 1, SPAN);
    memset(large, 2, (kept - 1) * SPAN);
    assert_int_equal(gmk_payload_drop(&f->h, &f->a, large), GMK_OK);
    assert_null(gmk_heap_alloc(&f->h, &f->a, SPAN)); /* it is the reserve's again */
    assert_null(gmk_payload_new_reserved(&f->h, &f->a, kept * SPAN));
    assert_int_equal(gmk_payload_drop(&f->h, &f->b, small), GMK_OK);
    large = gmk_payload_new_reserved(&f->h, &f->a, kept * SPAN);
    assert_non_null(large);
    gmk_heap_reserve(&f->h, false); /* what is there stays, and is everybody's when it comes back */
    assert_null(gmk_heap_alloc(&f->h, &f->a, SPAN));
    assert_int_equal(gmk_payload_drop(&f->h, &f->a, large), GMK_OK);
    assert_int_equal(take_all(f, 2, &n), kept);
    while (n > 0)
        assert_int_equal(gmk_payload_drop(&f->h, &f->a, f->got[--n]), GMK_OK);
}

/* What is in use when somebody begins to reserve is not of the reserve. */
static void test_reserve_beside_others(void **state)
{
    fixture_t *f = *state;
    void *top = gmk_payload_new(&f->h, &f->a, 2 * SPAN); /* runs come from the top */
    gmk_heap_reserve(&f->h, true);
    uint64_t kept = gmk_heap_reserved(&f->h);
    assert_int_equal(kept, f->h.spans / 8);
    void *all = gmk_payload_new_reserved(&f->h, &f->a, kept * SPAN);
    assert_non_null(all);
    assert_int_equal(gmk_payload_drop(&f->h, &f->a, all), GMK_OK);
    gmk_heap_reserve(&f->h, false);
    assert_int_equal(gmk_payload_drop(&f->h, &f->a, top), GMK_OK);
}

/* Where every third span is in use there is no run of more than two: a smaller reserve is better than none. */
static void test_reserve_in_pieces(void **state)
{
    fixture_t *f = *state;
    uint32_t n = 0;
    (void)take_all(f, 1, &n);
    for (uint32_t i = 0; i < n; i++)
        if (i % 3 != 0)
            assert_int_equal(gmk_payload_drop(&f->h, NULL, f->got[i]), GMK_OK);
    gmk_heap_reserve(&f->h, true);
    assert_in_range(gmk_heap_reserved(&f->h), 1, 2);
    void *p = gmk_payload_new_reserved(&f->h, &f->a, gmk_heap_reserved(&f->h) * SPAN);
    assert_non_null(p);
    assert_null(gmk_payload_new_reserved(&f->h, &f->a, 1));
    assert_int_equal(gmk_payload_drop(&f->h, &f->a, p), GMK_OK);
    gmk_heap_reserve(&f->h, false);
    for (uint32_t i = 0; i < n; i += 3)
        assert_int_equal(gmk_payload_drop(&f->h, &f->a, f->got[i]), GMK_OK);
}

/* Where little is free, half of it is left for others. */
static void test_reserve_of_little(void **state)
{
    fixture_t *f = *state;
    uint32_t n = 0;
    (void)take_all(f, 1, &n);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(gmk_payload_drop(&f->h, NULL, f->got[--n]), GMK_OK);
    gmk_heap_reserve(&f->h, true);
    assert_int_equal(gmk_heap_reserved(&f->h), 4);
    void *p = gmk_payload_new(&f->h, &f->a, 4 * SPAN);
    assert_non_null(p);
    assert_int_equal(gmk_payload_drop(&f->h, &f->a, p), GMK_OK);
    gmk_heap_reserve(&f->h, false);
    while (n > 0)
        assert_int_equal(gmk_payload_drop(&f->h, &f->a, f->got[--n]), GMK_OK);
}

/* Without a free span there is no reserve. */
static void test_reserve_of_nothing(void **state)
{
    fixture_t *f = *state;
    uint32_t n = 0;
    (void)take_all(f, 1, &n);
    gmk_heap_reserve(&f->h, true);
    assert_int_equal(gmk_heap_reserved(&f->h), 0);
    assert_null(gmk_payload_new_reserved(&f->h, &f->a, 1));
    gmk_heap_reserve(&f->h, false);
    while (n > 0)
        assert_int_equal(gmk_payload_drop(&f->h, &f->a, f->got[--n]), GMK_OK);
}

static void test_cache_is_bounded(void **state)
{
    fixture_t *f = *state;
    cache_is_bounded(f, f->h.spans * SPAN / GMK_HEAP_CACHE_SHARE, 2);
    gmk_heap_cache_init(&f->b); /* one that nobody registered with a small heap */
    gmk_heap_cache_t registered = f->a;
    f->a = f->b;
    cache_is_bounded(f, GMK_HEAP_CACHE_BYTES, GMK_HEAP_CACHE_LEAST);
    f->a = registered;
    gmk_heap_cache_flush(&f->h, NULL);
}

/* What was freed last is handed out first: it is warm. */
static void test_last_freed_first(void **state)
{
    fixture_t *f = *state;
    void *p = gmk_heap_alloc(&f->h, &f->a, 100), *q = gmk_heap_alloc(&f->h, &f->a, 100);
    assert_true(gmk_heap_free(&f->h, &f->a, p));
    assert_true(gmk_heap_free(&f->h, &f->a, q));
    assert_ptr_equal(gmk_heap_alloc(&f->h, &f->a, 100), q);
    assert_ptr_equal(gmk_heap_alloc(&f->h, &f->a, 100), p);
    assert_true(gmk_heap_free(&f->h, &f->a, p));
    assert_true(gmk_heap_free(&f->h, &f->a, q));
}

static void test_without_cache(void **state)
{
    fixture_t *f = *state;
    for (uint32_t cls = 0; cls < GMK_HEAP_CLASSES; cls++) {
        uint32_t n = 0;
        while ((f->got[n] = gmk_heap_alloc(&f->h, NULL, class_bytes(cls))) != NULL)
            n++;
        assert_int_equal(n, f->h.spans * f->h.cls[cls].blocks);
        for (uint32_t i = 0; i < n; i++)
            assert_true(gmk_heap_free(&f->h, NULL, f->got[n - 1 - i]));
        assert_int_equal(stats(f).spans_used, 0);
    }
}

/* ---- wrong pointers ------------------------------------------------------------------------ */

static void refuse(fixture_t *f, void *p)
{
    uint64_t before = stats(f).bad_frees;
    assert_false(gmk_heap_free(&f->h, &f->a, p));
    assert_false(gmk_heap_free(&f->h, NULL, p));
    assert_int_equal(stats(f).bad_frees, before + 2);
    assert_int_equal(gmk_payload_add(&f->h, p, 1), GMK_ERR_INVAL);
    assert_int_equal(gmk_payload_drop(&f->h, &f->a, p), GMK_ERR_INVAL);
    assert_int_equal(gmk_payload_count(&f->h, p), 0);
    assert_int_equal(gmk_heap_block_size(&f->h, p), 0);
}

static void test_wild_frees(void **state)
{
    fixture_t *f = *state;
    unsigned char *base = (unsigned char *)f->h.base, *end = base + f->h.spans * SPAN;
    int local;
    assert_true(gmk_heap_free(&f->h, &f->a, NULL));
    assert_true(gmk_heap_free(&f->h, NULL, NULL));
    assert_int_equal(stats(f).bad_frees, 0);
    refuse(f, &local);
    refuse(f, f->area);
    refuse(f, base - 32);
    refuse(f, end);
    refuse(f, (void *)UINTPTR_MAX);
    refuse(f, end - SPAN); /* in a span nobody uses */
    for (uint32_t cls = 0; cls < GMK_HEAP_CLASSES; cls++) {
        unsigned char *p = gmk_heap_alloc(&f->h, &f->a, class_bytes(cls));
        assert_non_null(p);
        refuse(f, p + 1);
        refuse(f, p + 16);
        refuse(f, p + class_bytes(cls) / 2);
        if (class_bytes(cls) < 2048) /* the counts at the head of the span */
            refuse(f, base + (size_t)(p - base) / SPAN * SPAN);
        assert_true(gmk_heap_free(&f->h, &f->a, p));
    }
    unsigned char *run = gmk_heap_alloc(&f->h, &f->a, 3 * SPAN);
    refuse(f, run + 1);
    refuse(f, run + SPAN);
    refuse(f, run + 2 * SPAN);
    assert_true(gmk_heap_free(&f->h, &f->a, run));
    refuse(f, run);
}

/* Without a cache between, the span knows that the block is back. */
static void test_double_free_of_a_returned_block(void **state)
{
    fixture_t *f = *state;
    if (GMK_DEBUG_ON)
        return; /* said on the console there; see the debug tests */
    for (uint32_t cls = 0; cls < GMK_HEAP_CLASSES; cls++) {
        void *p = gmk_heap_alloc(&f->h, NULL, class_bytes(cls));
        void *q = gmk_heap_alloc(&f->h, NULL, class_bytes(cls));
        uint64_t before = stats(f).bad_frees;
        assert_true(gmk_heap_free(&f->h, NULL, p));
        assert_false(gmk_heap_free(&f->h, NULL, p));
        assert_int_equal(stats(f).bad_frees, before + 1);
        assert_true(gmk_heap_free(&f->h, &f->a, q));
        gmk_heap_cache_flush(&f->h, &f->a);
        assert_int_equal(stats(f).block_bytes_used, 0);
    }
    /* Twice in one cache: the second copy is found when the cache is flushed. */
    void *p = gmk_heap_alloc(&f->h, NULL, 64);
    assert_true(gmk_heap_free(&f->h, &f->a, p));
    (void)gmk_heap_free(&f->h, &f->a, p);
    uint64_t before = stats(f).bad_frees;
    gmk_heap_cache_flush(&f->h, &f->a);
    assert_int_equal(stats(f).bad_frees, before + 1);
    assert_int_equal(stats(f).block_bytes_used, 0);
}

/* ---- payloads ------------------------------------------------------------------------------ */

static void test_payload_counts(void **state)
{
    fixture_t *f = *state;
    size_t sizes[] = {1, 32, 33, 100, 1024, 1025, 2048, 5000, 65536, 65537, 5 * SPAN};
    for (uint32_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        gmk_heap_cache_t *c = i & 1 ? NULL : &f->a;
        unsigned char *p = gmk_payload_new(&f->h, c, sizes[i]), *q = gmk_payload_new(&f->h, &f->b, sizes[i]);
        assert_non_null(p);
        assert_non_null(q);
        memset(p, 0xFF, sizes[i]);
        memset(q, 0, sizes[i]);
        assert_int_equal(stats(f).payloads_live, 2);
        assert_int_equal(gmk_payload_count(&f->h, p), 1);
        assert_int_equal(gmk_payload_add(&f->h, p, 0), GMK_OK);
        assert_int_equal(gmk_payload_add(&f->h, p, 2), GMK_OK);
        assert_int_equal(gmk_payload_add(&f->h, p, UINT32_MAX - 2), GMK_ERR_LIMIT);
        assert_int_equal(gmk_payload_count(&f->h, p), 3);
        assert_int_equal(gmk_payload_drop(&f->h, &f->a, p + 1), GMK_ERR_INVAL);
        assert_int_equal(gmk_payload_add(&f->h, p + 1, 1), GMK_ERR_INVAL);
        for (uint32_t k = 3; k > 0; k--) {
            assert_int_equal(gmk_payload_count(&f->h, p), k);
            assert_int_equal(gmk_payload_drop(&f->h, c, p), GMK_OK);
        }
        assert_int_equal(gmk_payload_count(&f->h, q), 1);
        assert_int_equal(stats(f).payloads_live, 1);
        assert_int_equal(gmk_heap_report_leaks(&f->h, 0), 1);
        assert_int_equal(gmk_payload_drop(&f->h, &f->a, q), GMK_OK);
        assert_int_equal(gmk_heap_report_leaks(&f->h, 0), 0);
    }
    assert_int_equal(stats(f).payloads_live, 0);
}

static void test_payload_keeps_size_and_alignment(void **state)
{
    fixture_t *f = *state;
    for (uint32_t cls = 0; cls < GMK_HEAP_CLASSES; cls++) {
        uint32_t n = 0;
        while ((f->got[n] = gmk_payload_new(&f->h, &f->a, class_bytes(cls))) != NULL) {
            assert_int_equal((uintptr_t)f->got[n] % class_bytes(cls), 0);
            memset(f->got[n++], 0xFF, class_bytes(cls));
        }
        assert_int_equal(n, f->h.spans * f->h.cls[cls].blocks);
        assert_int_equal(gmk_heap_report_leaks(&f->h, 0), n);
        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(gmk_payload_count(&f->h, f->got[i]), 1);
            assert_int_equal(gmk_payload_drop(&f->h, i & 1 ? &f->a : &f->b, f->got[i]), GMK_OK);
        }
        gmk_heap_cache_flush(&f->h, &f->a);
        gmk_heap_cache_flush(&f->h, &f->b);
        assert_int_equal(stats(f).spans_used, 0);
    }
}

static void test_payload_released_twice(void **state)
{
    fixture_t *f = *state;
    size_t sizes[] = {32, 4096};
    for (uint32_t i = 0; i < 2; i++) {
        void *p = gmk_payload_new(&f->h, &f->a, sizes[i]);
        assert_int_equal(gmk_payload_drop(&f->h, &f->a, p), GMK_OK);
        if (GMK_DEBUG_ON)
            continue; /* said on the console there */
        assert_int_equal(gmk_payload_drop(&f->h, &f->a, p), GMK_ERR_STATE);
        assert_int_equal(gmk_payload_add(&f->h, p, 1), GMK_ERR_STATE);
        assert_int_equal(gmk_payload_count(&f->h, p), 0);
        void *plain = gmk_heap_alloc(&f->h, &f->a, sizes[i]);
        assert_ptr_equal(plain, p);
        assert_int_equal(gmk_payload_drop(&f->h, &f->a, plain), GMK_ERR_STATE); /* never a payload */
        assert_true(gmk_heap_free(&f->h, &f->a, plain));
    }
}

static void test_caches_come_and_go(void **state)
{
    fixture_t *f = *state;
    gmk_heap_cache_t *c = aligned_alloc(GMK_CACHE_LINE, sizeof *c);
    assert_non_null(c);
    gmk_heap_cache_init(c);
    gmk_heap_cache_register(&f->h, c);
    void *p = gmk_payload_new(&f->h, c, 40), *q = gmk_payload_new(&f->h, c, 40);
    assert_int_equal(gmk_payload_drop(&f->h, &f->a, q), GMK_OK); /* made there, ended here */
    assert_int_equal(stats(f).payloads_live, 1);
    gmk_heap_cache_unregister(&f->h, c);
    gmk_heap_cache_unregister(&f->h, c); /* the second time there is nothing to do */
    assert_int_equal(stats(f).payloads_live, 1);
    memset(c, 0xEE, sizeof *c);
    free(c);
    assert_int_equal(gmk_payload_drop(&f->h, NULL, p), GMK_OK);
    assert_int_equal(stats(f).payloads_live, 0);
}

/* ---- threads ------------------------------------------------------------------------------- */

#define PIPE 256u

typedef struct shared {
    fixture_t *f;
    gmk_a64_t slot[PIPE];
    gmk_a32_t gate, ok, refused;
    uint32_t rounds;
} shared_t;

typedef struct part {
    shared_t *s;
    gmk_heap_cache_t *c;
    uint64_t rng;
} part_t;

static uint64_t next_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static void meet(gmk_a32_t *gate, uint32_t all)
{
    (void)gmk_add32(gate, 1, GMK_ACQ_REL, GMK_KERNEL);
    for (uint32_t r = 0; gmk_load32(gate, GMK_ACQ, GMK_KERNEL) < all; r++)
        gmk_hal_relax(r);
}

static void run_pair(shared_t *s, void *(*one)(void *), void *(*two)(void *))
{
    part_t p[2] = {{s, &s->f->a, 88172645463325252u}, {s, &s->f->b, 362436069362436069u}};
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, one, &p[0]), 0);
    two(&p[1]);
    pthread_join(t, NULL);
}

/* A block says how long it is and carries one byte value to its end. */
static void *stamped(part_t *p)
{
    uint64_t r = next_random(&p->rng);
    uint32_t size = 8 + (uint32_t)(r >> 8) % (16u << r % 9);
    unsigned char *b = gmk_heap_alloc(&p->s->f->h, p->c, size);
    if (b == NULL)
        return NULL;
    memset(b, (int)(r >> 40 & 0xff), size);
    memcpy(b, &size, sizeof size);
    return b;
}

static bool intact(const unsigned char *b)
{
    uint32_t size;
    memcpy(&size, b, sizeof size);
    for (uint32_t i = 5; i < size; i++)
        if (b[i] != b[4])
            return false;
    return true;
}

static void *swapper(void *arg)
{
    part_t *p = arg;
    shared_t *s = p->s;
    meet(&s->gate, 2);
    for (uint32_t i = 0; i < s->rounds; i++) {
        void *mine = stamped(p);
        gmk_a64_t *slot = &s->slot[next_random(&p->rng) % PIPE];
        uint64_t old = gmk_xchg64(slot, (uintptr_t)mine, GMK_ACQ_REL, GMK_KERNEL);
        if (old != 0) {
            bool good = intact((void *)(uintptr_t)old);
            good = gmk_heap_free(&s->f->h, p->c, (void *)(uintptr_t)old) && good;
            (void)gmk_add32(good ? &s->ok : &s->refused, 1, GMK_RLX, GMK_KERNEL);
        }
    }
    return NULL;
}

static void test_threads_swap_blocks(void **state)
{
    fixture_t *f = *state;
    static shared_t s;
    memset(&s, 0, sizeof s);
    s.f = f;
    s.rounds = 40000;
    run_pair(&s, swapper, swapper);
    assert_int_equal(s.refused.v, 0);
    assert_true(s.ok.v > s.rounds);
    for (uint32_t i = 0; i < PIPE; i++)
        assert_true(gmk_heap_free(&f->h, &f->a, (void *)(uintptr_t)s.slot[i].v));
}

static void *maker(void *arg)
{
    part_t *p = arg;
    for (uint32_t i = 0; i < p->s->rounds;) {
        gmk_a64_t *slot = &p->s->slot[i % PIPE];
        uint64_t *b = gmk_heap_alloc(&p->s->f->h, p->c, i % 3 == 0 ? 32 : i % 3 == 1 ? 700 : 4096);
        if (b == NULL) { /* the other side holds it all: let it go on */
            gmk_hal_relax(256);
            continue;
        }
        b[0] = i++;
        for (uint32_t r = 0; gmk_load64(slot, GMK_ACQ, GMK_KERNEL) != 0; r++)
            gmk_hal_relax(r);
        gmk_store64(slot, (uintptr_t)b, GMK_REL, GMK_KERNEL);
    }
    return NULL;
}

static void *taker(void *arg)
{
    part_t *p = arg;
    for (uint32_t i = 0; i < p->s->rounds; i++) {
        gmk_a64_t *slot = &p->s->slot[i % PIPE];
        uint64_t b = 0;
        for (uint32_t r = 0; (b = gmk_load64(slot, GMK_ACQ, GMK_KERNEL)) == 0; r++)
            gmk_hal_relax(r);
        gmk_store64(slot, 0, GMK_REL, GMK_KERNEL);
        bool good = *(uint64_t *)(uintptr_t)b == i;
        good = gmk_heap_free(&p->s->f->h, p->c, (void *)(uintptr_t)b) && good;
        p->s->ok.v += good;
    }
    return NULL;
}

/* One only allocates, the other only frees: more than the heap holds passes through. */
static void test_free_on_another_thread(void **state)
{
    static shared_t s;
    memset(&s, 0, sizeof s);
    s.f = *state;
    s.rounds = 60000;
    run_pair(&s, maker, taker);
    assert_int_equal(s.ok.v, s.rounds);
}

#define SHARES 500u

/* Both hold one count of each payload and change it at once; whoever is last frees it. */
static void *sharer(void *arg)
{
    part_t *p = arg;
    shared_t *s = p->s;
    for (uint32_t i = 0; i < s->rounds; i++) {
        unsigned char *b = s->f->got[i];
        int rc = GMK_OK;
        meet(&s->gate, 2 * (i + 1));
        b[p->c == &s->f->a] = 1; /* each its own byte; in debug builds the last one overwrites both */
        for (uint32_t k = 0; k < SHARES; k++) {
            rc |= gmk_payload_add(&s->f->h, b, 1);
            rc |= gmk_payload_drop(&s->f->h, p->c, b);
        }
        rc |= gmk_payload_drop(&s->f->h, p->c, b);
        (void)gmk_add32(rc == GMK_OK ? &s->ok : &s->refused, 1, GMK_RLX, GMK_KERNEL);
    }
    return NULL;
}

static void test_threads_share_payloads(void **state)
{
    fixture_t *f = *state;
    static shared_t s;
    memset(&s, 0, sizeof s);
    s.f = f;
    s.rounds = 60;
    for (uint32_t i = 0; i < s.rounds; i++) {
        assert_non_null(f->got[i] = gmk_payload_new(&f->h, NULL, 64));
        assert_int_equal(gmk_payload_add(&f->h, f->got[i], 1), GMK_OK);
    }
    assert_int_equal(stats(f).payloads_live, s.rounds);
    run_pair(&s, sharer, sharer);
    assert_int_equal(s.ok.v, 2 * s.rounds);
    assert_int_equal(stats(f).payloads_live, 0);
}

/* Two release one count: exactly one of them is told that it was too late. */
static void *releaser(void *arg)
{
    part_t *p = arg;
    shared_t *s = p->s;
    for (uint32_t i = 0; i < s->rounds; i++) {
        meet(&s->gate, 2 * (i + 1));
        int rc = gmk_payload_drop(&s->f->h, p->c, s->f->got[i]);
        if (rc == GMK_OK)
            (void)gmk_add32(&s->ok, 1, GMK_RLX, GMK_KERNEL);
        else if (rc == GMK_ERR_STATE || rc == GMK_ERR_INVAL) /* INVAL: the span went back to the pool */
            (void)gmk_add32(&s->refused, 1, GMK_RLX, GMK_KERNEL);
    }
    return NULL;
}

static void test_threads_release_one_count(void **state)
{
    fixture_t *f = *state;
    static shared_t s;
    memset(&s, 0, sizeof s);
    s.f = f;
    s.rounds = GMK_DEBUG_ON ? 3 : 500; /* each is a line on the console in debug builds */
    for (uint32_t i = 0; i < s.rounds; i++)
        assert_non_null(f->got[i] = gmk_payload_new(&f->h, NULL, 2048));
    run_pair(&s, releaser, releaser);
    assert_int_equal(s.ok.v, s.rounds);
    assert_int_equal(s.refused.v, s.rounds);
}

/* ---- the bump region ----------------------------------------------------------------------- */

static void test_bump(void **state)
{
    (void)state;
    _Alignas(16) static unsigned char room[1000];
    gmk_bump_t b;
    gmk_bump_init(&b, room + 3, 900); /* 16 .. 896 */
    unsigned char *p = gmk_bump_alloc(&b, 1), *q = gmk_bump_alloc(&b, 17);
    assert_ptr_equal(p, room + 16);
    assert_ptr_equal(q, room + 32);
    assert_null(gmk_bump_alloc(&b, 0));
    assert_null(gmk_bump_alloc(&b, UINT64_MAX));
    assert_null(gmk_bump_alloc(&b, UINT64_MAX - 15));
    assert_null(gmk_bump_alloc(&b, 900));
    uint64_t left = b.size - 48;
    assert_null(gmk_bump_alloc(&b, left + 1));
    assert_non_null(gmk_bump_alloc(&b, left - 15)); /* rounds up to what is left */
    assert_null(gmk_bump_alloc(&b, 1));
    assert_true(b.base + b.size <= room + 903);
    gmk_bump_clear(&b);
    assert_ptr_equal(gmk_bump_alloc(&b, b.size), p);
    gmk_bump_init(&b, room + 1, 8);
    assert_null(gmk_bump_alloc(&b, 1));
    gmk_bump_init(&b, room, 0);
    assert_null(gmk_bump_alloc(&b, 1));
}

/* ---- debug builds: the console names the task ----------------------------------------------- */

static char said[4096];

/* Runs fn with stderr in a file and keeps what was written. */
static void listen(void (*fn)(fixture_t *), fixture_t *f)
{
    FILE *file = tmpfile();
    int keep = dup(STDERR_FILENO);
    assert_non_null(file);
    assert_true(keep >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    fn(f);
    assert_true(dup2(keep, STDERR_FILENO) >= 0);
    close(keep);
    rewind(file);
    said[fread(said, 1, sizeof said - 1, file)] = 0;
    fclose(file);
}

static void as_task(fixture_t *f, uint32_t type, uint32_t seq)
{
    f->a.owner_type = type;
    f->a.owner_seq = seq;
}

static void free_twice(fixture_t *f)
{
    as_task(f, 7, 70);
    void *p = gmk_heap_alloc(&f->h, &f->a, 100);
    as_task(f, 8, 80);
    assert_true(gmk_heap_free(&f->h, &f->a, p));
    as_task(f, 9, 90);
    assert_false(gmk_heap_free(&f->h, &f->a, p));
    p = gmk_heap_alloc(&f->h, NULL, 2 * SPAN);
    assert_true(gmk_heap_free(&f->h, NULL, p));
    assert_false(gmk_heap_free(&f->h, NULL, p));
}

static void test_debug_double_free(void **state)
{
    listen(free_twice, *state);
    assert_non_null(strstr(said, "double free: block of 128 bytes"));
    assert_non_null(strstr(said, "freed by task type 8 seq 80, found by task type 9 seq 90"));
    assert_int_equal(stats(*state).bad_frees, 2);
}

static void release_twice(fixture_t *f)
{
    as_task(f, 3, 30);
    void *p = gmk_payload_new(&f->h, &f->a, 4096);
    assert_int_equal(gmk_payload_drop(&f->h, &f->a, p), GMK_OK);
    as_task(f, 4, 40);
    assert_int_equal(gmk_payload_drop(&f->h, &f->a, p), GMK_ERR_STATE);
    assert_int_equal(gmk_payload_add(&f->h, p, 1), GMK_ERR_STATE);
    p = gmk_payload_new(&f->h, &f->a, 4096);
    assert_false(gmk_heap_free(&f->h, &f->a, p));
    assert_int_equal(gmk_payload_drop(&f->h, &f->a, p), GMK_OK);
}

static void test_debug_double_release(void **state)
{
    listen(release_twice, *state);
    assert_non_null(strstr(said, "count is 0: block of 4096 bytes"));
    assert_non_null(strstr(said, "freed by task type 3 seq 30, found by task type 4 seq 40"));
    assert_non_null(strstr(said, "free of a payload that is still counted"));
}

static void write_late(fixture_t *f)
{
    for (uint32_t cls = 0; cls < GMK_HEAP_CLASSES; cls += 11) {
        as_task(f, 5, 50 + cls);
        unsigned char *p = gmk_heap_alloc(&f->h, &f->a, class_bytes(cls));
        memset(p, 0, class_bytes(cls));
        assert_true(gmk_heap_free(&f->h, &f->a, p));
        assert_int_equal(p[0], 0xDD);
        assert_int_equal(p[class_bytes(cls) - 1], 0xDD);
        p[class_bytes(cls) - 1] = 1;
        as_task(f, 6, 60);
        assert_ptr_equal(gmk_heap_alloc(&f->h, &f->a, class_bytes(cls)), p);
        assert_true(gmk_heap_free(&f->h, &f->a, p));
    }
}

static void test_debug_write_after_free(void **state)
{
    listen(write_late, *state);
    assert_non_null(strstr(said, "written after free: block of 32 bytes"));
    assert_non_null(strstr(said, "freed by task type 5 seq 50, found by task type 6 seq 60"));
    assert_non_null(strstr(said, "written after free: block of 65536 bytes"));
}

static void leak(fixture_t *f)
{
    for (uint32_t i = 0; i < 5; i++) {
        as_task(f, 11, 110 + i);
        assert_non_null(f->got[i] = gmk_payload_new(&f->h, &f->a, i == 4 ? 2 * SPAN : 64u << i));
    }
    assert_int_equal(gmk_heap_report_leaks(&f->h, 2), 5);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(gmk_payload_drop(&f->h, &f->a, f->got[i]), GMK_OK);
}

static void test_debug_leaks(void **state)
{
    listen(leak, *state);
    assert_non_null(strstr(said, "leaked payload: block of 64 bytes"));
    assert_non_null(strstr(said, "allocated by task type 11 seq 110"));
    assert_non_null(strstr(said, "seq 111"));
    assert_null(strstr(said, "seq 112"));
}

#define HEAP_TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

static int run_debug_tests(void)
{
    const struct CMUnitTest tests[] = {
        HEAP_TEST(test_debug_double_free),
        HEAP_TEST(test_debug_double_release),
        HEAP_TEST(test_debug_write_after_free),
        HEAP_TEST(test_debug_leaks),
    };
    return cmocka_run_group_tests_name("alloc, debug build", tests, NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HEAP_TEST(test_init),
        HEAP_TEST(test_contains),
        HEAP_TEST(test_every_class_is_aligned_and_fits),
        HEAP_TEST(test_sizes_refused),
        HEAP_TEST(test_exhaustion_and_recovery),
        HEAP_TEST(test_content_survives_neighbours),
        HEAP_TEST(test_spans_migrate_between_classes),
        HEAP_TEST(test_runs),
        cmocka_unit_test(test_runs_across_words),
        HEAP_TEST(test_reserve),
        HEAP_TEST(test_reserve_beside_others),
        HEAP_TEST(test_reserve_in_pieces),
        HEAP_TEST(test_reserve_of_little),
        HEAP_TEST(test_reserve_of_nothing),
        HEAP_TEST(test_cache_is_bounded),
        HEAP_TEST(test_last_freed_first),
        HEAP_TEST(test_without_cache),
        HEAP_TEST(test_wild_frees),
        HEAP_TEST(test_double_free_of_a_returned_block),
        HEAP_TEST(test_payload_counts),
        HEAP_TEST(test_payload_keeps_size_and_alignment),
        HEAP_TEST(test_payload_released_twice),
        HEAP_TEST(test_caches_come_and_go),
        HEAP_TEST(test_threads_swap_blocks),
        HEAP_TEST(test_free_on_another_thread),
        HEAP_TEST(test_threads_share_payloads),
        HEAP_TEST(test_threads_release_one_count),
        cmocka_unit_test(test_bump),
    };
    int failed = cmocka_run_group_tests_name("alloc", tests, NULL, NULL);
    return GMK_DEBUG_ON ? failed + run_debug_tests() : failed;
}
