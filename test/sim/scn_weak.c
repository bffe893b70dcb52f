/* SPDX-License-Identifier: MIT */
/*
 * scn_weak.c — the weak memory model: what an order forbids, and what happens where it is missing or of too
 * narrow a scope.  The small tests of the field: message passing, store buffering, coherence,
 * release sequences, read-modify-writes.  They run under the weak model whatever the setup says.
 */
#include "scenarios.h"

#define ROUNDS 4u

/* One for each round, so that each finds its words as they were in the beginning. */
static struct test {
    gmk_a32_t x, y, flag;
    uint32_t r1, r2;
} test[ROUNDS];

static uint32_t get(const gmk_a32_t *p) { return gmk_load32(p, GMK_RLX, GMK_KERNEL); }
static void put(gmk_a32_t *p, uint32_t v) { gmk_store32(p, v, GMK_RLX, GMK_KERNEL); }

struct step {
    void (*fn)(struct test *t);
};

static void each_round(void *arg)
{
    const struct step *s = arg;
    for (uint32_t i = 0; i < ROUNDS; i++)
        s->fn(&test[i]);
}

/* Runs n steps against each other, each on all rounds. */
static void against(uint32_t n, struct step *steps)
{
    sim_memory_mode(true, sim_setup()->races);
    for (uint32_t i = 0; i < ROUNDS; i++)
        test[i] = (struct test){.r1 = 0};
    scn_together(n, each_round, steps, sizeof steps[0]);
}
#define AGAINST(...)                                                                                         \
    against(sizeof((struct step[]){__VA_ARGS__}) / sizeof(struct step), (struct step[]){__VA_ARGS__})

/* ---- message passing ------------------------------------------------------------------------ */

static void send_release(struct test *t)
{
    put(&t->x, 1);
    gmk_store32(&t->flag, 1, GMK_REL, GMK_KERNEL);
}

static void send_relaxed(struct test *t)
{
    put(&t->x, 1);
    put(&t->flag, 1);
}

static void send_narrow(struct test *t)
{
    put(&t->x, 1);
    gmk_store32(&t->flag, 1, GMK_REL, GMK_WORKER);
}

static void send_fence(struct test *t)
{
    put(&t->x, 1);
    gmk_fence(GMK_REL, GMK_KERNEL);
    put(&t->flag, 1);
}

static void receive(struct test *t)
{
    if (gmk_load32(&t->flag, GMK_ACQ, GMK_KERNEL) == 1)
        sim_check(get(&t->x) == 1, "the message is not there");
}

static void receive_relaxed(struct test *t)
{
    if (get(&t->flag) == 1)
        sim_check(get(&t->x) == 1, "the message is not there");
}

static void receive_fence(struct test *t)
{
    if (get(&t->flag) != 1)
        return;
    gmk_fence(GMK_ACQ, GMK_KERNEL);
    sim_check(get(&t->x) == 1, "the message is not there");
}

void scn_mp(void *arg)
{
    (void)arg;
    if (sim_rand(2) == 0)
        AGAINST({send_release}, {receive}, {receive_fence});
    else
        AGAINST({send_fence}, {receive}, {receive_fence});
}

void scn_mp_no_release(void *arg)
{
    (void)arg;
    AGAINST({send_relaxed}, {receive});
}

void scn_mp_no_acquire(void *arg)
{
    (void)arg;
    AGAINST({send_release}, {receive_relaxed});
}

void scn_mp_narrow(void *arg)
{
    (void)arg;
    AGAINST({send_narrow}, {receive});
}

/* ---- release sequences ---------------------------------------------------------------------- */

static void pass_on(struct test *t)
{
    uint32_t one = 1;
    (void)gmk_cas32(&t->flag, &one, 2, GMK_RLX, GMK_KERNEL);
}

static void send_twice(struct test *t)
{
    send_release(t);
    put(&t->flag, 2); /* the same thread: what it released before still counts */
}

static void store_over(struct test *t)
{
    if (get(&t->flag) == 1)
        put(&t->flag, 2);
}

static void receive_second(struct test *t)
{
    if (gmk_load32(&t->flag, GMK_ACQ, GMK_KERNEL) == 2)
        sim_check(get(&t->x) == 1, "the message is not there");
}

void scn_mp_passed_on(void *arg)
{
    (void)arg;
    if (sim_rand(2) == 0)
        AGAINST({send_release}, {pass_on}, {receive_second});
    else
        AGAINST({send_twice}, {receive_second});
}

void scn_mp_broken_off(void *arg)
{
    (void)arg;
    AGAINST({send_release}, {store_over}, {receive_second});
}

/* ---- store buffering ------------------------------------------------------------------------ */

#define SIDE(name, mine, other, result, between)                                                             \
    static void name(struct test *t)                                                                         \
    {                                                                                                        \
        gmk_store32(&t->mine, 1, GMK_REL, GMK_KERNEL);                                                       \
        between;                                                                                             \
        t->result = 1 + gmk_load32(&t->other, GMK_ACQ, GMK_KERNEL);                                          \
    }
#define SIDES(name, first, second) SIDE(name##_1, x, y, r1, first) SIDE(name##_2, y, x, r2, second)
SIDES(unfenced, (void)0, (void)0)
SIDES(fenced, gmk_fence(GMK_SEQ, GMK_KERNEL), gmk_fence(GMK_SEQ, GMK_KERNEL))
SIDES(weakly_fenced, gmk_fence(GMK_ACQ_REL, GMK_KERNEL), gmk_fence(GMK_ACQ_REL, GMK_KERNEL))
SIDES(half_fenced, gmk_fence(GMK_SEQ, GMK_KERNEL), (void)0)
SIDES(asymmetric, gmk_hal_asym_light(), gmk_hal_asym_heavy())
SIDES(light, gmk_hal_asym_light(), gmk_hal_asym_light())

static void one_side_saw_the_other(void)
{
    for (uint32_t i = 0; i < ROUNDS; i++)
        sim_check(test[i].r1 + test[i].r2 > 2, "both stores were buffered");
}

#define STORE_BUFFERING(name, sides)                                                                         \
    void scn_##name(void *arg)                                                                               \
    {                                                                                                        \
        (void)arg;                                                                                           \
        AGAINST({sides##_1}, {sides##_2});                                                                   \
        one_side_saw_the_other();                                                                            \
    }
STORE_BUFFERING(sb, fenced)
STORE_BUFFERING(sb_asym, asymmetric)
STORE_BUFFERING(sb_no_fence, unfenced)
STORE_BUFFERING(sb_one_fence, half_fenced)
STORE_BUFFERING(sb_weak_fence, weakly_fenced)
STORE_BUFFERING(sb_light, light)

/* ---- coherence ------------------------------------------------------------------------------ */

static void count_up(struct test *t)
{
    for (uint32_t i = 1; i <= 20; i++)
        put(&t->x, i);
    sim_check(get(&t->x) == 20, "its own store");
}

static void never_back(struct test *t)
{
    for (uint32_t i = 0, last = 0, now; i < 20; i++, last = now) {
        now = get(&t->x);
        sim_check(now >= last, "%u after %u", now, last);
    }
}

static void add_one(struct test *t)
{
    (void)gmk_add32(&t->y, 1, GMK_RLX, GMK_KERNEL);
    uint32_t seen = get(&t->flag);
    while (!gmk_cas32(&t->flag, &seen, seen + 1, GMK_RLX, GMK_KERNEL))
        ;
}

static void coherent(struct test *t)
{
    never_back(t);
    add_one(t);
}

void scn_coherence(void *arg)
{
    (void)arg;
    AGAINST({count_up}, {coherent}, {coherent});
    for (uint32_t i = 0; i < ROUNDS; i++)
        sim_check(get(&test[i].x) == 20 && get(&test[i].y) == 2 && get(&test[i].flag) == 2);
}

/* ---- a stale value does not stay ------------------------------------------------------------ */

static void set(struct test *t) { put(&t->x, 1); }

static void await(struct test *t)
{
    for (uint32_t round = 0; get(&t->x) == 0; round++)
        gmk_hal_relax(round);
}

void scn_arrives(void *arg)
{
    (void)arg;
    AGAINST({set}, {await}, {await});
}
