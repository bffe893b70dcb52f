/* SPDX-License-Identifier: MIT */
/* stats.c — the figures of a kernel, summed over its shards.  Any thread; nobody is stopped. */
#include "boot.h"
#include "det.h"
#include "format.h"

static void figures(gmk_core_t *k, gmk_stats_t *out)
{
    /* Outcomes first: whatever has one was accepted before, so pending is never negative. */
    out->completed = GMK_TOTAL(k, completed);
    out->failed = GMK_TOTAL(k, failed);
    out->dropped = GMK_TOTAL(k, dropped);
    gmk_fence(GMK_ACQ, GMK_KERNEL);
    out->accepted = GMK_TOTAL(k, accepted);
    uint64_t finished = out->completed + out->failed + out->dropped;
    out->pending = out->accepted > finished ? out->accepted - finished : 0;
    out->refused = GMK_TOTAL(k, refused);
    out->unheard = GMK_TOTAL(k, unheard);
    out->dead_letters = GMK_TOTAL(k, dead);
    out->internal = GMK_TOTAL(k, internal);
    out->yields = GMK_TOTAL(k, yields);
    out->retries = GMK_TOTAL(k, retries);
    out->waits = GMK_TOTAL(k, waits);
    out->faults = GMK_TOTAL(k, faults);
    out->overruns = GMK_TOTAL(k, overruns);
    out->batches = GMK_TOTAL(k, batches);
    out->steals = GMK_TOTAL(k, steals);
    out->stolen = GMK_TOTAL(k, stolen);
    out->spills = GMK_TOTAL(k, spills);
    out->parks = GMK_TOTAL(k, parks);
    out->wakes = GMK_TOTAL(k, wakes);
    out->det_hash = GMK_TOTAL(k, det_hash);
    out->timers = gmk_load64(&k->evq.count, GMK_RLX, GMK_KERNEL);
    out->waiting = gmk_load64(&k->waiting, GMK_RLX, GMK_KERNEL);
    out->tick = (uint32_t)gmk_load64(&k->tick, GMK_RLX, GMK_KERNEL);
    out->workers = k->n_workers;
    out->parked = gmk_idle_parked(k);
    out->task_max = k->task_max;
    for (uint32_t i = 0; i < k->n_all; i++)
        out->zombies += gmk_load32(&k->workers[i].state, GMK_ACQ, GMK_KERNEL) == GMK_WORKER_ZOMBIE;
    for (uint32_t i = 0; i < k->n_ports - GMK_PORTS_OWN; i++)
        out->ports += gmk_load32(&k->ports[i].in_use, GMK_ACQ, GMK_KERNEL) != GMK_PORT_FREE;
}

int gmk_stats(gmk_kernel_t *kernel, gmk_stats_t *out)
{
    gmk_stats_t s = {0};
    gmk_core_t *k = out == NULL ? NULL : gmk_outside_begin(kernel);
    if (k == NULL)
        return GMK_ERR_INVAL;
    figures(k, &s);
    gmk_outside_end(kernel);
    *out = s;
    return GMK_OK;
}

static uint64_t type_sum(gmk_core_t *k, uint32_t type, size_t offset)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < k->n_fronts; i++)
        sum += gmk_load64(
            (const gmk_a64_t *)(const void *)((const char *)&k->fronts[i]->types[type] + offset), GMK_RLX,
            GMK_KERNEL);
    return sum;
}
#define TYPE_SUM(field) type_sum(k, type, offsetof(gmk_type_counts_t, field))

static void type_times(gmk_core_t *k, gmk_type_t *ty, gmk_type_stats_t *out)
{
    uint32_t shards = k->hist_shards;
    gmk_clockmap_t clock = k->clock;
    out->run_samples = gmk_hist_count(ty->run, shards);
    out->run_ns_mean = out->run_samples == 0 ? 0 : gmk_hist_sum(ty->run, shards) / out->run_samples;
    out->run_ns_p50 = gmk_hist_quantile(ty->run, shards, 500);
    out->run_ns_p99 = gmk_hist_quantile(ty->run, shards, 990);
    gmk_clockmap_rate(&clock, gmk_hal_cycles(), gmk_hal_now_ns());
    uint64_t zero = gmk_clockmap_ns(&clock, 0);
    out->delay_samples = gmk_hist_count(ty->delay, shards);
    out->delay_ns_p50 = gmk_clockmap_ns(&clock, gmk_hist_quantile(ty->delay, shards, 500)) - zero;
    out->delay_ns_p99 = gmk_clockmap_ns(&clock, gmk_hist_quantile(ty->delay, shards, 990)) - zero;
}

static int type_figures(gmk_core_t *k, uint32_t type, gmk_type_stats_t *out)
{
    if (type >= k->n_types)
        return GMK_ERR_RANGE;
    gmk_hal_lock_acquire(&k->control);
    gmk_type_t *ty = &k->types[type];
    bool there = gmk_load32(&ty->taken, GMK_ACQ, GMK_KERNEL) != 0;
    if (there) {
        gmk_name_copy(out->name, ty->name);
        gmk_name_copy(out->module, k->registry->mods[ty->module].module->name);
        out->completed = TYPE_SUM(completed);
        out->failed = TYPE_SUM(failed);
        out->dropped = TYPE_SUM(dropped);
        out->yields = TYPE_SUM(yields);
        out->retries = TYPE_SUM(retries);
        out->overruns = TYPE_SUM(overruns);
        out->faults = TYPE_SUM(faults);
        out->poisoned = (gmk_load32(&ty->special, GMK_RLX, GMK_KERNEL) & GMK_TYPE_POISONED) != 0;
        type_times(k, ty, out);
    }
    gmk_hal_lock_release(&k->control);
    return there ? GMK_OK : GMK_ERR_NOTFOUND;
}

int gmk_type_stats(gmk_kernel_t *kernel, uint32_t type, gmk_type_stats_t *out)
{
    gmk_type_stats_t s = {0};
    gmk_core_t *k = out == NULL ? NULL : gmk_outside_begin(kernel);
    if (k == NULL)
        return GMK_ERR_INVAL;
    int rc = type_figures(k, type, &s);
    gmk_outside_end(kernel);
    *out = s;
    return rc;
}

static uint64_t chan_sum(gmk_core_t *k, gmk_channel_t *c, size_t offset)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < k->n_fronts; i++)
        sum += gmk_load64(
            (const gmk_a64_t *)(const void *)((const char *)&k->fronts[i]->chans[c->index] + offset), GMK_RLX,
            GMK_KERNEL);
    return sum - gmk_load64((const gmk_a64_t *)(const void *)((const char *)&c->at_open + offset), GMK_RLX,
                            GMK_KERNEL);
}
#define CHAN_SUM(field) chan_sum(k, c, offsetof(gmk_chan_counts_t, field))

static void chan_figures(gmk_core_t *k, gmk_channel_t *c, gmk_chan_stats_t *out)
{
    uint64_t w = gmk_load64(&c->in.word, GMK_ACQ, GMK_KERNEL);
    gmk_name_copy(out->name, c->name);
    out->msg_type = c->msg_type;
    out->mode = c->mode;
    out->guarantee = c->guarantee;
    out->slots = c->slots;
    for (uint32_t i = 0; i < GMK_MAX_SUBS; i++) {
        gmk_mailbox_t *m = gmk_sub_at(c, i);
        out->subs += m != NULL && gmk_load32(&m->leaving, GMK_ACQ, GMK_KERNEL) == 0;
    }
    out->waiters = gmk_load32(&c->waiters, GMK_RLX, GMK_KERNEL);
    out->unheard = CHAN_SUM(unheard);
    out->emitted = gmk_w_ticket(w) / GMK_TICKET + out->unheard;
    out->refused = CHAN_SUM(refused);
    out->completed = CHAN_SUM(completed);
    out->failed = CHAN_SUM(failed);
    out->shed = CHAN_SUM(shed);
    out->dropped = CHAN_SUM(dropped);
    uint32_t left = gmk_chan_free(c, 0);
    out->used = left < c->slots ? c->slots - left : 0;
}

int gmk_chan_stats(gmk_kernel_t *kernel, gmk_chan_t ch, gmk_chan_stats_t *out)
{
    gmk_chan_stats_t s = {0};
    gmk_core_t *k = out == NULL ? NULL : gmk_outside_begin(kernel);
    if (k == NULL)
        return GMK_ERR_INVAL;
    gmk_hal_lock_acquire(&k->control);
    gmk_channel_t *c = ch.id == 0 ? NULL : gmk_chan_of(k, ch.id);
    if (c != NULL)
        chan_figures(k, c, &s);
    gmk_hal_lock_release(&k->control);
    gmk_outside_end(kernel);
    *out = s;
    return c == NULL ? GMK_CHAN_CLOSED : GMK_OK;
}

int gmk_mem_stats(gmk_kernel_t *kernel, gmk_mem_stats_t *out)
{
    gmk_mem_stats_t s = {0};
    gmk_core_t *k = out == NULL ? NULL : gmk_outside_begin(kernel);
    if (k == NULL)
        return GMK_ERR_INVAL;
    gmk_heap_stats(&k->heap, &s);
    s.arena_bytes = kernel->arena_size;
    s.slab_total = gmk_slab_capacity(&k->nodes);
    s.slab_reserved = gmk_slab_reserved(&k->nodes);
    s.bump_bytes = k->workers[0].bump.size;
    gmk_outside_end(kernel);
    *out = s;
    return GMK_OK;
}
