/* SPDX-License-Identifier: MIT */
/*
 * canary_call.c — a call after a branch on the lane: an indirect one, which may reach a handler
 * that meets, and one of a function that is not inlined and does.
 */
#include "canary.h"

void canary_meet(uint32_t *out);
void canary_indirect_call(uint32_t *out, void (*handler)(uint32_t *));
void canary_direct_call(uint32_t *out);

__attribute__((noinline)) void canary_meet(uint32_t *out)
{
    out[50] = 1;
    gmk_hal_block_barrier();
}

void canary_indirect_call(uint32_t *out, void (*handler)(uint32_t *)) { CANARY(out, handler(out)); }

void canary_direct_call(uint32_t *out) { CANARY(out, canary_meet(out)); }
