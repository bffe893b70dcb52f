/* SPDX-License-Identifier: MIT */
/* clock_counters.c — the counters a PC may have. */
#include "clock_counters.h"

#include "acpi.h"
#include "cpu.h"
#include "kprintf.h"
#include "vmm.h"

#define PM_TIMER_HZ 3579545u /* ACPI 6.4 §4.8.2.1 */
#define PIT_HZ 1193182u

/* ---- TSC, Intel SDM 3B §17.17 -------------------------------------------------------------------- */

uint64_t clock_read_tsc(void)
{
    uint32_t low, high;
    __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

bool clock_probe_tsc(clock_counter_t *c)
{
    uint32_t a, b, ecx, edx;
    cpuid(1, 0, &a, &b, &ecx, &edx);
    *c = (clock_counter_t){"TSC", 0, UINT64_MAX, clock_read_tsc};
    return (edx & (1u << 4)) != 0 && clock_counts(c);
}

const char *clock_tsc_fault(void)
{
    uint32_t a, b, c, d;
    cpuid(1, 0, &a, &b, &c, &d);
    if ((c & (1u << 31)) != 0) /* a hypervisor, which keeps it steady */
        return NULL;
    cpuid(0x80000000u, 0, &a, &b, &c, &d);
    if (a >= 0x80000007u) {
        cpuid(0x80000007u, 0, &a, &b, &c, &d);
        if ((d & (1u << 8)) != 0)
            return NULL;
    }
    return "not invariant";
}

/* ---- HPET, IA-PC HPET specification 1.0a §2.3 ------------------------------------------------------ */

enum { HPET_CAPABILITIES = 0x000, HPET_CONFIG = 0x010, HPET_COUNTER = 0x0f0, HPET_BYTES = 0x400 };
#define HPET_COUNT_64 (1u << 13)
#define HPET_ENABLE 1u
#define HPET_LEGACY 2u
#define HPET_MAX_PERIOD_FS 100000000u

static volatile uint32_t *hpet_page;

static uint64_t read_hpet_32(void) { return hpet_page[HPET_COUNTER / 4]; }

/* Two halves, since not every machine takes a 64-bit access in one piece; again if the low one wrapped. */
static uint64_t read_hpet_64(void)
{
    uint32_t low, high = hpet_page[HPET_COUNTER / 4 + 1], before;
    do {
        before = high;
        low = hpet_page[HPET_COUNTER / 4];
        high = hpet_page[HPET_COUNTER / 4 + 1];
    } while (high != before);
    return (uint64_t)high << 32 | low;
}

bool clock_probe_hpet(clock_counter_t *c)
{
    const acpi_hpet_t *table = acpi_hpet();
    if (table == NULL)
        return false;
    hpet_page = vmm_map_device(table->address, HPET_BYTES, VMM_UC);
    if (hpet_page == NULL)
        return false;
    uint32_t capabilities = hpet_page[HPET_CAPABILITIES / 4], period = hpet_page[HPET_CAPABILITIES / 4 + 1];
    if (period == 0 || period > HPET_MAX_PERIOD_FS) {
        kprintf("clock: HPET ignored: a period of %u fs is impossible\n", period);
        return false;
    }
    hpet_page[HPET_CONFIG / 4] = (hpet_page[HPET_CONFIG / 4] & ~HPET_LEGACY) | HPET_ENABLE;
    bool wide = (capabilities & HPET_COUNT_64) != 0;
    *c = (clock_counter_t){"HPET", UINT64_C(1000000000000000) / period, wide ? UINT64_MAX : UINT32_MAX,
                           wide ? read_hpet_64 : read_hpet_32};
    return clock_counts(c);
}

/* ---- ACPI PM timer, ACPI 6.4 §4.8.3.3 -------------------------------------------------------------- */

static acpi_reg_t pm_timer;

static uint64_t read_pm_timer(void)
{
    uint32_t v = 0;
    (void)acpi_reg_read(&pm_timer, 32, &v);
    return v;
}

bool clock_probe_pm_timer(clock_counter_t *c)
{
    const acpi_fadt_t *fadt = acpi_fadt();
    if (fadt == NULL || fadt->pm_timer.address == 0)
        return false;
    pm_timer = fadt->pm_timer;
    *c = (clock_counter_t){"ACPI PM timer", PM_TIMER_HZ, fadt->pm_timer_32 ? UINT32_MAX : 0xffffffu,
                           read_pm_timer};
    return clock_counts(c);
}

/* ---- PIT, Intel 8254 data sheet -------------------------------------------------------------------- */

enum { PIT_CHANNEL_2 = 0x42, PIT_COMMAND = 0x43, PIT_GATE = 0x61 };

/* Latch, then low and high byte; it counts down. */
static uint64_t read_pit(void)
{
    outb(PIT_COMMAND, 0x80);
    uint32_t low = inb(PIT_CHANNEL_2), high = inb(PIT_CHANNEL_2);
    return 0xffffu - (high << 8 | low);
}

/* Channel 2, rate generator over the whole 16 bits: gate on, loudspeaker off. */
bool clock_probe_pit(clock_counter_t *c)
{
    outb(PIT_GATE, (uint8_t)((inb(PIT_GATE) & 0xfcu) | 1u));
    outb(PIT_COMMAND, 0xb4);
    outb(PIT_CHANNEL_2, 0);
    outb(PIT_CHANNEL_2, 0);
    *c = (clock_counter_t){"PIT", PIT_HZ, 0xffffu, read_pit};
    return clock_counts(c);
}
