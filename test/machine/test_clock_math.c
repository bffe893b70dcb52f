/* SPDX-License-Identifier: MIT */
/* Measuring counters against each other, and counts as nanoseconds, on a made-up machine. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <ggmk/error.h>

#include "clock_math.h"

/* True time in ns, moved on by each reading; now and then the machine is away for a while. */
static uint64_t now_ns, read_ns, away_ns, away_every, reads;
static uint64_t tested_hz, reference_hz, reference_offset, reference_stops_at;
static uint32_t drift_ppm; /* the tested counter speeds up by this much each 10 ms */

static void pass(void)
{
    now_ns += read_ns;
    if (away_every != 0 && ++reads % away_every == 0)
        now_ns += away_ns;
}

static uint64_t at(uint64_t hz, uint64_t ns) { return (uint64_t)((unsigned __int128)ns * hz / 1000000000u); }

static uint64_t read_tested(void)
{
    pass();
    return at(tested_hz + tested_hz / 1000000 * drift_ppm * (now_ns / 10000000), now_ns);
}

static uint64_t read_reference(void)
{
    pass();
    uint64_t ns = reference_stops_at != 0 && now_ns > reference_stops_at ? reference_stops_at : now_ns;
    return reference_offset + at(reference_hz, ns);
}

static clock_counter_t tested = {"tested", 0, UINT64_MAX, read_tested};
static clock_counter_t reference = {"reference", 0, UINT64_MAX, read_reference};

static int measure(uint64_t hz, uint64_t ref_hz, uint64_t ref_mask, clock_rate_t *out)
{
    now_ns = 12345;
    reads = 0;
    tested_hz = hz;
    reference_hz = reference.hz = ref_hz;
    reference.mask = ref_mask;
    return clock_measure(&tested, &reference, 10000, out);
}

static int reset(void **state)
{
    (void)state;
    read_ns = 500;
    away_ns = away_every = reference_offset = reference_stops_at = drift_ppm = 0;
    return 0;
}

static bool near(uint64_t got, uint64_t want, uint32_t ppm)
{
    uint64_t apart = got > want ? got - want : want - got;
    return apart <= want / 1000000 * ppm;
}

static void quiet_machine(void **state)
{
    static const uint64_t rates[] = {62500000, 1000000000, 2400000000, 3579545000};
    clock_rate_t r;
    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(measure(rates[i], 3579545, 0xffffff, &r), GMK_OK);
        assert_true(near(r.hz, rates[i], 150));
        assert_int_equal(measure(rates[i], 100000000, UINT64_MAX, &r), GMK_OK);
        assert_true(near(r.hz, rates[i], 50));
        assert_int_equal(measure(rates[i], 14318180, UINT32_MAX, &r), GMK_OK);
        assert_true(near(r.hz, rates[i], 100));
        assert_int_equal(measure(rates[i], 1193182, 0xffff, &r), GMK_OK);
        assert_true(near(r.hz, rates[i], 300));
    }
}

/* The reference wraps in the middle of a round. */
static void wrapping(void **state)
{
    clock_rate_t r;
    (void)state;
    for (uint32_t i = 0; i < 40; i++) {
        reference_offset = 0x1000000 - i * 4000;
        assert_int_equal(measure(2000000000, 3579545, 0xffffff, &r), GMK_OK);
        assert_true(near(r.hz, 2000000000, 150));
    }
}

/* Away for 3 ms in one of 50 readings: a sample is taken from the undisturbed ones. */
static void noisy_machine(void **state)
{
    clock_rate_t r;
    (void)state;
    away_ns = 3000000;
    for (away_every = 17; away_every < 60; away_every++) {
        assert_int_equal(measure(2000000000, 3579545, 0xffffff, &r), GMK_OK);
        assert_true(near(r.hz, 2000000000, 1000));
    }
}

static void stuck(void **state)
{
    clock_rate_t r;
    (void)state;
    assert_int_equal(measure(2000000000, 0, UINT64_MAX, &r), GMK_ERR_TIMEOUT);
    reference_stops_at = 1;
    assert_int_equal(measure(2000000000, 3579545, 0xffffff, &r), GMK_ERR_TIMEOUT);
    reference_stops_at = 5000000; /* it works at first */
    assert_int_equal(measure(2000000000, 3579545, 0xffffff, &r), GMK_ERR_TIMEOUT);
    reference_stops_at = 0;
    assert_int_equal(measure(0, 3579545, 0xffffff, &r), GMK_ERR_TIMEOUT);
}

static void absurd(void **state)
{
    clock_rate_t r;
    (void)state;
    assert_int_equal(measure(900000, 100000000, UINT64_MAX, &r), GMK_ERR_RANGE);
    assert_int_equal(measure(UINT64_C(70000000000), 100000000, UINT64_MAX, &r), GMK_ERR_RANGE);
    drift_ppm = 30000;
    assert_int_equal(measure(2000000000, 100000000, UINT64_MAX, &r), GMK_ERR_RANGE);
    assert_true(r.spread_ppm > 10000);
}

/* A whole year stays within a millisecond of the exact value, whatever the rate. */
static void scaling(void **state)
{
    static const uint64_t rates[] = {3579545, 14318180, 100000000, 999999999, 2400000000, 5300000000};
    (void)state;
    for (uint32_t i = 0; i < 6; i++) {
        uint64_t year = UINT64_C(31536000), factor = clock_factor(rates[i]);
        assert_true(near(clock_scale(year * rates[i], factor), year * 1000000000, 1));
        assert_true(clock_scale(0, factor) == 0);
        uint64_t before = 0;
        for (uint64_t c = UINT64_MAX / 4 - 1000; c < UINT64_MAX / 4; c++) {
            uint64_t ns = clock_scale(c, factor);
            assert_true(ns >= before);
            before = ns;
        }
    }
    assert_int_equal(clock_scale(UINT64_MAX, clock_factor(1000000)), UINT64_MAX);
    assert_int_equal(clock_factor(1000000000), UINT64_C(1) << 32);
}

static void extending(void **state)
{
    (void)state;
    assert_int_equal(clock_extend(0x5fffff0, 0xfffff5, 0xffffff), 0x5fffff5);
    assert_int_equal(clock_extend(0x5fffff0, 0x000005, 0xffffff), 0x6000005);
    assert_int_equal(clock_extend(0x5fffff0, 0xfffff0, 0xffffff), 0x5fffff0);
    assert_int_equal(clock_extend(0x6000005, 0xfffff0, 0xffffff), 0x6000005); /* from before the wrap */
    assert_int_equal(clock_extend(0, 0x7fffff, 0xffffff), 0x7fffff);
    assert_int_equal(clock_extend(0, 0x800000, 0xffffff), 0);
    assert_int_equal(clock_extend(UINT64_C(0x1fffffffe), 3, UINT32_MAX), UINT64_C(0x200000003));
    assert_int_equal(clock_extend(7, 9, UINT64_MAX), 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(quiet_machine, reset), cmocka_unit_test_setup(wrapping, reset),
        cmocka_unit_test_setup(noisy_machine, reset), cmocka_unit_test_setup(stuck, reset),
        cmocka_unit_test_setup(absurd, reset),        cmocka_unit_test_setup(scaling, reset),
        cmocka_unit_test_setup(extending, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
