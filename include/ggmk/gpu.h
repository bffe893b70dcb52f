/* SPDX-License-Identifier: MIT */
/*
 * gpu.h — the module gpu_drv: a GPU kernel as this kernel's peer.  Hosted kernels only.
 *
 * gmk_gpu_drv gives the module, of which a kernel can have one; put it last in the list that gmk_boot gets, so
 * that this kernel's channels are declared when the peer asks for them.  Its init starts the process
 * ggmk-gpuhost, hands it a bridge region, and waits until the peer is up and both have agreed on their
 * channels, and the console says who is there.  If they do not agree, or there is no such device, the boot
 * fails, and the console says why.  It takes one of the kernel's ports, two threads, and the metrics (gauges)
 * gpu_up and gpu_resets where there is room for them.
 *
 * A boot fails with NOTFOUND (there is no ggmk-gpuhost), IO (it cannot be run, or has ended), UNSUPPORTED (it
 * finds no such device), TIMEOUT (start_timeout_ns), VERSION (it is of another version), RANGE (a field), INVAL
 * (name, args), LIMIT (no port or thread), ALLOC_FAIL, what gmk_bridge_wait_ready answers, or what ggmk-gpuhost
 * reports.
 *
 * From then on the module watches the peer and the process.  When a worker of the peer is silent for too
 * long, when the process ends, or when the bridge fails, the peer is reset: the process is stopped, killed if
 * need be, and a new one is started with a new region; meanwhile channels that lead to it answer
 * GMK_CHAN_CLOSED and all else goes on.  After `max_resets` in a row without a message in between, or when a
 * process does not go away within 10 s, the peer is given up (GMK_GPU_GONE): what waits for it is dropped with
 * GMK_DROP_BRIDGE and this kernel goes on without.
 *
 * A worker is silent while its beat count stands and it runs a type; the whole peer, while its own count does.
 * Two intervals of silence are a line on the console; max(5 intervals, 4 budgets) are a reset.  Time in which
 * this program itself did not run does not count.
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
    uint32_t device;     /* enum gmk_gpu_device */
    uint32_t ordinal;    /* which GPU */
    const char *host;    /* path of ggmk-gpuhost; default: beside this program, then $PATH */
    const char *image;   /* path of the PTX image; default: gmk_gpu.ptx beside ggmk-gpuhost */
    const char *args;    /* for the peer: words NAME=VALUE, see gpu/device.h */
    const char *name;    /* of the peer; default "gpu.0" */
    uint64_t arena_size; /* of the peer, bytes; default 64 MiB */
    uint32_t workers;    /* of the peer; default: all the device has resident at once */
    uint64_t pool_bytes; /* see gmk_region_cfg_t */
    uint32_t ring_slots;
    uint64_t beat_ns;          /* heartbeat interval of both kernels, 1 us .. 1 min; default 100 ms */
    uint64_t budget_ns;        /* longest a handler of the peer may run, <= 1 h; default 1 s */
    uint64_t start_timeout_ns; /* from the start of the process to READY, <= 1 h; default 30 s */
    uint32_t max_resets;       /* default 3; UINT32_MAX = 0: the first failure is the end */
    gmk_bridge_cfg_t bridge;
} gmk_gpu_cfg_t;

typedef struct gmk_gpu gmk_gpu_t;

/*
 * Makes the module (cfg is copied, with its texts; it may be NULL).  NULL: no memory.  One kernel at a time boots
 * it, and it may be booted again after the halt.  gmk_gpu_free after the halt; NULL is ignored.
 */
gmk_module_t *gmk_gpu_drv(const gmk_gpu_cfg_t *cfg);
void gmk_gpu_free(gmk_module_t *m);

typedef struct gmk_gpu_status {
    uint32_t state;       /* enum gmk_gpu_state */
    uint32_t device;      /* GMK_GPU_CUDA or GMK_GPU_SOFT: what it runs on */
    char device_name[64]; /* as the driver says, or "software device" */
    int pid;              /* of ggmk-gpuhost, 0 = none */
    uint32_t epoch, resets;
    char last_reset[GMK_BRIDGE_TEXT]; /* why it was reset last, or given up; "" = never */
    gmk_bridge_stats_t bridge;
} gmk_gpu_status_t;

/*
 * Any thread.  INVAL (a null pointer, or no module of gmk_gpu_drv), STATE (not booted, or halted): out is filled
 * all the same, but for `bridge`, and last_reset says why a boot failed.
 */
int gmk_gpu_status(gmk_module_t *m, gmk_gpu_status_t *out);

/*
 * Resets the peer as if it had failed; one that is being reset is left alone.  why: for people; may be NULL.  Any
 * thread; returns at once.  INVAL (m is no module of gmk_gpu_drv), STATE (GONE, or not booted).
 */
int gmk_gpu_reset(gmk_module_t *m, const char *why);

GMK_END_DECLS

#endif
