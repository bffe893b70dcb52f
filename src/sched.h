/* SPDX-License-Identifier: MIT */
/*
 * sched.h — how a task gets to a worker.
 *
 * Admission: gmk_credit_take is the only place where a direct task can be refused.  After it,
 * nothing fails: what finds a ring full spills to a node of the task slab, which holds one for
 * every credit.
 *
 * gmk_accept numbers new tasks and counts them.  gmk_enqueue_one is the only way into a queue: it
 * traces, picks the queue and wakes; gmk_enqueue_core is the same for several, with one wake-up.
 *
 * All functions are for ANY lane unless they say otherwise.
 */
#ifndef GMK_SCHED_H
#define GMK_SCHED_H

#include "core.h"

/* May this caller hand in work?  While the kernel halts only its handlers may. */
static inline int gmk_check_up(const gmk_front_t *f)
{
    uint32_t state = gmk_load32(&f->core->state, GMK_ACQ, GMK_KERNEL);
    return GMK_LIKELY(state == GMK_CORE_UP) || (state == GMK_CORE_HALTING && f->worker != NULL)
             ? GMK_OK
             : GMK_ERR_STATE;
}

/* ---- credits (credit.c) ------------------------------------------------------------------- */

uint32_t gmk_credit_take_slow(gmk_front_t *f, uint32_t n);
void gmk_credit_give_back(gmk_front_t *f, uint64_t have);

/* Takes up to n task credits; returns how many there were. */
static inline uint32_t gmk_credit_take(gmk_front_t *f, uint32_t n)
{
    uint64_t have = gmk_load64(&f->credits, GMK_RLX, GMK_WORKER);
    while (GMK_LIKELY(have >= n)) /* `outside`, which is shared, never has any at hand */
        if (GMK_LIKELY(gmk_cas64(&f->credits, &have, have - n, GMK_RLX, GMK_WORKER)))
            return n;
    return gmk_credit_take_slow(f, n);
}

static inline void gmk_credit_give(gmk_front_t *f, uint32_t n)
{
    gmk_core_t *k = f->core;
    if (GMK_UNLIKELY(f->shared)) {
        (void)gmk_add64(&k->credits, n, GMK_ACQ_REL, GMK_KERNEL);
        return;
    }
    uint64_t have = gmk_add64(&f->credits, n, GMK_RLX, GMK_WORKER) + n;
    if (GMK_UNLIKELY(have > 2u * k->credit_block))
        gmk_credit_give_back(f, have);
}
/* Hands the credits this front keeps at hand back to the kernel: before parking, on detach. */
void gmk_credit_flush(gmk_front_t *f);

/* ---- nodes -------------------------------------------------------------------------------- */

/* A node for a task that holds a credit: never NULL. */
gmk_node_t *gmk_node_new(gmk_front_t *f, const gmk_task_t *t);
void gmk_node_done(gmk_front_t *f, gmk_node_t *n);

/* ---- the one way into a queue (enqueue.c) ------------------------------------------------- */

enum gmk_enqueue_how {
    GMK_ENQ_YIELD = 1 << 0,  /* may use the local queue's reserve, never the next slot */
    GMK_ENQ_SHARED = 1 << 1, /* not into this worker's own queue */
    GMK_ENQ_NO_WAKE = 1 << 2 /* the caller wakes */
};

/*
 * Queues one task, or n, for any worker.  node: when not NULL (and n is 1), spill into this one rather
 * than into a node of the slab.
 */
void gmk_enqueue_one(gmk_front_t *f, const gmk_task_t *t, uint32_t how, gmk_node_t *node);
void gmk_enqueue_core(gmk_front_t *f, const gmk_task_t *t, uint32_t n, uint32_t how, gmk_node_t *node);

/* Queues a node for one worker (logical index) and wakes it. */
void gmk_enqueue_inbox(gmk_front_t *f, uint32_t index, gmk_node_t *n);

/*
 * Accepts as many direct tasks as there are credits for: numbers them (in place), counts them,
 * queues them.  Returns how many.  The records are the callee's own copies.
 */
uint32_t gmk_accept(gmk_front_t *f, gmk_task_t *t, uint32_t n);

#define GMK_TASK_USER_FLAGS                                                                                  \
    (GMK_PRIO_MASK | GMK_TASK_DETERMINISTIC | GMK_TASK_IDEMPOTENT | GMK_TASK_EMIT_TRACE | GMK_TASK_PAYLOAD_RC)

/* What those who hand a record in have a say in, of its words 0 and 3: not the kernel's flags, not the counts. */
#define GMK_TASK_GIVEN_0 (UINT64_C(0xffff0000ffffffff) | (uint64_t)GMK_TASK_USER_FLAGS << 32)
#define GMK_TASK_GIVEN_3 UINT64_C(0xffffffff)

/* Numbers are unique in the kernel: each front counts in steps of n_fronts from its own index. */
static inline void gmk_task_born(const gmk_front_t *f, gmk_task_t *t, uint64_t number)
{
    uint32_t seq = (uint32_t)(number * f->core->n_fronts + f->index);
    gmk_task_set_word(t, 0, gmk_task_word(t, 0) & GMK_TASK_GIVEN_0);
    gmk_task_set_word(t, 1, (uint64_t)seq << 32);
    gmk_task_set_word(t, 3, gmk_task_word(t, 3) & GMK_TASK_GIVEN_3);
}

/* ---- ready queue (rq.c) ------------------------------------------------------------------- */

/* The first lane, which has the others for it: they are in gmk_rq_serve. */
uint32_t gmk_rq_pop(gmk_worker_t *w, gmk_slot_t *out, uint32_t max);
void gmk_rq_serve(gmk_rq_team_t *t);
uint32_t gmk_rq_push(gmk_bucket_t *b, const gmk_task_t *t, uint32_t n, uint64_t stamp); /* how many fitted */
bool gmk_rq_empty(const gmk_core_t *k);
uint64_t gmk_rq_count(const gmk_core_t *k); /* about how many are there */
/* Moves spilled tasks into the rings as far as there is room. */
void gmk_overflow_refill(gmk_front_t *f);
bool gmk_overflow_empty(const gmk_core_t *k);
static inline gmk_bucket_t *gmk_bucket_of(const gmk_core_t *k, const gmk_task_t *t)
{
    uint32_t kind = GMK_HAL_RQ_PER_TYPE && k->kinds != 1 ? t->type : 0;
    return &k->buckets[kind * GMK_PRIOS + gmk_prio(t)];
}

/* ---- event queue (evq.c) ------------------------------------------------------------------ */

/* Fires at the time or tick that the caller put into the node's t.key. */
void gmk_evq_add(gmk_front_t *f, gmk_node_t *n, bool by_tick);
/* Fires what is due, at most 256.  `fire` gets each node and owns it.  ONE. */
uint32_t gmk_evq_fire(gmk_worker_t *w, uint64_t now, void (*fire)(gmk_worker_t *w, gmk_node_t *n));
bool gmk_evq_due(const gmk_core_t *k, uint64_t now);
/* Takes any timer out, for the halt: NULL when there is none. */
gmk_node_t *gmk_evq_take(gmk_core_t *k);

/* ---- idle workers (idle.c) ---------------------------------------------------------------- */

void gmk_idle_wake_one(gmk_core_t *k, gmk_front_t *f);
void gmk_idle_wake_worker(gmk_core_t *k, uint32_t place);
void gmk_idle_wake_all(gmk_core_t *k);
static inline uint32_t gmk_idle_parked(const gmk_core_t *k)
{
    return (uint32_t)gmk_load64(&k->idle.word, GMK_RLX, GMK_KERNEL);
}

/* After work was published: wakes one worker if some are parked and none is looking already. */
static inline void gmk_wake_for_work(gmk_front_t *f)
{
    gmk_core_t *k = f->core;
    gmk_hal_asym_light(); /* pairs with the heavy one in gmk_idle_park */
    uint64_t idle = gmk_load64(&k->idle.word, GMK_RLX, GMK_KERNEL);
    if (GMK_UNLIKELY((uint32_t)idle != 0 && idle >> 32 == 0))
        gmk_idle_wake_one(k, f);
}

/*
 * Parks the calling worker until there is work: spins first, then sleeps.  `visible` says
 * whether there is something to do and is asked again after the worker has announced itself.
 * ONE.
 */
void gmk_idle_park(gmk_worker_t *w, bool (*visible)(gmk_worker_t *w));

/* ---- tracing of tasks --------------------------------------------------------------------- */

/* Sampling goes by a task's number, so that all records of a task are kept, or none. */
static inline bool gmk_trace_sampled(const gmk_core_t *k, uint32_t number)
{
    uint32_t one_in = gmk_load32(&k->trace_one_in, GMK_RLX, GMK_KERNEL);
    return number * 0x9e3779b1u <=
           UINT32_MAX / one_in; /* Fibonacci hashing (Knuth): numbers come in strides */
}

/* Does a level of ALL somewhere, or the task itself, ask for records of it? */
static inline bool gmk_maybe_traced(const gmk_front_t *f, const gmk_task_t *t)
{
    return GMK_UNLIKELY(gmk_load32(&f->core->trace_mask, GMK_RLX, GMK_KERNEL) >= GMK_TRACE_ALL ||
                        (t->flags & GMK_TASK_EMIT_TRACE) != 0);
}

/* A task's steps are recorded: it asks for it, or its module is at ALL and its number is sampled. */
static inline bool gmk_traced(const gmk_front_t *f, const gmk_task_t *t)
{
    const gmk_core_t *k = f->core;
    if (GMK_LIKELY(!gmk_maybe_traced(f, t)))
        return false;
    return (t->flags & GMK_TASK_EMIT_TRACE) != 0 ||
           (gmk_load32(&k->types[t->type].level, GMK_RLX, GMK_KERNEL) >= GMK_TRACE_ALL &&
            gmk_trace_sampled(k, t->seq));
}

static inline void gmk_trace_now(gmk_front_t *f, uint32_t ev, uint32_t type, uint32_t a0, uint32_t a1)
{
    gmk_trace_put(f->ring, gmk_trace_clock(), ev, type, a0, a1);
}

/* A direct task starts on its way.  Deliveries are traced when they are emitted on their channel. */
static inline void gmk_trace_enqueue(gmk_front_t *f, const gmk_task_t *t)
{
    if (gmk_maybe_traced(f, t) && (t->flags & (GMK_TASK_CHANNEL_MSG | GMK_TASK_INTERNAL)) == 0 &&
        gmk_traced(f, t))
        gmk_trace_now(f, GMK_EV_ENQUEUE, t->type, t->type, t->seq);
}

#endif
