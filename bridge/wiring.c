/* SPDX-License-Identifier: MIT */
/*
 * wiring.c — which channels lead to the peer, and which come from it.
 *
 * Each kernel tells the other every channel it has open (DECL, with the module that declared it before: OWNER),
 * and whether somebody here consumes it; again whenever that changes.  A kernel that has a channel of which the
 * peer has a consumer makes an outlet on it and asks for a route; the peer answers with the messages it has
 * room for (GRANT), or that it has no such channel (REFUSE).  A bridge is READY once both have told everything
 * they had at first and every route asked for has its answer: so nothing emitted from then on goes unheard.
 *
 * Nothing here is queued: what is to be said follows from the tables (told, peer, route), and a scan that finds
 * the control ring full goes on in the next round.
 */
#include "bridge_int.h"
#include "format.h"
#include "say.h"

/* ---- control ring -------------------------------------------------------------------------- */

static bool has_room(gmk_bridge_t *b, uint32_t n) { return gmk_link_room(&b->control_out, n) >= n; }

static void tell(gmk_bridge_t *b, const gmk_control_t *c)
{
    gmk_region_slot_t *s = gmk_link_fill(&b->control_out);
    gmk_hal_memcpy(s->body, c, sizeof *c);
    s->stamp = 0;
    (void)gmk_link_publish(&b->control_out);
    b->signal = true;
}

static gmk_control_t about(uint8_t op, const char *name)
{
    gmk_control_t c = {.op = op};
    if (name != NULL)
        gmk_name_copy(c.u.name, name);
    return c;
}

/* ---- what disagrees ------------------------------------------------------------------------ */

/* Text for the console, the stats and the peer, cut at GMK_BRIDGE_TEXT. */
typedef struct gmk_cut_text {
    char text[GMK_BRIDGE_TEXT];
    uint32_t n;
} gmk_cut_text_t;

static int cut_write(void *arg, const void *data, size_t size)
{
    gmk_cut_text_t *c = arg;
    const char *from = data;
    for (size_t i = 0; i < size && c->n < GMK_BRIDGE_TEXT - 1; i++)
        c->text[c->n++] = from[i];
    c->text[c->n] = '\0';
    return 0;
}

static const char *owner_of(const gmk_bridge_t *b, const gmk_channel_t *c)
{
    uint32_t owner = b->k->registry->chan_owner[c->index];
    return owner != 0 && b->k->registry->mods[owner - 1].module != NULL
             ? b->k->registry->mods[owner - 1].module->name
             : "";
}

static void out_side(gmk_out_t *o, const char *kernel, const char *module)
{
    gmk_out_str(o, " by ");
    gmk_out_str(o, kernel);
    if (module[0] != '\0') {
        gmk_out_str(o, " ");
        gmk_out_quoted(o, module);
    }
}

/* `channel "x": WHAT 5 by cpu.0 "a", 7 by gpu.0 "b"`.  Before READY the bridge fails, later the peer's is not wired. */
static void disagree(gmk_bridge_t *b, gmk_channel_t *c, gmk_peer_chan_t *p, const char *what, uint32_t mine,
                     uint32_t theirs, int code)
{
    gmk_cut_text_t cut = {.n = 0};
    gmk_out_t o;
    gmk_out_begin(&o, cut_write, &cut);
    gmk_out_str(&o, "channel ");
    gmk_out_quoted(&o, c->name);
    gmk_out_str(&o, ": ");
    gmk_out_str(&o, what);
    gmk_out_u64(&o, mine);
    out_side(&o, b->v.name[b->v.side], owner_of(b, c));
    gmk_out_str(&o, ", ");
    gmk_out_u64(&o, theirs);
    out_side(&o, b->v.name[1 - b->v.side], p->owner);
    (void)gmk_out_end(&o);
    p->known = 2;
    if (gmk_bridge_state(b) == GMK_BRIDGE_HELLO) {
        gmk_bridge_fail(b, code, cut.text, NULL);
    } else if ((b->k->flags & GMK_BOOT_QUIET) == 0) {
        gmk_say(&o, b->k->name);
        gmk_out_str(&o, cut.text);
        gmk_out_str(&o, ": not joined");
        gmk_said(&o);
    }
}

/* Somebody in this kernel gets the channel's messages, but for this bridge. */
static bool consumed_here(const gmk_bridge_t *b, gmk_channel_t *c)
{
    for (uint32_t i = 0; i < GMK_MAX_SUBS; i++) {
        gmk_mailbox_t *m = gmk_sub_at(c, i);
        if (m != NULL && gmk_load32(&m->leaving, GMK_ACQ, GMK_KERNEL) == 0 &&
            gmk_load64(&m->port, GMK_ACQ, GMK_KERNEL) != (uint64_t)(uintptr_t)b->f)
            return true;
    }
    return false;
}

/* False: they disagree, and that has been said. */
static bool agree(gmk_bridge_t *b, gmk_channel_t *c, gmk_peer_chan_t *p)
{
    if (p->msg_type != c->msg_type)
        disagree(b, c, p, "message type ", c->msg_type, p->msg_type, GMK_CHAN_TYPE_MISMATCH);
    else if (p->mode != c->mode)
        disagree(b, c, p, "mode ", c->mode, p->mode, GMK_ERR_INVAL);
    else if (p->guarantee != c->guarantee)
        disagree(b, c, p, "guarantee ", c->guarantee, p->guarantee, GMK_ERR_INVAL);
    else if (c->mode == GMK_P2P && (p->flags & GMK_CONTROL_CONSUMES) != 0 && consumed_here(b, c))
        disagree(b, c, p, "GMK_P2P and consumed on both sides: ", 1, 1, GMK_CHAN_ALREADY_BOUND);
    return p->known == 1;
}

/* ---- the peer's channels ------------------------------------------------------------------- */

static gmk_peer_chan_t *peer_chan(gmk_bridge_t *b, const char *name)
{
    for (uint32_t i = 0; i < GMK_MAX_CHANNELS; i++)
        if (b->peer[i].known != 0 && gmk_name_same(b->peer[i].name, name))
            return &b->peer[i];
    return NULL;
}

static void hear_decl(gmk_bridge_t *b, const gmk_control_t *c)
{
    gmk_peer_chan_t *p = peer_chan(b, c->u.name);
    for (uint32_t i = 0; p == NULL && i < GMK_MAX_CHANNELS; i++)
        if (b->peer[i].known == 0)
            p = &b->peer[i];
    if (p == NULL) {
        gmk_bridge_fail(b, GMK_ERR_INVAL, "the peer has more than 256 channels", NULL);
        return;
    }
    bool same = p->known == 2 && gmk_name_same(p->name, c->u.name) && p->msg_type == c->msg_type &&
                p->mode == c->mode && p->guarantee == c->guarantee && p->flags == c->flags;
    if (same)
        return; /* they disagree, and that has been said */
    *p = (gmk_peer_chan_t){.msg_type = c->msg_type,
                           .slots = c->slots,
                           .mode = c->mode,
                           .guarantee = c->guarantee,
                           .flags = c->flags,
                           .handle = c->route,
                           .known = 1};
    gmk_name_copy(p->name, c->u.name);
    gmk_name_copy(p->owner, b->heard_owner);
    b->heard_owner[0] = '\0';
    for (uint32_t i = 0; i < b->n_out; i++) {
        gmk_route_out_t *r = &b->route_out[b->active_out[i]];
        if (r->state == GMK_ROUTE_REFUSED && gmk_name_same(b->told[b->active_out[i]].name, p->name))
            r->state = GMK_ROUTE_WANTED; /* it has the channel now */
    }
}

/* The open channel of this name; with the control lock. */
static gmk_channel_t *find(const gmk_bridge_t *b, const char *name)
{
    uint32_t handle;
    return gmk_channel_find(b->k, name, &handle) == GMK_OK ? gmk_chan_of(b->k, handle) : NULL;
}

/*
 * A channel that was closed there is closed here, where the two were one.  The peer says which one of the name it
 * means, of its own and of ours: both may have been opened again meanwhile.
 */
static void hear_close(gmk_bridge_t *b, const gmk_control_t *c)
{
    gmk_peer_chan_t *p = peer_chan(b, c->u.name);
    if (p != NULL && p->handle == c->route)
        p->known = 0;
    gmk_hal_lock_acquire(&b->k->control);
    gmk_channel_t *mine = find(b, c->u.name);
    if (mine != NULL && mine->handle == c->msg_type && mine->sys == 0)
        gmk_channel_close(b->f, mine, GMK_DROP_CLOSED);
    gmk_hal_lock_release(&b->k->control);
}

static void hear_route(gmk_bridge_t *b, const gmk_control_t *c)
{
    gmk_route_in_t *r = &b->route_in[c->route];
    if (r->open && r->received != r->delivered) {
        gmk_bridge_fail(b, GMK_ERR_INVAL, "the peer made a route anew with messages under way", NULL);
        return;
    }
    gmk_route_in_end(b, c->route);
    gmk_hal_lock_acquire(&b->k->control);
    gmk_channel_t *chan = find(b, c->u.name);
    if (chan != NULL && chan->sys && !(b->v.side == 0 && gmk_trace_joined(b, chan)))
        chan = NULL;
    uint32_t handle = chan != NULL ? chan->handle : 0;
    gmk_hal_lock_release(&b->k->control);
    r->refused = chan == NULL ? GMK_ERR_NOTFOUND : gmk_route_in_open(b, c->route, handle);
    r->with = c->slots;
    r->question = c->msg_type;
    r->answer_due = true;
    b->answers_due = true;
}

static void hear_answer(gmk_bridge_t *b, const gmk_control_t *c)
{
    gmk_route_out_t *r = &b->route_out[c->route];
    if (c->msg_type != r->question && c->slots != 0)
        return; /* the channel that it was asked for was closed meanwhile */
    if (r->state != GMK_ROUTE_ASKED || (c->op == GMK_CONTROL_GRANT && c->slots == 0)) {
        gmk_bridge_fail(b, GMK_ERR_INVAL, "the peer answers what it was not asked", NULL);
        return;
    }
    if (c->op == GMK_CONTROL_REFUSE) {
        r->state = GMK_ROUTE_REFUSED;
        return;
    }
    r->granted = c->slots < b->cfg.window ? c->slots : b->cfg.window;
    r->base = r->acked;
    r->with = (uint32_t)c->u.time[0];
    r->state = GMK_ROUTE_OPEN;
    if (!r->held)
        return;
    gmk_hal_lock_acquire(&b->k->control); /* or a close that comes just now would be undone */
    gmk_channel_t *chan = gmk_chan_of(b->k, r->handle);
    if (chan != NULL)
        gmk_channel_hold(b->f, chan, false);
    gmk_hal_lock_release(&b->k->control);
    r->held = false;
}

static bool name_ends(const gmk_control_t *c)
{
    for (uint32_t i = 0; i <= GMK_NAME_MAX; i++)
        if (c->u.name[i] == '\0')
            return true;
    return false;
}

static bool well_formed(const gmk_control_t *c)
{
    switch (c->op) {
    case GMK_CONTROL_OWNER: return name_ends(c) && (c->u.name[0] == '\0' || gmk_name_ok(c->u.name, false));
    case GMK_CONTROL_DECL:
        return name_ends(c) && gmk_name_ok(c->u.name, true) && c->mode <= GMK_FANOUT &&
               c->guarantee <= GMK_LOSSY;
    case GMK_CONTROL_ROUTE: return name_ends(c) && c->route < GMK_REGION_ROUTES;
    case GMK_CONTROL_CLOSE: return name_ends(c);
    case GMK_CONTROL_GRANT:
    case GMK_CONTROL_REFUSE: return c->route < GMK_REGION_ROUTES;
    default: return c->op >= GMK_CONTROL_OWNER && c->op <= GMK_CONTROL_TRACE;
    }
}

static void hear(gmk_bridge_t *b, const gmk_control_t *c)
{
    if (!well_formed(c)) {
        gmk_bridge_fail(b, GMK_ERR_INVAL, "the peer sent a control message that is none", NULL);
        return;
    }
    switch (c->op) {
    case GMK_CONTROL_OWNER: gmk_name_copy(b->heard_owner, c->u.name); break;
    case GMK_CONTROL_DECL: hear_decl(b, c); break;
    case GMK_CONTROL_END: b->heard_all = true; break;
    case GMK_CONTROL_ROUTE: hear_route(b, c); break;
    case GMK_CONTROL_GRANT:
    case GMK_CONTROL_REFUSE: hear_answer(b, c); break;
    case GMK_CONTROL_CLOSE: hear_close(b, c); break;
    case GMK_CONTROL_PING:
        b->pong_due = true;
        b->pong[0] = c->u.time[0];
        b->pong[1] = b->now;
        break;
    case GMK_CONTROL_TRACE: gmk_trace_asked(b, c); break;
    default: gmk_beat_pong(b, c); break;
    }
}

bool gmk_wiring_take(gmk_bridge_t *b)
{
    uint32_t n = gmk_link_ready(&b->control_in, b->control_in.mask + 1);
    if (b->control_in.broken) {
        gmk_bridge_fail(b, GMK_ERR_INVAL, "the peer's control ring is damaged", NULL);
        return false;
    }
    for (uint32_t i = 0; i < n && gmk_bridge_state(b) != GMK_BRIDGE_FAILED; i++) {
        gmk_control_t c;
        gmk_link_copy(&c, gmk_link_slot(&b->control_in, i));
        hear(b, &c);
        b->scan_due |= c.op != GMK_CONTROL_PING && c.op != GMK_CONTROL_PONG;
    }
    if (n != 0) {
        gmk_link_took(&b->control_in, n);
        b->signal = true;
    }
    return n != 0;
}

/* ---- our channels -------------------------------------------------------------------------- */

static bool answer(gmk_bridge_t *b)
{
    for (uint32_t route = 0; route < GMK_REGION_ROUTES; route++) {
        gmk_route_in_t *r = &b->route_in[route];
        if (!r->answer_due)
            continue;
        if (!has_room(b, 1))
            return false;
        gmk_control_t c = about(r->refused < 0 ? GMK_CONTROL_REFUSE : GMK_CONTROL_GRANT, NULL);
        c.route = route;
        c.msg_type = r->question;
        c.slots = r->refused < 0 ? (uint32_t)r->refused : b->cfg.window;
        c.u.time[0] = r->handle;
        r->answer_due = false;
        tell(b, &c);
    }
    b->answers_due = false;
    return true;
}

/* Channels that are this kernel's alone. */
static bool is_private(const gmk_bridge_t *b, const gmk_channel_t *c)
{
    return c->sys != 0 && !gmk_trace_joined(b, c);
}

static bool tell_channel(gmk_bridge_t *b, gmk_channel_t *c, uint8_t flags)
{
    gmk_told_t *t = &b->told[c->index];
    if (t->handle == c->handle && t->flags == flags)
        return true;
    if (!has_room(b, 2))
        return false;
    gmk_control_t owner = about(GMK_CONTROL_OWNER, owner_of(b, c)), decl = about(GMK_CONTROL_DECL, c->name);
    decl.mode = (uint8_t)c->mode;
    decl.guarantee = (uint8_t)c->guarantee;
    decl.flags = flags;
    decl.msg_type = c->msg_type;
    decl.slots = c->slots;
    decl.route = c->handle;
    tell(b, &owner);
    tell(b, &decl);
    t->handle = c->handle;
    t->flags = flags;
    gmk_name_copy(t->name, c->name);
    return true;
}

/* Which one of the peer's it was one with, in either direction; 0 = none. */
static uint32_t joined_with(const gmk_bridge_t *b, uint32_t handle)
{
    for (uint32_t i = 0; i < b->n_out; i++)
        if (b->route_out[b->active_out[i]].handle == handle)
            return b->route_out[b->active_out[i]].with;
    for (uint32_t i = 0; i < b->n_in; i++)
        if (b->route_in[b->active_in[i]].handle == handle)
            return b->route_in[b->active_in[i]].with;
    return 0;
}

static bool tell_closed(gmk_bridge_t *b, gmk_told_t *t)
{
    if (!has_room(b, 1))
        return false;
    gmk_control_t c = about(GMK_CONTROL_CLOSE, t->name);
    c.route = t->handle;
    c.msg_type = joined_with(b, t->handle);
    tell(b, &c);
    t->handle = 0;
    return true;
}

static int route_begin(gmk_bridge_t *b, gmk_channel_t *c)
{
    gmk_route_out_t *r = &b->route_out[c->index];
    gmk_ledger_t *ledger = gmk_heap_alloc(&b->k->heap, &b->f->heap, b->cfg.window * sizeof *ledger);
    uint64_t sub = 0;
    int rc = ledger == NULL ? GMK_ALLOC_FAIL : gmk_channel_outlet(b->f, c, &sub);
    if (rc < 0) {
        gmk_heap_free(&b->k->heap, &b->f->heap, ledger);
        return rc;
    }
    *r = (gmk_route_out_t){.state = GMK_ROUTE_WANTED, .handle = c->handle, .sub = sub, .ledger = ledger};
    b->active_out[b->n_out++] = (uint8_t)c->index;
    b->changes_seen++; /* our own */
    return GMK_OK;
}

/* Makes the channel lead to the peer where that has a consumer.  False: the bridge has failed. */
static bool join(gmk_bridge_t *b, gmk_channel_t *c)
{
    gmk_route_out_t *r = &b->route_out[c->index];
    gmk_peer_chan_t *p = peer_chan(b, c->name);
    if (p == NULL || p->known != 1 || r->state != GMK_ROUTE_NONE || (c->sys && b->v.side == 0))
        return true;
    if (!agree(b, c, p))
        return gmk_bridge_state(b) != GMK_BRIDGE_FAILED;
    if ((p->flags & GMK_CONTROL_CONSUMES) == 0)
        return true;
    int rc = route_begin(b, c);
    if (rc == GMK_OK)
        return true;
    p->known = 2;
    if (gmk_bridge_state(b) == GMK_BRIDGE_HELLO) {
        gmk_bridge_fail(b, rc, c->name, " cannot be joined: no memory, or no subscription left");
        return false;
    }
    return true;
}

static bool ask(gmk_bridge_t *b, uint32_t route, const char *name)
{
    gmk_route_out_t *r = &b->route_out[route];
    if (r->state != GMK_ROUTE_WANTED)
        return true;
    if (!has_room(b, 1))
        return false;
    gmk_control_t c = about(GMK_CONTROL_ROUTE, name);
    c.route = route;
    c.slots = r->handle;
    c.msg_type = r->question = ++b->questions;
    r->state = GMK_ROUTE_ASKED;
    tell(b, &c);
    return true;
}

/* A route whose outlet has ended with its channel, and has no messages left; and no copy is under way to its part. */
static void sweep(gmk_bridge_t *b, uint32_t route)
{
    gmk_route_out_t *r = &b->route_out[route];
    if (r->state != GMK_ROUTE_NONE && gmk_outlet_find(b->k, r->sub) == NULL &&
        gmk_bulk_is_done(&b->bulk_out, r->ordered))
        gmk_route_out_end(b, route);
}

/* The channel in one place of the table, NULL = none that the peer is to know. */
static gmk_channel_t *channel_at(const gmk_bridge_t *b, uint32_t index)
{
    gmk_channel_t *c = gmk_chan_at(b->k, index);
    return c != NULL && !is_private(b, c) && gmk_load32(&c->closing, GMK_ACQ, GMK_KERNEL) == 0 ? c : NULL;
}

/* What ended there.  Before anything new is told: a name may have moved to a place further up.  False: stop here. */
static bool scan_ended(gmk_bridge_t *b, uint32_t index)
{
    const gmk_channel_t *c = channel_at(b, index);
    gmk_told_t *t = &b->told[index];
    if (t->handle != 0 && (c == NULL || t->handle != c->handle) && !tell_closed(b, t))
        return false;
    sweep(b, index);
    return true;
}

/*
 * The peer's last consumer of a fan-out channel went: what is emitted from now on is not for it.  A P2P channel stays
 * joined, for messages wait for the next consumer, who may come there.
 */
static void leave(gmk_bridge_t *b, gmk_channel_t *c)
{
    gmk_route_out_t *r = &b->route_out[c->index];
    gmk_peer_chan_t *p = peer_chan(b, c->name);
    gmk_mailbox_t *m = r->state == GMK_ROUTE_OPEN && c->mode == GMK_FANOUT ? gmk_outlet_find(b->k, r->sub)
                                                                           : NULL;
    if (m == NULL || p == NULL || (p->flags & GMK_CONTROL_CONSUMES) != 0 || r->taken != r->acked)
        return;
    gmk_outlet_end(b->f, m, GMK_DROP_CLOSED);
    gmk_route_out_end(b, c->index);
    b->changes_seen++;
}

/* What is to be said and done about a channel.  False: stop here. */
static bool scan_one(gmk_bridge_t *b, uint32_t index)
{
    gmk_channel_t *c = channel_at(b, index);
    if (c == NULL)
        return true;
    leave(b, c);
    bool consumes = c->sys ? b->v.side == 0 : consumed_here(b, c);
    if (!tell_channel(b, c, consumes ? GMK_CONTROL_CONSUMES : 0) || !join(b, c))
        return false;
    return !b->heard_all || ask(b, index, c->name);
}

/* With the control lock. */
static bool scan(gmk_bridge_t *b)
{
    for (uint32_t i = 0; i < GMK_MAX_CHANNELS; i++)
        if (!scan_ended(b, i))
            return false;
    for (uint32_t i = 0; i < GMK_MAX_CHANNELS; i++)
        if (!scan_one(b, i))
            return false;
    if (!b->told_all) {
        if (!has_room(b, 1))
            return false;
        gmk_control_t c = about(GMK_CONTROL_END, NULL);
        tell(b, &c);
        b->told_all = true;
    }
    return true;
}

bool gmk_wiring_ready(gmk_bridge_t *b)
{
    if (!b->told_all || !b->heard_all)
        return false;
    for (uint32_t i = 0; i < b->n_out; i++) {
        enum gmk_route_state s = b->route_out[b->active_out[i]].state;
        if (s == GMK_ROUTE_WANTED || s == GMK_ROUTE_ASKED)
            return false;
    }
    return true;
}

static void pong(gmk_bridge_t *b)
{
    if (!b->pong_due || !has_room(b, 1))
        return;
    gmk_control_t c = {.op = GMK_CONTROL_PONG};
    c.u.time[0] = b->pong[0];
    c.u.time[1] = b->pong[1];
    c.u.time[2] = gmk_hal_now_ns();
    b->pong_due = false;
    tell(b, &c);
}

/* Channels that are being closed keep their routes for a while: they are looked at until they are gone. */
static bool closing_route(gmk_bridge_t *b)
{
    for (uint32_t i = 0; i < b->n_out; i++)
        if (gmk_outlet_find(b->k, b->route_out[b->active_out[i]].sub) == NULL)
            return true;
    return false;
}

static bool ask_traces(gmk_bridge_t *b)
{
    gmk_control_t c;
    if (!gmk_trace_ask_due(b) || !has_room(b, 1))
        return false;
    gmk_trace_ask(b, &c);
    tell(b, &c);
    return true;
}

bool gmk_wiring_round(gmk_bridge_t *b)
{
    uint64_t changes = gmk_load64(&b->k->chans->changes, GMK_ACQ, GMK_KERNEL);
    bool any = b->answers_due || b->pong_due;
    pong(b);
    any |= ask_traces(b);
    if (b->answers_due)
        (void)answer(b);
    if (!b->scan_due && changes == b->changes_seen && !closing_route(b))
        return any;
    uint64_t said = b->control_out.tail;
    b->changes_seen = changes;
    gmk_hal_lock_acquire(&b->k->control);
    b->scan_due = !scan(b);
    gmk_hal_lock_release(&b->k->control);
    any |= said != b->control_out.tail;
    if (gmk_bridge_state(b) == GMK_BRIDGE_HELLO && !b->scan_due && gmk_wiring_ready(b)) {
        gmk_fence_join(b);
        gmk_store32(&b->state, GMK_BRIDGE_READY, GMK_REL, GMK_KERNEL);
        gmk_store64(&b->v.mine->state, GMK_BRIDGE_READY, GMK_REL, GMK_SYSTEM);
        b->signal = true;
        any = true;
    }
    return any;
}

bool gmk_wiring_due(gmk_bridge_t *b)
{
    return gmk_load64(&b->k->chans->changes, GMK_ACQ, GMK_KERNEL) != b->changes_seen ||
           ((b->scan_due || gmk_trace_ask_due(b)) && has_room(b, 2));
}

/* ---- beginning and end --------------------------------------------------------------------- */

void gmk_wiring_reset(gmk_bridge_t *b)
{
    gmk_hal_memset(b->told, 0, sizeof b->told);
    gmk_hal_memset(b->peer, 0, sizeof b->peer);
    b->told_all = b->heard_all = b->answers_due = false;
    b->scan_due = true;
    b->heard_owner[0] = '\0';
}

void gmk_wiring_part(gmk_bridge_t *b, bool keep)
{
    gmk_hal_lock_acquire(&b->k->control);
    for (uint32_t i = b->n_out; i-- > 0;) {
        uint32_t route = b->active_out[i];
        gmk_route_out_t *r = &b->route_out[route];
        gmk_mailbox_t *m = gmk_outlet_find(b->k, r->sub);
        if (m != NULL && keep && m->chan->mode == GMK_P2P &&
            gmk_load32(&m->leaving, GMK_ACQ, GMK_KERNEL) == 0) {
            r->state = GMK_ROUTE_WANTED;
            r->held = true;
            gmk_channel_hold(b->f, m->chan, true);
            continue;
        }
        if (m != NULL && r->held)
            gmk_channel_hold(b->f, m->chan, false);
        if (m != NULL) {
            gmk_egress_leave(b, r, m);
            gmk_outlet_end(b->f, m, GMK_DROP_BRIDGE);
        }
        gmk_route_out_end(b, route);
    }
    for (uint32_t i = 0; i < GMK_REGION_ROUTES; i++)
        b->route_in[i].answer_due = false;
    gmk_hal_lock_release(&b->k->control);
}
