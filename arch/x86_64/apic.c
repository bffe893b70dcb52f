/* SPDX-License-Identifier: MIT */
/* apic.c — this machine's local APICs: mode, mapping, the timer's rate, who gets an IPI. */
#include "apic.h"

#include "clock.h"
#include "clock_math.h"
#include "cpu.h"
#include "kprintf.h"
#include "lapic.h"
#include "panic.h"
#include "smp.h"
#include "vmm.h"

#include <ggmk/error.h>

#define ROUND_US 2000u /* what is armed is compared with the clock anyway */
#define LEAST_HZ 100000u
#define MSR_APIC_BASE 0x1bu
#define APIC_BASE_ENABLE (UINT64_C(1) << 11)
#define APIC_BASE_X2 (UINT64_C(1) << 10)
#define APIC_BASE_ADDRESS UINT64_C(0x000ffffffffff000)

static uint64_t msr_read(uint32_t msr) { return rdmsr(msr); }
static void msr_write(uint32_t msr, uint64_t value) { wrmsr(msr, value); }

static lapic_regs_t regs = {NULL, msr_read, msr_write};
static uint64_t base_msr; /* what the boot CPU has; the others get the same */
static uint32_t divide_shift;
static uint64_t timer_hz, timer_factor;
static gmk_a64_t lost;

/*
 * x2APIC mode can only be entered through xAPIC mode, and only left by turning the APIC off (Intel SDM
 * 3A §10.12.5): what firmware or loader has turned on stays on.
 */
static void enable(uint64_t want)
{
    uint64_t now = rdmsr(MSR_APIC_BASE);
    if ((now & APIC_BASE_ENABLE) == 0)
        wrmsr(MSR_APIC_BASE, (now & ~APIC_BASE_X2) | APIC_BASE_ENABLE);
    if ((want & APIC_BASE_X2) != 0)
        wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_X2);
    lapic_setup(&regs, VECTOR_TIMER, VECTOR_SPURIOUS);
    lapic_write(&regs, LAPIC_TIMER_DIVIDE, lapic_divide_code(divide_shift));
    lapic_write(&regs, LAPIC_LVT_TIMER, VECTOR_TIMER);
    cpu_this()->lapic_id = lapic_id();
}

static void choose_mode(void)
{
    uint32_t a, b, c, d;
    cpuid(1, 0, &a, &b, &c, &d);
    if ((d & (1u << 9)) == 0)
        panic("this CPU has no local APIC, or it is turned off: turn it on in the firmware's settings");
    base_msr = rdmsr(MSR_APIC_BASE) | APIC_BASE_ENABLE;
    if ((c & (1u << 21)) != 0)
        base_msr |= APIC_BASE_X2;
    if ((base_msr & APIC_BASE_X2) != 0)
        return;
    regs.page = vmm_map_device(base_msr & APIC_BASE_ADDRESS, 4096, VMM_UC);
    if (regs.page == NULL)
        panic("the local APIC's registers at 0x%llx cannot be mapped",
              (unsigned long long)(base_msr & APIC_BASE_ADDRESS));
}

/* ---- the timer ------------------------------------------------------------------------------------- */

static uint64_t timer_elapsed(void) { return UINT32_MAX - lapic_read(&regs, LAPIC_TIMER_CURRENT); }

/* Undivided, masked, counting down from the top. */
static void measure_timer(void)
{
    const clock_counter_t reference = {clock_name(), 1000000000u, UINT64_MAX, clock_now_ns};
    const clock_counter_t timer = {"LAPIC timer", 0, UINT32_MAX, timer_elapsed};
    clock_rate_t rate;
    lapic_write(&regs, LAPIC_LVT_TIMER, LAPIC_MASKED | VECTOR_TIMER);
    lapic_write(&regs, LAPIC_TIMER_DIVIDE, lapic_divide_code(0));
    lapic_write(&regs, LAPIC_TIMER_INITIAL, UINT32_MAX);
    int rc = clock_measure(&timer, &reference, ROUND_US, &rate);
    lapic_write(&regs, LAPIC_TIMER_INITIAL, 0);
    if (rc == GMK_ERR_TIMEOUT || rate.hz < LEAST_HZ)
        panic("the local APIC's timer does not count: there is nothing to wake this CPU by");
    if (rc != GMK_OK)
        kprintf("lapic: the timer's rate is rough: waiting may take a little too long\n");
    divide_shift = lapic_choose_shift(rate.hz);
    timer_hz = rate.hz >> divide_shift;
    timer_factor = lapic_timer_factor(timer_hz);
    lapic_write(&regs, LAPIC_TIMER_DIVIDE, lapic_divide_code(divide_shift));
    lapic_write(&regs, LAPIC_LVT_TIMER, VECTOR_TIMER);
    kprintf("lapic: %s, timer %llu.%03llu MHz (divided by %u), rounds within %u ppm\n", lapic_mode(),
            (unsigned long long)(timer_hz / 1000000), (unsigned long long)(timer_hz / 1000 % 1000),
            1u << divide_shift, rate.spread_ppm);
}

void lapic_timer_arm(uint64_t ns)
{
    lapic_write(&regs, LAPIC_TIMER_INITIAL, lapic_timer_counts(ns, timer_factor));
}
void lapic_timer_stop(void) { lapic_write(&regs, LAPIC_TIMER_INITIAL, 0); }
uint64_t lapic_timer_hz(void) { return timer_hz; }

/* ---- the rest -------------------------------------------------------------------------------------- */

void lapic_init(void)
{
    choose_mode();
    enable(base_msr);
    measure_timer();
}

void lapic_init_ap(void) { enable(base_msr); }

const char *lapic_mode(void) { return regs.page == NULL ? "x2APIC" : "xAPIC"; }
uint32_t lapic_id(void) { return lapic_read_id(&regs); }
void lapic_eoi(void) { lapic_write(&regs, LAPIC_EOI, 0); }
uint64_t lapic_ipi_lost(void) { return gmk_load64(&lost, GMK_RLX, GMK_KERNEL); }

static void command(uint32_t apic_id, uint32_t low)
{
    uint64_t flags = irq_save();
    if (!lapic_command(&regs, apic_id, LAPIC_ICR_ASSERT | low))
        (void)gmk_add64(&lost, 1, GMK_RLX, GMK_KERNEL);
    irq_restore(flags);
}

void lapic_ipi(uint32_t apic_id, uint32_t vector) { command(apic_id, vector); }

/* One by one: the shorthand "all but me" would reach CPUs that still wait in the loader, without an IDT. */
static void command_others(uint32_t low)
{
    uint32_t self = cpu_this()->index;
    for (uint32_t i = 0; i < CPU_MAX; i++)
        if (i != self && smp_online(i))
            command(cpu_at(i)->lapic_id, low);
}

void lapic_ipi_others(uint32_t vector) { command_others(vector); }
void lapic_nmi_others(void) { command_others(LAPIC_ICR_NMI); }
