/* SPDX-License-Identifier: MIT */
/*
 * entry.h — how a host program starts the image of a GPU kernel: one launch is the kernel's whole life.
 *
 * The image has one entry point, GMK_GPU_ENTRY, with one parameter, a gmk_gpu_params_t by value: the host
 * passes the address of one.  Block 0 boots the kernel and serves it from outside; every other block is a
 * thread of it, so a launch has at least GMK_GPU_BLOCKS_MIN blocks, and all of them must be resident at once
 * (a cooperative launch).  A block is one-dimensional and has GMK_GPU_THREADS threads, or fewer: a multiple of 32.
 *
 * The image keeps state in its own global variables: load it anew for every launch.  The stack that
 * CU_LIMIT_STACK_SIZE must give each thread stands in the file that the build writes beside the PTX,
 * gmk_gpu.json, as stack_bytes.
 */
#ifndef GMK_GPU_ENTRY_H
#define GMK_GPU_ENTRY_H

#include <stdint.h>

#define GMK_GPU_ENTRY "gmk_gpu_run"
#define GMK_GPU_CONSOLE "gmk_hal_nvptx_console" /* struct gmk_hal_nvptx_console, see hal/nvptx/hal_nvptx.h */
#define GMK_GPU_VERSION 2u
#define GMK_GPU_THREADS 128u
#define GMK_GPU_BLOCKS_MIN 3u /* block 0, the bridge's pump, a worker */

/* Which way a copy engine copies: to the peer, or from it. */
enum { GMK_GPU_COPY_OUT, GMK_GPU_COPY_IN, GMK_GPU_COPIES };

/* Addresses are the device's. */
typedef struct gmk_gpu_params {
    uint32_t version;     /* GMK_GPU_VERSION */
    uint32_t max_workers; /* 0 = all but two of the blocks */
    uint64_t region;      /* of the bridge, host memory that the device reaches, 4096-aligned */
    uint64_t region_bytes;
    uint64_t pages; /* zeroed device memory, 2 MiB-aligned: all that the kernel ever allocates */
    uint64_t pages_bytes;
    uint64_t arena_bytes; /* of the kernel, out of pages; 0 = default */
    uint64_t result;      /* one 64-bit word, zero at the launch; in host memory or on the device */
    uint32_t boot_flags;  /* gmk_device_launch_t */
    uint32_t copy_least;  /* bytes of a payload that is worth an order */
    uint64_t copy_ring[GMK_GPU_COPIES]; /* gmk_copy_ring_t in host memory; 0 = there is no such engine */
    uint64_t copy_done[GMK_GPU_COPIES]; /* gmk_copy_done_t on the device */
} gmk_gpu_params_t;

_Static_assert(sizeof(gmk_gpu_params_t) == 96, "a parameter structure is the same on both sides");

/* The result word is written once, last: bit 32 set, and what gmk_device_run returned in bits 0-31. */
#define GMK_GPU_ENDED ((uint64_t)1 << 32)

#endif
