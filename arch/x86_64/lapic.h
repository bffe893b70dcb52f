/* SPDX-License-Identifier: MIT */
/*
 * lapic.h — a local APIC's registers, the same for both ways to reach them.
 *
 * Pure functions over a lapic_regs_t: the kernel passes this machine's, host tests pass a buffer or
 * functions of their own.  Registers are named by their offset in the memory-mapped page; in x2APIC
 * mode register `offset` is MSR 0x800 + offset / 16 (Intel SDM 3A §10.12.1.2).  Everything acts on the
 * CPU it runs on and may run anywhere, interrupts included.
 */
#ifndef ARCH_LAPIC_H
#define ARCH_LAPIC_H

#include <stdbool.h>
#include <stdint.h>

enum {
    LAPIC_ID = 0x020,
    LAPIC_VERSION = 0x030,
    LAPIC_TPR = 0x080,
    LAPIC_EOI = 0x0b0,
    LAPIC_SVR = 0x0f0,
    LAPIC_ISR = 0x100, /* 8 registers of 32 vectors each, 16 bytes apart */
    LAPIC_ESR = 0x280,
    LAPIC_LVT_CMCI = 0x2f0,
    LAPIC_ICR_LOW = 0x300,
    LAPIC_ICR_HIGH = 0x310,
    LAPIC_LVT_TIMER = 0x320,
    LAPIC_LVT_THERMAL = 0x330,
    LAPIC_LVT_PERF = 0x340,
    LAPIC_LVT_LINT0 = 0x350,
    LAPIC_LVT_LINT1 = 0x360,
    LAPIC_LVT_ERROR = 0x370,
    LAPIC_TIMER_INITIAL = 0x380,
    LAPIC_TIMER_CURRENT = 0x390,
    LAPIC_TIMER_DIVIDE = 0x3e0
};

#define LAPIC_MASKED (1u << 16)
#define LAPIC_SVR_ENABLE (1u << 8)
#define LAPIC_ICR_NMI (4u << 8)
#define LAPIC_ICR_PENDING (1u << 12)
#define LAPIC_ICR_ASSERT (1u << 14)

typedef struct lapic_regs {
    volatile uint32_t *page; /* xAPIC: 4 KiB; NULL in x2APIC mode, which uses the two functions */
    uint64_t (*rdmsr)(uint32_t msr);
    void (*wrmsr)(uint32_t msr, uint64_t value);
} lapic_regs_t;

uint32_t lapic_read(const lapic_regs_t *r, uint32_t offset);
void lapic_write(const lapic_regs_t *r, uint32_t offset, uint32_t value);
uint32_t lapic_read_id(const lapic_regs_t *r);

/*
 * Sends `command` (the low half of the ICR) to a CPU.  Interrupts must be off: in xAPIC mode it takes
 * two writes.  false: the APIC was still busy with the one before after a bounded wait; nothing is sent.
 */
bool lapic_command(const lapic_regs_t *r, uint32_t apic_id, uint32_t command);

/*
 * Accepts everything, masks every local source, enables; the timer: one shot, masked.  Interrupts that
 * firmware took and never finished, which would hold back lesser ones for ever, are finished.
 */
void lapic_setup(const lapic_regs_t *r, uint32_t timer_vector, uint32_t spurious_vector);

/* The timer's input is divided by 1 << shift, shift 0..7. */
uint32_t lapic_divide_code(uint32_t shift);

/* The smallest shift with which a timer of hz (undivided) runs at least 16 s before it ends. */
uint32_t lapic_choose_shift(uint64_t hz);

/* Nanoseconds as counts of a timer, by the factor of its rate; at least 1, at most 2^32 - 1. */
uint64_t lapic_timer_factor(uint64_t hz);
uint32_t lapic_timer_counts(uint64_t ns, uint64_t factor);

#endif
