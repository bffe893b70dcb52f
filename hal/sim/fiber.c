/* SPDX-License-Identifier: MIT */
/*
 * fiber.c — fibers and teams (a thread of the core: one fiber per lane), and their stacks.
 *
 * Stacks lie at fixed addresses, each above a page that faults, so an address on a stack is the
 * same in every replay.
 */
#include "memory.h"

#include <ggmk/error.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define STACK_GUARD ((size_t)4096)
#define STACK_POISON ((size_t)32 << 10) /* what an earlier run left here must not decide a later one */

static struct sim_fiber fibers[SIM_MAX_FIBERS];
static struct sim_team teams[SIM_MAX_FIBERS];

struct sim_fiber *sim_fiber_at(uint32_t id) { return &fibers[id]; }

uint32_t sim_team_number(const struct sim_team *team) { return (uint32_t)(team - teams) + 1; }

struct sim_team *sim_team_at(uint32_t number)
{
    if (number == 0 || number > SIM_MAX_FIBERS || !teams[number - 1].used)
        sim_end("misuse", "a thread handle that names no thread");
    return &teams[number - 1];
}

bool sim_stack_of(const void *address, uint32_t *fiber, uint64_t *offset)
{
    uintptr_t a = (uintptr_t)address;
    if (a < SIM_STACKS_BASE || a >= SIM_STACKS_BASE + SIM_MAX_FIBERS * SIM_STACK_SLOT)
        return false;
    *fiber = (uint32_t)((a - SIM_STACKS_BASE) / SIM_STACK_SLOT);
    *offset = SIM_STACK_SLOT - (a - SIM_STACKS_BASE) % SIM_STACK_SLOT;
    return true;
}

static char *stack_top(struct sim_fiber *f)
{
    char *at = (char *)(SIM_STACKS_BASE + f->id * SIM_STACK_SLOT);
    if (!f->has_stack) {
        void *p = mmap(at, SIM_STACK_SLOT, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
        if (p != at || mprotect(p, STACK_GUARD, PROT_NONE) != 0) {
            fprintf(stderr, "ggmk-sim: no memory for a stack at %p\n", (void *)at);
            exit(2);
        }
        f->has_stack = true;
    }
    return at + SIM_STACK_SLOT;
}

static void fiber_main(void)
{
    struct sim_fiber *f = sim.current;
    struct sim_team *team = f->team;

    f->fn(f->arg);
    (void)sim_point_from(SIM_EXIT, NULL, f->pc);
    sim_lane_leaves(f);
    if (--team->alive == 0 && team->joiner != NULL)
        sim_make_runnable(team->joiner);
    sim_wrote(); /* its end may be what somebody spins for */
    sim_block(SIM_DONE, NULL, UINT64_MAX);
    sim_end("misuse", "a finished fiber went on");
}

/* The stack as sim_switch left it: six registers, the return address, and no caller. */
static void set_up(struct sim_fiber *f)
{
    char *top = stack_top(f);
    void **sp = (void **)(void *)top;

    memset(top - STACK_POISON, 0xa5, STACK_POISON);
    *--sp = NULL;
    *--sp = (void *)(uintptr_t)fiber_main;
    for (int i = 0; i < 6; i++)
        *--sp = NULL;
    f->sp = sp;
}

static struct sim_fiber *new_fiber(struct sim_team *team, uint32_t lane, void (*fn)(void *), void *arg)
{
    uint32_t i = 0;
    while (i < SIM_MAX_FIBERS && fibers[i].state != SIM_FREE)
        i++;
    if (i == SIM_MAX_FIBERS)
        return NULL;
    struct sim_fiber *f = &fibers[i];
    bool has_stack = f->has_stack;
    *f = (struct sim_fiber){.id = i,
                            .team = team,
                            .lane = lane,
                            .kernel = sim.current != NULL ? sim.current->kernel : 0,
                            .fn = fn,
                            .arg = arg,
                            .has_stack = has_stack,
                            .pc = (const void *)(uintptr_t)fn,
                            .due = UINT64_MAX};
    set_up(f);
    sim_strategy_fiber(f);
    if (i >= sim.n_fibers)
        sim.n_fibers = i + 1;
    if (sim.tracked)
        sim_clock_fiber(i);
    sim_make_runnable(f);
    return f;
}

static struct sim_team *new_team(void)
{
    uint32_t i = 0;
    while (i < SIM_MAX_FIBERS && teams[i].used)
        i++;
    return i < SIM_MAX_FIBERS ? &teams[i] : NULL;
}

static uint32_t free_fibers(void)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < SIM_MAX_FIBERS; i++)
        n += fibers[i].state == SIM_FREE;
    return n;
}

struct sim_team *sim_team_create(const char *name, uint32_t lanes, void (*fn)(void *), void *arg)
{
    struct sim_team *team = new_team();
    if (team == NULL || (lanes > 1 ? free_fibers() < lanes : fibers[SIM_MAX_FIBERS - 1].state != SIM_FREE))
        return NULL;
    team->used = true;
    team->lanes = team->alive = lanes;
    team->at_barrier = 0;
    team->joiner = NULL;
    if (lanes > 1)
        memset(team->meet, 0, sizeof team->meet);
    memset(team->name, 0, sizeof team->name);
    strncpy(team->name, name ? name : "thread", sizeof team->name - 1);
    for (uint32_t i = 0; i < lanes; i++)
        team->fiber[i] = new_fiber(team, i, fn, arg);
    return team;
}

void sim_team_free(struct sim_team *team)
{
    for (uint32_t i = 0; i < team->lanes; i++)
        team->fiber[i]->state = SIM_FREE;
    team->used = false;
}

/* A fiber of a kernel that is no more: its thread is gone, and nobody joins it. */
void sim_fiber_end(struct sim_fiber *f)
{
    sim_take_away(f);
    if (f->state == SIM_SPINNING)
        sim.n_spinning--;
    if (sim.stalled == f)
        sim.stalled = NULL;
    f->state = SIM_FREE;
    f->team->used = false;
}

void sim_fibers_reset(void)
{
    for (uint32_t i = 0; i < sim.n_fibers; i++)
        fibers[i].state = SIM_FREE;
    for (uint32_t i = 0; i < SIM_MAX_FIBERS && i <= sim.n_fibers; i++)
        teams[i].used = false;
    sim.n_fibers = 0;
}

/* ---- threads of the HAL -------------------------------------------------------------------- */

int sim_thread_create(gmk_hal_thread_t *t, const char *name, uint32_t lanes, void (*fn)(void *), void *arg)
{
    struct sim_entry *e = sim_point(SIM_SPAWN, t);
    struct sim_team *team = sim_fault_comes(SIM_FAULT_THREADS, sim.options.thread_fail)
                              ? NULL
                              : sim_team_create(name, lanes, fn, arg);
    if (team == NULL)
        return GMK_ERR_LIMIT;
    t->team = sim_team_number(team);
    e->value = team->fiber[0]->id;
    return GMK_OK;
}

int gmk_hal_thread_create(gmk_hal_thread_t *t, const char *name, uint32_t cpu, void (*fn)(void *), void *arg)
{
    (void)cpu;
    return sim_thread_create(t, name, sim_thread_lanes(), fn, arg);
}

void gmk_hal_thread_join(gmk_hal_thread_t *t)
{
    struct sim_entry *e = sim_point(SIM_JOIN, t);
    struct sim_team *team = sim_team_at(t->team);

    e->value = team->fiber[0]->id;
    if (team->joiner != NULL)
        sim_end("misuse", "two threads join %s", team->name);
    team->joiner = sim.current;
    if (team->alive > 0)
        sim_block(SIM_ON_JOIN, team, UINT64_MAX);
    for (uint32_t i = 0; sim.tracked && i < team->lanes; i++)
        sim_clock_join(team->fiber[i]->id);
    sim_team_free(team);
    t->team = 0;
}

uint32_t gmk_hal_cpu_count(void) { return sim.options.cpus; }
