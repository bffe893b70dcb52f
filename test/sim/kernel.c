/* SPDX-License-Identifier: MIT */
/* kernel.c — what the scenarios with a kernel share: the record of dead letters. */
#include "kernel.h"

scn_letters_t scn_letters;

static uint32_t *letter_count(int code)
{
    switch (code) {
    case GMK_DROP_SHED: return &scn_letters.shed;
    case GMK_DROP_CLOSED: return &scn_letters.closed;
    case GMK_DROP_UNLOADED: return &scn_letters.unloaded;
    case GMK_DROP_HALTED: return &scn_letters.halted;
    case GMK_DROP_NO_TYPE: return &scn_letters.no_type;
    case GMK_DROP_BRIDGE: return &scn_letters.bridge;
    case GMK_ERR_KERNEL_RESET: return &scn_letters.reset;
    case GMK_ERR_YIELD_LIMIT: return &scn_letters.yield_limit;
    case GMK_ERR_RETRY_LIMIT: return &scn_letters.retry_limit;
    case GMK_ERR_POISONED: return &scn_letters.poisoned;
    case GMK_ERR_FAULT: return &scn_letters.fault;
    default: return code <= GMK_FAIL_BASE ? &scn_letters.own : &scn_letters.other;
    }
}

int scn_letter(gmk_ctx_t *c)
{
    sim_check(gmk_dead_count(c->task) >= 1);
    *letter_count(gmk_dead_code(c->task)) += gmk_dead_count(c->task);
    return GMK_OK;
}
