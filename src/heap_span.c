/* SPDX-License-Identifier: MIT */
/*
 * heap_span.c — the pool of spans, and the spans of each class.
 */
#include "heap_int.h"

/* ---- the pool ------------------------------------------------------------------------------ */

void gmk_pool_init(gmk_span_pool_t *pool, uint64_t *map, uint32_t spans)
{
    gmk_hal_memset(pool, 0, sizeof *pool);
    pool->map = map;
    for (uint32_t w = 0; w < spans / 64; w++)
        map[w] = ~(uint64_t)0;
    if (spans % 64 != 0)
        map[spans / 64] = ((uint64_t)1 << spans % 64) - 1;
}

/* The bits of word w that stand for spans of [from, end). */
static uint64_t bits_of(uint32_t w, uint32_t from, uint32_t end)
{
    uint64_t bits = ~(uint64_t)0;
    if (w < from / 64 || w * 64 >= end)
        return 0;
    if (w == from / 64)
        bits &= ~(uint64_t)0 << from % 64;
    if (w == end / 64)
        bits &= ((uint64_t)1 << end % 64) - 1;
    return bits;
}

/* What is free in a word of the map for everybody, or (reserved) in the reserve. */
static uint64_t pool_word(const gmk_span_pool_t *pool, uint32_t w, bool reserved)
{
    uint64_t kept = bits_of(w, pool->kept_from, pool->kept_end);
    return pool->map[w] & (reserved ? kept : ~kept);
}

/* Single spans come from the bottom, runs from the top, so that the ones rarely split the others. */
static uint32_t pool_find_one(gmk_span_pool_t *pool, uint32_t words)
{
    for (uint32_t w = pool->low; w < words; w++) {
        uint64_t map = pool_word(pool, w, false);
        if (map != 0) {
            pool->low = w;
            return w * 64 + (uint32_t)__builtin_ctzll(map);
        }
    }
    pool->low = words;
    return GMK_SPAN_NONE;
}

static uint32_t pool_find_run(const gmk_span_pool_t *pool, uint32_t words, uint32_t n, bool reserved)
{
    uint32_t run = 0;
    for (uint32_t w = words; w-- > 0;) {
        uint64_t map = pool_word(pool, w, reserved);
        if (map == 0) {
            run = 0;
            continue;
        }
        for (uint32_t bit = 64; bit-- > 0;) {
            if (map == ~(uint64_t)0 && run + 64 < n) {
                run += 64; /* the whole word, and not yet enough */
                break;
            }
            run = (map >> bit & 1) != 0 ? run + 1 : 0;
            if (run == n)
                return w * 64 + bit;
        }
    }
    return GMK_SPAN_NONE;
}

/* Turns n bits over, beginning with bit `first`. */
static void pool_flip(gmk_span_pool_t *pool, uint32_t first, uint32_t n)
{
    while (n > 0) {
        uint32_t bit = first % 64, k = 64 - bit < n ? 64 - bit : n;
        pool->map[first / 64] ^= (~(uint64_t)0 >> (64 - k)) << bit;
        first += k;
        n -= k;
    }
}

/* Under the flag: only readers of the statistics look without it. */
static void pool_count(gmk_span_pool_t *pool, enum gmk_pool_for what, uint64_t change)
{
    uint64_t used = gmk_load64(&pool->used, GMK_RLX, GMK_KERNEL);
    gmk_store64(&pool->used, used + change, GMK_RLX, GMK_KERNEL);
    if (what != GMK_POOL_CLASS) {
        used = gmk_load64(&pool->run_used, GMK_RLX, GMK_KERNEL);
        gmk_store64(&pool->run_used, used + change, GMK_RLX, GMK_KERNEL);
    }
}

static uint32_t words_of(const gmk_heap_t *h) { return (uint32_t)((h->spans + 63) / 64); }

static uint32_t pool_find(gmk_heap_t *h, uint32_t n, enum gmk_pool_for what)
{
    if (what == GMK_POOL_CLASS)
        return pool_find_one(&h->pool, words_of(h));
    return pool_find_run(&h->pool, words_of(h), n, what == GMK_POOL_RESERVED);
}

uint32_t gmk_pool_take(gmk_heap_t *h, uint32_t n, enum gmk_pool_for what)
{
    gmk_span_pool_t *pool = &h->pool;
    uint32_t first = GMK_SPAN_NONE;
    for (uint32_t round = 0;; round++) {
        if (gmk_flag_try(&pool->flag)) {
            first = pool_find(h, n, what);
            if (first != GMK_SPAN_NONE) {
                pool_flip(pool, first, n);
                pool_count(pool, what, n);
            }
            gmk_flag_give(&pool->flag);
            break;
        }
        gmk_hal_relax(round);
    }
    return first;
}

void gmk_pool_give(gmk_heap_t *h, uint32_t first, uint32_t n, enum gmk_pool_for what)
{
    gmk_span_pool_t *pool = &h->pool;
    for (uint32_t round = 0;; round++) {
        if (gmk_flag_try(&pool->flag)) {
            pool_flip(pool, first, n);
            pool_count(pool, what, 0 - (uint64_t)n);
            if (first / 64 < pool->low)
                pool->low = first / 64;
            gmk_flag_give(&pool->flag);
            break;
        }
        gmk_hal_relax(round);
    }
}

/* Under the flag.  Of what is free at most a half: whoever reserves needs memory too. */
static void pool_keep(gmk_heap_t *h)
{
    gmk_span_pool_t *pool = &h->pool;
    uint64_t half = (h->spans - gmk_load64(&pool->used, GMK_RLX, GMK_KERNEL)) / 2;
    uint32_t n = (uint32_t)(half < h->spans / 8 ? half : h->spans / 8), first = GMK_SPAN_NONE;
    while (n != 0 && (first = pool_find_run(pool, words_of(h), n, false)) == GMK_SPAN_NONE)
        n /= 2;
    pool->kept_from = n != 0 ? first : 0;
    pool->kept_end = pool->kept_from + n;
}

void gmk_heap_reserve(gmk_heap_t *h, bool on)
{
    gmk_span_pool_t *pool = &h->pool;
    for (uint32_t round = 0;; round++) {
        if (gmk_flag_try(&pool->flag)) {
            if (on && pool->reservers++ == 0)
                pool_keep(h);
            if (!on && --pool->reservers == 0)
                pool->kept_from = pool->kept_end = pool->low = 0;
            gmk_flag_give(&pool->flag);
            break;
        }
        gmk_hal_relax(round);
    }
}

/* ---- the spans of a class ------------------------------------------------------------------ */

void gmk_class_init(gmk_heap_class_t *ce, uint32_t cls)
{
    uint32_t bytes = gmk_class_bytes(cls), blocks = GMK_SPAN_BYTES / bytes;
    uint32_t each = (uint32_t)(sizeof(gmk_a32_t) + (GMK_DEBUG_ON ? sizeof(gmk_block_note_t) : 0));
    gmk_hal_memset(ce, 0, sizeof *ce);
    ce->head = GMK_SPAN_NONE;
    if (cls < GMK_HEAP_COUNTS_BESIDE)
        ce->head_bytes = (blocks * each + bytes - 1) & ~(bytes - 1);
    ce->blocks = (GMK_SPAN_BYTES - ce->head_bytes) / bytes;
}

void gmk_class_carve(gmk_heap_t *h, uint32_t cls, uint32_t span)
{
    gmk_span_t *s = &h->span[span];
    uint32_t blocks = GMK_SPAN_BYTES / gmk_class_bytes(cls);
    uint32_t first = blocks - h->cls[cls].blocks; /* blocks below it lie in the head */
    for (uint32_t w = 0; w < (blocks + 63) / 64; w++)
        s->bits[w] = ~(uint64_t)0;
    if (blocks < 64)
        s->bits[0] = ((uint64_t)1 << blocks) - 1;
    for (uint32_t w = 0; w < first / 64; w++)
        s->bits[w] = 0;
    s->bits[first / 64] &= ~(uint64_t)0 << first % 64;
    s->scan = first / 64;
    s->room = h->cls[cls].blocks;
    if (cls < GMK_HEAP_COUNTS_BESIDE)
        gmk_hal_memset(gmk_span_addr(h, span), 0, h->cls[cls].head_bytes);
    else
        gmk_hal_memset(s->beside.count, 0, sizeof s->beside.count);
    if (GMK_DEBUG_ON)
        gmk_note_carve(h, cls, span);
}

static void class_link(gmk_heap_t *h, gmk_heap_class_t *ce, uint32_t span)
{
    h->span[span].prev = GMK_SPAN_NONE;
    h->span[span].next = ce->head;
    if (ce->head != GMK_SPAN_NONE)
        h->span[ce->head].prev = span;
    ce->head = span;
}

static void class_unlink(gmk_heap_t *h, gmk_heap_class_t *ce, uint32_t span)
{
    gmk_span_t *s = &h->span[span];
    if (s->prev != GMK_SPAN_NONE)
        h->span[s->prev].next = s->next;
    else
        ce->head = s->next;
    if (s->next != GMK_SPAN_NONE)
        h->span[s->next].prev = s->prev;
}

static void class_insert(gmk_heap_t *h, uint32_t cls, uint32_t span)
{
    gmk_heap_class_t *ce = &h->cls[cls];
    gmk_store32(&h->tag[span], (cls + GMK_HEAP_MIN_BITS) | ce->head_bytes << 8, GMK_RLX, GMK_KERNEL);
    class_link(h, ce, span);
}

/* Takes a block from the first span of the list; 0 when the list is empty. */
static uint64_t class_take(gmk_heap_t *h, uint32_t cls)
{
    gmk_heap_class_t *ce = &h->cls[cls];
    uint32_t span = ce->head;
    if (span == GMK_SPAN_NONE)
        return 0;
    gmk_span_t *s = &h->span[span];
    while (s->bits[s->scan] == 0)
        s->scan++; /* room > 0, so there is one */
    uint64_t word = s->bits[s->scan];
    uint32_t index = s->scan * 64 + (uint32_t)__builtin_ctzll(word);
    s->bits[s->scan] = word & (word - 1);
    if (--s->room == 0)
        class_unlink(h, ce, span);
    return h->base + ((uintptr_t)span << GMK_SPAN_BITS) + ((uintptr_t)index << (cls + GMK_HEAP_MIN_BITS));
}

/*
 * Puts a block back.  True unless it was there already or its span serves something else (a
 * block freed twice).  A span that has all its blocks leaves the class for the list *empty.
 */
static bool class_put(gmk_heap_t *h, uint32_t cls, uint64_t p, uint32_t *empty)
{
    gmk_heap_class_t *ce = &h->cls[cls];
    gmk_block_t b;
    if (!gmk_block_find(h, (const void *)(uintptr_t)p, &b) || b.cls != cls)
        return false;
    gmk_span_t *s = &h->span[b.span];
    uint64_t bit = (uint64_t)1 << b.index % 64;
    if ((s->bits[b.index / 64] & bit) != 0)
        return false;
    s->bits[b.index / 64] |= bit;
    if (b.index / 64 < s->scan)
        s->scan = b.index / 64;
    if (s->room++ == 0)
        class_link(h, ce, b.span);
    if (s->room == ce->blocks) {
        class_unlink(h, ce, b.span);
        gmk_store32(&h->tag[b.span], GMK_TAG_FREE, GMK_RLX, GMK_KERNEL);
        s->next = *empty;
        *empty = b.span;
    }
    return true;
}

/* Outside the flag: what class_put found empty goes to the pool. */
static void give_empty(gmk_heap_t *h, uint32_t span)
{
    while (span != GMK_SPAN_NONE) {
        uint32_t next = h->span[span].next;
        gmk_pool_give(h, span, 1, GMK_POOL_CLASS);
        span = next;
    }
}

static void class_out(gmk_heap_class_t *ce, uint64_t change)
{
    gmk_store64(&ce->out, gmk_load64(&ce->out, GMK_RLX, GMK_KERNEL) + change, GMK_RLX, GMK_KERNEL);
}

/* Fills empty slots of the cache; returns the number of blocks that went into it. */
static uint32_t fill_cache(gmk_heap_t *h, gmk_heap_cache_t *c, uint32_t cls, uint32_t n, uint32_t *empty)
{
    uint32_t done = 0;
    uint64_t p = 0;
    for (uint32_t i = 1; i <= c->cap[cls] && done < n; i++) {
        if (p == 0 && (p = class_take(h, cls)) == 0)
            break;
        if (!gmk_slot_fill(c, cls, i, p))
            continue;
        p = 0;
        done++;
        gmk_store32(&c->top[cls], i, GMK_RLX, GMK_WORKER);
    }
    if (p != 0) /* other lanes filled every slot meanwhile */
        (void)class_put(h, cls, p, empty);
    return done;
}

uint64_t gmk_class_refill(gmk_heap_t *h, gmk_heap_cache_t *c, uint32_t cls, uint32_t fresh)
{
    gmk_heap_class_t *ce = &h->cls[cls];
    uint32_t empty = GMK_SPAN_NONE;
    uint64_t p = 0;
    for (uint32_t round = 0;; round++) {
        if (gmk_flag_try(&ce->flag)) {
            if (fresh != GMK_SPAN_NONE)
                class_insert(h, cls, fresh);
            else if (c != NULL && gmk_hal_lanes() > 1)
                p = gmk_cache_pop(c, cls); /* another lane may have refilled it */
            if (p == 0 && (p = class_take(h, cls)) != 0)
                class_out(ce, 1 + (c != NULL ? fill_cache(h, c, cls, c->cap[cls] / 2, &empty) : 0));
            gmk_flag_give(&ce->flag);
            break;
        }
        gmk_hal_relax(round);
    }
    give_empty(h, empty);
    return p;
}

/* Takes up to n blocks off the cache's top and puts them back; returns how many were put. */
static uint32_t drain_cache(gmk_heap_t *h, gmk_heap_cache_t *c, uint32_t cls, uint32_t n, uint32_t *empty)
{
    uint32_t i = gmk_hal_lanes() > 1 ? c->cap[cls] : gmk_load32(&c->top[cls], GMK_RLX, GMK_WORKER);
    uint32_t done = 0;
    for (; i > 0 && n > 0; i--) {
        uint64_t p = gmk_xchg64(&c->slot[cls][i], 0, GMK_ACQ, GMK_WORKER);
        if (p == 0)
            continue;
        n--;
        if (class_put(h, cls, p, empty))
            done++;
        else
            gmk_heap_bad_free(h);
    }
    gmk_store32(&c->top[cls], i, GMK_RLX, GMK_WORKER);
    return done;
}

bool gmk_class_return(gmk_heap_t *h, gmk_heap_cache_t *c, uint32_t cls, uint64_t p, uint32_t n)
{
    gmk_heap_class_t *ce = &h->cls[cls];
    uint32_t empty = GMK_SPAN_NONE;
    bool taken = false;
    for (uint32_t round = 0;; round++) {
        if (gmk_flag_try(&ce->flag)) {
            uint32_t done = c != NULL ? drain_cache(h, c, cls, n, &empty) : 0;
            taken = p != 0 && class_put(h, cls, p, &empty);
            class_out(ce, 0 - (uint64_t)(done + (taken ? 1 : 0)));
            gmk_flag_give(&ce->flag);
            break;
        }
        gmk_hal_relax(round);
    }
    give_empty(h, empty);
    return taken;
}
