/* SPDX-License-Identifier: MIT */
/*
 * fake_raw.c — a libcuda.so.1 that has no GPU, for bench/gpu/raw.c: its kernels are functions of this file.  What is
 * launched runs at once, but for those that stay: each of their blocks is a thread.  The figures mean nothing.
 */
#include "../../bridge/link.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../gpu/cuda.h"

#define CALL __attribute__((visibility("default"))) CUresult

typedef _Atomic uint64_t *word_t;

enum { BLOCKS = 8, LANES = 32, SLOTS = 4096, EPOCH = 1, PARAMETERS = 4 };
#define STEP UINT64_C(0x9e3779b97f4a7c15)

/* A block of a kernel that stays. */
typedef struct stay {
    pthread_t thread;
    unsigned block, lanes;
    uint64_t p[PARAMETERS];
} stay_t;

/* Launches of the empty kernel, or one that stores. */
typedef struct graph {
    uint64_t launches, word, value;
} graph_t;

static stay_t stays[BLOCKS];
static unsigned staying;
static graph_t *capturing;

static word_t word(uint64_t at) { return (word_t)(uintptr_t)at; }

/* ---- the kernels that stay ------------------------------------------------------------------- */

/* in, out, n */
static void *run_line(void *arg)
{
    const stay_t *s = arg;

    for (uint64_t i = 1; i <= s->p[2]; i++) {
        while (atomic_load(word(s->p[0])) < i)
            ;
        atomic_store(word(s->p[1]), i);
    }
    return NULL;
}

static gmk_region_slot_t *ring(uint64_t slots, unsigned block)
{
    return (gmk_region_slot_t *)(uintptr_t)slots + (uint64_t)block * SLOTS;
}

static gmk_a64_t *head(uint64_t heads, unsigned block)
{
    return (gmk_a64_t *)(uintptr_t)(heads + (uint64_t)block * GMK_CACHE_LINE);
}

static uint64_t word_of(uint64_t number, uint32_t i) { return i == 0 ? number : number * STEP + i; }

static bool is_right(const gmk_region_slot_t *slot, uint64_t number)
{
    for (uint32_t i = 0; i < 6; i++)
        if (slot->body[i] != word_of(number, i))
            return false;
    return true;
}

/* slots, heads, right, n */
static void *run_take(void *arg)
{
    const stay_t *s = arg;
    uint64_t *right = (uint64_t *)(uintptr_t)s->p[2] + (uint64_t)s->block * LANES;
    gmk_link_in_t l;

    gmk_link_in_init(&l, ring(s->p[0], s->block), SLOTS, head(s->p[1], s->block), EPOCH);
    while (l.next != s->p[3]) {
        if (gmk_link_ready(&l, s->lanes) != s->lanes) {
            sched_yield();
            continue;
        }
        for (uint32_t i = 0; i < s->lanes; i++)
            right[i] += is_right(gmk_link_slot(&l, i), l.next + i);
        gmk_link_took(&l, s->lanes);
    }
    return NULL;
}

/* slots, heads, n */
static void *run_give(void *arg)
{
    const stay_t *s = arg;
    gmk_link_out_t l;

    gmk_link_out_init(&l, ring(s->p[0], s->block), SLOTS, head(s->p[1], s->block), EPOCH);
    while (l.tail != s->p[2]) {
        if (gmk_link_room(&l, s->lanes) < s->lanes) {
            sched_yield();
            continue;
        }
        for (uint32_t n = 0; n < s->lanes; n++) {
            gmk_region_slot_t *slot = gmk_link_fill(&l);
            for (uint32_t i = 0; i < 6; i++)
                slot->body[i] = word_of(l.tail + n, i);
        }
        (void)gmk_link_publish(&l);
    }
    return NULL;
}

/* slots, head, slots of the answers, n.  There is always room for an answer. */
static void *run_echo(void *arg)
{
    const stay_t *s = arg;
    gmk_a64_t never = {0};
    gmk_link_in_t in;
    gmk_link_out_t out;

    gmk_link_in_init(&in, ring(s->p[0], 0), SLOTS, head(s->p[1], 0), EPOCH);
    gmk_link_out_init(&out, ring(s->p[2], 0), SLOTS, &never, EPOCH);
    while (in.next != s->p[3]) {
        if (gmk_link_ready(&in, 1) == 0)
            continue;
        gmk_link_copy(gmk_link_fill(&out)->body, gmk_link_slot(&in, 0));
        (void)gmk_link_publish(&out);
        gmk_link_took(&in, 1);
    }
    return NULL;
}

/* run: NULL for those that end at once. */
static const struct kernel {
    const char *name;
    void *(*run)(void *stay);
    unsigned parameters;
} kernels[] = {
    {"empty", NULL, 0},    {"store", NULL, 2},    {"line", run_line, 3},
    {"take", run_take, 4}, {"give", run_give, 3}, {"echo", run_echo, 4},
};
enum { STORE = 1, KERNELS = sizeof kernels / sizeof kernels[0] };

/* ---- the driver ------------------------------------------------------------------------------ */

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
    for (uint32_t i = 0; i < KERNELS; i++) {
        char entry[32];
        snprintf(entry, sizeof entry, ".entry %s(", kernels[i].name);
        if (strstr(image, entry) == NULL)
            return CUDA_ERROR_INVALID_PTX;
    }
    return n == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CALL cuModuleGetFunction(CUfunction *out, CUmodule module, const char *name)
{
    (void)module;
    for (uint32_t i = 0; i < KERNELS; i++)
        if (strcmp(name, kernels[i].name) == 0) {
            *out = (CUfunction)(uintptr_t)&kernels[i];
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
    while (staying != 0)
        pthread_join(stays[--staying].thread, NULL);
    return CUDA_SUCCESS;
}

static CUresult stay(const struct kernel *k, unsigned block, unsigned lanes, void **parameters)
{
    stay_t *s = &stays[staying];

    *s = (stay_t){.block = block, .lanes = lanes};
    for (uint32_t i = 0; i < k->parameters; i++)
        s->p[i] = *(uint64_t *)parameters[i];
    if (pthread_create(&s->thread, NULL, k->run, s) != 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    staying++;
    return CUDA_SUCCESS;
}

static void run_store(graph_t g)
{
    if (g.word != 0)
        atomic_store(word(g.word), g.value);
}

CALL cuLaunchKernel(CUfunction f, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                    unsigned block_y, unsigned block_z, unsigned shared, CUstream stream, void **parameters,
                    void **extra)
{
    const struct kernel *k = (const struct kernel *)f;
    graph_t g = {.launches = 1};

    if (grid_x > BLOCKS || block_x > LANES || grid_y * grid_z * block_y * block_z != 1 || shared != 0 ||
        extra != NULL)
        return CUDA_ERROR_INVALID_VALUE;
    if (k->run != NULL) {
        (void)cuStreamSynchronize(stream);
        for (unsigned b = 0; b < grid_x; b++)
            if (stay(k, b, block_x, parameters) != CUDA_SUCCESS)
                return CUDA_ERROR_OUT_OF_MEMORY;
        return CUDA_SUCCESS;
    }
    if (k == &kernels[STORE]) {
        g.word = *(uint64_t *)parameters[0];
        g.value = *(uint64_t *)parameters[1];
    }
    if (capturing == NULL)
        run_store(g);
    else
        *capturing = (graph_t){capturing->launches + 1, g.word, g.value};
    return CUDA_SUCCESS;
}

CALL cuStreamBeginCapture_v2(CUstream stream, int mode)
{
    (void)stream;
    (void)mode;
    capturing = calloc(1, sizeof *capturing);
    return capturing != NULL ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CALL cuStreamEndCapture(CUstream stream, void **out)
{
    (void)stream;
    *out = capturing;
    capturing = NULL;
    return CUDA_SUCCESS;
}

CALL cuGraphInstantiateWithFlags(void **out, void *graph, unsigned long long flags)
{
    *out = graph;
    return flags == 0 && ((graph_t *)graph)->launches != 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CALL cuGraphLaunch(void *graph, CUstream stream)
{
    (void)stream;
    run_store(*(graph_t *)graph);
    return CUDA_SUCCESS;
}
