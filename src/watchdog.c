/* SPDX-License-Identifier: MIT */
#include "watchdog.h"

#include "boot.h"
#include "say.h"

#define WARN_INTERVALS 2u
#define STALL_INTERVALS 5u
/* Intervals without anybody awake after which the watchdog sleeps too. */
#define SLEEPY_INTERVALS 10u

typedef struct gmk_watched {
    uint64_t beats;
    uint32_t silent; /* intervals */
} gmk_watched_t;

struct gmk_watchdog {
    gmk_hal_thread_t thread;
    gmk_hal_park_t park;
    gmk_a32_t stop;
    gmk_a32_t asleep;
    uint32_t running;
    uint32_t idle;          /* intervals with all workers parked */
    uint64_t finished;      /* deliveries with an outcome, at the last look */
    uint32_t stuck;         /* intervals in which only waiters were left */
    gmk_watched_t worker[]; /* [n_all] */
};

size_t gmk_watchdog_bytes(const gmk_core_t *k)
{
    return sizeof(struct gmk_watchdog) + k->n_all * sizeof(gmk_watched_t);
}

/* ---- replacing a worker ------------------------------------------------------------------- */

static gmk_worker_t *find_spare(gmk_core_t *k)
{
    for (uint32_t i = 0; i < k->n_all; i++) {
        gmk_worker_t *w = &k->workers[i];
        uint32_t state = gmk_load32(&w->state, GMK_ACQ, GMK_KERNEL);
        if (state == GMK_WORKER_GONE && w->has_thread != 0) {
            gmk_hal_thread_join(&w->thread);
            w->has_thread = 0;
            gmk_store32(&w->condemned, 0, GMK_RLX, GMK_KERNEL);
            gmk_store32(&w->state, GMK_WORKER_FREE, GMK_REL, GMK_KERNEL);
            state = GMK_WORKER_FREE;
        }
        if (state == GMK_WORKER_FREE)
            return w;
    }
    return NULL;
}

typedef struct gmk_rescue {
    uint32_t from, to; /* positions in the batch */
    uint32_t has_next;
    gmk_task_t next;
} gmk_rescue_t;

/*
 * Claims the unrun part of the batch, and the next slot.  The owner announces a position before it
 * looks at `condemned`; after the heavy fence either it has seen the flag or `cur` shows where it is.
 * `rescued` tells the owner where the line was drawn; until then it stays before it.
 */
static bool condemn(gmk_worker_t *w, gmk_rescue_t *r)
{
    *r = (gmk_rescue_t){0};
    gmk_store32(&w->rescued, 0, GMK_RLX, GMK_KERNEL);
    gmk_store32(&w->condemned, 1, GMK_REL, GMK_KERNEL);
    gmk_hal_asym_heavy();
    r->from = gmk_load32(&w->cur, GMK_ACQ, GMK_KERNEL); /* 1 + the position under way: the next one */
    if (r->from != 0) {
        uint32_t running = GMK_WORKER_RUNNING; /* it may have left just now */
        (void)gmk_cas32(&w->state, &running, GMK_WORKER_ZOMBIE, GMK_ACQ_REL, GMK_KERNEL);
        r->to = gmk_load32(&w->batched, GMK_RLX, GMK_KERNEL);
        r->has_next = gmk_xchg32(&w->has_next, 0, GMK_ACQ_REL, GMK_KERNEL);
        if (r->has_next != 0)
            r->next = w->next[w->flip].task;
        uint32_t decision = (1 + r->from) | (r->has_next != 0 ? GMK_RESCUED_NEXT : 0);
        gmk_store32(&w->rescued, decision, GMK_REL, GMK_KERNEL);
        return true;
    }
    /* It has just finished the batch: let it go on, unless it has seen the flag and is leaving. */
    uint32_t one = 1;
    gmk_store32(&w->rescued, GMK_RESCUED_AT, GMK_REL, GMK_KERNEL);
    if (gmk_cas32(&w->condemned, &one, 0, GMK_ACQ_REL, GMK_KERNEL))
        return false;
    for (uint32_t round = 0; gmk_load32(&w->state, GMK_ACQ, GMK_KERNEL) != GMK_WORKER_GONE; round++)
        gmk_hal_relax(round);
    return true;
}

static void rescue(gmk_front_t *f, gmk_worker_t *w, const gmk_rescue_t *r)
{
    for (uint32_t i = r->from; i < r->to; i++)
        gmk_enqueue_core(f, &w->batch[w->order[i]].task, 1, GMK_ENQ_SHARED, NULL);
    if (r->has_next != 0)
        gmk_enqueue_core(f, &r->next, 1, GMK_ENQ_SHARED, NULL);
}

static void say_worker(gmk_core_t *k, gmk_worker_t *w, const char *what, uint32_t silent)
{
    gmk_out_t o;
    uint32_t type = gmk_load32(&w->cur_type, GMK_RLX, GMK_KERNEL);
    if ((k->flags & GMK_BOOT_QUIET) != 0)
        return;
    gmk_say(&o, k->name);
    gmk_out_str(&o, "worker ");
    gmk_out_u64(&o, w->index);
    gmk_out_str(&o, what);
    gmk_out_str(&o, " in handler ");
    gmk_out_quoted(&o, k->types[type].name);
    gmk_out_str(&o, " (type ");
    gmk_out_u64(&o, type);
    gmk_out_str(&o, ") for ");
    gmk_out_u64(&o, silent * (k->watchdog_ns / 1000000));
    gmk_out_str(&o, " ms");
    gmk_said(&o);
}

static void replace(gmk_core_t *k, gmk_front_t *f, gmk_worker_t *w)
{
    gmk_rescue_t taken;
    gmk_worker_t *spare = find_spare(k);
    if (spare == NULL || !condemn(w, &taken))
        return;
    gmk_trace_now(f, GMK_EV_STALL, gmk_load32(&w->cur_type, GMK_RLX, GMK_KERNEL), w->index,
                  gmk_load32(&w->cur_type, GMK_RLX, GMK_KERNEL));
    spare->index = w->index;
    gmk_store32(&k->worker_of[w->index], spare->self, GMK_REL, GMK_KERNEL);
    rescue(f, w, &taken);
    if (gmk_worker_start(k, spare) < 0)
        say_worker(k, w, " could not be replaced", STALL_INTERVALS);
    else
        (void)gmk_add32(&k->rescues, 1, GMK_ACQ_REL, GMK_KERNEL);
}

void gmk_zombie_exit(gmk_worker_t *w)
{
    gmk_front_t *f = &w->front;
    gmk_slot_t slot;
    while (gmk_lq_pop(&w->lq, &slot, 1) != 0)
        gmk_enqueue_core(f, &slot.task, 1, GMK_ENQ_SHARED, NULL);
    if (gmk_xchg32(&w->has_next, 0, GMK_ACQ_REL, GMK_KERNEL) != 0)
        gmk_enqueue_core(f, &w->next[w->flip].task, 1, GMK_ENQ_SHARED, NULL);
    gmk_credit_flush(f);
    gmk_slab_cache_flush(&f->core->nodes, &f->nodes);
    gmk_heap_cache_flush(&f->core->heap, &f->heap);
}

/* ---- watching ----------------------------------------------------------------------------- */

static bool is_parked(gmk_core_t *k, uint32_t place)
{
    return (gmk_load64(&k->idle.mask[place >> 6], GMK_ACQ, GMK_KERNEL) >> (place & 63) & 1) != 0;
}

/* Returns whether the worker is awake. */
static bool look_at(gmk_core_t *k, gmk_front_t *f, uint32_t i)
{
    gmk_worker_t *w = &k->workers[i];
    gmk_watched_t *seen = &k->watchdog->worker[i];
    if (gmk_load32(&w->state, GMK_ACQ, GMK_KERNEL) != GMK_WORKER_RUNNING || is_parked(k, i)) {
        seen->silent = 0;
        return false;
    }
    uint64_t beats = gmk_load64(&w->beats, GMK_RLX, GMK_KERNEL);
    if (beats != seen->beats || gmk_load32(&w->cur, GMK_RLX, GMK_KERNEL) == 0) {
        seen->beats = beats;
        seen->silent = 0;
        return true;
    }
    seen->silent++;
    if (seen->silent == WARN_INTERVALS)
        say_worker(k, w, " is silent", seen->silent);
    if (seen->silent >= STALL_INTERVALS && seen->silent % STALL_INTERVALS == 0) {
        say_worker(k, w, " is stalled", seen->silent);
        replace(k, f, w);
    }
    return true;
}

/* Only waiters are left, and nothing has had an outcome for a while: is it a circle? */
static void look_for_circles(gmk_core_t *k)
{
    struct gmk_watchdog *d = k->watchdog;
    uint64_t finished = GMK_TOTAL(k, completed) + GMK_TOTAL(k, failed) + GMK_TOTAL(k, dropped);
    if (gmk_load64(&k->waiting, GMK_RLX, GMK_KERNEL) == 0 || finished != d->finished) {
        d->finished = finished;
        d->stuck = 0;
        return;
    }
    if (++d->stuck == STALL_INTERVALS && (k->flags & GMK_BOOT_QUIET) == 0)
        (void)gmk_waiter_report_cycles(k);
}

/* A timer is late because its keeper is busy: somebody else may take it. */
static void look_at_timers(gmk_core_t *k, gmk_front_t *f)
{
    if (gmk_idle_parked(k) != 0 && gmk_evq_due(k, gmk_hal_now_ns()))
        gmk_idle_wake_one(k, f);
}

static void watch(void *arg)
{
    gmk_core_t *k = arg;
    struct gmk_watchdog *d = k->watchdog;
    gmk_front_t *f = gmk_own_port(k, GMK_PORT_WATCHDOG);
    while (gmk_load32(&d->stop, GMK_ACQ, GMK_KERNEL) == 0) {
        bool sleepy = d->idle >= SLEEPY_INTERVALS;
        if (sleepy) {
            gmk_store32(&d->asleep, 1, GMK_SEQ, GMK_KERNEL);
            gmk_hal_asym_heavy(); /* pairs with the light one in gmk_watchdog_rouse */
            sleepy = gmk_idle_parked(k) == k->n_workers;
        }
        (void)gmk_hal_park_wait(&d->park, sleepy ? GMK_HAL_FOREVER : k->watchdog_ns);
        gmk_store32(&d->asleep, 0, GMK_RLX, GMK_KERNEL);
        bool awake = false;
        for (uint32_t i = 0; i < k->n_all; i++)
            awake |= look_at(k, f, i);
        look_for_circles(k);
        look_at_timers(k, f);
        d->idle = awake || sleepy ? 0 : d->idle + 1;
    }
}

void gmk_watchdog_rouse(gmk_core_t *k)
{
    struct gmk_watchdog *d = k->watchdog;
    gmk_hal_asym_light();
    if (GMK_UNLIKELY(gmk_load32(&d->asleep, GMK_RLX, GMK_KERNEL) != 0) &&
        gmk_xchg32(&d->asleep, 0, GMK_ACQ_REL, GMK_KERNEL) != 0)
        gmk_hal_park_wake(&d->park);
}

int gmk_watchdog_start(gmk_core_t *k)
{
    struct gmk_watchdog *d = k->watchdog;
    gmk_hal_park_init(&d->park);
    int rc = gmk_hal_thread_create(&d->thread, "gmk.watchdog", UINT32_MAX, watch, k);
    d->running = rc == GMK_OK;
    return rc == GMK_ERR_UNSUPPORTED ? GMK_OK : rc;
}

void gmk_watchdog_stop(gmk_core_t *k)
{
    struct gmk_watchdog *d = k->watchdog;
    if (d->running == 0)
        return;
    gmk_store32(&d->stop, 1, GMK_REL, GMK_KERNEL);
    gmk_hal_park_wake(&d->park);
    gmk_hal_thread_join(&d->thread);
    gmk_hal_park_destroy(&d->park);
    d->running = 0;
}
