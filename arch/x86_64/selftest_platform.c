/* SPDX-License-Identifier: MIT */
/*
 * selftest_platform.c — the kernel's checks of its own platform: clock, timer, IPIs, barriers, CPUs.
 *
 * Each waits for what it wants to see, with a bound far above what the slowest emulator needs.
 */
#include "acpi.h"
#include "apic.h"
#include "clock.h"
#include "cpu.h"
#include "smp.h"
#include "thread.h"

#include <stddef.h>

int selftest_platform(void (*ok)(int good, const char *what));

#define SECOND UINT64_C(1000000000)

static void (*say)(int good, const char *what);
static int failed;

static void check(bool good, const char *what)
{
    failed += !good;
    say(good, what);
}

/* Runs fn(arg) on every CPU in a thread of its own; false: a thread did not start. */
static bool on_every_cpu(void (*fn)(void *), void *arg)
{
    static thread_t *threads[CPU_MAX];
    bool all = true;
    uint32_t n = cpu_count();
    for (uint32_t i = 0; i < n; i++)
        all &= (threads[i] = thread_start("selftest", i, fn, arg)) != NULL;
    for (uint32_t i = 0; i < n; i++)
        if (threads[i] != NULL)
            thread_join(threads[i]);
    return all;
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

/* Read what another CPU has seen, then the clock: never earlier. */
static void clock_race(void *unused)
{
    (void)unused;
    for (uint32_t i = 0; i < 2000; i++) {
        uint64_t before = gmk_load64(&newest, GMK_ACQ, GMK_KERNEL), now = clock_now_ns(), seen = before;
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
    bool started = on_every_cpu(clock_race, NULL);
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
    check(on_every_cpu(timer_here, NULL) && gmk_load32(&timers_good, GMK_ACQ, GMK_KERNEL) == cpu_count(),
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

#define BARRIER_ROUNDS 300u

static gmk_a64_t left_word, right_word;
static gmk_a32_t light_round, heavy_round, both_missed;
static uint64_t light_saw;

/* Store buffering with an asymmetric fence: the light side has nothing but the compiler held back. */
static void light_side(void *unused)
{
    (void)unused;
    for (uint32_t round = 1; round <= BARRIER_ROUNDS; round++) {
        while (gmk_load32(&heavy_round, GMK_ACQ, GMK_KERNEL) < round)
            cpu_pause();
        gmk_store64(&left_word, round, GMK_RLX, GMK_KERNEL);
        gmk_hal_asym_light();
        light_saw = gmk_load64(&right_word, GMK_RLX, GMK_KERNEL);
        gmk_store32(&light_round, round, GMK_REL, GMK_KERNEL);
    }
}

static void heavy_side(void)
{
    for (uint32_t round = 1; round <= BARRIER_ROUNDS; round++) {
        gmk_store32(&heavy_round, round, GMK_REL, GMK_KERNEL);
        gmk_store64(&right_word, round, GMK_RLX, GMK_KERNEL);
        smp_barrier_all();
        uint64_t saw = gmk_load64(&left_word, GMK_RLX, GMK_KERNEL);
        while (gmk_load32(&light_round, GMK_ACQ, GMK_KERNEL) < round)
            thread_yield();
        if (saw != round && light_saw != round)
            (void)gmk_add32(&both_missed, 1, GMK_RLX, GMK_KERNEL);
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
    smp_barrier_all();
    check(true, "a barrier returns");
    check(on_every_cpu(many_barriers, NULL) && gmk_load32(&barriers_done, GMK_ACQ, GMK_KERNEL) == cpu_count(),
          "barriers of all CPUs at once, with interrupts on and off");
    if (other == cpu_this()->index) {
        check(true, "a barrier orders a CPU that has no fence # SKIP one CPU");
        return;
    }
    thread_t *t = thread_start("selftest", other, light_side, NULL);
    if (t != NULL) {
        heavy_side();
        thread_join(t);
    }
    check(t != NULL && gmk_load32(&both_missed, GMK_ACQ, GMK_KERNEL) == 0,
          "a barrier orders a CPU that has no fence");
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
    bool started = on_every_cpu(report_in, NULL);
    for (uint32_t i = 0; i < n; i++)
        good += smp_online(i) && gmk_load32(&present[i], GMK_ACQ, GMK_KERNEL) == 1;
    check(started && good == n, "every CPU runs threads and knows its own APIC id");
    check(smp_missing() == 0, "no CPU is missing");
    if (acpi_madt() == NULL)
        check(true, "as many CPUs as the MADT enables # SKIP no MADT");
    else
        check(enabled_cpus(acpi_madt()) == n, "as many CPUs as the MADT enables");
    if (lapic_mode()[1] == '2')
        check(true, "the LAPICs are in x2APIC mode");
    else
        check(true, "the LAPICs are in x2APIC mode # SKIP this CPU has no x2APIC");
}

int selftest_platform(void (*ok)(int good, const char *what))
{
    say = ok;
    failed = 0;
    newest.v = went_back.v = timers_good.v = both_missed.v = barriers_done.v = light_round.v = heavy_round.v =
        0;
    for (uint32_t i = 0; i < CPU_MAX; i++)
        calls[i].v = present[i].v = 0;
    left_word.v = right_word.v = 0;
    test_clock();
    test_timer();
    test_ipis();
    test_barriers();
    test_cpus();
    return failed;
}
