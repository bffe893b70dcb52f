/* SPDX-License-Identifier: MIT */
/*
 * driver_setup.c — what a seed decides about a run before it begins.
 *
 * Each property goes round its list with a period of its own.  The periods have no common factor, so
 * 16 seeds in a row meet every value of every property, and the combinations come evenly.
 */
#include "driver.h"

const char *const drv_strategies[] = {"uniform", "pct", "rr", NULL};
const char *const drv_memories[] = {"sc", "weak", NULL};
const char *const drv_off_on[] = {"off", "on", NULL};
const char *const drv_faults[] = {"spurious", "delayed", "early", "jump", "stall",
                                  "pages",    "threads", "stale", NULL};

#define IN_TURN(list, seed) ((list)[(seed) % (sizeof(list) / sizeof((list)[0]))])

enum { UNIFORM, PCT, RR };
enum { SC, WEAK };

/* Weighted by what they find and what they cost: a point takes three times as long with races on. */
static const uint8_t strategies[5] = {UNIFORM, PCT, UNIFORM, PCT, RR};
static const struct {
    uint8_t memory, races;
} modes[16] = {{SC, 0},   {WEAK, 0}, {SC, 1},   {SC, 0}, {WEAK, 0}, {SC, 0},   {WEAK, 1}, {SC, 0},
               {WEAK, 0}, {SC, 0},   {WEAK, 0}, {SC, 0}, {WEAK, 1}, {WEAK, 0}, {SC, 0},   {WEAK, 0}};
static const uint8_t lanes[11] = {1, 2, 1, 4, 1, 8, 1, 2, 1, 32, 1};
static const uint8_t workers[13] = {2, 1, 3, 2, 4, 1, 2, 3, 2, 4, 2, 3, 1};
static const uint8_t depths[9] = {3, 1, 2, 4, 3, 6, 2, 5, 8};

static int or_else(int said, int otherwise) { return said != UNSET ? said : otherwise; }

case_t drv_case(const entry_t *e, uint64_t seed)
{
    setup_t s = opt.setup;
    s.strategy = or_else(s.strategy, IN_TURN(strategies, seed));
    s.memory = or_else(s.memory, IN_TURN(modes, seed).memory);
    s.races = or_else(s.races, IN_TURN(modes, seed).races);
    s.faults = or_else(s.faults, ALL_FAULTS);
    if (s.depth == 0)
        s.depth = IN_TURN(depths, seed);
    if (!e->kernel)
        s.lanes = s.workers = 0;
    else {
        s.lanes = s.lanes != 0 ? s.lanes : IN_TURN(lanes, seed);
        s.workers = s.workers != 0 ? s.workers : IN_TURN(workers, seed);
    }
    return (case_t){e, seed, s};
}

static void print_faults(FILE *to, int faults)
{
    const char *between = "";
    fprintf(to, " --faults ");
    if (faults == 0 || faults == ALL_FAULTS) {
        fprintf(to, faults == 0 ? "none" : "all");
        return;
    }
    for (int i = 0; drv_faults[i] != NULL; i++)
        if (faults & 1 << i) {
            fprintf(to, "%s%s", between, drv_faults[i]);
            between = ",";
        }
}

void drv_print_case(FILE *to, const case_t *c)
{
    const setup_t *s = &c->setup;
    fprintf(to, "%s --seed %llu", c->scenario->name, (unsigned long long)c->seed);
    fprintf(to, " --strategy %s", drv_strategies[s->strategy]);
    if (s->strategy == PCT)
        fprintf(to, " --depth %u", s->depth);
    fprintf(to, " --memory %s --races %s", drv_memories[s->memory], drv_off_on[s->races]);
    if (c->scenario->kernel)
        fprintf(to, " --lanes %u --workers %u", s->lanes, s->workers);
    print_faults(to, s->faults);
    if (s->changes != NULL) {
        fprintf(to, " --switches ");
        drv_changes_print(to, s->changes);
    }
}
