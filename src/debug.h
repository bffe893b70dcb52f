/* SPDX-License-Identifier: MIT */
/*
 * debug.h — the one place of the feature switch GMK_DEBUG.
 *
 * Code tests GMK_DEBUG_ON as an ordinary constant, so both branches are always compiled.
 * GMK_ASSERT states an invariant of the core: in debug builds one that does not hold is
 * written to the console and stops the program; in release builds it is not evaluated.
 * Any thread, any lane.
 */
#ifndef GMK_DEBUG_H
#define GMK_DEBUG_H

#include <ggmk/hal.h>

#ifdef GMK_DEBUG
#define GMK_DEBUG_ON 1
#else
#define GMK_DEBUG_ON 0
#endif

#define GMK_STRING2(x) #x
#define GMK_STRING(x) GMK_STRING2(x)

#define GMK_ASSERT(cond)                                                                                     \
    do {                                                                                                     \
        if (GMK_DEBUG_ON && !(cond)) {                                                                       \
            gmk_hal_console("assertion failed: " #cond " at " __FILE__ ":" GMK_STRING(__LINE__));            \
            __builtin_trap();                                                                                \
        }                                                                                                    \
    } while (0)

#endif
