/* SPDX-License-Identifier: MIT */
/*
 * hal_sim.h — the inline part of the simulation HAL.
 *
 * One operating-system thread runs everything.  A thread of the core is a fiber, or W fibers
 * when a worker has W lanes; every operation below is a scheduling point, where a seeded
 * generator decides which fiber goes on, and then a plain memory access.  What is a scheduling
 * point, and what the generator may do there, is said in sim.h.
 *
 * Worker scope is a scheduling point only when workers have more than one lane: with one, nobody
 * else may look at such a word.
 */
#ifndef GGMK_HAL_SIM_H
#define GGMK_HAL_SIM_H

#define GMK_HAL_INLINE static inline __attribute__((always_inline))

/* Buckets of the ready queue: one per priority, or per type and priority where workers have several lanes. */
#define GMK_HAL_RQ_PER_TYPE 1
bool gmk_hal_rq_per_type(void);
/* Handlers may be registered while the kernel runs. */
#define GMK_HAL_CLOSED_IMAGE 0
#define GMK_HAL_CYCLES_DIFFER 0
/* Lanes a worker may have at most. */
#define GMK_HAL_MAX_LANES 64u

/* magic tells a live one from memory that was never initialised, or was destroyed. */
struct gmk_hal_lock {
    uint32_t magic, owner;
}; /* owner: fiber + 1, 0 = free */
struct gmk_hal_park {
    uint32_t magic, token, waiter;
}; /* waiter: fiber + 1, 0 = none */
struct gmk_hal_thread {
    uint32_t team;
}; /* team + 1 */

#define GMK_HAL_ATOMICS(bits)                                                                                \
    uint##bits##_t gmk_load##bits(const gmk_a##bits##_t *p, enum gmk_order o, enum gmk_scope s);             \
    void gmk_store##bits(gmk_a##bits##_t *p, uint##bits##_t v, enum gmk_order o, enum gmk_scope s);          \
    bool gmk_cas##bits(gmk_a##bits##_t *p, uint##bits##_t *e, uint##bits##_t v, enum gmk_order o,            \
                       enum gmk_scope s);                                                                    \
    uint##bits##_t gmk_xchg##bits(gmk_a##bits##_t *p, uint##bits##_t v, enum gmk_order o, enum gmk_scope s); \
    uint##bits##_t gmk_add##bits(gmk_a##bits##_t *p, uint##bits##_t v, enum gmk_order o, enum gmk_scope s);  \
    uint##bits##_t gmk_sub##bits(gmk_a##bits##_t *p, uint##bits##_t v, enum gmk_order o, enum gmk_scope s);  \
    uint##bits##_t gmk_or##bits(gmk_a##bits##_t *p, uint##bits##_t v, enum gmk_order o, enum gmk_scope s);   \
    uint##bits##_t gmk_and##bits(gmk_a##bits##_t *p, uint##bits##_t v, enum gmk_order o, enum gmk_scope s);
GMK_HAL_ATOMICS(32)
GMK_HAL_ATOMICS(64)
#undef GMK_HAL_ATOMICS

void gmk_fence(enum gmk_order o, enum gmk_scope s);
void gmk_hal_asym_light(void);
void gmk_hal_asym_heavy(void);
void gmk_hal_relax(uint32_t round);
uint64_t gmk_hal_now_ns(void);
uint64_t gmk_hal_cycles(void);

/* A worker calls the handler of a type.  The context is a gmk_ctx_t. */
struct gmk_ctx;
GMK_HAL_INLINE int gmk_hal_call(uint32_t type, int (*fn)(struct gmk_ctx *), struct gmk_ctx *ctx)
{
    (void)type;
    return fn(ctx);
}

uint32_t gmk_hal_lane(void);
uint32_t gmk_hal_lanes(void);
void gmk_hal_block_barrier(void);
void gmk_hal_warp_barrier(uint32_t mask);
uint32_t gmk_hal_ballot(uint32_t mask, bool pred);
uint32_t gmk_hal_shuffle(uint32_t mask, uint32_t v, uint32_t from);
uint32_t gmk_hal_coalesce(void);
GMK_HAL_INLINE void *gmk_hal_scratch(void *worker_scratch) { return worker_scratch; }

/* Checked as the accesses they are, like those that the compiler makes calls of. */
void *sim_memset(void *d, int c, size_t n);
void *sim_memcpy(void *d, const void *s, size_t n);
void *sim_memmove(void *d, const void *s, size_t n);
int sim_memcmp(const void *a, const void *b, size_t n);
GMK_HAL_INLINE void *gmk_hal_memset(void *d, int c, size_t n) { return sim_memset(d, c, n); }
GMK_HAL_INLINE void *gmk_hal_memcpy(void *d, const void *s, size_t n) { return sim_memcpy(d, s, n); }
GMK_HAL_INLINE void *gmk_hal_memmove(void *d, const void *s, size_t n) { return sim_memmove(d, s, n); }
GMK_HAL_INLINE int gmk_hal_memcmp(const void *a, const void *b, size_t n) { return sim_memcmp(a, b, n); }

#define GMK_HAL_ONCE(bits)                                                                                   \
    static inline uint##bits##_t gmk_hal_once##bits(const uint##bits##_t *p)                                 \
    {                                                                                                        \
        typedef uint##bits##_t __attribute__((__may_alias__)) any_t;                                         \
        return *(const any_t *)p;                                                                            \
    }
GMK_HAL_ONCE(16)
GMK_HAL_ONCE(32)
GMK_HAL_ONCE(64)
#undef GMK_HAL_ONCE

#endif
