/* SPDX-License-Identifier: MIT */
/* bad_scope.c — what a bus cannot do, and a scope that is no literal; the check must report both. */
#include <ggmk/hal.h>

uint32_t bad_system_add(gmk_a32_t *p);
uint32_t bad_variable_scope(gmk_a32_t *p, enum gmk_scope s);

uint32_t bad_system_add(gmk_a32_t *p) { return gmk_add32(p, 1, GMK_ACQ_REL, GMK_SYSTEM); }

uint32_t bad_variable_scope(gmk_a32_t *p, enum gmk_scope s) { return gmk_load32(p, GMK_ACQ, s); }
