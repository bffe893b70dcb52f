/* SPDX-License-Identifier: MIT */
/* scn_atomics.c — atomics: what each returns and leaves, and what plain steps in their place lose. */
#include "scenarios.h"

#define THREADS 3u
#define ROUNDS 8u

struct words {
    gmk_a32_t added, subtracted, swapped, bits, cleared;
    gmk_a64_t wide;
};

static void work(void *arg)
{
    struct words *w = *(struct words **)arg;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint64_t seen = gmk_load64(&w->wide, GMK_RLX, GMK_KERNEL);
        while (!gmk_cas64(&w->wide, &seen, seen + 0x100000001u, GMK_ACQ_REL, GMK_KERNEL))
            ;
        (void)gmk_add32(&w->added, 3, GMK_RLX, GMK_KERNEL);
        (void)gmk_sub32(&w->subtracted, 2, GMK_ACQ_REL, GMK_KERNEL);
        uint32_t below = (1u << i) - 1; /* what this thread has done already */
        sim_check((gmk_or32(&w->bits, 1u << i, GMK_SEQ, GMK_KERNEL) & below) == below);
        sim_check((gmk_and32(&w->cleared, ~(1u << i), GMK_REL, GMK_KERNEL) & below) == 0);
        sim_check(gmk_xchg32(&w->swapped, i + 1, GMK_ACQ, GMK_KERNEL) <= ROUNDS);
        gmk_fence(GMK_SEQ, GMK_KERNEL);
    }
}

void scn_atomics(void *arg)
{
    (void)arg;
    struct words w = {.cleared = {UINT32_MAX}}, *args[THREADS] = {&w, &w, &w};
    uint32_t n = THREADS * ROUNDS;

    scn_together(THREADS, work, args, sizeof args[0]);
    sim_check(gmk_load32(&w.added, GMK_RLX, GMK_KERNEL) == 3 * n);
    sim_check(gmk_load32(&w.subtracted, GMK_RLX, GMK_KERNEL) == 0u - 2 * n);
    sim_check(gmk_load32(&w.bits, GMK_RLX, GMK_KERNEL) == (1u << ROUNDS) - 1);
    sim_check(gmk_load32(&w.cleared, GMK_RLX, GMK_KERNEL) == UINT32_MAX << ROUNDS);
    sim_check(gmk_load32(&w.swapped, GMK_RLX, GMK_KERNEL) == ROUNDS);
    sim_check(gmk_load64(&w.wide, GMK_RLX, GMK_KERNEL) == ((uint64_t)n << 32 | n));
}

static void lose(void *arg)
{
    gmk_a32_t *word = *(gmk_a32_t **)arg;
    for (uint32_t i = 0; i < ROUNDS; i++)
        gmk_store32(word, gmk_load32(word, GMK_RLX, GMK_KERNEL) + 1, GMK_RLX, GMK_KERNEL);
}

void scn_lost_update(void *arg)
{
    (void)arg;
    gmk_a32_t total = {0}, *args[2] = {&total, &total};
    scn_together(2, lose, args, sizeof args[0]);
    sim_check(total.v == 2 * ROUNDS);
}
