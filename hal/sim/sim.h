/* SPDX-License-Identifier: MIT */
/*
 * sim.h — what a scenario sees of the simulator.
 *
 * A scenario is a function.  sim_run runs it as the first fiber; it starts others with
 * gmk_hal_thread_create and must join them.  The seed decides everything: which fiber goes on
 * at each scheduling point, spurious wake-ups, failed allocations, what sim_rand returns.  The
 * same program with the same seed and the same setup does the same thing, event for event.
 *
 * SCHEDULING POINTS.  Every atomic at kernel or system scope (at worker scope too when lanes > 1),
 * fence, lock, park, relax, clock read, page allocation, thread start and join, meeting of
 * lanes.  The choice comes first, then the operation; behind one atomic in four there is a second
 * choice.  In between a fiber runs alone.
 *
 * TIME is virtual.  A clock read moves it by 1 ns; otherwise it moves only when no fiber can run:
 * to the next timeout, or in growing steps while fibers spin in gmk_hal_relax.  There a fiber
 * stays until another has changed a shared word since it last looked, or time has moved.
 *
 * A RUN FAILS when a sim_check does not hold; when nothing can run and nothing is due
 * (deadlock); when max_steps points or max_time_ns are passed, or all fibers only spin
 * (livelock); on a CPU fault outside gmk_hal_guarded; when threads or pages are left over; and
 * when the HAL is used against its contract.
 *
 * All calls are for fibers of the current run, except sim_run, sim_report and sim_result.
 */
#ifndef GGMK_SIM_H
#define GGMK_SIM_H

#include <ggmk/hal.h>

#include <stdio.h>

/* ---- what is chosen before a run, whatever the scenario ------------------------------------- */

enum sim_strategy {
    SIM_UNIFORM,    /* each fiber that can run is as likely as the others */
    SIM_PCT,        /* random priorities and few changes of them (Burckhardt et al. 2010) */
    SIM_ROUND_ROBIN /* in turn, each for a random number of points */
};

/* Faults that a run can be had without, whatever the chances that a scenario sets. */
enum sim_fault {
    SIM_FAULT_SPURIOUS = 1,
    SIM_FAULT_DELAYED = 2,
    SIM_FAULT_EARLY = 4,
    SIM_FAULT_JUMP = 8,
    SIM_FAULT_STALL = 16,
    SIM_FAULT_PAGES = 32,
    SIM_FAULT_THREADS = 64,
    SIM_FAULT_STALE = 128
};

typedef struct sim_setup {
    enum sim_strategy strategy;
    uint32_t pct_depth; /* SIM_PCT: changes of priority + 1; 0 = 3 */
    bool weak;          /* the weak memory model; else each load reads the newest store */
    bool races;         /* plain accesses to pages and stacks are checked */
    uint32_t lanes;     /* what options.lanes starts as; 0 = the scenario decides */
    uint32_t workers;   /* for scenarios to follow; 0 = the scenario decides */
    uint32_t without;   /* set of enum sim_fault: these do not happen */
} sim_setup_t;

/* For the runs that follow.  All zero at first.  Not from a fiber. */
void sim_set_up(const sim_setup_t *setup);
const sim_setup_t *sim_setup(void);

/* ---- what a scenario may change ------------------------------------------------------------- */

/* Another memory mode than the setup's for this run.  From its first fiber, before threads and pages. */
void sim_memory_mode(bool weak, bool races);

/* Chances are in 1/65536.  A scenario may change any of it, lanes only before its first thread. */
typedef struct sim_options {
    uint64_t max_steps;     /* default 1,000,000 */
    uint64_t max_time_ns;   /* default one day */
    uint32_t lanes;         /* fibers per gmk_hal_thread_create, 1 .. GMK_HAL_MAX_LANES; default 1 */
    uint32_t cpus;          /* what gmk_hal_cpu_count says; default 2 */
    uint32_t spurious;      /* a park wait returns though nobody woke it; default 2048 */
    uint32_t delayed;       /* a wake-up takes up to 65 us of virtual time; default 0 */
    uint32_t early_timeout; /* at a point: time moves to the next timeout though fibers can run; default 0 */
    uint32_t clock_jump;    /* at a clock read: time moves by up to clock_jump_ns; default 0 */
    uint64_t clock_jump_ns; /* default one second */
    uint32_t stall;         /* behind an atomic: this fiber stays behind while the others go far; default 0 */
    uint32_t page_fail;     /* gmk_hal_page_alloc fails; default 0 */
    uint32_t thread_fail;   /* gmk_hal_thread_create fails; default 0 */
    uint32_t stale;         /* weak: a load reads an older store where it may; default 16384 */
} sim_options_t;

typedef struct sim_result {
    bool failed;
    const char *kind; /* of failure: "check" "deadlock" "livelock" "race" "freed" "outside" "fault" "misuse"
                         "leak" "lanes" "foreign"; NULL when it passed */
    char message[512];
    uint64_t steps;    /* scheduling points */
    uint64_t switches; /* where another fiber went on */
    uint64_t stale;    /* weak: loads that did not read the newest store */
    uint64_t checked;  /* races: plain accesses checked */
    uint64_t time_ns;  /* virtual, from the start of the run */
    uint64_t hash;     /* of the schedule: equal means the same fibers did the same operations */
} sim_result_t;

/* Runs a scenario; true when it passed.  Not from a fiber. */
bool sim_run(uint64_t seed, void (*scenario)(void *), void *arg, sim_result_t *result);

/* ---- what happened -------------------------------------------------------------------------- */

enum sim_space {
    SIM_NOWHERE, /* the operation is on no word */
    SIM_PAGE,    /* offset from the first page of the run; allocations lie one after the other */
    SIM_STACK,   /* offset down from the top of the stack of fiber `owner` */
    SIM_STATIC,  /* address in the program, which is at a fixed place */
    SIM_OTHER    /* elsewhere in the process: no offset */
};

typedef struct sim_event {
    uint64_t number; /* from 0; an event for each operation but some of worker scope */
    uint64_t time;   /* virtual */
    uint32_t fiber;  /* slots are used again; the name says whose it is now */
    uint32_t lane;
    const char *name; /* of the thread; valid in the hook */
    const char *op;   /* "LOAD" "STORE" ... */
    enum sim_space space;
    uint32_t owner;
    uint64_t offset;
    uint64_t value;  /* read or written */
    uint32_t age;    /* weak: how many stores behind the newest */
    uint64_t caller; /* address in the program, which is at a fixed place; see sim_symbol */
} sim_event_t;

/*
 * Every event of the runs that follow goes to hook, complete and in order; NULL = none.  The hook
 * runs on a fiber's stack of 256 KiB and must not use the HAL.  The same source, compiler and seed give
 * the same events, field by field.
 */
void sim_on_event(void (*hook)(void *arg, const sim_event_t *e), void *arg);

/*
 * At every choice between fibers, behind every atomic too, choose hears who stays behind, whether
 * that one could go on, and whom the strategy wants; who it answers goes on.  One that cannot run
 * is no answer: then `from` goes on, or else the next by number.  NULL = the strategy decides.
 */
void sim_on_choice(uint32_t (*choose)(void *arg, uint32_t from, bool can_run, uint32_t to), void *arg);

/* "function+0x12" for an address in the program, or "0x401234". */
void sim_symbol(uint64_t address, char *text, size_t size);

/* Writes the last `events` events of the latest run, the state of each fiber, and the console. */
void sim_report(FILE *to, unsigned events);

sim_options_t *sim_options(void);

/* Uniform below n; 0 for n = 0.  Its own stream: using it does not change the schedule. */
uint32_t sim_rand(uint32_t n);

/* A scheduling point for scenarios that model something outside the HAL. */
void sim_yield(void);
/* Virtual time without moving it. */
uint64_t sim_time(void);
/* Blocks this fiber for a time. */
void sim_sleep(uint64_t ns);

/* A thread of so many lanes, whatever options.lanes says; same errors as gmk_hal_thread_create. */
int sim_thread_create(gmk_hal_thread_t *t, const char *name, uint32_t lanes, void (*fn)(void *), void *arg);

/*
 * Several kernels in one run.  A fiber works for a kernel, from 1, or for none (0), as the first one does; the
 * threads that it starts and the pages that it takes are of that kernel.  With races on, what is one kernel's
 * pages is out of bounds for fibers of another.
 */
#define SIM_MAX_KERNELS 8u
/* The calling fiber works for this one from now on; returns for which before. */
uint32_t sim_kernel(uint32_t number);
/*
 * As sim_kernel, for a moment: what a peer's interrupt does there.  A stop or a kill of either kernel waits for the
 * caller's sim_visit_end, which gets what sim_visit returned.
 */
uint32_t sim_visit(uint32_t number);
void sim_visit_end(uint32_t home);
/* Threads of this kernel have so many lanes, at most options.lanes.  Before it starts one. */
void sim_kernel_lanes(uint32_t number, uint32_t lanes);
/* All its fibers stay where they are, until they are let go on.  Not by one of them. */
void sim_kernel_stop(uint32_t number);
void sim_kernel_go_on(uint32_t number);
/* All its fibers are gone, with what they held, and its pages.  Not by one of them; nobody joins them. */
void sim_kernel_kill(uint32_t number);
/* Somebody out of his mind writes to these pages as he likes: no races are looked for there. */
void sim_pages_wild(const void *p);

/* Raises a CPU fault here: contained by gmk_hal_guarded, or the end of the run. */
_Noreturn void sim_crash(uint32_t kind, uint64_t address);

/* Bytes of pages allocated and not given back. */
uint64_t sim_pages_in_use(void);
/* Whether a line on the console since the start of the run contains text. */
bool sim_console_has(const char *text);

/* Ends the run as failed. */
_Noreturn void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* sim_check(condition) or sim_check(condition, format, ...): ends the run when it does not hold. */
#define sim_check(cond, ...)                                                                                 \
    do {                                                                                                     \
        if (!(cond))                                                                                         \
            sim_check_failed(__FILE__, __LINE__, #cond, " " __VA_ARGS__);                                    \
    } while (0)
_Noreturn void sim_check_failed(const char *file, int line, const char *cond, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
