/* SPDX-License-Identifier: MIT */
/* Trace rings, clock mapping, histograms, user metrics and the exporters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../src/export.h"
#include "../src/format.h"
#include "fxt_read.h"

/* ---- helpers --------------------------------------------------------------------------------- */

typedef struct ring {
    gmk_trace_ring_t r;
    void *mem;
} ring_t;

static void ring_new(ring_t *r, uint32_t records)
{
    r->mem = aligned_alloc(64, (gmk_trace_ring_bytes(records) + 63) / 64 * 64);
    assert_non_null(r->mem);
    memset(r->mem, 0xa5, gmk_trace_ring_bytes(records));
    gmk_trace_ring_init(&r->r, r->mem, records);
}

static void ring_free(ring_t *r) { free(r->mem); }

static uint64_t next_random(uint64_t *s) /* splitmix64, Steele, Lea, Flood 2014 */
{
    uint64_t z = (*s += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* ---- rings ----------------------------------------------------------------------------------- */

static void ring_keeps_every_field(void **state)
{
    (void)state;
    ring_t r;
    gmk_trace_reader_t cur = {0};
    gmk_trace_record_t rec[4];
    uint64_t lost = 0;
    ring_new(&r, 4);
    assert_int_equal(gmk_trace_read(&r.r, &cur, rec, 4, &lost), 0);
    gmk_trace_put(&r.r, UINT64_MAX, 0xffff, 4095, UINT32_MAX, 0x12345678);
    gmk_trace_put(&r.r, 0, 0, 0, 0, 0);
    gmk_trace_put(&r.r, 7, GMK_EV_BEGIN, 3, 0x80000001, 0x80000002);
    assert_int_equal(gmk_trace_read(&r.r, &cur, rec, 4, &lost), 3);
    assert_true(rec[0].time == UINT64_MAX && rec[0].ev == 0xffff && rec[0].type == 4095);
    assert_true(rec[0].a0 == UINT32_MAX && rec[0].a1 == 0x12345678 && rec[0].lane == 0);
    assert_true(rec[1].time == 0 && rec[1].ev == 0 && rec[1].type == 0 && rec[1].a0 == 0 && rec[1].a1 == 0);
    assert_true(rec[2].time == 7 && rec[2].ev == GMK_EV_BEGIN && rec[2].type == 3);
    assert_true(rec[2].a0 == 0x80000001 && rec[2].a1 == 0x80000002);
    assert_int_equal(gmk_trace_read(&r.r, &cur, rec, 4, &lost), 0);
    assert_int_equal(lost, 0);
    assert_int_equal(gmk_trace_ring_bytes(4), 128);
    ring_free(&r);
}

static void ring_counts_what_was_overwritten(void **state)
{
    (void)state;
    ring_t r;
    gmk_trace_reader_t cur = {0};
    gmk_trace_record_t rec[8];
    uint64_t lost = 0;
    ring_new(&r, 8);
    for (uint32_t i = 0; i < 21; i++)
        gmk_trace_put(&r.r, i, 1, 0, i, 0);
    assert_int_equal(gmk_trace_read(&r.r, &cur, rec, 3, &lost), 3);
    assert_int_equal(lost, 13);
    assert_int_equal(rec[0].time, 13);
    assert_int_equal(gmk_trace_read(&r.r, &cur, rec, 8, &lost), 5);
    assert_int_equal(rec[4].time, 20);
    assert_int_equal(lost, 13);
    assert_int_equal(cur.pos, 21);
    ring_free(&r);
}

/* Writers and a reader in any proportion: in order, and shown + lost = written. */
static void ring_loses_nothing_uncounted(void **state)
{
    (void)state;
    uint64_t seed = 42;
    for (uint32_t size = 1; size <= 64; size *= 2) {
        ring_t r;
        gmk_trace_reader_t cur = {0};
        gmk_trace_record_t rec[32];
        uint64_t lost = 0, written = 0, shown = 0;
        ring_new(&r, size);
        for (int round = 0; round < 200; round++) {
            for (uint64_t n = next_random(&seed) % (3 * size + 1); n > 0; n--)
                gmk_trace_put(&r.r, written++, 1, 0, 0, 0);
            uint32_t want = (uint32_t)(next_random(&seed) % 33);
            uint32_t got = gmk_trace_read(&r.r, &cur, rec, want, &lost);
            for (uint32_t i = 0; i < got; i++)
                assert_int_equal(rec[i].time, cur.pos - got + i);
            shown += got;
            assert_int_equal(shown + lost, cur.pos);
            if (got < want)
                assert_int_equal(cur.pos, written);
            assert_true(written - cur.pos <= size || want == 0 || got == want);
        }
        ring_free(&r);
    }
}

/* A position that was claimed and never published, as a lane may leave behind. */
static void reader_steps_over_a_hole(void **state)
{
    (void)state;
    ring_t r;
    gmk_trace_reader_t cur = {0}, other = {0};
    gmk_trace_record_t rec[8];
    uint64_t lost = 0;
    ring_new(&r, 8);
    gmk_trace_put(&r.r, 0, 1, 0, 0, 0);
    (void)gmk_add64(&r.r.next, 1, GMK_RLX, GMK_WORKER);
    gmk_trace_put(&r.r, 2, 1, 0, 0, 0);
    assert_int_equal(gmk_trace_read(&r.r, &cur, rec, 8, &lost), 1); /* one lane: not published = the end */
    assert_int_equal(lost, 0);
    r.r.ahead = 7; /* as with several lanes */
    assert_int_equal(gmk_trace_read(&r.r, &other, rec, 8, &lost), 2);
    assert_int_equal(rec[1].time, 2);
    assert_int_equal(lost, 1);
    ring_free(&r);
}

/* Who is a lap late in a shared ring finds his slot as he left it; the one who came too soon gave way. */
static void late_writer_keeps_its_slot(void **state)
{
    (void)state;
    ring_t r;
    gmk_trace_reader_t cur = {0}, early = {0};
    gmk_trace_record_t rec[8];
    uint64_t lost = 0, pos;
    ring_new(&r, 4);
    gmk_trace_ring_share(&r.r);
    gmk_a64_t *w = gmk_trace_claim(&r.r, &pos);
    assert_true(w != NULL && pos == 0);
    for (uint32_t i = 1; i <= 5; i++) /* number 4 meets the late one */
        gmk_trace_put(&r.r, i, 1, 0, 0, 0);
    for (int i = 0; i < 3; i++)
        gmk_store64(&w[i], 77, GMK_RLX, GMK_KERNEL);
    assert_int_equal(gmk_trace_read(&r.r, &early, rec, 8, &lost), 3);
    assert_true(rec[0].time == 2 && rec[1].time == 3 && rec[2].time == 5);
    assert_int_equal(lost, 3);
    lost = 0;
    gmk_store64(&w[3], gmk_trace_stamp(pos, 0), GMK_REL, GMK_KERNEL);
    assert_int_equal(gmk_trace_read(&r.r, &cur, rec, 8, &lost), 4);
    assert_true(rec[0].time == 77 && rec[1].time == 2 && rec[2].time == 3 && rec[3].time == 5);
    assert_int_equal(lost, 2);
    gmk_trace_put(&r.r, 6, 1, 0, 0, 0);
    gmk_trace_put(&r.r, 7, 1, 0, 0, 0);
    gmk_trace_put(&r.r, 8, 1, 0, 0, 0); /* the slot is free again */
    assert_int_equal(gmk_trace_read(&r.r, &cur, rec, 8, &lost), 3);
    assert_int_equal(rec[2].time, 8);
    ring_free(&r);
}

/* Every word of a record is a function of its number, so a mixture of two cannot pass. */
typedef struct flood {
    ring_t ring;
    gmk_a32_t stop;
    gmk_a64_t written;
} flood_t;

static uint32_t mix32(uint64_t v) { return (uint32_t)(v * 0x9e3779b97f4a7c15u >> 32); }

static void *flood_writer(void *arg)
{
    flood_t *f = arg;
    uint64_t i = 0;
    for (; gmk_load32(&f->stop, GMK_ACQ, GMK_KERNEL) == 0; i++)
        gmk_trace_put(&f->ring.r, i, (uint32_t)(i & 0xffff), (uint32_t)(i >> 4 & 0xfff), mix32(i), mix32(~i));
    gmk_store64(&f->written, i, GMK_REL, GMK_KERNEL);
    return NULL;
}

static uint64_t flood_check(const gmk_trace_record_t *rec, uint32_t n, uint64_t after)
{
    for (uint32_t i = 0; i < n; i++) {
        uint64_t t = rec[i].time;
        if (t < after || rec[i].ev != (t & 0xffff) || rec[i].type != (t >> 4 & 0xfff) ||
            rec[i].a0 != mix32(t) || rec[i].a1 != mix32(~t) || rec[i].lane != 0)
            return UINT64_MAX;
        after = t + 1;
    }
    return after;
}

typedef struct flood_reader {
    flood_t *f;
    uint64_t shown, lost, after;
    gmk_trace_reader_t cur;
} flood_reader_t;

static uint32_t flood_read(flood_reader_t *r)
{
    gmk_trace_record_t rec[16];
    uint32_t n = gmk_trace_read(&r->f->ring.r, &r->cur, rec, 16, &r->lost);
    r->shown += n;
    if (r->after != UINT64_MAX)
        r->after = flood_check(rec, n, r->after);
    return n;
}

/* Reads until it has seen enough of both: whole records, and laps. */
static void *flood_reader(void *arg)
{
    flood_reader_t *r = arg;
    while (r->shown < 5000 || r->lost < 5000)
        (void)flood_read(r);
    return NULL;
}

static void no_torn_record_is_shown(void **state)
{
    (void)state;
    flood_t f;
    pthread_t w, t;
    memset(&f, 0, sizeof f);
    ring_new(&f.ring, 64);
    flood_reader_t a = {.f = &f}, b = {.f = &f};
    assert_int_equal(pthread_create(&w, NULL, flood_writer, &f), 0);
    assert_int_equal(pthread_create(&t, NULL, flood_reader, &a), 0);
    (void)flood_reader(&b);
    pthread_join(t, NULL);
    gmk_store32(&f.stop, 1, GMK_REL, GMK_KERNEL);
    pthread_join(w, NULL);
    while (flood_read(&a) != 0)
        ;
    while (flood_read(&b) != 0)
        ;
    assert_true(a.after != UINT64_MAX && b.after != UINT64_MAX);
    uint64_t written = gmk_load64(&f.written, GMK_ACQ, GMK_KERNEL);
    assert_int_equal(a.shown + a.lost, written);
    assert_int_equal(b.shown + b.lost, written);
    ring_free(&f.ring);
}

/* Several threads in one ring: whole records, none unaccounted for, and each thread's in its order. */
enum { SHARERS = 3, SWITCHES = 100 };

typedef struct sharer {
    gmk_trace_ring_t *r;
    gmk_a32_t *stop;
    uint32_t id;
    uint64_t written;
} sharer_t;

static void *sharer(void *arg)
{
    sharer_t *s = arg;
    for (; gmk_load32(s->stop, GMK_ACQ, GMK_KERNEL) == 0; s->written++) {
        uint64_t t = s->written * SHARERS + s->id;
        gmk_trace_put(s->r, t, s->id, s->written & 0xfff, mix32(t), mix32(~t));
        if (s->written % 256 == 0)
            sched_yield(); /* where there are fewer CPUs than threads */
    }
    return NULL;
}

typedef struct share_reader {
    ring_t r;
    gmk_trace_reader_t cur;
    uint64_t lost, shown, next[SHARERS];
    uint32_t switches, last_writer;
} share_reader_t;

static uint32_t share_read(share_reader_t *s)
{
    gmk_trace_record_t rec[16];
    uint32_t n = gmk_trace_read(&s->r.r, &s->cur, rec, 16, &s->lost);
    for (const gmk_trace_record_t *one = rec; one < rec + n; one++) {
        assert_true(one->ev < SHARERS && one->time % SHARERS == one->ev);
        assert_true(one->a0 == mix32(one->time) && one->a1 == mix32(~one->time));
        assert_true(one->type == (one->time / SHARERS & 0xfff));
        assert_true(one->time >= s->next[one->ev]);
        s->next[one->ev] = one->time + 1;
        s->switches += one->ev != s->last_writer;
        s->last_writer = one->ev;
    }
    s->shown += n;
    return n;
}

static void shared_ring_takes_many_writers(void **state)
{
    (void)state;
    pthread_t t[SHARERS];
    sharer_t s[SHARERS];
    gmk_a32_t stop = {0};
    share_reader_t reader = {.last_writer = 0};
    uint64_t written = 0;
    ring_new(&reader.r, 16);
    gmk_trace_ring_share(&reader.r.r);
    for (uint32_t i = 0; i < SHARERS; i++) {
        s[i] = (sharer_t){&reader.r.r, &stop, i, 0};
        assert_int_equal(pthread_create(&t[i], NULL, sharer, &s[i]), 0);
    }
    while (reader.switches < SWITCHES) /* until they have certainly met */
        if (share_read(&reader) == 0)
            sched_yield();
    gmk_store32(&stop, 1, GMK_REL, GMK_KERNEL);
    for (uint32_t i = 0; i < SHARERS; i++) {
        pthread_join(t[i], NULL);
        written += s[i].written;
    }
    while (share_read(&reader) != 0)
        ;
    assert_int_equal(gmk_load64(&reader.r.r.next, GMK_RLX, GMK_KERNEL), written);
    assert_int_equal(reader.shown + reader.lost, reader.cur.pos);
    assert_true(reader.cur.pos <= written && reader.cur.pos + 16 >= written);
    ring_free(&reader.r);
}

/* ---- clock map ------------------------------------------------------------------------------- */

__extension__ typedef unsigned __int128 u128;

static void clock_maps_exactly(void **state)
{
    (void)state;
    static const uint64_t rates[][2] = {/* cycles, ns */
                                        {3, 1},
                                        {1, 3},
                                        {2500000000u, 1000000000u},
                                        {2999999999u, 1000000007u},
                                        {62500000u, 1000000000u},
                                        {1, 1},
                                        {1ull << 62, (1ull << 62) - 12345},
                                        {(1ull << 63) + 7, (1ull << 62) + 1},
                                        {86400ull * 3000000000u, 86400ull * 1000000000u}};
    uint64_t seed = 1;
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        gmk_clockmap_t m;
        uint64_t dc = rates[i][0], dn = rates[i][1];
        gmk_clockmap_init(&m, 1ull << 60, 1ull << 59);
        gmk_clockmap_rate(&m, (1ull << 60) + dc, (1ull << 59) + dn);
        for (int n = 0; n < 1000; n++) {
            uint64_t d = next_random(&seed) >> (8 + n % 48);
            u128 want = (u128)d * dn / dc;
            if (want >= 1ull << 59)
                continue;
            uint64_t got = gmk_clockmap_ns(&m, (1ull << 60) + d) - (1ull << 59);
            assert_true((u128)got == want || (u128)got + 1 == want);
            uint64_t before = gmk_clockmap_ns(&m, (1ull << 60) - d);
            assert_int_equal(before, (1ull << 59) - got);
        }
    }
}

static void clock_survives_odd_readings(void **state)
{
    (void)state;
    gmk_clockmap_t m;
    gmk_clockmap_init(&m, 100, 1000);
    assert_int_equal(gmk_clockmap_ns(&m, 150), 1050);
    gmk_clockmap_rate(&m, 100, 2000); /* no cycles passed: no rate */
    assert_int_equal(gmk_clockmap_ns(&m, 150), 1050);
    gmk_clockmap_rate(&m, 200, 900); /* time went backwards */
    assert_int_equal(gmk_clockmap_ns(&m, 150), 1050);
    gmk_clockmap_rate(&m, 200, 1000); /* time stood still */
    assert_int_equal(gmk_clockmap_ns(&m, 150), 1000);
    gmk_clockmap_rate(&m, 101, 100000);
    assert_int_equal(gmk_clockmap_ns(&m, 0), 0); /* before time began */
}

/* ---- histograms ------------------------------------------------------------------------------ */

static gmk_hist_t *hist_new(uint32_t shards)
{
    gmk_hist_t *h = aligned_alloc(_Alignof(gmk_hist_t), shards * sizeof *h);
    assert_non_null(h);
    memset(h, 0xff, shards * sizeof *h);
    for (uint32_t s = 0; s < shards; s++)
        gmk_hist_init(&h[s]);
    return h;
}

static void hist_buckets_cover_everything(void **state)
{
    (void)state;
    for (uint32_t b = 0; b < GMK_HIST_BUCKETS; b++) {
        uint64_t low = gmk_hist_bucket_low(b), last = gmk_hist_bucket_low(b + 1) - 1;
        if (b == GMK_HIST_BUCKETS - 1)
            last = UINT64_MAX;
        assert_int_equal(gmk_hist_bucket(low), b);
        assert_int_equal(gmk_hist_bucket(last), b);
        assert_true(low <= last);
        if (b > 0)
            assert_int_equal(gmk_hist_bucket(low - 1), b - 1);
    }
    assert_int_equal(gmk_hist_bucket(UINT64_MAX), GMK_HIST_BUCKETS - 1);
    assert_true(gmk_hist_bucket_low(GMK_HIST_BUCKETS) == UINT64_MAX);
    for (uint32_t k = 0; k < 64; k++) /* a border at every power of two */
        assert_true(gmk_hist_bucket_low(gmk_hist_bucket(1ull << k)) == 1ull << k);
}

static void within_3_percent(gmk_hist_t *h, uint64_t v)
{
    gmk_hist_record(h, v, 1);
    uint64_t got = gmk_hist_quantile(h, 1, 500);
    uint64_t err = got > v ? got - v : v - got;
    assert_true((u128)err * 100 <= (u128)v * 3);
    gmk_store64(&h->bucket[gmk_hist_bucket(v)], 0, GMK_RLX, GMK_KERNEL);
}

static void hist_error_is_bounded(void **state)
{
    (void)state;
    gmk_hist_t *h = hist_new(1);
    uint64_t seed = 5;
    for (uint32_t b = 0; b < GMK_HIST_BUCKETS; b++) {
        within_3_percent(h, gmk_hist_bucket_low(b));
        within_3_percent(h, gmk_hist_bucket_low(b + 1) - 1);
    }
    within_3_percent(h, UINT64_MAX);
    for (int i = 0; i < 5000; i++)
        within_3_percent(h, next_random(&seed) >> (i % 64));
    free(h);
}

static bool near(uint64_t got, uint64_t want)
{
    uint64_t err = got > want ? got - want : want - got;
    return err * 100 <= want * 3;
}

static void hist_quantiles_are_ranks(void **state)
{
    (void)state;
    gmk_hist_t *h = hist_new(3);
    assert_int_equal(gmk_hist_quantile(h, 3, 500), 0);
    assert_int_equal(gmk_hist_count(h, 3), 0);
    uint64_t sum = 0;
    for (uint64_t v = 1; v <= 30000; v++) {
        gmk_hist_record(&h[v % 3], v, 2);
        sum += 2 * v;
    }
    assert_int_equal(gmk_hist_count(h, 3), 60000);
    assert_int_equal(gmk_hist_sum(h, 3), sum);
    assert_int_equal(gmk_hist_quantile(h, 3, 0), 1);
    assert_true(near(gmk_hist_quantile(h, 3, 1), 30));
    assert_true(near(gmk_hist_quantile(h, 3, 500), 15000));
    assert_true(near(gmk_hist_quantile(h, 3, 990), 29700));
    assert_true(near(gmk_hist_quantile(h, 3, 1000), 30000));
    gmk_hist_merge(&h[0], &h[1]);
    gmk_hist_merge(&h[0], &h[2]);
    assert_int_equal(gmk_hist_count(h, 1), 60000);
    assert_int_equal(gmk_hist_sum(h, 1), sum);
    assert_true(near(gmk_hist_quantile(h, 1, 990), 29700));
    free(h);

    h = hist_new(1);
    for (uint64_t v = 1; v <= 4; v++)
        gmk_hist_record(h, v, 1);
    static const struct {
        uint32_t permille;
        uint64_t value;
    } want[] = {{0, 1}, {1, 1}, {250, 1}, {251, 2}, {500, 2}, {501, 3}, {750, 3}, {751, 4}, {1000, 4}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        assert_int_equal(gmk_hist_quantile(h, 1, want[i].permille), want[i].value);
    gmk_hist_record(h, 5, UINT64_MAX / 2); /* no overflow in the rank */
    assert_int_equal(gmk_hist_quantile(h, 1, 999), 5);
    free(h);
}

enum { HIST_THREADS = 4, HIST_EACH = 20000 };

static void *hist_writer(void *arg)
{
    for (uint64_t i = 0; i < HIST_EACH; i++)
        gmk_hist_record(arg, i, 1);
    return NULL;
}

static void hist_is_exact_with_threads(void **state)
{
    (void)state;
    gmk_hist_t *h = hist_new(2);
    pthread_t t[HIST_THREADS];
    for (int i = 0; i < HIST_THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, hist_writer, &h[i % 2]), 0);
    (void)gmk_hist_quantile(h, 2, 990); /* while they run */
    for (int i = 0; i < HIST_THREADS; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(gmk_hist_count(h, 2), HIST_THREADS * HIST_EACH);
    assert_int_equal(gmk_hist_sum(h, 2), (uint64_t)HIST_THREADS * HIST_EACH * (HIST_EACH - 1) / 2);
    free(h);
}

/* ---- user metrics ---------------------------------------------------------------------------- */

typedef struct pool {
    unsigned char *mem;
    size_t used, size;
} pool_t;

static void *pool_alloc(void *arg, size_t bytes)
{
    pool_t *p = arg;
    sched_yield(); /* somebody else may want to register now */
    if (p->size - p->used < bytes)
        return NULL;
    void *at = p->mem + p->used;
    p->used += (bytes + 63) / 64 * 64;
    return at;
}

typedef struct metrics {
    gmk_umetrics_t u;
    pool_t pool;
    void *mem;
} metrics_t;

static void metrics_new(metrics_t *m, uint32_t max, uint32_t shards, uint32_t hists)
{
    m->pool.used = 0;
    m->pool.size = hists * GMK_HIST_SHARDS * sizeof(gmk_hist_t);
    m->pool.mem = aligned_alloc(64, m->pool.size + 64);
    m->mem = aligned_alloc(64, (gmk_umetrics_bytes(max, shards) + 127) / 64 * 64);
    assert_true(m->pool.mem != NULL && m->mem != NULL);
    gmk_umetrics_init(&m->u, m->mem, max, shards, pool_alloc, &m->pool);
}

static void metrics_free(metrics_t *m)
{
    gmk_umetrics_destroy(&m->u);
    free(m->pool.mem);
    free(m->mem);
}

static uint64_t metric(metrics_t *m, uint32_t id)
{
    uint64_t v = 0;
    assert_int_equal(gmk_umetrics_read(&m->u, id, &v), GMK_OK);
    return v;
}

static void metrics_register(void **state)
{
    (void)state;
    metrics_t m;
    uint32_t c = 99, g, h, again;
    metrics_new(&m, 3, 10, 1);
    assert_int_equal(gmk_umetrics_register(&m.u, "hits", GMK_COUNTER, &c), GMK_OK);
    assert_int_equal(gmk_umetrics_register(&m.u, "h", GMK_HISTOGRAM, &h), GMK_OK);
    assert_int_equal(gmk_umetrics_register(&m.u, "h2", GMK_HISTOGRAM, &g), GMK_ALLOC_FAIL);
    assert_int_equal(gmk_umetrics_register(&m.u, "_Level9", GMK_GAUGE, &g), GMK_OK);
    assert_true(c != h && h != g && c != g);
    assert_int_equal(gmk_umetrics_register(&m.u, "hits", GMK_COUNTER, &again), GMK_OK);
    assert_int_equal(again, c);
    again = 77;
    assert_int_equal(gmk_umetrics_register(&m.u, "hits", GMK_GAUGE, &again), GMK_ERR_EXISTS);
    assert_int_equal(gmk_umetrics_register(&m.u, "more", GMK_GAUGE, &again), GMK_ERR_LIMIT);
    static const char *const bad[] = {
        "", "9a", "a.b", "a b", "a-b", "\xc3\xa4", "abcdefghijklmnopqrstuvwxyz012345"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(gmk_umetrics_register(&m.u, bad[i], GMK_COUNTER, &again), GMK_ERR_INVAL);
    assert_int_equal(gmk_umetrics_register(&m.u, NULL, GMK_COUNTER, &again), GMK_ERR_INVAL);
    assert_int_equal(gmk_umetrics_register(&m.u, "x", 3, &again), GMK_ERR_INVAL);
    assert_int_equal(gmk_umetrics_register(&m.u, "x", -1, &again), GMK_ERR_INVAL);
    assert_int_equal(gmk_umetrics_register(&m.u, "x", GMK_COUNTER, NULL), GMK_ERR_INVAL);
    assert_int_equal(again, 77);
    metrics_free(&m);
    metrics_new(&m, 1, 1, 0); /* 31 bytes fit */
    assert_int_equal(gmk_umetrics_register(&m.u, "abcdefghijklmnopqrstuvwxyz01234", GMK_COUNTER, &c), GMK_OK);
    metrics_free(&m);
    metrics_new(&m, 0, 1, 0);
    assert_int_equal(gmk_umetrics_register(&m.u, "a", GMK_COUNTER, &c), GMK_ERR_LIMIT);
    metrics_free(&m);
}

static void metrics_count(void **state)
{
    (void)state;
    metrics_t m;
    uint32_t c, c2, g, h;
    uint64_t v;
    metrics_new(&m, 8, 10, 1);
    assert_int_equal(gmk_umetrics_register(&m.u, "c", GMK_COUNTER, &c), GMK_OK);
    assert_int_equal(gmk_umetrics_register(&m.u, "c2", GMK_COUNTER, &c2), GMK_OK);
    assert_int_equal(gmk_umetrics_register(&m.u, "g", GMK_GAUGE, &g), GMK_OK);
    assert_int_equal(gmk_umetrics_register(&m.u, "h", GMK_HISTOGRAM, &h), GMK_OK);
    for (uint32_t s = 0; s < 10; s++) {
        gmk_umetrics_inc(&m.u, s, c, UINT32_MAX);
        gmk_umetrics_observe(&m.u, s, h, s);
    }
    gmk_umetrics_inc(&m.u, 10, c, 1); /* no such shard */
    gmk_umetrics_inc(&m.u, 0, g, 1);  /* other kinds, and no metric at all */
    gmk_umetrics_inc(&m.u, 0, 9999, 1);
    gmk_umetrics_set(&m.u, c, 1);
    gmk_umetrics_set(&m.u, 4, 1);
    gmk_umetrics_observe(&m.u, 0, c, 1);
    gmk_umetrics_observe(&m.u, 0, UINT32_MAX, 1);
    assert_true(metric(&m, c) == 10ull * UINT32_MAX);
    assert_int_equal(metric(&m, c2), 0);
    assert_int_equal(metric(&m, h), 10);
    assert_int_equal(metric(&m, g), 0);
    gmk_umetrics_set(&m.u, g, 5);
    gmk_umetrics_set(&m.u, g, INT64_MIN);
    assert_true(metric(&m, g) == (uint64_t)INT64_MIN);
    assert_int_equal(gmk_umetrics_read(&m.u, 4, &v), GMK_ERR_NOTFOUND);
    assert_null(gmk_umetrics_get(&m.u, 4));
    assert_string_equal(gmk_umetrics_get(&m.u, c2)->name, "c2");
    metrics_free(&m);
}

enum { METRIC_THREADS = 4, METRIC_NAMES = 40, METRIC_EACH = 1000 };

typedef struct metric_writer {
    metrics_t *m;
    pthread_barrier_t *start;
    uint32_t shard, failed, id[METRIC_NAMES];
} metric_writer_t;

/* Everybody registers the same names at the same time, and counts in a shard of his own. */
static void *metric_writer(void *arg)
{
    metric_writer_t *w = arg;
    for (uint32_t n = 0; n < METRIC_NAMES; n++) {
        char name[16];
        snprintf(name, sizeof name, "m%u", n);
        pthread_barrier_wait(w->start);
        if (gmk_umetrics_register(&w->m->u, name, n % 4 == 0 ? GMK_HISTOGRAM : GMK_COUNTER, &w->id[n]) !=
            GMK_OK)
            w->failed = 1;
        for (uint32_t i = 0; i < METRIC_EACH; i++) {
            gmk_umetrics_inc(&w->m->u, w->shard, w->id[n], 3);
            gmk_umetrics_observe(&w->m->u, w->shard, w->id[n], i);
        }
    }
    return NULL;
}

static void metrics_are_exact_with_threads(void **state)
{
    (void)state;
    metrics_t m;
    pthread_t t[METRIC_THREADS];
    pthread_barrier_t start;
    static metric_writer_t w[METRIC_THREADS];
    metrics_new(&m, METRIC_NAMES, METRIC_THREADS, METRIC_NAMES / 4);
    assert_int_equal(pthread_barrier_init(&start, NULL, METRIC_THREADS), 0);
    for (uint32_t i = 0; i < METRIC_THREADS; i++) {
        w[i] = (metric_writer_t){.m = &m, .start = &start, .shard = i};
        assert_int_equal(pthread_create(&t[i], NULL, metric_writer, &w[i]), 0);
    }
    for (uint32_t i = 0; i < METRIC_THREADS; i++)
        pthread_join(t[i], NULL);
    pthread_barrier_destroy(&start);
    for (uint32_t i = 0; i < METRIC_THREADS; i++) {
        assert_int_equal(w[i].failed, 0);
        assert_memory_equal(w[i].id, w[0].id, sizeof w[0].id);
    }
    assert_null(gmk_umetrics_get(&m.u, METRIC_NAMES));
    for (uint32_t n = 0; n < METRIC_NAMES; n++)
        assert_int_equal(metric(&m, w[0].id[n]), METRIC_THREADS * METRIC_EACH * (n % 4 == 0 ? 1 : 3));
    metrics_free(&m);
}

/* ---- a kernel to look at --------------------------------------------------------------------- */

enum { N_RINGS = 4, N_TYPES = 8, N_CHANS = 4, CHAN_WORK = 1, CHAN_NEWS = 2 };

typedef struct fake {
    gmk_observed_t o;
    metrics_t m;
    ring_t ring[N_RINGS];
    const char *kernel, *type2;
} fake_t;

static int fake_stats(const gmk_observed_t *o, gmk_stats_t *out)
{
    (void)o;
    memset(out, 0, sizeof *out);
    out->accepted = UINT64_MAX;
    out->completed = 10;
    out->workers = 3;
    return GMK_OK;
}

static int fake_mem(const gmk_observed_t *o, gmk_mem_stats_t *out)
{
    (void)o;
    memset(out, 0, sizeof *out);
    out->arena_bytes = 64u << 20;
    return GMK_OK;
}

static int fake_type(const gmk_observed_t *o, uint32_t type, gmk_type_stats_t *out)
{
    const fake_t *f = o->self;
    static const char *const names[N_TYPES] = {
        [1] = "parse", [2] = "", [3] = "twin", [4] = "twin", [6] = "send"};
    if (names[type] == NULL)
        return GMK_ERR_NOTFOUND;
    memset(out, 0, sizeof *out);
    snprintf(out->name, sizeof out->name, "%s", type == 2 ? f->type2 : names[type]);
    snprintf(out->module, sizeof out->module, "mod");
    out->completed = type * 100;
    out->poisoned = type == 4;
    if (type == 1) {
        out->run_samples = 4;
        out->run_ns_mean = 1500000001;
        out->run_ns_p50 = 999999999;
        out->run_ns_p99 = 2000000000;
        out->delay_samples = 2;
        out->delay_ns_p50 = 5;
        out->delay_ns_p99 = 60000000000;
    }
    return GMK_OK;
}

static int fake_chan(const gmk_observed_t *o, uint32_t index, gmk_chan_stats_t *out)
{
    (void)o;
    if (index != CHAN_WORK && index != CHAN_NEWS)
        return GMK_CHAN_CLOSED;
    memset(out, 0, sizeof *out);
    strcpy(out->name, index == CHAN_WORK ? "app.work" : "app.news");
    out->mode = index == CHAN_WORK ? GMK_P2P : GMK_FANOUT;
    out->emitted = 17;
    out->slots = 1024;
    return GMK_OK;
}

static const gmk_trace_ring_t *fake_ring(const gmk_observed_t *o, uint32_t index, char name[GMK_NAME_MAX + 1])
{
    const fake_t *f = o->self;
    static const char *const names[N_RINGS] = {"worker 0", "worker 1", NULL, "port 0"};
    if (names[index] == NULL)
        return NULL;
    strcpy(name, names[index]);
    return &f->ring[index].r;
}

static void fake_new(fake_t *f)
{
    memset(f, 0, sizeof *f);
    f->type2 = "a\"b\\c\nd";
    metrics_new(&f->m, 32, 2, 2);
    for (int i = 0; i < N_RINGS; i++)
        ring_new(&f->ring[i], 64);
    f->o = (gmk_observed_t){.name = "cpu.0",
                            .self = f,
                            .metrics = &f->m.u,
                            .n_rings = N_RINGS,
                            .n_types = N_TYPES,
                            .n_chans = N_CHANS,
                            .stats = fake_stats,
                            .mem = fake_mem,
                            .type = fake_type,
                            .chan = fake_chan,
                            .ring = fake_ring};
    gmk_clockmap_init(&f->o.clock, 1000, 5000); /* two cycles a nanosecond */
    gmk_clockmap_rate(&f->o.clock, 201000, 105000);
    f->o.now_cycles = 201000;
}

static void fake_free(fake_t *f)
{
    metrics_free(&f->m);
    for (int i = 0; i < N_RINGS; i++)
        ring_free(&f->ring[i]);
}

typedef struct sink {
    unsigned char *data;
    size_t size, largest;
    long calls, fail_at; /* 0 = never */
} sink_t;

static int sink_write(void *arg, const void *data, size_t size)
{
    sink_t *s = arg;
    s->calls++;
    if (s->calls == s->fail_at)
        return -1;
    assert_true(s->fail_at == 0 || s->calls < s->fail_at); /* no call after a failure */
    s->data = realloc(s->data, s->size + size + 1);
    assert_non_null(s->data);
    memcpy(s->data + s->size, data, size);
    s->size += size;
    s->data[s->size] = '\0';
    if (size > s->largest)
        s->largest = size;
    return 0;
}

enum { PROMETHEUS, FXT, CTF_METADATA, CTF_DATA, N_FORMATS };

static int export_as(int format, const gmk_observed_t *o, gmk_write_fn write, void *arg)
{
    switch (format) {
    case PROMETHEUS: return gmk_export_prometheus_from(o, write, arg);
    case FXT: return gmk_export_fxt_from(o, write, arg);
    default: return gmk_export_ctf_from(o, format == CTF_METADATA, write, arg);
    }
}

/* A little history: everything there is to see, on two workers and a port. */
static void play(fake_t *f)
{
    gmk_trace_ring_t *w0 = &f->ring[0].r, *w1 = &f->ring[1].r, *port = &f->ring[3].r;
    gmk_trace_put(port, 1000, GMK_EV_ENQUEUE, 1, 1, 70); /* direct task 70 of type 1 */
    gmk_trace_put(port, 1010, GMK_EV_CHAN_EMIT, 0, CHAN_WORK, 5);
    gmk_trace_put(w0, 1100, GMK_EV_WAKE, 0, 0, 0);
    gmk_trace_put(w0, 1200, GMK_EV_BEGIN, 1, 1, 70);
    gmk_trace_put(w0, 1300, GMK_EV_CHAN_EMIT, 1, CHAN_NEWS, 9); /* in the slice of 70 */
    gmk_trace_put(w0, 1400, GMK_EV_YIELD, 1, 1, 70);
    gmk_trace_put(w0, 1400, GMK_EV_END, 1, 1, 0);
    gmk_trace_put(w1, 1250, GMK_EV_CHAN_BEGIN, 2, CHAN_WORK, 5);
    gmk_trace_put(w1, 1350, GMK_EV_ALLOC_FAIL, 2, 4096, 0);
    gmk_trace_put(w1, 1500, GMK_EV_END, 2, 2, 1);
    gmk_trace_put(w1, 1500, GMK_EV_RETRY, 2, 2, 1);
    gmk_trace_put(w1, 1600, GMK_EV_CHAN_BEGIN, 2, CHAN_WORK, 5); /* the retry */
    gmk_trace_put(w1, 1700, GMK_EV_END, 2, 2, (uint32_t)GMK_FAIL(3));
    gmk_trace_put(w1, 1700, GMK_EV_DEAD, 2, 2, (uint32_t)GMK_FAIL(3));
    gmk_trace_put(w1, 1800, GMK_EV_CHAN_BEGIN, 3, CHAN_NEWS, 9); /* both subscribers */
    gmk_trace_put(w1, 1810, GMK_EV_END, 3, 3, 0);
    gmk_trace_put(w0, 1800, GMK_EV_CHAN_BEGIN, 4, CHAN_NEWS, 9);
    gmk_trace_put(w0, 1900, GMK_EV_END, 4, 4, 0);
    gmk_trace_put(w0, 2000, GMK_EV_BEGIN, 1, 1, 70);              /* after the yield */
    gmk_trace_put(w0, 2100, GMK_EV_USER + 12, 1, 0xdead, 0xbeef); /* still running */
}

/* ---- exporters: what all share --------------------------------------------------------------- */

static void exporters_stop_when_the_writer_fails(void **state)
{
    (void)state;
    fake_t f;
    fake_new(&f);
    for (int i = 0; i < 3; i++)
        play(&f);
    for (int format = 0; format < N_FORMATS; format++) {
        sink_t all = {0};
        assert_int_equal(export_as(format, &f.o, sink_write, &all), GMK_OK);
        assert_true(all.calls >= 1 && all.largest <= 4096);
        for (long at = 1; at <= all.calls; at++) {
            sink_t s = {.fail_at = at};
            assert_int_equal(export_as(format, &f.o, sink_write, &s), GMK_ERR_IO);
            assert_int_equal(s.calls, at);
            free(s.data);
        }
        free(all.data);
        assert_int_equal(export_as(format, NULL, sink_write, &all), GMK_ERR_INVAL);
        assert_int_equal(export_as(format, &f.o, NULL, &all), GMK_ERR_INVAL);
    }
    fake_free(&f);
}

static void *fake_writer(void *arg)
{
    flood_t *f = arg;
    uint64_t t = 1000;
    while (gmk_load32(&f->stop, GMK_ACQ, GMK_KERNEL) == 0) {
        gmk_trace_put(&f->ring.r, t, GMK_EV_BEGIN, 1, 1, (uint32_t)t);
        gmk_trace_put(&f->ring.r, t + 1, GMK_EV_END, 1, 1, 0);
        t += 2;
    }
    return NULL;
}

/* Under a flood an export ends, and what it says is well-formed. */
static void exporters_end_while_workers_write(void **state)
{
    (void)state;
    fake_t f;
    flood_t flood;
    pthread_t w;
    fake_new(&f);
    play(&f);
    memset(&flood, 0, sizeof flood);
    ring_new(&flood.ring, 64);
    ring_t quiet = f.ring[1];
    f.ring[1].r = flood.ring.r; /* readers never look at the writer's position */
    assert_int_equal(pthread_create(&w, NULL, fake_writer, &flood), 0);
    for (int i = 0; i < 20; i++) {
        fxt_trace_t t;
        sink_t fxt = {0}, ctf = {0};
        assert_int_equal(gmk_export_fxt_from(&f.o, sink_write, &fxt), GMK_OK);
        assert_int_equal(gmk_export_ctf_from(&f.o, 0, sink_write, &ctf), GMK_OK);
        const char *bad = fxt_parse(fxt.data, fxt.size, &t);
        if (bad == NULL)
            bad = fxt_check_slices(&t);
        if (bad != NULL)
            fail_msg("%s", bad);
        fxt_free(&t);
        free(fxt.data);
        free(ctf.data);
    }
    gmk_store32(&flood.stop, 1, GMK_REL, GMK_KERNEL);
    pthread_join(w, NULL);
    f.ring[1] = quiet;
    ring_free(&flood.ring);
    fake_free(&f);
}

/* Runs a shell command on what was written to a directory; false when the program is missing. */
static bool have(const char *program)
{
    char cmd[128];
    snprintf(cmd, sizeof cmd, "command -v %s >/dev/null 2>&1", program);
    if (system(cmd) == 0)
        return true;
    print_message("# %s is not installed\n", program);
    return false;
}

static void temp_dir(char dir[64])
{
    strcpy(dir, "/tmp/gmk-observe-XXXXXX");
    assert_non_null(mkdtemp(dir));
}

static void save(const char *dir, const char *name, const sink_t *s)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(s->data, 1, s->size, f), s->size);
    assert_int_equal(fclose(f), 0);
}

/* Output and errors of a command as text; fails the test unless it exits with 0. */
static char *output_of(const char *command)
{
    static char text[65536];
    char cmd[512];
    snprintf(cmd, sizeof cmd, "%s 2>&1", command);
    FILE *p = popen(cmd, "r");
    assert_non_null(p);
    size_t n = fread(text, 1, sizeof text - 1, p);
    text[n] = '\0';
    if (pclose(p) != 0)
        fail_msg("%s\n%s", command, text);
    return text;
}

static void remove_dir(const char *dir)
{
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    assert_int_equal(system(cmd), 0);
}

/* ---- Prometheus ------------------------------------------------------------------------------ */

static void user_metrics_of_every_kind(fake_t *f)
{
    static const struct {
        const char *name;
        int kind;
    } all[] = {
        {"requests", GMK_COUNTER},    {"requests_total", GMK_COUNTER}, {"requests_total_total", GMK_COUNTER},
        {"bytes_total", GMK_COUNTER}, {"_total", GMK_COUNTER},         {"depth", GMK_GAUGE},
        {"depth_total", GMK_GAUGE},   {"depth_count", GMK_GAUGE},      {"depth_count_value", GMK_GAUGE},
        {"size", GMK_HISTOGRAM},      {"size_count", GMK_GAUGE},       {"empty", GMK_HISTOGRAM}};
    uint32_t id;
    for (uint32_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        assert_int_equal(gmk_umetrics_register(&f->m.u, all[i].name, all[i].kind, &id), GMK_OK);
        gmk_umetrics_inc(&f->m.u, 1, id, i + 1);
        gmk_umetrics_set(&f->m.u, id, -(int64_t)i);
    }
    assert_int_equal(gmk_umetrics_register(&f->m.u, "size", GMK_HISTOGRAM, &id), GMK_OK);
    for (uint64_t v = 0; v <= 100; v++)
        gmk_umetrics_observe(&f->m.u, (uint32_t)v % 2, id, v);
}

static void prometheus_says(const char *text, const char *line)
{
    const char *at = strstr(text, line);
    if (at == NULL || (at != text && at[-1] != '\n') || at[strlen(line)] != '\n')
        fail_msg("missing: %s", line);
}

#define PARSE "type=\"parse\",module=\"mod\",type_id=\"1\""

static void prometheus_text(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "# TYPE ggmk_tasks_accepted_total counter",
        "ggmk_tasks_accepted_total{kernel=\"cpu.0\"} 18446744073709551615",
        "ggmk_workers{kernel=\"cpu.0\"} 3",
        "ggmk_memory_arena_bytes{kernel=\"cpu.0\"} 67108864",
        "ggmk_type_completed_total{kernel=\"cpu.0\"," PARSE "} 100",
        "ggmk_type_completed_total{kernel=\"cpu.0\",type=\"a\\\"b\\\\c\\nd\",module=\"mod\",type_id=\"2\"} 200",
        "ggmk_type_poisoned{kernel=\"cpu.0\",type=\"twin\",module=\"mod\",type_id=\"4\"} 1",
        "# TYPE ggmk_type_run_seconds summary",
        "ggmk_type_run_seconds{kernel=\"cpu.0\"," PARSE ",quantile=\"0.5\"} 0.999999999",
        "ggmk_type_run_seconds_sum{kernel=\"cpu.0\"," PARSE "} 6.000000004",
        "ggmk_type_run_seconds_count{kernel=\"cpu.0\"," PARSE "} 4",
        ("ggmk_type_queue_delay_seconds{kernel=\"cpu.0\"," PARSE ",quantile=\"0.99\"}"
         " 60.000000000"),
        "ggmk_channel_emitted_total{kernel=\"cpu.0\",channel=\"app.work\",channel_id=\"1\"} 17",
        "ggmk_user_requests_total{kernel=\"cpu.0\"} 1",
        "ggmk_user_requests_total_total{kernel=\"cpu.0\"} 2",
        "ggmk_user_requests_total_total_total{kernel=\"cpu.0\"} 3",
        "ggmk_user_bytes_total{kernel=\"cpu.0\"} 4",
        "ggmk_user__total_total{kernel=\"cpu.0\"} 5",
        "ggmk_user_depth{kernel=\"cpu.0\"} -5",
        "ggmk_user_depth_total_value{kernel=\"cpu.0\"} -6",
        "ggmk_user_depth_count_value{kernel=\"cpu.0\"} -7",
        "ggmk_user_depth_count_value_value{kernel=\"cpu.0\"} -8",
        "# TYPE ggmk_user_size histogram",
        "ggmk_user_size_bucket{kernel=\"cpu.0\",le=\"0\"} 1",
        "ggmk_user_size_bucket{kernel=\"cpu.0\",le=\"63\"} 64",
        "ggmk_user_size_bucket{kernel=\"cpu.0\",le=\"127\"} 101",
        "ggmk_user_size_bucket{kernel=\"cpu.0\",le=\"+Inf\"} 101",
        "ggmk_user_size_sum{kernel=\"cpu.0\"} 5050",
        "ggmk_user_size_count{kernel=\"cpu.0\"} 101",
        "ggmk_user_empty_bucket{kernel=\"cpu.0\",le=\"+Inf\"} 0",
    };
    fake_t f;
    sink_t s = {0};
    fake_new(&f);
    user_metrics_of_every_kind(&f);
    assert_int_equal(gmk_export_prometheus_from(&f.o, sink_write, &s), GMK_OK);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        prometheus_says((char *)s.data, lines[i]);
    assert_null(strstr((char *)s.data, "le=\"255\""));
    free(s.data);
    s = (sink_t){0};
    f.o.metrics = NULL;
    assert_int_equal(gmk_export_prometheus_from(&f.o, sink_write, &s), GMK_OK);
    assert_null(strstr((char *)s.data, "ggmk_user_"));
    free(s.data);
    fake_free(&f);
}

static void promtool_accepts_it(void **state)
{
    (void)state;
    fake_t f;
    sink_t s = {0};
    char dir[64], cmd[256];
    if (!have("promtool"))
        skip();
    fake_new(&f);
    user_metrics_of_every_kind(&f);
    assert_int_equal(gmk_export_prometheus_from(&f.o, sink_write, &s), GMK_OK);
    temp_dir(dir);
    save(dir, "metrics", &s);
    snprintf(cmd, sizeof cmd, "promtool check metrics < %s/metrics", dir);
    assert_string_equal(output_of(cmd), "");
    remove_dir(dir);
    free(s.data);
    fake_free(&f);
}

/* ---- FXT ------------------------------------------------------------------------------------- */

static const fxt_object_t *object_named(const fxt_trace_t *t, const char *name)
{
    for (size_t i = 0; i < t->n_objects; i++)
        if (strcmp(t->object[i].name, name) == 0)
            return &t->object[i];
    fail_msg("no object %s", name);
    return NULL;
}

/* The event on that track with this kind, name and time. */
static const fxt_event_t *event_at(const fxt_trace_t *t, const char *track, int kind, const char *name,
                                   uint64_t time)
{
    const fxt_object_t *thread = object_named(t, track);
    for (size_t i = 0; i < t->n_events; i++) {
        const fxt_event_t *e = &t->event[i];
        if (e->thread == thread->koid && e->process == thread->process && e->kind == kind &&
            e->time == time && strcmp(e->name, name) == 0)
            return e;
    }
    fail_msg("no event %s on %s at %llu", name, track, (unsigned long long)time);
    return NULL;
}

static uint64_t ns_of(uint64_t cycles) { return 5000 + (cycles - 1000) / 2; }

static void fxt_events_are_right(const fxt_trace_t *t)
{
    const fxt_event_t *e = event_at(t, "worker 0", FXT_BEGIN, "parse", ns_of(1200));
    assert_string_equal(e->category, "ggmk");
    assert_true(e->n_args == 2 && e->arg[0].type == 6 && e->arg[1].type == 2);
    assert_string_equal(e->arg[0].text, "parse");
    assert_string_equal(e->arg[1].name, "seq");
    assert_int_equal(e->arg[1].number, 70);
    e = event_at(t, "worker 1", FXT_END, "a\"b\\c\nd", ns_of(1700));
    assert_true(e->arg[1].type == 1 && (int32_t)e->arg[1].number == GMK_FAIL(3));
    assert_string_equal(e->arg[1].name, "result");
    e = event_at(t, "worker 1", FXT_INSTANT, "alloc_fail", ns_of(1350));
    assert_true(e->n_args == 1 && e->arg[0].number == 4096);
    assert_string_equal(e->arg[0].name, "size");
    e = event_at(t, "worker 0", FXT_INSTANT, "user", ns_of(2100));
    assert_true(e->n_args == 3 && e->arg[0].number == 12 && e->arg[1].number == 0xdead &&
                e->arg[2].number == 0xbeef);
    event_at(t, "worker 0", FXT_INSTANT, "wake", ns_of(1100));
    event_at(t, "worker 0", FXT_END, "parse", ns_of(201000)); /* still running: ends now */
}

/* Arrows: from -> to, each with the key of its flow. */
static void fxt_flows_are_right(const fxt_trace_t *t)
{
    uint64_t direct = event_at(t, "port 0", FXT_FLOW_BEGIN, "enqueue", ns_of(1000))->id;
    uint64_t work = event_at(t, "port 0", FXT_FLOW_BEGIN, "chan_emit", ns_of(1010))->id;
    uint64_t news = event_at(t, "worker 0", FXT_FLOW_BEGIN, "chan_emit", ns_of(1300))->id;
    assert_true(direct != work && work != news && direct != news);
    assert_true(event_at(t, "worker 0", FXT_FLOW_END, "parse", ns_of(1200))->id == direct);
    assert_true(event_at(t, "worker 0", FXT_FLOW_BEGIN, "yield", ns_of(1400))->id == direct);
    assert_true(event_at(t, "worker 0", FXT_FLOW_END, "parse", ns_of(2000))->id == direct);
    assert_true(event_at(t, "worker 1", FXT_FLOW_END, "a\"b\\c\nd", ns_of(1250))->id == work);
    assert_true(event_at(t, "worker 1", FXT_FLOW_BEGIN, "retry", ns_of(1500))->id == work);
    assert_true(event_at(t, "worker 1", FXT_FLOW_END, "a\"b\\c\nd", ns_of(1600))->id == work);
    assert_true(event_at(t, "worker 1", FXT_FLOW_STEP, "twin", ns_of(1800))->id == news);
    assert_true(event_at(t, "worker 0", FXT_FLOW_STEP, "twin", ns_of(1800))->id == news);
    assert_int_equal(fxt_loose_flows(t), 0);
}

static void fxt_tells_the_story(void **state)
{
    (void)state;
    fake_t f;
    sink_t s = {0};
    fxt_trace_t t;
    fake_new(&f);
    play(&f);
    assert_int_equal(gmk_export_fxt_from(&f.o, sink_write, &s), GMK_OK);
    const char *bad = fxt_parse(s.data, s.size, &t);
    if (bad == NULL)
        bad = fxt_check_slices(&t);
    if (bad != NULL)
        fail_msg("%s", bad);
    assert_int_equal(t.ticks_per_second, 1000000000);
    assert_string_equal(t.provider, "cpu.0");
    assert_int_equal(object_named(&t, "cpu.0")->type, 1);
    assert_int_equal(t.n_objects, 4);
    assert_int_equal(object_named(&t, "port 0")->process, object_named(&t, "cpu.0")->koid);
    fxt_events_are_right(&t);
    fxt_flows_are_right(&t);
    fxt_free(&t);
    free(s.data);
    fake_free(&f);
}

/* The parts that only odd traces reach. */
static void fxt_copes_with_gaps(void **state)
{
    (void)state;
    fake_t f;
    sink_t s = {0};
    fxt_trace_t t;
    fake_new(&f);
    gmk_trace_ring_t *r = &f.ring[0].r;
    gmk_trace_put(r, 1000, GMK_EV_END, 1, 1, 0);        /* its beginning was overwritten */
    gmk_trace_put(r, 1100, GMK_EV_YIELD, 1, 1, 70);     /* of a task we have not seen */
    gmk_trace_put(r, 1200, GMK_EV_BEGIN, 5, 5, 71);     /* a type that is gone, no end */
    gmk_trace_put(r, 1300, GMK_EV_CHAN_BEGIN, 7, 3, 1); /* a channel that is gone */
    gmk_trace_put(r, 1400, GMK_EV_END, 7, 7, 0);
    gmk_trace_put(r, 1500, GMK_EV_MAX, 0, 1, 2);            /* an event we do not know */
    gmk_trace_put(r, 900000, GMK_EV_BEGIN, 4000, 4000, 72); /* after the export began */
    assert_int_equal(gmk_export_fxt_from(&f.o, sink_write, &s), GMK_OK);
    const char *bad = fxt_parse(s.data, s.size, &t);
    if (bad == NULL)
        bad = fxt_check_slices(&t);
    if (bad != NULL)
        fail_msg("%s", bad);
    event_at(&t, "worker 0", FXT_INSTANT, "yield", ns_of(1100));
    event_at(&t, "worker 0", FXT_BEGIN, "type.5", ns_of(1200));
    event_at(&t, "worker 0", FXT_END, "type.5", ns_of(1300));
    const fxt_event_t *e = event_at(&t, "worker 0", FXT_BEGIN, "type.7", ns_of(1300));
    assert_string_equal(e->arg[0].text, "channel.3");
    e = event_at(&t, "worker 0", FXT_INSTANT, "user", ns_of(1500));
    assert_int_equal(e->arg[0].number, GMK_EV_MAX);
    event_at(&t, "worker 0", FXT_END, "type.4000", ns_of(900000));
    fxt_free(&t);
    free(s.data);
    fake_free(&f);
}

/* A record as lane `lane` of a many-lane worker writes it. */
static void put_lane(gmk_trace_ring_t *r, uint32_t lane, uint64_t time, uint32_t ev, uint32_t a0, uint32_t a1)
{
    gmk_a64_t *w = &r->words[(r->next.v & r->mask) * GMK_TRACE_WORDS];
    gmk_trace_put(r, time, ev, 0, a0, a1);
    w[2].v |= (uint64_t)lane << 32;
}

static void fxt_gives_lanes_their_tracks(void **state)
{
    (void)state;
    fake_t f;
    sink_t s = {0};
    fxt_trace_t t;
    fake_new(&f);
    for (uint32_t lane = 0; lane < 4; lane++)
        put_lane(&f.ring[0].r, lane, 1000 + lane, GMK_EV_BEGIN, 1, lane);
    for (uint32_t lane = 0; lane < 4; lane++)
        put_lane(&f.ring[0].r, lane, 1100 + lane, GMK_EV_END, 1, 0);
    assert_int_equal(gmk_export_fxt_from(&f.o, sink_write, &s), GMK_OK);
    const char *bad = fxt_parse(s.data, s.size, &t);
    if (bad == NULL)
        bad = fxt_check_slices(&t);
    if (bad != NULL)
        fail_msg("%s", bad);
    event_at(&t, "worker 0", FXT_BEGIN, "parse", ns_of(1000));
    event_at(&t, "worker 0.3", FXT_BEGIN, "parse", ns_of(1003));
    event_at(&t, "worker 0.3", FXT_END, "parse", ns_of(1103));
    fxt_free(&t);
    free(s.data);
    fake_free(&f);
}

/* The key of a message's flow is the same on both sides of a bridge, that of a task is not. */
static void fxt_joins_kernels(void **state)
{
    (void)state;
    uint64_t message[2], task[2];
    for (int k = 0; k < 2; k++) {
        fake_t f;
        sink_t s = {0};
        fxt_trace_t t;
        fake_new(&f);
        play(&f);
        f.o.name = k == 0 ? "cpu.0" : "gpu.0";
        assert_int_equal(gmk_export_fxt_from(&f.o, sink_write, &s), GMK_OK);
        assert_null(fxt_parse(s.data, s.size, &t));
        message[k] = event_at(&t, "port 0", FXT_FLOW_BEGIN, "chan_emit", ns_of(1010))->id;
        task[k] = event_at(&t, "port 0", FXT_FLOW_BEGIN, "enqueue", ns_of(1000))->id;
        fxt_free(&t);
        free(s.data);
        fake_free(&f);
    }
    assert_true(message[0] == message[1]);
    assert_true(task[0] != task[1]);
}

/* ---- CTF ------------------------------------------------------------------------------------- */

static char *babeltrace(const gmk_observed_t *o)
{
    sink_t meta = {0}, data = {0};
    char dir[64], cmd[256];
    assert_int_equal(gmk_export_ctf_from(o, 1, sink_write, &meta), GMK_OK);
    assert_int_equal(gmk_export_ctf_from(o, 0, sink_write, &data), GMK_OK);
    temp_dir(dir);
    save(dir, "metadata", &meta);
    save(dir, "stream", &data);
    snprintf(cmd, sizeof cmd, "babeltrace2 --clock-seconds %s", dir);
    char *text = output_of(cmd);
    remove_dir(dir);
    free(meta.data);
    free(data.data);
    return text;
}

static size_t lines_of(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += *text == '\n';
    return n;
}

static void says(const char *text, const char *what)
{
    if (strstr(text, what) == NULL)
        fail_msg("missing: %s\n%s", what, text);
}

static void babeltrace_tells_the_story(void **state)
{
    (void)state;
    fake_t f;
    if (!have("babeltrace2"))
        skip();
    fake_new(&f);
    play(&f);
    const char *text = babeltrace(&f.o);
    assert_int_equal(lines_of(text), 20);
    says(text,
         ") enqueue: { ring = ( \"port 0\" : container = 3 ), lane = 0, "
         "handler = ( \"parse\" : container = 1 ) }, { type = ( \"parse\" : container = 1 ), seq = 70 }");
    says(text, "[0.000005200] (+0.000000000) end: ");
    says(text, "result = -1003");
    says(text, "channel = ( \"app.news\" : container = 2 ), number = 9");
    says(text, "alloc_fail: ");
    says(
        text,
        "user: { ring = ( \"worker 0\" : container = 0 ), lane = 0, handler = ( \"parse\" : container = 1 ) }, "
        "{ event = 12, a0 = 57005, a1 = 48879 }");
    assert_null(strstr(text, "discarded"));
    fake_free(&f);
}

static void babeltrace_counts_every_record(void **state)
{
    (void)state;
    fake_t f;
    if (!have("babeltrace2"))
        skip();
    fake_new(&f);
    const char *text = babeltrace(&f.o);
    assert_int_equal(lines_of(text), 0); /* an empty trace is a trace */
    uint64_t time = 1000;
    for (uint32_t i = 0; i < 3 * 64; i++) /* several packets, three rings */
        gmk_trace_put(&f.ring[i % 3 == 2 ? 3 : i % 3].r, time += 2, 1 + i % (GMK_EV_MAX - 1), i % 8, i, i);
    text = babeltrace(&f.o);
    assert_int_equal(lines_of(text), 3 * 64);
    assert_null(strstr(text, "discarded"));
    for (uint32_t i = 0; i < 5; i++)
        gmk_trace_put(&f.ring[1].r, time += 2, GMK_EV_TICK, 0, i, 0);
    text = babeltrace(&f.o);
    says(text, "discarded 5 events");
    fake_free(&f);
}

/* ---- formatting ------------------------------------------------------------------------------ */

static void formats_numbers_and_text(void **state)
{
    (void)state;
    sink_t s = {0};
    gmk_out_t out;
    char name[GMK_NAME_MAX + 1];
    gmk_out_begin(&out, sink_write, &s);
    gmk_out_u64(&out, 0);
    gmk_out_str(&out, " ");
    gmk_out_u64(&out, UINT64_MAX);
    gmk_out_str(&out, " ");
    gmk_out_i64(&out, INT64_MIN);
    gmk_out_str(&out, " ");
    gmk_out_seconds(&out, 1000000001);
    gmk_out_str(&out, " ");
    gmk_out_quoted(&out, "a\\\"\n");
    gmk_out_le(&out, 0x636261, 3);
    assert_int_equal(gmk_out_end(&out), GMK_OK);
    assert_string_equal((char *)s.data,
                        "0 18446744073709551615 -9223372036854775808 1.000000001 \"a\\\\\\\"\\n\"abc");
    free(s.data);
    gmk_numbered_name(name, "type.", UINT32_MAX);
    assert_string_equal(name, "type.4294967295");
    gmk_numbered_name(name, "a name that is much longer than fits", 1234);
    assert_string_equal(name, "a name that is much longer 1234");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ring_keeps_every_field),
        cmocka_unit_test(ring_counts_what_was_overwritten),
        cmocka_unit_test(ring_loses_nothing_uncounted),
        cmocka_unit_test(reader_steps_over_a_hole),
        cmocka_unit_test(late_writer_keeps_its_slot),
        cmocka_unit_test(no_torn_record_is_shown),
        cmocka_unit_test(shared_ring_takes_many_writers),
        cmocka_unit_test(clock_maps_exactly),
        cmocka_unit_test(clock_survives_odd_readings),
        cmocka_unit_test(hist_buckets_cover_everything),
        cmocka_unit_test(hist_error_is_bounded),
        cmocka_unit_test(hist_quantiles_are_ranks),
        cmocka_unit_test(hist_is_exact_with_threads),
        cmocka_unit_test(metrics_register),
        cmocka_unit_test(metrics_count),
        cmocka_unit_test(metrics_are_exact_with_threads),
        cmocka_unit_test(formats_numbers_and_text),
        cmocka_unit_test(exporters_stop_when_the_writer_fails),
        cmocka_unit_test(exporters_end_while_workers_write),
        cmocka_unit_test(prometheus_text),
        cmocka_unit_test(promtool_accepts_it),
        cmocka_unit_test(fxt_tells_the_story),
        cmocka_unit_test(fxt_copes_with_gaps),
        cmocka_unit_test(fxt_gives_lanes_their_tracks),
        cmocka_unit_test(fxt_joins_kernels),
        cmocka_unit_test(babeltrace_tells_the_story),
        cmocka_unit_test(babeltrace_counts_every_record),
    };
    return cmocka_run_group_tests_name("observe", tests, NULL, NULL);
}
