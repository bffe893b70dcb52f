/* SPDX-License-Identifier: MIT */
/*
 * clock.c — nanoseconds from the counter chosen.
 *
 * now = base_ns + (count - base_count) * factor >> 32.  A source, once published, never changes; another
 * one takes over by publishing its index, with a base_ns that nobody has seen yet.
 *
 * A counter of few bits is extended in `last`, which every reader moves forward: a reading counts only
 * relative to it, and the word never goes back.
 */
#include "clock.h"

#include "clock_counters.h"
#include "cpu.h"
#include "kprintf.h"
#include "panic.h"
#include "smp.h"
#include "thread.h"

#include <ggmk/error.h>

#define ROUND_US 10000u /* 36,000 periods of the PM timer: within 30 ppm */

typedef struct source {
    clock_counter_t counter;
    bool tsc;    /* read without a call */
    bool narrow; /* fewer than 64 bits */
    uint64_t base_count, base_ns, factor;
    gmk_a64_t last; /* narrow: the extended count */
} source_t;

static source_t sources[2];
static gmk_a32_t current; /* index into sources, plus 1 */
static uint64_t tsc_hz;

/* The extended count.  The exchange orders the readers among each other: each sees the last move. */
static uint64_t read_narrow(source_t *s)
{
    uint64_t last = gmk_load64(&s->last, GMK_ACQ, GMK_KERNEL), next;
    do {
        next = clock_extend(last, s->counter.read(), s->counter.mask);
        if (next == last)
            return last;
    } while (!gmk_cas64(&s->last, &last, next, GMK_ACQ_REL, GMK_KERNEL));
    return next;
}

static uint64_t read_source(source_t *s)
{
    if (s->tsc)
        return clock_read_tsc();
    return s->narrow ? read_narrow(s) : s->counter.read();
}

uint64_t clock_now_ns(void)
{
    uint32_t index = gmk_load32(&current, GMK_ACQ, GMK_KERNEL);
    if (index == 0)
        return 0;
    source_t *s = &sources[index - 1];
    uint64_t passed = read_source(s) - s->base_count;
    if ((int64_t)passed < 0) /* this CPU's counter is a hair behind that of the CPU that began */
        passed = 0;
    return s->base_ns + clock_scale(passed, s->factor);
}

/* lead_ns: how far ahead of the old source the new one begins.  Nobody reads sources[index] before it is published. */
static void publish(uint32_t index, const clock_counter_t *c, uint64_t lead_ns)
{
    source_t *s = &sources[index];
    s->counter = *c;
    s->tsc = c->read == clock_read_tsc;
    s->narrow = c->mask != UINT64_MAX;
    s->last.v = c->read() & c->mask;
    s->base_count = s->narrow ? s->last.v : c->read();
    s->base_ns = clock_now_ns() + lead_ns; /* after the count, so that a delay here only moves it on */
    s->factor = clock_factor(c->hz);
    gmk_store32(&current, index + 1, GMK_REL, GMK_KERNEL);
}

/* The TSC's rate by the best reference this machine has; false: none gives a believable one. */
static bool measure_tsc(clock_counter_t *tsc)
{
    static bool (*const probe[])(clock_counter_t *) = {clock_probe_pm_timer, clock_probe_hpet,
                                                       clock_probe_pit};
    for (uint32_t i = 0; i < sizeof probe / sizeof probe[0]; i++) {
        clock_counter_t reference;
        clock_rate_t rate;
        if (!probe[i](&reference))
            continue;
        int rc = clock_measure(tsc, &reference, ROUND_US, &rate);
        if (rc == GMK_OK) {
            tsc->hz = tsc_hz = rate.hz;
            kprintf("clock: TSC %llu.%03llu MHz by the %s, rounds within %u ppm\n",
                    (unsigned long long)(rate.hz / 1000000), (unsigned long long)(rate.hz / 1000 % 1000),
                    reference.name, rate.spread_ppm);
            return true;
        }
        kprintf("clock: the %s cannot measure the TSC: %s\n", reference.name,
                rc == GMK_ERR_TIMEOUT ? "it stopped" : "its results differ too much");
    }
    return false;
}

static bool other_than_tsc(clock_counter_t *c) { return clock_probe_hpet(c) || clock_probe_pm_timer(c); }

void clock_init(void)
{
    clock_counter_t c;
    const char *fault = "not there, or stopped";
    if (clock_probe_tsc(&c))
        fault = measure_tsc(&c) ? clock_tsc_fault() : "of unknown rate";
    if (fault != NULL && !other_than_tsc(&c))
        panic("no clock: the TSC is %s, and there is no HPET and no ACPI PM timer that moves; "
              "start this machine with one of them",
              fault);
    if (fault != NULL)
        kprintf("clock: the TSC is %s; %s at %llu Hz instead\n", fault, c.name, (unsigned long long)c.hz);
    publish(0, &c, 0);
}

/* ---- do the CPUs' TSCs agree? ---------------------------------------------------------------------- */

/*
 * All CPUs, at once: nobody's TSC may be behind what another CPU has read and published before.  `latest`
 * is read (acquire) before the TSC and moved forward (release) after it.
 */
#define WARP_ROUNDS 2000u

static gmk_a64_t latest, worst_warp;

static void raise(gmk_a64_t *word, uint64_t v)
{
    uint64_t seen = gmk_load64(word, GMK_RLX, GMK_KERNEL);
    while (seen < v && !gmk_cas64(word, &seen, v, GMK_ACQ_REL, GMK_KERNEL))
        cpu_pause();
}

static void warp_test(void *unused)
{
    (void)unused;
    for (uint32_t i = 0; i < WARP_ROUNDS; i++) {
        uint64_t before = gmk_load64(&latest, GMK_ACQ, GMK_KERNEL), now = clock_read_tsc();
        if (now < before)
            raise(&worst_warp, before - now);
        raise(&latest, now);
    }
}

/* The new source starts later than the TSC of any CPU can have said by now. */
static void leave_tsc(uint64_t warp)
{
    clock_counter_t c;
    uint64_t warp_ns = clock_scale(warp, sources[0].factor);
    if (!other_than_tsc(&c))
        panic("no clock: the CPUs' TSCs differ by %llu ns, and there is no HPET and no ACPI PM timer; "
              "start this machine with one of them, or with one CPU",
              (unsigned long long)warp_ns);
    publish(1, &c, 2 * warp_ns + 1000000u);
    kprintf("clock: the CPUs' TSCs differ by %llu ns: %s at %llu Hz instead\n", (unsigned long long)warp_ns,
            c.name, (unsigned long long)c.hz);
}

static void compare_tscs(void)
{
    smp_call_all(warp_test, NULL);
    uint64_t warp = gmk_load64(&worst_warp, GMK_ACQ, GMK_KERNEL);
    if (warp != 0)
        leave_tsc(warp);
    else
        kprintf("clock: %u CPUs agree about the TSC\n", cpu_count());
}

/* ---- a counter of few bits must be read in time ----------------------------------------------------- */

/* Extending goes wrong after half the range; a quarter leaves room for a late CPU. */
static void keep_clock(void *arg)
{
    const source_t *s = arg;
    uint64_t ns = clock_scale(s->counter.mask / 4, s->factor);
    for (;;)
        thread_sleep_ns(ns);
}

void clock_check_smp(void)
{
    uint32_t index = gmk_load32(&current, GMK_ACQ, GMK_KERNEL);
    if (index != 0 && sources[index - 1].tsc && cpu_count() > 1)
        compare_tscs();
    index = gmk_load32(&current, GMK_ACQ, GMK_KERNEL);
    if (index != 0 && sources[index - 1].narrow &&
        thread_start("clock", 0, keep_clock, &sources[index - 1]) == NULL)
        panic("no memory for the thread that keeps the clock");
}

/* ---- small things ---------------------------------------------------------------------------------- */

uint64_t clock_cycles(void) { return rdtsc(); }
uint64_t clock_tsc_hz(void) { return tsc_hz; }

const char *clock_name(void)
{
    uint32_t index = gmk_load32(&current, GMK_ACQ, GMK_KERNEL);
    return index != 0 ? sources[index - 1].counter.name : "none";
}

/* An access to a port that nothing answers takes about a microsecond (the ISA bus's time-out). */
static void delay_by_ports(uint32_t us)
{
    while (us-- > 0)
        (void)inb(0x80);
}

void clock_delay_us(uint32_t us)
{
    if (gmk_load32(&current, GMK_ACQ, GMK_KERNEL) == 0) {
        delay_by_ports(us);
        return;
    }
    uint64_t end = clock_now_ns() + us * UINT64_C(1000);
    while (clock_now_ns() < end) {
        smp_poll();
        cpu_pause();
    }
}
