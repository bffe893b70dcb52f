/* SPDX-License-Identifier: MIT */
#include "hist.h"

/* The lower half of an octave has LOWER buckets, the upper half the rest. */
#define LOWER 9u
#define LOWER_SCALE 18u
#define UPPER_SCALE 12u
#define HALF 0x8000u /* a half, in fractions of 2^16 */

static uint32_t log2_floor(uint64_t v)
{
    uint32_t k = 0;
    for (uint32_t step = 32; step != 0; step >>= 1)
        if (v >> step) {
            v >>= step;
            k += step;
        }
    return k;
}

uint32_t gmk_hist_bucket(uint64_t value)
{
    if (value < GMK_HIST_LINEAR)
        return (uint32_t)value;
    uint32_t k = log2_floor(value);
    uint64_t above = value - (1ull << k);
    uint32_t f = (uint32_t)(k >= 16 ? above >> (k - 16) : above << (16 - k)); /* of the octave, in 2^-16 */
    uint32_t sub = f < HALF ? f * LOWER_SCALE >> 16 : LOWER + ((f - HALF) * UPPER_SCALE >> 16);
    return GMK_HIST_LINEAR + (k - GMK_HIST_LINEAR_BITS) * GMK_HIST_PER_OCTAVE + sub;
}

uint64_t gmk_hist_bucket_low(uint32_t bucket)
{
    if (bucket < GMK_HIST_LINEAR)
        return bucket;
    if (bucket >= GMK_HIST_BUCKETS)
        return UINT64_MAX;
    uint32_t k = GMK_HIST_LINEAR_BITS + (bucket - GMK_HIST_LINEAR) / GMK_HIST_PER_OCTAVE;
    uint32_t sub = (bucket - GMK_HIST_LINEAR) % GMK_HIST_PER_OCTAVE;
    /* The least f that gmk_hist_bucket maps to sub. */
    uint32_t f = sub < LOWER ? ((sub << 16) + LOWER_SCALE - 1) / LOWER_SCALE
                             : HALF + (((sub - LOWER) << 16) + UPPER_SCALE - 1) / UPPER_SCALE;
    uint64_t above = k >= 16 ? (uint64_t)f << (k - 16) : ((uint64_t)f + (1u << (16 - k)) - 1) >> (16 - k);
    return (1ull << k) + above;
}

void gmk_hist_init(gmk_hist_t *h) { gmk_hal_memset(h, 0, sizeof *h); }

void gmk_hist_record(gmk_hist_t *h, uint64_t value, uint64_t weight)
{
    (void)gmk_add64(&h->bucket[gmk_hist_bucket(value)], weight, GMK_RLX, GMK_KERNEL);
    (void)gmk_add64(&h->sum, value * weight, GMK_RLX, GMK_KERNEL);
}

void gmk_hist_merge(gmk_hist_t *dst, const gmk_hist_t *src)
{
    for (uint32_t b = 0; b < GMK_HIST_BUCKETS; b++) {
        uint64_t n = gmk_load64(&src->bucket[b], GMK_RLX, GMK_KERNEL);
        if (n != 0)
            (void)gmk_add64(&dst->bucket[b], n, GMK_RLX, GMK_KERNEL);
    }
    (void)gmk_add64(&dst->sum, gmk_load64(&src->sum, GMK_RLX, GMK_KERNEL), GMK_RLX, GMK_KERNEL);
}

uint64_t gmk_hist_in_bucket(const gmk_hist_t *h, uint32_t shards, uint32_t bucket)
{
    uint64_t n = 0;
    for (uint32_t s = 0; s < shards; s++)
        n += gmk_load64(&h[s].bucket[bucket], GMK_RLX, GMK_KERNEL);
    return n;
}

uint64_t gmk_hist_count(const gmk_hist_t *h, uint32_t shards)
{
    uint64_t n = 0;
    for (uint32_t b = 0; b < GMK_HIST_BUCKETS; b++)
        n += gmk_hist_in_bucket(h, shards, b);
    return n;
}

uint64_t gmk_hist_sum(const gmk_hist_t *h, uint32_t shards)
{
    uint64_t sum = 0;
    for (uint32_t s = 0; s < shards; s++)
        sum += gmk_load64(&h[s].sum, GMK_RLX, GMK_KERNEL);
    return sum;
}

uint64_t gmk_hist_quantile(const gmk_hist_t *h, uint32_t shards, uint32_t permille)
{
    uint64_t count = gmk_hist_count(h, shards);
    if (count == 0)
        return 0;
    /* Rank of the observation, from 1: count * permille / 1000 rounded up, without overflow. */
    uint64_t rank = count / 1000 * permille + (count % 1000 * permille + 999) / 1000;
    if (rank == 0)
        rank = 1;
    uint64_t seen = 0;
    uint32_t b = 0;
    /* Writers only add, so the counts walked now reach at least the rank taken before. */
    for (; b < GMK_HIST_BUCKETS - 1; b++) {
        seen += gmk_hist_in_bucket(h, shards, b);
        if (seen >= rank)
            break;
    }
    uint64_t low = gmk_hist_bucket_low(b), next = gmk_hist_bucket_low(b + 1);
    return low + (next - 1 - low) / 2;
}
