/* SPDX-License-Identifier: MIT */
#include "trace_clock.h"

#define DRIFT 10000u /* 100 ppm */

/* Every second sample is dropped: the whole time is covered, more coarsely. */
static void thin(gmk_clocks_t *c)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n; i += 2)
        c->sample[n++] = c->sample[i];
    c->n = n;
}

/* Is what the new one says of the time of the old one better than what that one says? */
static bool worthless(const gmk_clock_sample_t *old, const gmk_clock_sample_t *new_)
{
    return old->generation == new_->generation &&
           old->error > new_->error + (new_->peer_ns - old->peer_ns) / DRIFT;
}

void gmk_clocks_add(gmk_clocks_t *c, uint64_t peer_ns, uint64_t offset, uint64_t error, uint32_t generation)
{
    const gmk_clock_sample_t s = {
        .peer_ns = peer_ns, .offset = offset, .error = error, .generation = generation};
    while (c->n != 0 && worthless(&c->sample[c->n - 1], &s))
        c->n--;
    if (c->n == GMK_CLOCKS_MAX)
        thin(c);
    c->sample[c->n++] = s;
}

/* a + d * num / den without overflow, by shortening what is long: the result is good to 2^-30 of d. */
static uint64_t between(uint64_t a, int64_t d, uint64_t num, uint64_t den)
{
    while (den >= (uint64_t)1 << 31) {
        den >>= 1;
        num >>= 1;
    }
    bool minus = d < 0;
    uint64_t mag = minus ? 0 - (uint64_t)d : (uint64_t)d;
    while (mag >= (uint64_t)1 << 31) { /* no two clocks differ like that: the peer's are wrong */
        mag >>= 1;
        den >>= 1;
    }
    if (den == 0)
        return a;
    uint64_t part = mag * (num & UINT32_MAX) / den + (mag * (num >> 32) / den << 32);
    return minus ? a - part : a + part;
}

uint64_t gmk_clocks_offset(const gmk_clocks_t *c, uint64_t ns, uint32_t generation)
{
    const gmk_clock_sample_t *first = NULL, *last = NULL, *after = NULL, *before = NULL;
    for (uint32_t i = 0; i < c->n && after == NULL; i++) {
        const gmk_clock_sample_t *x = &c->sample[i];
        if (x->generation != generation)
            continue;
        first = first != NULL ? first : x;
        last = x;
        if ((int64_t)(x->peer_ns - ns) <= 0)
            before = x;
        else if (before != NULL)
            after = x;
    }
    if (first == NULL)
        return 0;
    if (after != NULL)
        return between(before->offset, (int64_t)(after->offset - before->offset), ns - before->peer_ns,
                       after->peer_ns - before->peer_ns);
    if (last->peer_ns - first->peer_ns < GMK_CLOCKS_RATE_NS)
        return before != NULL ? last->offset : first->offset;
    int64_t drift = (int64_t)(last->offset - first->offset);
    uint64_t span = last->peer_ns - first->peer_ns;
    return before != NULL ? between(last->offset, drift, ns - last->peer_ns, span)
                          : between(first->offset, -drift, first->peer_ns - ns, span);
}
