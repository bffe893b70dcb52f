/* SPDX-License-Identifier: MIT */
/*
 * entry.c — an entry point that reaches the core, so that the check can see what the whole image
 * becomes: block 0 boots a kernel with one module, gives it work and halts it; the other blocks
 * are its workers.
 */
#include <ggmk.h>
#include <ggmk/hal.h>

__attribute__((nvptx_kernel)) void gmk_nvptx_check(void *arena, size_t bytes, uint64_t *result);

enum { TYPE_START = 1, TYPE_SUM = 2, TYPE_BLOCK = 3 };

static int start(gmk_ctx_t *c)
{
    gmk_chan_t out;
    gmk_task_t t = {.type = TYPE_SUM, .meta0 = c->task->meta0};
    if (gmk_chan_find(c, "check.sum", &out) != GMK_OK)
        return GMK_FAIL(1);
    if (c->task->meta1 == 0 && gmk_emit_after(c, c->task, 1000) == GMK_OK)
        return GMK_OK;
    uint64_t *scratch = gmk_alloc(c, sizeof(*scratch));
    if (!scratch)
        return gmk_yield(c);
    *scratch = t.meta0;
    t.meta1 = *scratch * 3;
    gmk_free(c, scratch);
    if (gmk_chan_emit(c, out, &t) == GMK_CHAN_FULL)
        return gmk_chan_wait(c, out, 1);
    return GMK_OK;
}

static int sum(gmk_ctx_t *c)
{
    gmk_task_t t = {.type = TYPE_BLOCK, .flags = GMK_TASK_PAYLOAD_RC, .payload_len = 64};
    t.payload_ptr = (uint64_t)(uintptr_t)gmk_payload_alloc(c, t.payload_len);
    if (!t.payload_ptr)
        return GMK_RETRY;
    return gmk_emit(c, &t);
}

static int whole_block(gmk_ctx_t *c)
{
    uint64_t v = gmk_reduce_sum(c, gmk_lane(c));
    gmk_barrier(c);
    return v == (uint64_t)gmk_lanes(c) * (gmk_lanes(c) - 1) / 2 ? GMK_OK : GMK_FAIL(2);
}

static const gmk_handler_reg_t handlers[] = {
    {.type = TYPE_START, .fn = start, .name = "start"},
    {.type = TYPE_SUM, .fn = sum, .name = "sum"},
    {.type = TYPE_BLOCK, .fn = whole_block, .name = "block", .flags = GMK_HANDLER_BLOCK},
};

static const gmk_chan_decl_t channels[] = {
    {.name = "check.sum", .direction = GMK_CONSUMES, .msg_type = TYPE_SUM, .handler = TYPE_SUM},
};

static gmk_module_t module = {
    .name = "check",
    .handlers = handlers,
    .n_handlers = 3,
    .channels = channels,
    .n_channels = 1,
};

static gmk_kernel_t kernel;

static int run(void *arena, size_t bytes, uint64_t *result)
{
    gmk_module_t *mods[] = {&module};
    gmk_boot_cfg_t cfg = {
        .arena_size = bytes / 2,
        .n_workers = gmk_hal_cpu_count(),
        .flags = GMK_BOOT_NO_WATCHDOG,
        .name = "gpu.0",
    };
    gmk_hal_nvptx_init(arena, bytes);
    int rc = gmk_boot(&kernel, &cfg, mods, 1);
    if (rc != GMK_OK)
        return rc;
    for (uint64_t i = 0; i < 100 && rc == GMK_OK; i++) {
        gmk_task_t t = {.type = TYPE_START, .meta0 = i, .meta1 = i & 1};
        rc = gmk_submit(&kernel, &t);
    }
    gmk_stats_t stats;
    if (rc == GMK_OK)
        rc = gmk_drain(&kernel, 1000000000);
    if (gmk_stats(&kernel, &stats) == GMK_OK)
        result[1] = stats.completed;
    int halted = gmk_halt(&kernel);
    return rc != GMK_OK ? rc : halted;
}

void gmk_nvptx_check(void *arena, size_t bytes, uint64_t *result)
{
    if (__nvvm_read_ptx_sreg_ctaid_x() != 0) {
        gmk_hal_nvptx_serve();
    } else if (gmk_hal_lane() == 0) {
        result[0] = (uint64_t)(int64_t)run(arena, bytes, result);
        gmk_hal_nvptx_close();
    }
}
