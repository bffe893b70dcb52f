/* SPDX-License-Identifier: MIT */
/* api_misc.c — the public calls for memory, modules, traces and metrics. */
#include "api.h"
#include "boot.h"

/* ---- memory ------------------------------------------------------------------------------- */

static void *counted(gmk_front_t *f, void *p, size_t size)
{
    if (GMK_UNLIKELY(p == NULL) && gmk_load32(&f->core->trace_mask, GMK_RLX, GMK_KERNEL) >= GMK_TRACE_WARN)
        gmk_trace_now(f, GMK_EV_ALLOC_FAIL, 0, size > UINT32_MAX ? UINT32_MAX : (uint32_t)size, 0);
    return p;
}

void *gmk_alloc(gmk_ctx_t *c, size_t size)
{
    if (GMK_UNLIKELY(!gmk_ctx_ok(c)))
        return NULL;
    gmk_front_t *f = c->front;
    gmk_enter(f);
    void *p = counted(f, gmk_heap_alloc(&f->core->heap, &f->heap, size), size);
    gmk_leave(f);
    return p;
}

void gmk_free(gmk_ctx_t *c, void *p)
{
    if (GMK_UNLIKELY(!gmk_ctx_ok(c)))
        return;
    gmk_front_t *f = c->front;
    gmk_enter(f);
    (void)gmk_heap_free(&f->core->heap, &f->heap, p);
    gmk_leave(f);
}

void *gmk_bump(gmk_ctx_t *c, size_t size)
{
    gmk_lane_t *l = gmk_ctx_ok(c) ? gmk_ctx_lane(c) : NULL;
    return l == NULL ? NULL : counted(c->front, gmk_bump_alloc(&gmk_lane_worker(l)->bump, size), size);
}

void gmk_bump_reset(gmk_ctx_t *c)
{
    gmk_lane_t *l = gmk_ctx_ok(c) ? gmk_ctx_lane(c) : NULL;
    if (l != NULL && gmk_hal_lanes() == 1) /* with more lanes others still use theirs */
        gmk_bump_clear(&gmk_lane_worker(l)->bump);
}

void *gmk_payload_alloc(gmk_ctx_t *c, size_t size)
{
    if (GMK_UNLIKELY(!gmk_ctx_ok(c)))
        return NULL;
    gmk_front_t *f = c->front;
    gmk_enter(f);
    void *p = counted(f, gmk_payload_new(&f->core->heap, &f->heap, size), size);
    gmk_leave(f);
    return p;
}

int gmk_payload_retain(gmk_ctx_t *c, void *payload)
{
    if (!gmk_ctx_ok(c) || payload == NULL)
        return GMK_ERR_INVAL;
    gmk_enter(c->front);
    int rc = gmk_payload_add(&c->front->core->heap, payload, 1);
    gmk_leave(c->front);
    return rc < 0 ? gmk_refuse(c->front, rc) : GMK_OK;
}

int gmk_payload_release(gmk_ctx_t *c, void *payload)
{
    if (!gmk_ctx_ok(c) || payload == NULL)
        return GMK_ERR_INVAL;
    gmk_enter(c->front);
    int rc = gmk_payload_drop(&c->front->core->heap, &c->front->heap, payload);
    gmk_leave(c->front);
    return rc < 0 ? gmk_refuse(c->front, rc) : GMK_OK;
}

/* ---- modules ------------------------------------------------------------------------------ */

/* A port keeps the kernel from being halted: so these two need no other protection. */
int gmk_module_load(gmk_kernel_t *kernel, gmk_module_t *m)
{
    gmk_port_t port;
    if (m == NULL)
        return GMK_ERR_INVAL;
    if (GMK_HAL_CLOSED_IMAGE)
        return GMK_ERR_UNSUPPORTED;
    int rc = gmk_attach(kernel, &port);
    if (rc < 0)
        return rc;
    gmk_enter(port.front);
    rc = gmk_registry_load(port.front, m);
    gmk_leave(port.front);
    gmk_detach(&port);
    return rc;
}

int gmk_module_unload(gmk_kernel_t *kernel, const char *name)
{
    gmk_port_t port;
    uint32_t index = 0;
    if (name == NULL)
        return GMK_ERR_INVAL;
    int rc = gmk_attach(kernel, &port);
    if (rc < 0)
        return rc;
    gmk_front_t *f = port.front;
    gmk_enter(f);
    rc = gmk_registry_retire(f, name, &index);
    uint64_t start = gmk_hal_now_ns();
    bool over = rc == GMK_OK && gmk_registry_finish(f, index);
    for (uint32_t round = 0; rc == GMK_OK && !over; round++) {
        if (gmk_hal_now_ns() - start > f->core->halt_timeout_ns)
            rc = GMK_ERR_TIMEOUT;
        else
            (void)gmk_hal_park_wait(&f->park, round < 8 ? 20000u << round : 5000000u);
        over = rc == GMK_OK && gmk_registry_finish(f, index);
    }
    gmk_leave(f);
    gmk_detach(&port);
    return rc;
}

static int type_reset(gmk_core_t *k, uint32_t type)
{
    if (type >= k->n_types)
        return GMK_ERR_RANGE;
    gmk_hal_lock_acquire(&k->control);
    gmk_type_t *ty = &k->types[type];
    bool there = gmk_load32(&ty->taken, GMK_ACQ, GMK_KERNEL) != 0;
    for (uint32_t i = 0; there && i < k->poison_failures; i++)
        gmk_store64(&ty->fail_at[i], 0, GMK_RLX, GMK_KERNEL);
    if (there)
        (void)gmk_and32(&ty->special, ~(uint32_t)GMK_TYPE_POISONED, GMK_ACQ_REL, GMK_KERNEL);
    gmk_hal_lock_release(&k->control);
    return there ? GMK_OK : GMK_ERR_NOTFOUND;
}

int gmk_type_reset(gmk_kernel_t *kernel, uint32_t type)
{
    gmk_core_t *k = gmk_outside_begin(kernel);
    if (k == NULL)
        return GMK_ERR_INVAL;
    int rc = type_reset(k, type);
    gmk_outside_end(kernel);
    return rc;
}

/* ---- traces ------------------------------------------------------------------------------- */

int gmk_trace_level(gmk_kernel_t *kernel, const char *module, int level)
{
    gmk_core_t *k = gmk_outside_begin(kernel);
    if (k == NULL)
        return GMK_ERR_INVAL;
    int rc = level < GMK_TRACE_OFF || level > GMK_TRACE_ALL
               ? GMK_ERR_RANGE
               : gmk_registry_trace_level(k, module, (uint32_t)level);
    gmk_outside_end(kernel);
    return rc;
}

int gmk_trace_sample(gmk_kernel_t *kernel, uint32_t one_in)
{
    gmk_core_t *k = gmk_outside_begin(kernel);
    if (k == NULL)
        return GMK_ERR_INVAL;
    if (one_in != 0)
        gmk_store32(&k->trace_one_in, one_in, GMK_RLX, GMK_KERNEL);
    gmk_outside_end(kernel);
    return one_in != 0 ? GMK_OK : GMK_ERR_RANGE;
}

void gmk_trace(gmk_ctx_t *c, uint32_t ev, uint32_t a0, uint32_t a1)
{
    if (!gmk_ctx_ok(c) || ev < GMK_EV_USER || ev > 0xffff)
        return;
    gmk_core_t *k = c->front->core;
    if (gmk_load32(&k->types[c->task->type].level, GMK_RLX, GMK_KERNEL) >= GMK_TRACE_INFO ||
        (c->task->flags & GMK_TASK_EMIT_TRACE) != 0 ||
        (c->task->type == 0 && gmk_load32(&k->trace_mask, GMK_RLX, GMK_KERNEL) >= GMK_TRACE_INFO))
        gmk_trace_now(c->front, ev, c->task->type, a0, a1);
}

/* ---- metrics ------------------------------------------------------------------------------ */

int gmk_metric_register(gmk_kernel_t *kernel, const char *name, int kind, uint32_t *id)
{
    gmk_core_t *k = gmk_outside_begin(kernel);
    if (k == NULL)
        return GMK_ERR_INVAL;
    int rc = gmk_umetrics_register(&k->umetrics, name, kind, id);
    gmk_outside_end(kernel);
    return rc;
}

void gmk_metric_inc(gmk_ctx_t *c, uint32_t id, uint32_t delta)
{
    if (gmk_ctx_ok(c))
        gmk_umetrics_inc(&c->front->core->umetrics, c->front->index, id, delta);
}

void gmk_metric_set(gmk_ctx_t *c, uint32_t id, int64_t value)
{
    if (gmk_ctx_ok(c))
        gmk_umetrics_set(&c->front->core->umetrics, id, value);
}

void gmk_metric_observe(gmk_ctx_t *c, uint32_t id, uint64_t value)
{
    if (gmk_ctx_ok(c))
        gmk_umetrics_observe(&c->front->core->umetrics, c->front->index, id, value);
}

int gmk_metric_read(gmk_kernel_t *kernel, uint32_t id, uint64_t *value)
{
    uint64_t v = 0;
    gmk_core_t *k = value == NULL ? NULL : gmk_outside_begin(kernel);
    if (k == NULL)
        return GMK_ERR_INVAL;
    int rc = gmk_umetrics_read(&k->umetrics, id, &v);
    gmk_outside_end(kernel);
    if (rc == GMK_OK)
        *value = v;
    return rc;
}
