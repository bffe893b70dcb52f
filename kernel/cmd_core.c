/* SPDX-License-Identifier: MIT */
/* cmd_core.c — stats and mod: the figures of the core, its handler types and its modules. */
#include "kernel/com2.h"
#include "kernel/machine.h"
#include "kernel/monitor.h"
#include "kernel/text.h"

#include "clock.h"
#include "kprintf.h"
#include "string.h"

static void show_outcomes(const gmk_stats_t *s)
{
    kprintf("deliveries  accepted %lu = completed %lu + failed %lu + dropped %lu\n", s->accepted,
            s->completed, s->failed, s->dropped);
    kprintf("            + pending %lu; refused %lu, unheard %lu, dead letters %lu\n", s->pending, s->refused,
            s->unheard, s->dead_letters);
    kprintf("handlers    yields %lu, retries %lu, waits %lu, faults %lu, overruns %lu\n", s->yields,
            s->retries, s->waits, s->faults, s->overruns);
}

static void show_scheduler(const gmk_stats_t *s)
{
    kprintf("scheduler   batches %lu, steals %lu (%lu tasks), spills %lu, internal %lu\n", s->batches,
            s->steals, s->stolen, s->spills, s->internal);
    kprintf("workers     %u, parked %u, zombies %u, ports %u; parks %lu, wakes %lu\n", s->workers, s->parked,
            s->zombies, s->ports, s->parks, s->wakes);
    kprintf("waiting     timers %lu, on channels %lu; tick %u, hash %016lx\n", s->timers, s->waiting, s->tick,
            s->det_hash);
}

/* The number of a type, given as such or by its handler's name; 0 = there is none. */
static uint32_t type_named(const char *name, gmk_type_stats_t *st)
{
    for (uint32_t t = 1; t < MACHINE_TYPES; t++) {
        char number[TEXT_SHORT];
        (void)ksnprintf(number, sizeof(number), "%u", t);
        if (gmk_type_stats(machine_core(), t, st) == GMK_OK &&
            (strcmp(st->name, name) == 0 || strcmp(number, name) == 0))
            return t;
    }
    return 0;
}

static bool show_type(const char *name)
{
    gmk_type_stats_t st;
    char mean[TEXT_SHORT], half[TEXT_SHORT], most[TEXT_SHORT];
    uint32_t type = type_named(name, &st);

    if (!type)
        return wrong("no such handler type (mod lists them)", name);
    kprintf("type %u, \"%s\" of module \"%s\"%s\n", type, st.name, st.module,
            st.poisoned ? ", poisoned" : "");
    kprintf("  completed %lu, failed %lu, dropped %lu\n", st.completed, st.failed, st.dropped);
    kprintf("  yields %lu, retries %lu, overruns %lu, faults %lu\n", st.yields, st.retries, st.overruns,
            st.faults);
    kprintf("  run time: %lu samples, mean %s, median %s, 99 %% %s\n", st.run_samples,
            text_ns(mean, st.run_ns_mean), text_ns(half, st.run_ns_p50), text_ns(most, st.run_ns_p99));
    kprintf("  delay: %lu samples, median %s, 99 %% %s\n", st.delay_samples, text_ns(half, st.delay_ns_p50),
            text_ns(most, st.delay_ns_p99));
    return true;
}

static bool send_metrics(void)
{
    uint64_t bytes = 0;
    char size[TEXT_SHORT];
    int code = com2_send_metrics(&bytes);

    if (code == GMK_OK)
        kprintf("sent metrics, %s\n", text_bytes(size, bytes));
    return report_code(code == GMK_ERR_NOTFOUND ? "no second serial port" : "metrics", code);
}

bool cmd_stats(int argc, char **argv)
{
    gmk_stats_t s;
    char up[TEXT_SHORT];

    if (argc > 2)
        return wrong("one type at a time", argv[2]);
    if (argc > 1)
        return strcmp(argv[1], "send") == 0 ? send_metrics() : show_type(argv[1]);
    int code = gmk_stats(machine_core(), &s);
    if (code != GMK_OK)
        return report_code("stats", code);
    kprintf("cpu.0       up %s, task credits %u\n", text_ns(up, clock_now_ns()), s.task_max);
    show_outcomes(&s);
    show_scheduler(&s);
    return true;
}

/* ---- modules ------------------------------------------------------------------------------ */

/* Has a type below this one the same module? */
static bool seen_before(uint32_t type, const char *module)
{
    gmk_type_stats_t st;

    for (uint32_t t = 1; t < type; t++)
        if (gmk_type_stats(machine_core(), t, &st) == GMK_OK && strcmp(st.module, module) == 0)
            return true;
    return false;
}

static void show_module(const char *module)
{
    gmk_type_stats_t st;

    kprintf("%s\n", module);
    for (uint32_t t = 1; t < MACHINE_TYPES; t++)
        if (gmk_type_stats(machine_core(), t, &st) == GMK_OK && strcmp(st.module, module) == 0)
            kprintf("  %5u  %-24s %11lu %8lu %8lu%s\n", t, st.name, st.completed, st.failed, st.dropped,
                    st.poisoned ? "  poisoned" : "");
}

bool cmd_mod(int argc, char **argv)
{
    gmk_type_stats_t st;

    (void)argc;
    (void)argv;
    kprintf("MODULE\n   TYPE  HANDLER                    COMPLETED   FAILED  DROPPED\n");
    for (uint32_t t = 1; t < MACHINE_TYPES; t++)
        if (gmk_type_stats(machine_core(), t, &st) == GMK_OK && !seen_before(t, st.module))
            show_module(st.module);
    return true;
}
