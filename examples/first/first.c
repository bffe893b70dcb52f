/* SPDX-License-Identifier: MIT */
/* The smallest program: one kernel, one module, one handler, one task. */
#include <ggmk.h>
#include <stdio.h>

static int hello(gmk_ctx_t *ctx)
{
    printf("task of type %u carries %llu\n", ctx->task->type, (unsigned long long)ctx->task->meta0);
    return GMK_OK;
}

static const gmk_handler_reg_t handlers[] = {{.type = 1, .fn = hello, .name = "hello"}};
static gmk_module_t first = {.name = "first", .handlers = handlers, .n_handlers = 1};

int main(void)
{
    gmk_kernel_t kernel;
    gmk_boot_cfg_t cfg = {.arena_size = 64 * 1024 * 1024, .n_workers = 4, .n_tenants = 1};
    gmk_module_t *mods[] = {&first};
    gmk_task_t task = {.type = 1, .meta0 = 42};

    if (gmk_boot(&kernel, &cfg, mods, 1) != GMK_OK)
        return 1;
    int code = gmk_submit(&kernel, &task);
    int halted = gmk_halt(&kernel); /* what was accepted runs first */
    if (code == GMK_OK)
        code = halted;
    if (code != GMK_OK) {
        fprintf(stderr, "first: %s\n", gmk_strerror(code));
        return 1;
    }
    return 0;
}
