/* SPDX-License-Identifier: MIT */
/*
 * clock_math.c — measuring one counter by another.
 *
 * Reading either may take long now and then: an emulator's CPU thread loses its processor, firmware
 * takes the machine away for a while.  So a sample is the reading of the reference that lay between the
 * two closest readings of the counter out of several, and rounds that disagree are done again.
 */
#include "clock_math.h"

#include <ggmk/error.h>

#define STUCK_READS 100000u
#define ROUND_READS 4000000u /* of the reference; the slowest take 3 us */
#define SAMPLE_TRIES 6u
#define ROUNDS 3u
#define BATCHES 4u
#define GOOD_PPM 500u
#define WORST_PPM 10000u

typedef struct sample {
    uint64_t counter, reference;
} sample_t;

bool clock_counts(const clock_counter_t *c)
{
    uint64_t first = c->read() & c->mask;
    for (uint32_t i = 0; i < STUCK_READS; i++)
        if ((c->read() & c->mask) != first)
            return true;
    return false;
}

static sample_t take_sample(const clock_counter_t *counter, const clock_counter_t *reference)
{
    sample_t best = {0, 0};
    uint64_t closest = UINT64_MAX;
    for (uint32_t i = 0; i < SAMPLE_TRIES; i++) {
        uint64_t before = counter->read(), r = reference->read(), after = counter->read();
        uint64_t apart = (after - before) & counter->mask;
        if (apart < closest) {
            closest = apart;
            best = (sample_t){(before + apart / 2) & counter->mask, r & reference->mask};
        }
    }
    return best;
}

/* a * b / c without 128-bit division, which would need a library; c > 0.  Loses bits only when it must. */
static uint64_t scale_down(uint64_t a, uint64_t b, uint64_t c)
{
    while (a > UINT64_MAX / b) {
        a >>= 1;
        c >>= 1;
    }
    return c != 0 ? a * b / c : 0;
}

/* One round of at least `ticks` of the reference: the rate, or 0 when the reference stopped. */
static uint64_t round_hz(const clock_counter_t *counter, const clock_counter_t *reference, uint64_t ticks)
{
    sample_t begin = take_sample(counter, reference);
    uint32_t reads = 0;
    while (((reference->read() - begin.reference) & reference->mask) < ticks)
        if (++reads == ROUND_READS)
            return 0;
    sample_t end = take_sample(counter, reference);
    uint64_t passed = (end.reference - begin.reference) & reference->mask;
    return scale_down((end.counter - begin.counter) & counter->mask, reference->hz, passed);
}

static bool measure_batch(const clock_counter_t *counter, const clock_counter_t *reference, uint64_t ticks,
                          clock_rate_t *out)
{
    uint64_t least = UINT64_MAX, most = 0, sum = 0;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint64_t hz = round_hz(counter, reference, ticks);
        if (hz == 0)
            return false;
        least = hz < least ? hz : least;
        most = hz > most ? hz : most;
        sum += hz;
    }
    uint64_t ppm = most > least ? scale_down(most - least, 1000000u, least) : 0;
    out->hz = sum - least - most; /* the middle one of three */
    out->spread_ppm = ppm > UINT32_MAX ? UINT32_MAX : (uint32_t)ppm;
    return true;
}

int clock_measure(const clock_counter_t *counter, const clock_counter_t *reference, uint32_t round_us,
                  clock_rate_t *out)
{
    clock_rate_t batch;
    *out = (clock_rate_t){0, UINT32_MAX};
    if (reference->hz == 0 || !clock_counts(reference) || !clock_counts(counter))
        return GMK_ERR_TIMEOUT;
    uint64_t ticks = scale_down(reference->hz, round_us, 1000000u);
    for (uint32_t i = 0; i < BATCHES && out->spread_ppm > GOOD_PPM; i++) {
        if (!measure_batch(counter, reference, ticks, &batch))
            return GMK_ERR_TIMEOUT;
        if (batch.spread_ppm < out->spread_ppm)
            *out = batch;
        if (ticks * 4 <= reference->mask / 2) /* a round must stay well below the reference's range */
            ticks *= 2;
    }
    bool sane = out->hz >= 1000000u && out->hz <= UINT64_C(64000000000);
    return sane && out->spread_ppm <= WORST_PPM ? GMK_OK : GMK_ERR_RANGE;
}

uint64_t clock_factor(uint64_t hz)
{
    uint64_t scaled = UINT64_C(1000000000) << 32;
    return scaled / hz + (scaled % hz >= hz - hz / 2);
}
