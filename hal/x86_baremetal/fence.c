/* SPDX-License-Identifier: MIT */
/*
 * fence.c — the heavy side of the asymmetric fence: every other CPU is interrupted and executes a full
 * fence.  A thread that does not run passed one when it was switched out.
 */
#include <ggmk/hal.h>

#include "smp.h"

void gmk_hal_asym_heavy(void)
{
    gmk_fence(GMK_SEQ, GMK_KERNEL);
    smp_barrier_all();
}
