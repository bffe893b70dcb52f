/* SPDX-License-Identifier: MIT */
/* clock.c — the clocks of fibers, and what hands them on: see memory.h. */
#include "memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ROOM_BYTES ((size_t)8 << 30)

uint32_t sim_clock[SIM_MAX_FIBERS][SIM_PLANES][SIM_MAX_FIBERS];

static struct {
    struct sim_snapshot *fence; /* of the latest release fence */
    bool later;                 /* something waits in `pending` for an acquire fence */
} told[SIM_MAX_FIBERS];
static uint32_t pending[SIM_MAX_FIBERS][SIM_PLANES][SIM_MAX_FIBERS];
static uint32_t seq_view[SIM_MAX_FIBERS], light_view[SIM_MAX_FIBERS], heavy_view[SIM_MAX_FIBERS];
static struct sim_snapshot *unused[10]; /* by log2 of their room */

static struct {
    char *at;
    size_t used;
} room;

void sim_out_of_memory(void)
{
    fprintf(stderr, "ggmk-sim: no memory for what fibers know\n");
    exit(2);
}

/* One place for all of it, given back at once when the run ends. */
void *sim_memory_take(size_t bytes)
{
    if (room.at == NULL) {
        void *p = mmap(NULL, ROOM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                       -1, 0);
        room.at = p != MAP_FAILED ? p : NULL;
    }
    bytes = (bytes + 15) & ~(size_t)15;
    if (room.at == NULL || bytes > ROOM_BYTES - room.used)
        sim_out_of_memory();
    void *p = room.at + room.used;
    room.used += bytes;
    return p;
}

/* ---- which clocks are kept: one for races, one for weak memory ------------------------------ */

static uint32_t first_plane(void) { return sim.races ? SIM_HB : SIM_VIEW; }
static uint32_t end_plane(void) { return sim.weak ? SIM_PLANES : SIM_VIEW; }

static void raise_to(uint32_t *clock, const uint32_t *to, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        clock[i] = to[i] > clock[i] ? to[i] : clock[i];
}

static void next_epoch(uint32_t fiber)
{
    uint32_t next = sim_clock[fiber][SIM_HB][fiber] + 1;
    sim_clock[fiber][SIM_HB][fiber] = sim_clock[fiber][SIM_VIEW][fiber] = next;
}

/* ---- snapshots ------------------------------------------------------------------------------ */

static uint32_t size_class(uint32_t n)
{
    uint32_t c = 3;
    while ((1u << c) < n)
        c++;
    return c;
}

static struct sim_snapshot *new_snapshot(uint32_t n)
{
    uint32_t c = size_class(n);
    struct sim_snapshot *s = unused[c];

    if (s != NULL)
        memcpy(&unused[c], s->clock, sizeof s);
    else
        s = sim_memory_take(sizeof *s + sizeof(uint32_t) * SIM_PLANES * ((size_t)1 << c));
    *s = (struct sim_snapshot){.refs = 1, .n = n, .room = c};
    return s;
}

struct sim_snapshot *sim_snapshot_hold(struct sim_snapshot *s)
{
    if (s != NULL)
        s->refs++;
    return s;
}

void sim_snapshot_drop(struct sim_snapshot *s)
{
    if (s == NULL || --s->refs != 0)
        return;
    memcpy(s->clock, &unused[s->room], sizeof s);
    unused[s->room] = s;
}

static uint32_t *plane_of(struct sim_snapshot *s, uint32_t plane)
{
    return s->clock + (plane - first_plane()) * s->n;
}

static const uint32_t *const_plane_of(const struct sim_snapshot *s, uint32_t plane)
{
    return s->clock + (plane - first_plane()) * s->n;
}

/* What the current fiber knows, to give away; what it does from now on is not in it. */
struct sim_snapshot *sim_release(void)
{
    uint32_t me = sim.current->id;
    struct sim_snapshot *s = new_snapshot(sim.n_fibers);

    for (uint32_t p = first_plane(); p < end_plane(); p++)
        memcpy(plane_of(s, p), sim_clock[me][p], sizeof(uint32_t) * s->n);
    next_epoch(me);
    return s;
}

bool sim_has_fenced(void) { return told[sim.current->id].fence != NULL; }

struct sim_snapshot *sim_released_by_fence(void) { return sim_snapshot_hold(told[sim.current->id].fence); }

struct sim_snapshot *sim_snapshot_merge(const struct sim_snapshot *a, const struct sim_snapshot *b)
{
    const struct sim_snapshot *more = a->n > b->n ? a : b, *less = a->n > b->n ? b : a;
    struct sim_snapshot *s = new_snapshot(more->n);

    for (uint32_t p = first_plane(); p < end_plane(); p++) {
        memcpy(plane_of(s, p), const_plane_of(more, p), sizeof(uint32_t) * more->n);
        raise_to(plane_of(s, p), const_plane_of(less, p), less->n);
    }
    return s;
}

void sim_acquire(const struct sim_snapshot *s)
{
    for (uint32_t p = first_plane(); s != NULL && p < end_plane(); p++)
        raise_to(sim_clock[sim.current->id][p], const_plane_of(s, p), s->n);
}

/* A relaxed load read it: an acquire fence may follow. */
void sim_acquire_later(const struct sim_snapshot *s)
{
    uint32_t me = sim.current->id;
    if (s == NULL)
        return;
    if (!told[me].later)
        memset(pending[me], 0, sizeof pending[me]);
    told[me].later = true;
    for (uint32_t p = first_plane(); p < end_plane(); p++)
        raise_to(pending[me][p], const_plane_of(s, p), s->n);
}

/* ---- fences --------------------------------------------------------------------------------- */

static void acquire_fence(uint32_t me)
{
    for (uint32_t p = first_plane(); told[me].later && p < end_plane(); p++)
        raise_to(sim_clock[me][p], pending[me][p], sim.n_fibers);
    told[me].later = false;
}

static void release_fence(uint32_t me)
{
    sim_snapshot_drop(told[me].fence);
    told[me].fence = sim_release();
}

/* Fences have one order: each knows what those before it knew. */
static void seq_fence(uint32_t me)
{
    raise_to(sim_clock[me][SIM_VIEW], seq_view, sim.n_fibers);
    raise_to(seq_view, sim_clock[me][SIM_VIEW], sim.n_fibers);
}

void sim_fence(enum gmk_order o)
{
    uint32_t me = sim.current->id;
    if (o == GMK_RLX)
        return;
    if (o != GMK_REL)
        acquire_fence(me);
    if (o == GMK_SEQ)
        seq_fence(me);
    if (o != GMK_ACQ)
        release_fence(me);
}

/* A light fence is ordered against heavy ones only; a heavy one against every fence. */
void sim_fence_light(void)
{
    uint32_t me = sim.current->id;
    raise_to(sim_clock[me][SIM_VIEW], heavy_view, sim.n_fibers);
    raise_to(light_view, sim_clock[me][SIM_VIEW], sim.n_fibers);
    next_epoch(me);
}

void sim_fence_heavy(void)
{
    uint32_t me = sim.current->id;
    acquire_fence(me);
    raise_to(sim_clock[me][SIM_VIEW], light_view, sim.n_fibers);
    seq_fence(me);
    raise_to(heavy_view, sim_clock[me][SIM_VIEW], sim.n_fibers);
    release_fence(me);
}

/* ---- threads and meetings ------------------------------------------------------------------- */

/* A new fiber knows what its creator does. */
void sim_clock_fiber(uint32_t id)
{
    uint32_t epoch = sim_clock[id][SIM_HB][id] + 1;           /* the slot may have been another's */
    struct sim_fiber *creator = id != 0 ? sim.current : NULL; /* the first has none */

    sim_snapshot_drop(told[id].fence);
    told[id].fence = NULL;
    told[id].later = false;
    if (creator != NULL)
        memcpy(sim_clock[id], sim_clock[creator->id], sizeof sim_clock[id]);
    else
        memset(sim_clock[id], 0, sizeof sim_clock[id]);
    sim_clock[id][SIM_HB][id] = sim_clock[id][SIM_VIEW][id] = epoch;
    if (creator != NULL)
        next_epoch(creator->id);
}

/* The current fiber learns what a fiber knew that has ended. */
void sim_clock_join(uint32_t id)
{
    for (uint32_t p = first_plane(); p < end_plane(); p++)
        raise_to(sim_clock[sim.current->id][p], sim_clock[id][p], sim.n_fibers);
}

/* All of them meet: what one knew, all know. */
void sim_clock_meet(struct sim_fiber *const *fibers, uint32_t n)
{
    uint32_t all[SIM_PLANES][SIM_MAX_FIBERS] = {{0}};

    for (uint32_t p = first_plane(); p < end_plane(); p++) {
        for (uint32_t i = 0; i < n; i++)
            raise_to(all[p], sim_clock[fibers[i]->id][p], sim.n_fibers);
        for (uint32_t i = 0; i < n; i++)
            memcpy(sim_clock[fibers[i]->id][p], all[p], sizeof(uint32_t) * sim.n_fibers);
    }
    for (uint32_t i = 0; i < n; i++)
        next_epoch(fibers[i]->id);
}

void sim_clock_reset(void)
{
    for (uint32_t i = 0; i < SIM_MAX_FIBERS && (i == 0 || sim_clock[i][SIM_HB][i] != 0); i++) {
        memset(sim_clock[i], 0, sizeof sim_clock[i]);
        told[i].fence = NULL;
        told[i].later = false;
    }
    memset(seq_view, 0, sizeof seq_view);
    memset(light_view, 0, sizeof light_view);
    memset(heavy_view, 0, sizeof heavy_view);
    memset(unused, 0, sizeof unused);
    room.used = 0;
}
