/* SPDX-License-Identifier: MIT */
/*
 * scn_blocks.c — slab, heap, payloads and bump memory, without a kernel around them: two workers, each
 * with a cache that all its lanes use at once, hand to each other what they allocate.
 *
 * Who holds a block writes to it plainly, and checks that nobody else did.
 */
#include "scenarios.h"

#include <ggmk/mpmc.h>
#include "bump.h"
#include "heap.h"
#include "slab.h"

#include <string.h>

#define TEAMS 2u
#define HOLD 3u
#define PASSING 8u

/* As many lanes as the run was asked for; else mostly one. */
static uint32_t choose_lanes(void)
{
    static const uint32_t some[] = {1, 1, 1, 2, 4, 32};
    uint32_t any = some[sim_rand(6)];
    return sim_options()->lanes = sim_setup()->lanes != 0 ? sim_setup()->lanes : any;
}

/* A worker: all its lanes run fn(arg). */
static void run_teams(void (*fn)(void *), void *args, size_t size)
{
    gmk_hal_thread_t t[TEAMS];
    for (uint32_t i = 0; i < TEAMS; i++)
        sim_check(gmk_hal_thread_create(&t[i], "team", UINT32_MAX, fn, (char *)args + i * size) == 0);
    for (uint32_t i = 0; i < TEAMS; i++)
        gmk_hal_thread_join(&t[i]);
}

/* What a lane holds, and the ring through which others get it. */
struct hand {
    uint64_t *block[HOLD];
    uint32_t n;
};

struct passing {
    gmk_mpmc_t ring;
    _Alignas(GMK_CACHE_LINE) unsigned char memory[PASSING * 64];
};

static void passing_init(struct passing *p)
{
    sim_check(gmk_mpmc_bytes(PASSING, 8) <= sizeof p->memory);
    sim_check(gmk_mpmc_init(&p->ring, p->memory, PASSING, 8) == 0);
}

static uint64_t *drop_from(struct hand *h, uint32_t i)
{
    uint64_t *p = h->block[i];
    h->block[i] = h->block[--h->n];
    return p;
}

static void pass(struct passing *p, struct hand *h)
{
    _Alignas(16) uint64_t word = (uint64_t)(uintptr_t)h->block[h->n - 1];
    if (gmk_mpmc_push(&p->ring, &word, 8))
        (void)drop_from(h, h->n - 1);
}

static void receive(struct passing *p, struct hand *h)
{
    _Alignas(16) uint64_t word;
    if (gmk_mpmc_pop(&p->ring, &word, 8))
        h->block[h->n++] = (uint64_t *)(uintptr_t)word;
}

/* ---- slab ---------------------------------------------------------------------------------- */

#define OBJECTS_MOST 160u

struct slab {
    gmk_slab_t slab;
    gmk_slab_cache_t cache[TEAMS];
    struct passing passing;
    _Alignas(16) uint64_t memory[OBJECTS_MOST][4]; /* the link, who holds it, twice */
    uint32_t turns, cached;
};

struct slab_team {
    struct slab *s;
    uint32_t number;
};

static void object_take(uint64_t *o, uint64_t owner)
{
    sim_check(o[1] == 0 && o[2] == 0, "an object has two owners");
    o[1] = o[2] = owner;
}

static void object_leave(uint64_t *o)
{
    sim_check(o[1] == o[2] && o[1] != 0, "an object that is held was changed");
    o[1] = o[2] = 0;
}

static void slab_turn(struct slab *s, gmk_slab_cache_t *cache, struct hand *h, uint64_t me)
{
    uint32_t how = sim_rand(8);
    if (how < 4 && h->n < HOLD) {
        uint64_t *o = gmk_slab_alloc(&s->slab, cache);
        if (o == NULL)
            return;
        object_take(o, me);
        h->block[h->n++] = o;
    } else if (how == 4 && h->n != 0) {
        pass(&s->passing, h);
    } else if (how == 5 && h->n < HOLD) {
        receive(&s->passing, h);
    } else if (how == 6 && cache != NULL && sim_rand(4) == 0) {
        gmk_slab_cache_flush(&s->slab, cache);
    } else if (h->n != 0) {
        uint64_t *o = drop_from(h, sim_rand(h->n));
        object_leave(o);
        gmk_slab_free(&s->slab, cache, o);
    }
}

static void slab_lane(void *arg)
{
    const struct slab_team *t = arg;
    struct slab *s = t->s;
    gmk_slab_cache_t *cache = s->cached != 0 ? &s->cache[t->number] : NULL;
    struct hand h = {.n = 0};
    for (uint32_t i = 0; i < s->turns; i++)
        slab_turn(s, cache, &h, 1000u * (t->number + 1) + gmk_hal_lane());
    while (h.n != 0) {
        uint64_t *o = drop_from(&h, 0);
        object_leave(o);
        gmk_slab_free(&s->slab, cache, o);
    }
}

/* Everything is back, and each object is there once. */
static void check_slab(struct slab *s, uint32_t objects)
{
    _Alignas(16) uint64_t word;
    while (gmk_mpmc_pop(&s->passing.ring, &word, 8)) {
        object_leave((uint64_t *)(uintptr_t)word);
        gmk_slab_free(&s->slab, NULL, (void *)(uintptr_t)word);
    }
    for (uint32_t i = 0; i < TEAMS; i++)
        gmk_slab_cache_flush(&s->slab, &s->cache[i]);
    sim_check(gmk_slab_free_count(&s->slab) == objects, "%u of %u objects are back",
              gmk_slab_free_count(&s->slab), objects);
    for (uint32_t i = 0; i < objects; i++)
        object_take(gmk_slab_alloc(&s->slab, NULL), 1);
    sim_check(gmk_slab_alloc(&s->slab, NULL) == NULL);
}

static void run_slab(uint32_t first, uint32_t second, uint32_t cached)
{
    static struct slab s;
    struct slab_team teams[TEAMS] = {{&s, 0}, {&s, 1}};
    uint32_t lanes = choose_lanes();
    memset(&s, 0, sizeof s);
    s.turns = lanes > 4 ? 6 : 60 / lanes;
    s.cached = cached;
    passing_init(&s.passing);
    sim_check(gmk_slab_init(&s.slab, sizeof s.memory[0]) == 0);
    sim_check(gmk_slab_add_segment(&s.slab, s.memory, first) == 0);
    sim_check(gmk_slab_add_segment(&s.slab, s.memory[first], second) == 0);
    run_teams(slab_lane, teams, sizeof teams[0]);
    check_slab(&s, first + second);
}

/* So few that an object is soon back where it was: what a compare-and-swap must not take for no change. */
void scn_slab_list(void *arg)
{
    (void)arg;
    run_slab(1, 2 + sim_rand(2), 0);
}

void scn_slab_cache(void *arg)
{
    (void)arg;
    run_slab(20 + sim_rand(20), 20 + sim_rand(80), 1);
}

/* ---- heap ---------------------------------------------------------------------------------- */

#define SPANS 8u

struct heap {
    gmk_heap_t heap;
    gmk_heap_cache_t cache[TEAMS];
    struct passing passing;
    const uint32_t *sizes;
    uint32_t n_sizes, turns;
};

struct heap_team {
    struct heap *s;
    uint32_t number;
};

/* The first word and the last: the size, and whose. */
static void block_take(uint64_t *p, uint64_t words, uint64_t owner)
{
    p[0] = words << 32 | owner;
    p[words - 1] = p[0];
}

static void block_check(const uint64_t *p)
{
    uint64_t words = p[0] >> 32;
    sim_check(words != 0 && words < 1u << 20 && p[words - 1] == p[0], "a block was changed: %llx",
              (unsigned long long)p[0]);
}

static void block_free(struct heap *s, gmk_heap_cache_t *cache, uint64_t *p)
{
    block_check(p);
    p[(p[0] >> 32) - 1] = 0;
    p[0] = 0;
    sim_check(gmk_heap_free(&s->heap, cache, p));
}

static void heap_turn(struct heap *s, gmk_heap_cache_t *cache, struct hand *h, uint64_t me)
{
    uint32_t how = sim_rand(8);
    if (how < 4 && h->n < HOLD) {
        uint64_t words = (s->sizes[sim_rand(s->n_sizes)] + 7) / 8;
        uint64_t *p = gmk_heap_alloc(&s->heap, cache, words * 8);
        if (p == NULL)
            return;
        block_take(p, words, me);
        h->block[h->n++] = p;
    } else if (how == 4 && h->n != 0) {
        pass(&s->passing, h);
    } else if (how == 5 && h->n < HOLD) {
        receive(&s->passing, h);
    } else if (how == 6 && sim_rand(8) == 0) {
        gmk_heap_cache_flush(&s->heap, cache);
    } else if (h->n != 0) {
        block_free(s, cache, drop_from(h, sim_rand(h->n)));
    }
}

static void heap_lane(void *arg)
{
    const struct heap_team *t = arg;
    struct heap *s = t->s;
    gmk_heap_cache_t *cache = &s->cache[t->number];
    struct hand h = {.n = 0};
    for (uint32_t i = 0; i < s->turns; i++)
        heap_turn(s, cache, &h, 1000u * (t->number + 1) + gmk_hal_lane());
    while (h.n != 0)
        block_free(s, cache, drop_from(&h, 0));
}

static void check_heap(struct heap *s)
{
    _Alignas(16) uint64_t word;
    gmk_mem_stats_t m = {0};
    while (gmk_mpmc_pop(&s->passing.ring, &word, 8))
        block_free(s, NULL, (uint64_t *)(uintptr_t)word);
    for (uint32_t i = 0; i < TEAMS; i++)
        gmk_heap_cache_unregister(&s->heap, &s->cache[i]);
    gmk_heap_stats(&s->heap, &m);
    sim_check(m.spans_used == 0 && m.objects_live == 0 && m.payloads_live == 0 && m.bad_frees == 0,
              "%u spans, %u blocks, %u payloads left", (unsigned)m.spans_used, (unsigned)m.objects_live,
              (unsigned)m.payloads_live);
    sim_check(!sim_console_has("heap: "));
}

static void run_heap(uint32_t spans, const uint32_t *sizes, uint32_t n_sizes, uint32_t turns)
{
    static struct heap s;
    struct heap_team teams[TEAMS] = {{&s, 0}, {&s, 1}};
    uint32_t lanes = choose_lanes();
    size_t bytes = (spans + 2) * (size_t)GMK_SPAN_BYTES;
    void *memory = gmk_hal_page_alloc(bytes);
    memset(&s, 0, sizeof s);
    s.sizes = sizes;
    s.n_sizes = n_sizes;
    s.turns = lanes > 4 ? 2 : turns / lanes;
    passing_init(&s.passing);
    sim_check(gmk_heap_init(&s.heap, memory, bytes) == 0);
    for (uint32_t i = 0; i < TEAMS; i++) {
        gmk_heap_cache_init(&s.cache[i]);
        gmk_heap_cache_register(&s.heap, &s.cache[i]);
    }
    run_teams(heap_lane, teams, sizeof teams[0]);
    check_heap(&s);
    gmk_hal_page_free(memory, bytes);
}

void scn_heap_cache(void *arg)
{
    static const uint32_t sizes[] = {32, 33, 2048};
    (void)arg;
    run_heap(4, sizes, 1 + sim_rand(3), 60);
}

/* Spans go from class to class, and to blocks of several spans; there are too few of them. */
void scn_heap_spans(void *arg)
{
    static const uint32_t sizes[] = {65536, 70000, 20000, 32, 200000};
    (void)arg;
    run_heap(SPANS, sizes, 5, 40);
}

/* ---- payloads ------------------------------------------------------------------------------ */

#define SHARERS 3u

struct shared {
    gmk_heap_t heap;
    gmk_heap_cache_t cache[SHARERS];
    uint64_t *payload;
    gmk_a32_t ended;
};

struct sharer {
    struct shared *s;
    uint32_t number;
};

/* Holds one count, takes more and gives them back; its word stays as long as it holds one. */
static void share(void *arg)
{
    const struct sharer *me = arg;
    struct shared *s = me->s;
    uint64_t *p = s->payload;
    uint32_t counts = 1;
    p[me->number] = me->number + 1;
    while (counts != 0) {
        uint32_t more = sim_rand(3);
        sim_check(p[me->number] == me->number + 1, "a payload ended under its holder");
        if (counts < 4 && more != 0) {
            sim_check(gmk_payload_add(&s->heap, p, more) == GMK_OK);
            counts += more;
        }
        for (uint32_t n = 1 + sim_rand(counts); n != 0; n--, counts--)
            sim_check(gmk_payload_drop(&s->heap, &s->cache[me->number], p) == GMK_OK);
    }
    (void)scn_inc(&s->ended);
}

void scn_payload(void *arg)
{
    static struct shared s;
    static const uint32_t sizes[] = {32, 3000, 70000};
    struct sharer sharers[SHARERS];
    size_t bytes = 6 * (size_t)GMK_SPAN_BYTES;
    void *memory = gmk_hal_page_alloc(bytes);
    gmk_mem_stats_t m = {0};
    (void)arg;
    memset(&s, 0, sizeof s);
    sim_check(gmk_heap_init(&s.heap, memory, bytes) == 0);
    for (uint32_t i = 0; i < SHARERS; i++) {
        gmk_heap_cache_init(&s.cache[i]);
        gmk_heap_cache_register(&s.heap, &s.cache[i]);
        sharers[i] = (struct sharer){&s, i};
    }
    s.payload = gmk_payload_new(&s.heap, &s.cache[0], sizes[sim_rand(3)]);
    sim_check(s.payload != NULL && gmk_payload_add(&s.heap, s.payload, SHARERS - 1) == GMK_OK);
    scn_together(SHARERS, share, sharers, sizeof sharers[0]);
    sim_check(gmk_payload_count(&s.heap, s.payload) == 0);
    for (uint32_t i = 0; i < SHARERS; i++)
        gmk_heap_cache_unregister(&s.heap, &s.cache[i]);
    gmk_heap_stats(&s.heap, &m);
    sim_check(m.spans_used == 0 && m.objects_live == 0 && m.payloads_live == 0, "%u blocks, %u payloads left",
              (unsigned)m.objects_live, (unsigned)m.payloads_live);
    sim_check(!sim_console_has("heap: "));
    gmk_hal_page_free(memory, bytes);
}

/* ---- bump ---------------------------------------------------------------------------------- */

#define BUMP_BYTES 2048u

struct bump {
    gmk_bump_t bump;
    _Alignas(16) unsigned char memory[BUMP_BYTES];
    gmk_a32_t given; /* bytes, rounded as they are */
};

/* Each lane fills what it gets, and finds it so when all have theirs. */
static void bump_lane(void *arg)
{
    struct bump *b = arg;
    unsigned char *p[4];
    uint32_t size[4], lane = gmk_hal_lane();
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 4; i++) {
            size[i] = 1 + sim_rand(50);
            p[i] = gmk_bump_alloc(&b->bump, size[i]);
            if (p[i] == NULL)
                continue;
            memset(p[i], (int)(lane * 4 + i), size[i]);
            (void)scn_add(&b->given, (size[i] + 15) & ~15u);
        }
        gmk_hal_block_barrier();
        for (uint32_t i = 0; i < 4; i++)
            for (uint32_t j = 0; p[i] != NULL && j < size[i]; j++)
                sim_check(p[i][j] == (unsigned char)(lane * 4 + i), "scratch memory of two lanes overlaps");
        sim_check(scn_get(&b->given) <= BUMP_BYTES);
        gmk_hal_block_barrier();
        if (lane == 0) {
            gmk_bump_clear(&b->bump);
            (void)gmk_xchg32(&b->given, 0, GMK_RLX, GMK_KERNEL);
        }
        gmk_hal_block_barrier();
    }
}

void scn_bump(void *arg)
{
    static struct bump b;
    gmk_hal_thread_t t;
    (void)arg;
    memset(&b, 0, sizeof b);
    if (choose_lanes() == 1 && sim_setup()->lanes == 0)
        sim_options()->lanes = 8;
    gmk_bump_init(&b.bump, b.memory, BUMP_BYTES);
    sim_check(gmk_hal_thread_create(&t, "team", UINT32_MAX, bump_lane, &b) == 0);
    gmk_hal_thread_join(&t);
}
