/* SPDX-License-Identifier: MIT */
#include "grace.h"

uint64_t gmk_grace_start(gmk_core_t *k)
{
    uint64_t epoch = gmk_add64(&k->epoch, 2, GMK_SEQ, GMK_KERNEL) + 2;
    gmk_hal_asym_heavy();
    return epoch;
}

static bool worker_passed(gmk_core_t *k, gmk_worker_t *w, uint64_t epoch)
{
    uint32_t state = gmk_load32(&w->state, GMK_ACQ, GMK_KERNEL);
    if (state != GMK_WORKER_RUNNING && state != GMK_WORKER_ZOMBIE)
        return true;
    if ((int64_t)(gmk_load64(&w->front.quiet, GMK_ACQ, GMK_KERNEL) - epoch) >= 0)
        return true;
    uint64_t bit = (uint64_t)1 << (w->self & 63);
    return (gmk_load64(&k->idle.mask[w->self >> 6], GMK_ACQ, GMK_KERNEL) & bit) != 0;
}

static bool port_passed(const gmk_front_t *f, uint64_t epoch)
{
    uint64_t quiet = gmk_load64(&f->quiet, GMK_ACQ, GMK_KERNEL);
    return quiet == 0 || (int64_t)((quiet & ~(uint64_t)1) - epoch) >= 0;
}

bool gmk_grace_over(gmk_core_t *k, uint64_t epoch)
{
    gmk_hal_asym_heavy();
    for (uint32_t i = 0; i < k->n_all; i++)
        if (!worker_passed(k, &k->workers[i], epoch))
            return false;
    for (uint32_t i = 0; i < k->n_ports; i++)
        if (!port_passed(&k->ports[i], epoch))
            return false;
    return true;
}
