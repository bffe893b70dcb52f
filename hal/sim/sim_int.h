/* SPDX-License-Identifier: MIT */
/* sim_int.h — what the files of hal/sim share: fibers, teams, the state of a run. */
#ifndef GGMK_SIM_INT_H
#define GGMK_SIM_INT_H

#include "sim.h"

#include <setjmp.h>

#define SIM_MAX_FIBERS 512u
#define SIM_WARP 32u
#define SIM_WARPS (GMK_HAL_MAX_LANES / SIM_WARP)
#define SIM_EVENTS 1024u /* kept for a report; a power of two */

#define SIM_OPS(X)                                                                                           \
    X(START)                                                                                                 \
    X(EXIT)                                                                                                  \
    X(LOAD)                                                                                                  \
    X(STORE)                                                                                                 \
    X(XCHG)                                                                                                  \
    X(CAS)                                                                                                   \
    X(CAS_MISS)                                                                                              \
    X(ADD)                                                                                                   \
    X(SUB)                                                                                                   \
    X(OR)                                                                                                    \
    X(AND)                                                                                                   \
    X(FENCE)                                                                                                 \
    X(LOCK)                                                                                                  \
    X(UNLOCK)                                                                                                \
    X(PARK)                                                                                                  \
    X(PARKED)                                                                                                \
    X(WAKE)                                                                                                  \
    X(RELAX)                                                                                                 \
    X(CLOCK)                                                                                                 \
    X(SPAWN)                                                                                                 \
    X(JOIN)                                                                                                  \
    X(PAGES)                                                                                                 \
    X(BARRIER)                                                                                               \
    X(MEET)                                                                                                  \
    X(COALESCE)                                                                                              \
    X(YIELD)
#define SIM_OP_ENUM(name) SIM_##name,
enum sim_op { SIM_OPS(SIM_OP_ENUM) SIM_N_OPS };

enum sim_state {
    SIM_FREE,
    SIM_RUNNABLE,
    SIM_ON_LOCK,
    SIM_ON_PARK,
    SIM_SPINNING,
    SIM_SLEEPING,
    SIM_STALLED,
    SIM_ON_JOIN,
    SIM_ON_BARRIER,
    SIM_ON_WARP,
    SIM_STOPPED, /* could run, but for sim_kernel_stop */
    SIM_DONE
};

/* An event as it is kept; sim_event_t is what others see. */
struct sim_entry {
    uint32_t fiber;
    uint16_t op, age;
    const void *where; /* the word, lock, slot, ... */
    const void *pc;    /* who called the HAL */
    uint64_t value;    /* read or written */
    uint64_t time;
};

/* The innermost gmk_hal_guarded of a fiber. */
struct sim_guard {
    sigjmp_buf back;
    const volatile uint32_t *depth;
    gmk_fault_info_t *info;
};

struct sim_fiber {
    void *sp;
    enum sim_state state;
    uint32_t id, slot; /* slot: its place among the runnable ones */
    uint64_t due;      /* virtual time at which it goes on in any case; UINT64_MAX = never */
    const void *waits_on;
    const void *pc;   /* where it used the HAL last */
    int64_t priority; /* SIM_PCT */
    uint32_t fresh;   /* weak: so many loads read the newest store */
    bool timed_out;
    uint64_t own_writes, seen_writes; /* for relax */
    struct sim_team *team;
    uint32_t lane;
    uint32_t met;      /* what the last meeting gave it */
    const void *at;    /* coalesce: the place it has come to */
    uint32_t together; /* coalesce: with whom; 0 = not decided yet */
    struct sim_guard *guard;
    uint32_t kernel; /* that it works for; 0 = none */
    bool stopped;    /* its kernel is */
    bool visits;     /* it works for another kernel for a moment: see sim_visit */
    uint32_t home;   /* and comes from here */
    void (*fn)(void *);
    void *arg;
    bool has_stack;
};

/* A meeting of some lanes of a warp; kept under the lowest of them. */
struct sim_meet {
    uint32_t mask, arrived;
    uint32_t value[SIM_WARP], from[SIM_WARP];
};

/* A thread: one fiber per lane. */
struct sim_team {
    bool used;
    uint32_t lanes, alive, at_barrier;
    struct sim_fiber *joiner;
    char name[16];
    struct sim_fiber *fiber[GMK_HAL_MAX_LANES];
    struct sim_meet meet[SIM_WARPS][SIM_WARP];
};

#define SIM_MAX_DEPTH 16u
struct sim_strategy_state {
    uint64_t change[SIM_MAX_DEPTH]; /* points at which a priority changes, in order */
    uint32_t changes, changed;
    int64_t lowest;  /* priority given out last to one that spins */
    uint64_t length; /* of the part of the run where priorities decide */
    uint32_t turn;   /* SIM_ROUND_ROBIN: what is left of it */
};

struct sim {
    struct sim_fiber *current;
    struct sim_fiber *runnable[SIM_MAX_FIBERS];
    uint32_t n_runnable, n_spinning, n_fibers; /* n_fibers: slots ever used in this run */
    uint64_t random, random_scenario;
    uint64_t now, next_due;
    uint64_t writes;  /* shared words changed, by anyone */
    uint64_t quantum; /* the next step of time while fibers only spin */
    uint32_t idle_steps;
    struct sim_fiber *stalled; /* NULL = nobody */
    uint64_t stall_end;        /* in scheduling points */
    void *host_sp;
    sim_setup_t setup;
    bool weak, races; /* of this run */
    bool tracked;     /* weak or races: what fibers know is kept */
    struct sim_strategy_state strategy;
    void (*hook)(void *, const sim_event_t *);
    void *hook_arg;
    uint32_t (*choose)(void *, uint32_t, bool, uint32_t);
    void *choose_arg;
    sim_options_t options;
    uint32_t kernel_lanes[SIM_MAX_KERNELS + 1]; /* 0 = options.lanes */
    sim_result_t result;
    uint64_t n_events;
    struct sim_entry events[SIM_EVENTS];
};
extern struct sim sim;

/* sched.c */
struct sim_entry *sim_point_from(enum sim_op op, const void *where, const void *pc);
#define sim_point(op, where) sim_point_from(op, where, __builtin_return_address(0))
void sim_after(void);
bool sim_chance(uint32_t per_65536);
bool sim_fault_comes(enum sim_fault fault, uint32_t per_65536);
void sim_make_runnable(struct sim_fiber *f);
void sim_take_away(struct sim_fiber *f);
void sim_block(enum sim_state state, const void *on, uint64_t due);
uint64_t sim_due(uint64_t timeout_ns);
void sim_due_by(struct sim_fiber *f, uint64_t due);
void sim_wrote(void);
void sim_tick(void);
uint64_t sim_random(void);
uint32_t sim_below(uint32_t n);
_Noreturn void sim_end(const char *kind, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* strategy.c */
void sim_strategy_begin(void);
void sim_strategy_fiber(struct sim_fiber *f);
void sim_strategy_spins(struct sim_fiber *f);
struct sim_fiber *sim_strategy_choose(void);

/* lanes.c */
bool sim_lanes_apart(char *text, size_t size);
void sim_lane_leaves(const struct sim_fiber *f);

/* fiber.c */
struct sim_team *sim_team_create(const char *name, uint32_t lanes, void (*fn)(void *), void *arg);
void sim_team_free(struct sim_team *team);
/* How many lanes a thread gets that the current fiber starts. */
uint32_t sim_thread_lanes(void);
uint32_t sim_team_number(const struct sim_team *team);
struct sim_team *sim_team_at(uint32_t number);
void sim_fibers_reset(void);
void sim_fiber_end(struct sim_fiber *f);
struct sim_fiber *sim_fiber_at(uint32_t id);
bool sim_stack_of(const void *address, uint32_t *fiber, uint64_t *offset);

/* pages.c */
#define SIM_STACKS_BASE ((uintptr_t)0x200000000000)
#define SIM_STACK_SLOT ((size_t)256 << 10)
#define SIM_STACKS_BYTES (SIM_MAX_FIBERS * SIM_STACK_SLOT)
#define SIM_PAGES_BASE ((uintptr_t)0x210000000000)
#define SIM_PAGES_END ((uintptr_t)0x212000000000)
void sim_pages_reset(void);
void sim_pages_of_kernel_end(uint32_t kernel);
struct sim_pages {
    char *at;
    size_t bytes;
    uint32_t kernel; /* whose arena it is; 0 = anybody's */
    bool wild;
};
/* The pages that all of it lies in; NULL when it lies in none that is allocated. */
const struct sim_pages *sim_page_live(uintptr_t at, size_t size);
bool sim_page_of(const void *address, uint64_t *offset);
bool sim_static(const void *address);

/* fault.c */
void sim_fault_install(void);

/* report.c */
void sim_console_reset(void);
void sim_emit(uint64_t number);
const char *sim_place(const void *p, char *text, size_t size);

#endif
