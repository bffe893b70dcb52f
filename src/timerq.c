/* SPDX-License-Identifier: MIT */
/*
 * A radix heap (Ahuja, Mehlhorn, Orlin and Tarjan 1990) over the 128-bit number (key, order).
 *
 * `base` is a lower bound of all nodes in the buckets.  A node lies at the level of the highest
 * byte in which it differs from base, and there in the bucket of its own value of that byte.  So
 * everything at a lower level is earlier, and at one level a lower bucket is.  To pop, take the
 * lowest bucket and make its minimum the new base: the others in it agree with base in
 * the bucket's byte and all above, so they move to lower levels, while all other buckets are
 * where they have to be.  A node moves at most 16 times, in practice two or three times, since a
 * bucket that holds one node only is popped directly.
 *
 * A node that is earlier than base (its time is before that of one already popped) goes to
 * `early`: sorted runs of doubling rank, merged like a binary counter carries.
 */
#include "timerq.h"

#define GMK_TIMERQ_BITS 8u
#define GMK_TIMERQ_FAN (1u << GMK_TIMERQ_BITS)
#define GMK_TIMERQ_HALF (64u / GMK_TIMERQ_BITS) /* levels for the order, then as many for the key */
#define GMK_TIMERQ_LEVELS (2 * GMK_TIMERQ_HALF)
#define GMK_TIMERQ_RUNS 64u

/*
 * Nodes are linked in two lists by turns: emptying a large bucket waits for memory, and so it
 * waits for two nodes at once.
 */
#define GMK_TIMERQ_CHAINS 2u

typedef struct gmk_radix_bucket {
    gmk_tnode_t *first[GMK_TIMERQ_CHAINS]; /* first[0] has the node put in last */
    gmk_tnode_t *min;
    uint64_t min_key; /* of min */
} gmk_radix_bucket_t;

struct gmk_timerq {
    uint64_t base_key, base_order;
    uint64_t count;
    uint32_t levels;                                              /* bit l: level l has a node */
    uint64_t used[GMK_TIMERQ_LEVELS][GMK_TIMERQ_FAN / 64];        /* bit b: bucket b has a node */
    uint64_t runs;                                                /* bit r: early[r] has a node */
    gmk_tnode_t *early[GMK_TIMERQ_RUNS];                          /* at most 2^r nodes, sorted */
    gmk_radix_bucket_t bucket[GMK_TIMERQ_LEVELS][GMK_TIMERQ_FAN]; /* valid where `used` says so */
};

static gmk_tnode_t *gmk_tnode_next(const gmk_tnode_t *n)
{
    return (gmk_tnode_t *)(void *)gmk_link_at(gmk_load64(&n->link.next, GMK_RLX, GMK_KERNEL));
}

static void gmk_tnode_set_next(gmk_tnode_t *n, const gmk_tnode_t *next)
{
    gmk_store64(&n->link.next, (uint64_t)(uintptr_t)next, GMK_RLX, GMK_KERNEL);
}

static bool gmk_tnode_before(const gmk_tnode_t *a, const gmk_tnode_t *b)
{
    return a->key < b->key || (a->key == b->key && a->order < b->order);
}

static uint32_t gmk_top_bit(uint64_t v) { return 63u - (uint32_t)__builtin_clzll(v); }

static uint32_t gmk_low_bit(uint64_t v) { return (uint32_t)__builtin_ctzll(v); }

/* ---- early nodes -------------------------------------------------------------------------- */

static gmk_tnode_t *gmk_early_merge(gmk_tnode_t *a, gmk_tnode_t *b)
{
    gmk_tnode_t *first = gmk_tnode_before(b, a) ? b : a;
    gmk_tnode_t *rest = first == a ? b : a; /* the run that `last` is not in */
    gmk_tnode_t *last = first;

    while (rest != NULL) {
        gmk_tnode_t *next = gmk_tnode_next(last);

        if (next == NULL || gmk_tnode_before(rest, next)) {
            gmk_tnode_set_next(last, rest);
            rest = next;
            next = gmk_tnode_next(last);
        }
        last = next;
    }
    return first;
}

static void gmk_early_insert(gmk_timerq_t *q, gmk_tnode_t *n)
{
    uint32_t rank = 0;

    gmk_tnode_set_next(n, NULL);
    for (; rank < GMK_TIMERQ_RUNS - 1 && (q->runs >> rank & 1) != 0; rank++) {
        n = gmk_early_merge(q->early[rank], n);
        q->runs &= ~((uint64_t)1 << rank);
    }
    q->early[rank] = n;
    q->runs |= (uint64_t)1 << rank;
}

/* The run whose head is the earliest; there is one. */
static uint32_t gmk_early_first(const gmk_timerq_t *q)
{
    uint32_t first = gmk_low_bit(q->runs);

    for (uint64_t rest = q->runs & (q->runs - 1); rest != 0; rest &= rest - 1) {
        uint32_t r = gmk_low_bit(rest);

        if (gmk_tnode_before(q->early[r], q->early[first]))
            first = r;
    }
    return first;
}

static gmk_tnode_t *gmk_early_pop(gmk_timerq_t *q)
{
    uint32_t r = gmk_early_first(q);
    gmk_tnode_t *n = q->early[r];

    q->early[r] = gmk_tnode_next(n);
    if (q->early[r] == NULL)
        q->runs &= ~((uint64_t)1 << r);
    return n;
}

/* ---- buckets ------------------------------------------------------------------------------ */

static void gmk_radix_put(gmk_radix_bucket_t *b, gmk_tnode_t *n)
{
    gmk_tnode_set_next(n, b->first[GMK_TIMERQ_CHAINS - 1]);
    for (uint32_t i = GMK_TIMERQ_CHAINS - 1; i != 0; i--)
        b->first[i] = b->first[i - 1];
    b->first[0] = n;
}

/* The node put in last, or NULL. */
static gmk_tnode_t *gmk_radix_take(gmk_radix_bucket_t *b)
{
    gmk_tnode_t *n = b->first[0];

    for (uint32_t i = 1; i < GMK_TIMERQ_CHAINS; i++)
        b->first[i - 1] = b->first[i];
    b->first[GMK_TIMERQ_CHAINS - 1] = n == NULL ? NULL : gmk_tnode_next(n);
    return n;
}

/* Puts n, which is not earlier than base, into its bucket. */
static void gmk_radix_place(gmk_timerq_t *q, gmk_tnode_t *n)
{
    uint64_t diff = n->key ^ q->base_key;
    uint64_t value = n->key;
    uint32_t level = GMK_TIMERQ_HALF;
    uint32_t slot;
    gmk_radix_bucket_t *b;
    uint64_t *used;

    if (diff == 0) {
        diff = (n->order ^ q->base_order) | 1;
        value = n->order;
        level = 0;
    }
    diff = gmk_top_bit(diff) / GMK_TIMERQ_BITS;
    level += (uint32_t)diff;
    slot = (uint32_t)(value >> (diff * GMK_TIMERQ_BITS)) & (GMK_TIMERQ_FAN - 1);
    b = &q->bucket[level][slot];
    used = &q->used[level][slot / 64];
    if ((*used >> (slot % 64) & 1) == 0) {
        *used |= (uint64_t)1 << (slot % 64);
        q->levels |= 1u << level;
        *b = (gmk_radix_bucket_t){{NULL}, n, n->key};
    } else if (n->key < b->min_key || (n->key == b->min_key && n->order < b->min->order)) {
        b->min = n;
        b->min_key = n->key;
    }
    gmk_radix_put(b, n);
}

/* The lowest level and its lowest bucket; there is one. */
static uint32_t gmk_radix_first(const gmk_timerq_t *q, uint32_t *slot)
{
    uint32_t level = gmk_low_bit(q->levels);
    uint32_t word = 0;

    while (q->used[level][word] == 0)
        word++;
    *slot = word * 64 + gmk_low_bit(q->used[level][word]);
    return level;
}

static void gmk_radix_clear(gmk_timerq_t *q, uint32_t level, uint32_t slot)
{
    uint64_t any = 0;

    q->used[level][slot / 64] &= ~((uint64_t)1 << (slot % 64));
    for (uint32_t i = 0; i < GMK_TIMERQ_FAN / 64; i++)
        any |= q->used[level][i];
    if (any == 0)
        q->levels &= ~(1u << level);
}

static gmk_tnode_t *gmk_radix_pop(gmk_timerq_t *q)
{
    uint32_t slot;
    uint32_t level = gmk_radix_first(q, &slot);
    gmk_radix_bucket_t *b = &q->bucket[level][slot];
    gmk_radix_bucket_t all = *b;
    gmk_tnode_t *n;

    q->base_key = all.min_key;
    q->base_order = all.min->order;
    if (level == 0 && all.first[1] != NULL) { /* all in it are equal */
        n = gmk_radix_take(b);
        b->min = b->first[0];
        return n;
    }
    gmk_radix_clear(q, level, slot);
    while ((n = gmk_radix_take(&all)) != NULL)
        if (n != all.min)
            gmk_radix_place(q, n);
    return all.min;
}

/* ---- calls -------------------------------------------------------------------------------- */

size_t gmk_timerq_bytes(void)
{
    return (sizeof(gmk_timerq_t) + GMK_CACHE_LINE - 1) & ~(size_t)(GMK_CACHE_LINE - 1);
}

gmk_timerq_t *gmk_timerq_init(void *mem)
{
    gmk_timerq_t *q = mem;

    gmk_hal_memset(q, 0, offsetof(gmk_timerq_t, bucket));
    return q;
}

void gmk_timerq_insert(gmk_timerq_t *q, gmk_tnode_t *n)
{
    q->count++;
    if (n->key < q->base_key || (n->key == q->base_key && n->order < q->base_order))
        gmk_early_insert(q, n);
    else
        gmk_radix_place(q, n);
}

/* The smallest key; there is one. */
static uint64_t gmk_timerq_first_key(const gmk_timerq_t *q)
{
    uint32_t level, slot;

    if (q->runs != 0)
        return q->early[gmk_early_first(q)]->key;
    level = gmk_radix_first(q, &slot);
    return q->bucket[level][slot].min_key;
}

bool gmk_timerq_min(const gmk_timerq_t *q, uint64_t *key)
{
    if (q->count == 0)
        return false;
    if (key != NULL)
        *key = gmk_timerq_first_key(q);
    return true;
}

gmk_tnode_t *gmk_timerq_pop(gmk_timerq_t *q)
{
    if (q->count == 0)
        return NULL;
    q->count--;
    return q->runs != 0 ? gmk_early_pop(q) : gmk_radix_pop(q);
}

gmk_tnode_t *gmk_timerq_pop_due(gmk_timerq_t *q, uint64_t now)
{
    return q->count != 0 && gmk_timerq_first_key(q) <= now ? gmk_timerq_pop(q) : NULL;
}

uint64_t gmk_timerq_count(const gmk_timerq_t *q) { return q->count; }
