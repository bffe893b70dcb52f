/* SPDX-License-Identifier: MIT */
/* lapic.c — the local APIC's registers (Intel SDM 3A §10.4 to §10.6, §10.12). */
#include "lapic.h"

#include <stddef.h>

#define X2APIC_MSR 0x800u
#define COMMAND_SPINS 1000000u

static uint32_t msr_of(uint32_t offset) { return X2APIC_MSR + (offset >> 4); }

uint32_t lapic_read(const lapic_regs_t *r, uint32_t offset)
{
    return r->page != NULL ? r->page[offset / 4] : (uint32_t)r->rdmsr(msr_of(offset));
}

void lapic_write(const lapic_regs_t *r, uint32_t offset, uint32_t value)
{
    if (r->page != NULL)
        r->page[offset / 4] = value;
    else
        r->wrmsr(msr_of(offset), value);
}

/* 8 bits at the top in xAPIC mode, all 32 in x2APIC mode. */
uint32_t lapic_read_id(const lapic_regs_t *r)
{
    uint32_t id = lapic_read(r, LAPIC_ID);
    return r->page != NULL ? id >> 24 : id;
}

/*
 * An x2APIC has no delivery status and takes both halves at once; but WRMSR to it does not wait for
 * earlier stores, which the receiver may be meant to see (§10.12.3): hence the fences.
 */
bool lapic_command(const lapic_regs_t *r, uint32_t apic_id, uint32_t command)
{
    if (r->page == NULL) {
        __asm__ volatile("mfence; lfence" ::: "memory");
        r->wrmsr(msr_of(LAPIC_ICR_LOW), (uint64_t)apic_id << 32 | command);
        return true;
    }
    for (uint32_t i = 0; (lapic_read(r, LAPIC_ICR_LOW) & LAPIC_ICR_PENDING) != 0; i++) {
        if (i == COMMAND_SPINS)
            return false;
        __asm__ volatile("pause");
    }
    lapic_write(r, LAPIC_ICR_HIGH, apic_id << 24);
    lapic_write(r, LAPIC_ICR_LOW, command);
    return true;
}

/* Each EOI finishes the one of the highest priority; there can be 240. */
static void finish_all(const lapic_regs_t *r)
{
    for (uint32_t tries = 0; tries < 256; tries++) {
        uint32_t in_service = 0;
        for (uint32_t i = 0; i < 8; i++)
            in_service |= lapic_read(r, LAPIC_ISR + 0x10 * i);
        if (in_service == 0)
            return;
        lapic_write(r, LAPIC_EOI, 0);
    }
}

/*
 * LINT0 carries the 8259, whose lines are masked; LINT1 is the chipset's NMI.  Entries a CPU lacks are
 * left alone: the version register says how many there are (CMCI 7, thermal 6, performance 5 at least).
 */
void lapic_setup(const lapic_regs_t *r, uint32_t timer_vector, uint32_t spurious_vector)
{
    uint32_t entries = ((lapic_read(r, LAPIC_VERSION) >> 16) & 0xffu) + 1;
    lapic_write(r, LAPIC_SVR, LAPIC_SVR_ENABLE | spurious_vector);
    lapic_write(r, LAPIC_LVT_TIMER, LAPIC_MASKED | timer_vector);
    lapic_write(r, LAPIC_TIMER_INITIAL, 0);
    lapic_write(r, LAPIC_LVT_LINT0, LAPIC_MASKED);
    lapic_write(r, LAPIC_LVT_LINT1, LAPIC_MASKED);
    lapic_write(r, LAPIC_LVT_ERROR, LAPIC_MASKED);
    if (entries >= 5)
        lapic_write(r, LAPIC_LVT_PERF, LAPIC_MASKED);
    if (entries >= 6)
        lapic_write(r, LAPIC_LVT_THERMAL, LAPIC_MASKED);
    if (entries >= 7)
        lapic_write(r, LAPIC_LVT_CMCI, LAPIC_MASKED);
    lapic_write(r, LAPIC_ESR, 0);
    finish_all(r);
    lapic_write(r, LAPIC_TPR, 0);
}

/* Bits 0, 1 and 3 of the register: 0 means 2, 1 means 4, .. 6 means 128, and 7 means 1. */
uint32_t lapic_divide_code(uint32_t shift)
{
    uint32_t code = shift == 0 ? 7 : shift - 1;
    return (code & 3u) | (code & 4u) << 1;
}

uint32_t lapic_choose_shift(uint64_t hz)
{
    uint32_t shift = 0;
    while (shift < 7 && (hz >> shift) > (UINT64_C(1) << 32) / 16)
        shift++;
    return shift;
}

/* Counts per nanosecond in 32.32 fixed point, so that arming needs no division. */
uint64_t lapic_timer_factor(uint64_t hz)
{
    uint64_t whole = hz / 1000000000u, rest = hz % 1000000000u;
    return whole << 32 | (rest << 32) / 1000000000u;
}

uint32_t lapic_timer_counts(uint64_t ns, uint64_t factor)
{
    unsigned __int128 counts = ((unsigned __int128)ns * factor) >> 32;
    if (counts > UINT32_MAX)
        return UINT32_MAX;
    return counts == 0 ? 1 : (uint32_t)counts;
}
