/* SPDX-License-Identifier: MIT */
/*
 * beat.c — signs of life, figures and clocks.
 *
 * Every interval a side publishes its workers' beat counts and its kernel's figures, and then the number of
 * the beat.  The clocks are compared by an exchange of four times, as NTP does (RFC 5905, section 8): pinged at t1 here,
 * arrived t2 there, answered t3 there, here again t4.  offset = ((t2 - t1) + (t3 - t4)) / 2, and its
 * error is at most half of the round trip less the time spent there.  The best of the latest samples counts.
 * The first ping waits for a peer that is just coming up, so the next ones follow as soon as each is answered.
 */
#include "bridge_int.h"

static uint64_t worker_word(const gmk_core_t *k, uint32_t w)
{
    const gmk_worker_t *worker = &k->workers[gmk_load32(&k->worker_of[w], GMK_ACQ, GMK_KERNEL)];
    uint64_t beats = gmk_load64(&worker->beats, GMK_RLX, GMK_KERNEL);
    uint32_t type = gmk_load32(&worker->cur_type, GMK_RLX, GMK_KERNEL);
    return beats << 16 | (type & 0xffff);
}

void gmk_beat_publish(gmk_bridge_t *b)
{
    gmk_region_side_t *s = b->v.mine;
    const gmk_core_t *k = b->k;
    for (uint32_t w = 0; w < k->n_workers && w < GMK_REGION_WORKERS; w++)
        gmk_store64(&s->worker[w], worker_word(k, w), GMK_RLX, GMK_SYSTEM);
    /* Outcomes before acceptance: what is read later is never less than what had been accepted. */
    uint64_t completed = GMK_TOTAL(k, completed), failed = GMK_TOTAL(k, failed),
             dropped = GMK_TOTAL(k, dropped);
    gmk_store64(&s->completed, completed, GMK_RLX, GMK_SYSTEM);
    gmk_store64(&s->failed, failed, GMK_RLX, GMK_SYSTEM);
    gmk_store64(&s->dropped, dropped, GMK_RLX, GMK_SYSTEM);
    gmk_store64(&s->accepted, GMK_TOTAL(k, accepted), GMK_RLX, GMK_SYSTEM);
    gmk_store64(&s->workers, k->n_workers, GMK_RLX, GMK_SYSTEM);
    gmk_store64(&s->beats, ++b->beats, GMK_REL, GMK_SYSTEM);
}

static void ping(gmk_bridge_t *b)
{
    if (gmk_link_room(&b->control_out, 1) == 0)
        return;
    gmk_control_t c = {.op = GMK_CONTROL_PING};
    c.u.time[0] = gmk_hal_now_ns();
    gmk_region_slot_t *s = gmk_link_fill(&b->control_out);
    gmk_hal_memcpy(s->body, &c, sizeof c);
    (void)gmk_link_publish(&b->control_out);
    b->signal = true;
}

#define BURST 8u /* pings at first */

void gmk_beat_pong(gmk_bridge_t *b, const gmk_control_t *c)
{
    if (b->burst < BURST) {
        b->burst++;
        ping(b);
    }
    uint64_t t1 = c->u.time[0], t2 = c->u.time[1], t3 = c->u.time[2], t4 = b->now;
    uint64_t trip = (t4 - t1) - (t3 - t2);
    if (t4 - t1 > INT64_MAX || trip > INT64_MAX)
        return; /* no clock runs backwards; this peer's does */
    uint64_t error = trip / 2 + 1;
    /* An old sample grows worse by what a clock may drift: 100 ppm. */
    uint64_t aged = b->clock_error + b->cfg.beat_ns / 10000;
    if (b->clock_known && error > aged) {
        b->clock_error = aged;
        return;
    }
    b->clock_offset = t2 - t1 - (t4 - t1 - (t3 - t2)) / 2; /* modulo 2^64 */
    b->clock_error = error;
    b->clock_at = t2 + (t3 - t2) / 2;
    b->clock_known = true;
    gmk_trace_clocks(b);
}

bool gmk_beat_round(gmk_bridge_t *b)
{
    uint64_t theirs = gmk_load64(&b->v.theirs->beats, GMK_ACQ, GMK_SYSTEM);
    if (theirs != b->peer_beats) {
        b->peer_beats = theirs;
        b->peer_beat_at = b->now;
    }
    if ((int64_t)(b->now - b->next_beat) < 0)
        return false;
    b->next_beat = b->now + b->cfg.beat_ns;
    gmk_beat_publish(b);
    ping(b);
    gmk_trace_send_beat(b);
    gmk_trace_store_beat(b);
    return false; /* no reason to stay awake */
}
