/* SPDX-License-Identifier: MIT */
/*
 * Memory order of the list.  A head word carries a tag that every change increments, so a
 * compare-and-swap that succeeds proves that the list did not change since the word was loaded,
 * and with it every link read in between.  Before that a link may be stale, or the word a holder
 * keeps there: it is checked against the capacity before it is followed, and thrown away when
 * the compare-and-swap fails.  Pushing is a release and popping an acquire: who frees an object is done
 * with it before who allocates it begins.  The links themselves are relaxed: those of a chain
 * were written before the push that published it.  A release by one thread is carried on by the
 * others' compare-and-swaps, which extend its release sequence.
 *
 * A cache works the same at worker scope; only its count rides in the word as well.
 */
#include "slab.h"

#define GMK_SLAB_UNIT 16u
#define GMK_SLAB_OBJECT_MAX ((size_t)1 << 20)
#define GMK_SLAB_TAG ((uint64_t)1 << 32)
#define GMK_SLAB_CACHE_COUNT ((uint64_t)1 << 32)
#define GMK_SLAB_CACHE_TAG ((uint64_t)1 << 38)
#define GMK_SLAB_CACHE_TAGS (~(GMK_SLAB_CACHE_TAG - 1))

/* Some free objects linked by their indices.  A ref is 1 + an index; 0 = none. */
typedef struct gmk_slab_chain {
    uint32_t first;
    uint32_t last;
    uint32_t count;
} gmk_slab_chain_t;

static uint32_t gmk_slab_ref(uint64_t word) { return (uint32_t)word; }

static const gmk_slab_segment_t *gmk_slab_segment_of(const gmk_slab_t *s, uint32_t index)
{
    uint32_t i = 0;

    while (index - s->segment[i].first >= s->segment[i].count)
        i++;
    return &s->segment[i];
}

static gmk_link_t *gmk_slab_at(const gmk_slab_t *s, uint32_t ref)
{
    const gmk_slab_segment_t *g = gmk_slab_segment_of(s, ref - 1);

    return (gmk_link_t *)(void *)(g->base + (size_t)(ref - 1 - g->first) * s->units * GMK_SLAB_UNIT);
}

/* The ref of an object.  A segment's bytes are less than 2^32 units, so a 32-bit division does. */
static uint32_t gmk_slab_ref_of(const gmk_slab_t *s, const void *p)
{
    const gmk_slab_segment_t *g = s->segment;
    uint32_t unit;

    while ((uintptr_t)p - (uintptr_t)g->base >= (uintptr_t)g->count * s->units * GMK_SLAB_UNIT)
        g++;
    unit = (uint32_t)(((uintptr_t)p - (uintptr_t)g->base) / GMK_SLAB_UNIT);
    return g->first + unit / s->units + 1;
}

static uint32_t gmk_slab_next(const gmk_slab_t *s, uint32_t ref)
{
    return gmk_slab_ref(gmk_load64(&gmk_slab_at(s, ref)->next, GMK_RLX, GMK_KERNEL));
}

static void gmk_slab_set_next(const gmk_slab_t *s, uint32_t ref, uint32_t next)
{
    gmk_store64(&gmk_slab_at(s, ref)->next, next, GMK_RLX, GMK_KERNEL);
}

/* Splits the first `count` objects off a chain of at least as many that nobody else can reach. */
static gmk_slab_chain_t gmk_slab_split(const gmk_slab_t *s, gmk_slab_chain_t *from, uint32_t count)
{
    gmk_slab_chain_t part = {from->first, from->first, count};

    for (uint32_t i = 1; i < count; i++)
        part.last = gmk_slab_next(s, part.last);
    from->first = gmk_slab_next(s, part.last);
    from->count -= count;
    return part;
}

/* ---- the list ----------------------------------------------------------------------------- */

static void gmk_slab_list_push(gmk_slab_t *s, gmk_slab_chain_t chain)
{
    uint64_t head = gmk_load64(&s->head, GMK_RLX, GMK_KERNEL);
    uint64_t next;

    (void)gmk_add32(&s->free, chain.count, GMK_RLX, GMK_KERNEL);
    do {
        gmk_slab_set_next(s, chain.last, gmk_slab_ref(head));
        next = ((head & ~(GMK_SLAB_TAG - 1)) + GMK_SLAB_TAG) | chain.first;
    } while (!gmk_cas64(&s->head, &head, next, GMK_REL, GMK_KERNEL));
}

/* Follows at most n links from the head; false when it met a link that cannot be one. */
static bool gmk_slab_list_walk(const gmk_slab_t *s, uint64_t head, uint32_t n, gmk_slab_chain_t *chain,
                               uint32_t *rest)
{
    uint32_t capacity = gmk_load32(&s->capacity, GMK_ACQ, GMK_KERNEL);
    uint32_t ref = gmk_slab_ref(head);

    *chain = (gmk_slab_chain_t){ref, 0, 0};
    while (ref != 0 && chain->count < n) {
        if (ref > capacity)
            return false;
        chain->last = ref;
        chain->count++;
        ref = gmk_slab_next(s, ref);
    }
    *rest = ref;
    return true;
}

/* Takes up to n objects; count 0 when there is none. */
static gmk_slab_chain_t gmk_slab_list_pop(gmk_slab_t *s, uint32_t n)
{
    gmk_slab_chain_t chain;
    uint32_t rest;

    for (uint64_t head = gmk_load64(&s->head, GMK_ACQ, GMK_KERNEL);;) {
        uint64_t next;

        if (!gmk_slab_list_walk(s, head, n, &chain, &rest)) {
            head = gmk_load64(&s->head, GMK_ACQ, GMK_KERNEL);
            continue;
        }
        if (chain.count == 0)
            return chain;
        next = ((head & ~(GMK_SLAB_TAG - 1)) + GMK_SLAB_TAG) | rest;
        if (gmk_cas64(&s->head, &head, next, GMK_ACQ, GMK_KERNEL))
            break;
    }
    (void)gmk_sub32(&s->free, chain.count, GMK_RLX, GMK_KERNEL);
    return chain;
}

/* ---- caches ------------------------------------------------------------------------------- */

static uint32_t gmk_slab_cached(uint64_t word)
{
    return (uint32_t)(word >> 32) & (uint32_t)(GMK_SLAB_CACHE_TAG / GMK_SLAB_CACHE_COUNT - 1);
}

static uint64_t gmk_slab_cache_word(uint64_t before, uint32_t first, uint32_t count)
{
    return ((before & GMK_SLAB_CACHE_TAGS) + GMK_SLAB_CACHE_TAG) | count * GMK_SLAB_CACHE_COUNT | first;
}

/* Puts a chain in front; false when the cache would hold more than it may. */
static bool gmk_slab_cache_push(const gmk_slab_t *s, gmk_slab_cache_t *c, gmk_slab_chain_t chain)
{
    uint64_t word = gmk_load64(&c->head, GMK_RLX, GMK_WORKER);
    uint32_t count;

    do {
        count = gmk_slab_cached(word) + chain.count;
        if (count > GMK_SLAB_CACHE)
            return false;
        gmk_slab_set_next(s, chain.last, gmk_slab_ref(word));
    } while (!gmk_cas64(&c->head, &word, gmk_slab_cache_word(word, chain.first, count), GMK_REL, GMK_WORKER));
    return true;
}

/* The first object's ref, or 0.  Another lane may change the list under us: then we look again. */
static uint32_t gmk_slab_cache_pop(const gmk_slab_t *s, gmk_slab_cache_t *c)
{
    uint64_t word = gmk_load64(&c->head, GMK_ACQ, GMK_WORKER);
    uint32_t ref, next;

    do {
        ref = gmk_slab_ref(word);
        if (ref == 0)
            return 0;
        next = gmk_slab_next(s, ref);
    } while (!gmk_cas64(&c->head, &word, gmk_slab_cache_word(word, next, gmk_slab_cached(word) - 1), GMK_ACQ,
                        GMK_WORKER));
    return ref;
}

/* Takes everything. */
static gmk_slab_chain_t gmk_slab_cache_take(gmk_slab_cache_t *c)
{
    uint64_t word = gmk_load64(&c->head, GMK_ACQ, GMK_WORKER);

    while (gmk_slab_ref(word) != 0 &&
           !gmk_cas64(&c->head, &word, gmk_slab_cache_word(word, 0, 0), GMK_ACQ, GMK_WORKER))
        ;
    return (gmk_slab_chain_t){gmk_slab_ref(word), 0, gmk_slab_cached(word)};
}

/* Puts a chain of `count` into the cache, or on the list when the cache filled up meanwhile. */
static void gmk_slab_cache_give(gmk_slab_t *s, gmk_slab_cache_t *c, gmk_slab_chain_t chain)
{
    if (!gmk_slab_cache_push(s, c, chain))
        gmk_slab_list_push(s, chain);
}

/* The cache is empty: fetches a chain, keeps its first object, and caches the rest. */
static uint32_t gmk_slab_refill(gmk_slab_t *s, gmk_slab_cache_t *c)
{
    gmk_slab_chain_t chain = gmk_slab_list_pop(s, GMK_SLAB_CHAIN);
    uint32_t ref = chain.first;

    if (chain.count > 1) {
        chain.first = gmk_slab_next(s, ref);
        chain.count--;
        gmk_slab_cache_give(s, c, chain);
    }
    return chain.count == 0 ? 0 : ref;
}

/* The cache is full: half of it goes to the list. */
static void gmk_slab_spill(gmk_slab_t *s, gmk_slab_cache_t *c)
{
    gmk_slab_chain_t all = gmk_slab_cache_take(c);
    gmk_slab_chain_t part;

    while (all.count > GMK_SLAB_CHAIN) {
        part = gmk_slab_split(s, &all, GMK_SLAB_CHAIN);
        gmk_slab_list_push(s, part);
    }
    if (all.count != 0) {
        part = gmk_slab_split(s, &all, all.count);
        gmk_slab_cache_give(s, c, part);
    }
}

/* ---- calls -------------------------------------------------------------------------------- */

int gmk_slab_init(gmk_slab_t *s, size_t obj_size)
{
    if (s == NULL)
        return GMK_ERR_INVAL;
    if (obj_size < sizeof(gmk_link_t) || obj_size > GMK_SLAB_OBJECT_MAX)
        return GMK_ERR_RANGE;
    gmk_hal_memset(s, 0, sizeof *s);
    s->units = (uint32_t)((obj_size + GMK_SLAB_UNIT - 1) / GMK_SLAB_UNIT);
    return GMK_OK;
}

size_t gmk_slab_object_bytes(const gmk_slab_t *s) { return (size_t)s->units * GMK_SLAB_UNIT; }

int gmk_slab_add_segment(gmk_slab_t *s, void *mem, uint32_t count)
{
    uint32_t n, first;

    if (s == NULL || mem == NULL || ((uintptr_t)mem & (GMK_SLAB_UNIT - 1)) != 0)
        return GMK_ERR_INVAL;
    if (count == 0)
        return GMK_ERR_RANGE;
    n = gmk_load32(&s->segments, GMK_RLX, GMK_KERNEL);
    first = gmk_load32(&s->capacity, GMK_RLX, GMK_KERNEL);
    if (n == GMK_SLAB_SEGMENTS || count > GMK_SLAB_MAX - first || (uint64_t)count * s->units > UINT32_MAX)
        return GMK_ERR_LIMIT;
    s->segment[n] = (gmk_slab_segment_t){mem, first, count};
    gmk_store32(&s->segments, n + 1, GMK_RLX, GMK_KERNEL);
    /* Partner: the acquire in gmk_slab_list_walk, before an index from this segment is followed. */
    gmk_store32(&s->capacity, first + count, GMK_REL, GMK_KERNEL);
    for (uint32_t ref = first + 1; ref < first + count; ref++)
        gmk_slab_set_next(s, ref, ref + 1);
    gmk_slab_list_push(s, (gmk_slab_chain_t){first + 1, first + count, count});
    return GMK_OK;
}

void gmk_slab_set_stranding(gmk_slab_t *s, uint32_t n) { gmk_store32(&s->stranding, n, GMK_RLX, GMK_KERNEL); }

bool gmk_slab_reserve(gmk_slab_t *s, uint32_t n)
{
    uint64_t capacity = gmk_load32(&s->capacity, GMK_ACQ, GMK_KERNEL);
    uint64_t stranding = gmk_load32(&s->stranding, GMK_RLX, GMK_KERNEL);
    uint32_t reserved = gmk_load32(&s->reserved, GMK_RLX, GMK_KERNEL);

    do {
        if ((uint64_t)reserved + n + stranding > capacity)
            return false;
    } while (!gmk_cas32(&s->reserved, &reserved, reserved + n, GMK_ACQ, GMK_KERNEL));
    return true;
}

void gmk_slab_unreserve(gmk_slab_t *s, uint32_t n)
{
    /* Release, and the acquire above: the objects were back before the right is granted again. */
    (void)gmk_sub32(&s->reserved, n, GMK_REL, GMK_KERNEL);
}

void *gmk_slab_alloc(gmk_slab_t *s, gmk_slab_cache_t *cache)
{
    uint32_t ref;

    if (cache == NULL) {
        ref = gmk_slab_list_pop(s, 1).first;
    } else {
        ref = gmk_slab_cache_pop(s, cache);
        if (ref == 0)
            ref = gmk_slab_refill(s, cache);
    }
    return ref == 0 ? NULL : gmk_slab_at(s, ref);
}

void gmk_slab_free(gmk_slab_t *s, gmk_slab_cache_t *cache, void *p)
{
    gmk_slab_chain_t one = {0, 0, 1};

    if (p == NULL)
        return;
    one.first = gmk_slab_ref_of(s, p);
    one.last = one.first;
    if (cache == NULL) {
        gmk_slab_list_push(s, one);
        return;
    }
    while (!gmk_slab_cache_push(s, cache, one))
        gmk_slab_spill(s, cache);
}

void gmk_slab_cache_flush(gmk_slab_t *s, gmk_slab_cache_t *cache)
{
    gmk_slab_chain_t all = gmk_slab_cache_take(cache);

    if (all.count != 0)
        gmk_slab_list_push(s, gmk_slab_split(s, &all, all.count));
}

uint32_t gmk_slab_capacity(const gmk_slab_t *s) { return gmk_load32(&s->capacity, GMK_RLX, GMK_KERNEL); }

uint32_t gmk_slab_reserved(const gmk_slab_t *s) { return gmk_load32(&s->reserved, GMK_RLX, GMK_KERNEL); }

uint32_t gmk_slab_free_count(const gmk_slab_t *s) { return gmk_load32(&s->free, GMK_RLX, GMK_KERNEL); }

uint32_t gmk_slab_cache_count(const gmk_slab_cache_t *cache)
{
    return gmk_slab_cached(gmk_load64(&cache->head, GMK_RLX, GMK_WORKER));
}
