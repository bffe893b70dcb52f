/* SPDX-License-Identifier: MIT */
/* bad_builtin_atomic.c — silently loses its acquire; the check must report it. */
#include <stdint.h>

uint32_t bad_fetch_add(uint32_t *p);

uint32_t bad_fetch_add(uint32_t *p) { return __atomic_fetch_add(p, 1, __ATOMIC_ACQUIRE); }
