/* SPDX-License-Identifier: MIT */
/*
 * Parking by event count.  A worker that found nothing announces itself (mask bit, parked
 * count), looks once more, and sleeps.  Who publishes work looks at the count afterwards.
 *
 *     worker                         publisher
 *     set mask bit, parked + 1       put work into a queue
 *     gmk_hal_asym_heavy()           gmk_hal_asym_light()
 *     look at the queues             look at the parked count
 *
 * The fences forbid that both look too early, so either the worker sees the work or the
 * publisher sees the worker.  Whoever clears the mask bit owns the wake-up: a waker then
 * subtracts one from the count and puts a token into the worker's park slot; a worker that
 * clears its own bit goes on at once; one that finds it cleared takes the token.  A platform may
 * wake a worker for no reason: it finds its own bit then, or leaves a token that ends its next
 * sleep early, in the same way.
 *
 * Before it parks a worker spins for a while that adapts to whether spinning helped lately.  While
 * somebody spins, publishers wake nobody: the spinner announces and looks again before it sleeps.
 *
 * The keeper is the parked worker that sleeps only until the next timer.  The others sleep for
 * good, and wake-ups go to them first, so that the keeper keeps its timer.
 */
#include "sched.h"

#define GMK_SPINNER ((uint64_t)1 << 32)
#define GMK_SPIN_MIN_NS 1000u

static bool unmask(gmk_core_t *k, uint32_t place)
{
    uint64_t bit = (uint64_t)1 << (place & 63);
    if ((gmk_and64(&k->idle.mask[place >> 6], ~bit, GMK_ACQ_REL, GMK_KERNEL) & bit) == 0)
        return false;
    (void)gmk_sub64(&k->idle.word, 1, GMK_ACQ_REL, GMK_KERNEL);
    return true;
}

void gmk_idle_wake_worker(gmk_core_t *k, uint32_t place)
{
    uint64_t bit = (uint64_t)1 << (place & 63);
    if ((gmk_load64(&k->idle.mask[place >> 6], GMK_ACQ, GMK_KERNEL) & bit) != 0 && unmask(k, place))
        gmk_hal_park_wake(&k->workers[place].park);
}

/* Wakes some parked worker other than `spare` (a place, or none). */
static bool wake_any(gmk_core_t *k, uint32_t spare)
{
    for (uint32_t base = 0; base < k->n_all; base += 64) {
        uint64_t bits = gmk_load64(&k->idle.mask[base >> 6], GMK_ACQ, GMK_KERNEL);
        if (spare - base < 64)
            bits &= ~((uint64_t)1 << (spare - base));
        for (; bits != 0; bits &= bits - 1) {
            uint32_t place = base + (uint32_t)__builtin_ctzll(bits);
            if (!unmask(k, place))
                continue;
            gmk_hal_park_wake(&k->workers[place].park);
            return true;
        }
    }
    return false;
}

void gmk_idle_wake_one(gmk_core_t *k, gmk_front_t *f)
{
    uint32_t keeper = gmk_load32(&k->idle.keeper, GMK_RLX, GMK_KERNEL);
    if ((keeper != 0 && wake_any(k, keeper - 1)) || wake_any(k, UINT32_MAX))
        gmk_count(f, &f->counts->wakes, 1);
}

void gmk_idle_wake_all(gmk_core_t *k)
{
    while (wake_any(k, UINT32_MAX))
        ;
}

/* True: work came while spinning.  Otherwise the worker still counts as a spinner. */
static bool spin(gmk_worker_t *w, bool (*visible)(gmk_worker_t *w))
{
    gmk_core_t *k = w->front.core;
    (void)gmk_add64(&k->idle.word, GMK_SPINNER, GMK_ACQ_REL, GMK_KERNEL);
    uint64_t until = gmk_hal_now_ns() + w->spin_ns;
    uint32_t most = (uint32_t)k->spin_ns;
    for (uint32_t round = 0; w->spin_ns > 1; round++) {
        if (visible(w)) {
            (void)gmk_sub64(&k->idle.word, GMK_SPINNER, GMK_ACQ_REL, GMK_KERNEL);
            w->spin_ns = w->spin_ns * 2 < most ? w->spin_ns * 2 : most;
            return true;
        }
        gmk_hal_relax(round & 63);
        if ((round & 15) == 15 && gmk_hal_now_ns() >= until)
            break;
    }
    w->spin_ns = w->spin_ns / 2 > GMK_SPIN_MIN_NS ? w->spin_ns / 2 : GMK_SPIN_MIN_NS;
    w->spin_ns = w->spin_ns < most ? w->spin_ns : most;
    return false;
}

/*
 * How long to sleep: as keeper until the next timer, else for good.  Whoever sets keeper_due is the
 * keeper; a worker that knows of an earlier time takes over, and the other sleeps on until its own.
 */
static uint64_t become_keeper(gmk_worker_t *w)
{
    gmk_core_t *k = w->front.core;
    uint64_t due = gmk_load64(&k->evq.next_ns, GMK_RLX, GMK_KERNEL);
    uint64_t kept = gmk_load64(&k->idle.keeper_due, GMK_ACQ, GMK_KERNEL);
    if (kept <= due)
        return GMK_HAL_FOREVER; /* also when there is no timer */
    if (!gmk_cas64(&k->idle.keeper_due, &kept, due, GMK_ACQ_REL, GMK_KERNEL))
        return 0; /* somebody else is just becoming it: look again */
    w->keeps = due;
    gmk_store32(&k->idle.keeper, w->self + 1, GMK_RLX, GMK_KERNEL);
    uint64_t now = gmk_hal_now_ns();
    return due > now ? due - now : 0;
}

/*
 * Ordered before the caller's next look at the event queue's inbox: pairs with gmk_evq_add.  A time that
 * another keeper has set meanwhile stays, unless it is the very same: then there are two for a while.
 */
static void stop_keeping(gmk_worker_t *w)
{
    uint64_t due = w->keeps;
    if (due == UINT64_MAX)
        return;
    w->keeps = UINT64_MAX;
    (void)gmk_cas64(&w->front.core->idle.keeper_due, &due, UINT64_MAX, GMK_ACQ_REL, GMK_KERNEL);
    gmk_fence(GMK_SEQ, GMK_KERNEL);
}

/* Work came soon after the worker had given up: next time it spins for twice as long as that took. */
static void learn_gap(gmk_worker_t *w, uint64_t began)
{
    uint64_t gap = gmk_hal_now_ns() - began, most = w->front.core->spin_ns;
    if (gap < most && w->spin_ns < 2 * gap)
        w->spin_ns = (uint32_t)(2 * gap < most ? 2 * gap : most);
}

void gmk_idle_park(gmk_worker_t *w, bool (*visible)(gmk_worker_t *w))
{
    gmk_core_t *k = w->front.core;
    uint32_t place = w->self;
    uint64_t began = gmk_hal_now_ns();
    if (spin(w, visible))
        return;
    (void)gmk_or64(&k->idle.mask[place >> 6], (uint64_t)1 << (place & 63), GMK_ACQ_REL, GMK_KERNEL);
    (void)gmk_add64(&k->idle.word, 1 - GMK_SPINNER, GMK_ACQ_REL, GMK_KERNEL);
    gmk_hal_asym_heavy();
    bool asleep = !visible(w), woken = false;
    uint64_t timeout = asleep ? become_keeper(w) : 0;
    if (timeout != 0) {
        gmk_count(&w->front, &w->front.counts->parks, 1);
        if (gmk_load32(&k->drainers, GMK_ACQ, GMK_KERNEL) != 0)
            gmk_hal_park_wake(&k->drain_park);
        woken = gmk_hal_park_wait(&w->park, timeout);
    }
    if (woken)
        learn_gap(w, began);
    stop_keeping(w);
    if (!unmask(k, place) && !woken)
        (void)gmk_hal_park_wait(&w->park, GMK_HAL_FOREVER); /* a waker was faster: its token is ours */
}
