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

static void type_names(gmk_out_t *out, const gmk_observed_t *o)
{
    gmk_type_stats_t st;
    gmk_out_str(out, "enum handler : uint16_t {");
    mapping(out, "none", 0);
    for (uint32_t t = 1; t < o->n_types && !out->failed; t++)
        if (o->type(o, t, &st) >= 0 && st.name[0] != '\0')
            mapping(out, st.name, t);
    gmk_out_str(out, "\n};\n\n");
}

static void chan_names(gmk_out_t *out, const gmk_observed_t *o)
{
    gmk_chan_stats_t st;
    gmk_out_str(out, "enum channel : uint8_t {");
    for (uint32_t c = 0; c <= CHAN_MASK && !out->failed; c++) {
        bool open = c < o->n_chans && o->chan(o, c, &st) >= 0;
        if (!open && c == 0)
            gmk_numbered_name(st.name, "channel.", c);
        if (open || c == 0)
            mapping(out, st.name, c);
    }
    gmk_out_str(out, "\n};\n\n");
}

static void ring_names(gmk_out_t *out, const gmk_observed_t *o)
{
    char name[GMK_NAME_MAX + 1];
    gmk_out_str(out, "enum ring : uint16_t {");
    for (uint32_t i = 0; (i < o->n_rings || i == 0) && !out->failed; i++) {
        bool there = i < o->n_rings && o->ring(o, i, name) != NULL;
        if (there || i == 0)
            mapping(out, there ? name : "none", i);
    }
    gmk_out_str(out, "\n};\n\n");
}

/* The underscore keeps a name from being a keyword; readers take it off. */
static void field_decls(gmk_out_t *out, const gmk_trace_event_desc_t *d)
{
    static const char *const types[] = {[GMK_FIELD_UNSIGNED] = " uint32_t _",
                                        [GMK_FIELD_SIGNED] = " int32_t _",
                                        [GMK_FIELD_TYPE] = " enum handler _",
                                        [GMK_FIELD_CHANNEL] = " enum channel _"};
    for (uint32_t i = 0; i < 2; i++) {
        if (d->field[i].kind == GMK_FIELD_NONE)
            continue;
        gmk_out_str(out, types[d->field[i].kind]);
        gmk_out_str(out, d->field[i].name);
        gmk_out_str(out, ";");
    }
}

static void event_decls(gmk_out_t *out)
{
    for (uint32_t e = 0; e < GMK_EV_MAX; e++) {
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

static void stream_decl(gmk_out_t *out)
{
    gmk_out_str(
        out,
        "stream {\n    id = 0;\n"
        "    packet.context := struct {\n        time_t timestamp_begin;\n        time_t timestamp_end;\n"
        "        uint64_t content_size;\n        uint64_t packet_size;\n"
        "        uint64_t events_discarded;\n    };\n"
        "    event.header := struct { uint16_t id; time_t timestamp; };\n"
        "    event.context := struct { enum ring _ring; uint16_t _lane; enum handler _handler; };\n"
        "};\n\n");
}

static int metadata(const gmk_observed_t *o, gmk_write_fn write, void *arg)
{
    gmk_out_t out;
    gmk_out_begin(&out, write, arg);
    trace_decl(&out, o->name);
    type_names(&out, o);
    chan_names(&out, o);
    ring_names(&out, o);
    stream_decl(&out);
    event_decls(&out);
    return gmk_out_end(&out);
}

/* ---- data ------------------------------------------------------------------------------------ */

/* What is to be read of a ring: from its next record on. */
typedef struct source {
    gmk_trace_reader_t cursor;
    uint64_t end;  /* no further than this position; 0 = nothing read yet */
    uint64_t time; /* of the next record; UINT64_MAX = none */
} source_t;

typedef struct ctf {
    gmk_out_t out;
    const gmk_observed_t *o;
    uint64_t first_ns, last_ns; /* of the packet at hand */
    uint64_t lost;              /* records overwritten, so far */
    uint32_t used;
    unsigned char packet[PACKET_BYTES];
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

static void put_field(ctf_t *c, uint32_t kind, uint32_t v)
{
    if (kind == GMK_FIELD_TYPE)
        put(c, v & (GMK_MAX_TYPES - 1), 2);
    else if (kind == GMK_FIELD_CHANNEL)
        put(c, v & CHAN_MASK, 1);
    else if (kind != GMK_FIELD_NONE)
        put(c, v, 4);
}

static void one_event(ctf_t *c, uint32_t ring, const gmk_trace_record_t *r)
{
    bool known = r->ev < GMK_EV_MAX;
    uint64_t ns = gmk_clockmap_ns(&c->o->clock, r->time);
    if (ns < c->last_ns) /* lanes of one ring may differ by a few cycles */
        ns = c->last_ns;
    if (c->used + EVENT_MAX_BYTES > PACKET_BYTES)
        packet_end(c);
    if (c->used == HEADER_BYTES)
        c->first_ns = ns;
    c->last_ns = ns;
    put(c, known ? r->ev : GMK_EV_USER, 2);
    put(c, ns, 8);
    put(c, ring, 2);
    put(c, r->lane, 2);
    put(c, r->type & (GMK_MAX_TYPES - 1), 2);
    if (known) {
        put_field(c, gmk_trace_events[r->ev].field[0].kind, r->a0);
        put_field(c, gmk_trace_events[r->ev].field[1].kind, r->a1);
    } else {
        put(c, r->ev >= GMK_EV_USER ? r->ev - GMK_EV_USER : r->ev, 2);
        put(c, r->a0, 4);
        put(c, r->a1, 4);
    }
}

/* Reads the next record of a ring, if there is one; the cursor stays on it. */
static bool peek(ctf_t *c, uint32_t i, gmk_trace_record_t *r)
{
    source_t *s = &c->source[i];
    char name[GMK_NAME_MAX + 1];
    const gmk_trace_ring_t *ring = c->o->ring(c->o, i, name);
    s->time = UINT64_MAX;
    if (ring == NULL || gmk_trace_read(ring, &s->cursor, r, 1, &c->lost) == 0)
        return false;
    s->cursor.pos--;
    if (s->end == 0)
        s->end = s->cursor.pos + ring->mask + 1; /* the writer may go on: read one lap */
    if (s->cursor.pos >= s->end)
        return false;
    s->time = r->time;
    return true;
}

static uint32_t earliest(const ctf_t *c, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (c->source[i].time < c->source[best].time)
            best = i;
    return best;
}

/* An empty packet, from which readers count what the later ones say was lost. */
static void first_packet(ctf_t *c, uint64_t cycles)
{
    uint64_t lost = c->lost;
    c->lost = 0;
    c->first_ns = c->last_ns = gmk_clockmap_ns(&c->o->clock, cycles);
    packet_end(c);
    c->lost = lost;
}

static void merge(ctf_t *c, uint32_t n)
{
    gmk_trace_record_t r;
    for (uint32_t i = 0; i < n; i++)
        (void)peek(c, i, &r);
    uint64_t first = n != 0 ? c->source[earliest(c, n)].time : UINT64_MAX;
    first_packet(c, first != UINT64_MAX ? first : c->o->now_cycles);
    if (first == UINT64_MAX)
        return;
    while (!c->out.failed) {
        uint32_t i = earliest(c, n);
        uint64_t time = c->source[i].time;
        if (time == UINT64_MAX)
            break;
        if (!peek(c, i, &r) || r.time != time)
            continue; /* overwritten since: its successor takes its turn */
        one_event(c, i, &r);
        c->source[i].cursor.pos++;
        (void)peek(c, i, &r);
    }
}

static int data(const gmk_observed_t *o, gmk_write_fn write, void *arg)
{
    ctf_t c;
    gmk_hal_memset(&c, 0, sizeof c);
    gmk_out_begin(&c.out, write, arg);
    c.o = o;
    c.used = HEADER_BYTES;
    merge(&c, o->n_rings < RINGS ? o->n_rings : RINGS);
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
