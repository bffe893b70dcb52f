/* SPDX-License-Identifier: MIT */
/*
 * host.c — ggmk-gpuhost: the process that owns the GPU, so that no fault of a driver reaches anybody else.
 *
 * gpu_drv starts it and hands it a bridge region.  It brings up a device, the GPU or the software device,
 * starts GGMK/gpu on it with that region, and watches: the device for its end or a fault, the socket for the
 * end of its parent.  What the kernels say to each other is none of its business.
 */
#include "host.h"

#include <ggmk/hal.h>

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int host_fail(host_t *h, int status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(h->why, sizeof(h->why), format, args);
    va_end(args);
    h->status = status;
    return -1;
}

void host_say(const char *format, ...)
{
    char line[512] = "ggmk-gpuhost: ";
    size_t at = strlen(line);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line + at, sizeof(line) - at, format, args);
    va_end(args);
    gmk_hal_console(line);
}

/* AUTO: the GPU where there is one that works, else the software device. */
static int open_device(host_t *h)
{
    h->device = h->opt.device == GMK_GPU_SOFT ? &host_soft : &host_cuda;
    if (h->device->open(h) == 0)
        return 0;
    if (h->opt.device != GMK_GPU_AUTO)
        return -1;
    host_say("no GPU, the software device takes its place: %s", h->why);
    h->device = &host_soft;
    return h->device->open(h);
}

static int say_device(host_t *h)
{
    host_report(h, GMK_HOST_DEVICE, GMK_OK, h->device->name());
    return 0;
}

static int launch(host_t *h)
{
    if (h->device->launch(h) != 0)
        return -1;
    h->launched = true;
    return 0;
}

static int watch(host_t *h)
{
    struct pollfd wait[2] = {{.fd = h->opt.fd, .events = POLLIN},
                             {.fd = h->device->wake_fd(), .events = POLLIN}};
    enum host_life life;

    do {
        int64_t ns = h->device->rest_ns();
        struct timespec rest = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
        if (ppoll(wait, 2, ns < 0 ? NULL : &rest, NULL) < 0 && errno != EINTR)
            return host_fail(h, GMK_HOST_EXIT_TROUBLE, "ppoll: %s", strerror(errno));
        if (wait[0].revents)
            host_check_parent(h);
        life = h->device->look(h);
    } while (life == HOST_RUNS);
    return life == HOST_ENDED ? 0 : -1;
}

static int say_end(host_t *h)
{
    host_report(h, GMK_HOST_STOPPED, h->code, gmk_strerror(h->code));
    h->status = h->code == GMK_OK ? GMK_HOST_EXIT_OK : GMK_HOST_EXIT_TROUBLE;
    return 0;
}

static int (*const life[])(host_t *) = {
    host_tie,        /* to the parent: no host outlives it */
    host_greet,      /* the region's descriptor */
    host_map_region, /* checked before anything is done with it */
    open_device,     /* all that may be refused without a trace */
    say_device,      /* which one it is */
    launch,          /* the kernel runs */
    watch,           /* until it ends */
    say_end,         /* with what */
};

/*
 * The process ends without the driver's own end of it: beside a kernel that hangs, that might never come.
 */
int main(int argc, char **argv)
{
    host_t h = {.memfd = -1};

    host_options(&h.opt, argc, argv);
    if (h.opt.probe)
        return host_probe(&h.opt);
    for (size_t i = 0; i < sizeof(life) / sizeof(life[0]); i++)
        if (life[i](&h) != 0) {
            host_say("%s", h.why);
            host_report(&h, h.launched ? GMK_HOST_FAULT : GMK_HOST_FAILED, GMK_ERR_INVAL, h.why);
            break;
        }
    _exit(h.status);
}
