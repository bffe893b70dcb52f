/* SPDX-License-Identifier: MIT */
/*
 * accept.c — the device's side of the acceptance tests: modules that only know channels.
 *
 *   a.many   ordered: meta0 counts from 0; what is out of order is an error
 *   a.gate   meta0 = 1 lets a.slow and a.lossy go on, 0 holds them
 *   a.slow   ordered, 64 slots: counted while the gate is open, waits while it is shut
 *   a.lossy  the same, lossy
 *   a.blob   answers on a.blobs with a payload of the same length, each byte inverted; meta0 = sum of what came
 *   a.flood  emits meta0 messages on a.flooded, meta0 of each its number
 *   a.ask    answers on a.say: meta0 = what the counter of that number (meta0) says, meta1 = errors so far
 *   a.fail   fails with GMK_FAIL(meta0)
 *   a.hang   never returns
 */
#include <ggmk.h>
#include <ggmk/hal.h>

#include "accept.h"

/* Each counter is written by one ordered subscription and read by another. */
static struct {
    gmk_a64_t next, errors, slow, lossy, shut;
    gmk_chan_t blobs, flooded, say;
} a;

static uint64_t get(const gmk_a64_t *w) { return gmk_load64(w, GMK_RLX, GMK_KERNEL); }
static void set(gmk_a64_t *w, uint64_t v) { gmk_store64(w, v, GMK_RLX, GMK_KERNEL); }

static int on_many(gmk_ctx_t *c)
{
    set(&a.errors, get(&a.errors) + (c->task->meta0 != get(&a.next)));
    set(&a.next, c->task->meta0 + 1);
    return GMK_OK;
}

static int on_gate(gmk_ctx_t *c)
{
    set(&a.shut, c->task->meta0 == 0);
    return GMK_OK;
}

static int count_when_open(gmk_ctx_t *c, gmk_a64_t *counter)
{
    if (get(&a.shut) != 0)
        return gmk_yield(c);
    set(counter, get(counter) + 1);
    return GMK_OK;
}

static int on_slow(gmk_ctx_t *c) { return count_when_open(c, &a.slow); }
static int on_lossy(gmk_ctx_t *c) { return count_when_open(c, &a.lossy); }

static int on_blob(gmk_ctx_t *c)
{
    const gmk_task_t *t = c->task;
    const uint8_t *from = (const uint8_t *)(uintptr_t)t->payload_ptr;
    uint8_t *to = gmk_payload_alloc(c, t->payload_len);
    uint64_t sum = 0;
    if (to == NULL)
        return GMK_RETRY;
    for (uint32_t i = 0; i < t->payload_len; i++) {
        sum = sum * 31 + from[i];
        to[i] = (uint8_t)~from[i];
    }
    gmk_task_t m = {
        .type = A_BLOBS, .flags = GMK_TASK_PAYLOAD_RC, .payload_len = t->payload_len, .meta0 = sum};
    m.payload_ptr = (uint64_t)(uintptr_t)to;
    m.meta1 = t->meta1;
    int rc = gmk_chan_emit(c, a.blobs, &m);
    if (rc == GMK_OK)
        return rc;
    (void)gmk_payload_release(c, to);
    return rc == GMK_CHAN_FULL ? gmk_chan_wait(c, a.blobs, 1) : rc;
}

/* How many have gone is kept in the upper half of meta0, where a phase is stored. */
static int on_flood(gmk_ctx_t *c)
{
    uint32_t n = (uint32_t)c->task->meta0, i = (uint32_t)(c->task->meta0 >> 32);
    for (; i < n; i++) {
        gmk_task_t m = {.type = A_FLOODED, .flags = GMK_PRIO_1, .meta0 = i};
        int rc = gmk_chan_emit(c, a.flooded, &m);
        if (rc == GMK_CHAN_FULL) {
            (void)gmk_yield_at(c, (uint64_t)i << 32 | n);
            return gmk_chan_wait(c, a.flooded, 1);
        }
        if (rc != GMK_OK)
            return rc;
    }
    return GMK_OK;
}

static int on_ask(gmk_ctx_t *c)
{
    const uint64_t counters[] = {get(&a.next), get(&a.slow), get(&a.lossy), gmk_lanes(c)};
    gmk_task_t m = {.type = A_SAY, .meta0 = counters[c->task->meta0 & 3], .meta1 = get(&a.errors)};
    int rc = gmk_chan_emit(c, a.say, &m);
    return rc == GMK_CHAN_FULL ? gmk_chan_wait(c, a.say, 1) : rc;
}

static int on_fail(gmk_ctx_t *c) { return GMK_FAIL(c->task->meta0); }

static int on_hang(gmk_ctx_t *c)
{
    volatile uint64_t spin = c->task->meta0;
    while (spin != UINT64_MAX)
        spin++;
    return GMK_OK;
}

static const gmk_handler_reg_t handlers[] = {
    {.type = A_MANY, .fn = on_many, .name = "a.many"},
    {.type = A_GATE, .fn = on_gate, .name = "a.gate"},
    {.type = A_SLOW, .fn = on_slow, .name = "a.slow", .max_yields = GMK_YIELDS_UNLIMITED},
    {.type = A_LOSSY, .fn = on_lossy, .name = "a.lossy", .max_yields = GMK_YIELDS_UNLIMITED},
    {.type = A_BLOB, .fn = on_blob, .name = "a.blob"},
    {.type = A_FLOOD, .fn = on_flood, .name = "a.flood"},
    {.type = A_ASK, .fn = on_ask, .name = "a.ask"},
    {.type = A_FAIL, .fn = on_fail, .name = "a.fail"},
    {.type = A_HANG, .fn = on_hang, .name = "a.hang"},
};

static const gmk_chan_decl_t channels[] = {
    {.name = "a.many", .direction = GMK_CONSUMES, .msg_type = A_MANY, .handler = A_MANY},
    {.name = "a.gate", .direction = GMK_CONSUMES, .msg_type = A_GATE, .handler = A_GATE},
    {.name = "a.slow", .direction = GMK_CONSUMES, .msg_type = A_SLOW, .handler = A_SLOW, .slots = 64},
    {.name = "a.lossy",
     .direction = GMK_CONSUMES,
     .msg_type = A_LOSSY,
     .guarantee = GMK_LOSSY,
     .handler = A_LOSSY,
     .slots = 64},
    {.name = "a.blob",
     .direction = GMK_CONSUMES,
     .msg_type = A_BLOB,
     .handler = A_BLOB,
     .order = GMK_PARALLEL},
    {.name = "a.flood", .direction = GMK_CONSUMES, .msg_type = A_FLOOD, .handler = A_FLOOD},
    {.name = "a.ask", .direction = GMK_CONSUMES, .msg_type = A_ASK, .handler = A_ASK},
    {.name = "a.fail", .direction = GMK_CONSUMES, .msg_type = A_FAIL, .handler = A_FAIL},
    {.name = "a.hang", .direction = GMK_CONSUMES, .msg_type = A_HANG, .handler = A_HANG},
    {.name = "a.blobs", .direction = GMK_PRODUCES, .msg_type = A_BLOBS},
    {.name = "a.flooded", .direction = GMK_PRODUCES, .msg_type = A_FLOODED},
    {.name = "a.say", .direction = GMK_PRODUCES, .msg_type = A_SAY},
};

static int init(gmk_ctx_t *c)
{
    int rc = gmk_chan_find(c, "a.blobs", &a.blobs);
    if (rc == GMK_OK)
        rc = gmk_chan_find(c, "a.flooded", &a.flooded);
    return rc == GMK_OK ? gmk_chan_find(c, "a.say", &a.say) : rc;
}

static gmk_module_t accept = {
    .name = "t.accept",
    .version = 1,
    .handlers = handlers,
    .n_handlers = sizeof handlers / sizeof handlers[0],
    .channels = channels,
    .n_channels = sizeof channels / sizeof channels[0],
    .init = init,
};
GMK_MODULE(accept);

/* A module whose channel has another type here than in cpu.0: booted only where that is to be found out. */
static const gmk_chan_decl_t clashes[] = {
    {.name = "a.clash", .direction = GMK_CONSUMES, .msg_type = A_CLASH_FAR, .handler = A_CLASH_FAR}};
static const gmk_handler_reg_t clash_handlers[] = {{.type = A_CLASH_FAR, .fn = on_gate, .name = "a.clash"}};
static gmk_module_t clash = {.name = "t.clash",
                             .version = 1,
                             .handlers = clash_handlers,
                             .n_handlers = 1,
                             .channels = clashes,
                             .n_channels = 1};
GMK_MODULE(clash);
