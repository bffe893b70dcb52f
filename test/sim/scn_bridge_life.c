/* SPDX-License-Identifier: MIT */
/* scn_bridge_life.c — bridges that are wired anew, that sleep, and whose one kernel is a device. */
#include "duo.h"

#include "../../bridge/bridge_int.h"
#include "../../gpu/device.h"

#include <string.h>

/* ---- wiring -------------------------------------------------------------------------------- */

#define WIRES 3u
#define WIRERS 4u
#define WIRE_STEPS 6u

static const char *const wire_name[WIRES] = {"t.w0", "t.w1", "t.w2"};

static int wire_hear(gmk_ctx_t *c)
{
    sim_check(c->task->meta1 == ~c->task->meta0);
    return GMK_OK;
}

static const gmk_handler_reg_t wire_handlers[] = {{.type = 1, .fn = wire_hear},
                                                  {.type = 2, .fn = wire_hear},
                                                  {.type = 3, .fn = wire_hear},
                                                  SCN_LETTER_HANDLER};

/* A fan-out channel that both sides emit on has room for all. */
static gmk_chan_cfg_t wire_cfg(uint32_t i)
{
    return (gmk_chan_cfg_t){
        .name = wire_name[i], .mode = i == 2 ? GMK_FANOUT : GMK_P2P, .slots = i == 2 ? 256 : 4};
}

static void wire_emit(gmk_ctx_t *c, gmk_chan_t ch)
{
    for (uint32_t n = 1 + sim_rand(6); n > 0; n--) {
        gmk_task_t t = duo_message(0, 0, 0, n);
        t.flags |= (uint16_t)(sim_rand(4) == 0 ? GMK_TASK_IDEMPOTENT : 0);
        int rc = gmk_chan_emit(c, ch, &t);
        sim_check(rc == GMK_OK || rc == GMK_CHAN_FULL || rc == GMK_CHAN_CLOSED, "emit %d", rc);
    }
}

static void wire_sub(gmk_ctx_t *c, gmk_chan_t ch, uint32_t i)
{
    gmk_sub_cfg_t cfg = {.handler = i + 1, .order = i == 2 ? GMK_ORDERED : sim_rand(2)};
    gmk_sub_t sub;
    int rc = gmk_chan_sub(c, ch, &cfg, &sub);
    sim_check(rc == GMK_OK || rc == GMK_CHAN_CLOSED || rc == GMK_CHAN_ALREADY_BOUND || rc == GMK_ALLOC_FAIL,
              "sub %d", rc);
    if (rc == GMK_OK && sim_rand(2) == 0) {
        wire_emit(c, ch);
        rc = gmk_chan_unsub(c, sub);
        sim_check(rc == GMK_OK || rc == GMK_ERR_NOTFOUND, "unsub %d", rc);
    }
}

/* Opens, subscribes, emits and closes, whatever the others do. */
static void wire(void *arg)
{
    uint32_t side = *(uint32_t *)arg;
    gmk_port_t port;
    (void)sim_kernel(duo.at[side]->kernel);
    gmk_ctx_t *c = scn_attach(&duo.at[side]->s, &port);
    for (uint32_t step = 0; step < WIRE_STEPS; step++) {
        uint32_t i = sim_rand(WIRES), what = sim_rand(8);
        gmk_chan_cfg_t cfg = wire_cfg(i);
        gmk_chan_t ch;
        int rc = gmk_chan_open(c, &cfg, &ch);
        if (rc == GMK_ERR_EXISTS)
            rc = gmk_chan_find(c, wire_name[i], &ch);
        sim_check(rc == GMK_OK || rc == GMK_ERR_NOTFOUND, "open %d", rc);
        if (rc != GMK_OK)
            continue;
        if (what < 3)
            wire_sub(c, ch, i);
        else if (what < 7)
            wire_emit(c, ch);
        else
            (void)gmk_chan_close(c, ch);
        scn_pause();
    }
    gmk_detach(&port);
}

/* Closes all that are left; closed there is closed here. */
static void wire_close_all(void)
{
    for (uint32_t i = 0; i < 2 * WIRES; i++) {
        gmk_ctx_t *c = duo.at[i % 2]->c;
        gmk_chan_t ch;
        while (gmk_chan_find(c, wire_name[i / 2], &ch) == GMK_OK) {
            int rc = gmk_chan_close(c, ch);
            sim_check(rc == GMK_OK || rc == GMK_CHAN_CLOSED, "close %d", rc);
            rc = gmk_wait_closed(c, ch, GMK_HAL_FOREVER);
            sim_check(rc == GMK_OK, "wait_closed %d", rc);
        }
    }
}

/* Channels come and go on both sides while messages flow; nothing of it is a bridge's ruin. */
void scn_bridge_wiring(void *arg)
{
    uint32_t side[WIRERS] = {0, 1, 0, 1};
    (void)arg;
    duo_choose();
    duo.warm = 2 * WIRERS;
    DUO_BOOT(wire_handlers);
    duo_up();
    scn_together(WIRERS, wire, side, sizeof side[0]);
    sim_options()->early_timeout = 0;
    wire_close_all();
    for (uint32_t i = 0; i < 2; i++) {
        gmk_bridge_stats_t st = duo_stats(i);
        sim_check(st.state == GMK_BRIDGE_READY, "side %u is %u: %s", i, st.state, st.text);
    }
    while (duo_stats(0).routes_out + duo_stats(1).routes_out != 0)
        sim_sleep(DUO_MS);
    duo_end();
}

/* Two declarations that disagree: both ends fail, and both say who declared what. */
void scn_bridge_disagree(void *arg)
{
    static const int codes[] = {GMK_CHAN_TYPE_MISMATCH, GMK_ERR_INVAL, GMK_ERR_INVAL, GMK_CHAN_ALREADY_BOUND};
    uint32_t what = sim_rand(4), first = sim_rand(2);
    (void)arg;
    duo_choose();
    DUO_BOOT(wire_handlers);
    duo_line_t *l = duo_add("t.x", (gmk_chan_cfg_t){.msg_type = 7}, DUO_BOTH,
                            what == 3 ? DUO_BOTH : 1u << first);
    duo_open_line(l, 0);
    l->cfg.msg_type += what == 0;
    l->cfg.mode = what == 1 ? GMK_FANOUT : l->cfg.mode;
    l->cfg.guarantee = what == 2 ? GMK_LOSSY : l->cfg.guarantee;
    l->cfg.reserve_pct = what == 2 ? 0 : UINT32_MAX;
    duo_open_line(l, 1);
    duo_region();
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t side = first ^ i;
        sim_check(gmk_bridge_up(duo.at[side]->b, duo.region, gmk_region_bytes(&duo.region_cfg), side) ==
                  GMK_OK);
    }
    for (uint32_t side = 0; side < 2; side++) {
        int rc = gmk_bridge_wait_ready(duo.at[side]->b, GMK_HAL_FOREVER);
        gmk_bridge_stats_t st = duo_stats(side);
        sim_check(rc == codes[what], "side %u: %d in place of %d, %s", side, rc, codes[what], st.text);
        sim_check(strstr(st.text, "t.x") && strstr(st.text, "cpu.0") && strstr(st.text, "gpu.0"), "%s",
                  st.text);
    }
    duo_end();
}

/* ---- sleep --------------------------------------------------------------------------------- */

#define SLEEP_BURSTS 4u

/* Slow enough, now and then, that a pump sleeps with messages for a full channel. */
static int sleep_note(gmk_ctx_t *c)
{
    if (sim_rand(4) == 0)
        sim_sleep(sim_rand(40000));
    return duo_note(c);
}

static void sleep_until_heard(const uint32_t *heard, uint32_t n)
{
    uint64_t began = sim_time();
    while (*(volatile const uint32_t *)heard != n) {
        sim_sleep(20000);
        sim_check(sim_time() - began < 50 * DUO_MS, "%u of %u arrived in 50 ms: a pump sleeps on", *heard, n);
    }
}

/* Pumps sleep for as long as they may, and are woken for every message and every credit: or nap, where they cannot be. */
void scn_bridge_sleep(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {
        {.type = 1, .fn = sleep_note}, {.type = 2, .fn = sleep_note}, SCN_LETTER_HANDLER};
    uint32_t deaf = sim_rand(4); /* bit: the pump of that side cannot be woken */
    (void)arg;
    duo_choose();
    for (uint32_t side = 0; side < 2; side++) {
        gmk_bridge_cfg_t *cfg = &duo.at[side]->cfg;
        bool woken = (deaf >> side & 1) == 0;
        cfg->beat_ns = 60 * SCN_S;
        cfg->flush_ns = sim_rand(2) == 0 ? 1 : 1000;
        cfg->nap_ns = woken ? SCN_S : 100000;
        if (!woken)
            duo.at[1 - side]->cfg.wake = NULL;
    }
    DUO_BOOT(handlers);
    sim_options()->early_timeout = 0;
    sim_options()->delayed = sim_rand(2) == 0 ? 0 : 4096;
    for (uint32_t side = 0; side < 2; side++) /* one that can be woken sleeps on, as with gmk_bridge_join */
        if ((deaf >> side & 1) == 0)
            duo.at[side]->b->nap_ns = duo.at[side]->cfg.beat_ns;
    (void)duo_add("t.to", (gmk_chan_cfg_t){.slots = 1 + sim_rand(4)}, DUO_FROM_CPU, DUO_FROM_GPU);
    (void)duo_add("t.back", (gmk_chan_cfg_t){.slots = 1 + sim_rand(4)}, DUO_FROM_GPU, DUO_FROM_CPU);
    duo_open();
    duo_up();
    for (uint32_t burst = 0; burst < SLEEP_BURSTS; burst++) {
        uint32_t side = sim_rand(2);
        duo_line_t *l = &duo.line[side];
        for (uint32_t n = 1 + sim_rand(6); n > 0; n--) {
            gmk_task_t t = duo_message(side, side, 0, l->sent[side]);
            uint64_t began = sim_time();
            sim_check(duo_emit(duo.at[side]->c, l->ch[side], &t));
            sim_check(sim_time() - began < 50 * DUO_MS, "a credit took more than 50 ms: a pump sleeps on");
            l->sent[side]++;
        }
        sleep_until_heard(&l->heard[1 - side], l->sent[side]);
        if (sim_rand(2) == 0)
            sim_sleep(sim_rand(2) == 0 ? sim_rand(3000) : 3 * DUO_MS);
    }
    for (uint32_t side = 0; side < 2; side++)
        sim_check(gmk_bridge_flush(duo.at[side]->b, 50 * DUO_MS) == GMK_OK);
    duo_flush();
    duo_all_heard();
    duo_sums();
    duo_end();
}

/* ---- a device ------------------------------------------------------------------------------ */

#define DEVICE_MESSAGES 12u

static struct {
    uint32_t asked, answered;
    int code;
    gmk_device_launch_t launch;
} device;

static int device_echo(gmk_ctx_t *c)
{
    gmk_chan_t ch;
    sim_check(gmk_chan_find(c, "t.answer", &ch) == GMK_OK);
    int rc = gmk_chan_emit(c, ch, &(gmk_task_t){.meta0 = c->task->meta0});
    if (rc == GMK_CHAN_FULL)
        return gmk_chan_wait(c, ch, 1);
    sim_check(rc == GMK_OK || rc == GMK_CHAN_CLOSED, "answer %d", rc);
    return GMK_OK;
}

static int device_answer(gmk_ctx_t *c)
{
    sim_check(c->task->meta0 == device.answered, "answer %u in place of %u", (unsigned)c->task->meta0,
              device.answered);
    device.answered++;
    return GMK_OK;
}

static const gmk_handler_reg_t device_handlers[] = {{.type = 1, .fn = device_echo}};
static const gmk_chan_decl_t device_channels[] = {
    {.name = "t.ask", .direction = GMK_CONSUMES, .handler = 1, .slots = 4},
    {.name = "t.answer", .direction = GMK_PRODUCES, .slots = 4}};
static gmk_module_t device_module = {.name = "echo",
                                     .handlers = device_handlers,
                                     .n_handlers = 1,
                                     .channels = device_channels,
                                     .n_channels = SCN_LEN(device_channels)};
static gmk_module_t device_other = {.name = "other"};

static void device_life(void *arg)
{
    (void)arg;
    device.code = gmk_device_run(&device.launch);
}

/* Asks, and goes on for a while whatever becomes of it. */
static void device_ask(uint32_t n)
{
    gmk_chan_t ch = duo.line[0].ch[DUO_CPU];
    gmk_ctx_t *c = duo.at[DUO_CPU]->c;
    for (uint32_t i = 0; i < n;) {
        int rc = gmk_chan_emit(c, ch, &(gmk_task_t){.meta0 = i});
        sim_check(rc == GMK_OK || rc == GMK_CHAN_FULL, "ask %d", rc);
        if (rc == GMK_OK)
            device.asked = ++i;
        else
            sim_sleep(500);
        scn_pause();
    }
}

static void device_start(gmk_hal_thread_t *t)
{
    static gmk_module_t *mods[] = {&device_other, &device_module};
    memset(&device, 0, sizeof device);
    duo.region_cfg.args = "other=1 workers=2 modules=echo beat_us=500 types=32";
    duo_region();
    device.launch = (gmk_device_launch_t){.region = duo.region,
                                          .region_bytes = gmk_region_bytes(&duo.region_cfg),
                                          .arena_bytes = (uint64_t)12 << 20,
                                          .mods = mods,
                                          .n_mods = 2,
                                          .max_workers = 1 + sim_rand(3),
                                          .boot_flags = GMK_BOOT_QUIET};
    uint32_t none = sim_kernel(duo.at[DUO_GPU]->kernel);
    sim_check(sim_thread_create(t, "device", 1, device_life, NULL) == 0);
    (void)sim_kernel(none);
}

/* The whole life of a kernel whose only contact with the world is a region: stopped in order, or killed. */
void scn_bridge_device(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {
        {.type = 1, .fn = device_echo}, {.type = 2, .fn = device_answer}, SCN_LETTER_HANDLER};
    gmk_hal_thread_t t;
    uint32_t how = sim_rand(3); /* 0: all is answered, then it is stopped; 1: stopped; 2: killed */
    (void)arg;
    duo_choose();
    duo.at[DUO_CPU]->cfg.wake = NULL;
    duo.at[DUO_CPU]->cfg.nap_ns = 100000;
    duo_boot_one(DUO_CPU, handlers, SCN_LEN(handlers));
    sim_options()->max_steps = 4000000;
    sim_options()->early_timeout = 256;
    sim_options()->clock_jump =
        32768; /* it is booted with the usual times, in which it would spin for long */
    sim_options()->clock_jump_ns = 20000;
    (void)duo_add("t.ask", (gmk_chan_cfg_t){.slots = 4}, DUO_FROM_CPU, DUO_FROM_GPU);
    (void)duo_add("t.answer", (gmk_chan_cfg_t){.slots = 4}, DUO_FROM_GPU, DUO_FROM_CPU);
    for (uint32_t i = 0; i < 2; i++)
        duo_open_line(&duo.line[i], DUO_CPU);
    device_start(&t);
    gmk_bridge_t *b = duo.at[DUO_CPU]->b;
    sim_check(gmk_bridge_up(b, duo.region, gmk_region_bytes(&duo.region_cfg), DUO_CPU) == GMK_OK);
    int rc = gmk_bridge_wait_ready(b, GMK_HAL_FOREVER);
    sim_check(rc == GMK_OK, "ready %d", rc);
    device_ask(how == 0 ? DEVICE_MESSAGES : sim_rand(DEVICE_MESSAGES));
    while (how == 0 && *(volatile uint32_t *)&device.answered != DEVICE_MESSAGES)
        sim_sleep(500);
    if (how == 2) {
        sim_kernel_kill(duo.at[DUO_GPU]->kernel);
    } else {
        sim_check(gmk_bridge_ask_stop(b) == GMK_OK);
        gmk_hal_thread_join(&t);
        sim_check(device.code == GMK_OK, "the device ended with %d", device.code);
        while (duo_stats(DUO_CPU).state != GMK_BRIDGE_STOPPED)
            sim_sleep(DUO_MS);
        gmk_peer_stats_t p = duo_stats(DUO_CPU).peer;
        sim_check(how == 1 || p.accepted == p.completed + p.failed + p.dropped, "the device left work");
    }
    sim_check(gmk_bridge_down(b, false) == GMK_OK);
    gmk_hal_page_free(duo.region, gmk_region_bytes(&duo.region_cfg));
    duo.region = NULL;
    scn_drain(&duo.at[DUO_CPU]->s);
    uint32_t reported = scn_letters.reset + scn_letters.bridge;
    sim_check(device.answered + reported <= device.asked && (how != 0 || reported == 0), "%u asked, %u + %u",
              device.asked, device.answered, reported);
    gmk_bridge_stats_t st = duo_stats(DUO_CPU);
    sim_check(how != 2 || st.lost_epochs == 1 || st.lost_accepted == 0, "the killed one is not counted");
    duo_end_one(DUO_CPU);
}
