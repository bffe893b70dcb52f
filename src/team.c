/* SPDX-License-Identifier: MIT */
#include "team.h"

__attribute__((__noinline__)) void gmk_team_meet(void) { gmk_hal_block_barrier(); }
