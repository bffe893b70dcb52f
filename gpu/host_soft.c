/* SPDX-License-Identifier: MIT */
/*
 * host_soft.c — the software device: GGMK/gpu, the same sources, run by threads of this process.
 */
#include "host.h"
#include "device.h"

#include <ggmk/hal.h>

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct {
    gmk_device_launch_t launch;
    gmk_hal_thread_t thread;
    int code;  /* what the run ended with; read after the thread was joined */
    int ended; /* eventfd */
} soft = {.ended = -1};

static const char *name(void) { return "software device"; }
static int wake_fd(void) { return soft.ended; }

static int open_soft(host_t *h)
{
    soft.ended = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (soft.ended < 0)
        return host_fail(h, GMK_HOST_EXIT_TROUBLE, "the software device: eventfd: %s", strerror(errno));
    return 0;
}

static void run(void *arg)
{
    uint64_t one = 1;

    (void)arg;
    soft.code = gmk_device_run(&soft.launch);
    while (write(soft.ended, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

static int launch(host_t *h)
{
    soft.launch = (gmk_device_launch_t){.region = h->region,
                                        .region_bytes = h->region_bytes,
                                        .arena_bytes = h->opt.arena_bytes,
                                        .mods = gmk_image_modules,
                                        .n_mods = gmk_image_n_modules,
                                        .max_workers = h->opt.workers};
    int code = gmk_hal_thread_create(&soft.thread, "gpu", UINT32_MAX, run, NULL);
    if (code != GMK_OK)
        return host_fail(h, GMK_HOST_EXIT_TROUBLE, "the software device: no thread: %s", gmk_strerror(code));
    return 0;
}

static enum host_life look(host_t *h)
{
    uint64_t n;

    if (read(soft.ended, &n, sizeof(n)) != sizeof(n))
        return HOST_RUNS;
    gmk_hal_thread_join(&soft.thread);
    h->code = soft.code;
    return HOST_ENDED;
}

const host_device_t host_soft = {.kind = GMK_GPU_SOFT,
                                 .look_ms = -1,
                                 .open = open_soft,
                                 .name = name,
                                 .launch = launch,
                                 .wake_fd = wake_fd,
                                 .look = look};
