/* SPDX-License-Identifier: MIT */
/*
 * scn_det_dual.c — deterministic mode on two kernels: the hashes add up to that of one kernel, whatever the schedule,
 * the number of workers and the division of the work; and a bridge that goes down ends the run on both.
 */
#include "duo.h"

#include "../det_workload.h"

#define TYPES (SCN_LEN(det_handlers) + 1)

/* Which sides hear the channels: bit per side, by type.  All else is on both. */
static const uint8_t splits[][DET_HEAR_TOO + 1] = {
    {[DET_HEAR_ONE] = 2, [DET_HEAR_ALL] = 1, [DET_HEAR_TOO] = 1},
    {[DET_HEAR_ONE] = 1, [DET_HEAR_ALL] = 2, [DET_HEAR_TOO] = 2},
    {[DET_HEAR_ONE] = 2, [DET_HEAR_ALL] = 1, [DET_HEAR_TOO] = 2},
};

static struct {
    gmk_handler_reg_t handlers[2][TYPES];
    gmk_chan_decl_t channels[2][4];
} own;

static uint32_t handlers_of(const uint8_t *split, uint32_t side)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < SCN_LEN(det_handlers); i++)
        if (split[det_handlers[i].type] == 0 || (split[det_handlers[i].type] >> side & 1) != 0)
            own.handlers[side][n++] = det_handlers[i];
    return n;
}

static uint32_t channels_of(const uint8_t *split, uint32_t side)
{
    gmk_chan_decl_t *c = own.channels[side];
    uint32_t n = 0;
    for (uint32_t i = 0; i < SCN_LEN(det_channels); i++)
        if ((split[det_channels[i].handler] >> side & 1) != 0)
            c[n++] = det_channels[i];
    for (uint32_t i = 0; i < 2; i++) {
        c[n] = det_channels[i];
        c[n].direction = GMK_PRODUCES;
        c[n++].handler = 0;
    }
    return n;
}

static void boot(const uint8_t *split, uint32_t side)
{
    duo_end_t *e = &duo.end[side];
    uint32_t none = sim_kernel(e->kernel), handlers = handlers_of(split, side),
             channels = channels_of(split, side);
    gmk_boot_cfg_t cfg = scn_cfg(e->workers);
    cfg.name = side == DUO_CPU ? "cpu.0" : "gpu.0";
    cfg.spin_ns = 1;
    cfg.poison_failures = DET_WORKLOAD_POISON;
    cfg.seed = DET_WORKLOAD_SEED;
    e->s = (scn_t){.module = {.name = "det",
                              .handlers = own.handlers[side],
                              .n_handlers = handlers,
                              .channels = own.channels[side],
                              .n_channels = channels}};
    e->s.list[0] = &e->s.module;
    sim_check(gmk_boot(&e->s.k, &cfg, e->s.list, 1) == GMK_OK);
    e->c = scn_attach(&e->s, &e->port);
    (void)scn_open(e->c, (gmk_chan_cfg_t){.name = "host.rx"}); /* the bridge would */
    (void)scn_open(e->c, (gmk_chan_cfg_t){.name = "host.tx"});
    scn_mark(&e->s);
    sim_check(gmk_bridge_create(&e->s.k, &e->cfg, &e->b) == GMK_OK);
    (void)sim_kernel(none);
}

static void begin(void)
{
    const uint8_t *split = splits[sim_rand(SCN_LEN(splits))];
    duo_choose();
    for (uint32_t side = 0; side < 2; side++)
        boot(split, side);
    sim_options()->early_timeout = 256; /* see duo_boot */
    sim_options()->max_steps = 3000000;
    duo_up();
    uint32_t how = sim_rand(3);
    for (uint32_t side = 0; side < 2; side++) {
        uint32_t none = sim_kernel(duo.end[side].kernel);
        if (how == 2)
            sim_check(det_input_part(&duo.end[side].s.k, side, 2) == GMK_OK);
        else if (how == side)
            sim_check(det_input(&duo.end[side].s.k) == GMK_OK);
        (void)sim_kernel(none);
    }
}

static void advance(uint32_t side)
{
    uint32_t none = sim_kernel(duo.end[side].kernel);
    (void)gmk_tick_advance(&duo.end[side].s.k);
    (void)sim_kernel(none);
}

/* Side 0 first: it is drained when neither has anything to do. */
static void drain(void)
{
    sim_options()->early_timeout = 0; /* a drain does not wait for ever */
    for (uint32_t side = 0; side < 2; side++)
        scn_drain(&duo.end[side].s);
}

/* Deliveries of the workload that have their outcome. */
static uint64_t finished(uint32_t side)
{
    uint64_t n = 0;
    for (uint32_t type = DET_SERIAL; type <= DET_HEAR_TOO; type++) {
        gmk_type_stats_t st;
        if (gmk_type_stats(&duo.end[side].s.k, type, &st) == GMK_OK)
            n += st.completed + st.failed + st.dropped;
    }
    return n;
}

void scn_deterministic_dual(void *arg)
{
    (void)arg;
    begin();
    uint32_t driver = sim_rand(4) == 0;
    for (uint32_t i = 0; i < DET_WORKLOAD_TICKS; i++) {
        advance(driver);
        if (sim_rand(8) == 0)
            scn_pause();
    }
    for (uint32_t tick = 0; tick < DET_WORKLOAD_TICKS; tick = scn_stats(&duo.end[DUO_CPU].s).tick)
        sim_sleep(1000); /* until the other side has heard of the last one */
    drain();
    uint64_t hash = 0, tasks = 0;
    for (uint32_t side = 0; side < 2; side++) {
        hash += scn_stats(&duo.end[side].s).det_hash;
        tasks += finished(side);
    }
    sim_check(hash == DET_WORKLOAD_HASH && tasks == DET_WORKLOAD_TASKS, "hash 0x%016llx, %u tasks",
              (unsigned long long)hash, (unsigned)tasks);
    duo_sums();
    duo_end();
}

void scn_deterministic_gone(void *arg)
{
    uint32_t first = sim_rand(2);
    (void)arg;
    begin();
    for (uint32_t i = 0; i < DET_WORKLOAD_TICKS; i++)
        advance(DUO_CPU);
    for (uint32_t wait = sim_rand(40); wait != 0; wait--)
        sim_sleep(1 + sim_rand(3000));
    sim_check(gmk_bridge_down(duo.end[first].b, sim_rand(2) == 0) == GMK_OK);
    for (uint32_t wait = sim_rand(40); wait != 0; wait--)
        sim_sleep(1 + sim_rand(3000));
    duo_down(false);
    for (uint32_t side = 0; side < 2; side++) /* each on its own: what was not run is dropped and counted */
        while (scn_stats(&duo.end[side].s).pending != 0)
            sim_sleep(1000);
    drain();
    duo_end();
}
