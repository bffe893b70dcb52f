/* SPDX-License-Identifier: MIT */
/* scn_wide.c — the worker loop with several lanes: scalar, warp and block tasks at once. */
#include "kernel.h"

#include <string.h>

#define WIDE_SCALARS 16u

static struct {
    uint8_t seen[2 * WIDE_SCALARS];
    gmk_a32_t ran, lanes_in, wide, freed;
    uint32_t messages;
    gmk_chan_t ch;
} wide;

static uint64_t *block_new(gmk_ctx_t *c, uint64_t name)
{
    static const uint32_t sizes[] = {24, 100, 4000};
    uint64_t *p = gmk_alloc(c, sizes[sim_rand(SCN_LEN(sizes))]);
    sim_check(p != NULL);
    p[0] = p[1] = name;
    return p;
}

static void block_free(gmk_ctx_t *c, uint64_t *p, uint64_t name)
{
    sim_check(p[0] == name && p[1] == name, "a block has two owners");
    p[0] = p[1] = 0;
    gmk_free(c, p);
    (void)scn_inc(&wide.freed);
}

/* Allocates, leaves something to the next one, emits; the lanes of a worker do so at the same time. */
static int scalar_run(gmk_ctx_t *c)
{
    uint32_t id = (uint32_t)c->task->meta0;
    sim_check(id < 2 * WIDE_SCALARS && wide.seen[id]++ == 0, "task %u twice", id);
    sim_check(gmk_lane(c) == 0 && gmk_lanes(c) == 1);
    (void)scn_inc(&wide.ran);
    unsigned char *scratch = gmk_bump(c, 40);
    sim_check(scratch != NULL);
    memset(scratch, (int)id, 40);
    if (c->task->meta1 != 0)
        block_free(c, (uint64_t *)(uintptr_t)c->task->meta1, id);
    if (id < WIDE_SCALARS) {
        gmk_task_t t = scn_task(1, sim_rand(4), id + WIDE_SCALARS);
        t.meta1 = (uint64_t)(uintptr_t)block_new(c, id + WIDE_SCALARS);
        sim_check(gmk_emit(c, &t) == GMK_OK);
        t = scn_task(0, sim_rand(4), id);
        sim_check(gmk_chan_emit(c, wide.ch, &t) == GMK_OK);
    }
    sim_check(scratch[0] == (unsigned char)id && scratch[39] == (unsigned char)id);
    return GMK_OK;
}

/* All lanes run it together. */
static int wide_run(gmk_ctx_t *c)
{
    uint32_t lane = gmk_lane(c), lanes = gmk_lanes(c);
    uint64_t sum = (uint64_t)lanes * (lanes - 1) / 2 + lanes * c->task->meta0;
    sim_check(lanes <= gmk_hal_lanes() && lane == gmk_hal_lane() % lanes);
    (void)scn_inc(&wide.lanes_in);
    for (uint32_t i = 0; i < 2; i++)
        sim_check(gmk_reduce_sum(c, lane + c->task->meta0) == sum, "a sum over %u lanes", lanes);
    uint64_t *p = block_new(c, lane);
    gmk_barrier(c);
    block_free(c, p, lane);
    if (lane == 0)
        (void)scn_inc(&wide.wide);
    return lane == 0 && c->task->meta0 % 3 == 2 ? GMK_FAIL(1) : GMK_OK;
}

static int wide_message(gmk_ctx_t *c)
{
    sim_check(c->task->seq == wide.messages++, "message %u", c->task->seq);
    return GMK_OK;
}

void scn_wide(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {
        {.type = 1, .fn = scalar_run},
        {.type = 2, .fn = wide_run, .flags = GMK_HANDLER_WARP},
        {.type = 3, .fn = wide_run, .flags = GMK_HANDLER_BLOCK},
        {.type = 4, .fn = wide_message},
    };
    static const uint32_t some[] = {2, 4, 8, 32};
    uint32_t workers = scn_workers_of(1, 2), together = 0, lanes_in = 0;
    scn_t s;
    gmk_port_t port;
    (void)arg;
    memset(&wide, 0, sizeof wide);
    if (sim_options()->lanes == 1)
        sim_options()->lanes = some[sim_rand(SCN_LEN(some))];
    uint32_t lanes = sim_options()->lanes, warp = lanes < 32 ? lanes : 32;
    SCN_BOOT(&s, scn_cfg(workers), handlers);
    gmk_ctx_t *c = scn_attach(&s, &port);
    wide.ch = scn_open(c,
                       (gmk_chan_cfg_t){.name = "t.wide", .slots = WIDE_SCALARS, .reserve_pct = UINT32_MAX});
    (void)scn_sub(c, wide.ch, (gmk_sub_cfg_t){.handler = 4});
    for (uint32_t i = 0; i < WIDE_SCALARS; i++) {
        gmk_task_t t = scn_task(1, sim_rand(4), i);
        sim_check(gmk_emit(c, &t) == GMK_OK);
        if (i % 4 == 0) {
            t = scn_task(2 + sim_rand(2), sim_rand(4), i);
            sim_check(gmk_emit(c, &t) == GMK_OK);
            together++;
            lanes_in += t.type == 2 ? warp : lanes;
        }
    }
    scn_drain(&s);
    sim_check(scn_get(&wide.ran) == 2 * WIDE_SCALARS && wide.messages == WIDE_SCALARS, "%u ran, %u messages",
              scn_get(&wide.ran), wide.messages);
    sim_check(scn_get(&wide.wide) == together && scn_get(&wide.lanes_in) == lanes_in);
    sim_check(scn_get(&wide.freed) == WIDE_SCALARS + lanes_in);
    scn_close(c, wide.ch);
    gmk_detach(&port);
    scn_end(&s);
}
