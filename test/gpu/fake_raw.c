/* SPDX-License-Identifier: MIT */
/*
 * fake_raw.c — a libcuda.so.1 that has no GPU, for bench/gpu/raw.c: its three kernels are functions of this file.  What is
 * launched runs at once, but for the one that stays, which is a thread.  The figures mean nothing.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../gpu/cuda.h"

#define CALL __attribute__((visibility("default"))) CUresult

typedef _Atomic uint64_t *word_t;

static uint64_t captured; /* launches */
static bool capturing, staying;
static pthread_t stays;
static uint64_t stay[3]; /* the parameters of the kernel that stays */

static const char empty[] = "empty", store[] = "store", line[] = "line";

static word_t word(uint64_t at) { return (word_t)(uintptr_t)at; }

static void *run_line(void *arg)
{
    for (uint64_t i = 1; i <= stay[2]; i++) {
        while (atomic_load(word(stay[0])) < i)
            ;
        atomic_store(word(stay[1]), i);
    }
    return arg;
}

CALL cuInit(unsigned flags) { return flags == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE; }

CALL cuGetErrorName(CUresult r, const char **text)
{
    *text = r == CUDA_ERROR_NOT_FOUND ? "CUDA_ERROR_NOT_FOUND" : "CUDA_ERROR_INVALID_VALUE";
    return CUDA_SUCCESS;
}

CALL cuDeviceGet(CUdevice *device, int ordinal)
{
    *device = ordinal;
    return ordinal == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CALL cuDeviceGetName(char *name, int bytes, CUdevice device)
{
    (void)device;
    snprintf(name, (size_t)bytes, "fake");
    return CUDA_SUCCESS;
}

CALL cuDeviceGetPCIBusId(char *id, int bytes, CUdevice device)
{
    (void)device;
    snprintf(id, (size_t)bytes, "FFFF:FF:1F.7");
    return CUDA_SUCCESS;
}

CALL cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
    (void)device;
    *context = NULL;
    return CUDA_SUCCESS;
}

CALL cuCtxSetCurrent(CUcontext context)
{
    return context == NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

CALL cuMemHostAlloc(void **out, size_t bytes, unsigned flags)
{
    (void)flags;
    *out = aligned_alloc(4096, (bytes + 4095) & ~(size_t)4095);
    return *out != NULL ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CALL cuMemHostGetDevicePointer_v2(CUdeviceptr *out, void *p, unsigned flags)
{
    *out = (uintptr_t)p;
    return flags == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CALL cuMemAlloc_v2(CUdeviceptr *out, size_t bytes)
{
    *out = (uintptr_t)malloc(bytes);
    return *out != 0 ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CALL cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
    (void)stream;
    memcpy((void *)(uintptr_t)to, from, bytes);
    return CUDA_SUCCESS;
}

CALL cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    (void)stream;
    memcpy(to, (const void *)(uintptr_t)from, bytes);
    return CUDA_SUCCESS;
}

CALL cuModuleLoadDataEx(CUmodule *out, const void *image, unsigned n, int *options, void **values)
{
    (void)options;
    (void)values;
    *out = NULL;
    return n == 0 && strstr(image, ".entry line(") != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_PTX;
}

CALL cuModuleGetFunction(CUfunction *out, CUmodule module, const char *name)
{
    static const char *const all[] = {empty, store, line};

    (void)module;
    for (uint32_t i = 0; i < 3; i++)
        if (strcmp(name, all[i]) == 0) {
            *out = (CUfunction)(uintptr_t)all[i];
            return CUDA_SUCCESS;
        }
    return CUDA_ERROR_NOT_FOUND;
}

CALL cuStreamCreate(CUstream *out, unsigned flags)
{
    *out = NULL;
    return flags == CU_STREAM_NON_BLOCKING ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CALL cuStreamSynchronize(CUstream stream)
{
    (void)stream;
    if (staying)
        pthread_join(stays, NULL);
    staying = false;
    return CUDA_SUCCESS;
}

CALL cuLaunchKernel(CUfunction f, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                    unsigned block_y, unsigned block_z, unsigned shared, CUstream stream, void **parameters,
                    void **extra)
{
    const char *name = (const char *)f;

    (void)stream;
    if (grid_x * grid_y * grid_z * block_x * block_y * block_z != 1 || shared != 0 || extra != NULL)
        return CUDA_ERROR_INVALID_VALUE;
    captured += capturing;
    if (name == store)
        atomic_store(word(*(uint64_t *)parameters[0]), *(uint64_t *)parameters[1]);
    if (name != line)
        return CUDA_SUCCESS;
    for (uint32_t i = 0; i < 3; i++)
        stay[i] = *(uint64_t *)parameters[i];
    staying = pthread_create(&stays, NULL, run_line, NULL) == 0;
    return staying ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CALL cuStreamBeginCapture_v2(CUstream stream, int mode)
{
    (void)stream;
    (void)mode;
    capturing = true;
    return CUDA_SUCCESS;
}

CALL cuStreamEndCapture(CUstream stream, void **out)
{
    (void)stream;
    capturing = false;
    *out = &captured;
    return CUDA_SUCCESS;
}

CALL cuGraphInstantiateWithFlags(void **out, void *graph, unsigned long long flags)
{
    *out = graph;
    return flags == 0 && captured != 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CALL cuGraphLaunch(void *graph, CUstream stream)
{
    (void)stream;
    return graph == &captured ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
