/* SPDX-License-Identifier: MIT */
/*
 * Common Trace Format 1.8 (diamon.org/ctf): the metadata, and one data stream.
 *
 * A stream's events must be in order of time, so the rings are merged as they are read.  The
 * data comes in packets that fit a buffer on the stack, because a packet's header holds its
 * size.  Everything is little-endian and byte-aligned; the declarations and one_event()
 * describe the same layout and belong together.
 */
#include "export.h"
#include "format.h"

#define MAGIC 0xc1fc1fc1u
#define PACKET_BYTES 2048u
#define HEADER_BYTES (4u + 4u + 5u * 8u)
#define EVENT_MAX_BYTES 32u
#define RINGS GMK_EXPORT_MAX_RINGS
#define CHAN_MASK (GMK_MAX_CHANNELS - 1u)

/* ---- metadata -------------------------------------------------------------------------------- */

static void mapping(gmk_out_t *out, const char *name, uint32_t value)
{
    gmk_out_str(out, value == 0 ? "\n    " : ",\n    ");
    gmk_out_quoted(out, name);
    gmk_out_str(out, " = ");
    gmk_out_u64(out, value);
}

/* Types, channels and rings of peers are numbered on: kernel n has those from n times the most there may be. */
static void type_names(gmk_out_t *out, const gmk_observed_t *o)
{
    gmk_type_stats_t st;
    gmk_out_str(out, "enum handler : uint16_t {");
    mapping(out, "none", 0);
    for (uint32_t base = 0; o != NULL && !out->failed; o = o->next, base += GMK_MAX_TYPES)
        for (uint32_t t = 1; t < o->n_types && !out->failed; t++)
            if (o->type(o, t, &st) >= 0 && st.name[0] != '\0')
                mapping(out, st.name, base + t);
    gmk_out_str(out, "\n};\n\n");
}

static void chan_names(gmk_out_t *out, const gmk_observed_t *o)
{
    gmk_chan_stats_t st;
    gmk_out_str(out, o->next == NULL ? "enum channel : uint8_t {" : "enum channel : uint16_t {");
    for (uint32_t base = 0; o != NULL && !out->failed; o = o->next, base += CHAN_MASK + 1)
        for (uint32_t c = 0; c <= CHAN_MASK && !out->failed; c++) {
            bool open = c < o->n_chans && o->chan(o, c, &st) >= 0;
            if (!open && base + c == 0)
                gmk_numbered_name(st.name, "channel.", c);
            if (open || base + c == 0)
                mapping(out, st.name, base + c);
        }
    gmk_out_str(out, "\n};\n\n");
}

static void ring_names(gmk_out_t *out, const gmk_observed_t *o)
{
    char name[GMK_NAME_MAX + 1];
    gmk_out_str(out, "enum ring : uint16_t {");
    for (uint32_t base = 0; o != NULL && !out->failed; o = o->next, base += RINGS)
        for (uint32_t i = 0; (i < o->n_rings || base + i == 0) && !out->failed; i++) {
            bool there = i < o->n_rings && o->ring(o, i, name) != NULL;
            if (there || base + i == 0)
                mapping(out, there ? name : "none", base + i);
        }
    gmk_out_str(out, "\n};\n\n");
}

static void kernel_names(gmk_out_t *out, const gmk_observed_t *o)
{
    gmk_out_str(out, "enum kernel : uint8_t {");
    for (uint32_t n = 0; o != NULL && !out->failed; o = o->next, n++)
        mapping(out, o->name, n);
    gmk_out_str(out, "\n};\n\n");
}

/* The underscore keeps a name from being a keyword; readers take it off. */
static void field_decls(gmk_out_t *out, const gmk_trace_event_desc_t *d)
{
    static const char *const types[] = {[GMK_FIELD_UNSIGNED] = " uint32_t _",
                                        [GMK_FIELD_SIGNED] = " int32_t _",
                                        [GMK_FIELD_TYPE] = " enum handler _",
                                        [GMK_FIELD_CHANNEL] = " enum channel _",
                                        [GMK_FIELD_HOP] = " uint32_t _hop; enum channel _"};
    for (uint32_t i = 0; i < 2; i++) {
        if (d->field[i].kind == GMK_FIELD_NONE)
            continue;
        gmk_out_str(out, types[d->field[i].kind]);
        gmk_out_str(out, d->field[i].name);
        gmk_out_str(out, ";");
    }
}

static void event_decls(gmk_out_t *out, const gmk_observed_t *o)
{
    for (uint32_t e = 0; e < gmk_observed_events(o); e++) {
        const gmk_trace_event_desc_t *d = &gmk_trace_events[e];
        gmk_out_str(out, "event {\n    id = ");
        gmk_out_u64(out, e);
        gmk_out_str(out, ";\n    name = ");
        gmk_out_quoted(out, d->name);
        gmk_out_str(out, ";\n    stream_id = 0;\n    fields := struct {");
        field_decls(out, d);
        gmk_out_str(out, " };\n};\n\n");
    }
    gmk_out_str(out, "event {\n    id = ");
    gmk_out_u64(out, GMK_EV_USER);
    gmk_out_str(out, ";\n    name = \"user\";\n    stream_id = 0;\n"
                     "    fields := struct { uint16_t _event; uint32_t _a0; uint32_t _a1; };\n};\n");
}

/* Types, and what goes before every packet. */
static void trace_decl(gmk_out_t *out, const char *kernel)
{
    gmk_out_str(out, "/* CTF 1.8 */\n\n"
                     "typealias integer { size = 8; align = 8; } := uint8_t;\n"
                     "typealias integer { size = 16; align = 8; } := uint16_t;\n"
                     "typealias integer { size = 32; align = 8; } := uint32_t;\n"
                     "typealias integer { size = 32; align = 8; signed = true; } := int32_t;\n"
                     "typealias integer { size = 64; align = 8; } := uint64_t;\n\n"
                     "trace {\n    major = 1;\n    minor = 8;\n    byte_order = le;\n"
                     "    packet.header := struct { uint32_t magic; uint32_t stream_id; };\n};\n\n"
                     "env {\n    kernel = ");
    gmk_out_quoted(out, kernel);
    gmk_out_str(out,
                ";\n};\n\n"
                "clock {\n    name = monotonic;\n    freq = 1000000000;\n};\n\n"
                "typealias integer { size = 64; align = 8; map = clock.monotonic.value; } := time_t;\n\n");
}

static void stream_decl(gmk_out_t *out, const gmk_observed_t *o)
{
    gmk_out_str(
        out,
        "stream {\n    id = 0;\n"
        "    packet.context := struct {\n        time_t timestamp_begin;\n        time_t timestamp_end;\n"
        "        uint64_t content_size;\n        uint64_t packet_size;\n"
        "        uint64_t events_discarded;\n    };\n"
        "    event.header := struct { uint16_t id; time_t timestamp; };\n"
        "    event.context := struct { ");
    gmk_out_str(out, o->next == NULL ? "" : "enum kernel _kernel; ");
    gmk_out_str(out, "enum ring _ring; uint16_t _lane; enum handler _handler; };\n};\n\n");
}

static int metadata(const gmk_observed_t *o, gmk_write_fn write, void *arg)
{
    gmk_out_t out;
    gmk_out_begin(&out, write, arg);
    trace_decl(&out, o->name);
    type_names(&out, o);
    chan_names(&out, o);
    ring_names(&out, o);
    if (o->next != NULL)
        kernel_names(&out, o);
    stream_decl(&out, o);
    event_decls(&out, o);
    return gmk_out_end(&out);
}

/* ---- data ------------------------------------------------------------------------------------ */

/* What is to be read of a ring: from its next record on. */
typedef struct source {
    gmk_trace_reader_t cursor;
    uint64_t time; /* of the next record, ns, or cycles where there is one kernel; UINT64_MAX = none */
    uint32_t end;  /* no further than this position, modulo 2^32 */
    uint8_t begun, kernel; /* something was read; whose ring it is */
    uint16_t ring;
} source_t;

typedef struct ctf {
    gmk_out_t out;
    const gmk_observed_t *kernel[GMK_OBSERVED_MAX];
    uint32_t n_kernels;
    uint64_t first_ns, last_ns; /* of the packet at hand */
    uint64_t lost;              /* records overwritten, so far */
    uint32_t used;
    unsigned char packet[PACKET_BYTES];
    uint32_t n_sources;
    source_t source[RINGS];
} ctf_t;

static void put(ctf_t *c, uint64_t v, uint32_t bytes)
{
    gmk_put_le(c->packet + c->used, v, bytes);
    c->used += bytes;
}

static void packet_end(ctf_t *c)
{
    uint32_t size = c->used;
    c->used = 0;
    put(c, MAGIC, 4);
    put(c, 0, 4);
    put(c, c->first_ns, 8);
    put(c, c->last_ns, 8);
    put(c, (uint64_t)size * 8, 8);
    put(c, (uint64_t)size * 8, 8);
    put(c, c->lost, 8);
    gmk_out_bytes(&c->out, c->packet, size);
    c->used = HEADER_BYTES;
    c->first_ns = c->last_ns;
}

static void put_channel(ctf_t *c, const source_t *s, uint32_t chan)
{
    if (c->n_kernels == 1)
        put(c, chan & CHAN_MASK, 1);
    else
        put(c, s->kernel * (CHAN_MASK + 1) + (chan & CHAN_MASK), 2);
}

static void put_type(ctf_t *c, const source_t *s, uint32_t type)
{
    put(c, s->kernel * GMK_MAX_TYPES + (type & (GMK_MAX_TYPES - 1)), 2);
}

static void put_field(ctf_t *c, const source_t *s, uint32_t kind, uint32_t v)
{
    switch (kind) {
    case GMK_FIELD_NONE: break;
    case GMK_FIELD_TYPE: put_type(c, s, v); break;
    case GMK_FIELD_HOP: put(c, v >> 8, 4); /* fall through */
    case GMK_FIELD_CHANNEL: put_channel(c, s, v); break;
    default: put(c, v, 4);
    }
}

static void one_event(ctf_t *c, const source_t *s, const gmk_trace_record_t *r)
{
    bool known = r->ev < gmk_observed_events(c->kernel[0]);
    uint64_t ns = gmk_track_ns(c->kernel[s->kernel], r);
    if (ns < c->last_ns) /* lanes of one ring may differ by a few cycles */
        ns = c->last_ns;
    if (c->used + EVENT_MAX_BYTES > PACKET_BYTES)
        packet_end(c);
    if (c->used == HEADER_BYTES)
        c->first_ns = ns;
    c->last_ns = ns;
    put(c, known ? r->ev : GMK_EV_USER, 2);
    put(c, ns, 8);
    if (c->n_kernels > 1)
        put(c, s->kernel, 1);
    put(c, s->kernel * RINGS + s->ring, 2);
    put(c, r->lane, 2);
    put_type(c, s, r->type);
    if (known) {
        put_field(c, s, gmk_trace_events[r->ev].field[0].kind, r->a0);
        put_field(c, s, gmk_trace_events[r->ev].field[1].kind, r->a1);
    } else {
        put(c, r->ev >= GMK_EV_USER ? r->ev - GMK_EV_USER : r->ev, 2);
        put(c, r->a0, 4);
        put(c, r->a1, 4);
    }
}

/* Reads the next record of a ring, if there is one; the cursor stays on it. */
static bool peek(ctf_t *c, source_t *s, gmk_trace_record_t *r)
{
    const gmk_observed_t *o = c->kernel[s->kernel];
    char name[GMK_NAME_MAX + 1];
    const gmk_trace_ring_t *ring = o->ring(o, s->ring, name);
    gmk_track_t t = {.cursor = s->cursor};
    uint64_t seen = 0; /* a peer's records share a ring: what is lost there is counted once */
    s->time = UINT64_MAX;
    if (ring == NULL)
        return false;
    if (s->begun)
        t.end = t.cursor.pos + (uint32_t)(s->end - (uint32_t)t.cursor.pos);
    bool there = (!s->begun || (int32_t)(s->end - (uint32_t)t.cursor.pos) > 0) &&
                 gmk_track_next(o, ring, s->ring, &t, r, o->local_ns == NULL ? &c->lost : &seen);
    s->cursor = t.cursor;
    s->begun = s->begun || t.end != 0;
    s->end = (uint32_t)t.end;
    if (!there)
        return false;
    s->cursor.pos--;
    s->time = c->n_kernels == 1 ? r->time : gmk_track_ns(o, r);
    return true;
}

/* Adds the ring when there is something in it. */
static void add_source(ctf_t *c, uint32_t kernel, uint32_t ring)
{
    gmk_trace_record_t r;
    source_t *s = &c->source[c->n_sources];
    if (c->n_sources == RINGS)
        return;
    *s = (source_t){.kernel = (uint8_t)kernel, .ring = (uint16_t)ring};
    if (peek(c, s, &r))
        c->n_sources++;
}

static source_t *earliest(ctf_t *c)
{
    source_t *best = &c->source[0];
    for (uint32_t i = 1; i < c->n_sources; i++)
        if (c->source[i].time < best->time)
            best = &c->source[i];
    return best;
}

/* An empty packet, from which readers count what the later ones say was lost. */
static void first_packet(ctf_t *c, uint64_t ns)
{
    uint64_t lost = c->lost;
    c->lost = 0;
    c->first_ns = c->last_ns = ns;
    packet_end(c);
    c->lost = lost;
}

static uint64_t ns_of(const ctf_t *c, uint64_t time)
{
    return c->n_kernels == 1 ? gmk_clockmap_ns(&c->kernel[0]->clock, time) : time;
}

static void merge(ctf_t *c)
{
    gmk_trace_record_t r;
    const gmk_observed_t *o = c->kernel[0];
    for (uint32_t k = 0; k < c->n_kernels; k++) {
        c->lost += c->kernel[k]->lost;
        for (uint32_t i = 0; i < c->kernel[k]->n_rings; i++)
            add_source(c, k, i);
    }
    first_packet(c,
                 c->n_sources != 0 ? ns_of(c, earliest(c)->time) : gmk_clockmap_ns(&o->clock, o->now_cycles));
    while (c->n_sources != 0 && !c->out.failed) {
        source_t *s = earliest(c);
        uint64_t time = s->time;
        if (time == UINT64_MAX)
            break;
        if (!peek(c, s, &r) || s->time != time)
            continue; /* overwritten since: its successor takes its turn */
        one_event(c, s, &r);
        s->cursor.pos++;
        (void)peek(c, s, &r);
    }
}

static int data(const gmk_observed_t *o, gmk_write_fn write, void *arg)
{
    ctf_t c;
    gmk_hal_memset(&c, 0, sizeof c);
    gmk_out_begin(&c.out, write, arg);
    for (; o != NULL && c.n_kernels < GMK_OBSERVED_MAX; o = o->next)
        c.kernel[c.n_kernels++] = o;
    c.used = HEADER_BYTES;
    merge(&c);
    if (c.used > HEADER_BYTES)
        packet_end(&c);
    return gmk_out_end(&c.out);
}

int gmk_export_ctf_from(const gmk_observed_t *o, int want_metadata, gmk_write_fn write, void *arg)
{
    if (o == NULL || write == NULL)
        return GMK_ERR_INVAL;
    return want_metadata ? metadata(o, write, arg) : data(o, write, arg);
}
