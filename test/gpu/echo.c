/* SPDX-License-Identifier: MIT */
/*
 * echo.c — a module for images and devices under test: what comes in on t.in goes out on t.out.
 *
 *   t.in     SCALAR: the message as it is, with its payload.  Where t.out is full it is tried again
 *   t.warp   WARP    meta1 of what goes out: the sum over all lanes of (meta1 + lane), taken twice with a
 *   t.block  BLOCK   meeting in between; meta0 and the type stay, and meta1 >> 32 is the number of lanes
 */
#include <ggmk.h>

/* Handler types, which are also the types of the messages they take; t.out carries T_ECHOED. */
enum { T_IN = 201, T_WARP = 202, T_BLOCK = 203, T_ECHOED = 204 };

static gmk_chan_t out;

static int send(gmk_ctx_t *c, gmk_task_t *t)
{
    t->type = T_ECHOED;
    int rc = gmk_chan_emit(c, out, t);
    return rc == GMK_CHAN_FULL ? gmk_chan_wait(c, out, 1) : rc;
}

/* The message that came in gives its count of the payload back after this; the one that goes out has its own. */
static int on_in(gmk_ctx_t *c)
{
    const gmk_task_t *in = c->task;
    gmk_task_t t = {.type = T_ECHOED, .meta0 = in->meta0, .meta1 = in->meta1};
    void *payload = (void *)(uintptr_t)in->payload_ptr;
    if (payload == NULL)
        return send(c, &t);
    t.flags = GMK_TASK_PAYLOAD_RC;
    t.payload_ptr = in->payload_ptr;
    t.payload_len = in->payload_len;
    int rc = gmk_payload_retain(c, payload);
    if (rc != GMK_OK)
        return rc;
    rc = gmk_chan_emit(c, out, &t);
    if (rc == GMK_OK)
        return GMK_OK;
    (void)gmk_payload_release(c, payload);
    return rc == GMK_CHAN_FULL ? gmk_chan_wait(c, out, 1) : rc;
}

/* All lanes see the same sums; the first one sends, and its answer counts. */
static int on_wide(gmk_ctx_t *c)
{
    uint64_t seed = c->task->meta1;
    uint64_t first = gmk_reduce_sum(c, seed + gmk_lane(c));
    gmk_barrier(c);
    uint64_t second = gmk_reduce_sum(c, seed + gmk_lane(c));
    if (first != second)
        return GMK_FAIL(1);
    if (gmk_lane(c) != 0)
        return GMK_OK;
    gmk_task_t t = {.meta0 = c->task->meta0, .meta1 = (uint64_t)gmk_lanes(c) << 32 | (first & UINT32_MAX)};
    return send(c, &t);
}

static const gmk_handler_reg_t handlers[] = {
    {.type = T_IN, .fn = on_in, .name = "t.in"},
    {.type = T_WARP, .fn = on_wide, .name = "t.warp", .flags = GMK_HANDLER_WARP},
    {.type = T_BLOCK, .fn = on_wide, .name = "t.block", .flags = GMK_HANDLER_BLOCK},
};

static const gmk_chan_decl_t channels[] = {
    {.name = "t.in", .direction = GMK_CONSUMES, .msg_type = T_IN, .handler = T_IN, .order = GMK_PARALLEL},
    {.name = "t.warp",
     .direction = GMK_CONSUMES,
     .msg_type = T_WARP,
     .handler = T_WARP,
     .order = GMK_PARALLEL},
    {.name = "t.block",
     .direction = GMK_CONSUMES,
     .msg_type = T_BLOCK,
     .handler = T_BLOCK,
     .order = GMK_PARALLEL},
    {.name = "t.out", .direction = GMK_PRODUCES, .msg_type = T_ECHOED},
};

static int init(gmk_ctx_t *c) { return gmk_chan_find(c, "t.out", &out); }

static gmk_module_t echo = {
    .name = "t.echo",
    .version = 1,
    .handlers = handlers,
    .n_handlers = 3,
    .channels = channels,
    .n_channels = 4,
    .init = init,
};
GMK_MODULE(echo);
