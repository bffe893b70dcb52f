/* SPDX-License-Identifier: MIT */
/*
 * host_soft.c — the software device: GGMK/gpu, the same sources, run by threads of this process.
 *
 * The program's own thread is its copy engine.
 */
#include "host.h"
#include "device.h"
#include "entry.h"

#include <ggmk/copier.h>
#include <ggmk/hal.h>

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

typedef struct engine {
    gmk_copy_ring_t ring;
    gmk_copy_done_t done;
    gmk_copier_t reach;
    uint64_t served;
} engine_t;

static struct {
    gmk_device_launch_t launch;
    gmk_hal_thread_t thread;
    int code; /* what the run ended with; read after the thread was joined */
    int wake; /* eventfd: there is an order, or the end */
    atomic_bool ended;
    engine_t engine[GMK_GPU_COPIES];
} soft = {.wake = -1};

static const char *name(void) { return "software device"; }
static int wake_fd(void) { return soft.wake; }
static int64_t rest_ns(void) { return -1; }

static int open_soft(host_t *h)
{
    soft.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (soft.wake < 0)
        return host_fail(h, GMK_HOST_EXIT_TROUBLE, "the software device: eventfd: %s", strerror(errno));
    return 0;
}

static void wake(void *arg)
{
    uint64_t one = 1;

    (void)arg;
    while (write(soft.wake, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

static void run(void *arg)
{
    (void)arg;
    soft.code = gmk_device_run(&soft.launch);
    atomic_store(&soft.ended, true);
    wake(NULL);
}

static gmk_copier_t lend(engine_t *e)
{
    e->reach = (gmk_copier_t){.ring = &e->ring, .done = &e->done, .wake = wake};
    return e->reach;
}

static int launch(host_t *h)
{
    soft.launch = (gmk_device_launch_t){.region = h->region,
                                        .region_bytes = h->region_bytes,
                                        .arena_bytes = h->opt.arena_bytes,
                                        .mods = gmk_image_modules,
                                        .n_mods = gmk_image_n_modules,
                                        .max_workers = h->opt.workers,
                                        .copy_out = lend(&soft.engine[GMK_GPU_COPY_OUT]),
                                        .copy_in = lend(&soft.engine[GMK_GPU_COPY_IN])};
    int code = gmk_hal_thread_create(&soft.thread, "gpu", UINT32_MAX, run, NULL);
    if (code != GMK_OK)
        return host_fail(h, GMK_HOST_EXIT_TROUBLE, "the software device: no thread: %s", gmk_strerror(code));
    return 0;
}

/*
 * One copy; false: there was none to do.  The kernel is of this process: its addresses are ours, and good.
 */
static bool serve(engine_t *e)
{
    gmk_copy_t c;

    if (!gmk_copier_next(&e->reach, e->served, &c))
        return false;
    memcpy((void *)(uintptr_t)c.to, (const void *)(uintptr_t)c.from, c.bytes);
    gmk_copier_did(&e->reach, ++e->served);
    return true;
}

static enum host_life look(host_t *h)
{
    uint64_t n;

    if (read(soft.wake, &n, sizeof(n)) != sizeof(n))
        return HOST_RUNS;
    bool out = serve(&soft.engine[GMK_GPU_COPY_OUT]), in = serve(&soft.engine[GMK_GPU_COPY_IN]);
    if (out || in)
        wake(NULL); /* there may be more, but the parent has its turn */
    if (!atomic_load(&soft.ended))
        return HOST_RUNS;
    gmk_hal_thread_join(&soft.thread);
    h->code = soft.code;
    return HOST_ENDED;
}

const host_device_t host_soft = {.kind = GMK_GPU_SOFT,
                                 .rest_ns = rest_ns,
                                 .open = open_soft,
                                 .name = name,
                                 .launch = launch,
                                 .wake_fd = wake_fd,
                                 .look = look};
