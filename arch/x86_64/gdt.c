/* SPDX-License-Identifier: MIT */
/* gdt.c — segments and the task state segment of each CPU; Intel SDM 3A §3.4.5, §7.2.3, §7.7. */
#include "idt.h"

_Static_assert(sizeof(tss_t) == 104, "the TSS has 104 bytes");

#define SEGMENT_CODE UINT64_C(0x00AF9B000000FFFF) /* 64-bit code, ring 0, accessed */
#define SEGMENT_DATA UINT64_C(0x00CF93000000FFFF) /* data, ring 0, writable, accessed */
#define TSS_AVAILABLE UINT64_C(0x89)              /* present, 64-bit TSS, not busy */

static void set_ist(tss_t *t, uint32_t n, uint64_t top)
{
    t->ist[2 * n - 2] = (uint32_t)top;
    t->ist[2 * n - 1] = (uint32_t)(top >> 32);
}

static void fill(cpu_t *c)
{
    uint64_t base = (uint64_t)(uintptr_t)&c->tss, limit = sizeof c->tss - 1;

    for (uint32_t i = 1; i <= IST_COUNT; i++)
        set_ist(&c->tss, i, c->ist_top[i]);
    c->tss.io_map = sizeof c->tss; /* beyond the limit: no map */
    c->gdt[GDT_CODE] = SEGMENT_CODE;
    c->gdt[GDT_DATA] = SEGMENT_DATA;
    c->gdt[GDT_TSS] = limit | (base & 0xFFFFFF) << 16 | TSS_AVAILABLE << 40 | (base >> 24 & 0xFF) << 56;
    c->gdt[GDT_TSS_HIGH] = base >> 32;
}

void gdt_load(cpu_t *c)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } where = {sizeof c->gdt - 1, (uint64_t)(uintptr_t)c->gdt};

    fill(c);
    __asm__ volatile("lgdt %0\n\t"
                     "pushq %1\n\t"
                     "leaq 1f(%%rip), %%rax\n\t"
                     "pushq %%rax\n\t"
                     "lretq\n"
                     "1:\tmovl %2, %%eax\n\t"
                     "movl %%eax, %%ds\n\t"
                     "movl %%eax, %%es\n\t"
                     "movl %%eax, %%ss\n\t"
                     "xorl %%eax, %%eax\n\t"
                     "movl %%eax, %%fs\n\t"
                     "movl %%eax, %%gs\n\t"
                     "ltr %w3"
                     :
                     : "m"(where), "i"(SEL_CODE), "i"(SEL_DATA), "r"(SEL_TSS)
                     : "rax", "memory");
    wrmsr(MSR_GS_BASE, (uint64_t)(uintptr_t)c); /* a load of GS clears it */
}
