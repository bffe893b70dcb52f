/* SPDX-License-Identifier: MIT */
/*
 * channel.c — opening, closing and subscribing.  All with the control lock held; emitters and
 * runners go on meanwhile.  What ends is unlinked in steps by the reaper.
 */
#include "channel.h"
#include "format.h"
#include "grace.h"

size_t gmk_chans_bytes(void) { return sizeof(gmk_chans_t); }

void gmk_chans_init(gmk_core_t *k, void *mem)
{
    k->chans = mem;
    k->chans->reaper.kind = GMK_NODE_EMBEDDED;
}

bool gmk_name_ok(const char *name, bool channel)
{
    uint32_t n = 0;
    if (name == NULL || name[0] == '\0')
        return false;
    for (; name[n] != '\0'; n++) {
        char c = name[n];
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
        if (n == GMK_NAME_MAX || !(word || (!channel && c >= 'A' && c <= 'Z')))
            return false;
    }
    return true;
}

int gmk_channel_find(gmk_core_t *k, const char *name, uint32_t *handle)
{
    for (uint32_t i = 0; i < GMK_MAX_CHANNELS; i++) {
        gmk_channel_t *c = gmk_chan_at(k, i);
        if (c == NULL || gmk_load32(&c->closing, GMK_ACQ, GMK_KERNEL) != 0 || !gmk_name_same(c->name, name))
            continue;
        *handle = c->handle;
        return GMK_OK;
    }
    return GMK_ERR_NOTFOUND;
}

/* ---- open --------------------------------------------------------------------------------- */

static int check_cfg(const gmk_chan_cfg_t *cfg, bool sys)
{
    if (!gmk_name_ok(cfg->name, true))
        return GMK_ERR_INVAL;
    if (!sys && cfg->name[0] == 's' && cfg->name[1] == 'y' && cfg->name[2] == 's' && cfg->name[3] == '.')
        return GMK_ERR_INVAL;
    if (cfg->mode > GMK_FANOUT || cfg->guarantee > GMK_LOSSY || cfg->slots > GMK_MAX_SLOTS ||
        cfg->replay > GMK_MAX_SLOTS ||
        (cfg->flags & ~(uint32_t)(GMK_CHAN_DROP_OLDEST | GMK_CHAN_DEGRADE)) != 0 ||
        (cfg->reserve_pct > 50 && cfg->reserve_pct != UINT32_MAX))
        return GMK_ERR_RANGE;
    if (cfg->replay != 0 && (cfg->mode != GMK_FANOUT || cfg->guarantee != GMK_LOSSLESS))
        return GMK_ERR_INVAL;
    if ((cfg->flags & GMK_CHAN_DEGRADE) != 0 && cfg->replay == 0)
        return GMK_ERR_INVAL;
    if ((cfg->flags & GMK_CHAN_DROP_OLDEST) != 0 && cfg->guarantee != GMK_LOSSY)
        return GMK_ERR_INVAL;
    return GMK_OK;
}

static void inlet_init(gmk_inlet_t *in, uint32_t delivery)
{
    gmk_hal_memset(in, 0, sizeof *in);
    gmk_store64(&in->word, gmk_w_with(0, GMK_W_IDLE, GMK_PRIOS - 1), GMK_RLX, GMK_KERNEL);
    in->delivery = delivery;
    for (uint32_t p = 0; p < GMK_PRIOS; p++)
        in->nodes[p].kind = GMK_NODE_EMBEDDED;
}

static uint64_t ring_size(uint32_t slots)
{
    uint64_t size = 2;
    while (size < slots)
        size *= 2;
    return size;
}

static void *zalloc(gmk_core_t *k, size_t bytes)
{
    void *p = gmk_heap_alloc(&k->heap, NULL, bytes);
    if (p != NULL)
        gmk_hal_memset(p, 0, bytes);
    return p;
}

static gmk_mailbox_t *mailbox_new(gmk_core_t *k, gmk_channel_t *c)
{
    gmk_mailbox_t *m = zalloc(k, sizeof *m);
    if (m == NULL)
        return NULL;
    m->chan = c;
    m->in = c->mode == GMK_P2P ? &c->in : &m->own;
    m->ring = c->log;
    m->mask = c->mask;
    m->pause.kind = GMK_NODE_EMBEDDED;
    m->sheddable = (c->flags & (GMK_CHAN_DROP_OLDEST | GMK_CHAN_DEGRADE)) != 0; /* a sink's too */
    return m;
}

static void remember_counts(gmk_core_t *k, gmk_channel_t *c)
{
    gmk_a64_t *base = (gmk_a64_t *)(void *)&c->at_open;
    for (uint32_t i = 0; i < sizeof c->at_open / sizeof *base; i++)
        for (uint32_t f = 0; f < k->n_fronts; f++) {
            const gmk_a64_t *now = (const gmk_a64_t *)(const void *)&k->fronts[f]->chans[c->index];
            base[i].v += gmk_load64(&now[i], GMK_RLX, GMK_KERNEL);
        }
}

static gmk_channel_t *channel_new(gmk_core_t *k, const gmk_chan_cfg_t *cfg, uint32_t index)
{
    gmk_channel_t *c = zalloc(k, sizeof *c);
    if (c == NULL)
        return NULL;
    uint32_t pct = cfg->reserve_pct == UINT32_MAX ? 0 : cfg->reserve_pct != 0 ? cfg->reserve_pct : 10;
    c->slots = cfg->slots != 0 ? cfg->slots : GMK_DEFAULT_SLOTS;
    c->slots_low = c->slots - (uint32_t)((uint64_t)c->slots * pct / 100);
    c->index = index;
    c->handle = index | k->chans->gen[index] << 13;
    c->msg_type = cfg->msg_type;
    c->mode = cfg->mode;
    c->guarantee = cfg->guarantee;
    c->flags = cfg->flags;
    c->replay = cfg->replay;
    inlet_init(&c->in, c->handle);
    gmk_mpsc_init(&c->waiter_list);
    gmk_name_copy(c->name, cfg->name);
    c->inbound = cfg->mode == GMK_FANOUT && cfg->guarantee == GMK_LOSSLESS && cfg->replay == 0 ? c->slots : 0;
    uint64_t size = ring_size(c->slots + c->replay + c->inbound);
    c->mask = size - 1;
    c->log = zalloc(k, size * sizeof(gmk_msg_t));
    c->sink = c->log == NULL || c->mode != GMK_P2P ? NULL : mailbox_new(k, c);
    if (c->log == NULL || (c->mode == GMK_P2P && c->sink == NULL)) {
        gmk_heap_free(&k->heap, NULL, c->log);
        gmk_heap_free(&k->heap, NULL, c);
        return NULL;
    }
    for (uint64_t i = 0; i < size; i++) /* as if the lap before had been published: see release_overwritten */
        gmk_store64(&c->log[i].seq, (i - size) * GMK_TICKET + GMK_TICKET, GMK_RLX, GMK_KERNEL);
    remember_counts(k, c);
    return c;
}

/* Whoever mirrors the channels (a bridge) looks at them again. */
static void note_change(gmk_core_t *k)
{
    (void)gmk_add64(&k->chans->changes, 1, GMK_ACQ_REL, GMK_KERNEL);
    for (uint32_t i = 0; gmk_load32(&k->bridges, GMK_ACQ, GMK_KERNEL) != 0 && i < k->n_ports; i++)
        if (gmk_load32(&k->ports[i].in_use, GMK_ACQ, GMK_KERNEL) != GMK_PORT_FREE)
            gmk_hal_park_wake(&k->ports[i].park);
}

int gmk_channel_open(gmk_front_t *f, const gmk_chan_cfg_t *cfg, bool sys, uint32_t *handle)
{
    gmk_core_t *k = f->core;
    gmk_chans_t *cs = k->chans;
    uint32_t index = 0, other;
    int rc = check_cfg(cfg, sys);
    if (rc < 0)
        return rc;
    if (gmk_channel_find(k, cfg->name, &other) == GMK_OK)
        return GMK_ERR_EXISTS;
    while (index < GMK_MAX_CHANNELS && cs->used[index] != 0)
        index++;
    if (index == GMK_MAX_CHANNELS)
        return GMK_ERR_LIMIT;
    cs->gen[index] = cs->gen[index] % ((1u << 19) - 1) + 1;
    gmk_channel_t *c = channel_new(k, cfg, index);
    if (c == NULL)
        return GMK_ALLOC_FAIL;
    c->sys = sys;
    cs->used[index] = 1;
    *handle = c->handle;
    gmk_store64(&cs->slot[index], (uint64_t)(uintptr_t)c, GMK_REL, GMK_KERNEL);
    note_change(k);
    return GMK_OK;
}

static void wake_reaper(gmk_front_t *f)
{
    gmk_node_t *n = &f->core->chans->reaper;
    if (gmk_xchg32(&n->busy, 1, GMK_ACQ_REL, GMK_KERNEL) != 0)
        return;
    n->t.key = gmk_hal_now_ns() + GMK_REAP_NS;
    gmk_evq_add(f, n, false);
}

/* ---- subscribe ---------------------------------------------------------------------------- */

/* Has somebody subscribed who is not leaving? */
static bool is_bound(gmk_channel_t *c)
{
    for (uint32_t i = 0; i < GMK_MAX_SUBS; i++) {
        gmk_mailbox_t *m = gmk_sub_at(c, i);
        if (m != NULL && gmk_load32(&m->leaving, GMK_ACQ, GMK_KERNEL) == 0)
            return true;
    }
    return false;
}

static int grow_nodes(gmk_core_t *k, uint32_t n)
{
    void *segment = gmk_heap_alloc(&k->heap, NULL, n * gmk_slab_object_bytes(&k->nodes));
    if (segment == NULL)
        return GMK_ALLOC_FAIL;
    if (gmk_slab_add_segment(&k->nodes, segment, n) < 0) {
        gmk_heap_free(&k->heap, NULL, segment);
        return GMK_ERR_LIMIT;
    }
    return GMK_OK;
}

/*
 * Task nodes for deliveries that run in parallel and may yield, retry or wait.  A slab has few
 * segments, so it grows by a quarter where there is memory for that.
 */
static int reserve_nodes(gmk_core_t *k, gmk_mailbox_t *m, uint32_t n)
{
    uint32_t quarter = (uint32_t)(gmk_slab_capacity(&k->nodes) / 4);
    int rc = GMK_OK;
    if (!gmk_slab_reserve(&k->nodes, n)) {
        rc = n < quarter ? grow_nodes(k, quarter) : GMK_ALLOC_FAIL;
        if (rc == GMK_ALLOC_FAIL)
            rc = grow_nodes(k, n);
        if (rc == GMK_OK && !gmk_slab_reserve(&k->nodes, n))
            rc = GMK_ALLOC_FAIL;
    }
    m->reserved = rc == GMK_OK ? n : 0;
    return rc;
}

static void mailbox_free(gmk_core_t *k, gmk_mailbox_t *m)
{
    if (m->reserved != 0)
        gmk_slab_unreserve(&k->nodes, m->reserved);
    gmk_heap_free(&k->heap, NULL, m->own_ring);
    gmk_heap_free(&k->heap, NULL, m);
}

/* Activations of the inlet are for this mailbox now. */
static void aim_inlet(gmk_mailbox_t *m)
{
    gmk_store32(&m->in->type, m->handler, GMK_RLX, GMK_KERNEL);
    gmk_store64(&m->in->port, gmk_load64(&m->port, GMK_RLX, GMK_KERNEL), GMK_RLX, GMK_KERNEL);
    gmk_store32(&m->in->pinned, m->pinned, GMK_REL, GMK_KERNEL);
}

/* Its place among the subscriptions, and what its deliveries carry: an outlet's, where they come from. */
static void mailbox_place(gmk_channel_t *c, gmk_mailbox_t *m, uint32_t index)
{
    m->index = index;
    m->delivery = gmk_delivery_of(c->handle, index);
    bool outlet = gmk_load64(&m->port, GMK_RLX, GMK_KERNEL) != 0;
    m->keep = outlet ? UINT64_MAX : ~(uint64_t)UINT32_MAX;
    m->label = outlet ? 0 : m->delivery;
}

static int mailbox_setup(gmk_core_t *k, gmk_channel_t *c, gmk_mailbox_t *m, const gmk_sub_cfg_t *cfg,
                         uint32_t index)
{
    mailbox_place(c, m, index);
    m->handler = cfg->handler;
    m->order = cfg->order;
    m->pinned = cfg->pinned != 0 ? cfg->worker + 1 : 0;
    m->generation = ++k->chans->sub_gen;
    inlet_init(&m->own, m->delivery);
    if (c->mode == GMK_FANOUT)
        aim_inlet(m);
    if (c->mode == GMK_FANOUT && c->guarantee == GMK_LOSSY) {
        uint64_t size = ring_size(c->slots);
        m->own_ring = zalloc(k, size * sizeof(gmk_msg_t));
        if (m->own_ring == NULL)
            return GMK_ALLOC_FAIL;
        m->ring = m->own_ring;
        m->mask = size - 1;
    }
    return cfg->order == GMK_PARALLEL ? reserve_nodes(k, m, c->slots) : GMK_OK;
}

static void place_mailbox(gmk_mailbox_t *m, uint64_t join)
{
    m->join = join;
    m->expected = gmk_ticket_number(join);
    uint64_t start = m->own_ring != NULL ? 0 : join;
    gmk_store64(&m->cursor, start, GMK_RLX, GMK_KERNEL);
    gmk_store64(&m->done, start, GMK_REL, GMK_KERNEL);
    if (m->in == &m->own)
        gmk_store64(&m->own.word, start | (gmk_load64(&m->own.word, GMK_RLX, GMK_KERNEL) & GMK_W_FLAGS),
                    GMK_REL, GMK_KERNEL);
}

/* Replayed messages get the reference that emitting them to one more would have added. */
static void retain_replayed(gmk_front_t *f, gmk_channel_t *c, uint64_t from, uint64_t to)
{
    for (; from != to; from += GMK_TICKET) {
        const gmk_msg_t *slot = &c->log[(from / GMK_TICKET) & c->mask];
        for (uint32_t round = 0; gmk_load64(&slot->seq, GMK_ACQ, GMK_KERNEL) != from + GMK_TICKET; round++)
            gmk_hal_relax(round);
        gmk_task_t t;
        gmk_msg_load(slot, &t);
        if ((t.flags & GMK_TASK_PAYLOAD_RC) != 0 && t.payload_ptr != 0)
            (void)gmk_payload_add(&f->core->heap, (void *)(uintptr_t)t.payload_ptr, 1);
        gmk_count(f, &f->counts->accepted, 1);
    }
}

/*
 * Joins a fan-out channel at the ticket the word stands on, or at an earlier message that is
 * still in the log.  The swap that adds the hearer fixes the ticket.
 */
static int join_fanout(gmk_front_t *f, gmk_channel_t *c, gmk_mailbox_t *m, const gmk_sub_cfg_t *cfg)
{
    uint64_t w = gmk_load64(&c->in.word, GMK_ACQ, GMK_KERNEL), from, to;
    do {
        to = from = gmk_w_ticket(w);
        if (cfg->replay_from != 0) {
            uint32_t back = gmk_ticket_number(to) - cfg->from;
            if (c->replay == 0 || back > c->mask + 1 || back > to / GMK_TICKET)
                return GMK_ERR_RANGE;
            from = to - back * GMK_TICKET;
        }
        place_mailbox(m, from);
        gmk_store64(&c->subs[m->index], (uint64_t)(uintptr_t)m, GMK_REL, GMK_KERNEL);
    } while (!gmk_cas64(&c->in.word, &w, gmk_w_changed(w, 1), GMK_ACQ_REL, GMK_KERNEL));
    retain_replayed(f, c, from, to);
    return GMK_OK;
}

static void take_turn(gmk_channel_t *c, gmk_mailbox_t *m)
{
    if (m != NULL)
        aim_inlet(m);
    gmk_store64(&c->p2p, (uint64_t)(uintptr_t)m, GMK_REL, GMK_KERNEL);
}

static void join_p2p(gmk_channel_t *c, gmk_mailbox_t *m, uint64_t join)
{
    place_mailbox(m, join);
    gmk_store64(&c->subs[m->index], (uint64_t)(uintptr_t)m, GMK_REL, GMK_KERNEL);
    uint64_t w = gmk_load64(&c->in.word, GMK_RLX, GMK_KERNEL);
    while (!gmk_cas64(&c->in.word, &w, gmk_w_changed(w, 0), GMK_ACQ_REL, GMK_KERNEL))
        ;
    if (gmk_load64(&c->p2p, GMK_ACQ, GMK_KERNEL) == 0)
        take_turn(c, m);
}

/* A subscription that failed after others may have seen its mailbox. */
static void abandon(gmk_front_t *f, gmk_mailbox_t *m)
{
    gmk_chans_t *cs = f->core->chans;
    gmk_store64(&m->chan->subs[m->index], 0, GMK_REL, GMK_KERNEL);
    m->reap_state = 1;
    m->reap_epoch = gmk_grace_start(f->core);
    m->reap_next = cs->leaving;
    cs->leaving = m;
    wake_reaper(f);
}

/* The part of a subscription that a handler's and an outlet's share; port is NULL for a handler's. */
static int join(gmk_front_t *f, gmk_channel_t *c, const gmk_sub_cfg_t *cfg, gmk_front_t *port, uint64_t *sub)
{
    gmk_core_t *k = f->core;
    uint32_t index = 0;
    if (c->mode == GMK_P2P && is_bound(c))
        return GMK_CHAN_ALREADY_BOUND;
    while (index < GMK_MAX_SUBS && gmk_sub_at(c, index) != NULL)
        index++;
    if (index == GMK_MAX_SUBS)
        return GMK_ERR_LIMIT;
    gmk_mailbox_t *m = mailbox_new(k, c);
    if (m == NULL)
        return GMK_ALLOC_FAIL;
    gmk_store64(&m->port, (uint64_t)(uintptr_t)port, GMK_RLX, GMK_KERNEL);
    gmk_store32(&m->held, 1, GMK_RLX, GMK_KERNEL);
    int rc = mailbox_setup(k, c, m, cfg, index);
    if (rc < 0) {
        mailbox_free(k, m);
        return rc;
    }
    if (c->mode == GMK_P2P)
        join_p2p(c, m, gmk_load64(&c->base, GMK_ACQ, GMK_KERNEL)); /* behind those that are leaving */
    else if ((rc = join_fanout(f, c, m, cfg)) < 0) {
        abandon(f, m);
        return rc;
    }
    gmk_store32(&m->held, 0, GMK_REL, GMK_KERNEL);
    gmk_inlet_kick(f, &c->in);
    *sub = (uint64_t)m->delivery | (m->generation & UINT32_MAX) << 32;
    note_change(k);
    return GMK_OK;
}

int gmk_channel_sub(gmk_front_t *f, gmk_channel_t *c, const gmk_sub_cfg_t *cfg, uint64_t *sub)
{
    gmk_core_t *k = f->core;
    if (gmk_load32(&c->closing, GMK_ACQ, GMK_KERNEL) != 0)
        return GMK_CHAN_CLOSED;
    if (cfg->handler == 0 || cfg->handler >= k->n_types || cfg->order > GMK_PARALLEL ||
        (cfg->pinned != 0 && cfg->worker >= k->n_workers))
        return GMK_ERR_RANGE;
    if (cfg->pinned != 0 && cfg->order == GMK_PARALLEL)
        return GMK_ERR_INVAL;
    if (gmk_load64(&k->types[cfg->handler].fn, GMK_ACQ, GMK_KERNEL) == 0)
        return GMK_ERR_NOTFOUND;
    return join(f, c, cfg, NULL, sub);
}

int gmk_channel_outlet(gmk_front_t *f, gmk_channel_t *c, uint64_t *sub)
{
    const gmk_sub_cfg_t cfg = {.order = GMK_ORDERED};
    if (gmk_load32(&c->closing, GMK_ACQ, GMK_KERNEL) != 0)
        return GMK_CHAN_CLOSED;
    return join(f, c, &cfg, f, sub);
}

void gmk_channel_hold(gmk_front_t *f, gmk_channel_t *c, bool hold)
{
    uint64_t w = gmk_load64(&c->in.word, GMK_ACQ, GMK_KERNEL), next;
    if (gmk_load32(&c->closing, GMK_ACQ, GMK_KERNEL) != 0)
        return;
    do {
        next = gmk_w_changed(w, 0);
        next = hold ? next | GMK_W_CLOSED : next & ~(uint64_t)GMK_W_CLOSED;
    } while (!gmk_cas64(&c->in.word, &w, next, GMK_ACQ_REL, GMK_KERNEL));
    gmk_waiter_wake(f, c);
}

/* ---- unsubscribe and close ---------------------------------------------------------------- */

static void mailbox_leaves(gmk_front_t *f, gmk_mailbox_t *m, uint64_t at, int reason)
{
    gmk_chans_t *cs = f->core->chans;
    gmk_store64(&m->leave, at, GMK_RLX, GMK_KERNEL);
    gmk_store32(&m->leaving, (uint32_t)-reason, GMK_REL, GMK_KERNEL);
    m->reap_next = cs->leaving;
    cs->leaving = m;
    gmk_inlet_kick(f, m->in);
    gmk_inlet_kick(f, &m->chan->in);
    wake_reaper(f);
}

void gmk_channel_unsub(gmk_front_t *f, gmk_mailbox_t *m, int reason)
{
    gmk_channel_t *c = m->chan;
    gmk_store32(&m->leaving, GMK_LEAVES_SOON, GMK_RLX, GMK_KERNEL);
    uint64_t w = gmk_load64(&c->in.word, GMK_ACQ, GMK_KERNEL);
    while (!gmk_cas64(&c->in.word, &w, gmk_w_changed(w, c->mode == GMK_FANOUT ? -1 : 0), GMK_ACQ_REL,
                      GMK_KERNEL))
        ;
    if (c->mode == GMK_P2P)
        gmk_store64(&c->base, gmk_w_ticket(w), GMK_REL, GMK_KERNEL);
    mailbox_leaves(f, m, gmk_w_ticket(w), reason);
    note_change(f->core);
}

/* Messages that wait for a P2P subscriber that will not come are drained by the sink. */
static void attach_sink(gmk_front_t *f, gmk_channel_t *c, uint64_t end, int reason)
{
    gmk_mailbox_t *m = c->sink;
    uint32_t index = 0;
    uint64_t base = gmk_load64(&c->base, GMK_ACQ, GMK_KERNEL);
    if (base == end)
        return;
    while (index < GMK_MAX_SUBS - 1 && gmk_sub_at(c, index) != NULL)
        index++;
    mailbox_place(c, m, index);
    inlet_init(&m->own, m->delivery);
    c->sink = NULL; /* reaped like any mailbox */
    gmk_store64(&m->leave, end, GMK_RLX, GMK_KERNEL);
    gmk_store32(&m->leaving, (uint32_t)-reason, GMK_RLX, GMK_KERNEL);
    join_p2p(c, m, base);
    mailbox_leaves(f, m, end, reason);
}

void gmk_channel_close(gmk_front_t *f, gmk_channel_t *c, int reason)
{
    gmk_chans_t *cs = f->core->chans;
    bool bound = is_bound(c);
    gmk_store32(&c->closing, 1, GMK_REL, GMK_KERNEL);
    uint64_t w = gmk_load64(&c->in.word, GMK_ACQ, GMK_KERNEL);
    while (!gmk_cas64(&c->in.word, &w, gmk_w_changed(w, 0) | GMK_W_CLOSED, GMK_ACQ_REL, GMK_KERNEL))
        ;
    uint64_t end = gmk_w_ticket(w);
    for (uint32_t i = 0; i < GMK_MAX_SUBS; i++) {
        gmk_mailbox_t *m = gmk_sub_at(c, i);
        if (m == NULL || gmk_load32(&m->leaving, GMK_ACQ, GMK_KERNEL) != 0)
            continue;
        mailbox_leaves(f, m, end, reason);
    }
    if (c->mode == GMK_P2P && !bound)
        attach_sink(f, c, end, reason);
    c->reap_next = cs->dying;
    cs->dying = c;
    gmk_waiter_wake(f, c);
    wake_reaper(f);
    note_change(f->core);
}

/* ---- reaping ------------------------------------------------------------------------------ */

static bool nodes_free(const gmk_inlet_t *in)
{
    for (uint32_t p = 0; p < GMK_PRIOS; p++)
        if (gmk_load32(&in->nodes[p].busy, GMK_ACQ, GMK_KERNEL) != 0)
            return false;
    return true;
}

static bool is_drained(gmk_mailbox_t *m)
{
    uint64_t end = gmk_load64(&m->leave, GMK_RLX, GMK_KERNEL);
    if (m->own_ring != NULL) {
        if ((int64_t)(gmk_load64(&m->chan->passed, GMK_ACQ, GMK_KERNEL) - end) < 0)
            return false;
        end = gmk_w_ticket(gmk_load64(&m->own.word, GMK_ACQ, GMK_KERNEL));
    }
    return gmk_load64(&m->done, GMK_ACQ, GMK_KERNEL) == end &&
           gmk_load64(&m->cursor, GMK_ACQ, GMK_KERNEL) == end;
}

/* The P2P mailbox that joined first takes over. */
static void next_in_turn(gmk_front_t *f, gmk_channel_t *c)
{
    gmk_mailbox_t *first = NULL;
    for (uint32_t i = 0; i < GMK_MAX_SUBS; i++) {
        gmk_mailbox_t *m = gmk_sub_at(c, i);
        if (m != NULL && (first == NULL || (int64_t)(m->join - first->join) < 0))
            first = m;
    }
    take_turn(c, first);
    gmk_inlet_kick(f, &c->in);
}

/* True when the mailbox is gone. */
static bool reap_mailbox(gmk_front_t *f, gmk_mailbox_t *m)
{
    gmk_core_t *k = f->core;
    if (m->reap_state == 0) {
        if (!is_drained(m) || gmk_load32(&m->pause.busy, GMK_ACQ, GMK_KERNEL) != 0)
            return false;
        gmk_store64(&m->chan->subs[m->index], 0, GMK_REL, GMK_KERNEL);
        if (m->chan->mode == GMK_P2P)
            next_in_turn(f, m->chan);
        gmk_waiter_wake(f, m->chan); /* it may have been the one that held the credits */
        m->reap_state = 1;
        m->reap_epoch = gmk_grace_start(k);
        return false;
    }
    if (!nodes_free(&m->own) || !gmk_grace_over(k, m->reap_epoch))
        return false;
    mailbox_free(k, m);
    return true;
}

static void log_release(gmk_front_t *f, gmk_channel_t *c)
{
    if (c->replay == 0)
        return;
    for (uint64_t i = 0; i <= c->mask; i++) {
        gmk_task_t t;
        gmk_msg_load(&c->log[i], &t);
        gmk_task_payload_done(f, &t);
    }
}

static bool channel_empty(gmk_channel_t *c)
{
    for (uint32_t i = 0; i < GMK_MAX_SUBS; i++)
        if (gmk_sub_at(c, i) != NULL)
            return false;
    return gmk_load32(&c->waiters, GMK_ACQ, GMK_KERNEL) == 0;
}

static void channel_free(gmk_core_t *k, gmk_channel_t *c)
{
    k->chans->used[c->index] = 0;
    gmk_heap_free(&k->heap, NULL, c->sink);
    gmk_heap_free(&k->heap, NULL, c->log);
    gmk_heap_free(&k->heap, NULL, c);
    for (uint32_t i = 0; i < k->n_ports; i++) /* somebody may be in gmk_wait_closed */
        if (gmk_load32(&k->ports[i].in_use, GMK_ACQ, GMK_KERNEL) != 0)
            gmk_hal_park_wake(&k->ports[i].park);
}

static bool reap_channel(gmk_front_t *f, gmk_channel_t *c)
{
    gmk_core_t *k = f->core;
    if (c->reap_state == 0) {
        gmk_waiter_wake(f, c);
        if (!channel_empty(c))
            return false;
        gmk_store64(&k->chans->slot[c->index], 0, GMK_REL, GMK_KERNEL);
        c->reap_state = 1;
        c->reap_epoch = gmk_grace_start(k);
        return false;
    }
    if (!nodes_free(&c->in) || !gmk_grace_over(k, c->reap_epoch))
        return false;
    log_release(f, c);
    channel_free(k, c);
    return true;
}

bool gmk_chan_reap(gmk_front_t *f)
{
    gmk_chans_t *cs = f->core->chans;
    for (gmk_mailbox_t **m = &cs->leaving; *m != NULL;) {
        gmk_mailbox_t *next = (*m)->reap_next;
        if (reap_mailbox(f, *m))
            *m = next;
        else
            m = &(*m)->reap_next;
    }
    for (gmk_channel_t **c = &cs->dying; *c != NULL;) {
        gmk_channel_t *next = (*c)->reap_next;
        if (reap_channel(f, *c))
            *c = next;
        else
            c = &(*c)->reap_next;
    }
    if (cs->leaving == NULL && cs->dying == NULL)
        return false;
    wake_reaper(f);
    return true;
}

/* ---- halt --------------------------------------------------------------------------------- */

static void drop_mailbox(gmk_front_t *f, gmk_mailbox_t *m)
{
    uint64_t stamp, end = gmk_load64(&m->cursor, GMK_RLX, GMK_KERNEL);
    gmk_task_t t;
    if (m->has_head != 0) {
        gmk_drop(f, &m->head, GMK_DROP_HALTED);
        m->has_head = 0;
        gmk_mailbox_done(m, 1);
    }
    for (;;) {
        enum gmk_take got = gmk_mailbox_take(m, &end, &t, &stamp);
        if (got != GMK_TAKE_MESSAGE && got != GMK_TAKE_DEAD)
            return;
        t.channel = m->delivery;
        gmk_drop(f, &t, GMK_DROP_HALTED);
        gmk_mailbox_done(m, 1);
    }
}

static void drop_channel(gmk_front_t *f, gmk_channel_t *c)
{
    gmk_node_t *n;
    while ((n = gmk_waiter_take(c)) != NULL)
        if (n->kind == GMK_NODE_POOL)
            gmk_drop(f, &n->task, GMK_DROP_HALTED);
    if (c->mode == GMK_FANOUT)
        (void)gmk_distribute(f, c, UINT32_MAX);
    else if (!is_bound(c))
        attach_sink(f, c, gmk_w_ticket(gmk_load64(&c->in.word, GMK_ACQ, GMK_KERNEL)), GMK_DROP_HALTED);
    for (uint32_t i = 0; i < GMK_MAX_SUBS; i++) {
        gmk_mailbox_t *m = gmk_sub_at(c, i);
        if (m != NULL)
            drop_mailbox(f, m);
    }
}

void gmk_chans_drop_all(gmk_front_t *f)
{
    for (uint32_t i = 0; i < GMK_MAX_CHANNELS; i++) {
        gmk_channel_t *c = gmk_chan_at(f->core, i);
        if (c != NULL)
            drop_channel(f, c);
    }
}
