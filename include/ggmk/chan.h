/* SPDX-License-Identifier: MIT */
/*
 * chan.h — named, typed channels, the only way modules meet.
 *
 * Emission order is the order in which emitters claim tickets; it is the same for every
 * subscriber and keeps each producer's own order.  A channel has `slots` credits.  An emit
 * takes one, and once it has, nothing can fail; the credit comes back when every subscriber is
 * done with the message.  GMK_CHAN_FULL means that nobody got it; a lossy channel never answers it.
 *
 * Calls take the ctx of a handler or of a port; all may be made under load from any thread
 * that has one.  Each answers INVAL for a null pointer where one is needed, and for a ctx that is none.
 *
 * Always there: sys.dropped and sys.error (see gmk_dead_code below), lossless fan-out channels of 256
 * slots that take any message type, and sys.trace, on which a kernel on side 1 of a bridge tells its traces and
 * figures when the other side wants them (docs/tracing.md).
 * A module subscribes to them like to any other channel.
 */
#ifndef GGMK_CHAN_H
#define GGMK_CHAN_H

#include <ggmk/kernel.h>
#include <ggmk/task.h>

GMK_BEGIN_DECLS

#define GMK_MAX_CHANNELS 256u
#define GMK_MAX_SUBS 32u
#define GMK_DEFAULT_SLOTS 1024u
#define GMK_MAX_SLOTS (1u << 20)
#define GMK_ANY_WORKER UINT32_MAX

/* Handles carry a generation: one that outlives its channel or subscription is refused. */
typedef struct gmk_chan {
    uint32_t id;
} gmk_chan_t; /* 0 = none */
typedef struct gmk_sub {
    uint64_t id;
} gmk_sub_t; /* 0 = none */

enum { GMK_P2P = 0, GMK_FANOUT = 1 };     /* mode */
enum { GMK_LOSSLESS = 0, GMK_LOSSY = 1 }; /* guarantee */
enum {
    GMK_CHAN_DROP_OLDEST = 1 << 0, /* lossy: shed the oldest queued message, not the newest */
    GMK_CHAN_DEGRADE = 1 << 1      /* lossless with replay: see gmk_chan_cfg_t.replay */
};
enum { GMK_ORDERED = 0, GMK_PARALLEL = 1 }; /* gmk_sub_cfg_t.order */

typedef struct gmk_chan_cfg {
    const char *name;     /* "namespace.verb", 1-31 bytes of [a-z0-9_.-]; sys.* is the kernel's */
    uint32_t msg_type;    /* a label both ends agree on, below n_types; no handler type.  0 = any */
    uint32_t mode;        /* GMK_P2P (default) or GMK_FANOUT */
    uint32_t guarantee;   /* GMK_LOSSLESS (default) or GMK_LOSSY */
    uint32_t slots;       /* credits, 1 .. 2^20; default 1024 */
    uint32_t replay;      /* lossless fan-out only: so many handled messages stay readable, <= 2^20;
                             with DEGRADE a subscriber that has `slots` messages open loses its
                             oldest instead of holding the emitter, and gmk_chan_gap says how many */
    uint32_t flags;       /* GMK_CHAN_DROP_OLDEST (lossy only), GMK_CHAN_DEGRADE (with replay only) */
    uint32_t reserve_pct; /* credits only priority 0 may use, 1 .. 50 percent; default 10;
                             UINT32_MAX = none */
} gmk_chan_cfg_t;

/*
 * Opens a channel.  EXISTS (an open channel has the name), LIMIT (256 channels, those being closed
 * included), RANGE (mode, guarantee, slots, replay, flags, reserve_pct), INVAL (a malformed or
 * reserved name; a flag or replay on a channel it is not for), ALLOC_FAIL, STATE (the kernel halts).
 */
int gmk_chan_open(gmk_ctx_t *c, const gmk_chan_cfg_t *cfg, gmk_chan_t *out);

/* Finds an open channel by name.  NOTFOUND, INVAL (a malformed name). */
int gmk_chan_find(gmk_ctx_t *c, const char *name, gmk_chan_t *out);

typedef struct gmk_sub_cfg {
    uint32_t handler;     /* handler type that runs for every delivery */
    uint32_t order;       /* GMK_ORDERED (default): one at a time, in order; GMK_PARALLEL */
    uint32_t pinned;      /* 1: ordered, on `worker` only */
    uint32_t worker;      /* index, with pinned */
    uint32_t replay_from; /* 1: start at message `from` (lossless fan-out with replay) */
    uint32_t from;        /* message number, serial arithmetic */
} gmk_sub_cfg_t;

/*
 * Subscribes a handler type; out may be NULL.  A parallel subscription reserves `slots` task nodes.
 * CHAN_CLOSED (or stale), CHAN_ALREADY_BOUND (P2P), LIMIT (32 subscriptions, those being ended
 * included; or the table of node memory is full), RANGE (worker, handler type or order out of range;
 * `from` is not readable, or the channel keeps nothing), INVAL (pinned and parallel), NOTFOUND (no
 * handler of the type is registered), ALLOC_FAIL, STATE (the kernel halts).
 */
int gmk_chan_sub(gmk_ctx_t *c, gmk_chan_t ch, const gmk_sub_cfg_t *cfg, gmk_sub_t *out);

/*
 * Ends a subscription: no delivery of it starts afterwards; what is queued for it is
 * dead-lettered in order with GMK_DROP_CLOSED.  Never blocks.  NOTFOUND (ended before, or none).
 */
int gmk_chan_unsub(gmk_ctx_t *c, gmk_sub_t sub);

/*
 * Closes a channel: emits answer CHAN_CLOSED from here on, what is queued is dead-lettered in
 * order, and the slot is reclaimed after every worker and port has passed a quiescent point.
 * Never blocks; gmk_wait_closed waits for the reclaim.  CHAN_CLOSED, INVAL (sys.*).
 */
int gmk_chan_close(gmk_ctx_t *c, gmk_chan_t ch);

/*
 * Waits until a closed channel is reclaimed.  Ports only.  OK (also for one that was reclaimed
 * before), TIMEOUT, STATE (a handler, or the channel is open).
 */
int gmk_wait_closed(gmk_ctx_t *c, gmk_chan_t ch, uint64_t timeout_ns);

/*
 * Emits a message.  t->type must be the channel's message type, or 0; it is not what the handler
 * sees in task->type, which is its own type.  On any error the caller still owns the payload.
 * CHAN_FULL (lossless only), CHAN_CLOSED (or stale), CHAN_TYPE_MISMATCH, RANGE (the type is not below
 * n_types, or the tenant), INVAL (the payload is not in the arena, or not a counted one),
 * STATE (the kernel halts; handlers may emit until it stops running them), LIMIT (references to the
 * payload), and for deterministic messages only: ALLOC_FAIL (the arena is exhausted, or was before, or the
 * peer's), KERNEL_RESET (the run ended with the bridge to its peer).
 */
int gmk_chan_emit(gmk_ctx_t *c, gmk_chan_t ch, const gmk_task_t *t);

/*
 * Emits the first so many of n messages, in order: returns how many, or < 0, a code of
 * gmk_chan_emit, when none; 0 for n = 0.  Cheapest for messages of one priority.
 */
int gmk_chan_emit_n(gmk_ctx_t *c, gmk_chan_t ch, const gmk_task_t *t, uint32_t n);

/*
 * Emits, waiting for a credit up to timeout_ns.  Ports only.  As gmk_chan_emit, with TIMEOUT instead of
 * CHAN_FULL, and STATE in a handler.
 */
int gmk_chan_emit_wait(gmk_ctx_t *c, gmk_chan_t ch, const gmk_task_t *t, uint64_t timeout_ns);

/*
 * In a handler that then returns GMK_OK: run this task again once `credits` are free on the
 * channel, or it is closed.  Counts as neither retry nor yield.  1 <= credits <= slots; below
 * priority 0, as many as are not reserved are enough.  The task runs again as it was, its meta0
 * included; call gmk_yield_at first to store how far it has come:
 *     gmk_yield_at(c, i);
 *     return gmk_chan_wait(c, ch, 1);
 * A deterministic task runs again in the next tick, as after a yield.
 * CHAN_CLOSED (or stale), RANGE, STATE (a port).
 */
int gmk_chan_wait(gmk_ctx_t *c, gmk_chan_t ch, uint32_t credits);

/*
 * Failed deliveries of this channel go to this handler type, as direct tasks with the record described
 * below, instead of sys.error; 0 undoes it.  When the handler is unloaded, or no task credit is left,
 * they go to sys.error.  CHAN_CLOSED (or stale), RANGE (handler type), NOTFOUND (no such handler).
 */
int gmk_chan_on_error(gmk_ctx_t *c, gmk_chan_t ch, uint32_t handler_type);

typedef struct gmk_chan_stats {
    char name[GMK_NAME_MAX + 1];
    uint32_t msg_type, mode, guarantee, slots, subs, waiters;
    uint64_t emitted, refused, unheard;        /* messages */
    uint64_t completed, failed, shed, dropped; /* deliveries; shed is part of dropped */
    uint64_t used;                             /* credits in use now */
} gmk_chan_stats_t;

int gmk_chan_stats(gmk_kernel_t *k, gmk_chan_t ch,
                   gmk_chan_stats_t *out); /* any thread; CHAN_CLOSED (reclaimed, or stale), INVAL */

/*
 * What arrives on sys.dropped and sys.error: one record per cause, in meta and payload.
 *   meta0  bits 0-31 the code (as int32), bits 32-63 how many deliveries it stands for (>= 1)
 *   meta1  bits 0-31 the type that failed, bits 32-63 the channel id of the delivery, 0 = direct
 * The payload, when there is one, is the failed delivery's own, by inherited reference; a record that
 * had to be kept until the channel had room comes without it.  What fails on a sys channel is counted,
 * and not reported again.
 */
static inline int gmk_dead_code(const gmk_task_t *t) { return (int)(int32_t)(uint32_t)t->meta0; }
static inline uint32_t gmk_dead_count(const gmk_task_t *t) { return (uint32_t)(t->meta0 >> 32); }
static inline uint32_t gmk_dead_type(const gmk_task_t *t) { return (uint32_t)t->meta1; }
static inline uint32_t gmk_dead_channel(const gmk_task_t *t) { return (uint32_t)(t->meta1 >> 32); }

/*
 * The number a delivery carries is task->seq.  The gap: how many messages an ordered subscription
 * lost just before the delivery that runs (DEGRADE, DROP_OLDEST, lossy fan-out); else, and
 * elsewhere, 0.
 */
uint32_t gmk_chan_gap(gmk_ctx_t *c);

GMK_END_DECLS

#endif
