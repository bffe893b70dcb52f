/* SPDX-License-Identifier: MIT */
/* linked.c — finds the modules that GMK_MODULE placed in the section "gmk_modules" (kernel.ld). */
#include <ggmk/hal.h>

extern struct gmk_module *const __start_gmk_modules[];
extern struct gmk_module *const __stop_gmk_modules[];

uint32_t gmk_hal_linked_modules(struct gmk_module *const **first)
{
    *first = __start_gmk_modules;
    return (uint32_t)(((uintptr_t)__stop_gmk_modules - (uintptr_t)__start_gmk_modules) / sizeof **first);
}
