/* SPDX-License-Identifier: MIT */
/*
 * kernel.h — the life of a kernel, and work from outside.
 *
 * A kernel is booted by one thread, used by any thread, and halted by one thread.  All that
 * is large lies in the arena it takes at boot; gmk_kernel_t itself fits a stack frame and must
 * stay in place until gmk_halt has returned GMK_OK.  Many kernels may live in one process.
 */
#ifndef GGMK_KERNEL_H
#define GGMK_KERNEL_H

#include <ggmk/error.h>
#include <ggmk/task.h>

#define GMK_MAX_WORKERS 256u
#define GMK_MAX_TYPES 4096u
#define GMK_NAME_MAX 31u /* bytes in a name, without the terminator */

typedef struct gmk_kernel {
    uint64_t magic;        /* GMK_KERNEL_MAGIC while booted */
    struct gmk_core *core; /* in the arena */
    void *arena;
    uint64_t arena_size; /* bytes */
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
    uint32_t n_tenants;       /* 1 .. 4096; default 1 */
    uint32_t task_max;        /* task credits; default: what the slab's share holds, <= 65536 */
    uint32_t n_types;         /* handler types, 2 .. 4096; default 256 */
    uint32_t batch;           /* tasks per gather, 1 .. 64; default 32 */
    uint32_t flags;           /* GMK_BOOT_* */
    const char *name;         /* default "cpu.0"; <= 31 bytes */
    uint64_t halt_timeout_ns; /* default 5 s */
    uint32_t lq_slots;        /* local queue, power of two 16 .. 2^24; default 256 */
    uint32_t rq_slots;        /* ready queue ring per bucket, power of two 64 .. 2^24; default 4096 */
    uint32_t max_ports;       /* attached threads, 1 .. 64; default 8 */
    uint32_t max_spares;      /* workers that may replace stalled ones, 0 .. 16; default 2 */
    uint32_t trace_level;     /* GMK_TRACE_*; default ERROR; see trace.h */
    uint32_t sample;          /* run time and queue delay: one in this many; default 64 */
    uint32_t stat_metrics;    /* user metrics that can be registered, <= 4096; default 64 */
    uint64_t watchdog_ns;     /* one beat interval; default 100 ms */
    uint64_t spin_ns;         /* longest spin before a worker parks; default 20 us; 1 = none */
    uint64_t retry_base_ns;   /* first backoff of a retry, 1 .. 10^12; default 100 us */
    uint64_t seed;            /* jitter and deterministic mode; default 1 */
    uint32_t poison_failures; /* failures within the window that poison a type; default 32 */
    uint32_t poison_ticks;    /* the window in ticks; default 1000 */
    uint64_t poison_ns;       /* the window in time; default 1 s */
} gmk_boot_cfg_t;

/*
 * Boots a kernel: takes the arena, registers `mods` in order (and the linked ones), opens
 * their channels, runs each init, starts the workers.  On an error everything is undone in
 * reverse, the reason is written to the console unless QUIET, and *k is left zero; only when a
 * handler did not return meanwhile it is not, and gmk_halt is to be called again.
 * INVAL, RANGE (a field outside its range), LIMIT, ALLOC_FAIL (the arena is too small: the
 * console line says what is needed), EXISTS, CHAN_TYPE_MISMATCH, or what an init returned.
 */
int gmk_boot(gmk_kernel_t *k, const gmk_boot_cfg_t *cfg, struct gmk_module **mods, uint32_t n_mods);

typedef struct gmk_halt_report {
    uint64_t completed, failed, dropped; /* of the whole life of the kernel */
    uint32_t zombies;                    /* workers still inside a handler */
    uint32_t stuck_type;                 /* the type the first of them runs */
} gmk_halt_report_t;

/*
 * Halts: refuses new work from outside, lets what is queued run for up to half of the timeout,
 * then drops what is still queued, waiting or timed with GMK_DROP_HALTED, runs each module's fini
 * in reverse, joins the workers, gives the arena back.  Not from a handler.  OK; BUSY when a
 * handler did not return within the timeout: the arena then stays mapped and the call may be
 * repeated.  INVAL; STATE while a port is attached.
 */
int gmk_halt(gmk_kernel_t *k);
int gmk_halt_within(gmk_kernel_t *k, uint64_t timeout_ns, gmk_halt_report_t *report);

/*
 * Waits until nothing is queued, running or waiting; timers that lie in the future and ticks
 * that were not started are ignored.  timeout_ns 0 = look once.  Any thread but not a handler.
 * OK, TIMEOUT (channels that wait for each other in a circle are named on the console), INVAL, STATE.
 */
int gmk_drain(gmk_kernel_t *k, uint64_t timeout_ns);

/* Starts the next tick and returns its number (0 when k is not booted).  Any thread. */
uint32_t gmk_tick_advance(gmk_kernel_t *k);

/* ---- work from outside: any thread, attached or not -------------------------------------- */

/*
 * Accepts a direct task: from then on it has exactly one outcome.  FULL when no task credit is
 * left, RANGE (type, tenant), INVAL (null, payload outside the arena), STATE (halted).
 */
int gmk_submit(gmk_kernel_t *k, const gmk_task_t *t);

/* Accepts the first so many of n tasks: returns how many (0 = FULL), or < 0. */
int gmk_submit_n(gmk_kernel_t *k, const gmk_task_t *t, uint32_t n);

/* Accepts a task that becomes ready when the kernel's tick reaches `tick` (serial order). */
int gmk_submit_at(gmk_kernel_t *k, const gmk_task_t *t, uint32_t tick);

/* Accepts a task that becomes ready `ns` from now.  UNSUPPORTED for a deterministic task. */
int gmk_submit_after(gmk_kernel_t *k, const gmk_task_t *t, uint64_t ns);

/*
 * A port gives a foreign thread its own allocator cache, task credits, counters and quiescent
 * point.  It belongs to the thread that attached it: no other may use its ctx.  gmk_attach:
 * LIMIT when max_ports are attached, INVAL, STATE.  A port must be detached before the halt.
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
 * The _at form also stores `phase` into the task's meta0.  STATE outside a handler.
 */
int gmk_yield(gmk_ctx_t *c);
int gmk_yield_at(gmk_ctx_t *c, uint64_t phase);

/* True once the running handler has used up its type's budget_ns; also a sign of life. */
bool gmk_over_budget(gmk_ctx_t *c);

uint32_t gmk_self_worker(gmk_ctx_t *c); /* index of the worker, UINT32_MAX for a port */
uint32_t gmk_self_tenant(gmk_ctx_t *c);
uint32_t gmk_tick(gmk_ctx_t *c);
uint64_t gmk_now_ns(gmk_ctx_t *c); /* monotonic; (port) */

/* Lanes: meaningful in WARP and BLOCK handlers; a SCALAR handler is lane 0 of 1. */
uint32_t gmk_lane(gmk_ctx_t *c);
uint32_t gmk_lanes(gmk_ctx_t *c);
void gmk_barrier(gmk_ctx_t *c);
uint64_t gmk_reduce_sum(gmk_ctx_t *c, uint64_t v); /* the sum of v over the lanes, on every lane */

/* ---- figures: any thread ------------------------------------------------------------------ */

/* At every quiescent moment accepted == completed + failed + dropped + pending, exactly. */
typedef struct gmk_stats {
    uint64_t accepted, completed, failed, dropped; /* deliveries, each with one outcome */
    uint64_t pending;      /* accepted without an outcome: queued, running, timed or waiting */
    uint64_t refused;      /* calls that were answered with an error */
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

#endif
