/* SPDX-License-Identifier: MIT */
/*
 * canary_loop.c — a loop that asks to be unrolled, its count known only at run time.  Lanes with
 * different counts would wait at different copies of the meeting, so it must stay one.
 */
#include <ggmk/hal.h>

/* That the request is refused is the point. */
#pragma clang diagnostic ignored "-Wpass-failed"

uint32_t canary_unrolled_loop(const uint32_t *in, uint32_t n);

uint32_t canary_unrolled_loop(const uint32_t *in, uint32_t n)
{
    uint32_t sum = 0;
#pragma clang loop unroll_count(4)
    for (uint32_t i = 0; i < n; i++) {
        sum += in[i];
        gmk_hal_warp_barrier(UINT32_MAX);
    }
    return sum;
}
