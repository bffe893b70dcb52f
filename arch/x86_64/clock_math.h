/* SPDX-License-Identifier: MIT */
/*
 * clock_math.h — measuring one counter by another, and turning counts into nanoseconds.
 *
 * Pure functions over counters given as functions, so that host tests can supply strange ones.  No
 * context matters.
 */
#ifndef ARCH_CLOCK_MATH_H
#define ARCH_CLOCK_MATH_H

#include <stdbool.h>
#include <stdint.h>

/* A counter: it counts up, modulo mask + 1, where mask is all ones. */
typedef struct clock_counter {
    const char *name;
    uint64_t hz; /* 0: not known */
    uint64_t mask;
    uint64_t (*read)(void);
} clock_counter_t;

typedef struct clock_rate {
    uint64_t hz;
    uint32_t spread_ppm; /* between the rounds that were used */
} clock_rate_t;

/* Whether it moves at all within a bounded number of reads. */
bool clock_counts(const clock_counter_t *c);

/*
 * Measures `counter` against `reference` in three rounds of round_us, then in longer ones until they agree.
 * GMK_ERR_TIMEOUT: one of them does not move; GMK_ERR_RANGE: the rounds differ by more than 1 %, or the
 * rate is absurd (below 1 MHz or above 64 GHz).
 */
int clock_measure(const clock_counter_t *counter, const clock_counter_t *reference, uint32_t round_us,
                  clock_rate_t *out);

/* Nanoseconds per count in 32.32 fixed point, hz at least 1. */
uint64_t clock_factor(uint64_t hz);

/* counts * factor >> 32, saturated. */
static inline uint64_t clock_scale(uint64_t counts, uint64_t factor)
{
    unsigned __int128 ns = ((unsigned __int128)counts * factor) >> 32;
    return ns > UINT64_MAX ? UINT64_MAX : (uint64_t)ns;
}

/*
 * The value of a wide counter whose low bits read `now` and that was at `before` when last seen.  A
 * reading more than half the range ahead is one from a little before: `before` stays.
 */
static inline uint64_t clock_extend(uint64_t before, uint64_t now, uint64_t mask)
{
    uint64_t ahead = (now - before) & mask;
    return ahead <= mask / 2 ? before + ahead : before;
}

#endif
