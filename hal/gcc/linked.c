/* SPDX-License-Identifier: MIT */
/*
 * linked.c — finds the modules that GMK_MODULE placed in the section "gmk_modules".
 *
 * The linker defines __start_ and __stop_ symbols for that section in the image that has it.
 * They are weak here, because a program may have no modules, and of default visibility,
 * because the core may live in a shared library while the modules are in the program: the
 * linkers (bfd, gold, lld) export such a symbol from a program when a library on its command
 * line refers to it, and the dynamic linker then binds ours to the program's.  For that the
 * library itself must hold no GMK_MODULE.  When several images have modules, the first in
 * symbol lookup order is meant, which is the program; a library that is opened later hands its
 * modules to gmk_module_load instead.
 */
#include <ggmk/hal.h>

extern struct gmk_module *const __start_gmk_modules[] __attribute__((weak, visibility("default")));
extern struct gmk_module *const __stop_gmk_modules[] __attribute__((weak, visibility("default")));

uint32_t gmk_hal_linked_modules(struct gmk_module *const **first)
{
    *first = __start_gmk_modules;
    return (uint32_t)(((uintptr_t)__stop_gmk_modules - (uintptr_t)__start_gmk_modules) / sizeof **first);
}
