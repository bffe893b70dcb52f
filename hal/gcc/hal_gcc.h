/* SPDX-License-Identifier: MIT */
/*
 * hal_gcc.h — what every HAL for a CPU shares that gcc or clang compile: atomics, and one lane a worker.
 *
 * Worker scope is plain memory access: a worker has one lane, and one thread runs it.  Kernel
 * scope is the compiler's __atomic built-ins.  Included by such a HAL's own header, before its own part.
 */
#ifndef GGMK_HAL_GCC_H
#define GGMK_HAL_GCC_H

#define GMK_HAL_INLINE static inline __attribute__((always_inline))

/* Buckets of the ready queue: one per priority. */
#define GMK_HAL_RQ_PER_TYPE 0
GMK_HAL_INLINE bool gmk_hal_rq_per_type(void) { return false; }
/* Handlers may be registered while the kernel runs. */
#define GMK_HAL_CLOSED_IMAGE 0
#define GMK_HAL_CYCLES_DIFFER 0 /* gmk_hal_cycles of two workers cannot be compared */
/* Lanes a worker may have at most. */
#define GMK_HAL_MAX_LANES 1u

GMK_HAL_INLINE int gmk_hal_order(enum gmk_order o)
{
    return o == GMK_RLX     ? __ATOMIC_RELAXED
         : o == GMK_ACQ     ? __ATOMIC_ACQUIRE
         : o == GMK_REL     ? __ATOMIC_RELEASE
         : o == GMK_ACQ_REL ? __ATOMIC_ACQ_REL
                            : __ATOMIC_SEQ_CST;
}

#define GMK_HAL_ATOMICS(bits)                                                                                \
    GMK_HAL_INLINE uint##bits##_t gmk_load##bits(const gmk_a##bits##_t *p, enum gmk_order o,                 \
                                                 enum gmk_scope s)                                           \
    {                                                                                                        \
        if (s == GMK_WORKER)                                                                                 \
            return p->v;                                                                                     \
        return o == GMK_RLX ? __atomic_load_n(&p->v, __ATOMIC_RELAXED)                                       \
             : o == GMK_ACQ ? __atomic_load_n(&p->v, __ATOMIC_ACQUIRE)                                       \
                            : __atomic_load_n(&p->v, __ATOMIC_SEQ_CST);                                      \
    }                                                                                                        \
    GMK_HAL_INLINE void gmk_store##bits(gmk_a##bits##_t *p, uint##bits##_t v, enum gmk_order o,              \
                                        enum gmk_scope s)                                                    \
    {                                                                                                        \
        if (s == GMK_WORKER)                                                                                 \
            p->v = v;                                                                                        \
        else if (o == GMK_RLX)                                                                               \
            __atomic_store_n(&p->v, v, __ATOMIC_RELAXED);                                                    \
        else if (o == GMK_REL)                                                                               \
            __atomic_store_n(&p->v, v, __ATOMIC_RELEASE);                                                    \
        else                                                                                                 \
            __atomic_store_n(&p->v, v, __ATOMIC_SEQ_CST);                                                    \
    }                                                                                                        \
    GMK_HAL_INLINE bool gmk_cas##bits(gmk_a##bits##_t *p, uint##bits##_t *e, uint##bits##_t v,               \
                                      enum gmk_order o, enum gmk_scope s)                                    \
    {                                                                                                        \
        if (s == GMK_WORKER) {                                                                               \
            if (p->v == *e) {                                                                                \
                p->v = v;                                                                                    \
                return true;                                                                                 \
            }                                                                                                \
            *e = p->v;                                                                                       \
            return false;                                                                                    \
        }                                                                                                    \
        switch (o) {                                                                                         \
        case GMK_RLX:                                                                                        \
            return __atomic_compare_exchange_n(&p->v, e, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);      \
        case GMK_ACQ:                                                                                        \
            return __atomic_compare_exchange_n(&p->v, e, v, false, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE);      \
        case GMK_REL:                                                                                        \
            return __atomic_compare_exchange_n(&p->v, e, v, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);      \
        case GMK_ACQ_REL:                                                                                    \
            return __atomic_compare_exchange_n(&p->v, e, v, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);      \
        default: return __atomic_compare_exchange_n(&p->v, e, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
        }                                                                                                    \
    }                                                                                                        \
    GMK_HAL_RMW(xchg, bits, __atomic_exchange_n, v)                                                          \
    GMK_HAL_RMW(add, bits, __atomic_fetch_add, old + v)                                                      \
    GMK_HAL_RMW(sub, bits, __atomic_fetch_sub, old - v)                                                      \
    GMK_HAL_RMW(or, bits, __atomic_fetch_or, old | v)                                                        \
    GMK_HAL_RMW(and, bits, __atomic_fetch_and, old &v)

#define GMK_HAL_RMW(name, bits, builtin, plain)                                                              \
    GMK_HAL_INLINE uint##bits##_t gmk_##name##bits(gmk_a##bits##_t *p, uint##bits##_t v, enum gmk_order o,   \
                                                   enum gmk_scope s)                                         \
    {                                                                                                        \
        if (s == GMK_WORKER) {                                                                               \
            uint##bits##_t old = p->v;                                                                       \
            p->v = plain;                                                                                    \
            return old;                                                                                      \
        }                                                                                                    \
        switch (o) {                                                                                         \
        case GMK_RLX: return builtin(&p->v, v, __ATOMIC_RELAXED);                                            \
        case GMK_ACQ: return builtin(&p->v, v, __ATOMIC_ACQUIRE);                                            \
        case GMK_REL: return builtin(&p->v, v, __ATOMIC_RELEASE);                                            \
        case GMK_ACQ_REL: return builtin(&p->v, v, __ATOMIC_ACQ_REL);                                        \
        default: return builtin(&p->v, v, __ATOMIC_SEQ_CST);                                                 \
        }                                                                                                    \
    }

GMK_HAL_ATOMICS(32)
GMK_HAL_ATOMICS(64)

#undef GMK_HAL_ATOMICS
#undef GMK_HAL_RMW

/*
 * A fence alone is invisible to ThreadSanitizer; there an acquire-release exchange on one shared
 * word carries the order instead.
 */
#if defined(__SANITIZE_THREAD__)
#define GMK_HAL_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GMK_HAL_TSAN 1
#endif
#endif

#ifdef GMK_HAL_TSAN
extern gmk_a32_t gmk_hal_tsan_fence;
GMK_HAL_INLINE void gmk_fence(enum gmk_order o, enum gmk_scope s)
{
    (void)o;
    if (s != GMK_WORKER)
        (void)__atomic_exchange_n(&gmk_hal_tsan_fence.v, 0, __ATOMIC_SEQ_CST);
}
#else
GMK_HAL_INLINE void gmk_fence(enum gmk_order o, enum gmk_scope s)
{
    if (s == GMK_WORKER || o == GMK_RLX)
        return;
    if (o == GMK_ACQ)
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    else if (o == GMK_REL)
        __atomic_thread_fence(__ATOMIC_RELEASE);
    else if (o == GMK_ACQ_REL)
        __atomic_thread_fence(__ATOMIC_ACQ_REL);
    else
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
#endif

/* A worker calls the handler of a type.  The context is a gmk_ctx_t. */
struct gmk_ctx;
GMK_HAL_INLINE int gmk_hal_call(uint32_t type, int (*fn)(struct gmk_ctx *), struct gmk_ctx *ctx)
{
    (void)type;
    return fn(ctx);
}

GMK_HAL_INLINE uint32_t gmk_hal_lane(void) { return 0; }
GMK_HAL_INLINE uint32_t gmk_hal_lanes(void) { return 1; }
GMK_HAL_INLINE void gmk_hal_block_barrier(void) {}
GMK_HAL_INLINE void gmk_hal_warp_barrier(uint32_t mask) { (void)mask; }
GMK_HAL_INLINE uint32_t gmk_hal_ballot(uint32_t mask, bool pred) { return mask & (pred ? 1u : 0u); }
GMK_HAL_INLINE uint32_t gmk_hal_shuffle(uint32_t mask, uint32_t v, uint32_t from)
{
    (void)mask;
    (void)from;
    return v;
}
GMK_HAL_INLINE uint32_t gmk_hal_coalesce(void) { return 1; }
GMK_HAL_INLINE void *gmk_hal_scratch(void *worker_scratch) { return worker_scratch; }

#define GMK_HAL_ONCE(bits)                                                                                   \
    GMK_HAL_INLINE uint##bits##_t gmk_hal_once##bits(const uint##bits##_t *p)                                \
    {                                                                                                        \
        typedef uint##bits##_t __attribute__((__may_alias__)) any_t;                                         \
        return *(const volatile any_t *)p;                                                                   \
    }
GMK_HAL_ONCE(16)
GMK_HAL_ONCE(32)
GMK_HAL_ONCE(64)
#undef GMK_HAL_ONCE

#endif
