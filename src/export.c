/* SPDX-License-Identifier: MIT */
/* export.c — a kernel and its peers as the exporters see them, and the public calls. */
#include "export.h"
#include "boot.h"
#include "format.h"

/* ---- this kernel ------------------------------------------------------------------------------ */

static gmk_kernel_t *seen(const gmk_observed_t *o) { return o->self; }
static int see_stats(const gmk_observed_t *o, gmk_stats_t *out) { return gmk_stats(seen(o), out); }
static int see_mem(const gmk_observed_t *o, gmk_mem_stats_t *out) { return gmk_mem_stats(seen(o), out); }
static int see_type(const gmk_observed_t *o, uint32_t type, gmk_type_stats_t *out)
{
    return gmk_type_stats(seen(o), type, out);
}

int gmk_kernel_chan(gmk_core_t *k, uint32_t index, gmk_chan_stats_t *out)
{
    gmk_hal_lock_acquire(&k->control); /* a channel is unlinked and freed with it held */
    gmk_channel_t *c = gmk_chan_at(k, index);
    gmk_chan_t handle = {c == NULL ? 0 : c->handle};
    gmk_hal_lock_release(&k->control);
    return handle.id == 0 ? GMK_ERR_NOTFOUND : gmk_chan_stats(k->kernel, handle, out);
}

static int see_chan(const gmk_observed_t *o, uint32_t index, gmk_chan_stats_t *out)
{
    return gmk_kernel_chan(seen(o)->core, index, out);
}

const gmk_trace_ring_t *gmk_kernel_ring(const gmk_core_t *k, uint32_t index, char name[GMK_NAME_MAX + 1])
{
    if (index < k->n_all)
        gmk_numbered_name(name, index < k->n_workers ? "worker " : "spare ", index);
    else if (index < k->n_fronts - 1)
        gmk_numbered_name(name, "port ", index - k->n_all);
    else
        gmk_numbered_name(name, "outside ", 0);
    return k->fronts[index]->ring;
}

static const gmk_trace_ring_t *see_ring(const gmk_observed_t *o, uint32_t index, char name[GMK_NAME_MAX + 1])
{
    return gmk_kernel_ring(seen(o)->core, index, name);
}

gmk_clockmap_t gmk_kernel_clock(const gmk_core_t *k, uint64_t *now)
{
    gmk_clockmap_t clock = k->clock;
    *now = gmk_trace_clock();
    if (GMK_HAL_CYCLES_DIFFER)
        gmk_clockmap_init(&clock, 0, 0); /* nanoseconds as they are */
    else
        gmk_clockmap_rate(&clock, *now, gmk_hal_now_ns());
    return clock;
}

static void observe(gmk_core_t *k, gmk_observed_t *o)
{
    *o = (gmk_observed_t){.name = k->name,
                          .self = k->kernel,
                          .metrics = &k->umetrics,
                          .n_rings = k->n_fronts,
                          .n_types = k->n_types,
                          .n_chans = GMK_MAX_CHANNELS,
                          .stats = see_stats,
                          .mem = see_mem,
                          .type = see_type,
                          .chan = see_chan,
                          .ring = see_ring,
                          .bridged = gmk_load32(&k->registry->bridged, GMK_ACQ, GMK_KERNEL) != 0};
    o->clock = gmk_kernel_clock(k, &o->now_cycles);
}

/* ---- peers ------------------------------------------------------------------------------------ */

/* A kernel and its peers, for as long as an export lasts. */
typedef struct gmk_sight {
    gmk_observed_t o[GMK_OBSERVED_MAX];
    gmk_observed_peer_t *peer[GMK_OBSERVED_MAX - 1];
    uint32_t n_peers;
} gmk_sight_t;

void gmk_observed_join(gmk_core_t *k, gmk_observed_peer_t *p)
{
    gmk_hal_lock_acquire(&k->control);
    gmk_observed_peer_t **at = &k->registry->peers;
    while (*at != NULL)
        at = &(*at)->next;
    p->next = NULL;
    *at = p;
    gmk_store32(&k->registry->bridged, 1, GMK_REL, GMK_KERNEL);
    gmk_hal_lock_release(&k->control);
}

void gmk_observed_leave(gmk_core_t *k, gmk_observed_peer_t *p)
{
    gmk_hal_lock_acquire(&k->control);
    gmk_observed_peer_t **at = &k->registry->peers;
    while (*at != NULL && *at != p)
        at = &(*at)->next;
    if (*at != NULL)
        *at = p->next;
    gmk_hal_lock_release(&k->control);
    for (uint32_t round = 0; gmk_load32(&p->users, GMK_ACQ, GMK_KERNEL) != 0; round++)
        gmk_hal_relax(round);
}

static void look(gmk_core_t *k, uint32_t what, gmk_sight_t *s)
{
    gmk_observed_t *last = &s->o[0];
    observe(k, last);
    s->n_peers = 0;
    gmk_hal_lock_acquire(&k->control);
    for (gmk_observed_peer_t *p = k->registry->peers; p != NULL && s->n_peers < GMK_OBSERVED_MAX - 1;
         p = p->next) {
        (void)gmk_add32(&p->users, 1, GMK_ACQ_REL, GMK_KERNEL);
        s->peer[s->n_peers++] = p;
    }
    gmk_hal_lock_release(&k->control);
    for (uint32_t i = 0; i < s->n_peers; i++) {
        gmk_observed_t *next = last + 1;
        if (!s->peer[i]->observe(s->peer[i], what, next))
            continue;
        last->next = next;
        last = next;
    }
    if (s->n_peers != 0) /* what came meanwhile is older than the end of the trace */
        s->o[0].clock = gmk_kernel_clock(k, &s->o[0].now_cycles);
}

static void look_away(gmk_sight_t *s)
{
    for (uint32_t i = 0; i < s->n_peers; i++)
        (void)gmk_sub32(&s->peer[i]->users, 1, GMK_REL, GMK_KERNEL);
}

/* ---- records of one track --------------------------------------------------------------------- */

/* A record of a peer's as it is here. */
static void localise(const gmk_observed_t *o, gmk_trace_record_t *r)
{
    r->time = o->local_ns(o, r->time, r->lane >> 20);
    r->lane &= GMK_OBSERVED_LANES - 1;
}

bool gmk_track_next(const gmk_observed_t *o, const gmk_trace_ring_t *ring, uint32_t index, gmk_track_t *t,
                    gmk_trace_record_t *r, uint64_t *lost)
{
    while (t->end == 0 || t->cursor.pos < t->end) {
        if (gmk_trace_read(ring, &t->cursor, r, 1, lost) == 0)
            return false;
        if (t->end == 0)
            t->end = t->cursor.pos + ring->mask;
        if (o->local_ns == NULL)
            return true;
        if ((r->lane >> 8 & 0xfff) == index) {
            localise(o, r);
            return true;
        }
    }
    return false;
}

/* ---- the calls -------------------------------------------------------------------------------- */

int gmk_export_prometheus(gmk_kernel_t *kernel, gmk_write_fn write, void *arg)
{
    gmk_sight_t s;
    gmk_core_t *k = write == NULL ? NULL : gmk_outside_begin(kernel);
    if (k == NULL)
        return GMK_ERR_INVAL;
    look(k, GMK_OBSERVE_METRICS, &s);
    int rc = gmk_export_prometheus_from(&s.o[0], write, arg);
    look_away(&s);
    gmk_outside_end(kernel);
    return rc;
}

int gmk_export_fxt(gmk_kernel_t *kernel, gmk_write_fn write, void *arg)
{
    gmk_sight_t s;
    gmk_core_t *k = write == NULL ? NULL : gmk_outside_begin(kernel);
    if (k == NULL)
        return GMK_ERR_INVAL;
    look(k, GMK_OBSERVE_TRACE, &s);
    int rc = gmk_export_fxt_from(&s.o[0], write, arg);
    look_away(&s);
    gmk_outside_end(kernel);
    return rc;
}

int gmk_export_ctf(gmk_kernel_t *kernel, int metadata, gmk_write_fn write, void *arg)
{
    gmk_sight_t s;
    gmk_core_t *k = write == NULL ? NULL : gmk_outside_begin(kernel);
    if (k == NULL)
        return GMK_ERR_INVAL;
    look(k, GMK_OBSERVE_TRACE, &s);
    int rc = gmk_export_ctf_from(&s.o[0], metadata, write, arg);
    look_away(&s);
    gmk_outside_end(kernel);
    return rc;
}
