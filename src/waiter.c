/* SPDX-License-Identifier: MIT */
/*
 * waiter.c — tasks that wait for credits of a channel.
 *
 * A waiter is a node on the channel's list: a task's own, or the one in a suspended mailbox.  Who
 * gives credits back looks at the number of waiters after a full fence; who adds itself looks at
 * the credits after one; so either sees the other.  The list has one consumer at a time, the
 * holder of waiters_busy, and whoever lets go of it looks again.
 */
#include "channel.h"
#include "say.h"

static uint32_t wanted(const gmk_channel_t *c, const gmk_node_t *n)
{
    uint32_t limit = gmk_prio(&n->task) == 0 ? c->slots : c->slots_low;
    return n->aux < limit ? n->aux : limit;
}

void gmk_waiter_add(gmk_front_t *f, gmk_channel_t *c, gmk_node_t *n)
{
    if ((n->task.flags & GMK_TASK_CHANNEL_MSG) != 0) {
        uint32_t from = gmk_delivery_chan(n->task.channel);
        (void)gmk_or64(&c->wait_from[from >> 6], (uint64_t)1 << (from & 63), GMK_ACQ_REL, GMK_KERNEL);
    }
    (void)gmk_add64(&f->core->waiting, 1, GMK_ACQ_REL, GMK_KERNEL);
    (void)gmk_add32(&c->waiters, 1, GMK_ACQ_REL, GMK_KERNEL);
    uint32_t want = wanted(c, n), prio = gmk_prio(&n->task);
    gmk_mpsc_push(&c->waiter_list, &n->t.link);
    gmk_fence(GMK_SEQ, GMK_KERNEL); /* pairs with gmk_waiter_check */
    if (gmk_chan_free(c, prio) >= want || (gmk_load64(&c->in.word, GMK_ACQ, GMK_KERNEL) & GMK_W_CLOSED) != 0)
        gmk_waiter_wake(f, c);
}

static void wake_ports(gmk_core_t *k, gmk_channel_t *c)
{
    if (gmk_load64(&c->port_waiters, GMK_RLX, GMK_KERNEL) == 0)
        return;
    uint64_t bits = gmk_xchg64(&c->port_waiters, 0, GMK_ACQ_REL, GMK_KERNEL);
    for (; bits != 0; bits &= bits - 1)
        gmk_hal_park_wake(&k->ports[__builtin_ctzll(bits)].park);
}

gmk_node_t *gmk_waiter_take(gmk_channel_t *c)
{
    gmk_node_t *n = c->first_waiter;
    if (n == NULL) {
        gmk_link_t *l = gmk_mpsc_pop(&c->waiter_list);
        n = l == NULL ? NULL : gmk_node_of(l);
    }
    c->first_waiter = NULL;
    return n;
}

static void waiter_gone(gmk_front_t *f, gmk_channel_t *c)
{
    (void)gmk_sub64(&f->core->waiting, 1, GMK_ACQ_REL, GMK_KERNEL);
    if (gmk_sub32(&c->waiters, 1, GMK_ACQ_REL, GMK_KERNEL) == 1)
        for (uint32_t i = 0; i < 4; i++)
            gmk_store64(&c->wait_from[i], 0, GMK_RLX, GMK_KERNEL);
}

/* Lets waiters go on while there are credits for them.  Returns how many the first left wants, 0 = none left. */
static uint32_t wake_some(gmk_front_t *f, gmk_channel_t *c)
{
    uint64_t granted = 0;
    for (;;) {
        gmk_node_t *n = gmk_waiter_take(c);
        if (n == NULL)
            return 0;
        uint32_t want = wanted(c, n);
        bool closed = (gmk_load64(&c->in.word, GMK_ACQ, GMK_KERNEL) & GMK_W_CLOSED) != 0;
        if (!closed && gmk_chan_free(c, gmk_prio(&n->task)) < granted + want) {
            c->first_waiter = n;
            return want;
        }
        granted += want;
        waiter_gone(f, c);
        gmk_resume(f, n);
    }
}

void gmk_waiter_wake(gmk_front_t *f, gmk_channel_t *c)
{
    wake_ports(f->core, c);
    while (gmk_load32(&c->waiters, GMK_ACQ, GMK_KERNEL) != 0 && gmk_flag_try(&c->waiters_busy)) {
        uint32_t want = wake_some(f, c);
        uint32_t prio = c->first_waiter != NULL ? gmk_prio(&c->first_waiter->task) : 0;
        gmk_flag_release(&c->waiters_busy);
        gmk_fence(GMK_SEQ, GMK_KERNEL); /* let go, then look again: pairs with gmk_waiter_check */
        if (want == 0 ? gmk_mpsc_empty(&c->waiter_list) : gmk_chan_free(c, prio) < want)
            return;
    }
}

void gmk_resume(gmk_front_t *f, gmk_node_t *n)
{
    if (n->kind == GMK_NODE_POOL) {
        gmk_task_t t = n->task;
        gmk_enqueue_core(f, &t, 1, GMK_ENQ_YIELD, n);
        return;
    }
    gmk_mailbox_t *m = (gmk_mailbox_t *)(void *)((char *)n - offsetof(gmk_mailbox_t, pause));
    gmk_store32(&n->busy, 0, GMK_REL, GMK_KERNEL);
    gmk_inlet_requeue(f, m->in);
}

/* ---- circles ------------------------------------------------------------------------------ */

static bool waits_on(gmk_core_t *k, uint32_t from, uint32_t on)
{
    gmk_channel_t *c = gmk_chan_at(k, on);
    return c != NULL && gmk_load32(&c->waiters, GMK_ACQ, GMK_KERNEL) != 0 &&
           (gmk_load64(&c->wait_from[from >> 6], GMK_ACQ, GMK_KERNEL) >> (from & 63) & 1) != 0;
}

static uint32_t next_waited(gmk_core_t *k, uint32_t from, uint32_t after)
{
    for (uint32_t on = after; on < GMK_MAX_CHANNELS; on++)
        if (waits_on(k, from, on))
            return on;
    return GMK_MAX_CHANNELS;
}

static void report_circle(gmk_core_t *k, const uint8_t *path, uint32_t from, uint32_t depth)
{
    gmk_out_t o;
    gmk_say(&o, k->name);
    gmk_out_str(&o, "channels wait for each other: ");
    for (uint32_t i = from; i <= depth; i++) {
        gmk_channel_t *c = gmk_chan_at(k, i == depth ? path[from] : path[i]);
        gmk_out_str(&o, c == NULL ? "?" : c->name);
        if (i < depth)
            gmk_out_str(&o, " -> ");
    }
    gmk_said(&o);
}

/* With the control lock: channels are freed under it. */
static uint32_t report_cycles(gmk_core_t *k)
{
    uint8_t path[GMK_MAX_CHANNELS];
    uint32_t next[GMK_MAX_CHANNELS];
    bool done[GMK_MAX_CHANNELS] = {false};
    uint32_t found = 0;
    for (uint32_t root = 0; root < GMK_MAX_CHANNELS; root++) {
        uint32_t depth = 0;
        if (done[root] || next_waited(k, root, 0) == GMK_MAX_CHANNELS)
            continue;
        path[0] = (uint8_t)root;
        next[0] = 0;
        while (true) {
            uint32_t on = next_waited(k, path[depth], next[depth]);
            if (on == GMK_MAX_CHANNELS) {
                done[path[depth]] = true;
                if (depth-- == 0)
                    break;
                continue;
            }
            next[depth] = on + 1;
            uint32_t at = 0;
            while (at <= depth && path[at] != on)
                at++;
            if (at <= depth) {
                report_circle(k, path, at, depth + 1);
                found++;
            } else if (!done[on] && depth + 1 < GMK_MAX_CHANNELS) {
                path[++depth] = (uint8_t)on;
                next[depth] = 0;
            }
        }
    }
    return found;
}

uint32_t gmk_waiter_report_cycles(gmk_core_t *k)
{
    gmk_hal_lock_acquire(&k->control);
    uint32_t found = report_cycles(k);
    gmk_hal_lock_release(&k->control);
    return found;
}
