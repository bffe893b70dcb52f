/* SPDX-License-Identifier: MIT */
/* cpu.c — the structures of all CPUs, and how each CPU is set up. */
#include "cpu.h"

#include "idt.h"
#include "panic.h"
#include "pmm.h"
#include "string.h"

#define CR0_MP (UINT64_C(1) << 1)
#define CR0_EM (UINT64_C(1) << 2)
#define CR0_TS (UINT64_C(1) << 3)
#define CR0_NE (UINT64_C(1) << 5)
#define CR0_WP (UINT64_C(1) << 16)
#define CR4_MCE (UINT64_C(1) << 6)
#define CR4_OSFXSR (UINT64_C(1) << 9)
#define CR4_OSXMMEXCPT (UINT64_C(1) << 10)
#define CPUID_MCE (1u << 7) /* of leaf 1, EDX */
#define MXCSR_START 0x1F80u /* every exception masked, round to nearest */

#define PAGE 4096u
#define PAGES(bytes) (((bytes) + PAGE - 1) / PAGE)

/* entry.S makes GS point here before any C runs. */
cpu_t cpu_boot = {.self = &cpu_boot};
static uint8_t boot_ist[IST_COUNT][IST_BYTES] __attribute__((aligned(16)));

/* Written once each, with release, by the CPU itself. */
static cpu_t *cpus[CPU_MAX] = {&cpu_boot};
static gmk_a32_t n_online;

cpu_t *cpu_at(uint32_t index)
{
    return index < CPU_MAX ? __atomic_load_n(&cpus[index], __ATOMIC_ACQUIRE) : NULL;
}

uint32_t cpu_count(void) { return gmk_load32(&n_online, GMK_ACQ, GMK_KERNEL); }

void cpu_set_online(void)
{
    gmk_store32(&cpu_this()->online, 1, GMK_REL, GMK_KERNEL);
    (void)gmk_add32(&n_online, 1, GMK_ACQ_REL, GMK_KERNEL);
}

/* The loader gives WP and NXE already; a loader that does not must not cost us W^X. */
static void set_control_registers(void)
{
    uint32_t mxcsr = MXCSR_START;
    write_cr0((read_cr0() & ~(CR0_EM | CR0_TS)) | CR0_MP | CR0_NE | CR0_WP);
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
    __asm__ volatile("fninit; ldmxcsr %0" : : "m"(mxcsr));
}

/* Without it a machine check is no exception but a shutdown of the CPU; Intel SDM 3B §15.3. */
static void allow_machine_checks(void)
{
    uint32_t a, b, c, d;
    cpuid(1, 0, &a, &b, &c, &d);
    if ((d & CPUID_MCE) != 0)
        write_cr4(read_cr4() | CR4_MCE);
}

static void set_up(cpu_t *c, uint8_t *stacks)
{
    for (uint32_t i = 1; i <= IST_COUNT; i++)
        c->ist_top[i] = (uint64_t)(uintptr_t)(stacks + (size_t)i * IST_BYTES);
    set_control_registers();
    gdt_load(c);
    idt_load();
    allow_machine_checks();
}

void cpu_init_boot(void)
{
    spin_init();
    idt_init();
    set_up(&cpu_boot, boot_ist[0]);
}

void cpu_init_ap(uint32_t index, uint32_t lapic_id)
{
    uint64_t phys = pmm_alloc(PAGES(sizeof(cpu_t)) + PAGES(IST_COUNT * IST_BYTES), 1);
    if (phys == 0 || index >= CPU_MAX)
        panic("CPU %u: no memory for its structure and its interrupt stacks; give the machine more", index);
    cpu_t *c = phys_to_virt(phys);
    memset(c, 0, sizeof *c);
    c->self = c;
    c->index = index;
    c->lapic_id = lapic_id;
    set_up(c, (uint8_t *)c + (size_t)PAGES(sizeof(cpu_t)) * PAGE);
    __atomic_store_n(&cpus[index], c, __ATOMIC_RELEASE);
}
