/* SPDX-License-Identifier: MIT */
/*
 * work.h — empty tasks whose instructions are counted: the same source hosted, under callgrind, and in the
 * bare-metal kernel, under QEMU's -icount.
 *
 * chain: each task emits the next one.  fan: one task emits all, some at a time.  meta0 is how many are
 * left.
 */
#ifndef GGMK_BENCH_COUNT_WORK_H
#define GGMK_BENCH_COUNT_WORK_H

#include <ggmk.h>

enum { COUNT_CHAIN = 200, COUNT_FAN, COUNT_EMPTY };
#define COUNT_FAN_AT_A_TIME 128u /* a local queue has 256 places */

static int count_chain(gmk_ctx_t *c)
{
    gmk_task_t next = {.type = COUNT_CHAIN, .meta0 = c->task->meta0 - 1};
    return next.meta0 != 0 ? gmk_emit(c, &next) : GMK_OK;
}

static int count_empty(gmk_ctx_t *c)
{
    (void)c;
    return GMK_OK;
}

static int count_fan(gmk_ctx_t *c)
{
    const gmk_task_t empty = {.type = COUNT_EMPTY};
    uint64_t left = c->task->meta0;
    for (uint32_t i = 0; i < COUNT_FAN_AT_A_TIME && left != 0; i++, left--)
        if (gmk_emit(c, &empty) != GMK_OK)
            break;
    return left != 0 ? gmk_yield_at(c, left) : GMK_OK;
}

static const gmk_handler_reg_t count_handlers[] = {
    {.type = COUNT_CHAIN, .fn = count_chain, .name = "count.chain"},
    {.type = COUNT_FAN, .fn = count_fan, .name = "count.fan", .max_yields = GMK_YIELDS_UNLIMITED},
    {.type = COUNT_EMPTY, .fn = count_empty, .name = "count.empty"},
};

static gmk_module_t count_module = {.name = "count", .handlers = count_handlers, .n_handlers = 3};

/* Runs n tasks of a kind (COUNT_CHAIN, COUNT_FAN) to their end. */
static int count_run(gmk_kernel_t *k, uint32_t kind, uint64_t n)
{
    const gmk_task_t first = {.type = kind, .meta0 = n};
    int rc = gmk_submit(k, &first);
    return rc == GMK_OK ? gmk_drain(k, 60000000000u) : rc;
}

#endif
