/* SPDX-License-Identifier: MIT */
/*
 * gpu.h — the module gpu_drv: a GPU kernel as this kernel's peer.  Hosted kernels only.
 *
 * gmk_gpu_drv gives the module; put it last in the list that gmk_boot gets, so that this kernel's channels are
 * declared when the peer asks for them.  Its init starts the process ggmk-gpuhost, hands it a bridge
 * region, and waits until the peer is up and both have agreed on their channels: if they do not, or there is
 * no such device, the boot fails, and the console says why.
 *
 * From then on the module watches the peer and the process.  When a worker of the peer is silent for too
 * long, when the process ends, or when the bridge fails, the peer is reset: the process is stopped, killed if
 * need be, and a new one is started with a new region; meanwhile channels that lead to it answer
 * GMK_CHAN_CLOSED and all else goes on.  After `max_resets` in a row without a message in between, or when a
 * process does not go away within 10 s, the peer is given up (GMK_GPU_GONE): what waits for it is dropped with
 * GMK_DROP_BRIDGE and this kernel goes on without.
 *
 * The halt of the kernel stops the peer in order.
 */
#ifndef GGMK_GPU_H
#define GGMK_GPU_H

#include <ggmk/bridge.h>
#include <ggmk/module.h>

GMK_BEGIN_DECLS

enum gmk_gpu_device {
    GMK_GPU_AUTO = 0, /* the GPU where there is one that works, else the software device */
    GMK_GPU_CUDA = 1, /* the GPU, or fail */
    GMK_GPU_SOFT = 2  /* the software device */
};

enum gmk_gpu_state { GMK_GPU_DOWN = 0, GMK_GPU_STARTING, GMK_GPU_UP, GMK_GPU_RESETTING, GMK_GPU_GONE };

/* Zero means default in every field. */
typedef struct gmk_gpu_cfg {
    uint32_t device;       /* enum gmk_gpu_device */
    uint32_t ordinal;      /* which GPU */
    const char *host;      /* path of ggmk-gpuhost; default: beside this program, then $PATH */
    const char *image;     /* path of the PTX image; default: gmk_gpu.ptx beside ggmk-gpuhost */
    const char *args;      /* for the peer: words NAME=VALUE, see gpu/device.h */
    const char *name;      /* of the peer; default "gpu.0" */
    uint64_t arena_size;   /* of the peer, bytes; default 64 MiB */
    uint32_t workers;      /* of the peer; default: all the device has resident at once */
    uint64_t pool_bytes;   /* see gmk_region_cfg_t */
    uint32_t ring_slots;
    uint64_t beat_ns;      /* heartbeat interval; default 100 ms */
    uint64_t budget_ns;    /* longest a handler of the peer may run; default 1 s */
    uint64_t start_timeout_ns; /* from the start of the process to READY; default 30 s */
    uint32_t max_resets;   /* default 3; UINT32_MAX = 0: the first failure is the end */
    gmk_bridge_cfg_t bridge;
} gmk_gpu_cfg_t;

typedef struct gmk_gpu gmk_gpu_t;

/*
 * Makes the module (cfg is copied; it may be NULL).  NULL: no memory.  One kernel at a time boots it.
 * gmk_gpu_free after the halt.
 */
gmk_module_t *gmk_gpu_drv(const gmk_gpu_cfg_t *cfg);
void gmk_gpu_free(gmk_module_t *m);

typedef struct gmk_gpu_status {
    uint32_t state;        /* enum gmk_gpu_state */
    uint32_t device;       /* GMK_GPU_CUDA or GMK_GPU_SOFT: what it runs on */
    char device_name[64];  /* as the driver says, or "software device" */
    int pid;               /* of ggmk-gpuhost, 0 = none */
    uint32_t epoch, resets;
    char last_reset[GMK_BRIDGE_TEXT]; /* why; "" = never */
    gmk_bridge_stats_t bridge;
} gmk_gpu_status_t;

/* Any thread, from the boot's end to the halt's begin.  INVAL, STATE (not booted). */
int gmk_gpu_status(gmk_module_t *m, gmk_gpu_status_t *out);

/* Resets the peer as if it had failed.  Any thread; returns at once.  INVAL, STATE (GONE, or not booted). */
int gmk_gpu_reset(gmk_module_t *m, const char *why);

GMK_END_DECLS

#endif
