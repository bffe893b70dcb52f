/* SPDX-License-Identifier: MIT */
/*
 * atomics.c — atomics and fences of the simulation HAL: a scheduling point, then a plain access, and
 * where the run asks for it the account of what fibers know (words.c).
 */
#include "memory.h"

static bool nobody_elses(enum gmk_scope s) { return s == GMK_WORKER && sim.options.lanes == 1; }

/* The event to complete; a scratch one where the access is nobody else's business. */
static struct sim_entry *enter(enum sim_op op, const void *p, enum gmk_scope s, const void *pc)
{
    static struct sim_entry unseen;
    if (!nobody_elses(s))
        return sim_point_from(op, p, pc);
    sim.current->pc = pc;
    return &unseen;
}

static void leave(enum gmk_scope s)
{
    if (!nobody_elses(s))
        sim_after();
}

static void refuse_system_scope(enum gmk_scope s)
{
    if (s == GMK_SYSTEM)
        sim_end("misuse", "a read-modify-write at system scope: it is not atomic across a bus");
}

#define ENTER(op) enter(op, p, s, __builtin_return_address(0))

#define HOW(bits) ((struct sim_how){o, s, bits / 8})

#define ATOMICS(bits)                                                                                        \
    uint##bits##_t gmk_load##bits(const gmk_a##bits##_t *p, enum gmk_order o, enum gmk_scope s)              \
    {                                                                                                        \
        struct sim_entry *e = ENTER(SIM_LOAD);                                                               \
        uint##bits##_t v = p->v;                                                                             \
        if (sim.tracked)                                                                                     \
            v = (uint##bits##_t)sim_word_load(p, v, HOW(bits), e);                                           \
        e->value = v;                                                                                        \
        leave(s);                                                                                            \
        return v;                                                                                            \
    }                                                                                                        \
    static void set##bits(gmk_a##bits##_t *p, uint##bits##_t v, enum gmk_scope s, struct sim_entry *e)       \
    {                                                                                                        \
        bool changes = p->v != v;                                                                            \
        e->value = v;                                                                                        \
        p->v = v;                                                                                            \
        if (changes)                                                                                         \
            sim_wrote();                                                                                     \
        leave(s);                                                                                            \
    }                                                                                                        \
    void gmk_store##bits(gmk_a##bits##_t *p, uint##bits##_t v, enum gmk_order o, enum gmk_scope s)           \
    {                                                                                                        \
        struct sim_entry *e = ENTER(SIM_STORE);                                                              \
        if (sim.tracked)                                                                                     \
            sim_word_store(p, p->v, v, HOW(bits));                                                           \
        set##bits(p, v, s, e);                                                                               \
    }                                                                                                        \
    bool gmk_cas##bits(gmk_a##bits##_t *p, uint##bits##_t *expected, uint##bits##_t v, enum gmk_order o,     \
                       enum gmk_scope s)                                                                     \
    {                                                                                                        \
        refuse_system_scope(s);                                                                              \
        struct sim_entry *e = ENTER(SIM_CAS);                                                                \
        if (p->v == *expected) {                                                                             \
            if (sim.tracked)                                                                                 \
                sim_word_update(p, p->v, v, HOW(bits));                                                      \
            set##bits(p, v, s, e);                                                                           \
            return true;                                                                                     \
        }                                                                                                    \
        if (sim.tracked)                                                                                     \
            sim_word_miss(p, p->v, HOW(bits));                                                               \
        e->op = SIM_CAS_MISS;                                                                                \
        e->value = *expected = p->v;                                                                         \
        return false;                                                                                        \
    }                                                                                                        \
    RMW(xchg, bits, SIM_XCHG, v)                                                                             \
    RMW(add, bits, SIM_ADD, old + v)                                                                         \
    RMW(sub, bits, SIM_SUB, old - v)                                                                         \
    RMW(or, bits, SIM_OR, old | v)                                                                           \
    RMW(and, bits, SIM_AND, old &v)

#define RMW(name, bits, op, result)                                                                          \
    uint##bits##_t gmk_##name##bits(gmk_a##bits##_t *p, uint##bits##_t v, enum gmk_order o,                  \
                                    enum gmk_scope s)                                                        \
    {                                                                                                        \
        refuse_system_scope(s);                                                                              \
        struct sim_entry *e = ENTER(op);                                                                     \
        uint##bits##_t old = p->v;                                                                           \
        if (sim.tracked)                                                                                     \
            sim_word_update(p, old, (uint##bits##_t)(result), HOW(bits));                                    \
        set##bits(p, (uint##bits##_t)(result), s, e);                                                        \
        return old;                                                                                          \
    }

ATOMICS(32)
ATOMICS(64)

/* One of worker scope orders nothing for others; its lanes share what they share at wider scopes, too. */
void gmk_fence(enum gmk_order o, enum gmk_scope s)
{
    (void)enter(SIM_FENCE, NULL, s, __builtin_return_address(0));
    if (sim.tracked && s != GMK_WORKER)
        sim_fence(o);
}

void gmk_hal_asym_light(void)
{
    (void)sim_point(SIM_FENCE, NULL);
    if (sim.tracked)
        sim_fence_light();
}

void gmk_hal_asym_heavy(void)
{
    (void)sim_point(SIM_FENCE, NULL);
    if (sim.tracked)
        sim_fence_heavy();
}

/* What was read before may have been stale, so the next looks are at what is there. */
static void look_again_later(struct sim_fiber *f)
{
    sim_block(SIM_SPINNING, NULL, UINT64_MAX);
    f->fresh = 32;
}

/*
 * Stays here while nobody else has changed a shared word since this fiber was last here: looking
 * again would show the same.  A word that changed in between is not missed.
 */
void gmk_hal_relax(uint32_t round)
{
    struct sim_fiber *f = sim.current;
    struct sim_entry *e = sim_point(SIM_RELAX, NULL);

    e->value = round;
    sim_strategy_spins(f);
    if (sim.writes - f->own_writes == f->seen_writes)
        look_again_later(f);
    f->seen_writes = sim.writes - f->own_writes;
}

uint64_t gmk_hal_now_ns(void)
{
    struct sim_entry *e = sim_point(SIM_CLOCK, NULL);
    sim_tick();
    e->value = sim.now;
    return sim.now;
}

uint64_t gmk_hal_cycles(void)
{
    struct sim_entry *e = sim_point(SIM_CLOCK, NULL);
    sim_tick();
    e->value = sim.now;
    return sim.now;
}
