/* SPDX-License-Identifier: MIT */
/*
 * heap.c — the heap's area, its caches, and alloc and free.
 */
#include "heap_int.h"

/* ---- set-up -------------------------------------------------------------------------------- */

static uint64_t round_up(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

/* Where the parts of the area lie, as offsets from its base, for n spans. */
struct layout {
    uint64_t tag, span, note, map, spans;
};

static void lay_out(struct layout *l, uintptr_t base, uint64_t n)
{
    l->tag = round_up(base, GMK_CACHE_LINE) - base;
    l->span = l->tag + round_up(n * sizeof(gmk_a32_t), GMK_CACHE_LINE);
    l->note = l->span + round_up(n * sizeof(gmk_span_t), GMK_CACHE_LINE);
    l->map = l->note + (GMK_DEBUG_ON ? round_up(n * 32 * sizeof(gmk_block_note_t), GMK_CACHE_LINE) : 0);
    l->spans = round_up(base + l->map + round_up(n, 64) / 8, GMK_SPAN_BYTES) - base;
}

int gmk_heap_init(gmk_heap_t *h, void *area, size_t bytes)
{
    uintptr_t base = (uintptr_t)area;
    struct layout l;
    if (h == NULL || area == NULL || bytes > UINTPTR_MAX - base)
        return GMK_ERR_INVAL;
    uint64_t n = bytes / GMK_SPAN_BYTES;
    if (n >= GMK_SPAN_NONE)
        n = GMK_SPAN_NONE - 1;
    for (; n > 0; n--) {
        lay_out(&l, base, n);
        if (l.spans <= bytes && n <= (bytes - l.spans) / GMK_SPAN_BYTES)
            break;
    }
    if (n == 0)
        return GMK_ALLOC_FAIL;
    unsigned char *at = area;
    gmk_hal_memset(h, 0, sizeof *h);
    gmk_hal_memset(at + l.tag, 0, l.map - l.tag);
    h->base = base + l.spans;
    h->spans = n;
    h->tag = (gmk_a32_t *)(void *)(at + l.tag);
    h->span = (gmk_span_t *)(void *)(at + l.span);
    h->note = (gmk_block_note_t *)(void *)(at + l.note);
    gmk_pool_init(&h->pool, (uint64_t *)(void *)(at + l.map), (uint32_t)n);
    for (uint32_t cls = 0; cls < GMK_HEAP_CLASSES; cls++)
        gmk_class_init(&h->cls[cls], cls);
    return GMK_OK;
}

/* ---- caches -------------------------------------------------------------------------------- */

static void set_cap(gmk_heap_cache_t *c, uint32_t cls, uint32_t cap)
{
    c->cap[cls] = cap;
    gmk_store64(&c->slot[cls][cap + 1], GMK_HEAP_CACHE_FULL, GMK_RLX, GMK_WORKER);
}

void gmk_heap_cache_init(gmk_heap_cache_t *c)
{
    gmk_hal_memset(c, 0, sizeof *c);
    for (uint32_t cls = 0; cls < GMK_HEAP_CLASSES; cls++) {
        uint32_t cap = GMK_HEAP_CACHE_BYTES / gmk_class_bytes(cls);
        set_cap(c, cls,
                cap < GMK_HEAP_CACHE_LEAST  ? GMK_HEAP_CACHE_LEAST
                : cap > GMK_HEAP_CACHE_MOST ? GMK_HEAP_CACHE_MOST
                                            : cap);
    }
}

static void cut_to_share(const gmk_heap_t *h, gmk_heap_cache_t *c)
{
    uint64_t share = (h->spans << GMK_SPAN_BITS) / GMK_HEAP_CACHE_SHARE;
    for (uint32_t cls = 0; cls < GMK_HEAP_CLASSES; cls++) {
        uint64_t cap = share / gmk_class_bytes(cls);
        if (cap < c->cap[cls])
            set_cap(c, cls, cap < 2 ? 2 : (uint32_t)cap);
    }
}

void gmk_heap_cache_flush(gmk_heap_t *h, gmk_heap_cache_t *c)
{
    if (c == NULL)
        return;
    for (uint32_t cls = 0; cls < GMK_HEAP_CLASSES; cls++)
        if (gmk_hal_lanes() > 1 || gmk_load32(&c->top[cls], GMK_RLX, GMK_WORKER) != 0)
            (void)gmk_class_return(h, c, cls, 0, GMK_HEAP_CACHE_MOST);
}

void gmk_heap_cache_register(gmk_heap_t *h, gmk_heap_cache_t *c)
{
    cut_to_share(h, c);
    for (uint32_t round = 0;; round++) {
        if (gmk_flag_try(&h->cache_flag)) {
            c->next = h->caches;
            h->caches = c;
            gmk_flag_give(&h->cache_flag);
            break;
        }
        gmk_hal_relax(round);
    }
}

static void cache_unlink(gmk_heap_t *h, gmk_heap_cache_t *c)
{
    gmk_heap_cache_t **at = &h->caches;
    while (*at != NULL && *at != c)
        at = &(*at)->next;
    if (*at == NULL)
        return;
    *at = c->next;
    (void)gmk_add64(&h->payloads, gmk_load64(&c->payloads, GMK_RLX, GMK_KERNEL), GMK_RLX, GMK_KERNEL);
    gmk_store64(&c->payloads, 0, GMK_RLX, GMK_KERNEL);
}

void gmk_heap_cache_unregister(gmk_heap_t *h, gmk_heap_cache_t *c)
{
    gmk_heap_cache_flush(h, c);
    for (uint32_t round = 0;; round++) {
        if (gmk_flag_try(&h->cache_flag)) {
            cache_unlink(h, c);
            gmk_flag_give(&h->cache_flag);
            break;
        }
        gmk_hal_relax(round);
    }
}

/* ---- blocks above 64 KiB ------------------------------------------------------------------- */

static void *make_run(gmk_heap_t *h, uint32_t first, uint32_t n)
{
    h->span[first].run = n;
    gmk_store32(&h->span[first].beside.count[0], 0, GMK_RLX, GMK_KERNEL);
    if (GMK_DEBUG_ON)
        gmk_hal_memset(&h->note[(uint64_t)first * 32], 0, sizeof *h->note);
    for (uint32_t i = 1; i < n; i++)
        gmk_store32(&h->tag[first + i], GMK_TAG_INNER, GMK_RLX, GMK_KERNEL);
    gmk_store32(&h->tag[first], GMK_TAG_LARGE, GMK_RLX, GMK_KERNEL);
    return gmk_span_addr(h, first);
}

static void *alloc_run(gmk_heap_t *h, gmk_heap_cache_t *c, size_t size, enum gmk_pool_for what)
{
    if (size == 0 || (size - 1) >> GMK_SPAN_BITS >= h->spans)
        return NULL;
    uint32_t n = (uint32_t)((size - 1) >> GMK_SPAN_BITS) + 1;
    uint32_t first = gmk_pool_take(h, n, what);
    if (first == GMK_SPAN_NONE && c != NULL) {
        gmk_heap_cache_flush(h, c); /* our own idle blocks may hold the spans */
        first = gmk_pool_take(h, n, what);
    }
    return first != GMK_SPAN_NONE ? make_run(h, first, n) : NULL;
}

/* The tag decides between two that free one run; the winner's spans are its own from then on. */
static bool free_run(gmk_heap_t *h, uint32_t first)
{
    uint32_t tag = GMK_TAG_LARGE;
    if (!gmk_cas32(&h->tag[first], &tag, GMK_TAG_FREE, GMK_RLX, GMK_KERNEL))
        return false;
    uint32_t n = h->span[first].run;
    for (uint32_t i = 1; i < n; i++)
        gmk_store32(&h->tag[first + i], GMK_TAG_FREE, GMK_RLX, GMK_KERNEL);
    gmk_pool_give(h, first, n, GMK_POOL_RUN);
    return true;
}

/* ---- alloc --------------------------------------------------------------------------------- */

/*
 * At most four rounds: a span just carved always gives a block, and a cache is flushed once.
 */
static __attribute__((noinline)) void *alloc_refill(gmk_heap_t *h, gmk_heap_cache_t *c, uint32_t cls)
{
    uint32_t fresh = GMK_SPAN_NONE;
    bool flushed = c == NULL;
    for (;;) {
        uint64_t p = gmk_class_refill(h, c, cls, fresh);
        if (p != 0)
            return (void *)(uintptr_t)p;
        fresh = gmk_pool_take(h, 1, GMK_POOL_CLASS);
        if (fresh != GMK_SPAN_NONE) {
            gmk_class_carve(h, cls, fresh);
        } else if (flushed) {
            return NULL;
        } else {
            gmk_heap_cache_flush(h, c); /* our own idle blocks may hold spans of other classes */
            flushed = true;
        }
    }
}

static __attribute__((noinline)) void *alloc_slow(gmk_heap_t *h, gmk_heap_cache_t *c, size_t size)
{
    void *p = size - 1 < GMK_SPAN_BYTES ? alloc_refill(h, c, gmk_size_class(size))
                                        : alloc_run(h, c, size, GMK_POOL_RUN);
    if (p == NULL)
        (void)gmk_add64(&h->alloc_fails, 1, GMK_RLX, GMK_KERNEL);
    else if (GMK_DEBUG_ON)
        gmk_note_alloc(h, c, p);
    return p;
}

void *gmk_heap_alloc(gmk_heap_t *h, gmk_heap_cache_t *c, size_t size)
{
    if (__builtin_expect(c != NULL && size - 1 < GMK_SPAN_BYTES, 1)) { /* a size of 0 wraps */
        void *p = (void *)(uintptr_t)gmk_cache_pop(c, gmk_size_class(size));
        if (__builtin_expect(p != NULL, 1)) {
            if (GMK_DEBUG_ON)
                gmk_note_alloc(h, c, p);
            return p;
        }
    }
    return alloc_slow(h, c, size);
}

void *gmk_heap_alloc_reserved(gmk_heap_t *h, gmk_heap_cache_t *c, size_t size)
{
    void *p = alloc_run(h, c, size, GMK_POOL_RESERVED);
    if (GMK_DEBUG_ON && p != NULL)
        gmk_note_alloc(h, c, p);
    return p;
}

/* ---- free ---------------------------------------------------------------------------------- */

void gmk_heap_bad_free(gmk_heap_t *h) { (void)gmk_add64(&h->bad_frees, 1, GMK_RLX, GMK_KERNEL); }

static __attribute__((noinline)) bool free_slow(gmk_heap_t *h, gmk_heap_cache_t *c, void *p, gmk_block_t b)
{
    bool taken = b.cls < GMK_HEAP_CLASSES
                   ? gmk_class_return(h, c, b.cls, (uintptr_t)p, c != NULL ? c->cap[b.cls] / 2 : 0)
                   : free_run(h, b.span);
    if (!taken)
        gmk_heap_bad_free(h);
    return taken;
}

static __attribute__((noinline)) bool free_nothing(gmk_heap_t *h, const void *p)
{
    if (p == NULL)
        return true;
    gmk_heap_bad_free(h);
    return false;
}

static inline __attribute__((always_inline)) bool free_found(gmk_heap_t *h, gmk_heap_cache_t *c, void *p,
                                                             gmk_block_t b)
{
    if (GMK_DEBUG_ON && !gmk_note_free(h, c, p, &b)) {
        gmk_heap_bad_free(h);
        return false;
    }
    if (__builtin_expect(c != NULL && b.cls < GMK_HEAP_CLASSES, 1) && gmk_cache_push(c, b.cls, (uintptr_t)p))
        return true;
    return free_slow(h, c, p, b);
}

bool gmk_block_free(gmk_heap_t *h, gmk_heap_cache_t *c, void *p, gmk_block_t b)
{
    return free_found(h, c, p, b);
}

bool gmk_heap_free(gmk_heap_t *h, gmk_heap_cache_t *c, void *p)
{
    gmk_block_t b;
    if (__builtin_expect(!gmk_block_find(h, p, &b), 0))
        return free_nothing(h, p);
    return free_found(h, c, p, b);
}

/* ---- questions ----------------------------------------------------------------------------- */

uint64_t gmk_heap_block_size(const gmk_heap_t *h, const void *p)
{
    gmk_block_t b;
    return gmk_block_find(h, p, &b) ? gmk_block_bytes(h, &b) : 0;
}

bool gmk_heap_contains(const gmk_heap_t *h, const void *p, uint64_t len)
{
    uint64_t off = (uint64_t)((uintptr_t)p - h->base), bytes = h->spans << GMK_SPAN_BITS;
    return off <= bytes && len <= bytes - off;
}

static uint64_t live_payloads(gmk_heap_t *h)
{
    uint64_t live = 0;
    for (uint32_t round = 0;; round++) {
        if (gmk_flag_try(&h->cache_flag)) {
            live = gmk_load64(&h->payloads, GMK_RLX, GMK_KERNEL);
            for (const gmk_heap_cache_t *c = h->caches; c != NULL; c = c->next)
                live += gmk_load64(&c->payloads, GMK_RLX, GMK_KERNEL);
            gmk_flag_give(&h->cache_flag);
            break;
        }
        gmk_hal_relax(round);
    }
    return live;
}

void gmk_heap_stats(gmk_heap_t *h, gmk_mem_stats_t *out)
{
    out->span_bytes = GMK_SPAN_BYTES;
    out->spans_total = h->spans;
    out->spans_used = gmk_load64(&h->pool.used, GMK_RLX, GMK_KERNEL);
    out->block_bytes_used = gmk_load64(&h->pool.run_used, GMK_RLX, GMK_KERNEL) << GMK_SPAN_BITS;
    for (uint32_t cls = 0; cls < GMK_HEAP_CLASSES; cls++)
        out->block_bytes_used += gmk_load64(&h->cls[cls].out, GMK_RLX, GMK_KERNEL) * gmk_class_bytes(cls);
    out->alloc_fails = gmk_load64(&h->alloc_fails, GMK_RLX, GMK_KERNEL);
    out->bad_frees = gmk_load64(&h->bad_frees, GMK_RLX, GMK_KERNEL);
    out->payloads_live = live_payloads(h);
    out->objects_live = gmk_load64(&h->objects, GMK_RLX, GMK_KERNEL);
}
