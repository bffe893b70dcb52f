/* SPDX-License-Identifier: MIT */
/* scn_bridge.c — messages across a bridge: order, backpressure, shedding, payloads. */
#include "duo.h"

#include <string.h>

static const gmk_handler_reg_t notes[] = {{.type = 1, .fn = duo_note},
                                          {.type = 2, .fn = duo_note},
                                          {.type = 3, .fn = duo_note},
                                          SCN_LETTER_HANDLER};

/* ---- order --------------------------------------------------------------------------------- */

/* Both ways, to one and to all, from several: everything once and in its sender's order. */
void scn_bridge_order(void *arg)
{
    duo_sender_t s[2 * DUO_SENDERS];
    uint32_t senders = 1 + sim_rand(DUO_SENDERS), from = 1 + sim_rand(3);
    uint32_t n = sim_rand(8) != 0 ? 3 + sim_rand(8) : 80 / senders; /* more than the ring holds */
    (void)arg;
    duo_choose();
    DUO_BOOT(notes);
    (void)duo_add("t.to", (gmk_chan_cfg_t){.mode = GMK_P2P}, DUO_FROM_CPU, DUO_FROM_GPU);
    (void)duo_add("t.back", (gmk_chan_cfg_t){.mode = GMK_P2P}, DUO_FROM_GPU, DUO_FROM_CPU);
    /* Where both emit there is room for all: what comes in would wait for what is to go out. */
    if (sim_rand(2) == 0)
        (void)duo_add("t.all", (gmk_chan_cfg_t){.mode = GMK_FANOUT, .slots = from == DUO_BOTH ? 256 : 0},
                      from, 1 + sim_rand(3));
    duo_open();
    duo_up();
    duo_send(s, senders, n);
    duo_sent(s, senders);
    duo_flush();
    duo_all_heard();
    duo_sums();
    duo_end();
}

/* ---- full channels ------------------------------------------------------------------------- */

#define FULL_MESSAGES 28u
#define FULL_QUESTIONS 12u

static struct {
    uint32_t answered, asked, waited;
    gmk_chan_t gate[2]; /* full while it has no subscriber */
} full;

/* Waits for the gate of its side, without a worker. */
static int full_note(gmk_ctx_t *c)
{
    uint32_t side = duo_side(c);
    int rc = scn_get(&duo.gate[side]) != 0 ? gmk_chan_wait(c, full.gate[side], 1) : duo_note(c);
    sim_check(rc == GMK_OK, "%d", rc);
    return rc;
}

static void full_shut(uint32_t side)
{
    duo_end_t *e = duo.at[side];
    full.gate[side] = scn_open(e->c, (gmk_chan_cfg_t){.name = side == DUO_CPU ? "t.gate0" : "t.gate1",
                                                      .slots = 1,
                                                      .reserve_pct = UINT32_MAX});
    sim_check(gmk_chan_emit(e->c, full.gate[side], &(gmk_task_t){.meta0 = 0}) == GMK_OK);
    scn_set(&duo.gate[side], 2);
}

static int full_passed(gmk_ctx_t *c)
{
    (void)c;
    return GMK_OK;
}

static void full_open(uint32_t side)
{
    (void)gmk_xchg32(&duo.gate[side], 0, GMK_ACQ_REL, GMK_KERNEL);
    (void)scn_sub(duo.at[side]->c, full.gate[side], (gmk_sub_cfg_t){.handler = 5});
}

/* One that is asked answers across the bridge, and waits while that channel is full. */
static int full_answer(gmk_ctx_t *c)
{
    gmk_chan_t ch = duo.line[3].ch[DUO_GPU];
    sim_check(duo_side(c) == DUO_GPU);
    int rc = gmk_chan_emit(c, ch, &(gmk_task_t){.meta0 = c->task->meta0});
    if (rc == GMK_CHAN_FULL) {
        full.waited++;
        return gmk_chan_wait(c, ch, 1);
    }
    sim_check(rc == GMK_OK && c->task->meta0 == full.asked, "answer %d", rc);
    full.asked++;
    return GMK_OK;
}

static int full_hear(gmk_ctx_t *c)
{
    sim_check(c->task->meta0 == full.answered, "answer %u in place of %u", (unsigned)c->task->meta0,
              full.answered);
    full.answered++;
    return GMK_OK;
}

/* So many questions, one after the other. */
static void full_ask(void *arg)
{
    gmk_port_t port;
    (void)arg;
    (void)sim_kernel(duo.at[DUO_CPU]->kernel);
    gmk_ctx_t *c = scn_attach(&duo.at[DUO_CPU]->s, &port);
    for (uint32_t i = 0; i < FULL_QUESTIONS; i++) {
        gmk_task_t t = {.meta0 = i};
        sim_check(duo_emit(c, duo.line[2].ch[DUO_CPU], &t));
    }
    gmk_detach(&port);
}

static void full_until(const uint32_t *what, uint32_t n)
{
    while (*(volatile const uint32_t *)what != n)
        sim_sleep(500);
}

/* Nobody hears on one side: its line fills, and holds its sender; the other lines go on all the same. */
void scn_bridge_full(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {{.type = 1, .fn = full_note},   {.type = 2, .fn = full_note},
                                                 {.type = 3, .fn = full_answer}, {.type = 4, .fn = full_hear},
                                                 {.type = 5, .fn = full_passed}, SCN_LETTER_HANDLER};
    duo_sender_t s[2];
    gmk_hal_thread_t asker;
    uint32_t closed = sim_rand(3), slots = 1 + sim_rand(4);
    bool shut[2] = {closed != 0, closed != 1};
    (void)arg;
    memset(&full, 0, sizeof full);
    duo_choose();
    DUO_BOOT(handlers);
    (void)duo_add("t.to", (gmk_chan_cfg_t){.slots = slots}, DUO_FROM_CPU, DUO_FROM_GPU);
    (void)duo_add("t.back", (gmk_chan_cfg_t){.slots = slots}, DUO_FROM_GPU, DUO_FROM_CPU);
    (void)duo_add("t.ask", (gmk_chan_cfg_t){.slots = 2}, 0, DUO_FROM_GPU);
    (void)duo_add("t.answer", (gmk_chan_cfg_t){.slots = 1 + sim_rand(2)}, 0, DUO_FROM_CPU);
    duo_open();
    duo_up();
    for (uint32_t side = 0; side < 2; side++)
        if (shut[side])
            full_shut(side);
    duo_send(s, 1, FULL_MESSAGES);
    sim_check(sim_thread_create(&asker, "ask", 1, full_ask, NULL) == 0);
    full_until(&full.answered, FULL_QUESTIONS);
    for (uint32_t side = 0; side < 2; side++) {
        duo_line_t *l = &duo.line[1 - side]; /* what this side hears */
        if (!shut[side])
            full_until(&l->heard[side], FULL_MESSAGES);
        else
            sim_check(l->heard[side] == 0 && l->sent[1 - side] <= 2 * slots + DUO_WINDOW, "%u fit",
                      l->sent[1 - side]);
    }
    for (uint32_t side = 0; side < 2; side++)
        if (shut[side])
            full_open(side);
    duo_sent(s, 1);
    gmk_hal_thread_join(&asker);
    duo_flush();
    duo_all_heard_but(2);
    duo_sums();
    for (uint32_t side = 0; side < 2; side++)
        if (shut[side])
            scn_close(duo.at[side]->c, full.gate[side]);
    duo_end();
}

/* ---- shedding ------------------------------------------------------------------------------ */

/* A lossy line never holds its sender; what does not arrive is accounted for, and the rest is in order. */
void scn_bridge_lossy(void *arg)
{
    uint32_t mode = sim_rand(2), n = 10 + sim_rand(30);
    (void)arg;
    duo_choose();
    DUO_BOOT(notes);
    duo_line_t *l = duo_add("t.lossy",
                            (gmk_chan_cfg_t){.mode = mode,
                                             .guarantee = GMK_LOSSY,
                                             .slots = 1 + sim_rand(8),
                                             .flags = sim_rand(2) == 0 ? GMK_CHAN_DROP_OLDEST : 0},
                            DUO_FROM_CPU, DUO_FROM_GPU);
    (void)duo_add("t.back", (gmk_chan_cfg_t){.mode = GMK_P2P}, DUO_FROM_GPU, DUO_FROM_CPU);
    duo_open();
    duo_up();
    duo_sender_t s[2];
    bool shut = duo.at[DUO_GPU]->workers > 1 && sim_rand(2) == 0;
    scn_set(&duo.gate[DUO_GPU], shut);
    duo_send(s, 1, n);
    duo_sent(s, 1);
    scn_set(&duo.gate[DUO_GPU], 0);
    duo_flush();
    sim_check(l->heard[DUO_GPU] + scn_letters.shed == n, "%u heard and %u shed of %u", l->heard[DUO_GPU],
              scn_letters.shed, n);
    sim_check(duo.line[1].heard[DUO_CPU] == n);
    duo_sums();
    duo_end();
}

/* ---- payloads ------------------------------------------------------------------------------ */

#define HOARD 64u

static struct {
    uint32_t heard, dropped, sent;
} carried;

/* Its length and what is in it follow from its number. */
static void fill(unsigned char *p, uint32_t len, uint32_t seed)
{
    if (len != 0)
        gmk_hal_memset(p, (int)(seed & 0x7f), len);
}

static int carried_hear(gmk_ctx_t *c)
{
    const gmk_task_t *t = c->task;
    const unsigned char *p = (const unsigned char *)(uintptr_t)t->payload_ptr;
    uint32_t seed = (uint32_t)t->meta0 & 0x7f, len = (uint32_t)t->meta1;
    sim_check((p == NULL) == (t->meta1 >> 32 == 0) && t->payload_len == len, "%u bytes in place of %u",
              t->payload_len, len);
    for (uint32_t i = 0; i < len; i += 1 + len / 16)
        sim_check(p[i] == seed, "byte %u of %u is %u in place of %u", i, len, p[i], seed);
    sim_check(len == 0 || p[len - 1] == seed);
    carried.heard++;
    return GMK_OK;
}

static void *carried_alloc(gmk_ctx_t *c, uint32_t len)
{
    void *p;
    while ((p = gmk_payload_alloc(c, len != 0 ? len : 1)) == NULL)
        sim_sleep(500);
    return p;
}

/* Emits payloads of all sizes, and sometimes none; the same one twice. */
static void carried_send(void *arg)
{
    static const uint32_t sizes[] = {0,    1,    63,   64,    65,    1000,  1024,
                                     1025, 4096, 5000, 20000, 65536, 65537, 70000};
    duo_sender_t *s = arg;
    gmk_port_t port;
    (void)sim_kernel(duo.at[s->side]->kernel);
    gmk_ctx_t *c = scn_attach(&duo.at[s->side]->s, &port);
    gmk_chan_t ch = duo.line[s->side].ch[s->side];
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t len = sizes[sim_rand(SCN_LEN(sizes))], twice = 1 + (sim_rand(4) == 0);
        gmk_task_t t = {.meta0 = i,
                        .flags = (uint16_t)(sim_rand(4) | (sim_rand(4) == 0 ? GMK_TASK_IDEMPOTENT : 0))};
        if (sim_rand(4) != 0) {
            void *p = carried_alloc(c, len);
            fill(p, len, i);
            t.flags |= GMK_TASK_PAYLOAD_RC;
            t.payload_ptr = (uint64_t)(uintptr_t)p;
            t.payload_len = len;
            t.meta1 = (uint64_t)1 << 32 | len;
            sim_check(twice == 1 || gmk_payload_retain(c, p) == GMK_OK);
        }
        for (uint32_t k = 0; k < twice; k++) {
            sim_check(duo_emit(c, ch, &t));
            carried.sent++;
            carried.dropped += t.payload_ptr != 0 && len > 65536;
        }
        scn_pause();
    }
    gmk_detach(&port);
}

/* Takes nearly all memory of the kernel that hears, and gives it back after a while. */
static void carried_hoard(void *arg)
{
    void *p[HOARD];
    uint32_t n = 0;
    gmk_port_t port;
    duo_end_t *e = arg;
    (void)sim_kernel(e->kernel);
    gmk_ctx_t *c = scn_attach(&e->s, &port);
    while (n < HOARD && (p[n] = gmk_payload_alloc(c, 30000 + sim_rand(100000))) != NULL)
        n++;
    for (uint32_t i = 0; i < n; i++) {
        sim_sleep(sim_rand(20000));
        sim_check(gmk_payload_release(c, p[i]) == GMK_OK);
    }
    gmk_detach(&port);
}

void scn_bridge_payload(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {
        {.type = 1, .fn = carried_hear}, {.type = 2, .fn = carried_hear}, SCN_LETTER_HANDLER};
    gmk_hal_thread_t hoard, t[2];
    duo_sender_t s[2];
    bool hoards = sim_rand(2) == 0;
    (void)arg;
    memset(&carried, 0, sizeof carried);
    duo_choose();
    DUO_BOOT(handlers);
    (void)duo_add("t.to", (gmk_chan_cfg_t){.mode = GMK_P2P}, DUO_FROM_CPU, DUO_FROM_GPU);
    (void)duo_add("t.back", (gmk_chan_cfg_t){.mode = GMK_P2P}, DUO_FROM_GPU, DUO_FROM_CPU);
    duo_open();
    duo_up();
    if (hoards)
        sim_check(sim_thread_create(&hoard, "hoard", 1, carried_hoard, duo.at[sim_rand(2)]) == 0);
    for (uint32_t i = 0; i < 2; i++) {
        s[i] = (duo_sender_t){.side = i, .n = 4 + sim_rand(8)};
        sim_check(sim_thread_create(&t[i], "send", 1, carried_send, &s[i]) == 0);
    }
    for (uint32_t i = 0; i < 2; i++)
        gmk_hal_thread_join(&t[i]);
    if (hoards)
        gmk_hal_thread_join(&hoard);
    duo_flush();
    sim_check(carried.heard == carried.sent - carried.dropped && scn_letters.bridge == carried.dropped,
              "%u heard and %u dropped of %u, of which %u are too large", carried.heard, scn_letters.bridge,
              carried.sent, carried.dropped);
    duo_sums();
    duo_end();
}
