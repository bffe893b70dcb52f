/* SPDX-License-Identifier: MIT */
/* scn_bridge_bulk.c — large payloads by copy engines, more than there is memory for, and a reset meanwhile. */
#include "duo.h"

#include <ggmk/copier.h>

#include <string.h>

/* An engine is a fiber of its kernel.  It takes its time over each order, and between two halves of it. */
typedef struct engine {
    uint32_t kernel;
    gmk_copy_ring_t ring;
    gmk_copy_done_t done;
    gmk_copier_t reach;
    gmk_hal_thread_t thread;
    gmk_a32_t ending;
    bool lent;
} engine_t;

enum { OUT, IN };
static engine_t engine[2][2]; /* side, direction */

static struct {
    uint32_t sent[4], next[4]; /* by line */
    uint32_t heard;
    bool full; /* more than both kernels have memory for */
} bulk;
#define LARGE 65536u

static void serve(void *arg)
{
    engine_t *e = arg;
    gmk_copy_t c;
    (void)sim_kernel(e->kernel);
    for (uint64_t n = 0;;) {
        if (!gmk_copier_next(&e->reach, n, &c)) {
            if (scn_get(&e->ending) != 0)
                return;
            sim_sleep(1 + sim_rand(5000));
            continue;
        }
        char *to = (char *)(uintptr_t)c.to;
        const char *from = (const char *)(uintptr_t)c.from;
        uint64_t half = c.bytes / 2;
        sim_sleep(sim_rand(300));
        gmk_hal_memcpy(to, from, half);
        scn_pause();
        gmk_hal_memcpy(to + half, from + half, c.bytes - half);
        gmk_copier_did(&e->reach, ++n);
    }
}

static gmk_copier_t lend(engine_t *e, uint32_t kernel)
{
    memset(e, 0, sizeof *e);
    if (sim_rand(4) == 0)
        return (gmk_copier_t){.ring = NULL};
    e->lent = true;
    e->kernel = kernel;
    e->reach = (gmk_copier_t){.ring = &e->ring, .done = &e->done, .least = sim_rand(2) == 0 ? 1 : 1000};
    sim_check(sim_thread_create(&e->thread, "engine", 1, serve, e) == 0);
    return e->reach;
}

static void engines_begin(void)
{
    for (uint32_t side = 0; side < 2; side++) {
        duo_end_t *e = duo.at[side];
        e->cfg.copy_out = lend(&engine[side][OUT], e->kernel);
        e->cfg.copy_in = lend(&engine[side][IN], e->kernel);
    }
}

static void engines_end(void)
{
    for (uint32_t i = 0; i < 4; i++) {
        engine_t *e = &engine[i / 2][i % 2];
        if (!e->lent)
            continue;
        scn_set(&e->ending, 1);
        gmk_hal_thread_join(&e->thread);
    }
}

/* ---- messages ------------------------------------------------------------------------------ */

/* Of each line in order, with some missing only where a reset has taken them. */
static int hear(gmk_ctx_t *c)
{
    const gmk_task_t *t = c->task;
    const unsigned char *p = (const unsigned char *)(uintptr_t)t->payload_ptr;
    uint32_t line = t->type - 1, i = (uint32_t)t->meta0, len = (uint32_t)t->meta1;
    sim_check(duo_side(c) == 1 - line % 2 && i >= bulk.next[line], "message %u after %u of line %u", i,
              bulk.next[line], line);
    sim_check(t->payload_len == len && (p != NULL) == (len != 0), "%u bytes in place of %u", t->payload_len,
              len);
    for (uint32_t at = 0; at < len; at += 1 + len / 8)
        sim_check(p[at] == (i & 0x7f), "byte %u of %u is %u in place of %u", at, len, p[at], i & 0x7f);
    sim_check(len == 0 || p[len - 1] == (i & 0x7f));
    bulk.next[line] = i + 1;
    bulk.heard++;
    return GMK_OK;
}

static void emit_until_taken(gmk_ctx_t *c, gmk_chan_t ch, const gmk_task_t *t)
{
    while (!duo_emit(c, ch, t)) /* the peer is away */
        sim_sleep(500);
}

/* NULL when there is none for a while: what others have freed may lie in their caches. */
static void *alloc(gmk_ctx_t *c, uint32_t len)
{
    void *p = gmk_payload_alloc(c, len);
    for (uint32_t tries = 0; p == NULL && tries < 4; tries++) {
        sim_sleep(10000);
        p = gmk_payload_alloc(c, len);
    }
    return p;
}

static void send(void *arg)
{
    static const uint32_t sizes[] = {0, 1, 900, 1000, 5000, 40000, 65536};
    duo_sender_t *s = arg;
    gmk_port_t port;
    (void)sim_kernel(duo.at[s->side]->kernel);
    gmk_ctx_t *c = scn_attach(&duo.at[s->side]->s, &port);
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t len = bulk.full ? LARGE : sizes[sim_rand(SCN_LEN(sizes))];
        uint32_t line = s->side + 2 * sim_rand(2);
        gmk_task_t t = {.meta0 = i};
        void *p = len != 0 ? alloc(c, len) : NULL;
        t.meta1 = p != NULL ? len : 0;
        if (p != NULL) {
            gmk_hal_memset(p, (int)(i & 0x7f), len);
            t.flags = GMK_TASK_PAYLOAD_RC;
            t.payload_ptr = (uint64_t)(uintptr_t)p;
            t.payload_len = len;
        }
        emit_until_taken(c, duo.line[line].ch[s->side], &t);
        bulk.sent[line]++;
        scn_pause();
    }
    gmk_detach(&port);
}

/* ---- the scenario -------------------------------------------------------------------------- */

void scn_bridge_bulk(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {{.type = 1, .fn = hear},
                                                 {.type = 2, .fn = hear},
                                                 {.type = 3, .fn = hear},
                                                 {.type = 4, .fn = hear},
                                                 SCN_LETTER_HANDLER};
    gmk_hal_thread_t t[2];
    duo_sender_t s[2];
    (void)arg;
    memset(&bulk, 0, sizeof bulk);
    bulk.full = sim_rand(12) == 0;
    duo_choose();
    engines_begin();
    DUO_BOOT(handlers);
    for (uint32_t i = 0; i < 2; i++) {
        (void)duo_add(i == 0 ? "t.to" : "t.to2", (gmk_chan_cfg_t){.slots = 64}, DUO_FROM_CPU, DUO_FROM_GPU);
        (void)duo_add(i == 0 ? "t.back" : "t.back2", (gmk_chan_cfg_t){.slots = 64}, DUO_FROM_GPU,
                      DUO_FROM_CPU);
    }
    duo_open();
    duo_up();
    for (uint32_t i = 0; i < 2; i++) {
        s[i] = (duo_sender_t){.side = i, .n = bulk.full ? 50 + sim_rand(20) : 4 + sim_rand(8)};
        sim_check(sim_thread_create(&t[i], "send", 1, send, &s[i]) == 0);
    }
    if (sim_rand(3) == 0) {
        sim_sleep(sim_rand(20000));
        duo_down(true);
        duo_up();
    }
    for (uint32_t i = 0; i < 2; i++)
        gmk_hal_thread_join(&t[i]);
    duo_flush();
    uint32_t sent = bulk.sent[0] + bulk.sent[1] + bulk.sent[2] + bulk.sent[3];
    sim_check(bulk.heard <= sent && bulk.heard + scn_letters.reset >= sent, "%u heard and %u reset of %u",
              bulk.heard, scn_letters.reset, sent);
    duo_end();
    engines_end();
}
