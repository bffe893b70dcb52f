/* SPDX-License-Identifier: MIT */
/*
 * bench_timer.h — the C half of the timer benchmark: our queue, driven by the same steps as its peer.
 */
#ifndef GGMK_BENCH_TIMER_H
#define GGMK_BENCH_TIMER_H

#include <stdint.h>

typedef struct bench_payload {
    uint64_t word[6]; /* as large as a task */
} bench_payload_t;

#ifdef __cplusplus
extern "C" {
#endif
/* Each returns a sum over the payloads in the order in which they left. */
void *bench_our_timers_make(uint32_t n);
void bench_our_timers_destroy(void *q);
uint64_t bench_our_timers_fill_drain(void *q, const uint64_t *keys, uint32_t n);
uint64_t bench_our_timers_hold(void *q, const uint64_t *keys, uint32_t n, uint32_t steps);
#ifdef __cplusplus
}
#endif

/* Depends on the order: two queues that agree on it fired everything in the same order. */
static inline uint64_t bench_mix(uint64_t sum, uint64_t word) { return (sum ^ word) * 0x9e3779b97f4a7c15u; }

#endif
