/* SPDX-License-Identifier: MIT */
/*
 * core.h — the state of one kernel, as the scheduler sees it.
 *
 * A *front* is what anybody needs to call the kernel: task credits, an allocator cache, a node
 * cache, a shard of the counters, a trace ring.  Every worker has one, every attached port has
 * one, and one more (`outside`, shared, without caches) serves threads that never attached.
 *
 * A *worker* is a front that also runs tasks: a local queue, an inbox, a batch.
 *
 * Nothing here is public.  Layers above the scheduler hang their own state on gmk_core through
 * the forward-declared pointers.
 */
#ifndef GMK_CORE_H
#define GMK_CORE_H

#include <ggmk/error.h>
#include <ggmk/hal.h>
#include <ggmk/kernel.h>
#include <ggmk/mem.h>
#include <ggmk/chan.h>
#include <ggmk/module.h>
#include <ggmk/mpmc.h>
#include <ggmk/observe.h>

#include "bump.h"
#include "debug.h"
#include "heap.h"
#include "hist.h"
#include "mpsc.h"
#include "slab.h"
#include "team.h"
#include "timerq.h"
#include "trace.h"
#include "usermetrics.h"

#define GMK_KERNEL_MAGIC 0x474d4b2d6b726e31u /* "GMK-krn1" */
#define GMK_PRIOS 4u
/* A batch has room for a task for each lane; places in it fit a byte. */
#define GMK_BATCH_MAX (GMK_HAL_MAX_LANES > 64u ? GMK_HAL_MAX_LANES : 64u)
_Static_assert(GMK_HAL_MAX_LANES <= 256u, "gmk_worker_t.order holds bytes");
#define GMK_PORTS_MAX 64u
#define GMK_SPARES_MAX 16u

#define GMK_LIKELY(x) __builtin_expect(!!(x), 1)
#define GMK_UNLIKELY(x) __builtin_expect(!!(x), 0)
/* Kept out of the common path's registers and cache lines. */
#define GMK_COLD __attribute__((__noinline__, __cold__))

static inline uint32_t gmk_prio(const gmk_task_t *t) { return t->flags & GMK_PRIO_MASK; }

/*
 * A record travels as six words.  Those who hand one in have just written its fields, so it is read
 * field by field: a wide load of narrow stores that are still under way would wait for them.  From
 * then on it moves by words, and its fields are narrow loads of wide stores, which do not wait.
 */
static inline uint64_t gmk_task_word(const gmk_task_t *t, uint32_t i)
{
    return gmk_hal_once64((const uint64_t *)(const void *)t + i);
}

static inline void gmk_task_set_word(gmk_task_t *t, uint32_t i, uint64_t v)
{
    gmk_hal_memcpy((unsigned char *)t + i * sizeof v, &v, sizeof v);
}

/* Somebody's record. */
static inline void gmk_task_copy(gmk_task_t *d, const gmk_task_t *s)
{
    gmk_task_set_word(d, 0,
                      gmk_hal_once32(&s->type) | (uint64_t)gmk_hal_once16(&s->flags) << 32 |
                          (uint64_t)gmk_hal_once16(&s->tenant) << 48);
    gmk_task_set_word(d, 1, gmk_hal_once32(&s->channel) | (uint64_t)gmk_hal_once32(&s->seq) << 32);
    gmk_task_set_word(d, 2, gmk_hal_once64(&s->payload_ptr));
    gmk_task_set_word(d, 3,
                      gmk_hal_once32(&s->payload_len) | (uint64_t)gmk_hal_once16(&s->yield_count) << 32 |
                          (uint64_t)gmk_hal_once16(&s->retry_count) << 48);
    gmk_task_set_word(d, 4, gmk_hal_once64(&s->meta0));
    gmk_task_set_word(d, 5, gmk_hal_once64(&s->meta1));
}

/* A record the core has copied. */
static inline void gmk_task_move(gmk_task_t *d, const gmk_task_t *s)
{
    gmk_task_set_word(d, 0, gmk_task_word(s, 0));
    gmk_task_set_word(d, 1, gmk_task_word(s, 1));
    gmk_task_set_word(d, 2, gmk_task_word(s, 2));
    gmk_task_set_word(d, 3, gmk_task_word(s, 3));
    gmk_task_set_word(d, 4, gmk_task_word(s, 4));
    gmk_task_set_word(d, 5, gmk_task_word(s, 5));
}

/* ---- queued forms of a task --------------------------------------------------------------- */

/* In a ring or a batch.  stamp: cycle counter at enqueue when this one is sampled, else 0. */
typedef struct gmk_slot {
    gmk_task_t task;
    uint64_t stamp;
} gmk_slot_t;
#define GMK_SLOT_BYTES 56u /* what the rings copy; the ring's sequence word follows */

/* In a list: a spilled task, a timer, a waiter, an inbox item. */
enum gmk_node_kind {
    GMK_NODE_POOL,    /* comes from the node slab and goes back to it */
    GMK_NODE_ASKED,   /* the same, a timer that a task asked for */
    GMK_NODE_EMBEDDED /* part of a mailbox: `busy` says that it is linked somewhere */
};

typedef struct gmk_node {
    gmk_tnode_t t; /* first: link, key, order */
    uint32_t kind;
    uint32_t aux; /* waiter: credits wanted */
    gmk_a32_t busy;
    gmk_task_t task;
} gmk_node_t;

static inline gmk_node_t *gmk_node_of(gmk_link_t *l)
{
    return (gmk_node_t *)(void *)((char *)l - offsetof(gmk_tnode_t, link));
}

/* ---- counters ----------------------------------------------------------------------------- */

/* One shard per front: the owner adds, anybody reads.  The sums over all shards are exact. */
typedef struct gmk_counts {
    gmk_a64_t accepted, completed, failed, dropped;
    gmk_a64_t refused, unheard, dead, internal;
    gmk_a64_t yields, retries, waits, faults, overruns;
    gmk_a64_t batches, steals, stolen, spills, parks, wakes;
    gmk_a64_t det_hash;
} gmk_counts_t;

typedef struct gmk_type_counts {
    gmk_a64_t completed, failed, dropped, yields, retries, overruns, faults, spare;
} gmk_type_counts_t;

typedef struct gmk_chan_counts {
    gmk_a64_t completed, failed, dropped, shed, refused, unheard, spare[2];
} gmk_chan_counts_t;

typedef struct gmk_tenant_counts {
    gmk_a64_t completed, failed, dropped;
} gmk_tenant_counts_t;

/* ---- handler types ------------------------------------------------------------------------ */

/* Why a type needs more than a call. */
enum { GMK_TYPE_POISONED = 1, GMK_TYPE_BUDGET = 2, GMK_TYPE_UNTIMED = 4 };

/* One entry of the dispatch table.  Everything but `fn` is written before fn is published. */
typedef struct gmk_type {
    _Alignas(GMK_CACHE_LINE) gmk_a64_t fn; /* the handler's address, 0 = none registered */
    gmk_a32_t flags;                       /* GMK_HANDLER_*; also read while the type is being registered */
    uint32_t max_yields, max_retries;
    gmk_a32_t level; /* trace level of its module */
    uint64_t budget_ns;
    gmk_a32_t mean_ns;       /* of sampled runs, 0 = not run yet */
    gmk_a32_t special;       /* GMK_TYPE_*: not just to be called */
    gmk_a32_t taken;         /* registered, even while it is leaving */
    gmk_a32_t unloaded;      /* had a handler once: why its tasks are dropped now */
    gmk_a32_t fails;         /* failures so far: index into fail_at */
    uint32_t module;         /* index in the registry */
    gmk_a64_t *fail_at;      /* [poison_failures] times of the latest failures */
    gmk_hist_t *run, *delay; /* [hist_shards] each */
    char name[GMK_NAME_MAX + 1];
} gmk_type_t;

/* What a context shows while no task runs. */
extern const gmk_task_t gmk_no_task;

/* ---- front -------------------------------------------------------------------------------- */

struct gmk_core;
struct gmk_worker;

/* A port of a module's own thread does not hold up the halt: its fini ends it. */
enum gmk_port_use { GMK_PORT_FREE, GMK_PORT_ATTACHED, GMK_PORT_OF_MODULE };

typedef struct gmk_front {
    _Alignas(GMK_CACHE_LINE) struct gmk_core *core;
    struct gmk_worker *worker; /* NULL for a port and for `outside` */
    gmk_counts_t *counts;
    gmk_trace_ring_t *ring;
    gmk_a64_t credits; /* worker scope: task credits at hand */
    uint32_t index;    /* of this front: its shard */
    uint32_t shared;   /* 1 for `outside`: several threads use it at once, it has no caches */
    uint32_t
        origin; /* what messages emitted here are marked with: a bridge's number, 0 = this kernel's own */
    gmk_a32_t depth;       /* > 0 while inside the core: a fault is then fatal */
    gmk_a32_t sample_left; /* enqueues until the next one is stamped */

    gmk_type_counts_t *types;     /* [n_types] */
    gmk_tenant_counts_t *tenants; /* [n_tenants] */
    gmk_chan_counts_t *chans;     /* [GMK_MAX_CHANNELS] */
    gmk_heap_cache_t heap;
    gmk_slab_cache_t nodes;
    gmk_ctx_t ctx; /* a port's; a worker has one per lane */

    _Alignas(GMK_CACHE_LINE) gmk_a64_t quiet; /* grace: see grace.h */
    gmk_a32_t in_use;                         /* ports: enum gmk_port_use */
    gmk_hal_park_t park;                      /* ports: emit_wait, wait_closed */
} gmk_front_t;

/* ---- local queue -------------------------------------------------------------------------- */

typedef struct gmk_lq {
    _Alignas(GMK_CACHE_LINE) gmk_a64_t head; /* thieves' index << 32 | owner's index */
    _Alignas(GMK_CACHE_LINE) gmk_a32_t tail; /* the owner writes */
    uint32_t seen;                           /* owner: a recent value of the thieves' index */
    uint32_t mask;
    uint32_t soft; /* room for anything but yields: 75 % */
    uint32_t low;  /* numerically highest priority queued */
    gmk_slot_t *slots;
} gmk_lq_t;

/* ---- worker ------------------------------------------------------------------------------- */

enum gmk_worker_state {
    GMK_WORKER_FREE, /* a spare that nobody runs */
    GMK_WORKER_RUNNING,
    GMK_WORKER_ZOMBIE, /* replaced while its handler had not returned */
    GMK_WORKER_GONE    /* its thread has left the loop */
};

/* What one lane of a worker needs to run tasks.  The context comes first: a handler's ctx is its lane. */
typedef struct gmk_lane {
    gmk_ctx_t ctx;
    gmk_task_t *current;         /* the running task, NULL = none */
    struct gmk_mailbox *mailbox; /* whose message it is, NULL = a direct task or a parallel delivery */
    uint64_t started;            /* clock when it began, if it is timed */
    uint64_t budget;             /* ns, 0 = none */
    uint32_t run_left;           /* tasks until the next one is timed */
    uint32_t suspended;          /* the mailbox message just run is not finished */
    /* Completions of one kind (see gmk_tally_kind) not yet added to the counters. */
    uint32_t tally, tally_channel;
    uint64_t tally_kind;
    /* Deterministic: a task of a tick is running, its rank, the hash of what it was given. */
    uint32_t det_run;
    uint64_t det_rank, det_hash;
} gmk_lane_t;

#define GMK_WARP 32u

/* What the lanes of a worker do for the one that gathers; lies where gmk_hal_scratch puts it. */
typedef struct gmk_rq_team {
    gmk_team_t team;
    gmk_mpmc_t *ring;
    uint64_t pos; /* of the first slot */
    uint32_t n;   /* slots, at most one for each lane */
    gmk_slot_t *out;
    uint32_t there[(GMK_HAL_MAX_LANES + GMK_WARP - 1) / GMK_WARP]; /* by warp: whose slot is filled */
} gmk_rq_team_t;

typedef struct gmk_worker {
    gmk_front_t front;
    gmk_lq_t lq;

    /* The batch: written by one lane before a meeting, read by all after it. */
    _Alignas(GMK_CACHE_LINE) gmk_slot_t batch[GMK_BATCH_MAX];
    uint8_t order[GMK_BATCH_MAX]; /* batch indices: scalar tasks grouped by type, then WARP, then BLOCK */
    uint32_t n, n_scalar, n_warp;
    uint32_t pos;       /* task under way, as an index into order */
    uint32_t leave;     /* the loop ends */
    gmk_slot_t next[2]; /* the unstealable slot, and the task that runs out of it */
    uint32_t flip;      /* which of the two is the slot */
    uint32_t shaped;    /* the type that use_next and limit were set for; one lane */
    uint32_t next_runs; /* how often in a row */
    uint32_t use_next;  /* the running type is short: the slot may be used */
    uint32_t limit;     /* tasks per batch, fewer when they run long */

    gmk_lane_t *lanes; /* [GMK_HAL_MAX_LANES] */
    gmk_bump_t bump;
    uint32_t index; /* logical worker: inbox, pins */
    uint32_t self;  /* place in core->workers */
    uint64_t rng;
    uint64_t now;                               /* last reading of the clock */
    uint32_t since_clock;                       /* tasks run since then */
    uint64_t keeps;                             /* as keeper: until when, UINT64_MAX = it is none */
    uint32_t spin_ns;                           /* adaptive */
    uint32_t turn[GMK_PRIOS];                   /* the kind that is the first to be asked */
    gmk_a64_t sums[GMK_HAL_MAX_LANES / 32 + 1]; /* gmk_reduce_sum: one per warp */
    gmk_rq_team_t *team, team_space;

    /* Read by thieves, by the watchdog and by a rescuer. */
    _Alignas(GMK_CACHE_LINE) gmk_a32_t has_next;
    gmk_a32_t state;     /* enum gmk_worker_state */
    gmk_a32_t condemned; /* set by the rescuer, see watchdog.c */
    gmk_a32_t cur;       /* 1 + position of the running task, 0 = none */
    gmk_a32_t cur_type;  /* of the running task, 0 = none */
    gmk_a32_t batched;   /* tasks in the batch under way */
    gmk_a32_t rescued;   /* 1 + first position the rescuer took, | GMK_RESCUED_NEXT; 0 = undecided */
    gmk_a64_t beats;     /* grows with every batch and gmk_over_budget */

    _Alignas(GMK_CACHE_LINE) gmk_hal_park_t park;
    gmk_hal_thread_t thread;
    uint32_t has_thread;
} gmk_worker_t;

/* ---- shared queues ------------------------------------------------------------------------ */

typedef struct gmk_bucket {
    gmk_mpmc_t ring;
    uint32_t prio;
    uint64_t bit; /* of *mark */
    gmk_a64_t *mark;
} gmk_bucket_t;

/* Where a full ring spills: a list per priority, refilled into the ring by whoever gets `busy`. */
typedef struct gmk_overflow {
    gmk_mpsc_t list;
    gmk_a32_t busy;
} gmk_overflow_t;

typedef struct gmk_evq {
    _Alignas(GMK_CACHE_LINE) gmk_mpsc_t inbox; /* new timers, any thread */
    _Alignas(GMK_CACHE_LINE) gmk_a32_t busy;   /* the two queues below belong to whoever holds it */
    gmk_a64_t next_ns;                         /* earliest time, UINT64_MAX = none */
    gmk_a64_t next_tick;                       /* earliest tick (as a 64-bit count), UINT64_MAX = none */
    gmk_a64_t count;                           /* timers, those in the inbox included */
    gmk_a64_t asked;                           /* those that a task asked for, not backoffs */
    gmk_a64_t numbers;                         /* orders timers of equal key and priority */
    gmk_timerq_t *times;
    gmk_timerq_t *ticks;
} gmk_evq_t;

typedef struct gmk_idle {
    _Alignas(GMK_CACHE_LINE) gmk_a64_t word;  /* spinning << 32 | parked */
    gmk_a64_t mask[GMK_MAX_WORKERS / 64 + 1]; /* who is parked, by place in core->workers */
    _Alignas(GMK_CACHE_LINE) gmk_a64_t
        keeper_due;   /* until when a parked worker minds the timers, UINT64_MAX = nobody does */
    gmk_a32_t keeper; /* 1 + the one that became it last: a good one to wake */
} gmk_idle_t;

/* ---- kernel ------------------------------------------------------------------------------- */

/*
 * HALTING: nothing is accepted from outside, what is queued runs and may emit.  STOPPING: nothing is
 * accepted, workers leave after their batch.
 */
enum gmk_core_state { GMK_CORE_BOOTING, GMK_CORE_UP, GMK_CORE_HALTING, GMK_CORE_STOPPING, GMK_CORE_HALTED };

struct gmk_chans;
struct gmk_registry;
struct gmk_det;
struct gmk_watchdog;

typedef struct gmk_core {
    gmk_kernel_t *kernel;
    gmk_a32_t state;
    uint32_t flags;
    char name[GMK_NAME_MAX + 1];
    char *args; /* launch arguments, terminated */

    /* Fixed at boot. */
    uint32_t n_workers, n_spares, n_all; /* n_all = workers + spares */
    uint32_t n_ports, n_fronts;          /* n_fronts = n_all + ports + outside */
    uint32_t n_types, n_tenants, batch, sample;
    uint32_t kinds, n_buckets; /* rings of a priority: one, or one for each type; of all priorities */
    uint32_t task_max, credit_block;
    uint64_t halt_timeout_ns, watchdog_ns, retry_base_ns, seed, spin_ns;
    uint32_t poison_failures, poison_ticks;
    uint64_t poison_ns;
    gmk_worker_t *workers; /* [n_all] */
    gmk_front_t **fronts;  /* [n_fronts]: workers, ports, outside */
    gmk_front_t *ports;    /* [n_ports] */
    gmk_front_t *outside;
    gmk_mpsc_t *inboxes;   /* [n_workers], by logical worker */
    gmk_bucket_t *buckets; /* [n_buckets], kind by kind */
    gmk_a64_t *marks;      /* [GMK_PRIOS][mark_words]: bit per kind whose ring may hold something, see rq.c */
    uint32_t mark_words;
    void *boot_mem; /* the arena's layout, for the halt */

    gmk_a32_t trace_mask; /* lowest level in force anywhere: 0 lets tasks skip all tracing */
    gmk_a32_t trace_one_in;
    gmk_a32_t bridges;    /* bit per bridge number - 1 in use */
    gmk_a32_t rescues;    /* replaced workers so far; logical index -> place is in worker_of */
    gmk_a32_t *worker_of; /* [n_workers]: place of the worker that serves this index */

    _Alignas(GMK_CACHE_LINE) gmk_a64_t credits; /* task credits nobody holds */
    gmk_a64_t tick;                             /* the public tick is its low half */
    gmk_a64_t waiting;                          /* tasks on waiter lists */
    gmk_idle_t idle;
    gmk_overflow_t overflow[GMK_PRIOS];
    gmk_evq_t evq;

    gmk_heap_t heap;
    gmk_slab_t nodes;
    gmk_clockmap_t clock;
    gmk_umetrics_t umetrics;
    gmk_hal_lock_t control; /* registry, channel table, ports: control operations only */
    gmk_a64_t epoch;        /* grace periods */
    gmk_type_t *types;      /* [n_types] */
    uint32_t hist_shards;

    struct gmk_registry *registry;
    struct gmk_chans *chans;
    struct gmk_det *det;
    struct gmk_watchdog *watchdog;
    void (*on_idle)(struct gmk_core *core); /* drain: called by the last worker that parks */
    gmk_a32_t drainers;
    gmk_a32_t drain_slot; /* a drainer is using drain_park */
    gmk_hal_park_t drain_park;
} gmk_core_t;

/* The words of a kernel that any thread may look at while another halts it. */
static inline gmk_a64_t *gmk_kernel_magic(const gmk_kernel_t *k)
{
    return (gmk_a64_t *)(uintptr_t)(const void *)&k->magic;
}

static inline gmk_a64_t *gmk_kernel_users(const gmk_kernel_t *k)
{
    return (gmk_a64_t *)(uintptr_t)(const void *)&k->users;
}

/* ---- counting ----------------------------------------------------------------------------- */

/* Adds to a counter of this front.  ANY. */
static inline void gmk_count(const gmk_front_t *f, gmk_a64_t *c, uint64_t n)
{
    if (gmk_hal_lanes() == 1 && GMK_LIKELY(!f->shared))
        gmk_store64(c, gmk_load64(c, GMK_RLX, GMK_KERNEL) + n, GMK_RLX, GMK_KERNEL);
    else
        (void)gmk_add64(c, n, GMK_RLX, GMK_KERNEL);
}

/* Adds and returns what was there: the source of task numbers.  ANY. */
static inline uint64_t gmk_count_old(const gmk_front_t *f, gmk_a64_t *c, uint64_t n)
{
    if (gmk_hal_lanes() == 1 && GMK_LIKELY(!f->shared)) {
        uint64_t old = gmk_load64(c, GMK_RLX, GMK_KERNEL);
        gmk_store64(c, old + n, GMK_RLX, GMK_KERNEL);
        return old;
    }
    return gmk_add64(c, n, GMK_RLX, GMK_KERNEL);
}

/* The sum over all shards of the counter that lies `offset` bytes into gmk_counts_t. */
static inline uint64_t gmk_total(const gmk_core_t *k, size_t offset)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < k->n_fronts; i++) {
        const char *base = (const char *)k->fronts[i]->counts;
        sum += gmk_load64((const gmk_a64_t *)(const void *)(base + offset), GMK_RLX, GMK_KERNEL);
    }
    return sum;
}
#define GMK_TOTAL(k, field) gmk_total(k, offsetof(gmk_counts_t, field))

/* True once in `period` calls.  Lanes that count at once may lose a count now and then. */
static inline bool gmk_once_in(gmk_a32_t *left, uint32_t period)
{
    uint32_t n = gmk_load32(left, GMK_RLX, GMK_WORKER);
    gmk_store32(left, n > 1 ? n - 1 : period, GMK_RLX, GMK_WORKER);
    return GMK_UNLIKELY(n <= 1);
}

/* A handler may fault, the core may not: marks the caller as inside the core. */
static inline void gmk_enter(gmk_front_t *f)
{
    if (gmk_hal_lanes() == 1 && GMK_LIKELY(!f->shared))
        gmk_store32(&f->depth, gmk_load32(&f->depth, GMK_RLX, GMK_KERNEL) + 1, GMK_RLX, GMK_KERNEL);
}

static inline void gmk_leave(gmk_front_t *f)
{
    if (gmk_hal_lanes() == 1 && GMK_LIKELY(!f->shared))
        gmk_store32(&f->depth, gmk_load32(&f->depth, GMK_RLX, GMK_KERNEL) - 1, GMK_RLX, GMK_KERNEL);
}

/* The try-flag of slow paths: one holder, nobody waits inside. */
static inline bool gmk_flag_try(gmk_a32_t *flag)
{
    uint32_t free_ = 0;
    return gmk_load32(flag, GMK_RLX, GMK_KERNEL) == 0 && gmk_cas32(flag, &free_, 1, GMK_ACQ, GMK_KERNEL);
}

static inline void gmk_flag_release(gmk_a32_t *flag) { gmk_store32(flag, 0, GMK_REL, GMK_KERNEL); }

#endif
