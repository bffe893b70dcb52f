/* SPDX-License-Identifier: MIT */
/*
 * canary.h — the shape that makes an optimiser copy what stands between a branch and a test.
 *
 * CANARY puts `between` after a three-way branch on the lane and before a test of what the branch
 * decided.  An optimiser that does not know `between` for a meeting threads each arm of the branch
 * through to its side of the test, and leaves one copy of `between` per side.
 */
#ifndef GGMK_TEST_NVPTX_CANARY_H
#define GGMK_TEST_NVPTX_CANARY_H

#include <ggmk/hal.h>

#define CANARY(out, between)                                                                                 \
    do {                                                                                                     \
        bool second;                                                                                         \
        if (gmk_hal_lane() < 8) {                                                                            \
            (out)[1] = (out)[2];                                                                             \
            second = false;                                                                                  \
        } else if (gmk_hal_lane() < 16) {                                                                    \
            (out)[3] = 6;                                                                                    \
            second = true;                                                                                   \
        } else {                                                                                             \
            (out)[(out)[4]] = 3;                                                                             \
            second = false;                                                                                  \
        }                                                                                                    \
        between;                                                                                             \
        if (second)                                                                                          \
            (out)[7] = (out)[8] * 3;                                                                         \
        else                                                                                                 \
            (out)[9] += (out)[10];                                                                           \
    } while (0)

#endif
