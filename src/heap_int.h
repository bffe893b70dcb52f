/* SPDX-License-Identifier: MIT */
/*
 * heap_int.h — what the files of the heap share: spans, tags, flags and the caches' slots.
 *
 * Only heap*.c includes it.
 *
 * ORDER.  A span's list links, room and bits, and a class's list, are plain data under the flag
 * of the class; the pool's map is plain data under the pool's flag.  A flag is taken with
 * acquire and given back with release.  No thread holds two flags: a span that changes hands
 * is in nobody's list meanwhile.
 * A tag is written under the flag of the class that owns the span (LARGE and INNER: by the
 * thread that owns the run) and read without one.  Whoever holds a block got it, through cache,
 * flag or message, after its span's tag was written, and the tag stays until the block is back;
 * so relaxed order is enough, and a wild pointer merely reads some tag.
 */
#ifndef GMK_HEAP_INT_H
#define GMK_HEAP_INT_H

#include "debug.h"
#include "heap.h"

#define GMK_SPAN_NONE UINT32_MAX
#define GMK_HEAP_COUNTS_BESIDE 6u /* classes from 2 KiB on have their counts beside the span */

/* A tag: kind in bits 0-7, bytes of the span's head above.  Kinds 5 .. 16: blocks of 2^kind bytes. */
enum { GMK_TAG_FREE = 0, GMK_TAG_LARGE = GMK_SPAN_BITS + 1, GMK_TAG_INNER };

struct gmk_span {
    uint32_t next, prev; /* spans of the class that have room */
    uint32_t room;       /* blocks that are here */
    uint32_t scan;       /* bits: no word below this one has a bit set */
    uint32_t run;        /* LARGE: number of spans */
    union {
        uint64_t bits[GMK_SPAN_BYTES >> GMK_HEAP_MIN_BITS >> 6]; /* set = the block is here */
        struct {
            uint64_t bits0;      /* at most 32 blocks: one word of bits */
            gmk_a32_t count[32]; /* of the payloads */
        } beside;
    };
};

/* Debug builds: the last thing that happened to a block, and the task that did it. */
enum { GMK_NOTE_NEW, GMK_NOTE_LIVE, GMK_NOTE_FREED };
struct gmk_block_note {
    gmk_a32_t state, type, seq;
};

typedef struct gmk_block {
    uint32_t span, cls, index; /* cls == GMK_HEAP_CLASSES: a run of spans */
} gmk_block_t;

static inline uint32_t gmk_class_bytes(uint32_t cls) { return 1u << (cls + GMK_HEAP_MIN_BITS); }

/* 1 .. 64 KiB. */
static inline uint32_t gmk_size_class(size_t size)
{
    uint32_t top = (uint32_t)(size - 1) | ((1u << GMK_HEAP_MIN_BITS) - 1);
    return 32u - (uint32_t)__builtin_clz(top) - GMK_HEAP_MIN_BITS;
}

static inline unsigned char *gmk_span_addr(const gmk_heap_t *h, uint32_t span)
{
    return (unsigned char *)(h->base + ((uintptr_t)span << GMK_SPAN_BITS));
}

/*
 * False when p is not the address of a block, as far as the span's tag tells.
 * One comparison finds both a wrong alignment and the head: of the distance from the head's
 * end, turned right by the block's width, a bit below the width or a borrow ends up in the
 * upper half of the word.
 */
static inline bool gmk_block_find(const gmk_heap_t *h, const void *p, gmk_block_t *b)
{
    uint64_t off = (uint64_t)((uintptr_t)p - h->base);
    if (__builtin_expect(off >> GMK_SPAN_BITS >= h->spans, 0))
        return false;
    b->span = (uint32_t)(off >> GMK_SPAN_BITS);
    uint32_t tag = gmk_load32(&h->tag[b->span], GMK_RLX, GMK_KERNEL);
    uint32_t in = (uint32_t)off & (GMK_SPAN_BYTES - 1), kind = tag & 0xff;
    b->cls = kind - GMK_HEAP_MIN_BITS;
    if (__builtin_expect(b->cls >= GMK_HEAP_CLASSES, 0)) {
        b->cls = GMK_HEAP_CLASSES;
        b->index = 0;
        return kind == GMK_TAG_LARGE && in == 0;
    }
    uint32_t from = in - (tag >> 8);
    b->index = in >> kind;
    return (from >> kind | from << (32 - kind)) < GMK_SPAN_BYTES >> GMK_HEAP_MIN_BITS;
}

static inline uint64_t gmk_block_bytes(const gmk_heap_t *h, const gmk_block_t *b)
{
    if (b->cls < GMK_HEAP_CLASSES)
        return gmk_class_bytes(b->cls);
    return (uint64_t)h->span[b->span].run << GMK_SPAN_BITS;
}

static inline gmk_a32_t *gmk_block_count(const gmk_heap_t *h, const gmk_block_t *b)
{
    if (b->cls >= GMK_HEAP_COUNTS_BESIDE)
        return &h->span[b->span].beside.count[b->index];
    return (gmk_a32_t *)(void *)gmk_span_addr(h, b->span) + b->index;
}

/*
 * A counter that one owner writes and anybody reads.  With one lane that takes no locked
 * instruction.  Relaxed: it orders nothing.
 */
static inline void gmk_owner_add64(gmk_a64_t *p, uint64_t v)
{
    if (gmk_hal_lanes() == 1)
        gmk_store64(p, gmk_load64(p, GMK_RLX, GMK_KERNEL) + v, GMK_RLX, GMK_KERNEL);
    else
        (void)gmk_add64(p, v, GMK_RLX, GMK_KERNEL);
}

/* ---- flags: for (r = 0;; r++) { if (try) { ...; give; break; } relax(r); } ------------------ */

static inline bool gmk_flag_try(gmk_a32_t *f)
{
    return gmk_load32(f, GMK_RLX, GMK_KERNEL) == 0 && gmk_xchg32(f, 1, GMK_ACQ, GMK_KERNEL) == 0;
}

static inline void gmk_flag_give(gmk_a32_t *f) { gmk_store32(f, 0, GMK_REL, GMK_KERNEL); }

/* ---- a cache's slots ----------------------------------------------------------------------- */

/* The caller among the lanes of its warp that are here with it. */
typedef struct gmk_among {
    uint32_t rank;
    bool last;
} gmk_among_t;

static inline gmk_among_t gmk_among_lanes(void)
{
    uint32_t lane = gmk_hal_lane() & 31, mask = gmk_hal_coalesce();
    gmk_among_t a = {(uint32_t)__builtin_popcount(mask & ((1u << lane) - 1)), mask >> lane <= 1};
    return a;
}

/*
 * Each slot is handed over by itself: emptied by an exchange (acquire), filled by a
 * compare-and-swap from 0 (release), so a block belongs to exactly one lane and what its last
 * owner did happened before.  `top` only says where to begin; lanes that are here together
 * begin side by side, and the one that went furthest moves it.  With one lane the first slot
 * looked at decides; with several, those who lost it look further, at most at every slot.
 */
static inline uint64_t gmk_cache_pop(gmk_heap_cache_t *c, uint32_t cls)
{
    gmk_among_t a = gmk_among_lanes();
    uint32_t i = gmk_load32(&c->top[cls], GMK_RLX, GMK_WORKER);
    if (a.rank != 0)
        i = i > a.rank ? i - a.rank : 0;
    uint64_t p = gmk_xchg64(&c->slot[cls][i], 0, GMK_ACQ, GMK_WORKER);
    while (gmk_hal_lanes() > 1 && p == 0 && i > 0)
        p = gmk_xchg64(&c->slot[cls][--i], 0, GMK_ACQ, GMK_WORKER);
    if (__builtin_expect(p != 0, 1) && a.last)
        gmk_store32(&c->top[cls], i - 1, GMK_RLX, GMK_WORKER);
    return p;
}

static inline bool gmk_slot_fill(gmk_heap_cache_t *c, uint32_t cls, uint32_t i, uint64_t p)
{
    uint64_t empty = 0;
    return gmk_cas64(&c->slot[cls][i], &empty, p, GMK_REL, GMK_WORKER);
}

static inline bool gmk_cache_push(gmk_heap_cache_t *c, uint32_t cls, uint64_t p)
{
    gmk_among_t a = gmk_among_lanes();
    uint32_t i = gmk_load32(&c->top[cls], GMK_RLX, GMK_WORKER) + 1;
    if (a.rank != 0)
        i = i + a.rank > c->cap[cls] ? c->cap[cls] : i + a.rank;
    bool done = gmk_slot_fill(c, cls, i, p);
    while (gmk_hal_lanes() > 1 && !done && i < c->cap[cls])
        done = gmk_slot_fill(c, cls, ++i, p);
    if (__builtin_expect(done, 1) && a.last)
        gmk_store32(&c->top[cls], i, GMK_RLX, GMK_WORKER);
    return done;
}

/* ---- heap_span.c: the pool and the classes, each under its flag ------------------------------ */

void gmk_pool_init(gmk_span_pool_t *pool, uint64_t *map, uint32_t spans);
/* A span for a class; a run for one block; a run out of the reserve, which is given back as any other. */
enum gmk_pool_for { GMK_POOL_CLASS, GMK_POOL_RUN, GMK_POOL_RESERVED };
/* n contiguous spans, for a class 1: the first one, or GMK_SPAN_NONE. */
uint32_t gmk_pool_take(gmk_heap_t *h, uint32_t n, enum gmk_pool_for what);
void gmk_pool_give(gmk_heap_t *h, uint32_t first, uint32_t n, enum gmk_pool_for what);

void gmk_class_init(gmk_heap_class_t *ce, uint32_t cls);

/*
 * Makes a span that came from the pool ready for a class; it is nobody's yet and is handed in
 * with the next refill.
 */
void gmk_class_carve(gmk_heap_t *h, uint32_t cls, uint32_t span);

/* A block of the class, and up to half a cache into c; 0 when no span has room.  fresh: a
 * carved span to begin with, or GMK_SPAN_NONE. */
uint64_t gmk_class_refill(gmk_heap_t *h, gmk_heap_cache_t *c, uint32_t cls, uint32_t fresh);

/*
 * Gives back block p (0 = none) and up to n blocks of the cache (if any).  False when p was not
 * taken: it is in its span already.
 */
bool gmk_class_return(gmk_heap_t *h, gmk_heap_cache_t *c, uint32_t cls, uint64_t p, uint32_t n);

/* Counts a free of what is not allocated. */
void gmk_heap_bad_free(gmk_heap_t *h);

/* heap.c: a block out of the reserve, NULL = none; that is not counted as a failure. */
void *gmk_heap_alloc_reserved(gmk_heap_t *h, gmk_heap_cache_t *c, size_t size);

/* heap.c: frees the block b, which was found at p. */
bool gmk_block_free(gmk_heap_t *h, gmk_heap_cache_t *c, void *p, gmk_block_t b);

/* ---- heap_debug.c: called in debug builds only ---------------------------------------------- */

void gmk_note_carve(gmk_heap_t *h, uint32_t cls, uint32_t span);
void gmk_note_alloc(gmk_heap_t *h, const gmk_heap_cache_t *c, void *p);
/* False when p must not be freed: the reason was written to the console. */
bool gmk_note_free(gmk_heap_t *h, const gmk_heap_cache_t *c, void *p, const gmk_block_t *b);
/* A retain or release of what is released already. */
void gmk_note_stale(const gmk_heap_t *h, const gmk_heap_cache_t *c, const gmk_block_t *b);
void gmk_note_leak(const gmk_heap_t *h, const gmk_block_t *b);

#endif
