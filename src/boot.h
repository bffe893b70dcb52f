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

/* The core of a booted kernel; NULL when k is not one. */
static inline gmk_core_t *gmk_core_of(const gmk_kernel_t *k)
{
    return k != NULL && k->magic == GMK_KERNEL_MAGIC ? k->core : NULL;
}

/* Starts a worker's thread.  LIMIT. */
int gmk_worker_start(gmk_core_t *k, gmk_worker_t *w);

#endif
