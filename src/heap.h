/* SPDX-License-Identifier: MIT */
/*
 * heap.h — blocks and counted payloads from a kernel's arena.
 *
 * The area is cut into spans of 64 KiB.  A span serves one of 12 power-of-two classes
 * (32 B .. 64 KiB) until all its blocks are back, then it returns to the pool of spans;
 * larger requests take contiguous whole spans.  A block of a class is aligned to its size,
 * a larger one to 64 KiB.
 *
 * Before the spans stands a cache, one per worker or port.  Its common path touches the cache
 * and one read-mostly word per span, and has no locked instruction when the worker has one
 * lane.  A miss moves half a cache at a time, under a flag of that class.  Blocks may be freed
 * through any cache, or none.
 *
 * A payload is a block with a 32-bit reference count.  The counts stand apart from the blocks:
 * below 2 KiB at the head of their span, in place of the first blocks, otherwise beside the
 * span's description.  So a payload has the size and alignment of any block.
 *
 * Who may call: every function is for any thread and any lane, unless it says otherwise; `c` is
 * the cache of the calling worker or port, or NULL for a rare caller that has none.
 * Guarantees: bounded time, no system call; a pointer that is no block of the heap is refused
 * as far as the span tells (class, alignment, head).  Debug builds know each block's state.
 */
#ifndef GMK_HEAP_H
#define GMK_HEAP_H

#include <ggmk/error.h>
#include <ggmk/hal.h>
#include <ggmk/mem.h>

#define GMK_SPAN_BITS 16u
#define GMK_SPAN_BYTES (1u << GMK_SPAN_BITS)
#define GMK_HEAP_CLASSES 12u
#define GMK_HEAP_MIN_BITS 5u         /* the smallest class is 32 B */
#define GMK_HEAP_CACHE_MOST 62u      /* a cache keeps at most this many blocks of a class, */
#define GMK_HEAP_CACHE_BYTES 262144u /* and this many bytes, */
#define GMK_HEAP_CACHE_LEAST 8u      /* but never fewer blocks than this; */
#define GMK_HEAP_CACHE_SHARE 64u     /* a registered one holds at most 1/64 of the heap, or 2 blocks */
#define GMK_HEAP_CACHE_FULL 1u       /* what the slot above the last one holds: no address, not empty */

/*
 * The cache of one worker or port.  Slots 1 .. cap hold addresses; 0 is an empty slot.  Slot 0
 * is always empty and slot cap + 1 never, so the common path tests one slot and no bound.
 * `top` is the number of full slots when the worker has one lane, and a hint where to look when
 * several lanes push and pop at once.
 */
typedef struct gmk_heap_cache {
    _Alignas(GMK_CACHE_LINE) gmk_a32_t top[GMK_HEAP_CLASSES];
    uint32_t owner_type, owner_seq; /* the task that runs, set by the worker; debug builds name it */
    uint32_t cap[GMK_HEAP_CLASSES];
    gmk_a64_t payloads;          /* made minus ended through this cache; wraps */
    struct gmk_heap_cache *next; /* registered caches */
    _Alignas(GMK_CACHE_LINE) gmk_a64_t slot[GMK_HEAP_CLASSES][GMK_HEAP_CACHE_MOST + 2];
} gmk_heap_cache_t;

typedef struct gmk_span gmk_span_t;
typedef struct gmk_block_note gmk_block_note_t;

/* The spans of one class that have room.  Guarded by `flag`, except that anyone reads `out`. */
typedef struct gmk_heap_class {
    _Alignas(GMK_CACHE_LINE) gmk_a32_t flag;
    uint32_t head;       /* first span with room, or GMK_SPAN_NONE */
    uint32_t head_bytes; /* of a span: what the counts (and debug notes) displace */
    uint32_t blocks;     /* in a span */
    gmk_a64_t out;       /* blocks taken from the spans: handed out, or in caches */
} gmk_heap_class_t;

/* The spans nobody uses.  Guarded by `flag`, except that anyone reads the counters. */
typedef struct gmk_span_pool {
    _Alignas(GMK_CACHE_LINE) gmk_a32_t flag;
    uint32_t reservers;           /* see gmk_heap_reserve */
    uint64_t *map;                /* a bit per span, set = free */
    uint32_t kept_from, kept_end; /* the reserve: spans [from, end) */
    uint32_t low;                 /* no free span in a word below this one */
    gmk_a64_t used;               /* spans in use */
    gmk_a64_t run_used;           /* of these, by blocks above 64 KiB */
} gmk_span_pool_t;

typedef struct gmk_heap {
    _Alignas(GMK_CACHE_LINE) uintptr_t base; /* of span 0; 64 KiB-aligned */
    uint64_t spans;
    gmk_a32_t *tag;         /* per span: what it holds */
    gmk_span_t *span;       /* per span: its blocks */
    gmk_block_note_t *note; /* debug builds: who used the blocks of 2 KiB and up */
    _Alignas(GMK_CACHE_LINE) gmk_a64_t alloc_fails;
    gmk_a64_t bad_frees, payloads, objects;
    gmk_a32_t cache_flag;
    gmk_heap_cache_t *caches;
    gmk_span_pool_t pool;
    gmk_heap_class_t cls[GMK_HEAP_CLASSES];
} gmk_heap_t;

/*
 * Boot only, one thread.  Takes [base, base + bytes) for good; the descriptions of the spans
 * (about 0.5 %) come from its front.  h->spans says how many spans there are.
 * INVAL (null, or an area that wraps), GMK_ALLOC_FAIL (not room for one span).
 */
int gmk_heap_init(gmk_heap_t *h, void *base, size_t bytes);

/* One thread, before the cache is used. */
void gmk_heap_cache_init(gmk_heap_cache_t *c);

/*
 * A cache whose payloads shall appear in gmk_heap_stats is registered, once, before its first
 * use, and unregistered (which flushes it) before its memory is used for anything else.  One
 * thread per cache.  Registering also cuts the cache down to its share of a small heap, so that
 * idle caches cannot hold most of it.
 */
void gmk_heap_cache_register(gmk_heap_t *h, gmk_heap_cache_t *c);
void gmk_heap_cache_unregister(gmk_heap_t *h, gmk_heap_cache_t *c);

/* Gives every cached block back to its span.  NULL is ignored. */
void gmk_heap_cache_flush(gmk_heap_t *h, gmk_heap_cache_t *c);

/* At least `size` bytes, not zeroed; NULL when exhausted, or size is 0 or wraps (counted). */
void *gmk_heap_alloc(gmk_heap_t *h, gmk_heap_cache_t *c, size_t size);

/* NULL is ignored.  False when p is no block of this heap: then it is counted and nothing happens. */
bool gmk_heap_free(gmk_heap_t *h, gmk_heap_cache_t *c, void *p);

/* Bytes that a block holds, 0 when p is no block of this heap. */
uint64_t gmk_heap_block_size(const gmk_heap_t *h, const void *p);

/* Does [p, p + len) lie in the heap's spans?  A range that wraps does not. */
bool gmk_heap_contains(const gmk_heap_t *h, const void *p, uint64_t len);

/* As gmk_heap_alloc, with a count of 1. */
void *gmk_payload_new(gmk_heap_t *h, gmk_heap_cache_t *c, size_t size);

/*
 * As long as anybody reserves, an eighth of the spans (at most half of the free ones; where they are not free in one
 * piece: a half, a quarter of that, ...) is for gmk_payload_new_reserved alone: for what must find memory although all others have taken what there
 * is.  On and off are counted.  gmk_heap_reserved says how many spans these are; for whoever reserves.
 */
void gmk_heap_reserve(gmk_heap_t *h, bool on);
static inline uint64_t gmk_heap_reserved(const gmk_heap_t *h) { return h->pool.kept_end - h->pool.kept_from; }

/* As gmk_payload_new, out of the reserve: whole spans, so only when gmk_payload_new has failed. */
void *gmk_payload_new_reserved(gmk_heap_t *h, gmk_heap_cache_t *c, size_t size);

/*
 * Adds n to the count.  The caller holds one.
 * INVAL (p is not the address of a block of this heap), STATE (its count is 0: released, or
 * never a payload), LIMIT (the count would pass 2^32 - 1).
 */
int gmk_payload_add(gmk_heap_t *h, void *p, uint32_t n);

/*
 * Takes 1 from the count and frees the block at 0.  INVAL and STATE as above; a release too
 * many is INVAL once the block's span has gone back to the pool.
 */
int gmk_payload_drop(gmk_heap_t *h, gmk_heap_cache_t *c, void *p);

/* The count at this moment; 0 when p is no payload. */
uint32_t gmk_payload_count(const gmk_heap_t *h, const void *p);

/*
 * Fills span_bytes, spans_total, spans_used, block_bytes_used, alloc_fails, bad_frees,
 * payloads_live and objects_live of *out and leaves the rest.  Each number is exact when nobody
 * allocates or frees; meanwhile each is one that was true a moment ago.
 */
void gmk_heap_stats(gmk_heap_t *h, gmk_mem_stats_t *out);

/*
 * Debug builds: writes a console line for each payload whose count is not 0, naming the task
 * that made it (at most `lines` of them), and returns their number.  Release builds: returns
 * the number.  Only while nobody allocates or frees.
 */
uint64_t gmk_heap_report_leaks(gmk_heap_t *h, uint32_t lines);

#endif
