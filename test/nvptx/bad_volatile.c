/* SPDX-License-Identifier: MIT */
/* bad_volatile.c — relaxed built-ins, which become volatile accesses; the check must report both. */
#include <stdint.h>

void bad_copy(uint32_t *to, const uint32_t *from);

void bad_copy(uint32_t *to, const uint32_t *from)
{
    __atomic_store_n(to, __atomic_load_n(from, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
}
