/* SPDX-License-Identifier: MIT */
/*
 * trace_send.c — the kernel on side 1 tells what it has recorded and counted.
 *
 * The peer wants records as they come, a pass over all rings with every beat, or asks once for all records, or for all
 * figures.  Nothing is done before it says so.  A pass reads the rings as any reader does, with a cursor
 * each: the writers do not know.  It is bounded three ways: by bytes per beat (a request is not), by messages that the
 * peer has not taken, and by what is done in one round, so that messages of others do not wait.  What is overwritten
 * meanwhile is counted.
 *
 * Fan-out channels are passed on by a worker, and all workers may hang when the trace is wanted most: so the pump
 * passes sys.trace on itself.
 */
#include "bridge_int.h"
#include "export.h"
#include "format.h"
#include "trace_msg.h"

#define BEAT_BYTES 262144u /* of records per beat */
#define AHEAD 8u           /* messages that the peer has not taken */
#define ROUND 32u          /* records, or looks at empty rings, in a round */
#define CHUNK 8u           /* records read at once */
#define RINGS GMK_EXPORT_MAX_RINGS
/* Each record may need the names of its ring, its type, and what its two fields mean. */
#define CHUNK_BYTES (CHUNK * (uint32_t)(sizeof(gmk_tell_record_t) + 4 * sizeof(gmk_tell_name_t)))
#define FIGURE_BYTES 512u
#define SKIP 64u /* places without a figure that are passed in a round */

enum { RECORDS, FIGURES };

typedef struct gmk_trace_sender {
    uint32_t wants;      /* GMK_OBSERVE_TRACE: with every beat */
    uint64_t asked[2];   /* requests for records, for figures */
    uint64_t serving[2]; /* those that the passes under way will have answered */
    uint64_t answered[2];
    bool due;               /* a beat has come */
    bool pass[2];           /* under way */
    bool finish[2];         /* they are through: to be said */
    uint32_t budget;        /* bytes left in this beat */
    uint32_t ring, in_ring; /* where the pass over records stands; records read of this ring */
    uint32_t step;          /* and the one over figures */
    uint64_t number, records, lost;
    unsigned char *open; /* the message at hand, NULL = none */
    uint32_t used, entries;
    gmk_trace_reader_t cursor[RINGS];
    unsigned char told_ring[RINGS / 8], told_type[GMK_MAX_TYPES / 8];
    uint32_t told_chan[GMK_MAX_CHANNELS]; /* handles */
} gmk_trace_sender_t;

_Static_assert(sizeof(gmk_type_stats_t) + 8 <= FIGURE_BYTES && sizeof(gmk_stats_t) + 8 <= FIGURE_BYTES,
               "room");
_Static_assert(sizeof(gmk_tell_head_t) + CHUNK_BYTES <= GMK_TELL_BYTES, "a chunk fits a message");

static gmk_channel_t *channel(const gmk_bridge_t *b) { return gmk_chan_at(b->k, GMK_CHAN_SYS_TRACE); }

/* ---- the message ------------------------------------------------------------------------------ */

static void let_go(gmk_bridge_t *b, gmk_trace_sender_t *s)
{
    if (s->open != NULL)
        (void)gmk_payload_drop(&b->k->heap, &b->f->heap, s->open);
    s->open = NULL;
    s->used = s->entries = 0;
}

/* In the distributor's place: see above. */
static void pass_on(gmk_bridge_t *b, gmk_channel_t *c)
{
    uint64_t w = gmk_load64(&c->in.word, GMK_ACQ, GMK_KERNEL);
    if (gmk_w_state(w) != GMK_W_QUEUED || !gmk_inlet_start(&c->in, gmk_w_prio(w)))
        return;
    if (gmk_distribute(b->f, c, c->slots))
        gmk_inlet_requeue(b->f, &c->in);
    gmk_waiter_check(b->f, c);
}

/* Emits the message at hand.  False: not now. */
static bool ship(gmk_bridge_t *b, gmk_trace_sender_t *s)
{
    gmk_channel_t *c = channel(b);
    if (gmk_chan_free(c, 0) + AHEAD <= c->slots)
        return false;
    gmk_tell_head_t h = {.magic = GMK_TELL_MAGIC,
                         .version = GMK_TELL_VERSION,
                         .clock = GMK_TELL_CLOCK_NS,
                         .bytes = s->used,
                         .entries = s->entries,
                         .number = s->number + 1,
                         .time = gmk_hal_now_ns(),
                         .records = s->records,
                         .lost = s->lost,
                         .answered = {s->answered[RECORDS], s->answered[FIGURES]}};
    gmk_name_copy(h.name, b->k->name);
    gmk_hal_memcpy(s->open, &h, sizeof h);
    gmk_task_t t = {.flags = GMK_TASK_PAYLOAD_RC,
                    .payload_ptr = (uint64_t)(uintptr_t)s->open,
                    .payload_len = s->used,
                    .meta0 = h.number};
    uint32_t origin = b->f->origin;
    b->f->origin = 0; /* it is this kernel's own, and goes to the peer */
    int rc = gmk_chan_put(b->f, c, &t, 1);
    b->f->origin = origin;
    if (rc != 1)
        return false;
    s->number++;
    s->open = NULL;
    s->used = s->entries = 0;
    pass_on(b, c);
    return true;
}

/* Makes room for so many bytes in the message at hand.  False: not now. */
static bool room(gmk_bridge_t *b, gmk_trace_sender_t *s, uint32_t bytes)
{
    if (s->open != NULL && s->used + bytes > GMK_TELL_BYTES && !ship(b, s))
        return false;
    if (s->open == NULL) {
        s->open = gmk_payload_new(&b->k->heap, &b->f->heap, GMK_TELL_BYTES);
        s->used = (uint32_t)sizeof(gmk_tell_head_t);
        s->entries = 0;
    }
    return s->open != NULL;
}

/* There is room.  body: what comes behind the head of the entry. */
static void put(gmk_trace_sender_t *s, uint32_t kind, uint32_t index, const void *body, size_t bytes)
{
    gmk_tell_entry_t e = {.kind = (uint16_t)kind, .bytes = (uint16_t)(sizeof e + bytes), .index = index};
    gmk_hal_memcpy(s->open + s->used, &e, sizeof e);
    gmk_hal_memcpy(s->open + s->used + sizeof e, body, bytes);
    s->used += e.bytes;
    s->entries++;
}

/* ---- names, before they are first needed -------------------------------------------------------- */

/* Sets the bit; true: it was clear. */
static bool first_time(unsigned char *bits, uint32_t i)
{
    unsigned char bit = (unsigned char)(1u << (i & 7));
    bool was = (bits[i / 8] & bit) != 0;
    bits[i / 8] |= bit;
    return !was;
}

static void put_name(gmk_trace_sender_t *s, uint32_t kind, uint32_t index, const gmk_tell_name_t *n)
{
    put(s, kind, index, (const unsigned char *)n + sizeof n->e, sizeof *n - sizeof n->e);
}

static void name_ring(gmk_bridge_t *b, gmk_trace_sender_t *s, uint32_t ring)
{
    gmk_tell_name_t n = {.mode = 0};
    if (!first_time(s->told_ring, ring))
        return;
    (void)gmk_kernel_ring(b->k, ring, n.name);
    put_name(s, GMK_TELL_RING, ring, &n);
}

static void name_type(gmk_bridge_t *b, gmk_trace_sender_t *s, uint32_t type)
{
    gmk_tell_name_t n = {.mode = 0};
    if (type >= b->k->n_types || !first_time(s->told_type, type))
        return;
    gmk_hal_lock_acquire(&b->k->control);
    const gmk_type_t *ty = &b->k->types[type];
    bool there = gmk_load32(&ty->taken, GMK_ACQ, GMK_KERNEL) != 0;
    if (there) {
        gmk_name_copy(n.name, ty->name);
        gmk_name_copy(n.more, b->k->registry->mods[ty->module].module->name);
    }
    gmk_hal_lock_release(&b->k->control);
    if (there)
        put_name(s, GMK_TELL_TYPE, type, &n);
}

static void name_chan(gmk_bridge_t *b, gmk_trace_sender_t *s, uint32_t index)
{
    gmk_tell_name_t n = {.mode = 0};
    gmk_channel_t *c = gmk_chan_at(b->k, index);
    if (c == NULL || s->told_chan[index] == c->handle)
        return;
    s->told_chan[index] = c->handle;
    n.mode = c->mode;
    gmk_name_copy(n.name, c->name);
    put_name(s, GMK_TELL_CHANNEL, index, &n);
}

static void name_field(gmk_bridge_t *b, gmk_trace_sender_t *s, uint32_t kind, uint32_t v)
{
    if (kind == GMK_FIELD_TYPE)
        name_type(b, s, v);
    else if (kind == GMK_FIELD_CHANNEL || kind == GMK_FIELD_HOP)
        name_chan(b, s, gmk_delivery_chan(v));
}

/* ---- records ---------------------------------------------------------------------------------- */

static void put_record(gmk_bridge_t *b, gmk_trace_sender_t *s, const gmk_trace_record_t *r, uint64_t ns)
{
    name_ring(b, s, s->ring);
    name_type(b, s, r->type);
    for (uint32_t i = 0; i < 2 && r->ev < GMK_EV_MAX; i++)
        name_field(b, s, gmk_trace_events[r->ev].field[i].kind, i == 0 ? r->a0 : r->a1);
    gmk_tell_record_t t = {
        .time = ns, .ev = (uint16_t)r->ev, .type = (uint16_t)r->type, .a0 = r->a0, .a1 = r->a1};
    put(s, GMK_TELL_RECORD, s->ring | r->lane << 16, (const unsigned char *)&t + sizeof t.e,
        sizeof t - sizeof t.e);
    s->records++;
}

static void next_ring(gmk_trace_sender_t *s)
{
    s->ring++;
    s->in_ring = 0;
}

/* Reads some records.  False: not now. */
static bool read_some(gmk_bridge_t *b, gmk_trace_sender_t *s, uint32_t *left)
{
    const gmk_trace_ring_t *ring = b->k->fronts[s->ring]->ring;
    gmk_trace_record_t r[CHUNK];
    uint64_t now;
    bool free_ = s->serving[RECORDS] != s->answered[RECORDS];
    if ((!free_ && s->budget < CHUNK_BYTES) || !room(b, s, CHUNK_BYTES))
        return false;
    uint32_t before = s->used, n = gmk_trace_read(ring, &s->cursor[s->ring], r, CHUNK, &s->lost);
    gmk_clockmap_t clock = gmk_kernel_clock(b->k, &now);
    for (uint32_t i = 0; i < n; i++)
        put_record(b, s, &r[i], gmk_clockmap_ns(&clock, r[i].time));
    uint32_t bytes = s->used - before;
    s->budget -= bytes < s->budget ? bytes : s->budget;
    s->in_ring += n;
    *left -= *left < n + 1 ? *left : n + 1;
    if (n < CHUNK || s->in_ring > ring->mask) /* its writer may go on: one lap in a pass */
        next_ring(s);
    return true;
}

static uint32_t n_rings(const gmk_bridge_t *b) { return b->k->n_fronts < RINGS ? b->k->n_fronts : RINGS; }

static void begin_records(gmk_trace_sender_t *s)
{
    bool asked = s->asked[RECORDS] != s->serving[RECORDS];
    if (!asked && (s->pass[RECORDS] || !s->due || (s->wants & GMK_OBSERVE_TRACE) == 0))
        return;
    s->serving[RECORDS] = s->asked[RECORDS];
    s->pass[RECORDS] = true;
    s->finish[RECORDS] = false;
    s->ring = s->in_ring = 0;
}

static bool records(gmk_bridge_t *b, gmk_trace_sender_t *s)
{
    uint32_t left = ROUND;
    begin_records(s);
    if (!s->pass[RECORDS])
        return false;
    while (left != 0 && s->ring < n_rings(b))
        if (!read_some(b, s, &left))
            return left != ROUND;
    if (s->ring >= n_rings(b)) {
        s->pass[RECORDS] = false;
        s->finish[RECORDS] = true;
    }
    return true;
}

/* ---- figures ---------------------------------------------------------------------------------- */

static bool put_metric(gmk_bridge_t *b, gmk_trace_sender_t *s, uint32_t id)
{
    const gmk_umetrics_t *u = &b->k->umetrics;
    const gmk_umetric_t *m = gmk_umetrics_get(u, id);
    gmk_tell_metric_t t = {.kind = 0};
    if (m == NULL)
        return false;
    t.kind = (uint32_t)m->kind;
    (void)gmk_umetrics_read(u, id, &t.value);
    t.sum = m->hist != NULL ? gmk_hist_sum(m->hist, u->hist_shards) : 0;
    gmk_name_copy(t.name, m->name);
    put(s, GMK_TELL_METRIC, id, (const unsigned char *)&t + sizeof t.e, sizeof t - sizeof t.e);
    return true;
}

static bool put_type_stats(gmk_bridge_t *b, gmk_trace_sender_t *s, uint32_t type)
{
    gmk_type_stats_t st;
    if (gmk_load32(&b->k->types[type].taken, GMK_ACQ, GMK_KERNEL) == 0 ||
        gmk_type_stats(b->k->kernel, type, &st) < 0)
        return false;
    put(s, GMK_TELL_TYPE_STATS, type, &st, sizeof st);
    return true;
}

static bool put_chan_stats(gmk_bridge_t *b, gmk_trace_sender_t *s, uint32_t index)
{
    gmk_chan_stats_t st;
    if (gmk_kernel_chan(b->k, index, &st) < 0)
        return false;
    put(s, GMK_TELL_CHAN_STATS, index, &st, sizeof st);
    return true;
}

static bool put_kernel(gmk_bridge_t *b, gmk_trace_sender_t *s)
{
    gmk_stats_t st;
    gmk_mem_stats_t mem;
    if (gmk_stats(b->k->kernel, &st) < 0 || gmk_mem_stats(b->k->kernel, &mem) < 0)
        return false;
    put(s, GMK_TELL_STATS, 0, &st, sizeof st);
    put(s, GMK_TELL_MEM, 0, &mem, sizeof mem);
    return true;
}

/* The figure of one step: the kernel, types, channels, metrics of modules.  False: there is none. */
static bool figure(gmk_bridge_t *b, gmk_trace_sender_t *s, uint32_t step, bool *end)
{
    if (step == 0)
        return put_kernel(b, s);
    step -= 1;
    if (step < b->k->n_types)
        return put_type_stats(b, s, step);
    step -= b->k->n_types;
    if (step < GMK_MAX_CHANNELS)
        return put_chan_stats(b, s, step);
    step -= GMK_MAX_CHANNELS;
    *end = gmk_umetrics_get(&b->k->umetrics, step) == NULL;
    return put_metric(b, s, step);
}

static bool figures(gmk_bridge_t *b, gmk_trace_sender_t *s)
{
    bool end = false;
    if (!s->pass[FIGURES] && s->asked[FIGURES] != s->serving[FIGURES]) {
        s->serving[FIGURES] = s->asked[FIGURES];
        s->pass[FIGURES] = true;
        s->finish[FIGURES] = false;
        s->step = 0;
    }
    if (!s->pass[FIGURES] || !room(b, s, 2 * FIGURE_BYTES))
        return false;
    for (uint32_t i = 0; i < SKIP && !end; i++)
        if (figure(b, s, s->step++, &end))
            break;
    if (end) {
        s->pass[FIGURES] = false;
        s->finish[FIGURES] = true;
    }
    return true;
}

/* ---- rounds ----------------------------------------------------------------------------------- */

/* A pass is through: the request it served is answered, and what is at hand goes out. */
static bool finish(gmk_bridge_t *b, gmk_trace_sender_t *s)
{
    bool news = false;
    for (uint32_t i = 0; i < 2; i++)
        news |= s->finish[i] && s->serving[i] != s->answered[i];
    if ((!s->finish[RECORDS] && !s->finish[FIGURES]) || (news && !room(b, s, 0)))
        return false;
    uint64_t was[2] = {s->answered[RECORDS], s->answered[FIGURES]};
    for (uint32_t i = 0; i < 2; i++)
        if (s->finish[i])
            s->answered[i] = s->serving[i];
    if (s->open != NULL && !ship(b, s)) {
        s->answered[RECORDS] = was[RECORDS];
        s->answered[FIGURES] = was[FIGURES];
        return false;
    }
    s->finish[RECORDS] = s->finish[FIGURES] = false;
    return true;
}

bool gmk_trace_send_round(gmk_bridge_t *b)
{
    gmk_trace_sender_t *s = b->sender;
    if (GMK_LIKELY(s == NULL) || b->route_out[GMK_CHAN_SYS_TRACE].state != GMK_ROUTE_OPEN)
        return false;
    bool any = records(b, s);
    any |= figures(b, s);
    any |= finish(b, s);
    s->due = false;
    return any;
}

/* Before the pump sleeps: for memory, nobody wakes it. */
void gmk_trace_send_rest(gmk_bridge_t *b)
{
    const gmk_trace_sender_t *s = b->sender;
    if (s == NULL)
        return;
    for (uint32_t i = 0; i < 2; i++)
        b->poll |= s->asked[i] != s->answered[i] || s->finish[i];
}

void gmk_trace_send_beat(gmk_bridge_t *b)
{
    if (b->sender == NULL)
        return;
    b->sender->budget = BEAT_BYTES;
    b->sender->due = true;
}

void gmk_trace_asked(gmk_bridge_t *b, const gmk_control_t *c)
{
    if (b->v.side == 0)
        return; /* it has exports of its own */
    if (b->sender == NULL) {
        b->sender = gmk_heap_alloc(&b->k->heap, &b->f->heap, sizeof *b->sender);
        if (b->sender == NULL)
            return;
        gmk_hal_memset(b->sender, 0, sizeof *b->sender);
    }
    gmk_trace_sender_t *s = b->sender;
    s->wants = c->flags;
    s->asked[RECORDS] = c->u.time[RECORDS];
    s->asked[FIGURES] = c->u.time[FIGURES];
    gmk_trace_send_beat(b);
}

/* The peer is another one from now on, or gone: it has to be told all names, and asks anew. */
void gmk_trace_send_part(gmk_bridge_t *b)
{
    gmk_trace_sender_t *s = b->sender;
    if (s == NULL)
        return;
    let_go(b, s);
    s->wants = 0;
    for (uint32_t i = 0; i < 2; i++) {
        s->pass[i] = s->finish[i] = false;
        s->asked[i] = s->serving[i] = s->answered[i] = 0;
    }
    gmk_hal_memset(s->told_ring, 0, sizeof s->told_ring);
    gmk_hal_memset(s->told_type, 0, sizeof s->told_type);
    gmk_hal_memset(s->told_chan, 0, sizeof s->told_chan);
}

void gmk_trace_send_end(gmk_bridge_t *b)
{
    gmk_trace_send_part(b);
    gmk_heap_free(&b->k->heap, &b->f->heap, b->sender);
    b->sender = NULL;
}
