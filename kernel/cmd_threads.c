/* SPDX-License-Identifier: MIT */
/* cmd_threads.c — ps and top: what the threads of the machine do. */
#include "kernel/machine.h"
#include "kernel/monitor.h"
#include "kernel/text.h"

#include "clock.h"
#include "cpu.h"
#include "kprintf.h"
#include "serial.h"
#include "string.h"
#include "thread.h"
#include "vmm.h"

#define MOST_THREADS 2048u
#define LIST_BYTES (MOST_THREADS * sizeof(thread_info_t))
#define TOP_THREADS 8u
#define TOP_TYPES 6u
#define SECOND 1000000000u

static const char *state_name(uint32_t state)
{
    static const char *const names[] = {"ready", "running", "blocked", "dead"};

    return state < 4 ? names[state] : "?";
}

static uint32_t list_threads(thread_info_t *list)
{
    uint32_t n = thread_list(list, MOST_THREADS);

    return n < MOST_THREADS ? n : MOST_THREADS;
}

bool cmd_ps(int argc, char **argv)
{
    thread_info_t *list = vmm_alloc(LIST_BYTES, VMM_DEMAND);
    char ran[TEXT_SHORT];

    (void)argc;
    (void)argv;
    if (!list)
        return report_code("ps", GMK_ALLOC_FAIL);
    uint32_t n = list_threads(list);
    kprintf("  ID  CPU  STATE    NAME                      TIME RUN    SWITCHES\n");
    for (uint32_t i = 0; i < n; i++)
        kprintf("%4u %4u  %-7s  %-23s %10s  %10lu\n", list[i].id, list[i].cpu, state_name(list[i].state),
                list[i].name, text_ns(ran, list[i].ran_ns), list[i].switches);
    kprintf("%u threads on %u CPU%s\n", n, cpu_count(), cpu_count() == 1 ? "" : "s");
    vmm_free(list, LIST_BYTES);
    return true;
}

/* ---- top ---------------------------------------------------------------------------------- */

typedef struct sample {
    thread_info_t *threads;
    uint32_t n;
    uint64_t at;
    uint64_t completed[MACHINE_TYPES];
} sample_t;

static void take(sample_t *s)
{
    gmk_type_stats_t st;

    s->at = clock_now_ns();
    s->n = list_threads(s->threads);
    for (uint32_t t = 1; t < MACHINE_TYPES; t++)
        s->completed[t] = gmk_type_stats(machine_core(), t, &st) == GMK_OK ? st.completed : 0;
}

static bool is_idle(const thread_info_t *t) { return strncmp(t->name, "idle", 4) == 0; }

/* Leaves in `after` what each thread ran since `before`; one that is new has all of its time. */
static void subtract(sample_t *after, const sample_t *before)
{
    for (uint32_t i = 0; i < after->n; i++)
        for (uint32_t j = 0; j < before->n; j++)
            if (before->threads[j].id == after->threads[i].id) {
                after->threads[i].ran_ns -= before->threads[j].ran_ns;
                break;
            }
    for (uint32_t t = 0; t < MACHINE_TYPES; t++)
        after->completed[t] -= before->completed[t];
}

/* What a CPU's threads but the idle one ran. */
static uint64_t busy_ns(const sample_t *s, uint32_t cpu)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < s->n; i++)
        if (s->threads[i].cpu == cpu && !is_idle(&s->threads[i]))
            sum += s->threads[i].ran_ns;
    return sum;
}

static void show_cpus(const sample_t *s, uint64_t ns)
{
    char percent[TEXT_SHORT];
    uint32_t n = cpu_count();

    for (uint32_t cpu = 0; cpu < n; cpu++) {
        uint64_t busy = busy_ns(s, cpu);
        text_percent(percent, busy < ns ? busy : ns, ns);
        kprintf("cpu %3u %5s %%%s", cpu, percent, cpu % 4 == 3 || cpu + 1 == n ? "\n" : "    ");
    }
}

/* The busiest first; what was shown has its time taken away. */
static void show_threads(sample_t *s, uint64_t ns)
{
    char percent[TEXT_SHORT];

    kprintf("   ID  CPU  THREAD                     CPU %%\n");
    for (uint32_t shown = 0; shown < TOP_THREADS; shown++) {
        thread_info_t *best = NULL;
        for (uint32_t i = 0; i < s->n; i++)
            if (!is_idle(&s->threads[i]) && s->threads[i].ran_ns &&
                (!best || s->threads[i].ran_ns > best->ran_ns))
                best = &s->threads[i];
        if (!best)
            break;
        kprintf("%5u %4u  %-24s %7s\n", best->id, best->cpu, best->name,
                text_percent(percent, best->ran_ns, ns));
        best->ran_ns = 0;
    }
}

static void show_types(sample_t *s, uint64_t ns)
{
    gmk_type_stats_t st;

    for (uint32_t shown = 0; shown < TOP_TYPES; shown++) {
        uint32_t best = 0;
        for (uint32_t t = 1; t < MACHINE_TYPES; t++)
            if (s->completed[t] > s->completed[best])
                best = t;
        if (s->completed[best] == 0 || gmk_type_stats(machine_core(), best, &st) != GMK_OK)
            break;
        kprintf("%s%5u       %-24s %7lu\n", shown ? "" : " TYPE       HANDLER                  TASKS/S\n",
                best, st.name, s->completed[best] * 1000 / (ns / 1000000 + 1));
        s->completed[best] = 0;
    }
}

bool cmd_top(int argc, char **argv)
{
    static sample_t before, after;
    uint64_t seconds = 1;

    if (!number_argument(argc, argv, 1, 60, &seconds))
        return false;
    before.threads = vmm_alloc(LIST_BYTES, VMM_DEMAND);
    after.threads = vmm_alloc(LIST_BYTES, VMM_DEMAND);
    if (before.threads && after.threads) {
        take(&before);
        thread_sleep_ns((seconds ? seconds : 1) * SECOND);
        take(&after);
        uint64_t ns = after.at - before.at;
        subtract(&after, &before);
        show_cpus(&after, ns);
        show_threads(&after, ns);
        show_types(&after, ns);
    } else {
        (void)report_code("top", GMK_ALLOC_FAIL);
    }
    if (before.threads)
        vmm_free(before.threads, LIST_BYTES);
    if (after.threads)
        vmm_free(after.threads, LIST_BYTES);
    return true;
}
