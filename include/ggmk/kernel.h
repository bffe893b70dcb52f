/* SPDX-License-Identifier: MIT */
/*
 * kernel.h — the life of a kernel, and work from outside.
 *
 * A kernel is booted by one thread, used by any thread, and halted by one thread.  All that
 * is large lies in the arena it takes at boot; gmk_kernel_t itself fits a stack frame and must
 * stay in place until gmk_halt has returned GMK_OK, and as long as some thread may still make a call
 * with its address.  Many kernels may live in one process.
 *
 * A call by a kernel's address that meets a halt is safe: one that is under way is waited for, one that
 * comes later answers STATE, and INVAL once the kernel is gone.
 */
#ifndef GGMK_KERNEL_H
#define GGMK_KERNEL_H

#include <ggmk/error.h>
#include <ggmk/task.h>

GMK_BEGIN_DECLS

#define GMK_MAX_WORKERS 256u
#define GMK_MAX_TYPES 4096u
#define GMK_NAME_MAX 31u   /* bytes in a name, without the terminator */
#define GMK_ARGS_MAX 2047u /* bytes of launch arguments, without the terminator */

typedef struct gmk_kernel {
    uint64_t magic;        /* GMK_KERNEL_MAGIC while booted */
    struct gmk_core *core; /* in the arena */
    void *arena;
    uint64_t arena_size; /* bytes */
    uint64_t apart_[8];  /* what follows is written with every call, what precedes is read */
    uint64_t users;      /* calls from outside under way: the halt waits for them */
    uint64_t apart_too_[7];
} gmk_kernel_t;

struct gmk_module;

/* Boot flags. */
enum {
    GMK_BOOT_LINKED = 1 << 0,         /* also boot the modules placed by GMK_MODULE */
    GMK_BOOT_NO_WATCHDOG = 1 << 1,    /* no watchdog thread */
    GMK_BOOT_NO_CONTAINMENT = 1 << 2, /* a fault in a handler is left to the process */
    GMK_BOOT_PIN = 1 << 3,            /* pin worker i to CPU i mod cpus */
    GMK_BOOT_AUTO_TICK = 1 << 4,      /* advance the tick whenever deterministic work waits for it */
    GMK_BOOT_QUIET = 1 << 5           /* no lines on the console */
};

/* Zero means default in every field. */
typedef struct gmk_boot_cfg {
    uint64_t arena_size;      /* bytes; default 64 MiB; at least what the other fields need */
    uint32_t n_workers;       /* 1 .. 256; default: the number of CPUs */
    uint32_t n_tenants;       /* 1 .. 4096; default 1.  A tenant is a label: there are no quotas */
    uint32_t task_max;        /* task credits; default: what the slab's share holds, <= 65536 */
    uint32_t n_types;         /* handler types, 2 .. 4096; default 256 */
    uint32_t batch;           /* tasks per gather, 1 .. 64; default 32; both at least a worker's lanes */
    uint32_t flags;           /* GMK_BOOT_* */
    const char *name;         /* 1-31 bytes of [a-zA-Z0-9_.-]; default "cpu.0" */
    uint64_t halt_timeout_ns; /* default 5 s */
    uint32_t lq_slots;        /* local queue, power of two 16 .. 2^24; default 256 */
    uint32_t rq_slots;        /* ready queue ring per bucket, power of two 64 .. 2^24; default 4096 */
    uint32_t max_ports;       /* attached threads, 1 .. 62; default 8 */
    uint32_t max_spares;      /* workers that may replace stalled ones, 1 .. 16; default 2.  None
                                 replaces one with GMK_BOOT_NO_WATCHDOG */
    uint32_t trace_level;     /* GMK_TRACE_*; default ERROR; see observe.h */
    uint32_t sample;          /* run time and queue delay: one in this many; default 64 */
    uint32_t stat_metrics;    /* user metrics that can be registered, 1 .. 4096; default 64 */
    uint64_t watchdog_ns;     /* one beat interval; default 100 ms */
    uint64_t spin_ns;         /* longest spin before a worker parks, 1 .. 10^9; default 20 us; 1 = none */
    uint64_t retry_base_ns;   /* first backoff of a retry, 1 .. 10^12; default 100 us */
    uint64_t seed;            /* jitter and deterministic mode; default 1 */
    uint32_t poison_failures; /* failures within the window that poison a type, 2 .. 4096; default 32 */
    uint32_t poison_ticks;    /* the window in ticks; default 1000 */
    uint64_t poison_ns;       /* the window in time; default 1 s */
    const char *args;         /* launch arguments for modules, see gmk_arg: words NAME=VALUE separated by
                                 blanks, at most 2047 bytes, copied; default none */
} gmk_boot_cfg_t;

/*
 * Boots a kernel: takes the arena, starts the workers, then loads `mods` in order (and after them
 * the linked ones) as gmk_module_load does.  *k need not be initialised, but must not be a booted
 * kernel: that one would be lost.  On an error everything is undone in reverse, the reason is written
 * to the console unless QUIET, and *k is left zero; only when a handler did not return meanwhile it is
 * not, and gmk_halt is to be called again.
 *
 * INVAL (a null pointer, a malformed name; with PIN, a CPU this process may not use), RANGE (a field
 * outside its range, args too long), LIMIT (no thread left), ALLOC_FAIL (the arena is too small: the console line
 * says what is needed), or what gmk_module_load answers, that is also what an init returned.
 */
int gmk_boot(gmk_kernel_t *k, const gmk_boot_cfg_t *cfg, struct gmk_module **mods, uint32_t n_mods);

typedef struct gmk_halt_report {
    uint64_t completed, failed, dropped; /* of the whole life of the kernel */
    uint32_t zombies;                    /* workers still inside a handler */
    uint32_t stuck_type;                 /* the type the first of them runs */
} gmk_halt_report_t;

/*
 * Halts: refuses new work from outside, lets what is queued run (handlers may still emit) for up to
 * half of the timeout, stops and joins the workers, runs each module's fini in reverse, drops what is
 * still queued, waiting or timed with GMK_DROP_HALTED, gives the arena back.  Timers and tasks that
 * wait for credits do not hold it up.
 *
 * Not from a handler, which would wait for itself: BUSY after the timeout.  The report, which may be
 * NULL, is filled for OK and for BUSY.  OK; BUSY when a handler, or a call of another thread, did not
 * return within the timeout: the arena then stays mapped and the call may be repeated.  INVAL; STATE
 * while a port is attached: nothing has changed then.
 */
int gmk_halt(gmk_kernel_t *k);
int gmk_halt_within(gmk_kernel_t *k, uint64_t timeout_ns, gmk_halt_report_t *report);

/*
 * Waits until nothing is queued, running or waiting; timers that lie in the future and ticks
 * that were not started are ignored.  Messages on a P2P channel without a subscriber are queued.
 * timeout_ns 0 = look once.  Any thread but not a handler, which would wait for itself.
 * OK, TIMEOUT (channels that wait for each other in a circle are named on the console), INVAL, STATE
 * (the kernel halts).
 */
int gmk_drain(gmk_kernel_t *k, uint64_t timeout_ns);

/*
 * Starts the next tick and returns its number (0 when k is not booted, or halts).  Any thread.  Of two kernels that a
 * bridge joins one is advanced, and the other follows.
 */
uint32_t gmk_tick_advance(gmk_kernel_t *k);

/* ---- work from outside: any thread, attached or not -------------------------------------- */

/*
 * Accepts a direct task: from then on it has exactly one outcome.  A type in range for which no
 * handler is registered is accepted, and dropped with GMK_DROP_NO_TYPE.
 *
 * FULL (no task credit left), RANGE (type 0 or not below n_types, tenant), INVAL (null, not booted;
 * the payload is not in the arena, or not a counted one), STATE (the kernel halts).  A deterministic
 * task takes no task credit and so is never answered FULL, but UNSUPPORTED (its handler is not
 * registered as deterministic), ALLOC_FAIL (the arena is exhausted, or was before, or the peer's) and
 * KERNEL_RESET (the run ended with the bridge to its peer).
 */
int gmk_submit(gmk_kernel_t *k, const gmk_task_t *t);

/* Accepts the first so many of n tasks: returns how many (0 = FULL), or < 0, a code of gmk_submit. */
int gmk_submit_n(gmk_kernel_t *k, const gmk_task_t *t, uint32_t n);

/*
 * Accepts a task that becomes ready when the kernel's tick reaches `tick` (serial order: at most
 * 2^31 - 1 ahead; one that has passed is ready at once, or, deterministic, in the next tick).  Errors
 * as gmk_submit.  With GMK_BOOT_AUTO_TICK the tick leaps to the next one that has deterministic work, so
 * inputs are to be handed in in the order of their ticks: one handed in behind a later one may find its
 * own tick passed.
 */
int gmk_submit_at(gmk_kernel_t *k, const gmk_task_t *t, uint32_t tick);

/* Accepts a task that becomes ready `ns` from now.  As gmk_submit; UNSUPPORTED for a deterministic task. */
int gmk_submit_after(gmk_kernel_t *k, const gmk_task_t *t, uint64_t ns);

/*
 * A port gives a foreign thread its own allocator cache, task credits, counters and quiescent
 * point.  It belongs to the thread that attached it: no other may use its ctx.  While it is attached
 * it may keep a small block of task credits at hand.  gmk_attach: LIMIT (max_ports are attached; a
 * module being loaded or unloaded takes one too), INVAL, STATE (the kernel halts).  gmk_detach ignores
 * a port that is not attached.  A port must be detached before the halt.
 */
typedef struct gmk_port {
    gmk_kernel_t *kernel;
    struct gmk_front *front;
} gmk_port_t;

int gmk_attach(gmk_kernel_t *k, gmk_port_t *port);
void gmk_detach(gmk_port_t *port);
gmk_ctx_t *gmk_port_ctx(gmk_port_t *port); /* NULL when not attached */

/* ---- in a handler; with a port's ctx where marked (port) --------------------------------- */

int gmk_emit(gmk_ctx_t *c, const gmk_task_t *t);                    /* (port) as gmk_submit */
int gmk_emit_n(gmk_ctx_t *c, const gmk_task_t *t, uint32_t n);      /* (port) as gmk_submit_n */
int gmk_emit_after(gmk_ctx_t *c, const gmk_task_t *t, uint64_t ns); /* (port) as gmk_submit_after */
int gmk_emit_at(gmk_ctx_t *c, const gmk_task_t *t, uint32_t tick);  /* (port) as gmk_submit_at */

/*
 * Run this task again later instead of finishing it, once the handler has returned GMK_OK.
 * The _at form also stores `phase` into the task's meta0; so it does when gmk_chan_wait follows it.
 * The last of several such calls in a run counts.  STATE (a port), INVAL (c is no ctx).
 */
int gmk_yield(gmk_ctx_t *c);
int gmk_yield_at(gmk_ctx_t *c, uint64_t phase);

/* True once the running handler has used up its type's budget_ns; also a sign of life.  False for a port. */
bool gmk_over_budget(gmk_ctx_t *c);

uint32_t gmk_self_worker(gmk_ctx_t *c); /* index of the worker, UINT32_MAX for a port */
uint32_t gmk_self_tenant(gmk_ctx_t *c); /* of the running task, 0 for a port */
uint32_t gmk_tick(gmk_ctx_t *c);        /* in a deterministic task, the tick it runs in; (port) */
uint64_t gmk_now_ns(gmk_ctx_t *c);      /* monotonic; (port) */

/*
 * (port) The launch argument `name`: of the words NAME=VALUE in gmk_boot_cfg_t.args the last one with that
 * name counts, and what has no '=' counts as nothing.  A blank is a space, a tab or the end of a line; a VALUE
 * may be empty.  gmk_arg copies it with its terminator; gmk_arg_u64 takes it as a decimal number.  Nothing is
 * stored on an error.  NOTFOUND (no such argument), RANGE (gmk_arg: it does not fit into size bytes;
 * gmk_arg_u64: it is no number, or not below 2^64), INVAL (a null pointer, a name that is empty or has a blank
 * or '=' in it, c is no ctx).
 */
int gmk_arg(gmk_ctx_t *c, const char *name, char *value, size_t size);
int gmk_arg_u64(gmk_ctx_t *c, const char *name, uint64_t *value);

/* Lanes: meaningful in WARP and BLOCK handlers; a SCALAR handler, or a port, is lane 0 of 1. */
uint32_t gmk_lane(gmk_ctx_t *c);
uint32_t gmk_lanes(gmk_ctx_t *c);
void gmk_barrier(gmk_ctx_t *c);
uint64_t gmk_reduce_sum(gmk_ctx_t *c, uint64_t v); /* the sum of v over the lanes, on every lane */

/* ---- figures: any thread ------------------------------------------------------------------ */

/* At every quiescent moment accepted == completed + failed + dropped + pending, exactly. */
typedef struct gmk_stats {
    uint64_t accepted, completed, failed, dropped; /* deliveries, each with one outcome */
    uint64_t pending;      /* accepted without an outcome: queued, running, timed or waiting */
    uint64_t refused;      /* calls that reached the kernel and were answered with an error or with 0 tasks */
    uint64_t unheard;      /* messages to a fan-out channel without subscribers */
    uint64_t dead_letters; /* deliveries reported on sys.dropped and sys.error */
    uint64_t internal;     /* kernel-internal tasks: mailbox activations and the like */
    uint64_t yields, retries, waits, faults, overruns;
    uint64_t batches, steals, stolen,
        spills; /* gathers that found work; successful steals and tasks they moved; ring overflows */
    uint64_t parks, wakes;
    uint64_t timers;   /* in the event queue now */
    uint64_t waiting;  /* parked on a channel's waiter list now */
    uint64_t det_hash; /* deterministic mode, see docs/kernel.md */
    uint32_t tick;
    uint32_t workers, parked, zombies, ports;
    uint32_t task_max;
} gmk_stats_t;

int gmk_stats(gmk_kernel_t *k, gmk_stats_t *out); /* INVAL */

typedef struct gmk_type_stats {
    char name[GMK_NAME_MAX + 1];
    char module[GMK_NAME_MAX + 1];
    uint64_t completed, failed, dropped, yields, retries, overruns, faults;
    uint64_t run_samples, run_ns_mean, run_ns_p50, run_ns_p99; /* sampled */
    uint64_t delay_samples, delay_ns_p50, delay_ns_p99;        /* sampled: enqueue to start */
    uint32_t poisoned;
} gmk_type_stats_t;

int gmk_type_stats(gmk_kernel_t *k, uint32_t type, gmk_type_stats_t *out); /* INVAL, RANGE, NOTFOUND */

GMK_END_DECLS

#endif
