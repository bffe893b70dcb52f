/* SPDX-License-Identifier: MIT */
/*
 * trace_store.c — what a kernel on side 0 keeps of its peer's traces and figures, for its exports.
 *
 * The store is made when it is first needed: this kernel traces at WARN or above, a module listens, or somebody exports.  From
 * then on sys.trace is joined.  All records lie in one ring, in which the oldest give way, with the number of the peer's
 * ring and the generation (how often the bridge came up) packed into the lane.  The pump writes it; exports read
 * it as they read any ring.  The rest is small, and changes and is read with a lock.
 */
#include "bridge_int.h"
#include "export.h"
#include "format.h"
#include "trace_clock.h"
#include "trace_msg.h"

#define TYPES 256u
#define METRICS 128u
#define GENERATION 0xfffu /* bits of it that are kept with a record */
#define RINGS GMK_EXPORT_MAX_RINGS
#define MOST_RECORDS 65536u
#define LEAST_RECORDS 1024u
#define SHARE 32u /* of the kernel's block memory, at most one in so many bytes for records */
#define WAIT_NS 200000000u
#define NAP_NS 200000u

enum { RECORDS, FIGURES };

struct gmk_trace_store {
    gmk_trace_ring_t ring;
    void *words;
    /* With the bridge's lock. */
    uint64_t asked[2];
    uint32_t wants;
    bool ask_due;
    uint64_t number;    /* of the last message */
    uint64_t received;  /* records of this sender */
    uint64_t lost_then; /* by senders before this one */
    gmk_a64_t lost;     /* in all; any thread reads */
    gmk_a64_t answered[2];
    uint32_t generation;

    gmk_hal_lock_t lock; /* all that follows */
    char name[GMK_NAME_MAX + 1];
    char ring_name[RINGS][GMK_NAME_MAX + 1];
    bool has_kernel;
    gmk_stats_t stats;
    gmk_mem_stats_t mem;
    uint32_t n_types, n_metrics;
    uint16_t type_at[GMK_MAX_TYPES]; /* 1 + its place, 0 = not known */
    gmk_type_stats_t type[TYPES];
    bool has_chan[GMK_MAX_CHANNELS];
    gmk_chan_stats_t chan[GMK_MAX_CHANNELS];
    gmk_tell_metric_t metric[METRICS];
    gmk_clocks_t clocks;
};

/* ---- beginning and end ------------------------------------------------------------------------- */

static uint32_t records_for(const gmk_bridge_t *b)
{
    uint64_t most = b->k->heap.spans * GMK_SPAN_BYTES / SHARE / GMK_TRACE_RECORD_BYTES;
    uint32_t n = MOST_RECORDS;
    while (n > LEAST_RECORDS && n > most)
        n /= 2;
    return n;
}

static bool attach(gmk_bridge_t *b)
{
    uint32_t n = records_for(b);
    if (b->store != NULL)
        return true;
    gmk_trace_store_t *s = gmk_heap_alloc(&b->k->heap, &b->f->heap, sizeof *s);
    void *words = s == NULL ? NULL : gmk_heap_alloc(&b->k->heap, &b->f->heap, gmk_trace_ring_bytes(n));
    if (words == NULL) {
        gmk_heap_free(&b->k->heap, &b->f->heap, s);
        return false;
    }
    gmk_hal_memset(s, 0, sizeof *s);
    gmk_trace_ring_init(&s->ring, words, n);
    s->words = words;
    gmk_hal_lock_init(&s->lock);
    gmk_name_copy(s->name, b->v.name[1]);
    b->store = s;
    gmk_trace_clocks(b);
    b->scan_due = true; /* sys.trace is to be joined */
    return true;
}

void gmk_trace_store_end(gmk_bridge_t *b)
{
    gmk_trace_store_t *s = b->store;
    if (s == NULL)
        return;
    gmk_hal_lock_destroy(&s->lock);
    gmk_heap_free(&b->k->heap, &b->f->heap, s->words);
    gmk_heap_free(&b->k->heap, &b->f->heap, s);
    b->store = NULL;
}

/* The bridge is up again: other clocks, and the peer has to be asked anew. */
void gmk_trace_store_up(gmk_bridge_t *b)
{
    gmk_trace_store_t *s = b->store;
    if (s == NULL)
        return;
    s->generation++;
    s->ask_due = true;
    for (uint32_t i = 0; i < 2; i++)
        s->asked[i]++; /* what it has now is wanted; nobody waits for the old answers any more */
}

/* ---- asking ------------------------------------------------------------------------------------ */

/* Modules trace more than errors here, or one of them listens to sys.trace. */
static bool wanted(const gmk_bridge_t *b)
{
    gmk_channel_t *c = gmk_chan_at(b->k, GMK_CHAN_SYS_TRACE);
    return gmk_load32(&b->k->trace_mask, GMK_RLX, GMK_KERNEL) > GMK_TRACE_ERROR ||
           gmk_w_hearers(gmk_load64(&c->in.word, GMK_ACQ, GMK_KERNEL)) != 0;
}

void gmk_trace_store_beat(gmk_bridge_t *b)
{
    bool wants = !GMK_HAL_CLOSED_IMAGE && b->v.side == 0 && wanted(b);
    if (GMK_HAL_CLOSED_IMAGE || b->v.side != 0 || (b->store == NULL && !wants) || !attach(b))
        return;
    gmk_trace_store_t *s = b->store;
    uint32_t flags = wants ? GMK_OBSERVE_TRACE : 0;
    s->ask_due |= flags != s->wants;
    s->wants = flags;
}

bool gmk_trace_ask_due(const gmk_bridge_t *b)
{
    return b->store != NULL && b->store->ask_due && b->v.side == 0;
}

void gmk_trace_ask(gmk_bridge_t *b, gmk_control_t *c)
{
    gmk_trace_store_t *s = b->store;
    *c = (gmk_control_t){.op = GMK_CONTROL_TRACE, .flags = (uint8_t)s->wants};
    c->u.time[RECORDS] = s->asked[RECORDS];
    c->u.time[FIGURES] = s->asked[FIGURES];
    s->ask_due = false;
}

bool gmk_trace_joined(const gmk_bridge_t *b, const gmk_channel_t *c)
{
    return c->index == GMK_CHAN_SYS_TRACE && (b->v.side == 0 ? b->store != NULL : b->sender != NULL);
}

/* ---- clocks ------------------------------------------------------------------------------------ */

void gmk_trace_clocks(gmk_bridge_t *b)
{
    gmk_trace_store_t *s = b->store;
    if (s == NULL || !b->clock_known)
        return;
    gmk_hal_lock_acquire(&s->lock);
    gmk_clocks_add(&s->clocks, b->clock_at, b->clock_offset, b->clock_error, s->generation & GENERATION);
    gmk_hal_lock_release(&s->lock);
}

/* ---- what comes -------------------------------------------------------------------------------- */

/* A name of at most GMK_NAME_MAX bytes, whatever the peer wrote. */
static void take_name(char to[GMK_NAME_MAX + 1], const char from[GMK_NAME_MAX + 1])
{
    gmk_hal_memcpy(to, from, GMK_NAME_MAX + 1);
    to[GMK_NAME_MAX] = '\0';
    for (uint32_t i = 0; to[i] != '\0'; i++)
        if (to[i] < ' ' || to[i] > '~')
            to[i] = '?';
}

/* The place of a type, NULL when there is none left. */
static gmk_type_stats_t *type_place(gmk_trace_store_t *s, uint32_t type)
{
    if (type >= GMK_MAX_TYPES)
        return NULL;
    if (s->type_at[type] == 0 && s->n_types < TYPES)
        s->type_at[type] = (uint16_t)++s->n_types;
    return s->type_at[type] == 0 ? NULL : &s->type[s->type_at[type] - 1];
}

static void take_record(gmk_trace_store_t *s, const gmk_tell_record_t *r)
{
    uint32_t ring = r->e.index & 0xffff, lane = r->e.index >> 16;
    s->received++;
    if (ring < RINGS)
        gmk_trace_put_for(&s->ring, r->time, r->ev, r->type, r->a0, r->a1,
                          gmk_lane_pack(lane, ring, s->generation));
}

static void take_type(gmk_trace_store_t *s, uint32_t type, const gmk_type_stats_t *from)
{
    gmk_type_stats_t *st = type_place(s, type);
    if (st == NULL)
        return;
    *st = *from;
    take_name(st->name, from->name);
    take_name(st->module, from->module);
}

static void take_chan(gmk_trace_store_t *s, uint32_t index, const gmk_chan_stats_t *from)
{
    if (index >= GMK_MAX_CHANNELS)
        return;
    s->chan[index] = *from;
    take_name(s->chan[index].name, from->name);
    s->has_chan[index] = true;
}

static void take_named(gmk_trace_store_t *s, const gmk_tell_name_t *n)
{
    gmk_type_stats_t type = {.poisoned = 0};
    gmk_chan_stats_t chan = {.mode = n->mode};
    uint32_t i = n->e.index;
    switch (n->e.kind) {
    case GMK_TELL_RING:
        if (i < RINGS)
            take_name(s->ring_name[i], n->name);
        break;
    case GMK_TELL_TYPE:
        if (i < GMK_MAX_TYPES && s->type_at[i] != 0)
            type = s->type[s->type_at[i] - 1];
        gmk_hal_memcpy(type.name, n->name, sizeof type.name);
        gmk_hal_memcpy(type.module, n->more, sizeof type.module);
        take_type(s, i, &type);
        break;
    default:
        if (i < GMK_MAX_CHANNELS && s->has_chan[i])
            chan = s->chan[i];
        chan.mode = n->mode;
        gmk_hal_memcpy(chan.name, n->name, sizeof chan.name);
        take_chan(s, i, &chan);
    }
}

static bool word_char(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (!first && c >= '0' && c <= '9');
}

static void take_metric(gmk_trace_store_t *s, const gmk_tell_metric_t *m)
{
    gmk_tell_metric_t t = *m;
    take_name(t.name, m->name);
    bool ok = t.name[0] != '\0' && t.kind <= GMK_HISTOGRAM && m->e.index < METRICS;
    for (uint32_t i = 0; t.name[i] != '\0'; i++)
        ok = ok && word_char(t.name[i], i == 0);
    if (!ok || m->e.index > s->n_metrics)
        return; /* they come in order */
    s->metric[m->e.index] = t;
    s->n_metrics = s->n_metrics > m->e.index ? s->n_metrics : m->e.index + 1;
}

/* An entry of n bytes behind its head is this, when it has the size of it. */
#define IS(n, type) ((n) == sizeof(gmk_tell_entry_t) + sizeof(type))

/* One entry, aligned to 8, whose bytes all lie in the message. */
static void take_entry(gmk_trace_store_t *s, const unsigned char *at)
{
    union {
        gmk_tell_entry_t e;
        gmk_tell_record_t record;
        gmk_tell_name_t name;
        gmk_tell_metric_t metric;
        struct {
            gmk_tell_entry_t e;
            union {
                gmk_stats_t stats;
                gmk_mem_stats_t mem;
                gmk_type_stats_t type;
                gmk_chan_stats_t chan;
            } u;
        } figures;
    } x;
    gmk_hal_memcpy(&x.e, at, sizeof x.e);
    uint32_t n = x.e.bytes, i = x.e.index;
    if (n > sizeof x)
        return;
    gmk_hal_memcpy(&x, at, n);
    switch (x.e.kind) {
    case GMK_TELL_RECORD:
        if (n == sizeof x.record)
            take_record(s, &x.record);
        break;
    case GMK_TELL_RING:
    case GMK_TELL_TYPE:
    case GMK_TELL_CHANNEL:
        if (n == sizeof x.name)
            take_named(s, &x.name);
        break;
    case GMK_TELL_METRIC:
        if (n == sizeof x.metric)
            take_metric(s, &x.metric);
        break;
    case GMK_TELL_STATS:
        if (IS(n, gmk_stats_t)) {
            s->stats = x.figures.u.stats;
            s->has_kernel = true;
        }
        break;
    case GMK_TELL_MEM:
        if (IS(n, gmk_mem_stats_t))
            s->mem = x.figures.u.mem;
        break;
    case GMK_TELL_TYPE_STATS:
        if (IS(n, gmk_type_stats_t))
            take_type(s, i, &x.figures.u.type);
        break;
    case GMK_TELL_CHAN_STATS:
        if (IS(n, gmk_chan_stats_t))
            take_chan(s, i, &x.figures.u.chan);
        break;
    default: break;
    }
}

/* What was lost is what the sender says, and what it sent that did not come. */
static void count_lost(gmk_trace_store_t *s, const gmk_tell_head_t *h)
{
    uint64_t missing = h->records > s->received ? h->records - s->received : 0;
    gmk_store64(&s->lost, s->lost_then + h->lost + missing, GMK_RLX, GMK_KERNEL);
}

static void sender_is_new(gmk_trace_store_t *s)
{
    s->lost_then = gmk_load64(&s->lost, GMK_RLX, GMK_KERNEL);
    s->received = 0;
}

void gmk_trace_arrived(gmk_bridge_t *b, const void *payload, uint32_t bytes)
{
    const unsigned char *p = payload;
    gmk_trace_store_t *s = b->store;
    gmk_tell_head_t h;
    gmk_tell_entry_t e;
    if (s == NULL || bytes < sizeof h)
        return;
    gmk_hal_memcpy(&h, p, sizeof h);
    if (h.magic != GMK_TELL_MAGIC || h.version != GMK_TELL_VERSION || h.bytes != bytes)
        return;
    bool first = s->number == 0; /* what was sent before this store was there was not for it */
    if (h.number <= s->number)
        sender_is_new(s);
    s->number = h.number;
    gmk_hal_lock_acquire(&s->lock);
    for (uint32_t at = sizeof h; bytes - at >= sizeof e;) {
        gmk_hal_memcpy(&e, p + at, sizeof e);
        if (e.bytes < sizeof e || e.bytes > bytes - at)
            break;
        take_entry(s, p + at);
        at += e.bytes;
    }
    gmk_hal_lock_release(&s->lock);
    if (first)
        s->received = h.records;
    count_lost(s, &h);
    for (uint32_t i = 0; i < 2; i++)
        gmk_store64(&s->answered[i], h.answered[i], GMK_REL, GMK_KERNEL);
}

/* ---- what exports see -------------------------------------------------------------------------- */

static gmk_trace_store_t *seen(const gmk_observed_t *o) { return o->self; }

static int see_stats(const gmk_observed_t *o, gmk_stats_t *out)
{
    gmk_trace_store_t *s = seen(o);
    gmk_hal_lock_acquire(&s->lock);
    bool there = s->has_kernel;
    *out = s->stats;
    gmk_hal_lock_release(&s->lock);
    return there ? GMK_OK : GMK_ERR_NOTFOUND;
}

static int see_mem(const gmk_observed_t *o, gmk_mem_stats_t *out)
{
    gmk_trace_store_t *s = seen(o);
    gmk_hal_lock_acquire(&s->lock);
    bool there = s->has_kernel;
    *out = s->mem;
    gmk_hal_lock_release(&s->lock);
    return there ? GMK_OK : GMK_ERR_NOTFOUND;
}

static int see_type(const gmk_observed_t *o, uint32_t type, gmk_type_stats_t *out)
{
    gmk_trace_store_t *s = seen(o);
    gmk_hal_lock_acquire(&s->lock);
    uint32_t at = type < GMK_MAX_TYPES ? s->type_at[type] : 0;
    if (at != 0)
        *out = s->type[at - 1];
    gmk_hal_lock_release(&s->lock);
    return at != 0 ? GMK_OK : GMK_ERR_NOTFOUND;
}

static int see_chan(const gmk_observed_t *o, uint32_t index, gmk_chan_stats_t *out)
{
    gmk_trace_store_t *s = seen(o);
    gmk_hal_lock_acquire(&s->lock);
    bool there = index < GMK_MAX_CHANNELS && s->has_chan[index];
    if (there)
        *out = s->chan[index];
    gmk_hal_lock_release(&s->lock);
    return there ? GMK_OK : GMK_ERR_NOTFOUND;
}

static const gmk_trace_ring_t *see_ring(const gmk_observed_t *o, uint32_t index, char name[GMK_NAME_MAX + 1])
{
    gmk_trace_store_t *s = seen(o);
    gmk_hal_lock_acquire(&s->lock);
    gmk_hal_memcpy(name, s->ring_name[index], GMK_NAME_MAX + 1);
    gmk_hal_lock_release(&s->lock);
    return name[0] != '\0' ? &s->ring : NULL;
}

static int see_metric(const gmk_observed_t *o, uint32_t index, gmk_metric_view_t *out)
{
    gmk_trace_store_t *s = seen(o);
    gmk_hal_lock_acquire(&s->lock);
    const gmk_tell_metric_t *m = &s->metric[index];
    *out = (gmk_metric_view_t){.kind = (int)m->kind, .value = m->value, .sum = m->sum};
    gmk_name_copy(out->name, m->name);
    gmk_hal_lock_release(&s->lock);
    return GMK_OK;
}

static uint64_t local_ns(const gmk_observed_t *o, uint64_t ns, uint32_t generation)
{
    gmk_trace_store_t *s = seen(o);
    gmk_hal_lock_acquire(&s->lock);
    uint64_t offset = gmk_clocks_offset(&s->clocks, ns, generation);
    gmk_hal_lock_release(&s->lock);
    return ns - offset;
}

static void describe(gmk_bridge_t *b, gmk_observed_t *o)
{
    gmk_trace_store_t *s = b->store;
    *o = (gmk_observed_t){.name = s->name,
                          .self = s,
                          .n_rings = RINGS,
                          .n_types = GMK_MAX_TYPES,
                          .n_chans = GMK_MAX_CHANNELS,
                          .stats = see_stats,
                          .mem = see_mem,
                          .type = see_type,
                          .chan = see_chan,
                          .ring = see_ring,
                          .bridged = true,
                          .local_ns = local_ns,
                          .metric = see_metric,
                          .lost = gmk_load64(&s->lost, GMK_RLX, GMK_KERNEL)};
    o->clock = gmk_kernel_clock(b->k, &o->now_cycles);
    gmk_hal_lock_acquire(&s->lock);
    o->n_metrics = s->n_metrics;
    gmk_hal_lock_release(&s->lock);
}

/* A new request; *live: somebody will answer it.  False: there is no store. */
static bool request(gmk_bridge_t *b, uint32_t what, uint64_t want[2], bool *live)
{
    gmk_bridge_lock(b);
    uint32_t state = gmk_bridge_state(b);
    bool up = (state == GMK_BRIDGE_HELLO || state == GMK_BRIDGE_READY) && b->v.side == 0;
    if (up && attach(b)) {
        gmk_trace_store_t *s = b->store;
        s->asked[RECORDS] += (what & GMK_OBSERVE_TRACE) != 0;
        s->asked[FIGURES] += (what & GMK_OBSERVE_METRICS) != 0;
        want[RECORDS] = s->asked[RECORDS];
        want[FIGURES] = s->asked[FIGURES];
        s->ask_due = true;
    }
    *live = up && gmk_hal_now_ns() - b->peer_beat_at < WAIT_NS + 4 * b->cfg.beat_ns;
    bool there = b->store != NULL;
    gmk_bridge_unlock(b);
    gmk_bridge_wake(b);
    return there;
}

static bool answered(gmk_bridge_t *b, uint32_t what, const uint64_t want[2])
{
    const gmk_trace_store_t *s = b->store;
    for (uint32_t i = 0; i < 2; i++)
        if ((what & (i == RECORDS ? GMK_OBSERVE_TRACE : GMK_OBSERVE_METRICS)) != 0 &&
            gmk_load64(&s->answered[i], GMK_ACQ, GMK_KERNEL) < want[i])
            return false;
    return true;
}

static bool observe(gmk_observed_peer_t *p, uint32_t what, gmk_observed_t *out)
{
    gmk_bridge_t *b = (gmk_bridge_t *)(void *)((char *)p - offsetof(gmk_bridge_t, seen));
    uint64_t want[2] = {0, 0}, start = gmk_hal_now_ns();
    bool live;
    if (!request(b, what, want, &live))
        return false;
    gmk_hal_park_t own;
    gmk_hal_park_init(&own);
    while (live && !answered(b, what, want) && gmk_hal_now_ns() - start < WAIT_NS &&
           gmk_bridge_state(b) <= GMK_BRIDGE_READY && gmk_bridge_state(b) != GMK_BRIDGE_DOWN)
        (void)gmk_hal_park_wait(&own, NAP_NS);
    gmk_hal_park_destroy(&own);
    describe(b, out);
    return true;
}

void gmk_trace_observed(gmk_bridge_t *b)
{
    if (GMK_HAL_CLOSED_IMAGE)
        return; /* it has nowhere to write to */
    b->seen.observe = observe;
    gmk_observed_join(b->k, &b->seen);
}
