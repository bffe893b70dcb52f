/* SPDX-License-Identifier: MIT */
/*
 * trace.h — trace rings: the flight recorder of one writer.
 *
 * A writer is a worker (all of its lanes) or a port; a ring belongs to exactly one writer for
 * as long as anybody reads it, so a spare worker needs a ring of its own.  A ring that threads
 * share, as those from outside do, is declared so with gmk_trace_ring_share.  gmk_trace_put never
 * waits and never fails: the oldest record gives way.  Any number of readers, on any thread,
 * follow a ring with a cursor each; what was overwritten before they came is counted, and no
 * reader ever sees a record of which a part is older than the rest.
 *
 * Record: four 64-bit words.
 *   0  time, in gmk_trace_clock()
 *   1  ev (bits 0-15), type (16-31), a0 (32-63)
 *   2  a1 (0-31), lane (32-63)
 *   3  stamp: bit 0 busy, bits 1-63 position + 1; zero = never written
 * The position counts all records ever claimed in the ring, so it contains the lap number and
 * cannot repeat: 2^63 records.
 *
 * ORDERING (a sequence lock per slot; Boehm, "Can Seqlocks Get Along With Programming Language
 * Memory Models?", 2012).  `next` is touched at worker scope, by the writer's lanes only;
 * readers know nothing of it and go by the stamps.
 *   writer  stamp = busy(p); fence REL; words 0-2 relaxed; stamp = done(p) REL
 *   reader  s = stamp ACQ; words 0-2 relaxed; fence ACQ; stamp relaxed, must still be s
 * When s is done(p), its store-release makes the words of p visible, so no word read is older
 * than p.  If a word read is newer, it was stored after its writer's fence, and the reader's
 * fence comes after that load: the two fences synchronise, so the second load of the stamp must
 * return busy(newer) or later, and the reader sees the difference.
 *   Several lanes, or a shared ring: the claim is a fetch-add, at kernel scope when shared, and
 * who is a whole lap late could meet another in its slot.  The slot is therefore taken by
 * compare-and-swap; who finds it busy lets its own record go, and readers count the position as
 * lost.
 */
#ifndef GGMK_TRACE_H
#define GGMK_TRACE_H

#include <ggmk/hal.h>

#define GMK_TRACE_RECORD_BYTES 32u
#define GMK_TRACE_WORDS 4u

typedef struct gmk_trace_ring {
    gmk_a64_t *words; /* GMK_TRACE_WORDS per record */
    uint64_t mask;    /* records - 1 */
    gmk_a64_t next;   /* position of the next record: the writer's own */
    uint32_t shared;  /* several threads write */
    uint32_t ahead;   /* how far a reader looks past an unpublished record */
} gmk_trace_ring_t;

/* A record as a reader gets it. */
typedef struct gmk_trace_record {
    uint64_t time; /* gmk_trace_clock() */
    uint32_t ev, type, a0, a1, lane;
} gmk_trace_record_t;

/* A reader's cursor; zero-initialise it to start at the oldest record. */
typedef struct gmk_trace_reader {
    uint64_t pos;
} gmk_trace_reader_t;

/* What the fields of a kernel event mean. */
enum {
    GMK_FIELD_NONE,
    GMK_FIELD_UNSIGNED,
    GMK_FIELD_SIGNED,
    GMK_FIELD_TYPE,
    GMK_FIELD_CHANNEL,
    GMK_FIELD_HOP /* a channel in bits 0-7, a hop in bits 8-31 */
};

typedef struct gmk_trace_event_desc {
    const char *name;
    struct {
        uint32_t kind; /* GMK_FIELD_* */
        const char *name;
    } field[2]; /* a0, a1 */
} gmk_trace_event_desc_t;

/* Indexed by GMK_EV_*, GMK_EV_MAX entries. */
extern const gmk_trace_event_desc_t gmk_trace_events[];

/* Memory for that many records, a power of two. */
size_t gmk_trace_ring_bytes(uint32_t records);

/* One thread, before the ring is used.  mem: gmk_trace_ring_bytes, 8-aligned. */
void gmk_trace_ring_init(gmk_trace_ring_t *r, void *mem, uint32_t records);

/* After the init, before anybody writes: from now on any thread may. */
void gmk_trace_ring_share(gmk_trace_ring_t *r);

/*
 * Copies up to max records, oldest first, and moves the cursor behind them; returns how many.
 * Fewer than max means that no more is published.  What this reader missed is added to *lost:
 * at any moment records returned + lost = the cursor's position.  Any thread.
 */
uint32_t gmk_trace_read(const gmk_trace_ring_t *r, gmk_trace_reader_t *cursor, gmk_trace_record_t *out,
                        uint32_t max, uint64_t *lost);

static inline uint64_t gmk_trace_stamp(uint64_t pos, uint64_t busy) { return (pos + 1) << 1 | busy; }

static inline gmk_a64_t *gmk_trace_slot(const gmk_trace_ring_t *r, uint64_t pos)
{
    return &r->words[(pos & r->mask) * GMK_TRACE_WORDS];
}

/* Takes the slot of position pos from whoever wrote it last; false when that one is still at it. */
static inline bool gmk_trace_take(gmk_a64_t *w, uint64_t pos)
{
    uint64_t old = gmk_load64(&w[3], GMK_RLX, GMK_KERNEL);
    return !(old & 1) && old < gmk_trace_stamp(pos, 0) &&
           gmk_cas64(&w[3], &old, gmk_trace_stamp(pos, 1), GMK_RLX, GMK_KERNEL);
}

/* Claims the next position and its slot, NULL when the slot is taken. */
static inline gmk_a64_t *gmk_trace_claim(gmk_trace_ring_t *r, uint64_t *pos)
{
    bool alone = gmk_hal_lanes() == 1;
    if (r->shared) {
        *pos = gmk_add64(&r->next, 1, GMK_RLX, GMK_KERNEL);
        alone = false;
    } else {
        *pos = gmk_add64(&r->next, 1, GMK_RLX, GMK_WORKER);
    }
    gmk_a64_t *w = gmk_trace_slot(r, *pos);
    if (!alone)
        return gmk_trace_take(w, *pos) ? w : NULL;
    gmk_store64(&w[3], gmk_trace_stamp(*pos, 1), GMK_RLX, GMK_KERNEL);
    return w;
}

/*
 * As gmk_trace_put, for whoever keeps records of other writers.  lane: the record's, whatever it means there.
 */
static inline void gmk_trace_put_for(gmk_trace_ring_t *r, uint64_t time, uint32_t ev, uint32_t type,
                                     uint32_t a0, uint32_t a1, uint32_t lane)
{
#ifdef GMK_STRIP_TRACE
    (void)r, (void)time, (void)ev, (void)type, (void)a0, (void)a1, (void)lane;
#else
    uint64_t pos;
    gmk_a64_t *w = gmk_trace_claim(r, &pos);
    if (w == NULL)
        return;
    gmk_fence(GMK_REL, GMK_KERNEL);
    gmk_store64(&w[0], time, GMK_RLX, GMK_KERNEL);
    gmk_store64(&w[1], (uint64_t)a0 << 32 | (uint64_t)(type & 0xffff) << 16 | (ev & 0xffff), GMK_RLX,
                GMK_KERNEL);
    gmk_store64(&w[2], (uint64_t)lane << 32 | a1, GMK_RLX, GMK_KERNEL);
    gmk_store64(&w[3], gmk_trace_stamp(pos, 0), GMK_REL, GMK_KERNEL);
#endif
}

/*
 * Writes a record.  The writer that owns the ring, ANY lanes; any thread when it is shared.
 * time: gmk_trace_clock(), read by the caller, which may use one reading for several records.  ev < 2^16, type < 2^16.
 */
static inline void gmk_trace_put(gmk_trace_ring_t *r, uint64_t time, uint32_t ev, uint32_t type, uint32_t a0,
                                 uint32_t a1)
{
    gmk_trace_put_for(r, time, ev, type, a0, a1, gmk_hal_lane());
}

/* The clock of records: cycles where all writers count the same, else nanoseconds. */
static inline uint64_t gmk_trace_clock(void)
{
    return GMK_HAL_CYCLES_DIFFER ? gmk_hal_now_ns() : gmk_hal_cycles();
}

/*
 * Maps cycles to nanoseconds by two readings of both clocks, taken as far apart as can be: at
 * boot and when a trace is read.  Owned by one thread; copy it to use it elsewhere.
 */
typedef struct gmk_clockmap {
    uint64_t cycles0, ns0; /* first reading */
    uint64_t whole, frac;  /* nanoseconds per cycle: whole + frac / 2^64 */
} gmk_clockmap_t;

void gmk_clockmap_init(gmk_clockmap_t *m, uint64_t cycles, uint64_t ns); /* first reading */
void gmk_clockmap_rate(gmk_clockmap_t *m, uint64_t cycles, uint64_t ns); /* a later reading sets the rate */
uint64_t gmk_clockmap_ns(const gmk_clockmap_t *m, uint64_t cycles);      /* also before the first reading */

#endif
