/* SPDX-License-Identifier: MIT */
/*
 * hal_linux.h — the inline part of the hosted HAL: gcc or clang on Linux, x86-64 or arm64.
 * Its atomics and its one lane a worker are those of hal_gcc.h.
 */
#ifndef GGMK_HAL_LINUX_H
#define GGMK_HAL_LINUX_H

#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include "../gcc/hal_gcc.h"

/* A pthread_mutex_t: 40 bytes on x86-64, 48 on arm64 (sync.c checks). */
struct gmk_hal_lock {
    _Alignas(8) unsigned char opaque[48];
};
/* One thread waits on a slot at a time; any number of threads wake it. */
struct gmk_hal_park {
    gmk_a32_t word;
};
struct gmk_hal_thread {
    unsigned long handle;
    void (*fn)(void *);
    void *arg;
    char name[16];
    uint32_t cpu;
};

/*
 * membarrier(2) makes the light side free; where it is missing both sides fence.  The word goes
 * once from UNKNOWN to one of the others (fence.c).  A light side that still reads UNKNOWN pays
 * a full fence, which orders against either heavy side; the heavy side never acts on UNKNOWN.
 */
enum { GMK_HAL_MEMBARRIER_UNKNOWN, GMK_HAL_MEMBARRIER_WORKS, GMK_HAL_MEMBARRIER_MISSING };
extern gmk_a32_t gmk_hal_membarrier_state;
/* Finds out; cheap when it is known.  Boot calls it through gmk_hal_page_alloc. */
bool gmk_hal_membarrier_probe(void);

GMK_HAL_INLINE void gmk_hal_asym_light(void)
{
#ifdef GMK_HAL_TSAN
    gmk_fence(GMK_SEQ, GMK_KERNEL);
#else
    uint32_t state = gmk_load32(&gmk_hal_membarrier_state, GMK_RLX, GMK_KERNEL);

    if (__builtin_expect(state == GMK_HAL_MEMBARRIER_WORKS, 1))
        __asm__ __volatile__("" ::: "memory");
    else
        gmk_fence(GMK_SEQ, GMK_KERNEL);
#endif
}
void gmk_hal_asym_heavy(void);

void gmk_hal_yield_slice(void);

GMK_HAL_INLINE void gmk_hal_relax(uint32_t round)
{
    if (round >= 256 && (round & 63) == 0) {
        gmk_hal_yield_slice(); /* whoever we wait for may have lost its CPU */
        return;
    }
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

GMK_HAL_INLINE uint64_t gmk_hal_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

GMK_HAL_INLINE uint64_t gmk_hal_cycles(void)
{
#if defined(__x86_64__)
    return __rdtsc();
#elif defined(__aarch64__)
    uint64_t v;
    __asm__ __volatile__("mrs %0, cntvct_el0" : "=r"(v));
    return v;
#else
    return gmk_hal_now_ns();
#endif
}

GMK_HAL_INLINE void *gmk_hal_memset(void *d, int c, size_t n) { return memset(d, c, n); }
GMK_HAL_INLINE void *gmk_hal_memcpy(void *d, const void *s, size_t n) { return memcpy(d, s, n); }
GMK_HAL_INLINE void *gmk_hal_memmove(void *d, const void *s, size_t n) { return memmove(d, s, n); }
GMK_HAL_INLINE int gmk_hal_memcmp(const void *a, const void *b, size_t n) { return memcmp(a, b, n); }

#endif
