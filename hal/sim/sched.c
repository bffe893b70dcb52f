/* SPDX-License-Identifier: MIT */
/* sched.c — the heart of the simulator: who goes on, what time it is, when a run ends. */
#include "memory.h"

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

uint64_t sim_random(void) { return next_random(&sim.random); }

uint32_t sim_below(uint32_t n) { return below(&sim.random, n); }

bool sim_chance(uint32_t per_65536) { return per_65536 != 0 && below(&sim.random, 65536) < per_65536; }

/* Drawn in any case: what is left out does not change what else comes. */
bool sim_fault_comes(enum sim_fault fault, uint32_t per_65536)
{
    return sim_chance(per_65536) && (sim.setup.without & (uint32_t)fault) == 0;
}

/* ---- the set of fibers that can run -------------------------------------------------------- */

void sim_make_runnable(struct sim_fiber *f)
{
    if (f->state == SIM_SPINNING)
        sim.n_spinning--;
    f->state = f->stopped ? SIM_STOPPED : SIM_RUNNABLE;
    f->due = UINT64_MAX;
    if (f->stopped)
        return;
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

/* Its kernel is stopped: it does not go on, whatever it waits for. */
void sim_take_away(struct sim_fiber *f)
{
    if (f->state == SIM_RUNNABLE) {
        take_from_runnable(f);
        f->state = SIM_STOPPED;
    }
}

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
        sim_end("livelock", "livelock: the bound of virtual time is passed");
    if (sim.now >= sim.next_due)
        fire_due();
}

/* A clock read.  A jump is as likely to be of a microsecond as of a second. */
void sim_tick(void)
{
    uint64_t by = 1;
    if (sim_fault_comes(SIM_FAULT_JUMP, sim.options.clock_jump))
        by += (uint64_t)((unsigned __int128)sim_random() * (sim.options.clock_jump_ns >> sim_below(20)) >>
                         64);
    move_time(sim.now + by);
}

uint64_t sim_time(void) { return sim.now; }

uint64_t sim_due(uint64_t timeout_ns)
{
    return timeout_ns > UINT64_MAX - 1 - sim.now ? UINT64_MAX : sim.now + timeout_ns;
}

/* One that waits goes on at that time at the latest. */
void sim_due_by(struct sim_fiber *f, uint64_t due)
{
    if (due < f->due)
        f->due = due;
    if (due < sim.next_due)
        sim.next_due = due;
}

static void end_stall(void)
{
    struct sim_fiber *f = sim.stalled;
    sim.stalled = NULL;
    sim_make_runnable(f);
}

static _Noreturn void deadlock(void)
{
    char why[300];
    if (sim_lanes_apart(why, sizeof why))
        sim_end("lanes", "deadlock: %s", why);
    sim_end("deadlock", "deadlock: nothing can run and nothing is due");
}

/* Nothing can run: let time pass, by growing steps where somebody spins. */
static void idle(void)
{
    while (sim.n_runnable == 0) {
        if (sim.stalled != NULL) {
            end_stall();
            continue;
        }
        if (sim.n_spinning == 0) {
            fire_due(); /* next_due may name one that has gone on since */
            if (sim.next_due == UINT64_MAX)
                deadlock();
            move_time(sim.next_due);
            continue;
        }
        uint64_t to = sim.now + sim.quantum;
        if (to < sim.next_due && ++sim.idle_steps > 36) /* more than an hour in which nobody was due */
            sim_end("livelock", "livelock: all fibers that can run only spin, and no word changes");
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

static struct sim_fiber *next_by_number(void)
{
    for (uint32_t i = 1;; i++) {
        struct sim_fiber *f = sim_fiber_at((sim.current->id + i) % SIM_MAX_FIBERS);
        if (f->state == SIM_RUNNABLE)
            return f;
    }
}

static struct sim_fiber *imposed(const struct sim_fiber *wanted)
{
    bool can_run = sim.current->state == SIM_RUNNABLE;
    uint32_t id = sim.choose(sim.choose_arg, sim.current->id, can_run, wanted->id);

    if (id < SIM_MAX_FIBERS && sim_fiber_at(id)->state == SIM_RUNNABLE)
        return sim_fiber_at(id);
    return can_run ? sim.current : next_by_number();
}

static void go_to(struct sim_fiber *to)
{
    struct sim_fiber *from = sim.current;
    if (to == from)
        return;
    sim.result.switches++;
    sim.current = to;
    sim_switch(&from->sp, to->sp);
}

static void go_on(void)
{
    if (sim.n_runnable == 0)
        idle();
    struct sim_fiber *to = sim.runnable[0];
    if (sim.setup.strategy != SIM_UNIFORM)
        to = sim_strategy_choose();
    else if (sim.n_runnable > 1)
        to = sim.runnable[below(&sim.random, sim.n_runnable)];
    go_to(sim.choose != NULL ? imposed(to) : to);
}

static void mix(uint64_t v)
{
    uint64_t h = (sim.result.hash ^ v) * 0x9fb21c651e98df25u;
    sim.result.hash = h ^ (h >> 32);
}

static struct sim_entry *record(enum sim_op op, const void *where, const void *pc)
{
    if (sim.hook != NULL && sim.n_events > 0)
        sim_emit(sim.n_events - 1); /* now complete */
    struct sim_entry *e = &sim.events[sim.n_events++ & (SIM_EVENTS - 1)];
    *e = (struct sim_entry){
        .fiber = sim.current->id, .op = (uint16_t)op, .where = where, .pc = pc, .time = sim.now};
    sim.current->pc = pc;
    mix((uint64_t)op << 32 | sim.current->id);
    return e;
}

/* A scheduling point: others may run; then the operation is recorded, and the caller does it. */
struct sim_entry *sim_point_from(enum sim_op op, const void *where, const void *pc)
{
    if (++sim.result.steps > sim.options.max_steps)
        sim_end("livelock", "livelock: the bound of %llu scheduling points is passed",
                (unsigned long long)sim.options.max_steps);
    if (sim.next_due != UINT64_MAX && sim_fault_comes(SIM_FAULT_EARLY, sim.options.early_timeout))
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
    if (sim.n_runnable > 1 && sim.stalled == NULL && sim_fault_comes(SIM_FAULT_STALL, sim.options.stall)) {
        sim.stalled = sim.current;
        sim.stall_end = sim.result.steps + below(&sim.random, STALL_POINTS);
        sim_block(SIM_STALLED, NULL, UINT64_MAX);
    } else if (sim.n_runnable > 1 && sim_chance(16384))
        go_on();
    else if (sim.choose != NULL)
        go_to(imposed(sim.current));
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

static void set_message(const char *kind, const char *format, va_list args)
{
    sim.result.failed = true;
    sim.result.kind = kind;
    vsnprintf(sim.result.message, sizeof sim.result.message, format, args);
}

void sim_end(const char *kind, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set_message(kind, format, args);
    va_end(args);
    leave();
}

void sim_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set_message("check", format, args);
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
            sim_end("leak", "thread %s was never joined", sim_fiber_at(i)->team->name);
    if (sim_pages_in_use() != 0)
        sim_end("leak", "%llu bytes of pages were not given back", (unsigned long long)sim_pages_in_use());
    leave();
}

void sim_memory_mode(bool weak, bool races)
{
    if (sim.current != NULL && sim.n_fibers > 1)
        sim_end("misuse", "the memory mode changes when threads have been there");
    sim.weak = weak;
    sim.races = races;
    sim.tracked = weak || races;
    if (sim.tracked) {
        sim_clock_reset();
        sim_words_reset();
        sim_races_begin();
        sim_clock_fiber(0);
    }
    sim_races_on(sim.current != NULL);
}

static void reset(uint64_t seed)
{
    sim_memory_mode(sim.setup.weak, sim.setup.races);
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
    memset(sim.kernel_lanes, 0, sizeof sim.kernel_lanes);
    sim.options = (sim_options_t){.max_steps = 1000000,
                                  .max_time_ns = 86400000000000u,
                                  .lanes = sim.setup.lanes != 0 ? sim.setup.lanes : 1,
                                  .cpus = 2,
                                  .spurious = 2048,
                                  .clock_jump_ns = 1000000000u,
                                  .stale = 16384};
    sim_strategy_begin();
}

void sim_set_up(const sim_setup_t *setup) { sim.setup = *setup; }

const sim_setup_t *sim_setup(void) { return &sim.setup; }

void sim_on_choice(uint32_t (*choose)(void *, uint32_t, bool, uint32_t), void *arg)
{
    sim.choose = choose;
    sim.choose_arg = arg;
}

void sim_on_event(void (*hook)(void *, const sim_event_t *), void *arg)
{
    sim.hook = hook;
    sim.hook_arg = arg;
}

sim_options_t *sim_options(void) { return &sim.options; }

bool sim_run(uint64_t seed, void (*scenario)(void *), void *arg, sim_result_t *result)
{
    struct scenario s = {scenario, arg};

    sim_fault_install();
    reset(seed);
    sim.current = sim_team_create("main", 1, first_fiber, &s)->fiber[0];
    sim_races_on(true);
    sim_switch(&sim.host_sp, sim.current->sp);
    sim_races_on(false);
    sim.current = NULL;
    if (sim.hook != NULL && sim.n_events > 0)
        sim_emit(sim.n_events - 1);
    sim.result.time_ns = sim.now - 1000000000u;
    *result = sim.result;
    return !result->failed;
}
