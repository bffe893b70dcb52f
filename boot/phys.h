/* SPDX-License-Identifier: MIT
 *
 * Reading physical memory that somebody else filled.  at() gives a pointer to `length` bytes at `phys`, or
 * NULL where no such memory can be read.  The loader has one over its page tables, the tests one over a
 * buffer.
 */
#ifndef GMK_BOOT_PHYS_H
#define GMK_BOOT_PHYS_H

#include <stddef.h>
#include <stdint.h>

struct phys_view {
    const void *(*at)(void *ctx, uint64_t phys, uint64_t length);
    void *ctx;
};

static inline const void *phys_at(const struct phys_view *view, uint64_t phys, uint64_t length)
{
    return phys != 0 && phys + length >= phys ? view->at(view->ctx, phys, length) : NULL;
}

#endif
