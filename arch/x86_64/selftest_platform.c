/* SPDX-License-Identifier: MIT */
/*
 * selftest_platform.c — the kernel's checks of its own platform: clock, timer, IPIs, barriers, CPUs.
 *
 * Each waits for what it wants to see, with a bound far above what the slowest emulator needs.
 */
#include "selftest_platform.h"

#include "acpi.h"
#include "apic.h"
#include "boot_info.h"
#include "clock.h"
#include "cpu.h"
#include "selftest_cpu.h"
#include "smp.h"
#include "thread.h"

#include <stddef.h>

#define SECOND UINT64_C(1000000000)

static void (*say)(int good, const char *what);
static int failed;

static void check(bool good, const char *what)
{
    failed += !good;
    say(good, what);
}

/* ---- clock ---------------------------------------------------------------------------------------- */

static bool clock_moves(void)
{
    uint64_t first = clock_now_ns();
    for (uint32_t i = 0; i < 10000000; i++)
        if (clock_now_ns() > first)
            return true;
    return false;
}

static bool clock_steady_here(void)
{
    uint64_t before = clock_now_ns();
    for (uint32_t i = 0; i < 100000; i++) {
        uint64_t now = clock_now_ns();
        if (now < before)
            return false;
        before = now;
    }
    return true;
}

static gmk_a64_t newest;
static gmk_a32_t went_back;

/* Read what another CPU has seen, then the clock: never earlier.  Long enough to meet the others. */
static void clock_race(void *end)
{
    uint64_t now = 0;
    for (uint32_t i = 0; i < 2000 || now < *(uint64_t *)end; i++) {
        uint64_t before = gmk_load64(&newest, GMK_ACQ, GMK_KERNEL), seen = before;
        now = clock_now_ns();
        if (now < before)
            (void)gmk_add32(&went_back, 1, GMK_RLX, GMK_KERNEL);
        while (seen < now && !gmk_cas64(&newest, &seen, now, GMK_ACQ_REL, GMK_KERNEL))
            cpu_pause();
    }
}

static void test_clock(void)
{
    check(clock_moves(), "the clock moves");
    check(clock_steady_here(), "the clock does not go back on one CPU");
    uint64_t end = clock_now_ns() + SECOND / 20;
    bool started = selftest_on_all(clock_race, &end);
    check(started && gmk_load32(&went_back, GMK_ACQ, GMK_KERNEL) == 0,
          "the clock does not go back across CPUs");
    uint64_t begin = clock_now_ns();
    clock_delay_us(2000);
    check(clock_now_ns() - begin >= 2000000, "a delay takes at least its time");
}

/* ---- the timer ------------------------------------------------------------------------------------ */

/* The least lateness of some tries: an emulator's CPU may be away any time. */
static bool timer_wakes_within(uint64_t ns, uint64_t tolerance)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < 20 && least > tolerance; i++) {
        uint64_t begin = clock_now_ns();
        thread_sleep_ns(ns);
        uint64_t passed = clock_now_ns() - begin;
        if (passed < ns)
            return false;
        least = passed - ns < least ? passed - ns : least;
    }
    return least <= tolerance;
}

static gmk_a32_t timers_good;

static void timer_here(void *unused)
{
    (void)unused;
    if (timer_wakes_within(3000000, 50000000))
        (void)gmk_add32(&timers_good, 1, GMK_ACQ_REL, GMK_KERNEL);
}

static void test_timer(void)
{
    uint32_t cpu = cpu_this()->index;
    uint64_t before = irq_count(cpu, VECTOR_TIMER);
    check(timer_wakes_within(1000000, 2000000), "the one-shot timer: 1 ms, at most 2 ms late");
    check(timer_wakes_within(20000000, 2000000), "the one-shot timer: 20 ms, at most 2 ms late");
    check(irq_count(cpu, VECTOR_TIMER) > before, "the timer came as an interrupt");
    check(selftest_on_all(timer_here, NULL) && gmk_load32(&timers_good, GMK_ACQ, GMK_KERNEL) == cpu_count(),
          "the one-shot timer works on every CPU");
}

/* ---- IPIs and calls ------------------------------------------------------------------------------- */

static bool ipi_arrives(uint32_t cpu)
{
    uint64_t before = irq_count(cpu, VECTOR_BARRIER), end = clock_now_ns() + 10 * SECOND;
    lapic_ipi(cpu_at(cpu)->lapic_id, VECTOR_BARRIER);
    while (irq_count(cpu, VECTOR_BARRIER) == before)
        if (clock_now_ns() > end)
            return false;
    return true;
}

static gmk_a32_t calls[CPU_MAX];

static void count_call(void *step)
{
    (void)gmk_add32(&calls[cpu_this()->index], *(uint32_t *)step, GMK_ACQ_REL, GMK_KERNEL);
}

static void test_ipis(void)
{
    uint32_t n = cpu_count(), arrived = 0, step = 3, called = 0;
    for (uint32_t i = 0; i < n; i++)
        arrived += ipi_arrives(i);
    check(arrived == n, "an IPI reaches every CPU, this one too");
    smp_call_all(count_call, &step);
    smp_call_all(count_call, &step);
    for (uint32_t i = 0; i < CPU_MAX; i++)
        called += gmk_load32(&calls[i], GMK_ACQ, GMK_KERNEL) == (i < n ? 6u : 0u);
    check(called == CPU_MAX, "a call runs on every CPU exactly once");
    check(lapic_ipi_lost() == 0, "the LAPIC took every IPI");
}

/* ---- barriers ------------------------------------------------------------------------------------- */

static gmk_a32_t deaf, deaf_ended, early;

/* Neither interruptible nor polling for 20 ms: a barrier that began meanwhile may not end meanwhile. */
static void be_deaf(void *unused)
{
    (void)unused;
    for (uint32_t round = 1; round <= 5; round++) {
        uint64_t flags = irq_save(), end = clock_now_ns() + SECOND / 50;
        gmk_store32(&deaf, round, GMK_SEQ, GMK_KERNEL);
        while (clock_now_ns() < end)
            cpu_pause();
        gmk_store32(&deaf_ended, round, GMK_REL, GMK_KERNEL);
        irq_restore(flags);
        thread_sleep_ns(SECOND / 100);
    }
}

static void barriers_while_deaf(void)
{
    for (uint32_t round = 1; round <= 5; round++) {
        while (gmk_load32(&deaf, GMK_ACQ, GMK_KERNEL) < round)
            thread_yield();
        smp_barrier_all();
        if (gmk_load32(&deaf_ended, GMK_ACQ, GMK_KERNEL) < round)
            (void)gmk_add32(&early, 1, GMK_RLX, GMK_KERNEL);
    }
}

static gmk_a32_t barriers_done;

/* With interrupts off every other time: then only polling keeps the others going. */
static void many_barriers(void *unused)
{
    (void)unused;
    uint32_t rounds = cpu_count() <= 8 ? 20 : 2;
    for (uint32_t i = 0; i < rounds; i++) {
        uint64_t flags = i % 2 != 0 ? irq_save() : read_flags();
        smp_barrier_all();
        irq_restore(flags);
    }
    (void)gmk_add32(&barriers_done, 1, GMK_ACQ_REL, GMK_KERNEL);
}

static void test_barriers(void)
{
    uint32_t other = cpu_count() - 1;
    check(selftest_on_all(many_barriers, NULL) &&
              gmk_load32(&barriers_done, GMK_ACQ, GMK_KERNEL) == cpu_count(),
          "barriers of all CPUs at once, with interrupts on and off");
    if (other == cpu_this()->index) {
        check(true, "a barrier waits for every CPU # SKIP one CPU");
        return;
    }
    thread_t *t = thread_start("selftest", other, be_deaf, NULL);
    if (t != NULL) {
        barriers_while_deaf();
        thread_join(t);
    }
    check(t != NULL && gmk_load32(&early, GMK_ACQ, GMK_KERNEL) == 0, "a barrier waits for every CPU");
}

/* ---- CPUs ----------------------------------------------------------------------------------------- */

static gmk_a32_t present[CPU_MAX];

static void report_in(void *unused)
{
    (void)unused;
    cpu_t *c = cpu_this();
    if (c->lapic_id == lapic_id() && c->self == cpu_at(c->index))
        (void)gmk_add32(&present[c->index], 1, GMK_ACQ_REL, GMK_KERNEL);
}

static uint32_t enabled_cpus(const acpi_madt_t *madt)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < madt->cpu_count; i++)
        n += madt->cpu[i].enabled;
    return n;
}

static void test_cpus(void)
{
    uint32_t n = cpu_count(), good = 0;
    bool started = selftest_on_all(report_in, NULL);
    for (uint32_t i = 0; i < n; i++)
        good += smp_online(i) && gmk_load32(&present[i], GMK_ACQ, GMK_KERNEL) == 1;
    check(started && good == n, "every CPU runs threads and knows its own APIC id");
    check(smp_missing() == 0, "no CPU is missing");
    check(n == boot_info()->n_cpus, "every CPU that the loader found is online");
    if (acpi_madt() == NULL)
        check(true, "no more CPUs than the MADT enables # SKIP no MADT");
    else
        check(enabled_cpus(acpi_madt()) >= n, "no more CPUs than the MADT enables");
    if (lapic_mode()[1] == '2')
        check(true, "the LAPICs are in x2APIC mode");
    else
        check(true, "the LAPICs are in x2APIC mode # SKIP this CPU has no x2APIC");
}

int selftest_platform(void (*ok)(int good, const char *what))
{
    say = ok;
    failed = 0;
    newest.v = went_back.v = timers_good.v = barriers_done.v = deaf.v = deaf_ended.v = early.v = 0;
    for (uint32_t i = 0; i < CPU_MAX; i++)
        calls[i].v = present[i].v = 0;
    test_clock();
    test_timer();
    test_ipis();
    test_barriers();
    test_cpus();
    return failed;
}
