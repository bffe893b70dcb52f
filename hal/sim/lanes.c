/* SPDX-License-Identifier: MIT */
/*
 * lanes.c — meetings of the lanes of a worker.
 *
 * The lanes of a team are fibers of their own, so they run in any order between two meetings.  A
 * meeting that some lane never reaches is a deadlock, and found as one.
 */
#include "sim_int.h"

uint32_t gmk_hal_lane(void) { return sim.current->lane; }

uint32_t gmk_hal_lanes(void) { return sim.options.lanes; }

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
        sim_fail("a lane meets others under a mask it is not in");
    struct sim_meet *m = &f->team->meet[f->lane / SIM_WARP][__builtin_ctz(mask)];
    if (m->arrived != 0 && m->mask != mask)
        sim_fail("lanes meet under masks that differ: %08x and %08x", m->mask, mask);
    m->mask = mask;
    return m;
}

/* What each lane takes home is put into the lane itself, for it may be late to read it. */
static void conclude(struct sim_fiber *f, struct sim_meet *m, bool ballot)
{
    for (uint32_t i = 0; i < SIM_WARP; i++) {
        struct sim_fiber *to = ((m->mask >> i) & 1) != 0 ? lane_of_warp(f, i) : NULL;
        if (to == NULL)
            continue;
        to->met = 0;
        for (uint32_t j = 0; ballot && j < SIM_WARP; j++)
            to->met |= ((m->mask >> j) & 1) != 0 && m->value[j] != 0 ? 1u << j : 0;
        if (!ballot)
            to->met = m->value[m->from[i]];
        if (to->state == SIM_ON_WARP)
            sim_make_runnable(to);
    }
    m->arrived = 0;
}

static uint32_t meet(uint32_t mask, uint32_t value, uint32_t from, bool ballot, const void *pc)
{
    struct sim_event *e = sim_point_from(SIM_MEET, NULL, pc);
    struct sim_fiber *f = sim.current;
    struct sim_meet *m = meeting(f, mask);
    uint32_t me = warp_lane(f);

    e->value = mask;
    if (from >= SIM_WARP || ((mask >> from) & 1) == 0)
        sim_fail("a shuffle reads lane %u, which is not in the mask %08x", from, mask);
    m->value[me] = value;
    m->from[me] = from;
    m->arrived |= 1u << me;
    if (m->arrived == mask)
        conclude(f, m, ballot);
    else
        sim_block(SIM_ON_WARP, m, UINT64_MAX);
    return f->met;
}

void gmk_hal_warp_barrier(uint32_t mask)
{
    if (sim.options.lanes > 1)
        (void)meet(mask, 0, warp_lane(sim.current), true, __builtin_return_address(0));
}

uint32_t gmk_hal_ballot(uint32_t mask, bool pred)
{
    if (sim.options.lanes == 1)
        return mask & (pred ? 1u : 0u);
    return meet(mask, pred ? 1 : 0, warp_lane(sim.current), true, __builtin_return_address(0));
}

uint32_t gmk_hal_shuffle(uint32_t mask, uint32_t v, uint32_t from)
{
    if (sim.options.lanes == 1)
        return v;
    return meet(mask, v, from, false, __builtin_return_address(0));
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
    struct sim_event *e = sim_point(SIM_COALESCE, NULL);
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
