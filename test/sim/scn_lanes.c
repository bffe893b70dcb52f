/* SPDX-License-Identifier: MIT */
/* scn_lanes.c — workers with several lanes. */
#include "scenarios.h"

#define PHASES 4u

struct block {
    gmk_a32_t arrived, leaders, served;
    uint32_t plain[GMK_HAL_MAX_LANES];
};

static void ballot_and_shuffle(uint32_t lane, uint32_t lanes, uint32_t phase)
{
    uint32_t first = lane & ~31u, in_warp = lanes - first < 32 ? lanes - first : 32;
    uint32_t mask = in_warp == 32 ? UINT32_MAX : (1u << in_warp) - 1;
    uint32_t odd = gmk_hal_ballot(mask, (lane & 1) != 0);

    sim_check(odd == (mask & 0xaaaaaaaau));
    uint32_t from = (lane + 1) % 32 % in_warp;
    sim_check(gmk_hal_shuffle(mask, lane * 10 + phase, from) == (first + from) * 10 + phase);
    gmk_hal_warp_barrier(mask);
}

static void phases(void *arg)
{
    struct block *b = arg;
    uint32_t lane = gmk_hal_lane(), lanes = gmk_hal_lanes();

    for (uint32_t phase = 0; phase < PHASES; phase++) {
        b->plain[lane] = phase + 1;
        (void)gmk_add32(&b->arrived, 1, GMK_RLX, GMK_WORKER);
        gmk_hal_block_barrier();
        sim_check(gmk_load32(&b->arrived, GMK_RLX, GMK_WORKER) == (phase + 1) * lanes);
        for (uint32_t i = 0; i < lanes; i++)
            sim_check(b->plain[i] == phase + 1);
        gmk_hal_block_barrier();
        ballot_and_shuffle(lane, lanes, phase);
    }
}

static uint32_t some_lanes(void)
{
    static const uint32_t choice[] = {1, 2, 5, 32, 33, 64};
    return sim_options()->lanes = choice[sim_rand(6)];
}

static void run_block(void (*fn)(void *), struct block *b)
{
    gmk_hal_thread_t t;
    sim_check(gmk_hal_thread_create(&t, "block", UINT32_MAX, fn, b) == 0);
    gmk_hal_thread_join(&t);
}

void scn_lanes(void *arg)
{
    (void)arg;
    struct block b = {.arrived = {0}};
    (void)some_lanes();
    run_block(phases, &b);
}

static void one_stays_away(void *arg)
{
    (void)arg;
    if (gmk_hal_lane() != 1)
        gmk_hal_block_barrier();
}

void scn_lanes_diverge(void *arg)
{
    (void)arg;
    struct block b = {.arrived = {0}};
    sim_options()->lanes = 4;
    run_block(one_stays_away, &b);
}

static void add_together(void *arg)
{
    struct block *b = arg;
    for (uint32_t i = 0; i < PHASES; i++) {
        uint32_t mask = gmk_hal_coalesce(), me = gmk_hal_lane() % 32;
        sim_check((mask >> me & 1) != 0);
        if (gmk_hal_lanes() > 1)
            gmk_hal_warp_barrier(mask);
        if ((mask & ((1u << me) - 1)) != 0)
            continue; /* not the lowest: the leader adds for us */
        (void)gmk_add32(&b->leaders, 1, GMK_RLX, GMK_WORKER);
        (void)gmk_add32(&b->served, (uint32_t)__builtin_popcount(mask), GMK_RLX, GMK_WORKER);
    }
}

void scn_coalesce(void *arg)
{
    (void)arg;
    struct block b = {.arrived = {0}};
    uint32_t lanes = some_lanes();
    run_block(add_together, &b);
    sim_check(b.served.v == lanes * PHASES);
    sim_check(b.leaders.v >= PHASES && b.leaders.v <= lanes * PHASES);
}
