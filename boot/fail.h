/* SPDX-License-Identifier: MIT
 *
 * How the loader's parsers refuse: what is wrong, the value that is, and what to do about it.  The parsers
 * are pure functions over buffers, so that they run on the host too; only main.c prints.
 */
#ifndef GMK_BOOT_FAIL_H
#define GMK_BOOT_FAIL_H

#include <stdbool.h>
#include <stdint.h>

struct boot_error {
    const char *what;
    uint64_t value;
    const char *advice;
};

static inline bool boot_fail(struct boot_error *e, const char *what, uint64_t value, const char *advice)
{
    e->what = what;
    e->value = value;
    e->advice = advice;
    return false;
}

#endif
