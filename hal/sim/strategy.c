/* SPDX-License-Identifier: MIT */
/*
 * strategy.c — who goes on, when it is not simply anybody.
 *
 * SIM_PCT: of those that can run, the one of highest priority (Burckhardt, Kothari, Musuvathi and
 * Nagarakatte 2010).  Priorities are random; at pct_depth - 1 random points that of the fiber that
 * runs falls below all initial ones.  How long a run will be is not known, so the points are drawn
 * from a length that is itself drawn: a power of two from 2^6 to 2^14.  A fiber that spins takes
 * the lowest priority of all.  Beyond the length everybody is as likely as the others: one that
 * polls must not keep for ever from running whom it waits for.
 *
 * SIM_ROUND_ROBIN: in the order of their slots, each for a random number of points.
 */
#include "sim_int.h"

#define INITIAL ((int64_t)1 << 32) /* priorities from here on; those of the change points lie below */

void sim_strategy_begin(void)
{
    struct sim_strategy_state *s = &sim.strategy;
    uint32_t depth = sim.setup.pct_depth != 0 ? sim.setup.pct_depth : 3;

    *s = (struct sim_strategy_state){.changes = 0};
    if (sim.setup.strategy != SIM_PCT)
        return;
    uint32_t length = 64u << sim_below(9);
    s->length = length;
    for (s->changes = 0; s->changes + 1 < depth && s->changes < SIM_MAX_DEPTH; s->changes++) {
        uint64_t at = 1 + sim_below(length);
        uint32_t i = s->changes;
        for (; i > 0 && s->change[i - 1] > at; i--)
            s->change[i] = s->change[i - 1];
        s->change[i] = at;
    }
}

void sim_strategy_fiber(struct sim_fiber *f)
{
    if (sim.setup.strategy == SIM_PCT)
        f->priority = INITIAL + sim_below(UINT32_MAX);
}

void sim_strategy_spins(struct sim_fiber *f)
{
    if (sim.setup.strategy == SIM_PCT)
        f->priority = --sim.strategy.lowest;
    sim.strategy.turn = 0;
}

static struct sim_fiber *highest(void)
{
    struct sim_strategy_state *s = &sim.strategy;
    struct sim_fiber *best = sim.runnable[0];

    for (; s->changed < s->changes && sim.result.steps >= s->change[s->changed]; s->changed++)
        sim.current->priority = s->changes - s->changed;
    for (uint32_t i = 1; i < sim.n_runnable; i++)
        if (sim.runnable[i]->priority > best->priority)
            best = sim.runnable[i];
    return best;
}

static struct sim_fiber *next_in_turn(void)
{
    struct sim_fiber *next = NULL, *first = sim.runnable[0];

    if (sim.strategy.turn > 0 && sim.current->state == SIM_RUNNABLE) {
        sim.strategy.turn--;
        return sim.current;
    }
    for (uint32_t i = 0; i < sim.n_runnable; i++) {
        struct sim_fiber *f = sim.runnable[i];
        if (f->id < first->id)
            first = f;
        if (f->id > sim.current->id && (next == NULL || f->id < next->id))
            next = f;
    }
    sim.strategy.turn = sim_below(1u << sim_below(10));
    return next != NULL ? next : first;
}

struct sim_fiber *sim_strategy_choose(void)
{
    if (sim.setup.strategy == SIM_ROUND_ROBIN)
        return next_in_turn();
    if (sim.result.steps > sim.strategy.length)
        return sim.runnable[sim_below(sim.n_runnable)];
    return highest();
}
