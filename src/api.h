/* SPDX-License-Identifier: MIT */
/* api.h — what the files that implement public calls share. */
#ifndef GMK_API_H
#define GMK_API_H

#include "worker.h"

static inline bool gmk_ctx_ok(const gmk_ctx_t *c)
{
    return GMK_LIKELY(c != NULL && c->front != NULL && c->kernel != NULL &&
                      gmk_load64(gmk_kernel_magic(c->kernel), GMK_RLX, GMK_KERNEL) == GMK_KERNEL_MAGIC);
}

/* The lane that runs this handler; NULL for a port. */
static inline gmk_lane_t *gmk_ctx_lane(gmk_ctx_t *c)
{
    return c->front->worker != NULL ? (gmk_lane_t *)c : NULL;
}

/* Ranges, tenant and payload of a task somebody hands in. */
int gmk_check_task(gmk_core_t *k, const gmk_task_t *t);
/* Counts a refused call. */
int gmk_refuse(gmk_front_t *f, int rc);

#endif
