/* SPDX-License-Identifier: MIT */
/* api_chan.c — the public channel calls. */
#include "api.h"
#include "boot.h"
#include "det.h"

#define CHUNK 32u

/* Runs a control operation with the lock; every one of them is a few steps long. */
static void control_begin(gmk_front_t *f)
{
    gmk_enter(f);
    gmk_hal_lock_acquire(&f->core->control);
}

static int control_end(gmk_front_t *f, int rc)
{
    gmk_hal_lock_release(&f->core->control);
    if (rc < 0)
        (void)gmk_refuse(f, rc);
    gmk_leave(f);
    return rc;
}

int gmk_chan_open(gmk_ctx_t *c, const gmk_chan_cfg_t *cfg, gmk_chan_t *out)
{
    if (!gmk_ctx_ok(c) || cfg == NULL || out == NULL || cfg->name == NULL)
        return GMK_ERR_INVAL;
    gmk_chan_cfg_t copy = *cfg;
    char name[GMK_NAME_MAX + 2] = {0};
    for (uint32_t i = 0; i <= GMK_NAME_MAX && copy.name[i] != '\0'; i++)
        name[i] = copy.name[i];
    copy.name = name;
    uint32_t handle = 0;
    control_begin(c->front);
    int rc = gmk_check_up(c->front);
    if (rc == GMK_OK)
        rc = gmk_channel_open(c->front, &copy, false, &handle);
    rc = control_end(c->front, rc);
    out->id = handle;
    return rc;
}

int gmk_chan_find(gmk_ctx_t *c, const char *name, gmk_chan_t *out)
{
    if (!gmk_ctx_ok(c) || name == NULL || out == NULL)
        return GMK_ERR_INVAL;
    uint32_t handle = 0;
    if (!gmk_name_ok(name, true))
        return gmk_refuse(c->front, GMK_ERR_INVAL);
    control_begin(c->front);
    int rc = control_end(c->front, gmk_channel_find(c->front->core, name, &handle));
    out->id = handle;
    return rc;
}

int gmk_chan_sub(gmk_ctx_t *c, gmk_chan_t ch, const gmk_sub_cfg_t *cfg, gmk_sub_t *out)
{
    if (!gmk_ctx_ok(c) || cfg == NULL)
        return GMK_ERR_INVAL;
    gmk_sub_cfg_t copy = *cfg;
    uint64_t sub = 0;
    control_begin(c->front);
    gmk_channel_t *chan = gmk_chan_of(c->front->core, ch.id);
    int rc = gmk_check_up(c->front);
    if (rc == GMK_OK)
        rc = chan == NULL ? GMK_CHAN_CLOSED : gmk_channel_sub(c->front, chan, &copy, &sub);
    rc = control_end(c->front, rc);
    if (out != NULL)
        out->id = sub;
    return rc;
}

int gmk_chan_unsub(gmk_ctx_t *c, gmk_sub_t sub)
{
    if (!gmk_ctx_ok(c))
        return GMK_ERR_INVAL;
    uint32_t delivery = (uint32_t)sub.id;
    control_begin(c->front);
    gmk_channel_t *chan = gmk_chan_of(c->front->core, delivery);
    gmk_mailbox_t *m = chan == NULL || sub.id == 0 ? NULL : gmk_sub_at(chan, gmk_delivery_sub(delivery));
    if (m == NULL || (m->generation & UINT32_MAX) != sub.id >> 32 ||
        gmk_load32(&m->leaving, GMK_ACQ, GMK_KERNEL) != 0)
        return control_end(c->front, GMK_ERR_NOTFOUND);
    gmk_channel_unsub(c->front, m, GMK_DROP_CLOSED);
    return control_end(c->front, GMK_OK);
}

int gmk_chan_close(gmk_ctx_t *c, gmk_chan_t ch)
{
    if (!gmk_ctx_ok(c))
        return GMK_ERR_INVAL;
    control_begin(c->front);
    gmk_channel_t *chan = gmk_chan_of(c->front->core, ch.id);
    if (chan == NULL || gmk_load32(&chan->closing, GMK_ACQ, GMK_KERNEL) != 0)
        return control_end(c->front, GMK_CHAN_CLOSED);
    if (chan->sys)
        return control_end(c->front, GMK_ERR_INVAL);
    gmk_channel_close(c->front, chan, GMK_DROP_CLOSED);
    return control_end(c->front, GMK_OK);
}

int gmk_chan_on_error(gmk_ctx_t *c, gmk_chan_t ch, uint32_t handler_type)
{
    if (!gmk_ctx_ok(c))
        return GMK_ERR_INVAL;
    control_begin(c->front);
    gmk_core_t *k = c->front->core;
    gmk_channel_t *chan = gmk_chan_of(k, ch.id);
    if (chan == NULL)
        return control_end(c->front, GMK_CHAN_CLOSED);
    if (handler_type >= k->n_types)
        return control_end(c->front, GMK_ERR_RANGE);
    if (handler_type != 0 && gmk_load64(&k->types[handler_type].fn, GMK_ACQ, GMK_KERNEL) == 0)
        return control_end(c->front, GMK_ERR_NOTFOUND);
    gmk_store32(&chan->on_error, handler_type, GMK_REL, GMK_KERNEL);
    return control_end(c->front, GMK_OK);
}

/* ---- emit --------------------------------------------------------------------------------- */

static int check_message(gmk_core_t *k, const gmk_channel_t *c, const gmk_task_t *t)
{
    if (t->type != 0 && c->msg_type != 0 && t->type != c->msg_type)
        return GMK_CHAN_TYPE_MISMATCH;
    return gmk_check_task(k, t);
}

/* The first so many messages that are valid, of one priority, and, like the first, for no tick. */
static int emit_run(gmk_front_t *f, gmk_channel_t *c, gmk_task_t *t, uint32_t n)
{
    uint32_t run = 0;
    int rc = GMK_OK;
    while (run < n && ((t[run].flags ^ t[0].flags) & (GMK_PRIO_MASK | GMK_TASK_DETERMINISTIC)) == 0) {
        rc = check_message(f->core, c, &t[run]);
        if (rc < 0)
            break;
        run++;
    }
    return run == 0 ? rc : gmk_chan_put(f, c, t, run);
}

static int emit_det(gmk_front_t *f, gmk_lane_t *l, gmk_channel_t *c, gmk_task_t *t)
{
    int rc = check_message(f->core, c, t);
    if (rc < 0)
        return rc;
    if ((gmk_load64(&c->in.word, GMK_ACQ, GMK_KERNEL) & GMK_W_CLOSED) != 0)
        return GMK_CHAN_CLOSED;
    if (t->type == 0)
        t->type = c->msg_type;
    uint32_t tick = (uint32_t)gmk_load64(&f->core->tick, GMK_RLX, GMK_KERNEL);
    rc = l != NULL && l->det_run != 0 ? gmk_det_emit(l, t, c->handle, 1)
                                      : gmk_det_input(f, t, c->handle, tick + 1);
    return rc < 0 ? rc : 1;
}

static int count_refusal(gmk_front_t *f, const gmk_channel_t *c, int rc)
{
    if (c != NULL)
        gmk_count(f, &f->chans[c->index].refused, 1);
    return gmk_refuse(f, rc);
}

/* The callee's own copies.  Returns how many, or an error when none, which is counted unless it is FULL and the
 * caller will try again. */
static int emit_some(gmk_front_t *f, gmk_lane_t *l, uint32_t handle, gmk_task_t *t, uint32_t n, bool again)
{
    gmk_call_begin(f);
    gmk_channel_t *c = handle == 0 ? NULL : gmk_chan_of(f->core, handle);
    int rc = GMK_UNLIKELY(gmk_check_up(f) < 0) ? GMK_ERR_STATE : c == NULL ? GMK_CHAN_CLOSED : GMK_OK;
    if (rc == GMK_OK)
        rc = GMK_UNLIKELY((t[0].flags & GMK_TASK_DETERMINISTIC) != 0) ? emit_det(f, l, c, t)
                                                                      : emit_run(f, c, t, n);
    if (GMK_UNLIKELY(rc < 0) && !(again && rc == GMK_CHAN_FULL))
        rc = count_refusal(f, c, rc);
    gmk_call_end(f);
    return rc;
}

int gmk_chan_emit(gmk_ctx_t *c, gmk_chan_t ch, const gmk_task_t *t)
{
    if (GMK_UNLIKELY(!gmk_ctx_ok(c) || t == NULL))
        return GMK_ERR_INVAL;
    gmk_task_t copy;
    gmk_task_copy(&copy, t);
    int rc = emit_some(c->front, gmk_ctx_lane(c), ch.id, &copy, 1, false);
    return rc < 0 ? rc : GMK_OK;
}

int gmk_chan_emit_n(gmk_ctx_t *c, gmk_chan_t ch, const gmk_task_t *t, uint32_t n)
{
    gmk_task_t copy[CHUNK];
    uint32_t done = 0;
    if (!gmk_ctx_ok(c) || (t == NULL && n != 0))
        return GMK_ERR_INVAL;
    n = n < INT32_MAX ? n : INT32_MAX;
    while (done < n) {
        uint32_t want = n - done < CHUNK ? n - done : CHUNK;
        gmk_hal_memcpy(copy, t + done, want * sizeof *t);
        int got = emit_some(c->front, gmk_ctx_lane(c), ch.id, copy, want, false);
        if (got < 0)
            return done != 0 ? (int)done : got;
        done += (uint32_t)got;
    }
    return (int)done;
}

/*
 * The port's bit on the channel is set before the credits are looked at once more; who gives
 * credits back fences and then looks for bits.  A token left in the park slot by an earlier wait
 * costs one round.
 */
static void wait_for_credit(gmk_front_t *f, uint32_t handle, uint32_t prio, uint64_t timeout_ns)
{
    gmk_call_begin(f);
    gmk_channel_t *c = gmk_chan_of(f->core, handle);
    bool wait = c != NULL;
    if (wait) {
        (void)gmk_or64(&c->port_waiters, (uint64_t)1 << (f - f->core->ports), GMK_ACQ_REL, GMK_KERNEL);
        gmk_fence(GMK_SEQ, GMK_KERNEL);
        wait = gmk_chan_free(c, prio) == 0 &&
               (gmk_load64(&c->in.word, GMK_ACQ, GMK_KERNEL) & GMK_W_CLOSED) == 0;
    }
    gmk_call_end(f);
    if (wait)
        (void)gmk_hal_park_wait(&f->park, timeout_ns);
}

int gmk_chan_emit_wait(gmk_ctx_t *c, gmk_chan_t ch, const gmk_task_t *t, uint64_t timeout_ns)
{
    if (!gmk_ctx_ok(c) || t == NULL)
        return GMK_ERR_INVAL;
    if (gmk_ctx_lane(c) != NULL)
        return gmk_refuse(c->front, GMK_ERR_STATE);
    uint64_t start = gmk_hal_now_ns(), spent = 0;
    for (;;) {
        gmk_task_t copy = *t;
        int rc = emit_some(c->front, NULL, ch.id, &copy, 1, true);
        if (rc != GMK_CHAN_FULL)
            return rc < 0 ? rc : GMK_OK;
        if (spent >= timeout_ns)
            return gmk_refuse(c->front, GMK_ERR_TIMEOUT);
        wait_for_credit(c->front, ch.id, gmk_prio(t), timeout_ns - spent);
        spent = gmk_hal_now_ns() - start;
    }
}

int gmk_chan_wait(gmk_ctx_t *c, gmk_chan_t ch, uint32_t credits)
{
    if (!gmk_ctx_ok(c))
        return GMK_ERR_INVAL;
    gmk_front_t *f = c->front;
    if (gmk_ctx_lane(c) == NULL)
        return gmk_refuse(f, GMK_ERR_STATE);
    gmk_channel_t *chan = gmk_chan_of(f->core, ch.id);
    if (chan == NULL || (gmk_load64(&chan->in.word, GMK_ACQ, GMK_KERNEL) & GMK_W_CLOSED) != 0)
        return gmk_refuse(f, GMK_CHAN_CLOSED);
    if (credits == 0 || credits > chan->slots)
        return gmk_refuse(f, GMK_ERR_RANGE);
    c->phase_set = c->verdict != GMK_VERDICT_NONE && c->phase_set; /* a phase set in this run is kept */
    c->verdict = GMK_VERDICT_WAIT;
    c->wait_chan = ch.id;
    c->wait_credits = credits;
    return GMK_OK;
}

int gmk_wait_closed(gmk_ctx_t *c, gmk_chan_t ch, uint64_t timeout_ns)
{
    if (!gmk_ctx_ok(c))
        return GMK_ERR_INVAL;
    gmk_front_t *f = c->front;
    if (gmk_ctx_lane(c) != NULL)
        return gmk_refuse(f, GMK_ERR_STATE);
    uint64_t start = gmk_hal_now_ns(), spent = 0;
    for (;;) {
        uint32_t index = gmk_delivery_chan(ch.id);
        control_begin(f);
        gmk_channel_t *chan = gmk_chan_of(f->core, ch.id);
        bool open = chan != NULL && gmk_load32(&chan->closing, GMK_ACQ, GMK_KERNEL) == 0;
        bool there = f->core->chans->used[index] != 0 && f->core->chans->gen[index] == ch.id >> 13;
        (void)control_end(f, GMK_OK);
        if (open)
            return gmk_refuse(f, GMK_ERR_STATE);
        if (!there)
            return GMK_OK;
        if (spent >= timeout_ns)
            return gmk_refuse(f, GMK_ERR_TIMEOUT);
        (void)gmk_hal_park_wait(&f->park, timeout_ns - spent);
        spent = gmk_hal_now_ns() - start;
    }
}

uint32_t gmk_chan_gap(gmk_ctx_t *c)
{
    gmk_lane_t *l = gmk_ctx_ok(c) ? gmk_ctx_lane(c) : NULL;
    return l != NULL && l->mailbox != NULL ? l->mailbox->head_gap : 0;
}
