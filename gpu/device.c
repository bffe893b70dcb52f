/* SPDX-License-Identifier: MIT */
#include "device.h"

#include "../bridge/region.h"

#include <ggmk/hal.h>

#define MAX_BOOTED 128u      /* modules, as many as a kernel takes */
#define LOOK_NS 10000000u    /* between two looks whether a kernel that is not ready is asked to stop */
#define FLUSH_NS 1000000000u /* what was emitted before a stop has so long to reach the peer */
/* A ring for each type and priority: many small ones.  What finds one full spills, and is not lost. */
#define RQ_SLOTS (gmk_hal_rq_per_type() ? 256u : 0u)
#define READY_NS UINT64_C(60000000000)

/* ---- the arguments ------------------------------------------------------------------------- */

/* The value of a word NAME=VALUE, NULL when there is none; *n is its length. */
static const char *arg(const char *args, const char *name, uint32_t *n)
{
    while (*args != '\0') {
        uint32_t i = 0;
        while (*args == ' ')
            args++;
        while (name[i] != '\0' && args[i] == name[i])
            i++;
        bool found = name[i] == '\0' && args[i] == '=';
        const char *value = args + i + 1;
        while (*args != '\0' && *args != ' ')
            args++;
        if (found) {
            *n = (uint32_t)(args - value);
            return value;
        }
    }
    return NULL;
}

/* A decimal number, or what stands in for it when there is none, or it is malformed. */
static uint64_t arg_number(const char *args, const char *name, uint64_t otherwise)
{
    uint32_t n = 0;
    uint64_t v = 0;
    const char *text = arg(args, name, &n);
    if (text == NULL || n == 0 || n > 18)
        return otherwise;
    for (uint32_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return otherwise;
        v = v * 10 + (uint64_t)(text[i] - '0');
    }
    return v;
}

/* Is name one of a list A,B,C of n bytes? */
static bool listed(const char *list, uint32_t n, const char *name)
{
    for (uint32_t at = 0; at < n;) {
        uint32_t i = 0;
        while (at + i < n && list[at + i] != ',' && name[i] == list[at + i])
            i++;
        if (name[i] == '\0' && (at + i == n || list[at + i] == ','))
            return true;
        while (at < n && list[at] != ',')
            at++;
        at++;
    }
    return false;
}

static uint32_t choose(const gmk_device_launch_t *l, const char *args, gmk_module_t **mods)
{
    uint32_t n = 0, bytes = 0;
    const char *list = arg(args, "modules", &bytes);
    for (uint32_t i = 0; i < l->n_mods && n < MAX_BOOTED; i++)
        if (list == NULL || listed(list, bytes, l->mods[i]->name))
            mods[n++] = l->mods[i];
    return n;
}

static uint32_t workers(const gmk_device_launch_t *l, const char *args)
{
    uint32_t most = l->max_workers != 0 ? l->max_workers : gmk_hal_cpu_count();
    uint64_t asked = arg_number(args, "workers", most);
    most = most < GMK_MAX_WORKERS ? most : GMK_MAX_WORKERS;
    return asked == 0 || asked > most ? most : (uint32_t)asked;
}

/* ---- what the peer is told before there is a bridge ----------------------------------------- */

static int report(const gmk_region_view_t *v, int code, const char *what)
{
    uint64_t words[GMK_REGION_TEXT_WORDS] = {0};
    char *text = (char *)words;
    for (uint32_t i = 0; what[i] != '\0' && i < GMK_BRIDGE_TEXT - 1; i++)
        text[i] = what[i];
    for (uint32_t i = 0; i < GMK_REGION_TEXT_WORDS; i++)
        gmk_store64(&v->mine->text[i], words[i], GMK_RLX, GMK_SYSTEM);
    gmk_store64(&v->mine->state, (uint64_t)(uint32_t)code << 32 | GMK_BRIDGE_FAILED, GMK_REL, GMK_SYSTEM);
    return code;
}

/* ---- the life ------------------------------------------------------------------------------ */

/* A peer that asks for the end meanwhile is obeyed at once. */
static int wait_ready(gmk_bridge_t *b)
{
    int rc = GMK_ERR_TIMEOUT;
    for (uint64_t start = gmk_hal_now_ns(); rc == GMK_ERR_TIMEOUT && gmk_hal_now_ns() - start < READY_NS;) {
        if (gmk_bridge_wait_asked(b, 0) == GMK_OK)
            return GMK_OK;
        rc = gmk_bridge_wait_ready(b, LOOK_NS);
    }
    return rc;
}

/* Until the peer asks for the end, or there is no peer any more: one that has ended in order wants nothing. */
static int serve(gmk_bridge_t *b)
{
    int rc;
    do
        rc = gmk_bridge_wait_asked(b, READY_NS);
    while (rc == GMK_ERR_TIMEOUT);
    return rc == GMK_ERR_STATE ? GMK_OK : rc;
}

static int with_bridge(gmk_kernel_t *k, const gmk_device_launch_t *l, const gmk_region_view_t *v,
                       const char *args)
{
    gmk_bridge_cfg_t cfg = {.beat_ns = arg_number(args, "beat_us", 0) * 1000,
                            .batch = (uint32_t)arg_number(args, "batch", 0),
                            .copy_out = l->copy_out,
                            .copy_in = l->copy_in};
    gmk_bridge_t *b = NULL;
    int rc = gmk_bridge_create(k, &cfg, &b);
    if (rc == GMK_OK)
        rc = gmk_bridge_up(b, l->region, l->region_bytes, v->side);
    if (rc < 0) {
        gmk_bridge_destroy(b);
        return report(v, rc, "the kernel's end of the bridge cannot be made");
    }
    rc = wait_ready(b);
    if (rc == GMK_OK)
        rc = serve(b);
    if (rc == GMK_OK) {
        (void)gmk_drain(k, FLUSH_NS);
        (void)gmk_bridge_flush(b, FLUSH_NS);
    }
    gmk_bridge_destroy(b);
    return rc;
}

static int boot_and_serve(gmk_kernel_t *k, const gmk_device_launch_t *l, const gmk_region_view_t *v)
{
    gmk_module_t *mods[MAX_BOOTED];
    char args[GMK_REGION_ARGS_MAX + 1];
    gmk_hal_memcpy(args, v->args, sizeof args);
    args[GMK_REGION_ARGS_MAX] = '\0';
    gmk_boot_cfg_t cfg = {.arena_size = l->arena_bytes,
                          .n_workers = workers(l, args),
                          .flags = GMK_BOOT_NO_WATCHDOG | l->boot_flags,
                          .name = v->name[1],
                          .trace_level = (uint32_t)arg_number(args, "trace", 0),
                          .n_types = (uint32_t)arg_number(args, "types", 0),
                          .rq_slots = (uint32_t)arg_number(args, "rq_slots", RQ_SLOTS),
                          .args = args};
    int rc = gmk_boot(k, &cfg, mods, choose(l, args, mods));
    if (rc < 0)
        return report(v, rc, "the kernel cannot boot: see its console");
    rc = with_bridge(k, l, v, args);
    int halted = gmk_halt(k);
    return rc != GMK_OK ? rc : halted;
}

/* The kernel's structure is not on the stack: on a GPU nobody else can see what is there. */
int gmk_device_run(const gmk_device_launch_t *l)
{
    gmk_region_view_t v;
    const char *why;
    int rc = gmk_region_view(&v, l->region, l->region_bytes, 1, &why);
    if (rc < 0) {
        gmk_hal_console(why);
        return rc;
    }
    gmk_kernel_t *k = gmk_hal_page_alloc(sizeof *k);
    if (k == NULL)
        return report(&v, GMK_ALLOC_FAIL, "no memory for the kernel");
    rc = boot_and_serve(k, l, &v);
    if (rc != GMK_ERR_BUSY) /* a handler that has not returned may still look at it */
        gmk_hal_page_free(k, sizeof *k);
    return rc;
}
