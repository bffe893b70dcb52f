/* SPDX-License-Identifier: MIT */
#include "trace.h"

#include <ggmk/observe.h>

#define UNSIGNED(name)                                                                                       \
    {                                                                                                        \
        GMK_FIELD_UNSIGNED, name                                                                             \
    }
#define SIGNED(name)                                                                                         \
    {                                                                                                        \
        GMK_FIELD_SIGNED, name                                                                               \
    }
#define TYPE                                                                                                 \
    {                                                                                                        \
        GMK_FIELD_TYPE, "type"                                                                               \
    }
#define CHANNEL                                                                                              \
    {                                                                                                        \
        GMK_FIELD_CHANNEL, "channel"                                                                         \
    }
#define HOP                                                                                                  \
    {                                                                                                        \
        GMK_FIELD_HOP, "channel"                                                                             \
    }
#define NOTHING                                                                                              \
    {                                                                                                        \
        GMK_FIELD_NONE, NULL                                                                                 \
    }

const gmk_trace_event_desc_t gmk_trace_events[GMK_EV_MAX] = {
    [GMK_EV_NONE] = {"none", {NOTHING}},
    [GMK_EV_ENQUEUE] = {"enqueue", {TYPE, UNSIGNED("seq")}},
    [GMK_EV_BEGIN] = {"begin", {TYPE, UNSIGNED("seq")}},
    [GMK_EV_END] = {"end", {TYPE, SIGNED("result")}},
    [GMK_EV_CHAN_EMIT] = {"chan_emit", {CHANNEL, UNSIGNED("number")}},
    [GMK_EV_CHAN_BEGIN] = {"chan_begin", {CHANNEL, UNSIGNED("number")}},
    [GMK_EV_YIELD] = {"yield", {TYPE, UNSIGNED("seq")}},
    [GMK_EV_RETRY] = {"retry", {TYPE, UNSIGNED("retries")}},
    [GMK_EV_WAIT] = {"wait", {TYPE, CHANNEL}},
    [GMK_EV_STEAL] = {"steal", {UNSIGNED("victim"), UNSIGNED("tasks")}},
    [GMK_EV_PARK] = {"park", {NOTHING}},
    [GMK_EV_WAKE] = {"wake", {NOTHING}},
    [GMK_EV_DEAD] = {"dead", {TYPE, SIGNED("code")}},
    [GMK_EV_ALLOC_FAIL] = {"alloc_fail", {UNSIGNED("size")}},
    [GMK_EV_OVERRUN] = {"overrun", {TYPE, UNSIGNED("microseconds")}},
    [GMK_EV_STALL] = {"stall", {UNSIGNED("worker"), TYPE}},
    [GMK_EV_FAULT] = {"fault", {TYPE, UNSIGNED("signal")}},
    [GMK_EV_TICK] = {"tick", {UNSIGNED("tick")}},
    [GMK_EV_POISON] = {"poison", {TYPE}},
    [GMK_EV_BRIDGE_SEND] = {"bridge_send", {HOP, UNSIGNED("number")}},
    [GMK_EV_BRIDGE_RECV] = {"bridge_recv", {HOP, UNSIGNED("number")}},
};

size_t gmk_trace_ring_bytes(uint32_t records) { return (size_t)records * GMK_TRACE_RECORD_BYTES; }

void gmk_trace_ring_init(gmk_trace_ring_t *r, void *mem, uint32_t records)
{
    gmk_hal_memset(mem, 0, gmk_trace_ring_bytes(records));
    r->words = mem;
    r->mask = records - 1;
    gmk_store64(&r->next, 0, GMK_RLX, GMK_KERNEL);
    /* One lane publishes in order: what is not published is the end.  Lanes may leave holes. */
    r->ahead = gmk_hal_lanes() > 1 ? records - 1 : 0;
    r->shared = 0;
}

void gmk_trace_ring_share(gmk_trace_ring_t *r)
{
    r->shared = 1;
    r->ahead = (uint32_t)r->mask;
}

/*
 * Reads position pos.  True when *out has it; otherwise *stamp is what its slot holds instead:
 * smaller than the position's own stamp when it is not published, larger when overwritten.
 */
static bool read_slot(const gmk_trace_ring_t *r, uint64_t pos, gmk_trace_record_t *out, uint64_t *stamp)
{
    const gmk_a64_t *w = gmk_trace_slot(r, pos);
    uint64_t want = gmk_trace_stamp(pos, 0);
    *stamp = gmk_load64(&w[3], GMK_ACQ, GMK_KERNEL);
    if (*stamp != want)
        return false;
    uint64_t time = gmk_load64(&w[0], GMK_RLX, GMK_KERNEL);
    uint64_t what = gmk_load64(&w[1], GMK_RLX, GMK_KERNEL);
    uint64_t more = gmk_load64(&w[2], GMK_RLX, GMK_KERNEL);
    gmk_fence(GMK_ACQ, GMK_KERNEL); /* pairs with the fence in gmk_trace_put */
    *stamp = gmk_load64(&w[3], GMK_RLX, GMK_KERNEL);
    if (*stamp != want)
        return false;
    out->time = time;
    out->ev = (uint32_t)(what & 0xffff);
    out->type = (uint32_t)(what >> 16 & 0xffff);
    out->a0 = (uint32_t)(what >> 32);
    out->a1 = (uint32_t)more;
    out->lane = (uint32_t)(more >> 32);
    return true;
}

/* The first position after pos that is published, or pos when none is. */
static uint64_t next_published(const gmk_trace_ring_t *r, uint64_t pos)
{
    for (uint64_t p = pos + 1; p - pos <= r->ahead; p++)
        if (gmk_load64(&gmk_trace_slot(r, p)[3], GMK_ACQ, GMK_KERNEL) == gmk_trace_stamp(p, 0))
            return p;
    return pos;
}

/* Where to go on when position pos cannot be read: pos itself at the end of what is published. */
static uint64_t skip(const gmk_trace_ring_t *r, uint64_t pos, uint64_t stamp)
{
    if (stamp >> 1 <= pos + 1)
        return next_published(r, pos);
    /* The slot is taken by position q > pos, so what lies a lap before q is gone too. */
    uint64_t q = (stamp >> 1) - 1;
    uint64_t oldest = q - r->mask;
    return oldest > pos ? oldest : pos + 1;
}

uint32_t gmk_trace_read(const gmk_trace_ring_t *r, gmk_trace_reader_t *cursor, gmk_trace_record_t *out,
                        uint32_t max, uint64_t *lost)
{
    uint32_t n = 0;
    while (n < max) {
        uint64_t stamp;
        if (read_slot(r, cursor->pos, &out[n], &stamp)) {
            cursor->pos++;
            n++;
            continue;
        }
        uint64_t to = skip(r, cursor->pos, stamp);
        if (to == cursor->pos)
            break;
        *lost += to - cursor->pos;
        cursor->pos = to;
    }
    return n;
}

/* High 64 bits of a * b. */
static uint64_t mul_high(uint64_t a, uint64_t b)
{
    uint64_t al = a & 0xffffffffu, ah = a >> 32, bl = b & 0xffffffffu, bh = b >> 32;
    uint64_t mid = ah * bl + (al * bl >> 32);
    uint64_t mid2 = al * bh + (mid & 0xffffffffu);
    return ah * bh + (mid >> 32) + (mid2 >> 32);
}

void gmk_clockmap_init(gmk_clockmap_t *m, uint64_t cycles, uint64_t ns)
{
    m->cycles0 = cycles;
    m->ns0 = ns;
    m->whole = 1;
    m->frac = 0;
}

void gmk_clockmap_rate(gmk_clockmap_t *m, uint64_t cycles, uint64_t ns)
{
    if (cycles <= m->cycles0 || ns < m->ns0)
        return;
    uint64_t dc = cycles - m->cycles0, dn = ns - m->ns0;
    m->whole = dn / dc;
    uint64_t rest = dn % dc, frac = 0;
    for (int i = 0; i < 64; i++) { /* long division: the next 64 binary digits of rest / dc */
        bool carry = rest >> 63;
        rest <<= 1;
        frac <<= 1;
        if (carry || rest >= dc) {
            rest -= dc;
            frac |= 1;
        }
    }
    m->frac = frac;
}

uint64_t gmk_clockmap_ns(const gmk_clockmap_t *m, uint64_t cycles)
{
    bool before = cycles < m->cycles0;
    uint64_t d = before ? m->cycles0 - cycles : cycles - m->cycles0;
    uint64_t ns = d * m->whole + mul_high(d, m->frac);
    if (!before)
        return m->ns0 + ns;
    return ns < m->ns0 ? m->ns0 - ns : 0;
}
