/* SPDX-License-Identifier: MIT */
/* sched.c — the heart of the simulator: who goes on, what time it is, when a run ends. */
#include "sim_int.h"

#include <stdarg.h>
#include <string.h>

struct sim sim;

void sim_switch(void **save_sp, void *load_sp);

/* ---- randomness: splitmix64 (Steele, Lea and Flood 2014) ----------------------------------- */

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Uniform below n up to a bias of n / 2^32 (Lemire 2019, without the rejection). */
static uint32_t below(uint64_t *state, uint32_t n)
{
    return (uint32_t)(((next_random(state) >> 32) * n) >> 32);
}

uint32_t sim_rand(uint32_t n) { return below(&sim.random_scenario, n); }

bool sim_chance(uint32_t per_65536) { return per_65536 != 0 && below(&sim.random, 65536) < per_65536; }

/* ---- the set of fibers that can run -------------------------------------------------------- */

void sim_make_runnable(struct sim_fiber *f)
{
    if (f->state == SIM_SPINNING)
        sim.n_spinning--;
    f->state = SIM_RUNNABLE;
    f->due = UINT64_MAX;
    f->slot = sim.n_runnable;
    sim.runnable[sim.n_runnable++] = f;
}

static void take_from_runnable(struct sim_fiber *f)
{
    struct sim_fiber *last = sim.runnable[--sim.n_runnable];
    sim.runnable[f->slot] = last;
    last->slot = f->slot;
}

/* ---- time ---------------------------------------------------------------------------------- */

static bool waits_for_time(const struct sim_fiber *f)
{
    return f->state >= SIM_ON_LOCK && f->state <= SIM_ON_WARP && f->due != UINT64_MAX;
}

/* Lets go on whose time has come, and finds when the next one's will. */
static void fire_due(void)
{
    sim.next_due = UINT64_MAX;
    for (uint32_t i = 0; i < sim.n_fibers; i++) {
        struct sim_fiber *f = sim_fiber_at(i);
        if (!waits_for_time(f))
            continue;
        if (f->due <= sim.now) {
            f->timed_out = true;
            sim_make_runnable(f);
        } else if (f->due < sim.next_due) {
            sim.next_due = f->due;
        }
    }
}

static void wake_spinners(void)
{
    for (uint32_t i = 0; sim.n_spinning > 0 && i < sim.n_fibers; i++)
        if (sim_fiber_at(i)->state == SIM_SPINNING)
            sim_make_runnable(sim_fiber_at(i));
}

static void move_time(uint64_t to)
{
    sim.now = to;
    if (sim.now > sim.options.max_time_ns)
        sim_fail("livelock: the bound of virtual time is passed");
    if (sim.now >= sim.next_due)
        fire_due();
}

void sim_tick(void) { move_time(sim.now + 1); }

uint64_t sim_time(void) { return sim.now; }

uint64_t sim_due(uint64_t timeout_ns)
{
    return timeout_ns > UINT64_MAX - 1 - sim.now ? UINT64_MAX : sim.now + timeout_ns;
}

static void end_stall(void)
{
    struct sim_fiber *f = sim.stalled;
    sim.stalled = NULL;
    sim_make_runnable(f);
}

/* Nothing can run: let time pass, by growing steps where somebody spins. */
static void idle(void)
{
    while (sim.n_runnable == 0) {
        if (sim.stalled != NULL) {
            end_stall();
            return;
        }
        if (sim.n_spinning == 0) {
            fire_due(); /* next_due may name one that has gone on since */
            if (sim.next_due == UINT64_MAX)
                sim_fail("deadlock: nothing can run and nothing is due");
            move_time(sim.next_due);
            continue;
        }
        if (++sim.idle_steps > 36) /* more than an hour */
            sim_fail("livelock: all fibers that can run only spin, and no word changes");
        uint64_t to = sim.now + sim.quantum;
        sim.quantum *= 2;
        move_time(to < sim.next_due ? to : sim.next_due);
        wake_spinners();
    }
}

/* A shared word changed: those who spin look again. */
void sim_wrote(void)
{
    sim.writes++;
    sim.current->own_writes++;
    sim.quantum = 64;
    sim.idle_steps = 0;
    if (sim.n_spinning > 0)
        wake_spinners();
}

/* ---- the choice ---------------------------------------------------------------------------- */

static void go_on(void)
{
    struct sim_fiber *from = sim.current;

    if (sim.n_runnable == 0)
        idle();
    struct sim_fiber *to = sim.runnable[sim.n_runnable > 1 ? below(&sim.random, sim.n_runnable) : 0];
    if (to == from)
        return;
    sim.result.switches++;
    sim.current = to;
    sim_switch(&from->sp, to->sp);
}

static void mix(uint64_t v)
{
    uint64_t h = (sim.result.hash ^ v) * 0x9fb21c651e98df25u;
    sim.result.hash = h ^ (h >> 32);
}

static struct sim_event *record(enum sim_op op, const void *where, const void *pc)
{
    struct sim_event *e = &sim.events[sim.n_events++ & (SIM_EVENTS - 1)];
    *e = (struct sim_event){.fiber = sim.current->id, .op = op, .where = where, .pc = pc};
    mix((uint64_t)op << 32 | sim.current->id);
    return e;
}

/* A scheduling point: others may run; then the operation is recorded, and the caller does it. */
struct sim_event *sim_point_from(enum sim_op op, const void *where, const void *pc)
{
    if (++sim.result.steps > sim.options.max_steps)
        sim_fail("livelock: the bound of %llu scheduling points is passed",
                 (unsigned long long)sim.options.max_steps);
    if (sim.next_due != UINT64_MAX && sim_chance(sim.options.early_timeout))
        move_time(sim.next_due > sim.now ? sim.next_due : sim.now);
    if (sim.stalled != NULL && sim.result.steps >= sim.stall_end)
        end_stall();
    go_on();
    return record(op, where, pc);
}

/*
 * Behind one atomic in four others may run, too: between it and the plain accesses that follow.
 * Without that, publishing first and writing later would go unseen.  A stalled fiber, one at a
 * time, stays behind for long, or until the others have nothing to do.
 */
#define STALL_POINTS 1024u

void sim_after(void)
{
    if (sim.n_runnable > 1 && sim.stalled == NULL && sim_chance(sim.options.stall)) {
        sim.stalled = sim.current;
        sim.stall_end = sim.result.steps + below(&sim.random, STALL_POINTS);
        sim_block(SIM_STALLED, NULL, UINT64_MAX);
    } else if (sim.n_runnable > 1 && sim_chance(16384))
        go_on();
}

/* The current fiber waits: for sim_make_runnable, or for its time. */
void sim_block(enum sim_state state, const void *on, uint64_t due)
{
    struct sim_fiber *f = sim.current;

    take_from_runnable(f);
    f->state = state;
    f->waits_on = on;
    f->due = due;
    f->timed_out = false;
    if (state == SIM_SPINNING)
        sim.n_spinning++;
    if (due < sim.next_due)
        sim.next_due = due;
    go_on();
}

void sim_yield(void) { (void)sim_point(SIM_YIELD, NULL); }

void sim_sleep(uint64_t ns)
{
    (void)sim_point(SIM_YIELD, NULL);
    if (ns > 0)
        sim_block(SIM_SLEEPING, NULL, sim_due(ns));
}

/* ---- the end of a run ---------------------------------------------------------------------- */

/* Back to sim_run; the fibers stay as they are, for the report. */
static _Noreturn void leave(void)
{
    static void *nowhere;
    sim_switch(&nowhere, sim.host_sp);
    __builtin_unreachable();
}

static void set_message(const char *format, va_list args)
{
    sim.result.failed = true;
    vsnprintf(sim.result.message, sizeof sim.result.message, format, args);
}

void sim_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set_message(format, args);
    va_end(args);
    leave();
}

void sim_check_failed(const char *file, int line, const char *cond, const char *format, ...)
{
    char why[160];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    bool more = why[1] != '\0'; /* sim_check puts a space before what the scenario says */
    sim_fail("%s:%d: %s%s%s", file, line, cond, more ? ":" : "", more ? why : "");
}

struct scenario {
    void (*fn)(void *);
    void *arg;
};

static void first_fiber(void *arg)
{
    const struct scenario *s = arg;

    s->fn(s->arg);
    for (uint32_t i = 1; i < sim.n_fibers; i++)
        if (sim_fiber_at(i)->state != SIM_FREE)
            sim_fail("thread %s was never joined", sim_fiber_at(i)->team->name);
    if (sim_pages_in_use() != 0)
        sim_fail("%llu bytes of pages were not given back", (unsigned long long)sim_pages_in_use());
    leave();
}

static void reset(uint64_t seed)
{
    sim_fibers_reset();
    sim_pages_reset();
    sim_console_reset();
    sim.n_runnable = sim.n_spinning = sim.idle_steps = 0;
    sim.stalled = NULL;
    sim.random = seed;
    sim.random_scenario = ~seed * 0xd6e8feb86659fd93u;
    sim.now = 1000000000u; /* a clock that starts at zero hides mistakes */
    sim.next_due = UINT64_MAX;
    sim.writes = 0;
    sim.quantum = 64;
    sim.n_events = 0;
    memset(&sim.result, 0, sizeof sim.result);
    sim.options = (sim_options_t){
        .max_steps = 1000000, .max_time_ns = 86400000000000u, .lanes = 1, .cpus = 2, .spurious = 2048};
}

sim_options_t *sim_options(void) { return &sim.options; }

bool sim_run(uint64_t seed, void (*scenario)(void *), void *arg, sim_result_t *result)
{
    struct scenario s = {scenario, arg};

    sim_fault_install();
    reset(seed);
    sim.current = sim_team_create("main", 1, first_fiber, &s)->fiber[0];
    sim_switch(&sim.host_sp, sim.current->sp);
    sim.current = NULL;
    sim.result.time_ns = sim.now - 1000000000u;
    *result = sim.result;
    return !result->failed;
}
