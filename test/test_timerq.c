/* SPDX-License-Identifier: MIT */
/* The timer queue: exact order whatever comes in, and no shape of input that takes quadratic time. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "timerq.h"

#define MANY 20000u

typedef struct fixture {
    gmk_timerq_t *q;
    gmk_tnode_t *nodes; /* [MANY] */
    gmk_tnode_t **heap; /* the reference: a binary heap */
    uint32_t heaped;
    uint64_t rng;
} fixture_t;

static uint64_t next_random(fixture_t *f)
{
    f->rng ^= f->rng << 13;
    f->rng ^= f->rng >> 7;
    f->rng ^= f->rng << 17;
    return f->rng;
}

static int set_up(void **state)
{
    fixture_t *f = calloc(1, sizeof *f);
    void *mem = aligned_alloc(GMK_CACHE_LINE, gmk_timerq_bytes());

    assert_non_null(f);
    assert_non_null(mem);
    f->q = gmk_timerq_init(mem);
    f->nodes = calloc(MANY, sizeof *f->nodes);
    f->heap = calloc(MANY, sizeof *f->heap);
    f->rng = 0x9e3779b97f4a7c15u;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture_t *f = *state;

    free(f->q);
    free(f->nodes);
    free(f->heap);
    free(f);
    return 0;
}

static bool before(const gmk_tnode_t *a, const gmk_tnode_t *b)
{
    return a->key != b->key ? a->key < b->key : a->order < b->order;
}

static void reference_insert(fixture_t *f, gmk_tnode_t *n)
{
    uint32_t i = f->heaped++;

    for (; i != 0 && before(n, f->heap[(i - 1) / 2]); i = (i - 1) / 2)
        f->heap[i] = f->heap[(i - 1) / 2];
    f->heap[i] = n;
}

static gmk_tnode_t *reference_pop(fixture_t *f)
{
    gmk_tnode_t *first = f->heap[0];
    gmk_tnode_t *n = f->heap[--f->heaped];
    uint32_t i = 0;

    for (uint32_t c; (c = 2 * i + 1) < f->heaped; i = c) {
        if (c + 1 < f->heaped && before(f->heap[c + 1], f->heap[c]))
            c++;
        if (!before(f->heap[c], n))
            break;
        f->heap[i] = f->heap[c];
    }
    f->heap[i] = n;
    return first;
}

static void insert(fixture_t *f, gmk_tnode_t *n, uint64_t key, uint64_t order)
{
    n->key = key;
    n->order = order;
    gmk_timerq_insert(f->q, n);
    reference_insert(f, n);
    assert_int_equal(gmk_timerq_count(f->q), f->heaped);
}

/* Pops one from both; they must be the same node (all (key, order) differ). */
static gmk_tnode_t *pop_checked(fixture_t *f)
{
    gmk_tnode_t *expected = reference_pop(f);
    uint64_t key = 0;
    gmk_tnode_t *got;

    assert_true(gmk_timerq_min(f->q, &key));
    assert_true(key == expected->key);
    got = gmk_timerq_pop(f->q);
    assert_ptr_equal(got, expected);
    assert_int_equal(gmk_timerq_count(f->q), f->heaped);
    return got;
}

static void drain_checked(fixture_t *f)
{
    while (f->heaped != 0)
        (void)pop_checked(f);
    assert_false(gmk_timerq_min(f->q, NULL));
    assert_null(gmk_timerq_pop(f->q));
    assert_null(gmk_timerq_pop_due(f->q, UINT64_MAX));
}

static void test_empty(void **state)
{
    fixture_t *f = *state;
    uint64_t key = 7;

    assert_int_equal(gmk_timerq_bytes() % GMK_CACHE_LINE, 0);
    assert_int_equal(gmk_timerq_count(f->q), 0);
    assert_false(gmk_timerq_min(f->q, &key));
    assert_int_equal(key, 7);
    assert_null(gmk_timerq_pop(f->q));
    assert_null(gmk_timerq_pop_due(f->q, UINT64_MAX));
}

static void test_due(void **state)
{
    fixture_t *f = *state;

    insert(f, &f->nodes[0], 100, 2);
    insert(f, &f->nodes[1], 100, 1);
    insert(f, &f->nodes[2], 50, 3);
    assert_true(gmk_timerq_min(f->q, NULL));
    assert_null(gmk_timerq_pop_due(f->q, 49));
    assert_ptr_equal(gmk_timerq_pop_due(f->q, 50), &f->nodes[2]);
    assert_null(gmk_timerq_pop_due(f->q, 99));
    assert_ptr_equal(gmk_timerq_pop_due(f->q, 100), &f->nodes[1]);
    assert_ptr_equal(gmk_timerq_pop_due(f->q, UINT64_MAX), &f->nodes[0]);
    assert_null(gmk_timerq_pop_due(f->q, UINT64_MAX));
}

static void test_bounds(void **state)
{
    static const uint64_t edge[] = {0,         1, 255, 256, UINT32_MAX, (uint64_t)1 << 62, (uint64_t)1 << 63,
                                    UINT64_MAX};
    fixture_t *f = *state;
    uint32_t n = 0;

    for (uint32_t k = 0; k < 8; k++)
        for (uint32_t o = 0; o < 8; o++)
            insert(f, &f->nodes[n++], edge[7 - k], edge[o]);
    drain_checked(f);
    /* Now everything but the very last is earlier than what was popped. */
    for (uint32_t i = 0; i < n; i++)
        insert(f, &f->nodes[i], edge[i % 8], edge[7 - i / 8]);
    drain_checked(f);
}

static void test_earlier_than_popped(void **state)
{
    fixture_t *f = *state;

    insert(f, &f->nodes[0], 1000, 0);
    insert(f, &f->nodes[1], 2000, 1);
    assert_ptr_equal(pop_checked(f), &f->nodes[0]);
    insert(f, &f->nodes[0], 10, 2);
    insert(f, &f->nodes[2], 1000, 3); /* as early as the popped one, with a later number */
    insert(f, &f->nodes[3], 999, 4);
    assert_ptr_equal(pop_checked(f), &f->nodes[0]);
    assert_ptr_equal(pop_checked(f), &f->nodes[3]);
    assert_ptr_equal(pop_checked(f), &f->nodes[2]);
    drain_checked(f);
}

static void test_priority_in_order(void **state)
{
    fixture_t *f = *state;

    for (uint32_t i = 0; i < 4096; i++)
        insert(f, &f->nodes[i], 5 + i % 3, (next_random(f) & 3) << 62 | i);
    drain_checked(f);
}

static void test_identical(void **state)
{
    fixture_t *f = *state;
    uint32_t popped = 0;

    for (uint32_t i = 0; i < MANY; i++) {
        f->nodes[i].key = 9;
        f->nodes[i].order = 9;
        gmk_timerq_insert(f->q, &f->nodes[i]);
    }
    for (gmk_tnode_t *n; (n = gmk_timerq_pop(f->q)) != NULL; popped++) {
        assert_int_equal(n->key, 9);
        n->key = 10; /* each comes out once */
    }
    assert_int_equal(popped, MANY);
}

enum shape {
    RANDOM,
    RANDOM_40_BITS,
    ASCENDING,
    DESCENDING,
    ALL_EQUAL,
    EXPONENTIAL,
    TWO_FAR_CLUSTERS,
    SHAPES
};

static uint64_t shaped_key(fixture_t *f, enum shape shape, uint32_t i)
{
    uint64_t r = next_random(f);

    switch (shape) {
    case RANDOM: return r;
    case RANDOM_40_BITS: return ((uint64_t)1 << 50) + (r >> 24);
    case ASCENDING: return 1000 + i;
    case DESCENDING: return (uint64_t)MANY * 1000 - i;
    case ALL_EQUAL: return 77;
    case EXPONENTIAL: return r >> (next_random(f) & 63);
    default: return (r & 1) != 0 ? r >> 50 : UINT64_MAX - (r >> 50);
    }
}

static void test_shapes(void **state)
{
    fixture_t *f = *state;

    for (uint32_t shape = 0; shape < SHAPES; shape++) {
        for (uint32_t i = 0; i < MANY; i++)
            insert(f, &f->nodes[i], shaped_key(f, (enum shape)shape, i), i);
        drain_checked(f);
    }
}

/* Insertions and pops mixed at random, with keys around, before and far behind the present. */
static void test_mixed(void **state)
{
    fixture_t *f = *state;
    gmk_tnode_t **spare = calloc(MANY, sizeof *spare);
    uint32_t spares = 0;
    uint64_t now = (uint64_t)1 << 40, number = 0;

    assert_non_null(spare);
    for (uint32_t i = 0; i < MANY; i++)
        spare[spares++] = &f->nodes[i];
    for (uint32_t step = 0; step < 200000; step++) {
        uint64_t r = next_random(f);
        bool grow = step / 20000 % 2 == 0;

        if (spares != 0 && (f->heaped == 0 || (r & 7) < (grow ? 5u : 3u))) {
            uint64_t key = (r >> 8 & 15) == 0 ? now - (r >> 40) : now + (r >> (20 + (r >> 3 & 31)));

            insert(f, spare[--spares], key, (r >> 62) << 62 | number++);
        } else {
            gmk_tnode_t *n = pop_checked(f);

            now = n->key > now ? n->key : now;
            spare[spares++] = n;
        }
    }
    drain_checked(f);
    free(spare);
}

/* Every insertion is earlier than everything popped: only the runs of early nodes work. */
static void test_always_earlier(void **state)
{
    fixture_t *f = *state;
    uint64_t key = UINT64_MAX;

    insert(f, &f->nodes[0], key, 0);
    (void)pop_checked(f);
    for (uint32_t i = 0; i + 2 < MANY; i += 3) {
        insert(f, &f->nodes[i], key - 3 - (next_random(f) & 0xffff), i);
        insert(f, &f->nodes[i + 1], key - 2 - (next_random(f) & 0xffff), i + 1);
        insert(f, &f->nodes[i + 2], key - 1 - (next_random(f) & 0xffff), i + 2);
        key = pop_checked(f)->key;
    }
    drain_checked(f);
}

/* Far timers stay queued while near ones come and go: asking for the minimum must not walk them. */
static void test_far_bucket_not_walked(void **state)
{
    fixture_t *f = *state;
    gmk_tnode_t near;
    uint64_t key;

    for (uint32_t i = 0; i < MANY; i++) {
        f->nodes[i].key = ((uint64_t)1 << 60) + i;
        f->nodes[i].order = i;
        gmk_timerq_insert(f->q, &f->nodes[i]);
    }
    for (uint32_t i = 0; i < 200000; i++) {
        near.key = i;
        near.order = MANY + i;
        gmk_timerq_insert(f->q, &near);
        assert_true(gmk_timerq_min(f->q, &key));
        assert_true(key == i);
        assert_ptr_equal(gmk_timerq_pop_due(f->q, i), &near);
        assert_null(gmk_timerq_pop_due(f->q, i));
        assert_true(gmk_timerq_min(f->q, &key));
        assert_true(key == (uint64_t)1 << 60);
    }
    assert_int_equal(gmk_timerq_count(f->q), MANY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_empty, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_due, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bounds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_earlier_than_popped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_priority_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_identical, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shapes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mixed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_always_earlier, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_far_bucket_not_walked, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("timerq", tests, NULL, NULL);
}
