/* SPDX-License-Identifier: MIT */
/*
 * det_peer.c — ticks of two kernels: what one must know of the other's.
 *
 * A kernel orders all tasks of a tick, those of its peer too, and runs its own.  For that it needs each
 * message of the peer for which it has a subscriber, and, once both have turned messages into deliveries, the
 * place of each task of the peer in the order: four numbers, and what breaks ties.
 */
#include "det_int.h"

int gmk_det_over(const gmk_core_t *k) { return (int)(int32_t)gmk_load32(&k->det->dead, GMK_ACQ, GMK_KERNEL); }

/* ---- whose turn it is ---------------------------------------------------------------------- */

int gmk_det_join(gmk_front_t *f)
{
    struct gmk_det *d = f->core->det;
    if (gmk_det_joined(d) || gmk_det_over(f->core) < 0)
        return GMK_ERR_STATE;
    gmk_store64(&d->port, (uint64_t)(uintptr_t)f, GMK_REL, GMK_KERNEL);
    gmk_store32(&d->settled, 0, GMK_REL, GMK_KERNEL);
    gmk_store32(&d->poked, 1, GMK_REL, GMK_KERNEL);
    gmk_store32(&d->joined, 1, GMK_SEQ, GMK_KERNEL);
    return GMK_OK;
}

/* The fence pairs with the ones of gmk_det_advance and hand_over. */
void gmk_det_part(gmk_front_t *f)
{
    struct gmk_det *d = f->core->det;
    gmk_store32(&d->joined, 0, GMK_REL, GMK_KERNEL);
    gmk_fence(GMK_SEQ, GMK_KERNEL);
    gmk_det_advance(f);
}

bool gmk_det_poked(gmk_core_t *k)
{
    struct gmk_det *d = k->det;
    if (gmk_load32(&d->poked, GMK_ACQ, GMK_KERNEL) == 0)
        return false;
    gmk_store32(&d->settled, 0, GMK_REL, GMK_KERNEL); /* before poked: see gmk_det_settled */
    (void)gmk_xchg32(&d->poked, 0, GMK_ACQ_REL, GMK_KERNEL);
    return true;
}

bool gmk_det_hold(gmk_core_t *k)
{
    uint32_t idle = 0;
    return gmk_cas32(&k->det->active, &idle, 1, GMK_ACQ_REL, GMK_KERNEL);
}

void gmk_det_release(gmk_core_t *k) { gmk_store32(&k->det->active, 0, GMK_REL, GMK_KERNEL); }

void gmk_det_settle(gmk_core_t *k) { gmk_store32(&k->det->settled, 1, GMK_REL, GMK_KERNEL); }

/* Whoever starts a tick sets `poked` before this is read; the bridge clears `settled` before it clears that. */
bool gmk_det_settled(const gmk_core_t *k)
{
    const struct gmk_det *d = k->det;
    return !gmk_det_joined(d) || (gmk_load32(&d->poked, GMK_ACQ, GMK_KERNEL) == 0 &&
                                  gmk_load32(&d->settled, GMK_ACQ, GMK_KERNEL) != 0);
}

gmk_det_wish_t gmk_det_wish(const gmk_core_t *k)
{
    struct gmk_det *d = k->det;
    return (gmk_det_wish_t){.done = d->done_tick,
                            .tick = gmk_load64(&k->tick, GMK_ACQ, GMK_KERNEL),
                            .work = gmk_det_has_work(d) ? gmk_det_next_with_work(d) : 0,
                            .automatic = (k->flags & GMK_BOOT_AUTO_TICK) != 0};
}

/* ---- what leaves --------------------------------------------------------------------------- */

static void push(gmk_det_list_t *l, gmk_det_item_t *i)
{
    i->next = l->first;
    l->first = i;
    l->n++;
}

/* The subscription by which the bridge hears the channel, NULL = none.  With the control lock. */
static const gmk_mailbox_t *outlet_of(gmk_channel_t *c, uint64_t port)
{
    for (uint32_t s = 0; s < GMK_MAX_SUBS; s++) {
        const gmk_mailbox_t *m = gmk_sub_at(c, s);
        if (m != NULL && gmk_load64(&m->port, GMK_RLX, GMK_KERNEL) == port &&
            gmk_load32(&m->leaving, GMK_ACQ, GMK_KERNEL) == 0)
            return m;
    }
    return NULL;
}

static bool heard_here(gmk_channel_t *c)
{
    for (uint32_t s = 0; s < GMK_MAX_SUBS; s++)
        if (gmk_det_hearer(c, s) != NULL)
            return true;
    return false;
}

/* The message is accepted as a delivery to the bridge.  False: it is this kernel's alone; or there is no memory. */
static bool send_off(gmk_front_t *f, gmk_det_item_t *i, const gmk_mailbox_t *m, bool stays)
{
    struct gmk_det *d = f->core->det;
    gmk_det_item_t *out = i;
    if (stays) {
        out = gmk_det_item_new(f, &i->task);
        if (out == NULL) {
            (void)gmk_det_out_of_memory(f->core);
            return false;
        }
        out->chan = i->chan;
        out->major = i->major;
        out->minor = i->minor;
        if ((i->task.flags & GMK_TASK_PAYLOAD_RC) != 0 && i->task.payload_ptr != 0)
            (void)gmk_payload_add(&f->core->heap, (void *)(uintptr_t)i->task.payload_ptr, 1);
    } else if (i->waits) {
        i->waits = false;
        (void)gmk_sub32(&d->waiting, 1, GMK_ACQ_REL, GMK_KERNEL);
    }
    out->task.channel = m->delivery;
    out->task.flags = (uint16_t)((out->task.flags & ~GMK_TASK_IDEMPOTENT) | GMK_TASK_CHANNEL_MSG);
    gmk_count(f, &f->counts->accepted, 1);
    push(&d->leaving, out);
    return true;
}

/* What was carried over stays: it was sent when it was new. */
static void part_with(gmk_front_t *f, uint64_t tick)
{
    struct gmk_det *d = f->core->det;
    uint64_t port = gmk_load64(&d->port, GMK_RLX, GMK_KERNEL);
    for (gmk_det_item_t **at = &d->due.first; *at != NULL;) {
        gmk_det_item_t *i = *at;
        gmk_channel_t *c = i->chan == 0 || i->tick != tick ? NULL : gmk_chan_of(f->core, i->chan);
        const gmk_mailbox_t *m = c == NULL || gmk_load32(&c->closing, GMK_ACQ, GMK_KERNEL) != 0
                                   ? NULL
                                   : outlet_of(c, port);
        gmk_det_item_t *next = i->next;
        bool stays = m == NULL || heard_here(c);
        if (m != NULL)
            i->born = i->major == 0 ? 0 : tick - 1; /* as it will be known there */
        if (m != NULL && !send_off(f, i, m, stays))
            return;
        if (stays) {
            at = &i->next;
        } else {
            *at = next;
            d->due.n--;
        }
    }
}

/* The kernel's tick is at least this one now. */
static void reach(gmk_front_t *f, uint64_t tick)
{
    uint64_t now = gmk_load64(&f->core->tick, GMK_ACQ, GMK_KERNEL);
    while (now < tick && !gmk_cas64(&f->core->tick, &now, tick, GMK_ACQ_REL, GMK_KERNEL))
        ;
    if (now >= tick)
        return;
    gmk_det_new_tick(f, 0);
    gmk_wake_for_work(f); /* timers of the tick */
}

void gmk_det_begin(gmk_front_t *f, uint32_t side, uint64_t tick)
{
    struct gmk_det *d = f->core->det;
    gmk_store32(&d->settled, 0, GMK_REL, GMK_KERNEL);
    reach(f, tick);
    d->side = side;
    d->last_tick = d->done_tick;
    d->done_tick = tick;
    d->due = gmk_det_collect(f, tick);
    gmk_hal_lock_acquire(&f->core->control);
    part_with(f, tick);
    gmk_hal_lock_release(&f->core->control);
}

static gmk_det_item_t *pop(gmk_det_list_t *l)
{
    gmk_det_item_t *i = l->first;
    if (i != NULL) {
        l->first = i->next;
        l->n--;
    }
    return i;
}

bool gmk_det_leave(gmk_front_t *f, gmk_det_msg_t *out)
{
    gmk_det_item_t *i = pop(&f->core->det->leaving);
    if (i == NULL)
        return false;
    *out = (gmk_det_msg_t){.task = i->task, .chan = i->chan, .major = i->major, .minor = i->minor};
    gmk_det_item_free(f, i);
    return true;
}

void gmk_det_left(gmk_front_t *f, gmk_task_t *t, int code)
{
    gmk_chan_counts_t *c = &f->chans[gmk_delivery_chan(t->channel)];
    if (gmk_is_drop(code)) {
        gmk_drop(f, t, code);
        return;
    }
    if (code == GMK_OK) {
        gmk_count(f, &f->counts->completed, 1);
        gmk_count(f, &f->types[t->type].completed, 1);
        gmk_count(f, &f->tenants[t->tenant].completed, 1);
        gmk_count(f, &c->completed, 1);
        gmk_task_payload_done(f, t);
        return;
    }
    gmk_count(f, &f->counts->failed, 1);
    gmk_count(f, &f->types[t->type].failed, 1);
    gmk_count(f, &f->tenants[t->tenant].failed, 1);
    gmk_count(f, &c->failed, 1);
    gmk_dead_letter(f, t, code, 1);
}

/* ---- what arrives -------------------------------------------------------------------------- */

int gmk_det_arrive(gmk_front_t *f, const gmk_det_msg_t *m)
{
    struct gmk_det *d = f->core->det;
    if (gmk_det_over(f->core) < 0)
        return gmk_det_over(f->core);
    gmk_det_item_t *i = gmk_det_item_new(f, &m->task);
    if (i == NULL)
        return gmk_det_out_of_memory(f->core);
    gmk_task_born(f, &i->task, 0);
    i->chan = m->chan;
    i->major = m->major;
    i->minor = m->minor;
    push(&d->arrived, i);
    return GMK_OK;
}

void gmk_det_expand_tick(gmk_front_t *f)
{
    struct gmk_det *d = f->core->det;
    for (gmk_det_item_t *i; (i = pop(&d->arrived)) != NULL;) {
        i->tick = d->done_tick;
        i->sub = (uint16_t)((1 - d->side) << 8);
        i->born = i->major == 0 ? 0 : d->done_tick - 1;
        push(&d->due, i);
    }
    d->near = gmk_det_expand(f, d->due);
    d->due = (gmk_det_list_t){0};
    d->told = d->near.first;
}

bool gmk_det_tell(gmk_core_t *k, gmk_det_place_t *out)
{
    const gmk_det_item_t *i = k->det->told;
    if (i == NULL)
        return false;
    k->det->told = i->next;
    *out = (gmk_det_place_t){.tick = i->tick,
                             .born = i->born,
                             .major = i->major,
                             .minor = i->minor,
                             .type = i->task.type,
                             .prio = gmk_prio(&i->task),
                             .sub = i->sub};
    return true;
}

/* Failures are remembered with their tick, the latest of them: more than poison takes do not matter. */
bool gmk_det_tell_failed(const gmk_core_t *k, uint32_t *type, uint32_t *n)
{
    const struct gmk_det *d = k->det;
    for (; *type < k->n_types; ++*type) {
        if ((gmk_load64(&d->failed[*type / 64], GMK_ACQ, GMK_KERNEL) >> (*type % 64) & 1) == 0)
            continue;
        *n = 0;
        for (uint32_t i = 0; i < k->poison_failures; i++)
            *n += gmk_load64(&k->types[*type].fail_at[i], GMK_ACQ, GMK_KERNEL) == d->last_tick + 1;
        return true;
    }
    return false;
}

void gmk_det_far(gmk_front_t *f, const gmk_det_place_t *p)
{
    gmk_task_t t = {.type = p->type, .flags = (uint16_t)(p->prio & GMK_PRIO_MASK)};
    gmk_det_item_t *i = gmk_det_item_new(f, &t);
    if (i == NULL) {
        (void)gmk_det_out_of_memory(f->core);
        return;
    }
    i->far = true;
    i->tick = p->tick;
    i->born = p->born;
    i->major = p->major;
    i->minor = p->minor;
    i->sub = (uint16_t)p->sub;
    push(&f->core->det->far, i);
}

void gmk_det_far_failed(gmk_front_t *f, uint32_t type, uint32_t n)
{
    gmk_task_t t = {.type = type};
    gmk_det_item_t *i = type < f->core->n_types ? gmk_det_item_new(f, &t) : NULL;
    if (i == NULL)
        return;
    i->far = true;
    i->minor = n;
    push(&f->core->det->failures, i);
}

/* A type that both kernels have is poisoned on both, by what failed on either. */
static void note_failures(gmk_front_t *f)
{
    gmk_core_t *k = f->core;
    gmk_hal_lock_acquire(&k->control);
    for (gmk_det_item_t *i; (i = pop(&k->det->failures)) != NULL; gmk_det_item_free(f, i)) {
        gmk_type_t *ty = &k->types[i->task.type];
        if (gmk_load32(&ty->taken, GMK_ACQ, GMK_KERNEL) == 0)
            continue;
        for (uint64_t n = 0; n < i->minor && n < k->poison_failures; n++) {
            uint32_t at = gmk_add32(&ty->fails, 1, GMK_ACQ_REL, GMK_KERNEL) % k->poison_failures;
            gmk_store64(&ty->fail_at[at], k->det->last_tick + 1, GMK_REL, GMK_KERNEL);
        }
        gmk_det_failed(k, i->task.type);
    }
    gmk_hal_lock_release(&k->control);
}

bool gmk_det_start(gmk_front_t *f)
{
    struct gmk_det *d = f->core->det;
    gmk_det_list_t all = d->near;
    note_failures(f);
    gmk_det_poison(f);
    for (gmk_det_item_t *i; (i = pop(&d->far)) != NULL;)
        push(&all, i);
    d->near = (gmk_det_list_t){0};
    d->told = NULL;
    return gmk_det_rank(f, all, true) && gmk_det_run_tick(f);
}

/* ---- the end ------------------------------------------------------------------------------- */

static void drop(gmk_front_t *f, gmk_det_list_t *l)
{
    gmk_det_drop_list(f, l->first);
    *l = (gmk_det_list_t){0};
}

void gmk_det_abandon(gmk_front_t *f)
{
    struct gmk_det *d = f->core->det;
    gmk_hal_lock_acquire(&f->core->control);
    for (gmk_det_item_t *i; (i = pop(&d->leaving)) != NULL; gmk_det_item_free(f, i))
        gmk_drop(f, &i->task, GMK_DROP_BRIDGE);
    gmk_hal_lock_release(&f->core->control);
    drop(f, &d->due);
    drop(f, &d->arrived);
    drop(f, &d->near);
    drop(f, &d->far);
    drop(f, &d->failures);
    d->told = NULL;
}
