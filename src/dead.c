/* SPDX-License-Identifier: MIT */
/*
 * dead.c — what becomes of deliveries that did not complete.
 *
 * A record goes to sys.dropped or sys.error, or to the error handler the channel named.  When the
 * channel has no room, the record is not lost: its cause is counted in the deadbox, and the count
 * goes out with the next record of that cause, or as soon as a worker finds room.
 */
#include "channel.h"

static uint64_t meta0_of(int code, uint64_t count)
{
    return (uint64_t)(uint32_t)code | (count > UINT32_MAX ? UINT32_MAX : count) << 32;
}

static gmk_task_t record_of(const gmk_task_t *t, int code, uint32_t count)
{
    gmk_task_t r = {.flags = (uint16_t)(t->flags & (GMK_PRIO_MASK | GMK_TASK_PAYLOAD_RC)),
                    .tenant = t->tenant,
                    .payload_ptr = t->payload_ptr,
                    .payload_len = t->payload_len,
                    .meta0 = meta0_of(code, count),
                    .meta1 = (uint64_t)t->type | (uint64_t)t->channel << 32};
    return r;
}

/* Adds to the count of a cause; when all places are taken, to the last one. */
static void box_add(gmk_deadbox_t *box, uint64_t meta0, uint64_t meta1, uint64_t count)
{
    uint32_t i = 0;
    meta0 &= UINT32_MAX;
    while (i < GMK_DEAD_CAUSES - 1 && box->cause[i].count != 0 &&
           (box->cause[i].meta0 != meta0 || box->cause[i].meta1 != meta1))
        i++;
    if (box->cause[i].count == 0) {
        box->cause[i].meta0 = meta0;
        box->cause[i].meta1 = meta1;
        gmk_store32(&box->pending, gmk_load32(&box->pending, GMK_RLX, GMK_KERNEL) + 1, GMK_RLX, GMK_KERNEL);
    }
    box->cause[i].count += count;
}

static void box_lock(gmk_deadbox_t *box)
{
    for (uint32_t round = 0; !gmk_flag_try(&box->busy); round++)
        gmk_hal_relax(round);
}

/* A channel's own error handler gets the record as a direct task. */
static bool to_own_handler(gmk_front_t *f, const gmk_task_t *t, const gmk_task_t *r)
{
    if ((t->flags & GMK_TASK_CHANNEL_MSG) == 0)
        return false;
    gmk_channel_t *c = gmk_chan_of(f->core, t->channel);
    uint32_t type = c == NULL ? 0 : gmk_load32(&c->on_error, GMK_ACQ, GMK_KERNEL);
    if (type == 0 || gmk_load64(&f->core->types[type].fn, GMK_ACQ, GMK_KERNEL) == 0)
        return false; /* none, or its module is gone */
    gmk_task_t direct = *r;
    direct.type = type;
    return gmk_accept(f, &direct, 1) == 1;
}

static bool from_sys(const gmk_core_t *k, const gmk_task_t *t)
{
    if ((t->flags & GMK_TASK_CHANNEL_MSG) == 0)
        return false;
    gmk_channel_t *c = gmk_chan_of(k, t->channel);
    return c != NULL && c->sys;
}

static void flush_one(gmk_front_t *f, uint32_t which)
{
    gmk_deadbox_t *box = &f->core->chans->dead[which];
    gmk_channel_t *c = gmk_chan_at(f->core, which);
    if (c == NULL || gmk_load32(&box->pending, GMK_RLX, GMK_KERNEL) == 0 || !gmk_flag_try(&box->busy))
        return;
    for (uint32_t i = 0; i < GMK_DEAD_CAUSES; i++) {
        gmk_dead_cause_t *d = &box->cause[i];
        if (d->count == 0)
            continue;
        gmk_task_t r = {.meta0 = meta0_of((int)(int32_t)(uint32_t)d->meta0, d->count), .meta1 = d->meta1};
        if (gmk_chan_put(f, c, &r, 1) != 1)
            break;
        d->count -= r.meta0 >> 32;
        if (d->count == 0)
            gmk_store32(&box->pending, gmk_load32(&box->pending, GMK_RLX, GMK_KERNEL) - 1, GMK_RLX,
                        GMK_KERNEL);
    }
    gmk_flag_release(&box->busy);
}

/*
 * The workers look into the box after each batch.  The last of those that kept the channel full may
 * have looked just before: so the channel is tried once more.  The fence pairs with gmk_waiter_check.
 */
static void keep(gmk_front_t *f, uint32_t which, const gmk_task_t *r)
{
    gmk_deadbox_t *box = &f->core->chans->dead[which];
    box_lock(box);
    box_add(box, r->meta0, r->meta1, r->meta0 >> 32);
    gmk_flag_release(&box->busy);
    gmk_fence(GMK_SEQ, GMK_KERNEL);
    flush_one(f, which);
}

void gmk_dead_letter(gmk_front_t *f, const gmk_task_t *t, int code, uint32_t count)
{
    gmk_core_t *k = f->core;
    uint32_t which = gmk_is_drop(code) ? GMK_CHAN_SYS_DROPPED : GMK_CHAN_SYS_ERROR;
    gmk_task_t r = record_of(t, code, count);
    if (from_sys(k, t)) {
        gmk_task_payload_done(f, t);
        return;
    }
    gmk_count(f, &f->counts->dead, count);
    if (gmk_load32(&k->trace_mask, GMK_RLX, GMK_KERNEL) >= GMK_TRACE_ERROR)
        gmk_trace_now(f, GMK_EV_DEAD, t->type, t->type, (uint32_t)code);
    if (which == GMK_CHAN_SYS_ERROR && to_own_handler(f, t, &r))
        return;
    gmk_channel_t *c = gmk_chan_at(k, which);
    if (c != NULL && gmk_chan_put(f, c, &r, 1) == 1)
        return;
    gmk_task_payload_done(f, t);
    if (c != NULL)
        keep(f, which, &r);
}

void gmk_dead_flush(gmk_front_t *f)
{
    flush_one(f, GMK_CHAN_SYS_DROPPED);
    flush_one(f, GMK_CHAN_SYS_ERROR);
}

void gmk_drop(gmk_front_t *f, const gmk_task_t *t, int code)
{
    gmk_count(f, &f->counts->dropped, 1);
    if (t->type < f->core->n_types)
        gmk_count(f, &f->types[t->type].dropped, 1);
    gmk_count(f, &f->tenants[t->tenant].dropped, 1);
    if ((t->flags & GMK_TASK_CHANNEL_MSG) != 0) {
        gmk_chan_counts_t *c = &f->chans[gmk_delivery_chan(t->channel)];
        gmk_count(f, &c->dropped, 1);
        if (code == GMK_DROP_SHED)
            gmk_count(f, &c->shed, 1);
    }
    gmk_dead_letter(f, t, code, 1);
}
