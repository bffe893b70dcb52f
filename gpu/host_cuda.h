/* SPDX-License-Identifier: MIT */
/*
 * host_cuda.h — the GPU as ggmk-gpuhost sees it: the driver, the devices it has, the image for them.
 *
 * As in host.h: one thread, and a function that returns int answers 0, or -1 with the reason in host_t.why.
 */
#ifndef GMK_GPU_HOST_CUDA_H
#define GMK_GPU_HOST_CUDA_H

#include <limits.h>

#include "cuda.h"
#include "entry.h"
#include "host.h"

#include <ggmk/copier.h>

/* The driver's calls, once gpu_driver has answered 0. */
extern cuda_t driver;

/* DRIVER(h, cuInit, 0): calls the driver; a failure is kept in h->why under the call's name. */
#define DRIVER(h, call, ...) gpu_called(h, #call, driver.call(__VA_ARGS__))
int gpu_called(host_t *h, const char *call, CUresult r);

/* ---- host_gpu.c ---- */

typedef struct gpu {
    CUdevice device;
    uint32_t ordinal;
    char name[64];
    int major, minor; /* compute capability */
    int multiprocessors;
    size_t bytes;      /* of memory */
    bool writes_words; /* a stream can write 64 bits */
} gpu_t;

int gpu_driver(host_t *h, int *version); /* opens it and looks whether it will do */
int gpu_count(host_t *h, int *n);
int gpu_find(host_t *h, uint32_t ordinal, gpu_t *g);
int gpu_check(host_t *h, const gpu_t *g); /* can a kernel stay on it?  The reason does not name it */

/* ---- host_image.c ---- */

typedef struct image {
    char path[PATH_MAX];
    char *ptx;            /* terminated */
    uint64_t stack_bytes; /* each thread needs */
} image_t;

int image_read(host_t *h, image_t *i);
void image_free(image_t *i);
int image_load(host_t *h, const image_t *i,
               CUmodule *out); /* what the driver says of it goes to standard error */

#define GPU_LOOK_NS 4000000 /* between two looks at the kernel: a fault is to be seen within 10 ms */

/* ---- host_copies.c ---- */

typedef struct copies_way {
    gmk_copy_ring_t *ring; /* pinned */
    CUdeviceptr done;
    CUstream stream;
    uint64_t served;
} copies_way_t;

typedef struct copies {
    copies_way_t way[GMK_GPU_COPIES];
    CUdeviceptr region, pages; /* what the kernel may order to be copied */
    uint64_t pages_bytes;
    uint64_t last; /* when there was an order */
} copies_t;

int copies_open(host_t *h, copies_t *c); /* before the launch; all but streams is filled in */
int copies_serve(host_t *h, copies_t *c);
int64_t copies_rest_ns(const copies_t *c);

/* ---- host_cuda.c ---- */

/* The image into the GPU's memory: all that can be tried without a region.  After a failure nothing is held. */
int gpu_open(host_t *h, const gpu_t *g);
void gpu_close(void);

#endif
