/* SPDX-License-Identifier: MIT */
/* local.c — two kernels of one process: the region is memory of it, and each pump can wake the other. */
#include "bridge_int.h"

static void wake(void *arg) { gmk_bridge_wake(arg); }

static void point_at(gmk_bridge_t *b, gmk_bridge_t *peer)
{
    gmk_bridge_lock(b);
    b->wake = peer != NULL ? wake : b->cfg.wake;
    b->wake_arg = peer != NULL ? peer : b->cfg.wake_arg;
    b->nap_ns = peer != NULL ? b->cfg.beat_ns : b->cfg.nap_ns;
    gmk_bridge_unlock(b);
}

int gmk_bridge_join(gmk_bridge_pair_t *p, gmk_bridge_t *a, gmk_bridge_t *b, const gmk_region_cfg_t *cfg)
{
    if (p == NULL || a == NULL || b == NULL || a == b)
        return GMK_ERR_INVAL;
    *p = (gmk_bridge_pair_t){.bytes = gmk_region_bytes(cfg), .end = {a, b}};
    if (p->bytes == 0)
        return GMK_ERR_RANGE;
    p->region = gmk_hal_page_alloc(p->bytes);
    if (p->region == NULL)
        return GMK_ALLOC_FAIL;
    int rc = gmk_region_format(p->region, p->bytes, cfg);
    point_at(a, b);
    point_at(b, a);
    if (rc == GMK_OK)
        rc = gmk_bridge_up(a, p->region, p->bytes, 0);
    if (rc == GMK_OK)
        rc = gmk_bridge_up(b, p->region, p->bytes, 1);
    if (rc < 0)
        gmk_bridge_part(p, false);
    return rc;
}

void gmk_bridge_part(gmk_bridge_pair_t *p, bool keep)
{
    if (p == NULL || p->region == NULL)
        return;
    for (uint32_t i = 0; i < 2; i++)
        (void)gmk_bridge_down(p->end[i], keep);
    for (uint32_t i = 0; i < 2; i++)
        point_at(p->end[i], NULL);
    gmk_hal_page_free(p->region, p->bytes);
    *p = (gmk_bridge_pair_t){0};
}
