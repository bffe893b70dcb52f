/* SPDX-License-Identifier: MIT
 *
 * The local APIC, as memory (xAPIC) or as MSRs (x2APIC): Intel SDM 3A, 11.4, 11.6 and 11.12.
 */
#include "smp.h"
#include "cpu.h"
#include "handoff.h"
#include "mem.h"

#define MSR_APIC_BASE 0x1bu
#define MSR_X2APIC 0x800u
#define APIC_ENABLE 0x800u
#define APIC_X2 0x400u
#define REG_ID 0x20u
#define REG_ICR_LOW 0x300u
#define REG_ICR_HIGH 0x310u
#define ICR_INIT 0x4500u
#define ICR_SIPI 0x4600u
#define ICR_PENDING 0x1000u

/* Slower clocks only make the waits longer. */
#define TSC_PER_US 4000u

#define BARE_INIT_US 10000u
#define GUEST_INIT_US 200u

struct smp_slot smp_slots[SMP_SLOTS];
uint32_t smp_slot_count;
uint32_t smp_x2apic;
uint64_t park_lapic;
uint64_t park_idt[2 * 256] __attribute__((aligned(16)));

static volatile uint32_t *reg(uint32_t offset)
{
    return (volatile uint32_t *)(uintptr_t)((rdmsr(MSR_APIC_BASE) & 0xfffff000u) + offset);
}

void lapic_open(bool want_x2apic)
{
    uint64_t base = rdmsr(MSR_APIC_BASE) | APIC_ENABLE;
    bool can = (cpuid(1).c & (1u << 21)) != 0;
    wrmsr(MSR_APIC_BASE, base);
    if (want_x2apic && can)
        wrmsr(MSR_APIC_BASE, base | APIC_X2);
    smp_x2apic = lapic_is_x2apic();
}

bool lapic_is_x2apic(void) { return (rdmsr(MSR_APIC_BASE) & APIC_X2) != 0; }

uint32_t lapic_id(void)
{
    return lapic_is_x2apic() ? (uint32_t)rdmsr(MSR_X2APIC + REG_ID / 16) : *reg(REG_ID) >> 24;
}

static void send(uint32_t target, uint32_t command)
{
    if (smp_x2apic != 0) {
        wrmsr(MSR_X2APIC + REG_ICR_LOW / 16, (uint64_t)target << 32 | command);
        return;
    }
    *reg(REG_ICR_HIGH) = target << 24;
    *reg(REG_ICR_LOW) = command;
    for (uint32_t i = 0; i < 100000 && (*reg(REG_ICR_LOW) & ICR_PENDING) != 0; i++)
        __asm__ volatile("pause");
}

static void send_init(void *ctx, uint32_t cpu)
{
    (void)ctx;
    send(smp_slots[cpu].lapic_id, ICR_INIT);
}

static void send_sipi(void *ctx, uint32_t cpu) { send(smp_slots[cpu].lapic_id, ICR_SIPI | *(uint32_t *)ctx); }

static bool is_ready(void *ctx, uint32_t cpu)
{
    (void)ctx;
    return __atomic_load_n(&smp_slots[cpu].ready, __ATOMIC_ACQUIRE) != 0;
}

static void wait_us(void *ctx, uint32_t us)
{
    (void)ctx;
    for (uint64_t start = rdtsc(); rdtsc() - start < (uint64_t)us * TSC_PER_US;)
        __asm__ volatile("pause");
}

/* Bare CPUs spin, so that they leave without delay; a guest's may take the time of the one that works. */
static void prepare_parking(bool guest)
{
    uint64_t to = (uintptr_t)park_interrupt + HHDM;
    for (uint32_t i = 0; i < 256; i++) {
        park_idt[2 * i] = (to & 0xffff) | 0x28u << 16 | 0x8e00ull << 32 | (to >> 16 & 0xffff) << 48;
        park_idt[2 * i + 1] = to >> 32;
    }
    park_lapic = smp_x2apic != 0 ? PARK_X2APIC : (uintptr_t)reg(0) + HHDM;
    if (!guest)
        park_lapic = PARK_SPINNING;
}

uint32_t smp_start_slots(uint64_t trampoline_page)
{
    uint32_t vector = (uint32_t)(trampoline_page >> 12);
    bool guest = (cpuid(1).c >> 31) != 0;
    struct smp_ops ops = {send_init, send_sipi, is_ready,
                          wait_us,   &vector,   guest ? GUEST_INIT_US : BARE_INIT_US};
    prepare_parking(guest);
    memcpy((void *)(uintptr_t)trampoline_page, trampoline, (size_t)(trampoline_end - trampoline));
    return smp_bring_up(&ops, smp_slot_count);
}
