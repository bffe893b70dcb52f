/* SPDX-License-Identifier: MIT */
/*
 * bench_ring.h — what the C and the C++ half of the ring benchmark share.
 *
 * Every queue is driven by the same loops, compiled for it by the macros below, so that its calls are
 * inlined where its authors meant them to be.  An expression PUSH pushes element e; PUSH_N
 * pushes up to k elements from array a and gives how many; POP and POP_N likewise.
 */
#ifndef GGMK_BENCH_RING_H
#define GGMK_BENCH_RING_H

#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BENCH_CAPACITY 1024u
#define BENCH_BATCH 32u

typedef struct bench_queue {
    const char *name;
    void *(*make)(void);
    void (*destroy)(void *q);
    void (*produce)(void *q, uint64_t n, uint64_t first);   /* pushes the numbers first .. first + n - 1 */
    uint64_t (*consume)(void *q, uint64_t n);               /* pops n and returns their sum */
    void (*produce_n)(void *q, uint64_t n, uint64_t first); /* the same in batches; NULL = it has none */
    uint64_t (*consume_n)(void *q, uint64_t n);
    uint64_t (*pair)(void *q, uint64_t n); /* one thread: pushes one, pops one */
} bench_queue_t;

#ifdef __cplusplus
extern "C" {
#endif
extern const bench_queue_t bench_c_spsc8[], bench_c_spsc64[],
    bench_c_mpmc48[]; /* ours first; end with NULL */
#ifdef __cplusplus
}
#endif

typedef struct {
    uint64_t w[1];
} bench_e8_t;
typedef struct __attribute__((aligned(16))) {
    uint64_t w[6];
} bench_e48_t;
typedef struct __attribute__((aligned(16))) {
    uint64_t w[8];
} bench_e64_t;

/* One step of waiting, the same for every queue: the other side may have lost its CPU. */
static inline void bench_wait(uint32_t *round)
{
    if (++*round % 256 == 0)
        sched_yield();
    else
        __builtin_ia32_pause();
}

static inline void *bench_lines(size_t bytes)
{
    void *p = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);

    if (p == NULL)
        abort();
    memset(p, 0, bytes);
    return p;
}

#define BENCH_NOTHING (void)0

#define BENCH_SINGLE(id, Q, E, P_SET_UP, PUSH, C_SET_UP, POP)                                                \
    static void id##_produce(void *vq, uint64_t n, uint64_t first)                                           \
    {                                                                                                        \
        Q *q = (Q *)vq;                                                                                      \
        E e;                                                                                                 \
        memset(&e, 0, sizeof e);                                                                             \
        P_SET_UP;                                                                                            \
        for (uint64_t i = 0; i < n; i++) {                                                                   \
            uint32_t round = 0;                                                                              \
            e.w[0] = first + i;                                                                              \
            while (!(PUSH))                                                                                  \
                bench_wait(&round);                                                                          \
        }                                                                                                    \
    }                                                                                                        \
    static uint64_t id##_consume(void *vq, uint64_t n)                                                       \
    {                                                                                                        \
        Q *q = (Q *)vq;                                                                                      \
        E e;                                                                                                 \
        uint64_t sum = 0;                                                                                    \
        C_SET_UP;                                                                                            \
        for (uint64_t i = 0; i < n; i++) {                                                                   \
            uint32_t round = 0;                                                                              \
            while (!(POP))                                                                                   \
                bench_wait(&round);                                                                          \
            sum += e.w[0];                                                                                   \
        }                                                                                                    \
        return sum;                                                                                          \
    }                                                                                                        \
    static uint64_t id##_pair(void *vq, uint64_t n)                                                          \
    {                                                                                                        \
        Q *q = (Q *)vq;                                                                                      \
        E e;                                                                                                 \
        uint64_t sum = 0;                                                                                    \
        memset(&e, 0, sizeof e);                                                                             \
        P_SET_UP;                                                                                            \
        C_SET_UP;                                                                                            \
        for (uint64_t i = 0; i < n; i++) {                                                                   \
            e.w[0] = i;                                                                                      \
            if (!(PUSH) || !(POP))                                                                           \
                abort();                                                                                     \
            sum += e.w[0];                                                                                   \
        }                                                                                                    \
        return sum;                                                                                          \
    }

#define BENCH_BULK(id, Q, E, P_SET_UP, PUSH_N, C_SET_UP, POP_N)                                              \
    static void id##_produce_n(void *vq, uint64_t n, uint64_t first)                                         \
    {                                                                                                        \
        Q *q = (Q *)vq;                                                                                      \
        E batch[BENCH_BATCH];                                                                                \
        memset(batch, 0, sizeof batch);                                                                      \
        P_SET_UP;                                                                                            \
        for (uint64_t i = 0; i < n;) {                                                                       \
            uint32_t k = n - i < BENCH_BATCH ? (uint32_t)(n - i) : BENCH_BATCH, round = 0;                   \
            E *a = batch;                                                                                    \
            for (uint32_t j = 0; j < k; j++)                                                                 \
                batch[j].w[0] = first + i + j;                                                               \
            i += k;                                                                                          \
            for (;;) {                                                                                       \
                uint32_t got = (uint32_t)(PUSH_N);                                                           \
                a += got;                                                                                    \
                k -= got;                                                                                    \
                if (k == 0)                                                                                  \
                    break;                                                                                   \
                if (got == 0)                                                                                \
                    bench_wait(&round);                                                                      \
            }                                                                                                \
        }                                                                                                    \
    }                                                                                                        \
    static uint64_t id##_consume_n(void *vq, uint64_t n)                                                     \
    {                                                                                                        \
        Q *q = (Q *)vq;                                                                                      \
        E a[BENCH_BATCH];                                                                                    \
        uint64_t sum = 0;                                                                                    \
        uint32_t round = 0;                                                                                  \
        C_SET_UP;                                                                                            \
        for (uint64_t i = 0; i < n;) {                                                                       \
            uint32_t k = n - i < BENCH_BATCH ? (uint32_t)(n - i) : BENCH_BATCH;                              \
            uint32_t got = (uint32_t)(POP_N);                                                                \
            if (got == 0)                                                                                    \
                bench_wait(&round);                                                                          \
            for (uint32_t j = 0; j < got; j++)                                                               \
                sum += a[j].w[0];                                                                            \
            i += got;                                                                                        \
        }                                                                                                    \
        return sum;                                                                                          \
    }

#define BENCH_ROW(id, text)                                                                                  \
    {                                                                                                        \
        text, id##_make, id##_destroy, id##_produce, id##_consume, id##_produce_n, id##_consume_n, id##_pair \
    }
#define BENCH_ROW_SINGLE(id, text)                                                                           \
    {                                                                                                        \
        text, id##_make, id##_destroy, id##_produce, id##_consume, NULL, NULL, id##_pair                     \
    }

#endif
