/* SPDX-License-Identifier: MIT */
/*
 * trace_clock.h — the clock of another kernel, told in this one's time.
 *
 * Each good comparison of the two clocks is a sample: the peer's time, and its offset then (peer = local + offset,
 * modulo 2^64).  A time of the peer's is less the offset between the samples around it, interpolated.  Before the
 * first sample and behind the last the offset goes on at the rate between the two, where they are far enough
 * apart to know it.  Samples of another generation (the bridge was up another time) tell nothing.
 *
 * A sample is as good as its error, which grows with the distance as the clocks drift, by 100 ppm at most: those
 * that a new one makes worthless go.  A fixed number is kept; when there are more, every second one goes, so that the
 * whole time stays covered.  One thread at a time.
 */
#ifndef GMK_TRACE_CLOCK_H
#define GMK_TRACE_CLOCK_H

#include <ggmk/hal.h>

#define GMK_CLOCKS_MAX 256u
#define GMK_CLOCKS_RATE_NS UINT64_C(1000000000) /* samples so far apart tell the rate */

typedef struct gmk_clock_sample {
    uint64_t peer_ns, offset, error;
    uint32_t generation;
} gmk_clock_sample_t;

typedef struct gmk_clocks {
    uint32_t n;
    gmk_clock_sample_t sample[GMK_CLOCKS_MAX]; /* in the order of time */
} gmk_clocks_t;

void gmk_clocks_add(gmk_clocks_t *c, uint64_t peer_ns, uint64_t offset, uint64_t error, uint32_t generation);

/* The offset at a time of the peer's; 0 when nothing is known. */
uint64_t gmk_clocks_offset(const gmk_clocks_t *c, uint64_t peer_ns, uint32_t generation);

#endif
