/* SPDX-License-Identifier: MIT */
/* boot.h — parts of a kernel's life that boot, halt and the ports share. */
#ifndef GMK_BOOT_H
#define GMK_BOOT_H

#include "registry.h"
#include "worker.h"

/* The kernel's own ports stand behind the users'. */
enum { GMK_PORT_CONTROL, GMK_PORT_WATCHDOG, GMK_PORTS_OWN };

static inline gmk_front_t *gmk_own_port(gmk_core_t *k, uint32_t which)
{
    return &k->ports[k->n_ports - GMK_PORTS_OWN + which];
}

/*
 * Calls by a kernel's address come from any thread, also while another halts it.  Such a call is
 * counted in the kernel's own words, outside the arena: it enters, then looks whether the kernel is
 * still there.  The halt takes the magic number away, then waits until nobody is inside, and only
 * then drops what is left and gives the arena back.  Both orders are sequentially consistent: either
 * the caller sees that the number is gone or the halt sees the caller.
 *
 * Records and figures are copied before and after: a fault in between would leave the call counted,
 * and the halt would answer BUSY.
 */
static inline gmk_core_t *gmk_outside_begin(gmk_kernel_t *k)
{
    if (k == NULL || gmk_load64(gmk_kernel_magic(k), GMK_ACQ, GMK_KERNEL) != GMK_KERNEL_MAGIC)
        return NULL;
    (void)gmk_add64(gmk_kernel_users(k), 1, GMK_SEQ, GMK_KERNEL);
    if (GMK_LIKELY(gmk_load64(gmk_kernel_magic(k), GMK_SEQ, GMK_KERNEL) == GMK_KERNEL_MAGIC))
        return k->core;
    (void)gmk_sub64(gmk_kernel_users(k), 1, GMK_REL, GMK_KERNEL);
    return NULL;
}

static inline void gmk_outside_end(gmk_kernel_t *k)
{
    (void)gmk_sub64(gmk_kernel_users(k), 1, GMK_REL, GMK_KERNEL);
}

/* Starts a worker's thread.  LIMIT. */
int gmk_worker_start(gmk_core_t *k, gmk_worker_t *w);

#endif
