/* SPDX-License-Identifier: MIT
 *
 * For the tests of the loader's parsers: little-endian writes into a buffer, and a view of one as physical
 * memory.
 */
#ifndef GMK_TEST_BOOT_BYTES_H
#define GMK_TEST_BOOT_BYTES_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "../../boot/phys.h"

static inline void put16(uint8_t *p, uint64_t v) { memcpy(p, &(uint16_t){(uint16_t)v}, 2); }
static inline void put32(uint8_t *p, uint64_t v) { memcpy(p, &(uint32_t){(uint32_t)v}, 4); }
static inline void put64(uint8_t *p, uint64_t v) { memcpy(p, &v, 8); }

/* The buffer appears at the physical address `base`, with nothing around it. */
struct bytes_view {
    uint8_t *data;
    uint64_t base, length;
};

static inline const void *bytes_at(void *ctx, uint64_t phys, uint64_t length)
{
    const struct bytes_view *v = ctx;
    if (phys < v->base || phys - v->base > v->length || length > v->length - (phys - v->base))
        return NULL;
    return v->data + (phys - v->base);
}

#endif
