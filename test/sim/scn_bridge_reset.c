/* SPDX-License-Identifier: MIT */
/*
 * scn_bridge_reset.c — one side goes away: taken down, killed, or stopped and let go on later; and one that
 * is out of its mind.
 */
#include "duo.h"

#include <string.h>

/* ---- reset --------------------------------------------------------------------------------- */

#define RESET_MESSAGES 40u

enum { RESET_DOWN, RESET_KILL, RESET_STOP, RESET_HOWS };

static struct {
    uint8_t ran[RESET_MESSAGES], idempotent[RESET_MESSAGES];
    uint32_t emitted, refused, came;
} reset;

/* On the GPU: counts who ran.  On the CPU: what comes back. */
static int reset_run(gmk_ctx_t *c)
{
    const gmk_task_t *t = c->task;
    uint32_t i = (uint32_t)t->meta0;
    sim_check(t->meta1 == ~t->meta0, "a message is torn");
    if (duo_side(c) == DUO_CPU) {
        reset.came++;
        return GMK_OK;
    }
    sim_check(i < RESET_MESSAGES && ((t->flags & GMK_TASK_IDEMPOTENT) != 0) == (reset.idempotent[i] != 0));
    for (uint32_t n = sim_rand(4); n > 0; n--)
        sim_yield();
    reset.ran[i]++;
    return GMK_OK;
}

static const gmk_handler_reg_t reset_handlers[] = {
    {.type = 1, .fn = reset_run}, {.type = 2, .fn = reset_run}, SCN_LETTER_HANDLER};

/* Emits all, one after the other; while the peer is away it is refused. */
static void reset_emit(void *arg)
{
    gmk_port_t port;
    (void)arg;
    (void)sim_kernel(duo.at[DUO_CPU]->kernel);
    gmk_ctx_t *c = scn_attach(&duo.at[DUO_CPU]->s, &port);
    for (uint32_t i = 0; i < RESET_MESSAGES;) {
        gmk_task_t t = duo_message(0, DUO_CPU, 0, i);
        reset.idempotent[i] = sim_rand(2) == 0;
        t.flags |= (uint16_t)(reset.idempotent[i] ? GMK_TASK_IDEMPOTENT : 0);
        if (duo_emit(c, duo.line[0].ch[DUO_CPU], &t)) {
            reset.emitted = ++i;
        } else {
            reset.refused++;
            sim_sleep(1000);
        }
        scn_pause();
    }
    gmk_detach(&port);
}

/* Messages of the GPU's, as long as it can. */
static void reset_back(void *arg)
{
    duo_end_t *e = arg;
    gmk_port_t port;
    gmk_ctx_t *c = scn_attach(&e->s, &port);
    for (uint32_t i = 0; i < 10; i++) {
        gmk_task_t t = duo_message(1, DUO_GPU, 0, i);
        int rc = gmk_chan_emit(c, duo.line[1].ch[DUO_GPU], &t);
        sim_check(rc == GMK_OK || rc == GMK_CHAN_FULL || rc == GMK_CHAN_CLOSED, "emit %d", rc);
        scn_pause();
    }
    gmk_detach(&port);
}

/* In a fiber that is the GPU's from the start: it may be killed at any time. */
static void reset_start_back(gmk_hal_thread_t *t)
{
    uint32_t none = sim_kernel(duo.at[DUO_GPU]->kernel);
    sim_check(sim_thread_create(t, "back", 1, reset_back, duo.at[DUO_GPU]) == 0);
    (void)sim_kernel(none);
}

/* The GPU's successor, with the lanes that it had. */
static void reset_heir(void)
{
    duo_end_t *heir = &duo.end[2];
    *heir = (duo_end_t){.kernel = 3, .workers = 1 + sim_rand(2), .cfg = duo.end[DUO_GPU].cfg};
    duo.at[DUO_GPU] = heir;
    duo_boot_one(DUO_GPU, reset_handlers, SCN_LEN(reset_handlers));
    for (uint32_t i = 0; i < duo.n_lines; i++)
        duo_open_line(&duo.line[i], DUO_GPU);
}

/* What was taken down here is taken down there, or was killed, or has stopped and holds on to the region that was. */
static void reset_now(uint32_t how)
{
    if (how == RESET_KILL) {
        duo.end[DUO_GPU].gone = true;
        sim_kernel_kill(duo.end[DUO_GPU].kernel);
    } else if (how == RESET_STOP) {
        sim_kernel_stop(duo.end[DUO_GPU].kernel);
    }
    sim_check(gmk_bridge_down(duo.at[DUO_CPU]->b, true) == GMK_OK);
    if (how == RESET_DOWN)
        sim_check(gmk_bridge_down(duo.at[DUO_GPU]->b, true) == GMK_OK);
    if (how != RESET_STOP)
        gmk_hal_page_free(duo.region, gmk_region_bytes(&duo.region_cfg));
}

/* The one that was stopped goes on, with a region that nobody reads any more, and ends. */
static void reset_late(gmk_chan_t *ch, gmk_hal_thread_t *back, void *region)
{
    sim_kernel_go_on(duo.end[DUO_GPU].kernel);
    gmk_hal_thread_join(back);
    duo_end_kernel(&duo.end[DUO_GPU], ch);
    gmk_hal_page_free(region, gmk_region_bytes(&duo.region_cfg));
}

/* Idempotent ones run at least once; the others at most once, and who did not was reported, or went with the peer. */
static void reset_account(uint32_t how)
{
    uint32_t missing = 0;
    gmk_bridge_stats_t st = duo_stats(DUO_CPU);
    for (uint32_t i = 0; i < RESET_MESSAGES; i++) {
        sim_check(!reset.idempotent[i] || reset.ran[i] >= 1, "message %u is idempotent and did not run", i);
        sim_check(reset.idempotent[i] || reset.ran[i] <= 1, "message %u ran %u times", i, reset.ran[i]);
        missing += reset.ran[i] == 0;
    }
    sim_check(st.acknowledged + st.reset == RESET_MESSAGES, "%u acknowledged and %u reset",
              (unsigned)st.acknowledged, (unsigned)st.reset);
    /* One that comes back too late closes its channels, and says what it had. */
    uint32_t gone = how == RESET_KILL ? DUO_WINDOW + 8 : how == RESET_STOP ? scn_letters.closed : 0;
    sim_check(missing <= st.reset + gone, "%u did not run, %u were reported, %u went with the peer", missing,
              (unsigned)st.reset, gone);
    sim_check(st.sent <= st.acknowledged + st.reset + st.resent, "%u sent", (unsigned)st.sent);
    sim_check(how == RESET_KILL ? scn_letters.reset == st.reset : scn_letters.reset >= st.reset,
              "%u letters of %u", scn_letters.reset,
              (unsigned)st.reset); /* of both kernels, where the other lives to report */
}

void scn_bridge_reset(void *arg)
{
    uint32_t how = sim_rand(RESET_HOWS);
    gmk_hal_thread_t emit, back, late_back;
    gmk_chan_t old[2];
    (void)arg;
    memset(&reset, 0, sizeof reset);
    duo_choose();
    DUO_BOOT(reset_handlers);
    (void)duo_add("t.to", (gmk_chan_cfg_t){.slots = 4 + sim_rand(8)}, DUO_FROM_CPU, DUO_FROM_GPU);
    (void)duo_add("t.back", (gmk_chan_cfg_t){.slots = 1 + sim_rand(8)}, DUO_FROM_GPU, DUO_FROM_CPU);
    duo_open();
    duo_up();
    void *region = duo.region;
    for (uint32_t i = 0; i < 2; i++)
        old[i] = duo.line[i].ch[DUO_GPU];
    sim_check(sim_thread_create(&emit, "emit", 1, reset_emit, NULL) == 0);
    reset_start_back(&back);
    if (how == RESET_DOWN)
        gmk_hal_thread_join(&back);
    for (uint32_t n = sim_rand(2000); n > 0; n--)
        sim_yield();
    reset_now(how);
    if (how != RESET_DOWN)
        reset_heir();
    duo_up();
    if (how == RESET_STOP && sim_rand(2) == 0) {
        reset_late(old, &back, region);
        region = NULL;
    }
    if (how != RESET_DOWN)
        reset_start_back(&late_back);
    gmk_hal_thread_join(&emit);
    if (how != RESET_DOWN)
        gmk_hal_thread_join(&late_back);
    if (how == RESET_STOP && region != NULL)
        reset_late(old, &back, region);
    duo_flush();
    reset_account(how);
    duo_end();
}

/* ---- a peer that is out of its mind --------------------------------------------------------- */

#define WILD_TASKS 20u
#define WILD_WRITES 40u

static struct {
    uint32_t ran[2], heard;
    gmk_a32_t done;
} wild;

static int wild_own(gmk_ctx_t *c)
{
    wild.ran[duo_side(c)]++;
    return GMK_OK;
}

/* Anything may arrive, but a payload is one. */
static int wild_hear(gmk_ctx_t *c)
{
    const gmk_task_t *t = c->task;
    const unsigned char *p = (const unsigned char *)(uintptr_t)t->payload_ptr;
    wild.heard += p != NULL && t->payload_len != 0 ? p[0] + p[t->payload_len - 1] : 1u;
    return GMK_OK;
}

/* A word of what this side writes, and how likely it is a bad choice: its block, its rings, its pool. */
static uint64_t *wild_place(const gmk_region_view_t *v)
{
    switch (sim_rand(8)) {
    case 0: return (uint64_t *)(void *)v->mine + sim_rand(24); /* state, stop, asleep, heads, figures */
    case 1: return (uint64_t *)(void *)&v->mine->ack[sim_rand(12)] + sim_rand(2);
    case 2: return (uint64_t *)(void *)&v->ring_out[sim_rand(v->ring_slots)] + sim_rand(8);
    case 3: return (uint64_t *)(void *)&v->ring_out[sim_rand(8)] + sim_rand(8);
    case 4: return (uint64_t *)(void *)&v->control_out[sim_rand(v->control_slots)] + sim_rand(8);
    case 5: return &v->ring_out[sim_rand(8)].commit.v;
    case 6: return &v->control_out[sim_rand(v->control_slots)].commit.v;
    default: return (uint64_t *)(void *)v->pool_out + sim_rand((uint32_t)(v->pool_bytes / 8));
    }
}

static uint64_t wild_word(const gmk_region_view_t *v, uint64_t was)
{
    switch (sim_rand(6)) {
    case 0: return (uint64_t)v->epoch << 32 | (1 + sim_rand(3)); /* a commit, perhaps */
    case 1: return was + 1;
    case 2: return was - 1 - sim_rand(3);
    case 3: return was ^ (uint64_t)1 << sim_rand(64);
    case 4: return (uint64_t)sim_rand(UINT32_MAX) << 32 | sim_rand(UINT32_MAX);
    default: return sim_rand(8);
    }
}

/* Writes words, torn in two, or words that had been there before; of both kernels' parts, or of one's. */
static void wild_write(void *arg)
{
    uint64_t *at[8], old[8];
    gmk_region_view_t v[2];
    const char *why;
    uint32_t who = *(uint32_t *)arg, n = 0;
    for (uint32_t side = 0; side < 2; side++)
        sim_check(gmk_region_view(&v[side], duo.region, gmk_region_bytes(&duo.region_cfg), side, &why) ==
                  GMK_OK);
    for (uint32_t i = 0; i < WILD_WRITES; i++) {
        const gmk_region_view_t *w = &v[who == 2 ? sim_rand(2) : who];
        uint64_t *p = wild_place(w), word = wild_word(w, *p);
        if (sim_rand(4) == 0 && n != 0) {
            uint32_t k = sim_rand(n < 8 ? n : 8);
            p = at[k];
            word = old[k];
        }
        at[n % 8] = p;
        old[n++ % 8] = *p;
        uint64_t first = sim_rand(2) == 0 ? word : (*p & UINT64_C(0xffffffff00000000)) | (word & UINT32_MAX);
        *p = first;
        sim_yield();
        *p = word;
        for (uint32_t k = sim_rand(200); k > 0; k--)
            sim_yield();
    }
    scn_set(&wild.done, 1);
}

/* Emits what it can, with payloads, as long as the other writes. */
static void wild_emit(void *arg)
{
    uint32_t side = *(uint32_t *)arg;
    gmk_port_t port;
    (void)sim_kernel(duo.at[side]->kernel);
    gmk_ctx_t *c = scn_attach(&duo.at[side]->s, &port);
    while (scn_get(&wild.done) == 0) {
        gmk_task_t t = {.flags = sim_rand(4) == 0 ? GMK_TASK_IDEMPOTENT : 0};
        void *p = sim_rand(2) == 0 ? gmk_payload_alloc(c, 100) : NULL;
        if (p != NULL) {
            gmk_hal_memset(p, 1, 100);
            t.flags |= GMK_TASK_PAYLOAD_RC;
            t.payload_ptr = (uint64_t)(uintptr_t)p;
            t.payload_len = 100;
        }
        int rc = gmk_chan_emit(c, duo.line[side].ch[side], &t);
        sim_check(rc == GMK_OK || rc == GMK_CHAN_FULL || rc == GMK_CHAN_CLOSED, "emit %d", rc);
        if (rc != GMK_OK && p != NULL)
            sim_check(gmk_payload_release(c, p) == GMK_OK);
        sim_sleep(500);
    }
    gmk_detach(&port);
}

/* Whatever stands in the region, a kernel runs its own tasks, touches nothing else and loses nothing of its own. */
void scn_bridge_wild(void *arg)
{
    static const gmk_handler_reg_t handlers[] = {{.type = 1, .fn = wild_hear},
                                                 {.type = 2, .fn = wild_hear},
                                                 {.type = 3, .fn = wild_own},
                                                 SCN_LETTER_HANDLER};
    uint32_t side[2] = {0, 1}, who = sim_rand(3);
    gmk_hal_thread_t writer, emit[2];
    (void)arg;
    memset(&wild, 0, sizeof wild);
    duo_choose();
    DUO_BOOT(handlers);
    (void)duo_add("t.to", (gmk_chan_cfg_t){.slots = 8}, DUO_FROM_CPU, DUO_FROM_GPU);
    (void)duo_add("t.back", (gmk_chan_cfg_t){.slots = 8}, DUO_FROM_GPU, DUO_FROM_CPU);
    duo_open();
    duo_up();
    sim_pages_wild(duo.region);
    sim_check(sim_thread_create(&writer, "wild", 1, wild_write, &who) == 0);
    for (uint32_t i = 0; i < 2; i++)
        sim_check(sim_thread_create(&emit[i], "emit", 1, wild_emit, &side[i]) == 0);
    for (uint32_t i = 0; i < 2 * WILD_TASKS; i++) {
        gmk_task_t t = scn_task(3, sim_rand(4), i);
        sim_check(gmk_submit(&duo.at[i % 2]->s.k, &t) == GMK_OK);
        scn_pause();
    }
    gmk_hal_thread_join(&writer);
    for (uint32_t i = 0; i < 2; i++)
        gmk_hal_thread_join(&emit[i]);
    sim_options()->early_timeout = 0;
    duo_down(false);
    for (uint32_t i = 0; i < 2; i++) {
        scn_drain(&duo.at[i]->s);
        sim_check(wild.ran[i] == WILD_TASKS, "%u of %u tasks ran on side %u", wild.ran[i], WILD_TASKS, i);
    }
    duo_end();
}
