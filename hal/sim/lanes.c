/* SPDX-License-Identifier: MIT */
/*
 * lanes.c — meetings of the lanes of a worker.
 *
 * The lanes of a team are fibers of their own, so they run in any order between two meetings.  A
 * meeting that some lane never reaches is a deadlock, and found as one: at the latest when nothing
 * else can run, at once when the lane has exited.
 */
#include "memory.h"

#include <string.h>

uint32_t gmk_hal_lane(void) { return sim.current->lane; }

uint32_t gmk_hal_lanes(void) { return sim_thread_lanes(); }

void gmk_hal_block_barrier(void)
{
    struct sim_team *team = sim.current->team;

    if (team->lanes == 1)
        return;
    (void)sim_point(SIM_BARRIER, team);
    if (++team->at_barrier < team->lanes) {
        sim_block(SIM_ON_BARRIER, team, UINT64_MAX);
        return;
    }
    team->at_barrier = 0;
    if (sim.tracked)
        sim_clock_meet(team->fiber, team->lanes);
    for (uint32_t i = 0; i < team->lanes; i++)
        if (team->fiber[i]->state == SIM_ON_BARRIER)
            sim_make_runnable(team->fiber[i]);
}

static uint32_t warp_lane(const struct sim_fiber *f) { return f->lane % SIM_WARP; }

static struct sim_fiber *lane_of_warp(const struct sim_fiber *f, uint32_t lane)
{
    uint32_t i = f->lane / SIM_WARP * SIM_WARP + lane;
    return i < f->team->lanes ? f->team->fiber[i] : NULL;
}

static struct sim_meet *meeting(struct sim_fiber *f, uint32_t mask)
{
    if (((mask >> warp_lane(f)) & 1) == 0)
        sim_end("misuse", "a lane meets others under a mask it is not in");
    struct sim_meet *m = &f->team->meet[f->lane / SIM_WARP][__builtin_ctz(mask)];
    if (m->arrived != 0 && m->mask != mask)
        sim_end("misuse", "lanes meet under masks that differ: %08x and %08x", m->mask, mask);
    m->mask = mask;
    return m;
}

/* Only a barrier orders memory. */
enum meeting { BARRIER, BALLOT, SHUFFLE };

/* What each lane takes home is put into the lane itself, for it may be late to read it. */
static void conclude(struct sim_fiber *f, struct sim_meet *m, enum meeting what)
{
    struct sim_fiber *all[SIM_WARP];
    uint32_t n = 0;
    for (uint32_t i = 0; i < SIM_WARP; i++) {
        struct sim_fiber *to = ((m->mask >> i) & 1) != 0 ? lane_of_warp(f, i) : NULL;
        if (to == NULL)
            continue;
        all[n++] = to;
        to->met = 0;
        for (uint32_t j = 0; what == BALLOT && j < SIM_WARP; j++)
            to->met |= ((m->mask >> j) & 1) != 0 && m->value[j] != 0 ? 1u << j : 0;
        if (what == SHUFFLE)
            to->met = m->value[m->from[i]];
        if (to->state == SIM_ON_WARP)
            sim_make_runnable(to);
    }
    if (sim.tracked && what == BARRIER)
        sim_clock_meet(all, n);
    m->arrived = 0;
}

static uint32_t meet(uint32_t mask, uint32_t value, uint32_t from, enum meeting what, const void *pc)
{
    struct sim_entry *e = sim_point_from(SIM_MEET, NULL, pc);
    struct sim_fiber *f = sim.current;
    struct sim_meet *m = meeting(f, mask);
    uint32_t me = warp_lane(f);

    e->value = mask;
    if (from >= SIM_WARP || ((mask >> from) & 1) == 0)
        sim_end("misuse", "a shuffle reads lane %u, which is not in the mask %08x", from, mask);
    m->value[me] = value;
    m->from[me] = from;
    m->arrived |= 1u << me;
    if (m->arrived == mask)
        conclude(f, m, what);
    else
        sim_block(SIM_ON_WARP, m, UINT64_MAX);
    return f->met;
}

void gmk_hal_warp_barrier(uint32_t mask)
{
    if (sim.options.lanes > 1)
        (void)meet(mask, 0, warp_lane(sim.current), BARRIER, __builtin_return_address(0));
}

uint32_t gmk_hal_ballot(uint32_t mask, bool pred)
{
    if (sim.options.lanes == 1)
        return mask & (pred ? 1u : 0u);
    return meet(mask, pred ? 1 : 0, warp_lane(sim.current), BALLOT, __builtin_return_address(0));
}

uint32_t gmk_hal_shuffle(uint32_t mask, uint32_t v, uint32_t from)
{
    if (sim.options.lanes == 1)
        return v;
    return meet(mask, v, from, SHUFFLE, __builtin_return_address(0));
}

/*
 * Which lanes are active here is decided by the schedule: whoever of those that have come to
 * this place goes on first takes along all the others that are there.
 */
uint32_t gmk_hal_coalesce(void)
{
    struct sim_fiber *f = sim.current;

    if (f->team->lanes == 1)
        return 1;
    f->at = __builtin_return_address(0);
    f->together = 0;
    struct sim_entry *e = sim_point(SIM_COALESCE, NULL);
    if (f->together == 0) {
        uint32_t mask = 0;
        for (uint32_t i = 0; i < SIM_WARP; i++) {
            struct sim_fiber *other = lane_of_warp(f, i);
            mask |= other != NULL && other->at == f->at && other->together == 0 ? 1u << i : 0;
        }
        for (uint32_t i = 0; i < SIM_WARP; i++)
            if (((mask >> i) & 1) != 0)
                lane_of_warp(f, i)->together = mask;
    }
    f->at = NULL;
    e->value = f->together;
    return f->together;
}

/* ---- lanes that do not come ----------------------------------------------------------------- */

static bool awaits(const struct sim_fiber *at, const struct sim_fiber *other)
{
    if (at == other || other->state == at->state)
        return false; /* both at the same meeting, or at two of the same kind */
    if (at->state == SIM_ON_BARRIER)
        return true;
    const struct sim_meet *m = at->waits_on;
    return at->state == SIM_ON_WARP && at->lane / SIM_WARP == other->lane / SIM_WARP &&
           ((m->mask >> warp_lane(other)) & 1) != 0;
}

/* Two lanes can be in meetings of their warp that are not the same one. */
static bool awaits_elsewhere(const struct sim_fiber *at, const struct sim_fiber *other)
{
    const struct sim_meet *m = at->waits_on;
    return at->state == SIM_ON_WARP && other->state == SIM_ON_WARP && other->waits_on != m &&
           at->lane / SIM_WARP == other->lane / SIM_WARP && ((m->mask >> warp_lane(other)) & 1) != 0;
}

static const char *how_it_is(const struct sim_fiber *f)
{
    return f->state == SIM_ON_BARRIER ? "waits at a block barrier at"
         : f->state == SIM_ON_WARP    ? "waits at another meeting of its warp at"
                                      : "was last at";
}

static void tell(const struct sim_fiber *at, const struct sim_fiber *other, const char *how, char *text,
                 size_t size)
{
    char here[80], there[80];
    sim_symbol((uint64_t)(uintptr_t)at->pc, here, sizeof here);
    sim_symbol((uint64_t)(uintptr_t)other->pc, there, sizeof there);
    snprintf(text, size, "lane %u of %s waits at %s at %s, and lane %u %s %s", at->lane, at->team->name,
             at->state == SIM_ON_BARRIER ? "a block barrier" : "a meeting of its warp", here, other->lane,
             how, there);
}

/* Says of a lane that waits for another, which is elsewhere, where both are; false when there is none. */
bool sim_lanes_apart(char *text, size_t size)
{
    for (uint32_t i = 0; i < sim.n_fibers; i++) {
        const struct sim_fiber *at = sim_fiber_at(i);
        if (at->state != SIM_ON_BARRIER && at->state != SIM_ON_WARP)
            continue;
        for (uint32_t lane = 0; lane < at->team->lanes; lane++) {
            const struct sim_fiber *other = at->team->fiber[lane];
            if (awaits(at, other) || awaits_elsewhere(at, other)) {
                tell(at, other, how_it_is(other), text, size);
                return true;
            }
        }
    }
    return false;
}

/* Called by a lane that is about to end: nobody may wait for it. */
void sim_lane_leaves(const struct sim_fiber *f)
{
    char why[300];
    for (uint32_t lane = 0; lane < f->team->lanes; lane++) {
        const struct sim_fiber *at = f->team->fiber[lane];
        if ((at->state == SIM_ON_BARRIER || at->state == SIM_ON_WARP) && awaits(at, f)) {
            tell(at, f, "has exited and was last at", why, sizeof why);
            sim_end("lanes", "deadlock: %s", why);
        }
    }
}
