/* SPDX-License-Identifier: MIT */
/*
 * driver.h — ggmk-sim, the program around the simulator: what its files share.
 *
 *   main.c            the table of scenarios, and what is done with each
 *   driver_options.c  the command line
 *   driver_setup.c    what a seed decides about a run, and the command that says it
 *   driver_run.c      one run, and what a failure prints
 *   driver_jobs.c     a range of seeds, over several processes
 *   driver_trace.c    a run as a Fuchsia trace
 *   driver_changes.c  changes of fibers, recorded and imposed
 *   driver_shrink.c   a smaller case of the same failure
 *
 * A case is a scenario, a seed and a setup.  It says everything about a run: the same case is the
 * same run, event for event.
 */
#ifndef GGMK_SIM_DRIVER_H
#define GGMK_SIM_DRIVER_H

#include "../../hal/sim/sim.h"

typedef struct entry {
    const char *name;
    void (*fn)(void *);
    const char *expect; /* NULL, or what the message of the failure that has to come contains */
    const char *text;
    bool kernel; /* around a whole kernel: takes any number of lanes and workers */
} entry_t;
#define MAX_ENTRIES 128u

extern const entry_t entries[];
extern const unsigned n_entries;

/* ---- cases --------------------------------------------------------------------------------- */

/* At its n-th choice, from 0, fiber `from` stays behind and `to` goes on. */
typedef struct change {
    uint32_t from, to;
    uint64_t n;
} change_t;

typedef struct changes {
    change_t *list;
    size_t n, room;
} changes_t;

/* UNSET, or 0 for what has no 0, is left to the seed; see drv_complete. */
#define UNSET (-1)
typedef struct setup {
    int strategy, memory, races; /* places in drv_strategies, drv_memories, drv_off_on */
    int faults;                  /* those that may happen: a bit for each place in drv_faults */
    uint32_t depth, lanes, workers;
    const changes_t *changes; /* imposed; or NULL: what the strategy chooses */
} setup_t;

typedef struct sim_case {
    const entry_t *scenario;
    uint64_t seed;
    setup_t setup;
} case_t;

/* Lists of words, with NULL behind the last. */
extern const char *const drv_strategies[], *const drv_memories[], *const drv_off_on[], *const drv_faults[];
#define ALL_FAULTS 0xff

/* The case of a seed: with what the command line says, and for the rest what the seed decides. */
case_t drv_case(const entry_t *e, uint64_t seed);
/* Writes the arguments that name a case, all of it. */
void drv_print_case(FILE *to, const case_t *c);

/* ---- runs ---------------------------------------------------------------------------------- */

bool drv_run(const case_t *c, sim_result_t *r);
/* Runs a case that fails and prints all that helps to understand it. */
void drv_show(const case_t *c);
/* Scenario, seed and message, and the command that repeats it. */
void drv_print_failure(FILE *to, const case_t *c, const char *message);
/* Runs a case and writes its trace.  Ends the program with status 2 when the file cannot be written. */
void drv_trace(const case_t *c, const char *file, sim_result_t *r);
/* Prints a smaller case of the failure that case c ends in. */
void drv_shrink(const case_t *c);

/* In drv_run: choices go to `into` as they are made, until the next call.  NULL = nowhere. */
void drv_changes_record(changes_t *into);
/* Before a run: the changes that it is to make; NULL = as its strategy says. */
void drv_changes_impose(const changes_t *changes);
/* "none" or "FIBER.N:FIBER,..."; false when the text is something else. */
bool drv_changes_read(changes_t *changes, const char *text);
void drv_changes_print(FILE *to, const changes_t *changes);

/* What came of the seeds first..last of a scenario. */
typedef struct tally {
    uint64_t seeds, steps, failures; /* failures: as expected */
    double seconds;                  /* of processors */
    bool failed;                     /* some seed, not as expected */
    uint64_t seed;                   /* the lowest of them */
    char how[128];                   /* when its process did not live to say it; else empty */
    uint64_t hash;                   /* of the schedule of the last seed run */
} tally_t;
tally_t drv_range(const entry_t *e);

/* ---- the command line ---------------------------------------------------------------------- */

typedef struct options {
    const char *program;
    const entry_t *chosen[MAX_ENTRIES];
    unsigned n_chosen;
    uint64_t first, last;
    bool one; /* --seed */
    setup_t setup;
    const char *trace;
    unsigned jobs, events;
    bool tap, shrink;
} options_t;
extern options_t opt;

/* Fills opt.  Does not return when the line is wrong (status 2) or asks for the list or help (0). */
void drv_options(int argc, char **argv);

/* Where everything goes that is no result: standard output, under TAP as comments. */
FILE *drv_open(void);
void drv_close(FILE *to);
void drv_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
