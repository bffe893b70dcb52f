/* SPDX-License-Identifier: MIT */
/*
 * host_gpu.c — the driver and its devices: which there are, and on which of them a kernel can stay.
 */
#include "host_cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPABILITY_NEEDED 80 /* 10 * major + minor */

cuda_t driver;

int gpu_called(host_t *h, const char *call, CUresult r)
{
    if (r == CUDA_SUCCESS)
        return 0;
    h->status = GMK_HOST_EXIT_TROUBLE;
    cuda_explain(&driver, call, r, h->why, sizeof(h->why));
    return -1;
}

/*
 * Beside a kernel that stays, code that is loaded when it is first called waits for ever, and so would a launch
 * that waits for its end.  A server of MPS would let our end harm others: it is not asked.
 */
static int set_environment(host_t *h)
{
    if (setenv("CUDA_MODULE_LOADING", "EAGER", 1) != 0 || unsetenv("CUDA_LAUNCH_BLOCKING") != 0 ||
        setenv("CUDA_MPS_PIPE_DIRECTORY", "/nonexistent/ggmk-gpuhost", 1) != 0)
        return host_fail(h, GMK_HOST_EXIT_NO_DEVICE, "no memory for the environment");
    return 0;
}

int gpu_driver(host_t *h, int *version)
{
    if (set_environment(h) != 0)
        return -1;
    if (cuda_open(&driver, h->why, sizeof(h->why)) != 0)
        return -1;
    if (DRIVER(h, cuDriverGetVersion, version) != 0)
        return -1;
    if (*version < CUDA_VERSION_NEEDED)
        return host_fail(h, GMK_HOST_EXIT_NO_DEVICE, "the driver is for CUDA %d.%d: %d.%d or later is needed",
                         *version / 1000, *version % 1000 / 10, CUDA_VERSION_NEEDED / 1000,
                         CUDA_VERSION_NEEDED % 1000 / 10);
    return DRIVER(h, cuInit, 0);
}

int gpu_count(host_t *h, int *n) { return DRIVER(h, cuDeviceGetCount, n); }

static int attribute(host_t *h, const gpu_t *g, int which, int *value)
{
    return DRIVER(h, cuDeviceGetAttribute, value, which, g->device);
}

int gpu_find(host_t *h, uint32_t ordinal, gpu_t *g)
{
    int n = 0, words = 0;

    if (gpu_count(h, &n) != 0)
        return -1;
    if (n <= 0)
        return host_fail(h, GMK_HOST_EXIT_NO_DEVICE, "the driver has no GPU");
    if (ordinal >= (uint32_t)n)
        return host_fail(h, GMK_HOST_EXIT_NO_DEVICE, "there is no GPU %u: the last one is GPU %d", ordinal,
                         n - 1);
    *g = (gpu_t){.ordinal = ordinal};
    if (DRIVER(h, cuDeviceGet, &g->device, (int)ordinal) != 0 ||
        DRIVER(h, cuDeviceGetName, g->name, sizeof(g->name), g->device) != 0 ||
        DRIVER(h, cuDeviceTotalMem_v2, &g->bytes, g->device) != 0 ||
        attribute(h, g, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &g->major) != 0 ||
        attribute(h, g, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &g->minor) != 0 ||
        attribute(h, g, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &g->multiprocessors) != 0 ||
        attribute(h, g, CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS, &words) != 0)
        return -1;
    g->writes_words = words != 0;
    g->name[sizeof(g->name) - 1] = 0;
    return 0;
}

int gpu_check(host_t *h, const gpu_t *g)
{
    static const struct {
        int attribute, wanted;
        const char *why;
    } needs[] = {
        {CU_DEVICE_ATTRIBUTE_KERNEL_EXEC_TIMEOUT, 0,
         "its driver ends kernels that run for long (is a display attached?)"},
        {CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH, 1, "it has no cooperative launch"},
        {CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED, 1, "it cannot reach memory of the host"},
        {CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1, "it has no unified addressing"},
    };
    int value;

    if (g->major * 10 + g->minor < CAPABILITY_NEEDED)
        return host_fail(h, GMK_HOST_EXIT_NO_DEVICE,
                         "its compute capability is %d.%d: %d.%d or later is needed", g->major, g->minor,
                         CAPABILITY_NEEDED / 10, CAPABILITY_NEEDED % 10);
    for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
        if (attribute(h, g, needs[i].attribute, &value) != 0)
            return -1;
        if (value != needs[i].wanted)
            return host_fail(h, GMK_HOST_EXIT_NO_DEVICE, "%s", needs[i].why);
    }
    return 0;
}
