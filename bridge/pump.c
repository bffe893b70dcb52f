/* SPDX-License-Identifier: MIT */
/*
 * pump.c — the thread of a bridge end: rounds while there is work, then a spin, then a nap.
 *
 * Going to sleep is an event count across the bus.  The sleeper says so in `asleep`, fences, and looks
 * at everything once more; who publishes fences, and then looks at the other's `asleep`.  Either the
 * sleeper sees what was published or the publisher sees the sleeper.  A peer that has no way to wake us
 * costs at most one nap.
 */
#include "bridge_int.h"

#define LOOK_NS 10000000u /* between two looks at what is left, without a peer */

void gmk_bridge_lock(gmk_bridge_t *b)
{
    (void)gmk_add32(&b->wanted, 1, GMK_ACQ_REL, GMK_KERNEL);
    gmk_hal_lock_acquire(&b->lock);
    (void)gmk_sub32(&b->wanted, 1, GMK_ACQ_REL, GMK_KERNEL);
}

void gmk_bridge_unlock(gmk_bridge_t *b) { gmk_hal_lock_release(&b->lock); }

void gmk_bridge_wake(gmk_bridge_t *b)
{
    if (b != NULL)
        gmk_hal_park_wake(&b->f->park);
}

/* What was published in this round is for a peer that may sleep. */
static void signal_peer(gmk_bridge_t *b)
{
    if (!b->signal)
        return;
    b->signal = false;
    if (b->wake == NULL)
        return;
    gmk_fence(GMK_SEQ, GMK_SYSTEM); /* pairs with the one in may_sleep */
    if (gmk_load64(&b->v.theirs->asleep, GMK_ACQ, GMK_SYSTEM) == 1)
        b->wake(b->wake_arg);
}

/* All that a peer that has ended had said before, which a ring can hold; one that talks on is not listened to. */
static void hear_out(gmk_bridge_t *b)
{
    bool more = true;
    for (uint32_t slots = 0; more && slots <= b->v.ring_slots; slots += GMK_CREW_SLOTS) {
        more = gmk_wiring_take(b);
        more |= gmk_ingress_round(b);
        more |= gmk_egress_acks(b);
    }
}

/* The peer's own state: it failed, or it ended. */
static void watch_peer(gmk_bridge_t *b)
{
    uint32_t theirs = gmk_bridge_side_state(b->v.theirs);
    if (GMK_LIKELY(theirs < GMK_BRIDGE_STOPPED))
        return;
    if (theirs == GMK_BRIDGE_FAILED) {
        char text[GMK_BRIDGE_TEXT];
        for (uint32_t i = 0; i < GMK_REGION_TEXT_WORDS; i++) {
            uint64_t word = gmk_load64(&b->v.theirs->text[i], GMK_RLX, GMK_SYSTEM);
            gmk_hal_memcpy(text + 8 * i, &word, 8);
        }
        text[GMK_BRIDGE_TEXT - 1] = '\0';
        int code = (int)(int32_t)(uint32_t)(gmk_load64(&b->v.theirs->state, GMK_ACQ, GMK_SYSTEM) >> 32);
        gmk_bridge_fail(b, code < 0 ? code : GMK_ERR_INVAL, "the peer says: ", text);
    } else if (theirs == GMK_BRIDGE_STOPPED) {
        hear_out(b);
        if (gmk_bridge_state(b) != GMK_BRIDGE_FAILED)
            gmk_store32(&b->state, GMK_BRIDGE_STOPPED, GMK_REL, GMK_KERNEL);
    } else {
        gmk_bridge_fail(b, GMK_ERR_INVAL, "the peer is in a state that there is not", NULL);
    }
}

static bool is_up(const gmk_bridge_t *b)
{
    uint32_t state = gmk_bridge_state(b);
    return state == GMK_BRIDGE_HELLO || state == GMK_BRIDGE_READY;
}

/* Each step may find that the peer has broken the rules: then nothing more is done to the region. */
static bool talk(gmk_bridge_t *b)
{
    bool work = false;
    watch_peer(b);
    if (is_up(b))
        work |= gmk_wiring_take(b);
    if (is_up(b))
        work |= gmk_ingress_round(b);
    if (is_up(b))
        work |= gmk_egress_acks(b);
    if (is_up(b))
        work |= gmk_wiring_round(b);
    if (is_up(b))
        work |= gmk_fence_round(b);
    if (is_up(b))
        work |= gmk_egress_round(b);
    if (is_up(b)) {
        work |= gmk_beat_round(b);
        work |= gmk_trace_send_round(b);
    }
    signal_peer(b);
    return work;
}

bool gmk_pump_round(gmk_bridge_t *b)
{
    b->now = gmk_hal_now_ns();
    bool work = is_up(b) ? talk(b) : gmk_egress_closing(b);
    if (GMK_UNLIKELY(b->fence.phase != GMK_FENCE_OFF && !is_up(b)))
        gmk_fence_part(b);
    return work;
}

static bool something_came(gmk_bridge_t *b)
{
    gmk_trace_send_rest(b);
    if (!gmk_egress_rest(b))
        return true;
    if (gmk_wiring_due(b))
        return true;
    return gmk_link_ready(&b->control_in, 1) != 0 || !gmk_ingress_rest(b) || gmk_egress_acks(b) ||
           gmk_fence_round(b) || gmk_bridge_side_state(b->v.theirs) >= GMK_BRIDGE_STOPPED ||
           gmk_bridge_state(b) > GMK_BRIDGE_READY;
}

/* Rests the outlets and tells the peer; true: nothing has come meanwhile. */
static bool may_sleep(gmk_bridge_t *b)
{
    if (!is_up(b))
        return true;
    b->poll = false;
    gmk_store64(&b->v.mine->asleep, 1, GMK_REL, GMK_SYSTEM);
    gmk_fence(GMK_SEQ, GMK_SYSTEM); /* pairs with the one in signal_peer */
    if (!something_came(b))
        return true;
    gmk_store64(&b->v.mine->asleep, 0, GMK_REL, GMK_SYSTEM);
    return false;
}

static uint64_t nap(const gmk_bridge_t *b)
{
    if (!is_up(b)) /* channels that wait for a peer may be closed, and nobody says so */
        return b->n_out != 0 ? LOOK_NS : GMK_HAL_FOREVER;
    uint64_t to_beat = b->next_beat > b->now ? b->next_beat - b->now : 1;
    uint64_t most = b->poll && b->cfg.nap_ns < b->nap_ns ? b->cfg.nap_ns : b->nap_ns;
    /* Nobody wakes it: half of what it has been idle for, so that a wait is at most made half as long again. */
    uint64_t half = (b->now - b->last_work) / 2 + 1;
    if (most <= b->cfg.nap_ns && half < most)
        most = half;
    return to_beat < most ? to_beat : most;
}

/* One step of the pump; the lock is held on the way in and out. */
static void step(gmk_bridge_t *b, uint32_t *idle)
{
    gmk_call_begin(b->f);
    bool work = gmk_pump_round(b), sleep = false;
    if (work) {
        b->last_work = b->now;
        *idle = 0;
    } else if (b->now - b->last_work >= b->cfg.spin_ns) {
        sleep = may_sleep(b);
    }
    gmk_call_end(b->f);
    uint64_t how_long = nap(b);
    if (sleep)
        gmk_credit_flush(b->f);
    gmk_bridge_unlock(b);
    if (sleep) {
        (void)gmk_hal_park_wait(&b->f->park, how_long);
    } else if (!work) {
        gmk_hal_relax((*idle)++);
    }
    for (uint32_t round = 0; gmk_load32(&b->wanted, GMK_ACQ, GMK_KERNEL) != 0; round++)
        gmk_hal_relax(round);
    gmk_hal_lock_acquire(&b->lock);
    if (sleep && gmk_bridge_state(b) != GMK_BRIDGE_DOWN)
        gmk_store64(&b->v.mine->asleep, 0, GMK_REL, GMK_SYSTEM);
}

/* ALL lanes of the worker that a thread is: the first one pumps. */
void gmk_pump_main(void *arg)
{
    gmk_bridge_t *b = arg;
    gmk_crew_t *crew = gmk_hal_scratch(&b->crew_space);
    uint32_t idle = 0;
    if (gmk_hal_lane() != 0) {
        gmk_crew_serve(crew);
        return;
    }
    gmk_hal_lock_acquire(&b->lock);
    b->crew = crew;
    while (gmk_load32(&b->ending, GMK_ACQ, GMK_KERNEL) == 0)
        step(b, &idle);
    gmk_bridge_unlock(b);
    gmk_crew_dismiss(crew);
}
