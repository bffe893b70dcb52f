/* SPDX-License-Identifier: MIT */
/* canary_branch.c — each kind of meeting after a branch on the lane; each function keeps one. */
#include "canary.h"

void canary_block_barrier(uint32_t *out);
void canary_warp_barrier(uint32_t *out);
void canary_ballot(uint32_t *out);
void canary_shuffle(uint32_t *out);
void canary_coalesce(uint32_t *out);

void canary_block_barrier(uint32_t *out) { CANARY(out, gmk_hal_block_barrier()); }

void canary_warp_barrier(uint32_t *out) { CANARY(out, gmk_hal_warp_barrier(UINT32_MAX)); }

void canary_ballot(uint32_t *out) { CANARY(out, out[5] = gmk_hal_ballot(UINT32_MAX, out[6] != 0)); }

void canary_shuffle(uint32_t *out) { CANARY(out, out[5] = gmk_hal_shuffle(UINT32_MAX, out[6], 3)); }

void canary_coalesce(uint32_t *out) { CANARY(out, out[5] = gmk_hal_coalesce()); }
