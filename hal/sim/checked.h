/* SPDX-License-Identifier: MIT */
/*
 * checked.h — included before all else in what the simulator checks: memory functions, called by name or
 * made by the compiler, become those of races.c.
 */
#ifndef GGMK_SIM_CHECKED_H
#define GGMK_SIM_CHECKED_H

#include <stddef.h>

extern void *memset(void *d, int c, size_t n) __asm__("sim_memset");
extern void *memcpy(void *d, const void *s, size_t n) __asm__("sim_memcpy");
extern void *memmove(void *d, const void *s, size_t n) __asm__("sim_memmove");
extern int memcmp(const void *a, const void *b, size_t n) __asm__("sim_memcmp");

#endif
