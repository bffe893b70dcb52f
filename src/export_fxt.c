/* SPDX-License-Identifier: MIT */
/*
 * Fuchsia trace format (fuchsia.dev/fuchsia-src/reference/tracing/trace-format).
 *
 * Ring after ring; a reader sorts by time.  Times are nanoseconds, so that traces of several
 * kernels of one machine, put one behind another, lie on one time line.
 *
 * A run of a handler is a slice with the handler's name.  What sends work (enqueue, emit, and a
 * yield, retry or wait, which send the task to its own next run) is a slice without length that
 * holds the beginning of a flow, and the run that results holds its end.  The flow of a message
 * is keyed by its channel's name and its number.  On a fan-out channel each delivery is a step of the
 * flow, because a flow can end only once.
 *
 * Across a bridge a message gets a new number, so its way is a chain of three flows: emit to bridge_send in
 * one kernel, bridge_send to bridge_recv keyed by the channel's name and the hop, which both record, and
 * bridge_recv to the run in the other.  The flows within a kernel that has a bridge are salted with its name.
 */
#include "export.h"
#include "format.h"

enum { REC_METADATA = 0, REC_INIT = 1, REC_STRING = 2, REC_THREAD = 3, REC_EVENT = 4, REC_KOBJ = 7 };
enum { META_PROVIDER_INFO = 1 };
enum {
    EV_INSTANT = 0,
    EV_SLICE_BEGIN = 2,
    EV_SLICE_END = 3,
    EV_FLOW_BEGIN = 8,
    EV_FLOW_STEP = 9,
    EV_FLOW_END = 10
};
enum { ARG_INT32 = 1, ARG_UINT32 = 2, ARG_STRING = 6, ARG_KOID = 8 };
enum { OBJ_PROCESS = 1, OBJ_THREAD = 2 };

#define MAGIC 0x0016547846040010ull
#define NS_PER_SECOND 1000000000u

/* Indices in the string table. */
enum {
    STR_CATEGORY = 1,
    STR_PROCESS, /* "process", the argument of a thread's name */
    STR_SUBJECT, /* the process or thread being named */
    STR_USER,
    STR_EVENT,
    STR_A0,
    STR_A1,
    STR_HOP,
    STR_EVENTS = 0x20, /* + GMK_EV_*: its name */
    STR_ARG0 = 0x40,   /* + GMK_EV_*: the name of its a0 */
    STR_ARG1 = 0x60,
    STR_CHANNELS = 0x100,
    STR_TYPES = 0x1000
};

#define CHANS GMK_MAX_CHANNELS
#define LANES GMK_OBSERVED_LANES /* tracks of a ring; higher lanes share them */
#define MAX_ARGS 3u
#define HOP_KEY 0x8f1bbcdcu /* tells flows between kernels from flows within one */

/* What the lane ran last. */
typedef struct lane {
    uint64_t flow;
    uint32_t type;
    bool named, ran, open, fanout;
} lane_t;

typedef struct fxt {
    gmk_out_t out;
    const gmk_observed_t *o;
    uint64_t process; /* koid */
    uint64_t thread0; /* koid of the ring's lane 0 */
    uint64_t ns;      /* time of the record at hand */
    uint64_t last_ns; /* latest of this ring */
    uint32_t lane_no;
    uint32_t kernel_hash, n_events;
    uint32_t salt; /* of flows of messages */
    uint32_t chan_hash[CHANS];
    unsigned char chan_known[CHANS]; /* 0, or 1 + mode */
    unsigned char type_known[GMK_MAX_TYPES / 8];
    char ring_name[GMK_NAME_MAX + 1];
    lane_t lanes[LANES];
} fxt_t;

/* An event's arguments. */
typedef struct args {
    uint64_t word[MAX_ARGS];
    uint32_t n;
} args_t;

/* FNV-1a, 32 bits. */
static uint32_t hash_of(const char *s)
{
    uint32_t h = 2166136261u;
    for (; *s != '\0'; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

static void word(fxt_t *f, uint64_t w) { gmk_out_le(&f->out, w, 8); }

static uint64_t header(uint32_t kind, uint32_t words) { return kind | (uint64_t)words << 4; }

static uint32_t words_of(uint32_t bytes) { return (bytes + 7) / 8; }

static void text(fxt_t *f, const char *s, uint32_t len)
{
    static const char zeros[8] = "";
    gmk_out_bytes(&f->out, s, len);
    gmk_out_bytes(&f->out, zeros, words_of(len) * 8 - len);
}

static void string_record(fxt_t *f, uint32_t index, const char *s)
{
    uint32_t len = gmk_text_len(s, GMK_NAME_MAX);
    word(f, header(REC_STRING, 1 + words_of(len)) | (uint64_t)index << 16 | (uint64_t)len << 32);
    text(f, s, len);
}

static void object_name(fxt_t *f, uint32_t kind, uint64_t koid, const char *name)
{
    bool thread = kind == OBJ_THREAD;
    string_record(f, STR_SUBJECT, name);
    word(f, header(REC_KOBJ, thread ? 4 : 2) | (uint64_t)kind << 16 | (uint64_t)STR_SUBJECT << 24 |
                (uint64_t)(thread ? 1 : 0) << 40);
    word(f, koid);
    if (thread) {
        word(f, header(ARG_KOID, 2) | (uint64_t)STR_PROCESS << 16);
        word(f, f->process);
    }
}

/* ---- names, sent when they are first needed -------------------------------------------------- */

static uint32_t type_string(fxt_t *f, uint32_t type)
{
    gmk_type_stats_t st;
    type &= GMK_MAX_TYPES - 1;
    unsigned char bit = (unsigned char)(1u << (type & 7));
    if (!(f->type_known[type / 8] & bit)) {
        f->type_known[type / 8] |= bit;
        if (type >= f->o->n_types || f->o->type(f->o, type, &st) < 0 || st.name[0] == '\0')
            gmk_numbered_name(st.name, "type.", type);
        string_record(f, STR_TYPES + type, st.name);
    }
    return STR_TYPES + type;
}

static uint32_t chan_string(fxt_t *f, uint32_t chan)
{
    gmk_chan_stats_t st;
    chan &= CHANS - 1;
    if (!f->chan_known[chan]) {
        uint32_t salt = 0;
        if (chan >= f->o->n_chans || f->o->chan(f->o, chan, &st) < 0) {
            gmk_numbered_name(st.name, "channel.", chan);
            st.mode = GMK_P2P;
            salt = f->kernel_hash; /* that name means nothing elsewhere */
        }
        f->chan_known[chan] = st.mode == GMK_FANOUT ? 2 : 1;
        f->chan_hash[chan] = hash_of(st.name) ^ salt;
        string_record(f, STR_CHANNELS + chan, st.name);
    }
    return STR_CHANNELS + chan;
}

static uint64_t chan_flow(fxt_t *f, uint32_t chan, uint32_t number)
{
    (void)chan_string(f, chan);
    return (uint64_t)(f->chan_hash[chan & (CHANS - 1)] ^ f->salt) << 32 | number;
}

/* The flow between two kernels.  hop: as in the record's a0. */
static uint64_t hop_flow(fxt_t *f, uint32_t hop)
{
    (void)chan_string(f, hop);
    return (uint64_t)(f->chan_hash[hop & (CHANS - 1)] ^ HOP_KEY) << 32 | hop >> 8;
}

static bool is_fanout(fxt_t *f, uint32_t chan)
{
    (void)chan_string(f, chan);
    return f->chan_known[chan & (CHANS - 1)] == 2;
}

static void lane_name(fxt_t *f, uint32_t lane)
{
    char name[GMK_NAME_MAX + 1];
    uint32_t n = gmk_text_len(f->ring_name, GMK_NAME_MAX - 4);
    gmk_hal_memcpy(name, f->ring_name, n);
    name[n] = '\0';
    if (lane != 0) {
        name[n] = '.';
        name[n + 1] = '\0';
        gmk_numbered_name(name, name, lane);
    } else {
        word(f, header(REC_THREAD, 3) | 1u << 16);
        word(f, f->process);
        word(f, f->thread0);
    }
    object_name(f, OBJ_THREAD, f->thread0 + lane, name);
    f->lanes[lane].named = true;
}

/* ---- events ---------------------------------------------------------------------------------- */

static void arg(args_t *a, uint32_t kind, uint32_t name, uint32_t value)
{
    a->word[a->n++] = header(kind, 1) | (uint64_t)name << 16 | (uint64_t)value << 32;
}

/* Lane 0 is thread 1 of the thread table, the others name themselves in each event. */
static void event(fxt_t *f, uint32_t kind, uint32_t name, const args_t *a, bool has_id, uint64_t id)
{
    uint32_t n_args = a != NULL ? a->n : 0, in_line = f->lane_no != 0;
    uint32_t size = 2 + 2 * in_line + n_args + has_id;
    word(f, header(REC_EVENT, size) | (uint64_t)kind << 16 | (uint64_t)n_args << 20 |
                (uint64_t)(in_line ? 0 : 1) << 24 | (uint64_t)STR_CATEGORY << 32 | (uint64_t)name << 48);
    word(f, f->ns);
    if (in_line) {
        word(f, f->process);
        word(f, f->thread0 + f->lane_no);
    }
    for (uint32_t i = 0; i < n_args; i++)
        word(f, a->word[i]);
    if (has_id)
        word(f, id);
}

static void slice_end(fxt_t *f, lane_t *l, const args_t *a)
{
    if (l->open)
        event(f, EV_SLICE_END, type_string(f, l->type), a, false, 0);
    l->open = false;
}

static void slice_begin(fxt_t *f, lane_t *l, const args_t *a)
{
    uint32_t name = type_string(f, l->type);
    event(f, EV_SLICE_BEGIN, name, a, false, 0);
    event(f, l->fanout ? EV_FLOW_STEP : EV_FLOW_END, name, NULL, true, l->flow);
    l->open = l->ran = true;
}

/* A slice without length from which a flow starts. */
static void source(fxt_t *f, uint32_t kind, uint32_t name, const args_t *a, uint64_t flow)
{
    event(f, EV_SLICE_BEGIN, name, a, false, 0);
    event(f, kind, name, NULL, true, flow);
    event(f, EV_SLICE_END, name, NULL, false, 0);
}

/* A field as an argument: types and channels by name. */
static void field(fxt_t *f, args_t *a, const gmk_trace_event_desc_t *d, uint32_t i, uint32_t name,
                  uint32_t value)
{
    switch (d->field[i].kind) {
    case GMK_FIELD_NONE: return;
    case GMK_FIELD_TYPE: arg(a, ARG_STRING, name, type_string(f, value)); return;
    case GMK_FIELD_CHANNEL: arg(a, ARG_STRING, name, chan_string(f, value)); return;
    case GMK_FIELD_HOP:
        arg(a, ARG_STRING, name, chan_string(f, value));
        arg(a, ARG_UINT32, STR_HOP, value >> 8);
        return;
    default: arg(a, d->field[i].kind == GMK_FIELD_SIGNED ? ARG_INT32 : ARG_UINT32, name, value);
    }
}

static void fields(fxt_t *f, args_t *a, const gmk_trace_record_t *r)
{
    if (r->ev >= f->n_events) {
        arg(a, ARG_UINT32, STR_EVENT, r->ev >= GMK_EV_USER ? r->ev - GMK_EV_USER : r->ev);
        arg(a, ARG_UINT32, STR_A0, r->a0);
        arg(a, ARG_UINT32, STR_A1, r->a1);
        return;
    }
    field(f, a, &gmk_trace_events[r->ev], 0, STR_ARG0 + r->ev, r->a0);
    field(f, a, &gmk_trace_events[r->ev], 1, STR_ARG1 + r->ev, r->a1);
}

/* A slice without length in which one flow ends and the next begins. */
static void pass(fxt_t *f, uint32_t name, const args_t *a, uint32_t end, uint64_t from, uint64_t to)
{
    event(f, EV_SLICE_BEGIN, name, a, false, 0);
    event(f, end, name, NULL, true, from);
    event(f, EV_FLOW_BEGIN, name, NULL, true, to);
    event(f, EV_SLICE_END, name, NULL, false, 0);
}

static void run_begins(fxt_t *f, lane_t *l, const gmk_trace_record_t *r, const args_t *a)
{
    slice_end(f, l, NULL); /* its own end is lost */
    if (r->ev == GMK_EV_BEGIN) {
        l->type = r->a0;
        l->flow = (uint64_t)f->kernel_hash << 32 | r->a1;
        l->fanout = false;
    } else {
        l->type = r->type;
        l->flow = chan_flow(f, r->a0, r->a1);
        l->fanout = is_fanout(f, r->a0);
    }
    slice_begin(f, l, a);
}

static void one_record(fxt_t *f, const gmk_trace_record_t *r)
{
    args_t a = {.n = 0};
    lane_t *l = &f->lanes[f->lane_no];
    uint32_t name = r->ev < f->n_events ? STR_EVENTS + r->ev : STR_USER;
    fields(f, &a, r);
    switch (r->ev) {
    case GMK_EV_BEGIN:
    case GMK_EV_CHAN_BEGIN: run_begins(f, l, r, &a); return;
    case GMK_EV_END: slice_end(f, l, &a); return;
    case GMK_EV_ENQUEUE: source(f, EV_FLOW_BEGIN, name, &a, (uint64_t)f->kernel_hash << 32 | r->a1); return;
    case GMK_EV_CHAN_EMIT: source(f, EV_FLOW_BEGIN, name, &a, chan_flow(f, r->a0, r->a1)); return;
    case GMK_EV_YIELD:
    case GMK_EV_RETRY:
    case GMK_EV_WAIT:
        if (l->ran) {
            source(f, l->fanout ? EV_FLOW_STEP : EV_FLOW_BEGIN, name, &a, l->flow);
            return;
        }
        break;
    case GMK_EV_BRIDGE_SEND:
        if (f->n_events <= GMK_EV_BRIDGE_SEND)
            break;
        pass(f, name, &a, is_fanout(f, r->a0) ? EV_FLOW_STEP : EV_FLOW_END, chan_flow(f, r->a0, r->a1),
             hop_flow(f, r->a0));
        return;
    case GMK_EV_BRIDGE_RECV:
        if (f->n_events <= GMK_EV_BRIDGE_RECV)
            break;
        pass(f, name, &a, EV_FLOW_END, hop_flow(f, r->a0), chan_flow(f, r->a0, r->a1));
        return;
    default: break;
    }
    event(f, EV_INSTANT, name, &a, false, 0);
}

static void one_ring(fxt_t *f, const gmk_trace_ring_t *ring, uint32_t index)
{
    gmk_track_t track = {.end = 0};
    gmk_trace_record_t r;
    uint64_t lost = 0;
    gmk_hal_memset(f->lanes, 0, sizeof f->lanes);
    f->last_ns = 0;
    while (!f->out.failed && gmk_track_next(f->o, ring, index, &track, &r, &lost)) {
        f->ns = gmk_track_ns(f->o, &r);
        if (f->o->local_ns != NULL && f->ns < f->last_ns)
            f->ns = f->last_ns; /* another clock, known better and better meanwhile */
        f->last_ns = f->ns > f->last_ns ? f->ns : f->last_ns;
        f->lane_no = r.lane % LANES;
        if (!f->lanes[f->lane_no].named)
            lane_name(f, f->lane_no);
        one_record(f, &r);
    }
    uint64_t now = gmk_clockmap_ns(&f->o->clock, f->o->now_cycles);
    f->ns = now > f->last_ns ? now : f->last_ns;
    for (f->lane_no = 0; f->lane_no < LANES; f->lane_no++)
        slice_end(f, &f->lanes[f->lane_no], NULL);
}

static void preamble(fxt_t *f)
{
    uint32_t len = gmk_text_len(f->o->name, GMK_NAME_MAX);
    word(f, MAGIC);
    word(f, header(REC_METADATA, 1 + words_of(len)) | META_PROVIDER_INFO << 16 |
                (uint64_t)f->kernel_hash << 20 | (uint64_t)len << 52);
    text(f, f->o->name, len);
    word(f, header(REC_INIT, 2));
    word(f, NS_PER_SECOND);
    string_record(f, STR_CATEGORY, "ggmk");
    string_record(f, STR_PROCESS, "process");
    string_record(f, STR_USER, "user");
    string_record(f, STR_EVENT, "event");
    string_record(f, STR_A0, "a0");
    string_record(f, STR_A1, "a1");
    if (f->o->bridged)
        string_record(f, STR_HOP, "hop");
    for (uint32_t e = 0; e < f->n_events; e++) {
        const gmk_trace_event_desc_t *d = &gmk_trace_events[e];
        string_record(f, STR_EVENTS + e, d->name);
        if (d->field[0].kind != GMK_FIELD_NONE)
            string_record(f, STR_ARG0 + e, d->field[0].name);
        if (d->field[1].kind != GMK_FIELD_NONE)
            string_record(f, STR_ARG1 + e, d->field[1].name);
    }
}

/* Names and hashes that are a kernel's own. */
static void kernel_begins(fxt_t *f, const gmk_observed_t *o)
{
    f->o = o;
    f->kernel_hash = hash_of(o->name);
    f->process = 1 + (f->kernel_hash & 0x3fffffff);
    f->salt = o->bridged ? f->kernel_hash * 0x9e3779b1u : 0;
    gmk_hal_memset(f->chan_known, 0, sizeof f->chan_known);
    gmk_hal_memset(f->type_known, 0, sizeof f->type_known);
}

static void one_kernel(fxt_t *f)
{
    const gmk_observed_t *o = f->o;
    object_name(f, OBJ_PROCESS, f->process, o->name);
    for (uint32_t i = 0; i < o->n_rings && !f->out.failed; i++) {
        const gmk_trace_ring_t *ring = o->ring(o, i, f->ring_name);
        f->thread0 = f->process << 32 | (1 + i * LANES);
        if (ring != NULL)
            one_ring(f, ring, i);
    }
}

int gmk_export_fxt_from(const gmk_observed_t *o, gmk_write_fn write, void *arg)
{
    if (o == NULL || write == NULL)
        return GMK_ERR_INVAL;
    fxt_t f;
    gmk_hal_memset(&f, 0, sizeof f);
    gmk_out_begin(&f.out, write, arg);
    f.n_events = gmk_observed_events(o);
    kernel_begins(&f, o);
    preamble(&f);
    for (const gmk_observed_t *p = o; p != NULL && !f.out.failed; p = p->next) {
        kernel_begins(&f, p);
        one_kernel(&f);
    }
    return gmk_out_end(&f.out);
}
