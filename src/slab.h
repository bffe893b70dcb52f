/* SPDX-License-Identifier: MIT */
/*
 * slab.h — kernel objects of one fixed size.
 *
 * The memory comes in segments added at boot or later; objects never move and are known by a
 * 32-bit index across all segments.  Free objects lie on one list of the kernel (Treiber 1986,
 * with a tag against reuse) and on caches, each of one owner (a worker or a port), whose common
 * path touches nothing shared.
 *
 * alloc, free, reserve: any thread; any lanes.  A cache: its owner, all lanes of it.
 * add_segment, set_stranding: one thread at a time, at any moment.
 *
 * RESERVATION.  A reservation is the right to hold an object: whoever holds one of the n granted
 * gets an object from alloc, always.  Free objects may lie in other owners' caches where we do
 * not see them, so that many (the stranding allowance) are never granted: give GMK_SLAB_CACHE
 * for each lane of each cache.  Those who alloc without a reservation get no such promise and
 * break it for the others.
 *
 * THE FIRST 8 BYTES of an object are a gmk_link_t for all its life: one thread may still read
 * them, to no effect, while another has already been given the object.  Its holder uses
 * them through the HAL only.  The rest is the holder's; it is not cleared.
 */
#ifndef GGMK_SLAB_H
#define GGMK_SLAB_H

#include <ggmk/error.h>

#include "mpsc.h"

#define GMK_SLAB_CACHE 32u       /* most objects in a cache */
#define GMK_SLAB_CHAIN 16u       /* objects moved at once between a cache and the list */
#define GMK_SLAB_SEGMENTS 32u    /* most segments */
#define GMK_SLAB_MAX 0x7fffffffu /* most objects */

typedef struct gmk_slab_segment {
    unsigned char *base;
    uint32_t first; /* index of its first object */
    uint32_t count;
} gmk_slab_segment_t;

typedef struct gmk_slab {
    _Alignas(GMK_CACHE_LINE) gmk_a64_t head;     /* tag << 32 | 1 + index of the first free object */
    gmk_a32_t free;                              /* objects on the list; a statistic */
    _Alignas(GMK_CACHE_LINE) gmk_a32_t reserved; /* granted and not given back */
    gmk_a32_t stranding;
    _Alignas(GMK_CACHE_LINE) gmk_a32_t segments; /* published entries of segment[] */
    gmk_a32_t capacity;                          /* objects in them */
    uint32_t units;                              /* size of an object in units of 16 bytes */
    gmk_slab_segment_t segment[GMK_SLAB_SEGMENTS];
} gmk_slab_t;

/* One owner's cache.  All zero is empty. */
typedef struct gmk_slab_cache {
    _Alignas(GMK_CACHE_LINE) gmk_a64_t head; /* tag << 38 | count << 32 | 1 + index of the first */
} gmk_slab_cache_t;

/* obj_size: 8 bytes to 1 MiB, rounded up to 16.  INVAL, RANGE. */
int gmk_slab_init(gmk_slab_t *s, size_t obj_size);

/* Bytes from object to object. */
size_t gmk_slab_object_bytes(const gmk_slab_t *s);

/*
 * Adds `count` objects in count * gmk_slab_object_bytes() bytes at mem, aligned to 16.
 * INVAL (null, not aligned), RANGE (count 0), LIMIT (too many segments or objects).
 */
int gmk_slab_add_segment(gmk_slab_t *s, void *mem, uint32_t count);

/* How many objects are never granted because they may lie in caches. */
void gmk_slab_set_stranding(gmk_slab_t *s, uint32_t n);

bool gmk_slab_reserve(gmk_slab_t *s, uint32_t n); /* all n or nothing */
void gmk_slab_unreserve(gmk_slab_t *s, uint32_t n);

/* An object, or NULL when neither the cache nor the list has one.  cache may be NULL. */
void *gmk_slab_alloc(gmk_slab_t *s, gmk_slab_cache_t *cache);

/* Gives back what alloc of this slab returned, through any cache or none.  NULL is ignored. */
void gmk_slab_free(gmk_slab_t *s, gmk_slab_cache_t *cache, void *p);

/* Puts all that lies in the cache back on the list. */
void gmk_slab_cache_flush(gmk_slab_t *s, gmk_slab_cache_t *cache);

uint32_t gmk_slab_capacity(const gmk_slab_t *s);
uint32_t gmk_slab_reserved(const gmk_slab_t *s);
uint32_t gmk_slab_free_count(const gmk_slab_t *s);            /* on the list; approximate while in use */
uint32_t gmk_slab_cache_count(const gmk_slab_cache_t *cache); /* in the cache */

#endif
