/* SPDX-License-Identifier: MIT */
/* selftest_core.c — the core on this machine: what only real CPUs, interrupts and faults can show. */
#include "kernel/inject.h"
#include "kernel/journal.h"
#include "kernel/machine.h"
#include "kernel/selftest.h"

#include "clock.h"
#include "cpu.h"
#include "kprintf.h"
#include "string.h"
#include "thread.h"
#include "vmm.h"

#include "test/det_workload.h"

#include <ggmk/hal.h>

#define MS 1000000u
#define SECOND 1000000000u
#define PATIENCE (20 * (uint64_t)SECOND) /* a slow emulator on a busy host; nothing here relies on it */
#define MESSAGES 1000u
#define TASKS 5000u

enum { TEST_WHERE = TYPE_TEST, TEST_ORDER, TEST_COUNT };

static gmk_a32_t wrong_cpu, ran_on[CPU_MAX], counted, out_of_order, next_seq;

static int on_where(gmk_ctx_t *c)
{
    uint32_t w = gmk_self_worker(c);

    if (w != cpu_this()->index || w >= CPU_MAX)
        (void)gmk_add32(&wrong_cpu, 1, GMK_RLX, GMK_KERNEL);
    else
        (void)gmk_add32(&ran_on[w], 1, GMK_RLX, GMK_KERNEL);
    return GMK_OK;
}

static int on_order(gmk_ctx_t *c)
{
    uint32_t expected = gmk_load32(&next_seq, GMK_RLX, GMK_KERNEL);

    if (c->task->meta0 != expected)
        (void)gmk_add32(&out_of_order, 1, GMK_RLX, GMK_KERNEL);
    gmk_store32(&next_seq, expected + 1, GMK_RLX, GMK_KERNEL);
    return GMK_OK;
}

static int on_count(gmk_ctx_t *c)
{
    (void)c;
    (void)gmk_add32(&counted, 1, GMK_RLX, GMK_KERNEL);
    return GMK_OK;
}

static const gmk_handler_reg_t handlers[] = {
    {.type = TEST_WHERE, .fn = on_where, .name = "selftest.where"},
    {.type = TEST_ORDER, .fn = on_order, .name = "selftest.order"},
    {.type = TEST_COUNT, .fn = on_count, .name = "selftest.count"},
};

static const gmk_chan_decl_t channels[] = {
    {.name = "selftest.order", .direction = GMK_CONSUMES, .handler = TEST_ORDER, .slots = 64},
};

static gmk_module_t test_module = {.name = "selftest",
                                   .version = 1,
                                   .handlers = handlers,
                                   .n_handlers = sizeof(handlers) / sizeof(handlers[0]),
                                   .channels = channels,
                                   .n_channels = 1};

/* ---- helpers ------------------------------------------------------------------------------ */

static gmk_stats_t stats_now(void)
{
    gmk_stats_t s = {0};

    (void)gmk_stats(machine_core(), &s);
    return s;
}

static bool drained(void) { return gmk_drain(machine_core(), PATIENCE) == GMK_OK; }

/* Waits for a condition on the figures. */
static bool wait_for(bool (*there)(const gmk_stats_t *))
{
    uint64_t until = clock_now_ns() + PATIENCE;

    do {
        gmk_stats_t s = stats_now();
        if (there(&s))
            return true;
        thread_sleep_ns(5 * MS);
    } while (clock_now_ns() < until);
    return false;
}

static int submit_n(uint32_t type, uint32_t n)
{
    gmk_task_t t = {.type = type, .flags = GMK_PRIO_1};
    int code = GMK_OK;

    for (uint32_t i = 0; i < n && code == GMK_OK; i++) {
        code = gmk_submit(machine_core(), &t);
        if (code == GMK_ERR_FULL && drained())
            code = gmk_submit(machine_core(), &t);
    }
    return code;
}

/* ---- tasks and channels ------------------------------------------------------------------- */

/* One message to each of the workers from `first` on: as many as a channel has subscriptions. */
static int visit(gmk_ctx_t *c, uint32_t first)
{
    const gmk_chan_cfg_t cfg = {.name = "selftest.where", .mode = GMK_FANOUT, .slots = 4};
    const gmk_task_t t = {.flags = GMK_PRIO_0};
    gmk_chan_t ch;
    int code = gmk_chan_open(c, &cfg, &ch);

    for (uint32_t w = first; w < cpu_count() && w < first + GMK_MAX_SUBS && code == GMK_OK; w++) {
        gmk_sub_cfg_t sub = {.handler = TEST_WHERE, .pinned = 1, .worker = w};
        code = gmk_chan_sub(c, ch, &sub, NULL);
    }
    if (code == GMK_OK)
        code = gmk_chan_emit(c, ch, &t);
    if (code == GMK_OK)
        code = gmk_drain(machine_core(), PATIENCE);
    int closed = gmk_chan_close(c, ch);
    if (closed == GMK_OK)
        closed = gmk_wait_closed(c, ch, PATIENCE);
    return code == GMK_OK ? closed : code;
}

static void every_worker(gmk_ctx_t *c, selftest_ok_fn ok)
{
    uint32_t once = 0;
    int code = GMK_OK;

    gmk_store32(&wrong_cpu, 0, GMK_RLX, GMK_KERNEL);
    for (uint32_t w = 0; w < CPU_MAX; w++)
        gmk_store32(&ran_on[w], 0, GMK_RLX, GMK_KERNEL);
    for (uint32_t first = 0; first < cpu_count() && code == GMK_OK; first += GMK_MAX_SUBS)
        code = visit(c, first);
    for (uint32_t w = 0; w < cpu_count(); w++)
        once += gmk_load32(&ran_on[w], GMK_RLX, GMK_KERNEL) == 1;
    ok(code == GMK_OK && once == cpu_count(), "a message pinned to each worker runs there, once");
    ok(gmk_load32(&wrong_cpu, GMK_RLX, GMK_KERNEL) == 0, "each worker runs on the CPU of its number");
}

static void many_tasks(selftest_ok_fn ok)
{
    gmk_stats_t before = stats_now();

    gmk_store32(&counted, 0, GMK_RLX, GMK_KERNEL);
    int code = submit_n(TEST_COUNT, TASKS);
    ok(code == GMK_OK && drained(), "five thousand tasks are accepted and run");
    ok(gmk_load32(&counted, GMK_RLX, GMK_KERNEL) == TASKS, "each of them exactly once");
    gmk_stats_t s = stats_now();
    ok(s.completed - before.completed == TASKS, "the counters count them");
}

static void order(gmk_ctx_t *c, selftest_ok_fn ok)
{
    gmk_chan_t ch;
    int code = gmk_chan_find(c, "selftest.order", &ch);

    gmk_store32(&next_seq, 0, GMK_RLX, GMK_KERNEL);
    gmk_store32(&out_of_order, 0, GMK_RLX, GMK_KERNEL);
    for (uint32_t i = 0; i < MESSAGES && code == GMK_OK; i++) {
        const gmk_task_t t = {.flags = GMK_PRIO_2, .meta0 = i};
        code = gmk_chan_emit_wait(c, ch, &t, PATIENCE);
    }
    ok(code == GMK_OK && drained(), "a thousand messages pass a channel of 64 credits");
    ok(gmk_load32(&next_seq, GMK_RLX, GMK_KERNEL) == MESSAGES &&
           gmk_load32(&out_of_order, GMK_RLX, GMK_KERNEL) == 0,
       "in the order of their emission");
}

/* ---- faults ------------------------------------------------------------------------------- */

/* The fault fails as many tasks as it should, and those around it run. */
static void contained(const char *kind, uint32_t expected, const char *what, selftest_ok_fn ok)
{
    gmk_stats_t before = stats_now();

    gmk_store32(&counted, 0, GMK_RLX, GMK_KERNEL);
    int code = submit_n(TEST_COUNT, 100);
    if (code == GMK_OK)
        code = inject(kind);
    if (code == GMK_OK)
        code = submit_n(TEST_COUNT, 100);
    bool done = drained();
    gmk_stats_t s = stats_now();
    ok(code == GMK_OK && done && s.faults - before.faults == expected &&
           s.failed - before.failed == expected && gmk_load32(&counted, GMK_RLX, GMK_KERNEL) == 200,
       what);
}

static void faults(selftest_ok_fn ok)
{
    contained("divide", 1, "a division by zero fails its task only", ok);
    contained("page", 1, "an access to nothing fails its task only", ok);
    contained("ud", 1, "an undefined instruction fails its task only", ok);
    contained("stack", 1, "a stack overflow fails its task only", ok);
    contained("everywhere", cpu_count(), "a fault on every CPU at once fails these tasks only", ok);
}

static bool has_zombie(const gmk_stats_t *s) { return s->zombies > 0; }
static bool has_none(const gmk_stats_t *s) { return s->zombies == 0 && s->pending == 0; }

static void hang(selftest_ok_fn ok)
{
    int code = inject("hang");

    ok(code == GMK_OK && wait_for(has_zombie), "the watchdog replaces a worker whose handler hangs");
    gmk_store32(&counted, 0, GMK_RLX, GMK_KERNEL);
    code = submit_n(TEST_COUNT, 100);
    uint64_t until = clock_now_ns() + PATIENCE;
    while (gmk_load32(&counted, GMK_ACQ, GMK_KERNEL) < 100 && clock_now_ns() < until)
        thread_sleep_ns(MS);
    ok(code == GMK_OK && gmk_load32(&counted, GMK_RLX, GMK_KERNEL) == 100, "tasks run on while it hangs");
    ok(inject_release() == 1 && wait_for(has_none), "once it returns, its task has its outcome");
}

/* ---- determinism, idleness, halting -------------------------------------------------------- */

static void determinism(selftest_ok_fn ok)
{
    static gmk_module_t det = DET_MODULE;
    static gmk_module_t *modules[] = {&det};
    static gmk_kernel_t k;
    gmk_boot_cfg_t cfg = {.name = "det", .arena_size = (uint64_t)4 << 20, .seed = DET_WORKLOAD_SEED};
    gmk_stats_t s = {0};

    cfg.n_workers = cpu_count() < 4 ? cpu_count() : 4;
    cfg.poison_failures = DET_WORKLOAD_POISON;
    cfg.flags = GMK_BOOT_QUIET;
    int code = gmk_boot(&k, &cfg, modules, 1);
    ok(code == GMK_OK, "a second kernel boots beside cpu.0");
    if (code != GMK_OK)
        return;
    code = det_input(&k);
    for (uint32_t i = 0; i < DET_WORKLOAD_TICKS && code == GMK_OK; i++) {
        (void)gmk_tick_advance(&k);
        code = gmk_drain(&k, PATIENCE);
    }
    (void)gmk_stats(&k, &s);
    ok(code == GMK_OK && s.det_hash == DET_WORKLOAD_HASH, "the deterministic workload has its hash");
    ok(s.completed + s.failed + s.dropped == DET_WORKLOAD_TASKS && s.pending == 0, "and its number of tasks");
    gmk_halt_report_t report = {0};
    code = gmk_halt_within(&k, PATIENCE, &report);
    ok(code == GMK_OK && report.completed == s.completed && report.zombies == 0,
       "it halts, and says what it did");
}

/* Time that the idle threads ran, and timer interrupts, on all CPUs. */
static void idleness(uint64_t *idle_ns, uint64_t *timer_interrupts)
{
    enum { MOST = 2048 };
    thread_info_t *list = vmm_alloc(MOST * sizeof(*list), VMM_DEMAND);
    uint32_t n = list ? thread_list(list, MOST) : 0;

    *idle_ns = *timer_interrupts = 0;
    for (uint32_t i = 0; i < n && i < MOST; i++)
        if (strncmp(list[i].name, "idle", 4) == 0)
            *idle_ns += list[i].ran_ns;
    for (uint32_t c = 0; c < cpu_count(); c++)
        *timer_interrupts += irq_count(c, 0xfc);
    if (list)
        vmm_free(list, MOST * sizeof(*list));
}

static void idle(selftest_ok_fn ok)
{
    uint64_t idle_before, idle_after, timers_before, timers_after, began;

    thread_sleep_ns(2 * (uint64_t)SECOND); /* the watchdog looks for a second longer, then it sleeps too */
    idleness(&idle_before, &timers_before);
    began = clock_now_ns();
    thread_sleep_ns(SECOND / 2);
    uint64_t passed = (clock_now_ns() - began) * cpu_count();
    idleness(&idle_after, &timers_after);
    kprintf("# idle %lu %% of %u CPUs, %lu timer interrupts\n", (idle_after - idle_before) * 100 / passed,
            cpu_count(), timers_after - timers_before);
    ok((idle_after - idle_before) * 10 >= passed * 9, "an idle machine halts on every CPU");
    ok(timers_after - timers_before <= 4 + cpu_count() / 8, "and nothing ticks on it");
}

static void balance(selftest_ok_fn ok)
{
    gmk_stats_t s = stats_now();

    ok(s.accepted == s.completed + s.failed + s.dropped + s.pending && s.pending == 0,
       "accepted = completed + failed + dropped, and nothing is pending");
}

int selftest_core(selftest_ok_fn ok)
{
    gmk_port_t port;
    int code = gmk_module_load(machine_core(), &test_module);

    ok(code == GMK_OK, "a module is loaded while the kernel runs");
    if (code != GMK_OK)
        return code;
    code = gmk_attach(machine_core(), &port);
    ok(code == GMK_OK, "a thread attaches");
    if (code == GMK_OK) {
        every_worker(gmk_port_ctx(&port), ok);
        order(gmk_port_ctx(&port), ok);
        gmk_detach(&port);
    }
    many_tasks(ok);
    journal_quiet(true);
    faults(ok);
    hang(ok);
    journal_quiet(false);
    determinism(ok);
    idle(ok);
    balance(ok);
    ok(gmk_module_unload(machine_core(), "selftest") == GMK_OK, "and is unloaded");
    return GMK_OK;
}
