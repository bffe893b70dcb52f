/* SPDX-License-Identifier: MIT */
/*
 * trouble.c — listens on sys.error and sys.dropped of its kernel: whatever goes wrong in any module ends the
 * run with its code, instead of leaving it to wait for a message that will not come.
 */
#include "wc.h"

static gmk_chan_t out;

/* Full only behind so many others, of which one is enough. */
static int on_trouble(gmk_ctx_t *c)
{
    gmk_task_t t = {.type = WC_REPORT, .meta0 = WC_FAILED};

    t.meta1 = (uint64_t)(int64_t)gmk_dead_code(c->task);
    (void)gmk_chan_emit(c, out, &t);
    return GMK_OK;
}

static int init(gmk_ctx_t *c) { return gmk_chan_find(c, "wc.top", &out); }

static const gmk_handler_reg_t handlers[] = {{.type = WC_TROUBLE, .fn = on_trouble, .name = "wc.trouble"}};
static const gmk_chan_decl_t channels[] = {
    {.name = "wc.top", .direction = GMK_PRODUCES, .msg_type = WC_REPORT, .slots = WC_TOP_SLOTS},
    {.name = "sys.error", .direction = GMK_CONSUMES, .handler = WC_TROUBLE},
    {.name = "sys.dropped", .direction = GMK_CONSUMES, .handler = WC_TROUBLE},
};

gmk_module_t wc_trouble = {
    .name = "wc.trouble",
    .version = 1,
    .handlers = handlers,
    .n_handlers = 1,
    .channels = channels,
    .n_channels = 3,
    .init = init,
};

GMK_MODULE(wc_trouble);
