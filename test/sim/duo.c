/* SPDX-License-Identifier: MIT */
/* duo.c — two kernels and a bridge for scenarios. */
#include "duo.h"

#include <string.h>

duo_t duo;

/* ---- sizes --------------------------------------------------------------------------------- */

static uint64_t one_of(const uint64_t *values, uint32_t n) { return values[sim_rand(n)]; }
#define ONE_OF(...) one_of((const uint64_t[]){__VA_ARGS__}, SCN_LEN(((const uint64_t[]){__VA_ARGS__})))

/* Both kernels have the lanes of the run, or one of them has one. */
static void choose_lanes(void)
{
    uint32_t lanes = sim_options()->lanes, who = sim_rand(3);
    for (uint32_t side = 0; side < 2; side++)
        sim_kernel_lanes(side + 1, who == side ? 1 : lanes);
}

void duo_choose(void)
{
    memset(&duo, 0, sizeof duo);
    scn_letters = (scn_letters_t){0};
    choose_lanes();
    for (uint32_t side = 0; side < 2; side++) {
        duo_end_t *e = duo.at[side] = &duo.end[side];
        e->kernel = side + 1;
        e->workers = side == DUO_CPU ? scn_workers() : 1 + sim_rand(2);
        e->cfg = (gmk_bridge_cfg_t){.batch = (uint32_t)ONE_OF(1, 4, 64),
                                    .flush_ns = ONE_OF(1, 1000, 10000),
                                    .beat_ns = ONE_OF(50000, 1000000, 100000000),
                                    .spin_ns = ONE_OF(1, 1, 100),
                                    .nap_ns = ONE_OF(100000, 1000000000),
                                    .window = DUO_WINDOW,
                                    .wake = duo_wake,
                                    .wake_arg = &duo.at[1 - side]};
    }
    duo.region_cfg = (gmk_region_cfg_t){
        .ring_slots = 64, .control_slots = 16, .pool_bytes = (uint64_t)64 << 10};
}

/* ---- kernels ------------------------------------------------------------------------------- */

void duo_wake(void *arg)
{
    duo_end_t *peer = *(duo_end_t **)arg;
    if (peer->gone)
        return;
    uint32_t home = sim_visit(peer->kernel);
    gmk_bridge_wake(peer->b);
    sim_visit_end(home);
}

/* What the bridge would open is there before the memory is looked at. */
static void open_defaults(duo_end_t *e)
{
    (void)scn_open(e->c, (gmk_chan_cfg_t){.name = "host.rx"});
    (void)scn_open(e->c, (gmk_chan_cfg_t){.name = "host.tx"});
}

/* Of all kernels together. */
static void hear_letters(duo_end_t *e)
{
    gmk_chan_t ch = {0};
    sim_check(gmk_chan_find(e->c, "sys.dropped", &ch) == GMK_OK);
    (void)scn_sub(e->c, ch, (gmk_sub_cfg_t){.handler = SCN_LETTER});
    sim_check(gmk_chan_find(e->c, "sys.error", &ch) == GMK_OK);
    (void)scn_sub(e->c, ch, (gmk_sub_cfg_t){.handler = SCN_LETTER});
}

void duo_boot_one(uint32_t side, const gmk_handler_reg_t *handlers, uint32_t n)
{
    duo_end_t *e = duo.at[side];
    uint32_t none = sim_kernel(e->kernel);
    gmk_boot_cfg_t cfg = scn_cfg(e->workers);
    cfg.name = side == DUO_CPU ? "cpu.0" : "gpu.0";
    cfg.max_ports = 6;
    cfg.spin_ns = ONE_OF(1, 1, 1, 20); /* the other kernel is always busy with something */
    scn_boot(&e->s, cfg, handlers, n);
    e->c = scn_attach(&e->s, &e->port);
    open_defaults(e);
    hear_letters(e);
    if (duo.warm != 0)
        scn_warm_up(&e->s, e->c, 1, 4, duo.warm);
    scn_mark(&e->s);
    sim_check(gmk_bridge_create(&e->s.k, &e->cfg, &e->b) == GMK_OK);
    (void)sim_kernel(none);
}

void duo_boot(const gmk_handler_reg_t *handlers, uint32_t n)
{
    for (uint32_t side = 0; side < 2; side++)
        duo_boot_one(side, handlers, n);
    /* Pumps that look before they sleep are always busy: time would stand still for all who wait for it. */
    sim_options()->early_timeout = 256;
    sim_options()->max_steps = 3000000;
}

/* ---- lines --------------------------------------------------------------------------------- */

duo_line_t *duo_add(const char *name, gmk_chan_cfg_t cfg, uint32_t emits, uint32_t hears)
{
    duo_line_t *l = &duo.line[duo.n_lines++];
    sim_check(duo.n_lines <= DUO_LINES);
    *l = (duo_line_t){.name = name, .cfg = cfg, .lossy_order = cfg.guarantee == GMK_LOSSY};
    l->cfg.name = name;
    l->cfg.reserve_pct = cfg.guarantee == GMK_LOSSY ? 0 : UINT32_MAX;
    for (uint32_t side = 0; side < 2; side++) {
        l->emits[side] = (emits >> side & 1) != 0;
        l->hears[side] = (hears >> side & 1) != 0;
    }
    return l;
}

void duo_open_line(duo_line_t *l, uint32_t side)
{
    duo_end_t *e = duo.at[side];
    gmk_chan_cfg_t cfg = l->cfg;
    cfg.slots = cfg.slots != 0 ? cfg.slots : 1 + sim_rand(12);
    l->ch[side] = scn_open(e->c, cfg);
    if (l->hears[side])
        (void)scn_sub(e->c, l->ch[side], (gmk_sub_cfg_t){.handler = (uint32_t)(l - duo.line) + 1});
}

void duo_open(void)
{
    for (uint32_t i = 0; i < duo.n_lines; i++)
        for (uint32_t side = 0; side < 2; side++)
            duo_open_line(&duo.line[i], side);
}

/* ---- the bridge ---------------------------------------------------------------------------- */

void duo_region(void)
{
    uint64_t bytes = gmk_region_bytes(&duo.region_cfg);
    duo.region_cfg.epoch++;
    duo.region = gmk_hal_page_alloc(bytes);
    sim_check(duo.region != NULL);
    sim_check(gmk_region_format(duo.region, bytes, &duo.region_cfg) == GMK_OK);
}

void duo_up(void)
{
    duo_region();
    duo_join();
}

void duo_join(void)
{
    uint32_t first = sim_rand(2);
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t side = first ^ i;
        int rc = gmk_bridge_up(duo.at[side]->b, duo.region, gmk_region_bytes(&duo.region_cfg), side);
        sim_check(rc == GMK_OK, "up %d", rc);
    }
    for (uint32_t side = 0; side < 2; side++) {
        int rc = gmk_bridge_wait_ready(duo.at[side]->b, GMK_HAL_FOREVER);
        sim_check(rc == GMK_OK, "side %u: ready %d", side, rc);
    }
}

void duo_down(bool keep)
{
    uint32_t first = sim_rand(2);
    for (uint32_t i = 0; i < 2; i++)
        sim_check(gmk_bridge_down(duo.at[first ^ i]->b, keep) == GMK_OK);
    gmk_hal_page_free(duo.region, gmk_region_bytes(&duo.region_cfg));
    duo.region = NULL;
}

gmk_bridge_stats_t duo_stats(uint32_t side)
{
    gmk_bridge_stats_t st;
    sim_check(gmk_bridge_stats(duo.at[side]->b, &st) == GMK_OK);
    return st;
}

void duo_flush(void)
{
    for (uint32_t side = 0; side < 2; side++) {
        int rc = gmk_bridge_flush(duo.at[side]->b, GMK_HAL_FOREVER);
        sim_check(rc == GMK_OK, "side %u: flush %d", side, rc);
    }
    sim_options()->early_timeout = 0; /* a drain does not wait for ever */
    for (uint32_t side = 0; side < 2; side++)
        scn_drain(&duo.at[side]->s);
}

/* ---- numbers ------------------------------------------------------------------------------- */

gmk_task_t duo_message(uint32_t line, uint32_t side, uint32_t sender, uint32_t i)
{
    uint64_t id = (uint64_t)(line << 8 | side << 4 | sender) << 32 | i;
    return (gmk_task_t){.flags = (uint16_t)sim_rand(4), .meta0 = id, .meta1 = ~id};
}

int duo_note(gmk_ctx_t *c)
{
    const gmk_task_t *t = c->task;
    uint32_t side = duo_side(c), number = t->type - 1, who = (uint32_t)(t->meta0 >> 32),
             i = (uint32_t)t->meta0;
    scn_await(&duo.gate[side], 0);
    sim_check(t->meta1 == ~t->meta0, "a message is torn: %llx", (unsigned long long)t->meta0);
    sim_check(number < duo.n_lines && who >> 8 == number && (who & 15) < DUO_SENDERS, "line %u: %x", number,
              who);
    duo_line_t *l = &duo.line[number];
    uint32_t from = who >> 4 & 15, *next = &l->next[side][from][who & 15];
    sim_check(l->hears[side] && l->emits[from]);
    sim_check(i == *next || (l->lossy_order && i > *next),
              "%s on side %u: message %u of side %u in place of %u", l->name, side, i, from, *next);
    *next = i + 1;
    l->heard[side]++;
    return GMK_OK;
}

bool duo_emit(gmk_ctx_t *c, gmk_chan_t ch, const gmk_task_t *t)
{
    int rc;
    if (sim_rand(2) == 0) {
        rc = gmk_chan_emit_wait(c, ch, t, GMK_HAL_FOREVER);
    } else {
        while ((rc = gmk_chan_emit(c, ch, t)) == GMK_CHAN_FULL)
            sim_sleep(1 + sim_rand(500));
    }
    sim_check(rc == GMK_OK || rc == GMK_CHAN_CLOSED, "emit %d", rc);
    return rc == GMK_OK;
}

static void send(void *arg)
{
    duo_sender_t *s = arg;
    gmk_port_t port;
    (void)sim_kernel(duo.at[s->side]->kernel);
    gmk_ctx_t *c = scn_attach(&duo.at[s->side]->s, &port);
    for (uint32_t i = 0; i < s->n; i++)
        for (uint32_t line = 0; line < duo.n_lines; line++) {
            duo_line_t *l = &duo.line[line];
            if (!l->emits[s->side])
                continue;
            gmk_task_t t = duo_message(line, s->side, s->number, i);
            sim_check(duo_emit(c, l->ch[s->side], &t), "%s is closed", l->name);
            l->sent[s->side]++;
            scn_pause();
        }
    gmk_detach(&port);
}

void duo_send(duo_sender_t *s, uint32_t senders, uint32_t n)
{
    for (uint32_t i = 0; i < 2 * senders; i++) {
        s[i] = (duo_sender_t){.side = i % 2, .number = i / 2, .n = n};
        sim_check(sim_thread_create(&s[i].thread, "send", 1, send, &s[i]) == 0);
    }
}

void duo_sent(duo_sender_t *s, uint32_t senders)
{
    for (uint32_t i = 0; i < 2 * senders; i++)
        gmk_hal_thread_join(&s[i].thread);
}

void duo_all_heard(void) { duo_all_heard_but(0); }

void duo_all_heard_but(uint32_t last)
{
    for (uint32_t i = 0; i + last < duo.n_lines; i++)
        for (uint32_t side = 0; side < 2; side++) {
            duo_line_t *l = &duo.line[i];
            uint32_t n = l->hears[side] ? l->sent[0] + l->sent[1] : 0;
            sim_check(l->heard[side] == n, "%s: side %u heard %u of %u", l->name, side, l->heard[side], n);
        }
}

/* ---- the end ------------------------------------------------------------------------------- */

void duo_sums(void)
{
    for (uint32_t side = 0; side < 2; side++) {
        gmk_bridge_stats_t out = duo_stats(side), in = duo_stats(1 - side);
        sim_check(out.sent == in.received, "side %u sent %u, %u arrived", side, (unsigned)out.sent,
                  (unsigned)in.received);
        sim_check(out.acknowledged == out.sent && out.reset == 0 && out.resent == 0, "%u of %u acknowledged",
                  (unsigned)out.acknowledged, (unsigned)out.sent);
        sim_check(out.payloads_out == in.payloads_in && out.payload_bytes_out == in.payload_bytes_in);
    }
}

/* The peer may have closed it. */
static void duo_close(gmk_ctx_t *c, gmk_chan_t ch)
{
    int rc = gmk_chan_close(c, ch);
    sim_check(rc == GMK_OK || rc == GMK_CHAN_CLOSED, "close %d", rc);
    rc = gmk_wait_closed(c, ch, GMK_HAL_FOREVER);
    sim_check(rc == GMK_OK, "wait_closed %d", rc);
}

void duo_end_kernel(duo_end_t *e, const gmk_chan_t *ch)
{
    uint32_t none = sim_kernel(e->kernel);
    gmk_bridge_destroy(e->b);
    for (uint32_t i = 0; i < duo.n_lines; i++)
        duo_close(e->c, ch[i]);
    gmk_detach(&e->port);
    scn_end(&e->s);
    (void)sim_kernel(none);
}

void duo_end_one(uint32_t side)
{
    gmk_chan_t ch[DUO_LINES];
    for (uint32_t i = 0; i < duo.n_lines; i++)
        ch[i] = duo.line[i].ch[side];
    duo_end_kernel(duo.at[side], ch);
}

void duo_end(void)
{
    sim_options()->early_timeout = 0;
    if (duo.region != NULL)
        duo_down(false);
    for (uint32_t side = 0; side < 2; side++)
        duo_end_one(side);
}
