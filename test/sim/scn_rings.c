/* SPDX-License-Identifier: MIT */
/* scn_rings.c — rings, the queue of many producers, the local queue: each item once, in order. */
#include "scenarios.h"

#include <ggmk/mpmc.h>
#include <ggmk/spsc.h>
#include "lq.h"
#include "mpsc.h"

#define PRODUCERS 3u
#define CONSUMERS 2u
#define ITEMS 12u /* of each producer */
#define BULK 4u

/* 16 bytes: also the distance between elements in the arrays of the batch calls. */
struct item {
    uint64_t producer, number;
};

/* Which calls a side uses: for one element, for several, or now these and now those. */
enum calls { ONE, SEVERAL, EITHER };

static uint32_t how_many(enum calls calls)
{
    uint32_t any = 1 + sim_rand(BULK);
    return calls == ONE ? 1 : any;
}

/* ---- one producer, one consumer ------------------------------------------------------------ */

struct spsc {
    gmk_spsc_t ring;
    struct item slots[4];
    enum calls push, pop;
};

static void spsc_produce(void *arg)
{
    struct spsc *s = arg;
    struct item out[BULK];
    for (uint32_t next = 0, round = 0; next < ITEMS; round++) {
        uint32_t n = how_many(s->push), pushed;
        for (uint32_t i = 0; i < n; i++)
            out[i] = (struct item){.producer = 0, .number = next + i};
        n = n < ITEMS - next ? n : ITEMS - next;
        pushed = n == 1 && s->push != SEVERAL ? gmk_spsc_push(&s->ring, out, sizeof out[0])
                                              : gmk_spsc_push_n(&s->ring, out, sizeof out[0], n);
        sim_check(pushed <= n);
        next += pushed;
        if (pushed == 0)
            gmk_hal_relax(round);
    }
}

static void run_spsc(enum calls push, enum calls pop)
{
    struct spsc s = {.push = push, .pop = pop};
    struct item in[BULK];
    gmk_hal_thread_t t;

    sim_check(gmk_spsc_init(&s.ring, s.slots, 4, sizeof in[0]) == 0);
    sim_check(sim_thread_create(&t, "producer", 1, spsc_produce, &s) == 0);
    for (uint32_t next = 0, round = 0; next < ITEMS; round++) {
        uint32_t n = how_many(pop);
        n = n == 1 && pop != SEVERAL ? gmk_spsc_pop(&s.ring, in, sizeof in[0])
                                     : gmk_spsc_pop_n(&s.ring, in, sizeof in[0], n);
        for (uint32_t i = 0; i < n; i++, next++)
            sim_check(in[i].number == next, "%u after %u", (unsigned)in[i].number, next);
        if (n == 0)
            gmk_hal_relax(round);
    }
    gmk_hal_thread_join(&t);
    sim_check(!gmk_spsc_pop(&s.ring, in, sizeof in[0]));
}

void scn_spsc(void *arg)
{
    (void)arg;
    run_spsc(ONE, ONE);
}

void scn_spsc_n(void *arg)
{
    (void)arg;
    run_spsc(SEVERAL, SEVERAL);
}

void scn_spsc_mixed(void *arg)
{
    enum calls push = sim_rand(3), pop = sim_rand(3);
    (void)arg;
    run_spsc(push, pop);
}

/* ---- many producers, many consumers -------------------------------------------------------- */

struct mpmc {
    gmk_mpmc_t ring;
    _Alignas(GMK_CACHE_LINE) unsigned char memory[4 * 64];
    gmk_a32_t taken;
    uint32_t seen[PRODUCERS][ITEMS];
    uint32_t producers;
    enum calls push, pop;
};

struct role {
    struct mpmc *m;
    uint32_t producer; /* m->producers or more: a consumer */
};

static void mpmc_produce(struct mpmc *m, uint32_t me)
{
    struct item out[BULK];
    for (uint32_t next = 0, round = 0; next < ITEMS; round++) {
        uint32_t n = how_many(m->push);
        n = n < ITEMS - next ? n : ITEMS - next;
        for (uint32_t i = 0; i < n; i++)
            out[i] = (struct item){.producer = me, .number = next + i};
        n = n == 1 && m->push != SEVERAL ? gmk_mpmc_push(&m->ring, out, sizeof out[0])
                                         : gmk_mpmc_push_n(&m->ring, out, sizeof out[0], n);
        next += n;
        if (n == 0)
            gmk_hal_relax(round);
    }
}

/* What one consumer sees of one producer must rise. */
static void mpmc_take(struct mpmc *m, const struct item *it, int64_t *last)
{
    sim_check(it->producer < PRODUCERS && it->number < ITEMS);
    sim_check(++m->seen[it->producer][it->number] == 1, "item %u.%u twice", (unsigned)it->producer,
              (unsigned)it->number);
    sim_check((int64_t)it->number > last[it->producer], "item %u.%u out of order", (unsigned)it->producer,
              (unsigned)it->number);
    last[it->producer] = (int64_t)it->number;
}

static void mpmc_consume(struct mpmc *m)
{
    int64_t last[PRODUCERS] = {-1, -1, -1};
    struct item in[BULK];
    for (uint32_t round = 0; gmk_load32(&m->taken, GMK_RLX, GMK_KERNEL) < m->producers * ITEMS; round++) {
        uint32_t n = how_many(m->pop);
        n = n == 1 && m->pop != SEVERAL ? gmk_mpmc_pop(&m->ring, in, sizeof in[0])
                                        : gmk_mpmc_pop_n(&m->ring, in, sizeof in[0], n);
        for (uint32_t i = 0; i < n; i++)
            mpmc_take(m, &in[i], last);
        (void)gmk_add32(&m->taken, n, GMK_RLX, GMK_KERNEL);
        if (n == 0)
            gmk_hal_relax(round);
    }
}

static void mpmc_role(void *arg)
{
    struct role *r = arg;
    if (r->producer < r->m->producers)
        mpmc_produce(r->m, r->producer);
    else
        mpmc_consume(r->m);
}

static void run_mpmc(uint32_t producers, enum calls push, enum calls pop)
{
    struct mpmc m = {.producers = producers, .push = push, .pop = pop};
    struct role roles[PRODUCERS + CONSUMERS];

    sim_check(gmk_mpmc_bytes(4, sizeof(struct item)) <= sizeof m.memory);
    sim_check(gmk_mpmc_init(&m.ring, m.memory, 4, sizeof(struct item)) == 0);
    for (uint32_t i = 0; i < producers + CONSUMERS; i++)
        roles[i] = (struct role){&m, i};
    scn_together(producers + CONSUMERS, mpmc_role, roles, sizeof roles[0]);
    sim_check(m.taken.v == producers * ITEMS);
    sim_check(gmk_mpmc_empty(&m.ring) && gmk_mpmc_count(&m.ring) == 0);
}

void scn_mpmc(void *arg)
{
    (void)arg;
    run_mpmc(2, ONE, ONE);
}

void scn_mpmc_n(void *arg)
{
    (void)arg;
    run_mpmc(2, SEVERAL, SEVERAL);
}

void scn_mpmc_mixed(void *arg)
{
    enum calls push = sim_rand(3), pop = sim_rand(3);
    (void)arg;
    run_mpmc(PRODUCERS, push, pop);
}

/* ---- many producers, one consumer ---------------------------------------------------------- */

struct node {
    gmk_link_t link;
    uint32_t producer, number;
};

struct source {
    gmk_mpsc_t *queue;
    struct node nodes[ITEMS];
    uint32_t producer;
};

static void mpsc_produce(void *arg)
{
    struct source *s = arg;
    for (uint32_t i = 0; i < ITEMS; i++) {
        s->nodes[i].producer = s->producer;
        s->nodes[i].number = i;
        if (i + 1 < ITEMS && sim_rand(3) == 0) { /* two in one chain */
            s->nodes[i + 1].producer = s->producer;
            s->nodes[i + 1].number = i + 1;
            gmk_store64(&s->nodes[i].link.next, gmk_link_word(&s->nodes[i + 1].link), GMK_RLX, GMK_KERNEL);
            gmk_mpsc_push_chain(s->queue, &s->nodes[i].link, &s->nodes[i + 1].link);
            i++;
        } else {
            gmk_mpsc_push(s->queue, &s->nodes[i].link);
        }
    }
}

void scn_mpsc(void *arg)
{
    (void)arg;
    gmk_mpsc_t queue;
    struct source s[PRODUCERS];
    gmk_hal_thread_t t[PRODUCERS];
    uint32_t next[PRODUCERS] = {0};

    gmk_mpsc_init(&queue);
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        s[i].queue = &queue;
        s[i].producer = i;
        sim_check(sim_thread_create(&t[i], "producer", 1, mpsc_produce, &s[i]) == 0);
    }
    for (uint32_t taken = 0, round = 0; taken < PRODUCERS * ITEMS; round++) {
        struct node *n = (struct node *)(void *)gmk_mpsc_pop(&queue);
        if (n == NULL) {
            gmk_hal_relax(round);
            continue;
        }
        sim_check(n->number == next[n->producer], "producer %u: %u after %u", n->producer, n->number,
                  next[n->producer]);
        next[n->producer]++;
        taken++;
    }
    for (uint32_t i = 0; i < PRODUCERS; i++)
        gmk_hal_thread_join(&t[i]);
    sim_check(gmk_mpsc_empty(&queue) && gmk_mpsc_pop(&queue) == NULL);
}

/* ---- one owner, many thieves --------------------------------------------------------------- */

#define STOLEN 40u

struct local {
    gmk_lq_t queue;
    gmk_slot_t slots[4];
    gmk_a32_t taken;
    uint8_t seen[STOLEN];
};

static void local_take(struct local *l, const gmk_slot_t *out, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        sim_check(out[i].task.meta0 < STOLEN && out[i].task.meta1 == ~out[i].task.meta0);
        sim_check(++l->seen[out[i].task.meta0] == 1, "task %u twice", (unsigned)out[i].task.meta0);
    }
    (void)gmk_add32(&l->taken, n, GMK_RLX, GMK_KERNEL);
}

static void local_steal(void *arg)
{
    struct local *l = *(struct local **)arg;
    gmk_slot_t out[2];
    for (uint32_t round = 0; gmk_load32(&l->taken, GMK_RLX, GMK_KERNEL) < STOLEN; round++) {
        uint32_t n = gmk_lq_empty(&l->queue) ? 0 : gmk_lq_steal_half(&l->queue, out, 1 + sim_rand(2));
        local_take(l, out, n);
        if (n == 0)
            gmk_hal_relax(round);
    }
}

void scn_local(void *arg)
{
    (void)arg;
    struct local l = {.taken = {0}}, *args[2] = {&l, &l};
    gmk_hal_thread_t t[2];
    gmk_slot_t out[2];

    sim_options()->stall = 2000;
    gmk_lq_init(&l.queue, l.slots, 4);
    for (uint32_t i = 0; i < 2; i++)
        sim_check(sim_thread_create(&t[i], "thief", 1, local_steal, &args[i]) == 0);
    for (uint64_t i = 0; i < STOLEN;) {
        gmk_task_t task = {.meta0 = i, .meta1 = ~i};
        if (gmk_lq_push(&l.queue, &task, 0, sim_rand(2) != 0))
            i++;
        else
            local_take(&l, out, gmk_lq_pop(&l.queue, out, 1 + sim_rand(2)));
    }
    while (gmk_lq_count(&l.queue) != 0)
        local_take(&l, out, gmk_lq_pop(&l.queue, out, 2));
    for (uint32_t i = 0; i < 2; i++)
        gmk_hal_thread_join(&t[i]);
    sim_check(l.taken.v == STOLEN);
}
