/* SPDX-License-Identifier: MIT */
/* host_probe.c — ggmk-gpuhost --probe: which devices there are, and whether a kernel would run on each. */
#include "host_cuda.h"

#include <ggmk/hal.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MIB ((size_t)1 << 20)

/* Tried as a start would try it, up to the image in the GPU's memory. */
static bool probe_gpu(host_t *h, uint32_t ordinal)
{
    gpu_t g;

    if (gpu_find(h, ordinal, &g) != 0) {
        printf("GPU %u: not usable: %s\n", ordinal, h->why);
        return false;
    }
    printf("GPU %u: %s, compute capability %d.%d, %d multiprocessors, %zu MiB: ", ordinal, g.name, g.major,
           g.minor, g.multiprocessors, g.bytes / MIB);
    fflush(stdout); /* what the driver says of the image goes to standard error */
    if (gpu_check(h, &g) != 0 || gpu_open(h, &g) != 0) {
        printf("not usable: %s\n", h->why);
        return false;
    }
    printf("usable\n");
    gpu_close();
    return true;
}

int host_probe(const host_options_t *o)
{
    host_t h = {.opt = *o, .memfd = -1};
    int version = 0, n = 0;
    bool usable = false;

    printf("software device: usable, %u CPUs\n", gmk_hal_cpu_count());
    if (gpu_driver(&h, &version) != 0 || gpu_count(&h, &n) != 0) {
        printf("CUDA: not usable: %s\n", h.why);
    } else {
        printf("CUDA: driver %d.%d, %d %s\n", version / 1000, version % 1000 / 10, n,
               n == 1 ? "GPU" : "GPUs");
        for (int i = 0; i < n; i++)
            usable |= probe_gpu(&h, (uint32_t)i);
    }
    if (fflush(stdout) != 0) {
        host_say("standard output: %s", strerror(errno));
        return GMK_HOST_EXIT_TROUBLE;
    }
    return usable ? GMK_HOST_EXIT_OK : GMK_HOST_EXIT_NO_DEVICE;
}
