/* SPDX-License-Identifier: MIT */
/* idt.c — 256 interrupt gates, shared by all CPUs; Intel SDM 3A §6.14.1. */
#include "idt.h"

typedef struct gate {
    uint16_t offset0, selector;
    uint8_t ist, type;
    uint16_t offset1;
    uint32_t offset2, reserved;
} gate_t;
_Static_assert(sizeof(gate_t) == 16, "a gate has 16 bytes");

#define GATE_INTERRUPT 0x8E /* present, ring 0, 64-bit interrupt gate */

extern const uint64_t trap_entries[256];
static gate_t idt[256] __attribute__((aligned(16)));

/* Each kind that can come on top of another has a stack of its own. */
static uint8_t stack_of(uint32_t vector)
{
    switch (vector) {
    case 2: return IST_NMI;
    case 8: return IST_DOUBLE_FAULT;
    case 14: return IST_PAGE_FAULT;
    case 18: return IST_MACHINE_CHECK;
    default: return vector < 32 ? IST_FAULT : IST_IRQ;
    }
}

void idt_init(void)
{
    for (uint32_t v = 0; v < 256; v++)
        idt[v] = (gate_t){.offset0 = (uint16_t)trap_entries[v],
                          .selector = SEL_CODE,
                          .ist = stack_of(v),
                          .type = GATE_INTERRUPT,
                          .offset1 = (uint16_t)(trap_entries[v] >> 16),
                          .offset2 = (uint32_t)(trap_entries[v] >> 32)};
}

void idt_load(void)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } where = {sizeof idt - 1, (uint64_t)(uintptr_t)idt};
    __asm__ volatile("lidt %0" : : "m"(where) : "memory");
}
