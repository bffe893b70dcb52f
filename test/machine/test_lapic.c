/* SPDX-License-Identifier: MIT */
/*
 * The local APIC's registers, reached both ways: a page of memory, and MSRs that are functions here.
 * No emulator without KVM has an x2APIC, so this is where its mapping is tested.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "lapic.h"

static uint32_t page[1024];
static uint64_t msrs[0x100];
static uint32_t writes, last_msr;

static uint64_t fake_rdmsr(uint32_t msr)
{
    assert_in_range(msr, 0x800, 0x8ff);
    return msrs[msr - 0x800];
}

static void fake_wrmsr(uint32_t msr, uint64_t value)
{
    assert_in_range(msr, 0x800, 0x8ff);
    msrs[msr - 0x800] = value;
    last_msr = msr;
    writes++;
}

static const lapic_regs_t memory = {page, NULL, NULL};
static const lapic_regs_t x2 = {NULL, fake_rdmsr, fake_wrmsr};

static int reset(void **state)
{
    (void)state;
    memset(page, 0, sizeof page);
    memset(msrs, 0, sizeof msrs);
    writes = last_msr = 0;
    return 0;
}

/* Intel SDM 3A table 10-6, some of its rows. */
static void registers_map(void **state)
{
    static const struct {
        uint32_t offset, msr;
    } rows[] = {{LAPIC_ID, 0x802},
                {LAPIC_VERSION, 0x803},
                {LAPIC_TPR, 0x808},
                {LAPIC_EOI, 0x80b},
                {LAPIC_SVR, 0x80f},
                {LAPIC_ESR, 0x828},
                {LAPIC_ICR_LOW, 0x830},
                {LAPIC_LVT_TIMER, 0x832},
                {LAPIC_LVT_LINT0, 0x835},
                {LAPIC_LVT_LINT1, 0x836},
                {LAPIC_LVT_ERROR, 0x837},
                {LAPIC_TIMER_INITIAL, 0x838},
                {LAPIC_TIMER_CURRENT, 0x839},
                {LAPIC_TIMER_DIVIDE, 0x83e}};
    (void)state;
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        lapic_write(&x2, rows[i].offset, 0x1000 + i);
        assert_int_equal(last_msr, rows[i].msr);
        assert_int_equal(lapic_read(&x2, rows[i].offset), 0x1000 + i);
        lapic_write(&memory, rows[i].offset, 0x2000 + i);
        assert_int_equal(page[rows[i].offset / 4], 0x2000 + i);
        assert_int_equal(lapic_read(&memory, rows[i].offset), 0x2000 + i);
    }
}

static void ids(void **state)
{
    (void)state;
    page[LAPIC_ID / 4] = 0x2a000000;
    assert_int_equal(lapic_read_id(&memory), 0x2a);
    msrs[2] = 0x12345678;
    assert_int_equal(lapic_read_id(&x2), 0x12345678);
}

static void commands(void **state)
{
    (void)state;
    assert_true(lapic_command(&memory, 0x2a, LAPIC_ICR_ASSERT | 0xfe));
    assert_int_equal(page[LAPIC_ICR_HIGH / 4], 0x2a000000);
    assert_int_equal(page[LAPIC_ICR_LOW / 4], 0x40fe);
    assert_true(lapic_command(&x2, 0x10002, LAPIC_ICR_ASSERT | LAPIC_ICR_NMI));
    assert_int_equal(writes, 1);
    assert_int_equal(msrs[0x30], UINT64_C(0x0001000200004400));
}

/* One that never gets rid of the command before: refused after a while, nothing written. */
static void busy(void **state)
{
    (void)state;
    page[LAPIC_ICR_LOW / 4] = LAPIC_ICR_PENDING | 0x40fd;
    assert_false(lapic_command(&memory, 3, LAPIC_ICR_ASSERT | 0xfe));
    assert_int_equal(page[LAPIC_ICR_HIGH / 4], 0);
    assert_int_equal(page[LAPIC_ICR_LOW / 4], LAPIC_ICR_PENDING | 0x40fd);
}

static void check_setup(const lapic_regs_t *r)
{
    lapic_write(r, LAPIC_TPR, 0xff);
    lapic_setup(r, 0xfc, 0xff);
    assert_int_equal(lapic_read(r, LAPIC_SVR), 0x1ff);
    assert_int_equal(lapic_read(r, LAPIC_TPR), 0);
    assert_int_equal(lapic_read(r, LAPIC_LVT_TIMER), LAPIC_MASKED | 0xfc);
    assert_int_equal(lapic_read(r, LAPIC_LVT_LINT0), LAPIC_MASKED);
    assert_int_equal(lapic_read(r, LAPIC_LVT_LINT1), LAPIC_MASKED);
    assert_int_equal(lapic_read(r, LAPIC_LVT_ERROR), LAPIC_MASKED);
}

/* Entries the version register does not announce do not exist and are not touched. */
static void setup(void **state)
{
    (void)state;
    page[LAPIC_VERSION / 4] = 0x00060014;
    check_setup(&memory);
    assert_int_equal(page[LAPIC_LVT_PERF / 4], LAPIC_MASKED);
    assert_int_equal(page[LAPIC_LVT_THERMAL / 4], LAPIC_MASKED);
    assert_int_equal(page[LAPIC_LVT_CMCI / 4], LAPIC_MASKED);
    msrs[3] = 0x00040014;
    check_setup(&x2);
    assert_int_equal(msrs[0x34], LAPIC_MASKED);
    assert_int_equal(msrs[0x33], 0);
    assert_int_equal(msrs[0x2f], 0);
}

/* Vectors in service are finished, one EOI each; one that never ends is left after a while. */
static uint32_t in_service;

static uint64_t isr_rdmsr(uint32_t msr) { return msr == 0x810 + in_service / 32 && in_service != 0 ? 1 : 0; }

static void isr_wrmsr(uint32_t msr, uint64_t value)
{
    fake_wrmsr(msr, value);
    if (msr == 0x80b && in_service != 0)
        in_service = in_service > 40 ? in_service - 40 : 0;
}

static uint64_t stuck_rdmsr(uint32_t msr) { return msr == 0x811; }

static void leftovers(void **state)
{
    const lapic_regs_t some = {NULL, isr_rdmsr, isr_wrmsr}, stuck = {NULL, stuck_rdmsr, fake_wrmsr};
    (void)state;
    in_service = 200;
    lapic_setup(&some, 0xfc, 0xff);
    assert_int_equal(in_service, 0);
    writes = 0;
    lapic_setup(&stuck, 0xfc, 0xff);
    assert_in_range(writes, 256, 300);
    assert_int_equal(msrs[0x0f], 0x1ff);
}

static void divisors(void **state)
{
    static const uint32_t codes[] = {0xb, 0x0, 0x1, 0x2, 0x3, 0x8, 0x9, 0xa};
    (void)state;
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(lapic_divide_code(i), codes[i]);
    assert_int_equal(lapic_choose_shift(24000000), 0);
    assert_int_equal(lapic_choose_shift(1000000000), 2);
    assert_int_equal(lapic_choose_shift(UINT64_C(1) << 32), 4);
    assert_int_equal(lapic_choose_shift(UINT64_MAX), 7);
}

static void counts(void **state)
{
    static const uint64_t rates[] = {1000000, 24000000, 62500000, 100000000, 250000000, 999999937};
    (void)state;
    for (uint32_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        uint64_t factor = lapic_timer_factor(rates[i]);
        uint32_t second = lapic_timer_counts(1000000000, factor);
        assert_in_range(second, rates[i] - 1, rates[i]);
        assert_int_equal(lapic_timer_counts(0, factor), 1);
        assert_int_equal(lapic_timer_counts(1, factor), 1);
        assert_int_equal(lapic_timer_counts(UINT64_MAX, factor), UINT32_MAX);
        assert_true(lapic_timer_counts(UINT64_C(1) << 40, factor) >= lapic_timer_counts(1u << 20, factor));
    }
    assert_int_equal(lapic_timer_factor(1000000000), UINT64_C(1) << 32);
    assert_int_equal(lapic_timer_counts(123456, UINT64_C(1) << 32), 123456);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(registers_map, reset), cmocka_unit_test_setup(ids, reset),
        cmocka_unit_test_setup(commands, reset),      cmocka_unit_test_setup(busy, reset),
        cmocka_unit_test_setup(setup, reset),         cmocka_unit_test_setup(divisors, reset),
        cmocka_unit_test_setup(counts, reset),        cmocka_unit_test_setup(leftovers, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
