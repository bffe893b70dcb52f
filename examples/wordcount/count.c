/* SPDX-License-Identifier: MIT */
/*
 * count.c — adds up the batches: a hash table a shard, owned by the shard's ordered channel.
 *
 * Deliveries of one shard run one at a time, so its table needs no lock; shards run in
 * parallel.  A shard that has seen as many closing batches as there were chunks emits its most
 * frequent words on wc.top.
 */
#include "wc.h"

#define FIRST_SLOTS 4096u

typedef struct long_word {
    uint8_t *bytes; /* NULL = free slot */
    uint64_t len, hash, count;
} long_word_t;

typedef struct shard {
    wc_entry_t *slots; /* open addressing; count 0 = free */
    long_word_t *longs;
    uint64_t n_slots, used;
    uint64_t n_longs, longs_used;
    uint64_t closed;   /* chunks that are complete here */
    uint64_t expected; /* chunks there were, once known */
    bool end_known, failed;
} shard_t;

/* A candidate for the top: one of the two is set. */
typedef struct ref {
    const wc_entry_t *entry;
    const long_word_t *word;
} ref_t;

static shard_t shards[WC_MAX_SHARDS];
static gmk_chan_t out;

/* ---- the tables --------------------------------------------------------------------------- */

static wc_entry_t *find(wc_entry_t *slots, uint64_t n_slots, uint64_t lo, uint64_t hi)
{
    uint64_t i = wc_hash(lo, hi) >> 8;

    for (;; i++) {
        wc_entry_t *e = &slots[i & (n_slots - 1)];
        if (e->count == 0 || (e->lo == lo && e->hi == hi))
            return e;
    }
}

static bool grow(gmk_ctx_t *c, shard_t *s)
{
    uint64_t n = s->n_slots ? s->n_slots * 2 : FIRST_SLOTS;
    wc_entry_t *slots = gmk_alloc(c, n * sizeof(*slots));

    if (!slots)
        return false;
    for (uint64_t i = 0; i < n; i++)
        slots[i] = (wc_entry_t){.count = 0};
    for (uint64_t i = 0; i < s->n_slots; i++) {
        wc_alive(c, i);
        if (s->slots[i].count)
            *find(slots, n, s->slots[i].lo, s->slots[i].hi) = s->slots[i];
    }
    gmk_free(c, s->slots);
    s->slots = slots;
    s->n_slots = n;
    return true;
}

static bool add_entries(gmk_ctx_t *c, shard_t *s, wc_batch_t *b)
{
    const wc_entry_t *from = wc_entries(b);

    while ((s->used + b->n) * 8 > s->n_slots * 5)
        if (!grow(c, s))
            return false;
    for (uint32_t i = 0; i < b->n; i++) {
        wc_entry_t *e = find(s->slots, s->n_slots, from[i].lo, from[i].hi);
        if (e->count == 0) {
            *e = from[i];
            s->used++;
        } else {
            e->count += from[i].count;
        }
    }
    return true;
}

static bool same(const uint8_t *a, const uint8_t *b, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

static long_word_t *find_long(long_word_t *longs, uint64_t n_longs, const wc_long_t *l, const uint8_t *bytes)
{
    uint64_t i = l->hash >> 8;

    for (;; i++) {
        long_word_t *w = &longs[i & (n_longs - 1)];
        if (!w->bytes || (w->hash == l->hash && w->len == l->len && same(w->bytes, bytes, l->len)))
            return w;
    }
}

static bool grow_longs(gmk_ctx_t *c, shard_t *s)
{
    uint64_t n = s->n_longs ? s->n_longs * 2 : FIRST_SLOTS / 16;
    long_word_t *longs = gmk_alloc(c, n * sizeof(*longs));

    if (!longs)
        return false;
    for (uint64_t i = 0; i < n; i++)
        longs[i] = (long_word_t){.bytes = NULL};
    for (uint64_t i = 0; i < s->n_longs; i++) {
        const long_word_t *w = &s->longs[i];
        if (w->bytes)
            *find_long(longs, n, &(wc_long_t){.len = w->len, .hash = w->hash}, w->bytes) = *w;
    }
    gmk_free(c, s->longs);
    s->longs = longs;
    s->n_longs = n;
    return true;
}

static bool add_long(gmk_ctx_t *c, shard_t *s, const wc_long_t *l, const uint8_t *bytes)
{
    if ((s->longs_used + 1) * 8 > s->n_longs * 5 && !grow_longs(c, s))
        return false;
    long_word_t *w = find_long(s->longs, s->n_longs, l, bytes);
    if (!w->bytes) {
        uint8_t *copy = gmk_alloc(c, l->len);
        if (!copy)
            return false;
        wc_copy(copy, bytes, l->len);
        *w = (long_word_t){.bytes = copy, .len = l->len, .hash = l->hash};
        s->longs_used++;
    }
    w->count++;
    return true;
}

WC_APART static bool add_longs(gmk_ctx_t *c, shard_t *s, wc_batch_t *b)
{
    const uint8_t *from = wc_longs(b);

    for (uint64_t at = 0; at < b->used;) {
        const wc_long_t *l = (const wc_long_t *)(const void *)(from + at);
        if (!add_long(c, s, l, (const uint8_t *)(l + 1)))
            return false;
        at += wc_long_bytes(l->len);
    }
    return true;
}

/* ---- the most frequent words -------------------------------------------------------------- */

static uint64_t count_of(ref_t r) { return r.entry ? r.entry->count : r.word->count; }

static const uint8_t *bytes_of(ref_t r)
{
    return r.entry ? (const uint8_t *)&r.entry->lo : r.word->bytes; /* the keys are the letters, in order */
}

static uint64_t len_of(ref_t r)
{
    if (!r.entry)
        return r.word->len;
    uint64_t n = 0;
    for (const uint8_t *letters = bytes_of(r); n < WC_KEY_LETTERS && letters[n]; n++)
        ;
    return n;
}

/* Does a come before b in the result? */
static bool before(ref_t a, ref_t b)
{
    if (count_of(a) != count_of(b))
        return count_of(a) > count_of(b);
    return wc_word_before(bytes_of(a), len_of(a), bytes_of(b), len_of(b));
}

/* The heap keeps the word that comes last at its root. */
static void sift_down(ref_t *heap, uint64_t n, uint64_t i)
{
    ref_t moved = heap[i];

    for (uint64_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(heap[child], heap[child + 1]))
            child++;
        if (!before(moved, heap[child]))
            break;
        heap[i] = heap[child];
    }
    heap[i] = moved;
}

/* Offers a word to a heap of at most max words; *n is how many it has. */
static void offer(ref_t *heap, uint64_t *n, uint64_t max, ref_t r)
{
    if (*n < max) {
        heap[(*n)++] = r;
        if (*n == max)
            for (uint64_t i = max / 2; i-- > 0;)
                sift_down(heap, max, i);
    } else if (before(r, heap[0])) {
        heap[0] = r;
        sift_down(heap, max, 0);
    }
}

/* Fills heap with the max most frequent words (max is at most what there is), in order. */
static void select_top(gmk_ctx_t *c, const shard_t *s, ref_t *heap, uint64_t max)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i < s->n_slots; i++) {
        wc_alive(c, i);
        if (s->slots[i].count)
            offer(heap, &n, max, (ref_t){.entry = &s->slots[i]});
    }
    for (uint64_t i = 0; i < s->n_longs; i++)
        if (s->longs[i].bytes)
            offer(heap, &n, max, (ref_t){.word = &s->longs[i]});
    while (n > 1) {
        ref_t last = heap[0];
        heap[0] = heap[--n];
        heap[n] = last;
        sift_down(heap, n, 0);
        wc_alive(c, n);
    }
}

static int emit_failure(gmk_ctx_t *c, shard_t *s, int code)
{
    gmk_task_t t = {.type = WC_REPORT, .meta0 = WC_FAILED, .meta1 = (uint64_t)(int64_t)code};

    if (s->failed)
        return GMK_OK;
    s->failed = true;
    return gmk_chan_emit(c, out, &t);
}

static int emit_records(gmk_ctx_t *c, shard_t *s, const ref_t *refs, uint64_t n)
{
    uint64_t bytes = 8;

    for (uint64_t i = 0; i < n; i++)
        bytes += wc_record_bytes(len_of(refs[i]));
    uint8_t *payload = bytes <= UINT32_MAX ? gmk_payload_alloc(c, bytes) : NULL;
    if (!payload)
        return emit_failure(c, s, GMK_ALLOC_FAIL);
    uint8_t *to = payload;
    for (uint64_t i = 0; i < n; i++) {
        wc_record_t *r = (wc_record_t *)(void *)to;
        *r = (wc_record_t){.count = count_of(refs[i]), .len = len_of(refs[i])};
        wc_copy(r + 1, bytes_of(refs[i]), r->len);
        to += wc_record_bytes(r->len);
    }
    gmk_task_t t = {
        .type = WC_REPORT, .flags = GMK_PRIO_0 | GMK_TASK_PAYLOAD_RC, .meta0 = WC_DATA, .meta1 = n};
    t.payload_ptr = (uint64_t)(uintptr_t)payload;
    t.payload_len = (uint32_t)bytes;
    int rc = gmk_chan_emit(c, out, &t); /* never full: it has a slot for every message there can be */
    if (rc != GMK_OK)
        (void)gmk_payload_release(c, payload);
    return rc;
}

WC_APART static int emit_top(gmk_ctx_t *c, shard_t *s)
{
    uint64_t words = s->used + s->longs_used;
    uint64_t max = wc_config.top && wc_config.top < words ? wc_config.top : words;
    ref_t *refs = max ? gmk_alloc(c, max * sizeof(*refs)) : NULL;

    if (max && !refs)
        return emit_failure(c, s, GMK_ALLOC_FAIL);
    if (max)
        select_top(c, s, refs, max);
    int rc = emit_records(c, s, refs, max);
    gmk_free(c, refs);
    return rc;
}

/* ---- deliveries --------------------------------------------------------------------------- */

static int on_words(gmk_ctx_t *c)
{
    const gmk_task_t *t = c->task;
    shard_t *s = &shards[(t->meta0 >> 8) & 0xff];
    uint64_t kind = t->meta0 & 0xff;

    if (kind == WC_FAILED)
        return emit_failure(c, s, (int)(int64_t)t->meta1);
    if (kind == WC_END) {
        s->end_known = true;
        s->expected = t->meta1;
    } else {
        wc_batch_t *b = (wc_batch_t *)(uintptr_t)t->payload_ptr;
        if (!s->failed && (!add_entries(c, s, b) || !add_longs(c, s, b)))
            return emit_failure(c, s, GMK_ALLOC_FAIL);
        s->closed += b->closes;
    }
    if (s->end_known && s->closed == s->expected && !s->failed)
        return emit_top(c, s);
    return GMK_OK;
}

static int init(gmk_ctx_t *c)
{
    const gmk_sub_cfg_t sub = {.handler = WC_COUNT, .order = GMK_ORDERED};
    int rc = gmk_chan_find(c, "wc.top", &out);

    for (uint32_t i = 0; i < wc_config.shards && rc == GMK_OK; i++) {
        gmk_chan_t ch;
        shards[i] = (shard_t){.slots = NULL};
        rc = wc_open_words(c, i, &ch);
        if (rc == GMK_OK)
            rc = gmk_chan_sub(c, ch, &sub, NULL);
    }
    return rc;
}

/* Gives back every table, so that the arena ends as it began. */
static void fini(gmk_ctx_t *c)
{
    for (uint32_t i = 0; i < wc_config.shards; i++) {
        for (uint64_t j = 0; j < shards[i].n_longs; j++)
            gmk_free(c, shards[i].longs[j].bytes);
        gmk_free(c, shards[i].longs);
        gmk_free(c, shards[i].slots);
    }
}

static const gmk_handler_reg_t handlers[] = {{.type = WC_COUNT, .fn = on_words, .name = "wc.count"}};
static const gmk_chan_decl_t channels[] = {
    {.name = "wc.top", .direction = GMK_PRODUCES, .msg_type = WC_REPORT, .slots = WC_TOP_SLOTS},
};

gmk_module_t wc_count = {
    .name = "wc.count",
    .version = 1,
    .handlers = handlers,
    .n_handlers = 1,
    .channels = channels,
    .n_channels = 1,
    .init = init,
    .fini = fini,
};

GMK_MODULE(wc_count);
