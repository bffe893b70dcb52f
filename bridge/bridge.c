/* SPDX-License-Identifier: MIT */
/* bridge.c — the life of a bridge end; bridge.h says what it guarantees. */
#include "bridge_int.h"
#include "say.h"

#define NAP_NS 1000000u /* between two looks of a thread that waits for the pump */

/* ---- create -------------------------------------------------------------------------------- */

static bool pow2(uint32_t v) { return v != 0 && (v & (v - 1)) == 0; }

#define OR(field, value) c->field = c->field != 0 ? c->field : (value)

static int configure(gmk_bridge_cfg_t *c)
{
    OR(batch, 64);
    OR(flush_ns, 10000);
    OR(beat_ns, 100000000);
    OR(spin_ns, 50000);
    OR(nap_ns, 1000000);
    OR(window, 256);
    OR(copy_out.least, GMK_BRIDGE_CHUNK);
    OR(copy_in.least, GMK_BRIDGE_CHUNK);
    if (c->batch > 64 || c->flush_ns > 1000000000 || c->beat_ns < 1000 ||
        c->beat_ns > UINT64_C(60000000000) || c->spin_ns > 1000000000 || c->nap_ns < 1000 ||
        c->nap_ns > 1000000000 || !pow2(c->window) || c->window < 16 || c->window > 4096 ||
        (c->flags & ~(uint32_t)GMK_BRIDGE_OF_MODULE) != 0)
        return GMK_ERR_RANGE;
    if ((c->copy_out.ring == NULL) != (c->copy_out.done == NULL) ||
        (c->copy_in.ring == NULL) != (c->copy_in.done == NULL))
        return GMK_ERR_INVAL;
    return GMK_OK;
}

/* A number that no other bridge of the kernel has, 0 = none left: it marks what arrives here. */
static uint32_t take_number(gmk_core_t *k)
{
    uint32_t used = gmk_load32(&k->bridges, GMK_ACQ, GMK_KERNEL), bit;
    do {
        if (used == ((uint32_t)1 << GMK_BRIDGES_MAX) - 1)
            return 0;
        bit = ~used & (used + 1);
    } while (!gmk_cas32(&k->bridges, &used, used | bit, GMK_ACQ_REL, GMK_KERNEL));
    return (uint32_t)__builtin_ctz(bit) + 1;
}

static void give_number(gmk_core_t *k, uint32_t number)
{
    (void)gmk_and32(&k->bridges, ~((uint32_t)1 << (number - 1)), GMK_ACQ_REL, GMK_KERNEL);
}

/* What the kernels expect to be there. */
static int open_defaults(gmk_front_t *f)
{
    static const char *const names[] = {"host.rx", "host.tx"};
    int rc = GMK_OK;
    gmk_hal_lock_acquire(&f->core->control);
    for (uint32_t i = 0; i < 2 && rc == GMK_OK; i++) {
        const gmk_chan_cfg_t cfg = {.name = names[i]};
        uint32_t handle;
        rc = gmk_channel_open(f, &cfg, false, &handle);
        rc = rc == GMK_ERR_EXISTS ? GMK_OK : rc;
    }
    gmk_hal_lock_release(&f->core->control);
    return rc;
}

static int begin(gmk_bridge_t *b, const gmk_bridge_cfg_t *c, const gmk_port_t *port, uint32_t number)
{
    gmk_hal_memset(b, 0, sizeof *b);
    b->port = *port;
    b->f = port->front;
    b->k = b->f->core;
    b->cfg = *c;
    b->wake = c->wake;
    b->wake_arg = c->wake_arg;
    b->nap_ns = c->nap_ns;
    b->bulk_out.engine = c->copy_out;
    b->bulk_in.engine = c->copy_in;
    b->f->origin = number;
    gmk_hal_lock_init(&b->lock);
    gmk_hal_park_init(&b->nap_park);
    if ((c->flags & GMK_BRIDGE_OF_MODULE) != 0)
        gmk_store32(&b->f->in_use, GMK_PORT_OF_MODULE, GMK_REL, GMK_KERNEL);
    return gmk_hal_thread_create(&b->thread, "gmk.bridge", UINT32_MAX, gmk_pump_main, b);
}

int gmk_bridge_create(gmk_kernel_t *k, const gmk_bridge_cfg_t *cfg, gmk_bridge_t **out)
{
    gmk_bridge_cfg_t c = cfg == NULL ? (gmk_bridge_cfg_t){0} : *cfg;
    gmk_port_t port;
    if (out == NULL)
        return GMK_ERR_INVAL;
    *out = NULL;
    int rc = configure(&c);
    if (rc == GMK_OK)
        rc = gmk_attach(k, &port);
    if (rc < 0)
        return rc;
    gmk_core_t *core = port.front->core;
    uint32_t number = take_number(core);
    gmk_bridge_t *b = NULL;
    gmk_heap_reserve(&core->heap, true);
    if (number == 0) {
        rc = GMK_ERR_LIMIT;
        goto fail;
    }
    rc = open_defaults(port.front);
    if (rc < 0)
        goto fail;
    b = gmk_heap_alloc(&core->heap, &port.front->heap, sizeof *b);
    rc = b == NULL ? GMK_ALLOC_FAIL : begin(b, &c, &port, number);
    if (rc < 0)
        goto fail;
    gmk_trace_observed(b);
    *out = b;
    return GMK_OK;
fail:
    gmk_heap_free(&core->heap, &port.front->heap, b);
    gmk_heap_reserve(&core->heap, false);
    if (number != 0)
        give_number(core, number);
    port.front->origin = 0;
    gmk_detach(&port);
    return rc;
}

void gmk_bridge_destroy(gmk_bridge_t *b)
{
    if (b == NULL)
        return;
    gmk_observed_leave(b->k, &b->seen);
    (void)gmk_bridge_down(b, false);
    gmk_store32(&b->ending, 1, GMK_REL, GMK_KERNEL);
    gmk_hal_park_wake(&b->f->park);
    gmk_hal_thread_join(&b->thread);
    gmk_port_t port = b->port;
    gmk_core_t *core = b->k;
    gmk_trace_send_end(b);
    gmk_trace_store_end(b);
    gmk_hal_lock_destroy(&b->lock);
    gmk_hal_park_destroy(&b->nap_park);
    give_number(core, b->f->origin);
    b->f->origin = 0;
    gmk_heap_free(&core->heap, &port.front->heap, b);
    gmk_heap_reserve(&core->heap, false);
    gmk_detach(&port);
}

/* ---- what goes wrong ----------------------------------------------------------------------- */

static void say(const gmk_bridge_t *b, const char *what, const char *more)
{
    gmk_out_t o;
    if ((b->k->flags & GMK_BOOT_QUIET) != 0)
        return;
    gmk_say(&o, b->k->name);
    gmk_out_str(&o, "bridge to ");
    gmk_out_str(&o, b->v.mine != NULL ? b->v.name[1 - b->v.side] : "its peer");
    gmk_out_str(&o, ": ");
    gmk_out_str(&o, what);
    if (more != NULL)
        gmk_out_str(&o, more);
    gmk_said(&o);
}

static void append(char *to, uint32_t *n, const char *from)
{
    for (; from != NULL && *from != '\0' && *n < GMK_BRIDGE_TEXT - 1; from++)
        to[(*n)++] = *from >= ' ' && *from <= '~' ? *from : '?'; /* the peer's words may be anything */
    to[*n] = '\0';
}

void gmk_bridge_fail(gmk_bridge_t *b, int code, const char *what, const char *more)
{
    uint32_t n = 0;
    if (gmk_bridge_state(b) == GMK_BRIDGE_FAILED)
        return;
    gmk_hal_memset(b->text, 0, sizeof b->text);
    append(b->text, &n, what);
    append(b->text, &n, more);
    b->code = code;
    for (uint32_t i = 0; i < GMK_REGION_TEXT_WORDS; i++) {
        uint64_t word;
        gmk_hal_memcpy(&word, b->text + 8 * i, 8);
        gmk_store64(&b->v.mine->text[i], word, GMK_RLX, GMK_SYSTEM);
    }
    gmk_store64(&b->v.mine->state, (uint64_t)(uint32_t)code << 32 | GMK_BRIDGE_FAILED, GMK_REL, GMK_SYSTEM);
    gmk_store32(&b->state, GMK_BRIDGE_FAILED, GMK_REL, GMK_KERNEL);
    b->signal = true;
    say(b, b->text, NULL);
}

/* ---- up ------------------------------------------------------------------------------------ */

/* FNV-1a, 32 bits, of both kernels' names and the epoch: different for every pair and every time. */
static uint32_t hop_base(const gmk_region_view_t *v)
{
    uint32_t h = 2166136261u;
    for (uint32_t i = 0; i < 2 * sizeof v->name[0]; i++)
        h = (h ^ (unsigned char)v->name[i / sizeof v->name[0]][i % sizeof v->name[0]]) * 16777619u;
    return (h ^ v->epoch) * 16777619u;
}

static void tie(gmk_bridge_t *b)
{
    const gmk_region_view_t *v = &b->v;
    gmk_link_out_init(&b->out, v->ring_out, v->ring_slots, &v->theirs->ring_head, v->epoch);
    gmk_link_out_init(&b->control_out, v->control_out, v->control_slots, &v->theirs->control_head, v->epoch);
    gmk_link_in_init(&b->in, v->ring_in, v->ring_slots, &v->mine->ring_head, v->epoch);
    gmk_link_in_init(&b->control_in, v->control_in, v->control_slots, &v->mine->control_head, v->epoch);
    b->last_epoch = v->epoch;
    b->code = GMK_OK;
    b->text[0] = '\0';
    b->peer_beats = 0;
    b->clock_known = false;
    b->burst = 0;
    b->clock_error = 0;
    b->pong_due = b->signal = false;
    b->now = b->last_work = b->peer_beat_at = b->next_beat = gmk_hal_now_ns();
    b->hop_base = hop_base(v);
    gmk_wiring_reset(b);
    gmk_trace_store_up(b);
    b->fence = (gmk_fence_t){.phase = GMK_FENCE_OFF};
    gmk_bridge_count(&b->fig.epochs, 1);
    gmk_store64(&v->mine->state, GMK_BRIDGE_HELLO, GMK_REL, GMK_SYSTEM);
    gmk_store32(&b->state, GMK_BRIDGE_HELLO, GMK_REL, GMK_KERNEL);
}

int gmk_bridge_up(gmk_bridge_t *b, void *region, uint64_t bytes, uint32_t side)
{
    const char *why = "it has been up in this epoch, or a later one, before; format a new region";
    gmk_region_view_t v;
    if (b == NULL)
        return GMK_ERR_INVAL;
    gmk_bridge_lock(b);
    int rc = gmk_bridge_state(b) == GMK_BRIDGE_DOWN ? gmk_region_view(&v, region, bytes, side, &why)
                                                    : GMK_ERR_STATE;
    bool up_already = gmk_bridge_state(b) != GMK_BRIDGE_DOWN;
    if (rc == GMK_OK && b->last_epoch != 0 && (int32_t)(v.epoch - b->last_epoch) <= 0)
        rc = GMK_ERR_STATE;
    if (rc == GMK_OK) {
        b->v = v;
        tie(b);
    } else {
        say(b, up_already ? "it is up already; take it down first" : why, NULL);
    }
    gmk_bridge_unlock(b);
    if (rc == GMK_OK)
        gmk_bridge_wake(b);
    return rc;
}

/*
 * Lets the caller of a waiting function sleep for a moment; false once the time has passed.  The first
 * waiter has a park slot in the bridge: on a GPU one on the stack cannot be waited on.
 */
static bool nap_until(gmk_bridge_t *b, uint64_t start, uint64_t timeout_ns)
{
    uint64_t spent = gmk_hal_now_ns() - start;
    if (spent >= timeout_ns)
        return false;
    uint64_t nap = timeout_ns - spent < NAP_NS ? timeout_ns - spent : NAP_NS;
    if (gmk_flag_try(&b->nap_slot)) {
        (void)gmk_hal_park_wait(&b->nap_park, nap);
        gmk_flag_release(&b->nap_slot);
        return true;
    }
    gmk_hal_park_t own;
    gmk_hal_park_init(&own);
    (void)gmk_hal_park_wait(&own, nap);
    gmk_hal_park_destroy(&own);
    return true;
}

/* Until `look` answers something else than BUSY. */
static int wait_until(gmk_bridge_t *b, int (*look)(gmk_bridge_t *b), uint64_t timeout_ns)
{
    uint64_t start = gmk_hal_now_ns();
    int rc = GMK_ERR_INVAL;
    if (b == NULL)
        return rc;
    while ((rc = look(b)) == GMK_ERR_BUSY)
        if (!nap_until(b, start, timeout_ns))
            return GMK_ERR_TIMEOUT;
    return rc;
}

/* OK: ready.  BUSY: not yet. */
static int readiness(gmk_bridge_t *b)
{
    int rc = GMK_ERR_BUSY;
    gmk_bridge_lock(b);
    switch (gmk_bridge_state(b)) {
    case GMK_BRIDGE_READY:
        rc = gmk_bridge_side_state(b->v.theirs) == GMK_BRIDGE_READY ? GMK_OK : GMK_ERR_BUSY;
        break;
    case GMK_BRIDGE_HELLO: break;
    case GMK_BRIDGE_FAILED: rc = b->code; break;
    default: rc = GMK_ERR_STATE;
    }
    gmk_bridge_unlock(b);
    return rc;
}

int gmk_bridge_wait_ready(gmk_bridge_t *b, uint64_t timeout_ns)
{
    return wait_until(b, readiness, timeout_ns);
}

static int flushed(gmk_bridge_t *b)
{
    gmk_bridge_lock(b);
    gmk_call_begin(b->f);
    int rc = gmk_bridge_state(b) != GMK_BRIDGE_READY ? GMK_ERR_STATE
           : gmk_egress_empty(b)                     ? GMK_OK
                                                     : GMK_ERR_BUSY;
    gmk_call_end(b->f);
    gmk_bridge_unlock(b);
    return rc;
}

int gmk_bridge_flush(gmk_bridge_t *b, uint64_t timeout_ns) { return wait_until(b, flushed, timeout_ns); }

/* ---- down ---------------------------------------------------------------------------------- */

/* What the peer had when it was last heard of and did not finish. */
static void count_lost(gmk_bridge_t *b)
{
    const gmk_region_side_t *s = b->v.theirs;
    if (gmk_bridge_side_state(s) == GMK_BRIDGE_STOPPED || gmk_load64(&s->beats, GMK_ACQ, GMK_SYSTEM) == 0)
        return;
    uint64_t accepted = gmk_load64(&s->accepted, GMK_RLX, GMK_SYSTEM);
    uint64_t outcomes = gmk_load64(&s->completed, GMK_RLX, GMK_SYSTEM) +
                        gmk_load64(&s->failed, GMK_RLX, GMK_SYSTEM) +
                        gmk_load64(&s->dropped, GMK_RLX, GMK_SYSTEM);
    gmk_bridge_count(&b->fig.lost_epochs, 1);
    gmk_bridge_count(&b->fig.lost_accepted, accepted);
    gmk_bridge_count(&b->fig.lost_completed, outcomes);
    gmk_bridge_count(&b->fig.lost, accepted > outcomes ? accepted - outcomes : 0);
}

static void untie(gmk_bridge_t *b, bool keep)
{
    bool up = gmk_bridge_state(b) != GMK_BRIDGE_DOWN;
    if (up && gmk_bridge_state(b) != GMK_BRIDGE_FAILED) {
        (void)gmk_egress_acks(b);
        gmk_beat_publish(b); /* the last word about this kernel */
    }
    if (up)
        count_lost(b);
    gmk_fence_part(b);
    gmk_egress_part(b, keep);
    gmk_trace_send_part(b);
    gmk_wiring_part(b, keep);
    gmk_ingress_part(b);
    if (!up)
        return;
    if (gmk_bridge_state(b) != GMK_BRIDGE_FAILED)
        gmk_store64(&b->v.mine->state, GMK_BRIDGE_STOPPED, GMK_REL, GMK_SYSTEM);
    gmk_fence(GMK_SEQ, GMK_SYSTEM);
    if (b->wake != NULL && gmk_load64(&b->v.theirs->asleep, GMK_ACQ, GMK_SYSTEM) == 1)
        b->wake(b->wake_arg);
    gmk_store32(&b->state, GMK_BRIDGE_DOWN, GMK_REL, GMK_KERNEL);
    gmk_hal_memset(&b->v, 0, sizeof b->v);
}

/* No memory that the engines have orders for is anybody else's before they have done. */
static void settle(gmk_bridge_t *b)
{
    uint64_t start = gmk_hal_now_ns();
    while (!gmk_bulk_is_idle(&b->bulk_out) || !gmk_bulk_is_idle(&b->bulk_in))
        (void)nap_until(b, start, GMK_HAL_FOREVER);
}

int gmk_bridge_down(gmk_bridge_t *b, bool keep)
{
    if (b == NULL)
        return GMK_ERR_INVAL;
    gmk_bridge_lock(b);
    settle(b);
    gmk_call_begin(b->f);
    untie(b, keep);
    gmk_call_end(b->f);
    gmk_bridge_unlock(b);
    return GMK_OK;
}

/* ---- asking the peer ----------------------------------------------------------------------- */

int gmk_bridge_ask_stop(gmk_bridge_t *b)
{
    int rc = GMK_ERR_INVAL;
    if (b == NULL)
        return rc;
    gmk_bridge_lock(b);
    rc = gmk_bridge_state(b) == GMK_BRIDGE_DOWN ? GMK_ERR_STATE : GMK_OK;
    if (rc == GMK_OK)
        gmk_store64(&b->v.mine->stop, 1, GMK_REL, GMK_SYSTEM);
    gmk_bridge_unlock(b);
    return rc;
}

/* OK: the peer asks for the end.  BUSY: it does not.  Else why there will be no more of it. */
static int asked(gmk_bridge_t *b)
{
    gmk_bridge_lock(b);
    uint32_t state = gmk_bridge_state(b);
    bool up = state != GMK_BRIDGE_DOWN;
    int rc = up && gmk_load64(&b->v.theirs->stop, GMK_ACQ, GMK_SYSTEM) == 1 ? GMK_OK
           : state == GMK_BRIDGE_FAILED                                     ? b->code
           : up && state != GMK_BRIDGE_STOPPED                              ? GMK_ERR_BUSY
                                                                            : GMK_ERR_STATE;
    gmk_bridge_unlock(b);
    return rc;
}

int gmk_bridge_wait_asked(gmk_bridge_t *b, uint64_t timeout_ns) { return wait_until(b, asked, timeout_ns); }

/* ---- figures ------------------------------------------------------------------------------- */

static void peer_stats(const gmk_bridge_t *b, gmk_peer_stats_t *p)
{
    const gmk_region_side_t *s = b->v.theirs;
    gmk_hal_memcpy(p->name, b->v.name[1 - b->v.side], sizeof p->name);
    p->state = gmk_bridge_side_state(s);
    p->workers = (uint32_t)gmk_load64(&s->workers, GMK_RLX, GMK_SYSTEM);
    p->workers = p->workers < GMK_REGION_WORKERS ? p->workers : GMK_REGION_WORKERS;
    p->beats = gmk_load64(&s->beats, GMK_ACQ, GMK_SYSTEM);
    p->beat_age_ns = gmk_hal_now_ns() - b->peer_beat_at;
    p->accepted = gmk_load64(&s->accepted, GMK_RLX, GMK_SYSTEM);
    p->completed = gmk_load64(&s->completed, GMK_RLX, GMK_SYSTEM);
    p->failed = gmk_load64(&s->failed, GMK_RLX, GMK_SYSTEM);
    p->dropped = gmk_load64(&s->dropped, GMK_RLX, GMK_SYSTEM);
    p->clock_offset_ns = b->clock_offset;
    p->clock_error_ns = b->clock_known ? b->clock_error : UINT64_MAX;
}

static void own_stats(const gmk_bridge_t *b, gmk_bridge_stats_t *o)
{
    const gmk_bridge_figures_t *f = &b->fig;
    const struct {
        uint64_t *to;
        const gmk_a64_t *from;
    } all[] = {{&o->sent, &f->sent},
               {&o->received, &f->received},
               {&o->acknowledged, &f->acknowledged},
               {&o->reset, &f->reset},
               {&o->resent, &f->resent},
               {&o->dropped, &f->dropped},
               {&o->publications, &f->publications},
               {&o->payloads_out, &f->payloads_out},
               {&o->payloads_in, &f->payloads_in},
               {&o->payload_bytes_out, &f->payload_bytes_out},
               {&o->payload_bytes_in, &f->payload_bytes_in},
               {&o->stalls, &f->stalls},
               {&o->epochs, &f->epochs},
               {&o->lost_epochs, &f->lost_epochs},
               {&o->lost_accepted, &f->lost_accepted},
               {&o->lost_completed, &f->lost_completed},
               {&o->lost, &f->lost}};
    for (uint32_t i = 0; i < sizeof all / sizeof all[0]; i++)
        *all[i].to = gmk_load64(all[i].from, GMK_RLX, GMK_KERNEL);
    o->state = gmk_bridge_state(b);
    o->epoch = b->v.epoch;
    o->code = b->code;
    gmk_hal_memcpy(o->text, b->text, sizeof o->text);
    for (uint32_t i = 0; i < b->n_out; i++)
        o->routes_out += b->route_out[b->active_out[i]].state == GMK_ROUTE_OPEN;
    o->routes_in = b->n_in;
}

int gmk_bridge_stats(gmk_bridge_t *b, gmk_bridge_stats_t *out)
{
    gmk_bridge_stats_t o = {0};
    if (b == NULL || out == NULL)
        return GMK_ERR_INVAL;
    gmk_bridge_lock(b);
    own_stats(b, &o);
    if (o.state != GMK_BRIDGE_DOWN)
        peer_stats(b, &o.peer);
    gmk_bridge_unlock(b);
    *out = o;
    return GMK_OK;
}

int gmk_bridge_peer_worker(gmk_bridge_t *b, uint32_t w, uint64_t *beats, uint32_t *type)
{
    int rc = GMK_OK;
    if (b == NULL || beats == NULL || type == NULL)
        return GMK_ERR_INVAL;
    gmk_bridge_lock(b);
    if (gmk_bridge_state(b) == GMK_BRIDGE_DOWN) {
        rc = GMK_ERR_STATE;
    } else if (w >= GMK_REGION_WORKERS || w >= gmk_load64(&b->v.theirs->workers, GMK_RLX, GMK_SYSTEM)) {
        rc = GMK_ERR_RANGE;
    } else {
        uint64_t word = gmk_load64(&b->v.theirs->worker[w], GMK_RLX, GMK_SYSTEM);
        *beats = word >> 16;
        *type = (uint32_t)word & 0xffff;
    }
    gmk_bridge_unlock(b);
    return rc;
}
