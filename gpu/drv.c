/* SPDX-License-Identifier: MIT */
/* drv.c — the module gpu_drv: its configuration, its begin and its end, and the calls on it. */
#include "drv.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core.h"
#include "registry.h"

void gmk_drv_nudge(const gmk_gpu_t *g)
{
    uint64_t one = 1;
    (void)!write(g->event, &one,
                 sizeof one); /* it fails only when the count is full: then it is nudged already */
}

/* ---- configuration ------------------------------------------------------------------------- */

#define OR(field, value) c->field = c->field != 0 ? c->field : (value)

static void defaults(gmk_gpu_cfg_t *c)
{
    OR(arena_size, UINT64_C(64) << 20);
    OR(beat_ns, 100000000u);
    OR(budget_ns, 1000000000u);
    OR(start_timeout_ns, UINT64_C(30000000000));
    OR(max_resets, 3);
    if (c->max_resets == UINT32_MAX)
        c->max_resets = 0;
    OR(bridge.beat_ns, c->beat_ns);
    c->bridge.flags |= GMK_BRIDGE_OF_MODULE;
}

static char *copy_of(const char *text) { return text == NULL ? NULL : strdup(text); }

static bool copy_texts(gmk_gpu_cfg_t *c, const gmk_gpu_cfg_t *from)
{
    c->host = copy_of(from->host);
    c->image = copy_of(from->image);
    c->args = copy_of(from->args);
    c->name = copy_of(from->name != NULL ? from->name : "gpu.0");
    return c->name != NULL && (c->host != NULL) == (from->host != NULL) &&
           (c->image != NULL) == (from->image != NULL) && (c->args != NULL) == (from->args != NULL);
}

/* Ranges that nobody else looks at; the others are the region's and the bridge's. */
static int check(gmk_gpu_t *g)
{
    const gmk_gpu_cfg_t *c = &g->cfg;
    const struct {
        const char *field;
        uint64_t value, low, high;
    } range[] = {
        {"device", c->device, GMK_GPU_AUTO, GMK_GPU_SOFT},
        {"workers", c->workers, 0, GMK_MAX_WORKERS},
        {"beat_ns", c->beat_ns, 1000, UINT64_C(60000000000)},
        {"budget_ns", c->budget_ns, 1, UINT64_C(3600000000000)},
        {"start_timeout_ns", c->start_timeout_ns, 1, UINT64_C(3600000000000)},
    };
    for (uint32_t i = 0; i < sizeof range / sizeof range[0]; i++)
        if (range[i].value < range[i].low || range[i].value > range[i].high) {
            char text[GMK_DRV_TEXT];
            gmk_drv_text(text, sizeof text, "%s is %llu, it must be %llu .. %llu", range[i].field,
                         (unsigned long long)range[i].value, (unsigned long long)range[i].low,
                         (unsigned long long)range[i].high);
            return gmk_drv_refuse(g, text, GMK_ERR_RANGE);
        }
    return GMK_OK;
}

/* ---- begin and end ------------------------------------------------------------------------- */

static int refuse(gmk_gpu_t *g, const char *what, int rc)
{
    char text[GMK_DRV_TEXT];
    gmk_drv_text(text, sizeof text, "%s: %s", what, gmk_strerror(rc));
    return gmk_drv_refuse(g, text, rc);
}

static void reset_state(gmk_gpu_t *g, gmk_kernel_t *kernel)
{
    gmk_hal_lock_acquire(&g->lock);
    g->kernel = kernel;
    g->bridge = NULL;
    g->host = GMK_DRV_NO_HOST;
    g->in_a_row = 0;
    g->stop = false;
    g->state = GMK_GPU_STARTING;
    g->device = GMK_GPU_AUTO;
    g->epoch = g->resets = 0;
    g->pid = 0;
    g->device_name[0] = g->last_reset[0] = g->asked[0] = '\0';
    gmk_hal_lock_release(&g->lock);
}

/* A kernel without room for these metrics works, too. */
static void register_metrics(gmk_gpu_t *g)
{
    g->metric_up = g->metric_resets = UINT32_MAX;
    (void)gmk_metric_register(g->kernel, "gpu_up", GMK_GAUGE, &g->metric_up);
    (void)gmk_metric_register(g->kernel, "gpu_resets", GMK_GAUGE, &g->metric_resets);
}

static int start_thread(gmk_gpu_t *g)
{
    gmk_hal_park_init(&g->started);
    int rc = gmk_hal_thread_create(&g->thread, "gmk.gpu_drv", UINT32_MAX, gmk_drv_main, g);
    if (rc < 0) {
        gmk_hal_park_destroy(&g->started);
        return refuse(g, "no thread for its watch", rc);
    }
    (void)gmk_hal_park_wait(&g->started, GMK_HAL_FOREVER);
    gmk_hal_park_destroy(&g->started);
    rc = g->start_code;
    if (rc < 0)
        gmk_hal_thread_join(&g->thread);
    return rc;
}

static int drv_init(gmk_ctx_t *ctx);

static gmk_gpu_t *gpu_of(const gmk_module_t *m) { return m != NULL && m->init == drv_init ? m->data : NULL; }

/* A kernel has one module of this name at most; the registry hands it to neither init nor fini. */
static gmk_gpu_t *gpu_in(gmk_kernel_t *kernel)
{
    gmk_core_t *k = kernel->core;
    gmk_gpu_t *g = NULL;
    gmk_hal_lock_acquire(&k->control);
    for (uint32_t i = 0; i < k->registry->n && g == NULL; i++)
        if (k->registry->mods[i].state != GMK_MODULE_NONE)
            g = gpu_of(k->registry->mods[i].module);
    gmk_hal_lock_release(&k->control);
    return g;
}

static int bridge_init(gmk_gpu_t *g)
{
    int rc = gmk_bridge_create(g->kernel, &g->cfg.bridge, &g->bridge);
    return rc < 0 ? refuse(g, "the bridge cannot be made", rc) : GMK_OK;
}

static int event_init(gmk_gpu_t *g)
{
    g->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return g->event < 0 ? refuse(g, "no descriptor for its thread", GMK_ERR_LIMIT) : GMK_OK;
}

static int start(gmk_gpu_t *g)
{
    int rc = check(g);
    if (rc < 0 || (rc = event_init(g)) < 0)
        return rc;
    if ((rc = bridge_init(g)) < 0)
        goto fail_event;
    if ((rc = start_thread(g)) < 0)
        goto fail_bridge;
    return GMK_OK;

fail_bridge:
    gmk_bridge_destroy(g->bridge);
fail_event:
    (void)close(g->event);
    return rc;
}

static int drv_init(gmk_ctx_t *ctx)
{
    gmk_gpu_t *g = gpu_in(ctx->kernel);
    reset_state(g, ctx->kernel);
    register_metrics(g);
    int rc = start(g);
    gmk_hal_lock_acquire(&g->lock);
    g->booted = rc == GMK_OK;
    if (rc < 0) {
        g->state = GMK_GPU_DOWN;
        g->pid = 0;
    }
    gmk_hal_lock_release(&g->lock);
    return rc;
}

static void drv_fini(gmk_ctx_t *ctx)
{
    gmk_gpu_t *g = gpu_in(ctx->kernel);
    gmk_hal_lock_acquire(&g->lock);
    g->booted = false; /* nobody asks the bridge any more */
    g->stop = true;
    gmk_hal_lock_release(&g->lock);
    gmk_drv_nudge(g);
    gmk_hal_thread_join(&g->thread);
    gmk_bridge_destroy(g->bridge);
    (void)close(g->event);
    gmk_hal_lock_acquire(&g->lock);
    g->state = GMK_GPU_DOWN;
    g->pid = 0;
    gmk_hal_lock_release(&g->lock);
}

/* ---- the public calls ---------------------------------------------------------------------- */

gmk_module_t *gmk_gpu_drv(const gmk_gpu_cfg_t *cfg)
{
    const gmk_gpu_cfg_t none = {0};
    gmk_gpu_t *g = calloc(1, sizeof *g);
    if (g == NULL)
        return NULL;
    gmk_hal_lock_init(&g->lock);
    g->module = (gmk_module_t){
        .name = "gpu_drv", .version = 1, .init = drv_init, .fini = drv_fini, .data = g};
    g->cfg = cfg != NULL ? *cfg : none;
    bool copied = copy_texts(&g->cfg, cfg != NULL ? cfg : &none);
    defaults(&g->cfg);
    if (copied)
        return &g->module;
    gmk_gpu_free(&g->module);
    return NULL;
}

static void free_text(const char *text) { free((void *)(uintptr_t)text); }

void gmk_gpu_free(gmk_module_t *m)
{
    gmk_gpu_t *g = gpu_of(m);
    if (g == NULL)
        return;
    gmk_hal_lock_destroy(&g->lock);
    free_text(g->cfg.host);
    free_text(g->cfg.image);
    free_text(g->cfg.args);
    free_text(g->cfg.name);
    free(g);
}

int gmk_gpu_status(gmk_module_t *m, gmk_gpu_status_t *out)
{
    gmk_gpu_t *g = gpu_of(m);
    if (g == NULL || out == NULL)
        return GMK_ERR_INVAL;
    *out = (gmk_gpu_status_t){0};
    gmk_hal_lock_acquire(&g->lock);
    out->state = g->state;
    out->device = g->device;
    out->pid = g->pid;
    out->epoch = g->epoch;
    out->resets = g->resets;
    gmk_hal_memcpy(out->device_name, g->device_name, sizeof out->device_name);
    gmk_hal_memcpy(out->last_reset, g->last_reset, sizeof out->last_reset);
    int rc = g->booted ? gmk_bridge_stats(g->bridge, &out->bridge) : GMK_ERR_STATE;
    gmk_hal_lock_release(&g->lock);
    return rc;
}

int gmk_gpu_reset(gmk_module_t *m, const char *why)
{
    gmk_gpu_t *g = gpu_of(m);
    if (g == NULL)
        return GMK_ERR_INVAL;
    gmk_hal_lock_acquire(&g->lock);
    int rc = g->booted && g->state != GMK_GPU_GONE ? GMK_OK : GMK_ERR_STATE;
    if (rc == GMK_OK && g->state == GMK_GPU_UP) { /* else it is being reset just now */
        gmk_drv_text(g->asked, sizeof g->asked, "%s", why != NULL && why[0] != '\0' ? why : "asked for");
        gmk_drv_nudge(g);
    }
    gmk_hal_lock_release(&g->lock);
    return rc;
}
