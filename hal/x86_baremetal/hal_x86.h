/* SPDX-License-Identifier: MIT */
/*
 * hal_x86.h — the inline part of the HAL for the bare x86-64 machine.
 * Its atomics and its one lane a worker are those of hal_gcc.h; what lies beneath is arch/x86_64.
 */
#ifndef GGMK_HAL_X86_H
#define GGMK_HAL_X86_H

#include "../gcc/hal_gcc.h"

/* Tickets; whoever waits gives up its time slice, so that the holder can run on the same CPU. */
struct gmk_hal_lock {
    gmk_a32_t next, serving;
};
/* 0, a token, or the thread that waits (sync.c). */
struct gmk_hal_park {
    gmk_a64_t word;
};
struct gmk_hal_thread {
    void *handle;
};

/* Every other CPU can be interrupted, so the light side needs to hold back the compiler alone. */
GMK_HAL_INLINE void gmk_hal_asym_light(void) { __asm__ __volatile__("" ::: "memory"); }
void gmk_hal_asym_heavy(void);

/* Lets whoever else is ready on this CPU run; cheap when nobody is. */
void gmk_hal_yield_slice(void);

GMK_HAL_INLINE void gmk_hal_relax(uint32_t round)
{
    if (round >= 256 && (round & 63) == 0)
        gmk_hal_yield_slice(); /* whoever we wait for may have lost its CPU to us */
    else
        __asm__ __volatile__("pause" ::: "memory");
}

uint64_t gmk_hal_now_ns(void);

GMK_HAL_INLINE uint64_t gmk_hal_cycles(void)
{
    uint32_t lo, hi;
    __asm__ __volatile__("rdtsc" : "=a"(lo), "=d"(hi));
    return (uint64_t)hi << 32 | lo;
}

/* The compiler knows these and turns small fixed sizes into moves; else arch/x86_64/string.c. */
GMK_HAL_INLINE void *gmk_hal_memset(void *d, int c, size_t n) { return __builtin_memset(d, c, n); }
GMK_HAL_INLINE void *gmk_hal_memcpy(void *d, const void *s, size_t n) { return __builtin_memcpy(d, s, n); }
GMK_HAL_INLINE void *gmk_hal_memmove(void *d, const void *s, size_t n) { return __builtin_memmove(d, s, n); }
GMK_HAL_INLINE int gmk_hal_memcmp(const void *a, const void *b, size_t n)
{
    return __builtin_memcmp(a, b, n);
}

#endif
