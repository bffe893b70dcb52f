/* SPDX-License-Identifier: MIT */
/*
 * atomics.c — every atomic of the HAL in every order and scope it has, one function each.  The
 * check knows from a function's name, t_OPERATION_WIDTH_ORDER_SCOPE, which instructions it must
 * consist of; one more or one other is an arm of the HAL's choice that did not fold away.
 */
#include <ggmk/hal.h>

#define LOAD(bits, order, ORDER, scope, SCOPE)                                                               \
    uint##bits##_t t_load_##bits##_##order##_##scope(const gmk_a##bits##_t *p);                              \
    uint##bits##_t t_load_##bits##_##order##_##scope(const gmk_a##bits##_t *p)                               \
    {                                                                                                        \
        return gmk_load##bits(p, ORDER, SCOPE);                                                              \
    }
#define STORE(bits, order, ORDER, scope, SCOPE)                                                              \
    void t_store_##bits##_##order##_##scope(gmk_a##bits##_t *p, uint##bits##_t v);                           \
    void t_store_##bits##_##order##_##scope(gmk_a##bits##_t *p, uint##bits##_t v)                            \
    {                                                                                                        \
        gmk_store##bits(p, v, ORDER, SCOPE);                                                                 \
    }
#define RMW(name, bits, order, ORDER, scope, SCOPE)                                                          \
    uint##bits##_t t_##name##_##bits##_##order##_##scope(gmk_a##bits##_t *p, uint##bits##_t v);              \
    uint##bits##_t t_##name##_##bits##_##order##_##scope(gmk_a##bits##_t *p, uint##bits##_t v)               \
    {                                                                                                        \
        return gmk_##name##bits(p, v, ORDER, SCOPE);                                                         \
    }
#define CAS(bits, order, ORDER, scope, SCOPE)                                                                \
    bool t_cas_##bits##_##order##_##scope(gmk_a##bits##_t *p, uint##bits##_t *e, uint##bits##_t v);          \
    bool t_cas_##bits##_##order##_##scope(gmk_a##bits##_t *p, uint##bits##_t *e, uint##bits##_t v)           \
    {                                                                                                        \
        return gmk_cas##bits(p, e, v, ORDER, SCOPE);                                                         \
    }
#define FENCE(order, ORDER, scope, SCOPE)                                                                    \
    void t_fence_0_##order##_##scope(void);                                                                  \
    void t_fence_0_##order##_##scope(void) { gmk_fence(ORDER, SCOPE); }

#define LOADS(bits, scope, SCOPE)                                                                            \
    LOAD(bits, rlx, GMK_RLX, scope, SCOPE)                                                                   \
    LOAD(bits, acq, GMK_ACQ, scope, SCOPE)                                                                   \
    LOAD(bits, seq, GMK_SEQ, scope, SCOPE)
#define STORES(bits, scope, SCOPE)                                                                           \
    STORE(bits, rlx, GMK_RLX, scope, SCOPE)                                                                  \
    STORE(bits, rel, GMK_REL, scope, SCOPE)                                                                  \
    STORE(bits, seq, GMK_SEQ, scope, SCOPE)
#define RMWS(bits, order, ORDER, scope, SCOPE)                                                               \
    RMW(xchg, bits, order, ORDER, scope, SCOPE)                                                              \
    RMW(add, bits, order, ORDER, scope, SCOPE)                                                               \
    RMW(sub, bits, order, ORDER, scope, SCOPE)                                                               \
    RMW(or, bits, order, ORDER, scope, SCOPE)                                                                \
    RMW(and, bits, order, ORDER, scope, SCOPE)                                                               \
    CAS(bits, order, ORDER, scope, SCOPE)
#define RMWS_OF_SCOPE(bits, scope, SCOPE)                                                                    \
    RMWS(bits, rlx, GMK_RLX, scope, SCOPE)                                                                   \
    RMWS(bits, acq, GMK_ACQ, scope, SCOPE)                                                                   \
    RMWS(bits, rel, GMK_REL, scope, SCOPE)                                                                   \
    RMWS(bits, acqrel, GMK_ACQ_REL, scope, SCOPE)                                                            \
    RMWS(bits, seq, GMK_SEQ, scope, SCOPE)
#define FENCES(scope, SCOPE)                                                                                 \
    FENCE(rlx, GMK_RLX, scope, SCOPE)                                                                        \
    FENCE(acq, GMK_ACQ, scope, SCOPE)                                                                        \
    FENCE(rel, GMK_REL, scope, SCOPE)                                                                        \
    FENCE(acqrel, GMK_ACQ_REL, scope, SCOPE)                                                                 \
    FENCE(seq, GMK_SEQ, scope, SCOPE)
#define WIDTH(bits)                                                                                          \
    LOADS(bits, cta, GMK_WORKER)                                                                             \
    LOADS(bits, gpu, GMK_KERNEL)                                                                             \
    LOADS(bits, sys, GMK_SYSTEM)                                                                             \
    STORES(bits, cta, GMK_WORKER)                                                                            \
    STORES(bits, gpu, GMK_KERNEL)                                                                            \
    STORES(bits, sys, GMK_SYSTEM)                                                                            \
    RMWS_OF_SCOPE(bits, cta, GMK_WORKER)                                                                     \
    RMWS_OF_SCOPE(bits, gpu, GMK_KERNEL)

WIDTH(32)
WIDTH(64)
FENCES(cta, GMK_WORKER)
FENCES(gpu, GMK_KERNEL)
FENCES(sys, GMK_SYSTEM)
