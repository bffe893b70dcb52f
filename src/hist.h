/* SPDX-License-Identifier: MIT */
/*
 * hist.h — log-linear histogram of 64-bit values.
 *
 * Values below 64 have a bucket each.  Above, each octave has 15: nine of 1/18 of its base in
 * the lower half and six of 1/12 in the upper half, so that a bucket's middle is within 3 %
 * of every value in it.  (A log-linear scale as in HdrHistogram; two widths in an octave
 * instead of one halve the memory for the same bound.)
 *
 * One gmk_hist_t is one shard.  Any thread may record into any shard; a caller that has
 * several threads spreads them over up to GMK_HIST_SHARDS of them, an array in a row, to keep
 * them from sharing lines.  Reading takes the array and never stops a writer.
 *
 * ORDERING: every word is a counter on its own, added to and read relaxed at kernel scope.
 * The number of observations is the sum of the buckets, so a quantile is always taken over
 * exactly the observations its count says.
 */
#ifndef GGMK_HIST_H
#define GGMK_HIST_H

#include <ggmk/hal.h>

#define GMK_HIST_SHARDS 8u
#define GMK_HIST_LINEAR_BITS 6u
#define GMK_HIST_LINEAR (1u << GMK_HIST_LINEAR_BITS)
#define GMK_HIST_PER_OCTAVE 15u
#define GMK_HIST_BUCKETS (GMK_HIST_LINEAR + (64u - GMK_HIST_LINEAR_BITS) * GMK_HIST_PER_OCTAVE)

typedef struct gmk_hist {
    _Alignas(GMK_CACHE_LINE) gmk_a64_t sum;
    gmk_a64_t bucket[GMK_HIST_BUCKETS];
} gmk_hist_t;

/* One thread, before use. */
void gmk_hist_init(gmk_hist_t *h);

/* Counts `weight` observations of value.  Any thread, ANY lanes. */
void gmk_hist_record(gmk_hist_t *h, uint64_t value, uint64_t weight);

/* Adds src's observations to dst.  Any thread. */
void gmk_hist_merge(gmk_hist_t *dst, const gmk_hist_t *src);

/* Of `shards` histograms in a row.  Any thread. */
uint64_t gmk_hist_count(const gmk_hist_t *h, uint32_t shards);
uint64_t gmk_hist_sum(const gmk_hist_t *h, uint32_t shards); /* modulo 2^64 */
uint64_t gmk_hist_in_bucket(const gmk_hist_t *h, uint32_t shards, uint32_t bucket);

/*
 * The value that `permille` thousandths of the observations do not exceed, within 3 %; 0 when
 * there are none.  0 <= permille <= 1000.
 */
uint64_t gmk_hist_quantile(const gmk_hist_t *h, uint32_t shards, uint32_t permille);

/* Bucket of a value; the smallest value of a bucket (of GMK_HIST_BUCKETS: UINT64_MAX). */
uint32_t gmk_hist_bucket(uint64_t value);
uint64_t gmk_hist_bucket_low(uint32_t bucket);

#endif
