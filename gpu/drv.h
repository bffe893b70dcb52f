/* SPDX-License-Identifier: MIT */
/*
 * drv.h — the inside of the module gpu_drv.
 *
 *   drv.c          the module: configuration, init, fini, the public calls
 *   drv_process.c  one ggmk-gpuhost process with its region: start, reports, end
 *   drv_watch.c    the one thread that starts, watches, resets and stops it
 *
 * Who may touch what.  The process (host), the counts of the watch and the calls gmk_bridge_up and
 * gmk_bridge_down are the thread's alone.  What the lock guards is named below.  init makes the bridge and
 * the thread, fini joins the thread and destroys the bridge; both wait for the thread meanwhile.
 */
#ifndef GMK_DRV_H
#define GMK_DRV_H

#include <ggmk/gpu.h>
#include <ggmk/hal.h>

#include "host_proto.h"

#define GMK_DRV_TEXT 512u
#define GMK_DRV_END_NS UINT64_C(10000000000) /* a killed process that is still there after that stays */

/* ---- a process and its region -------------------------------------------------------------- */

/* A region belongs to one process and is never given to another one. */
typedef struct gmk_drv_host {
    int pid;         /* 0 = none */
    int pidfd, sock; /* -1 = none */
    void *region;
    uint64_t region_bytes;
} gmk_drv_host_t;

#define GMK_DRV_NO_HOST ((gmk_drv_host_t){.pidfd = -1, .sock = -1})

/*
 * Starts a process with a fresh region.  It is killed when the calling thread ends, so that thread has to
 * outlive it.  why: what was wrong, for people.  NOTFOUND (no such program), IO (it cannot be run, or the system
 * refuses what it needs), RANGE (the region's configuration), INVAL (name or args), ALLOC_FAIL.  On an error
 * nothing is left behind.
 */
int gmk_drv_host_start(gmk_drv_host_t *h, const gmk_gpu_cfg_t *cfg, const char *kernel, uint32_t epoch,
                       char why[GMK_DRV_TEXT]);

/* The next report.  OK; NOTFOUND: none now; STATE: the socket is closed; INVAL: what came is no report. */
int gmk_drv_host_report(gmk_drv_host_t *h, gmk_host_report_t *r);

/* Has it ended (or is there none)?  Waits up to timeout_ns for it. */
bool gmk_drv_host_ended(const gmk_drv_host_t *h, uint64_t timeout_ns);

/* Says how an ended process ended and returns its exit status, or -1: by a signal, or not known. */
int gmk_drv_host_how(const gmk_drv_host_t *h, char why[GMK_DRV_TEXT]);

/* SIGKILL. */
void gmk_drv_host_kill(const gmk_drv_host_t *h);

/* Gives back the descriptors, what is left of an ended process, and the view of the region; the bridge is down. */
void gmk_drv_host_release(gmk_drv_host_t *h);

/* ---- the module ---------------------------------------------------------------------------- */

/* What is seen of a worker of the peer, and for how long it has not moved. */
typedef struct gmk_drv_pulse {
    uint64_t beats, silent_ns;
    uint32_t type;
    bool warned;
} gmk_drv_pulse_t;

struct gmk_gpu {
    gmk_module_t module;
    gmk_gpu_cfg_t cfg; /* with the defaults filled in; its texts are owned */
    gmk_kernel_t *kernel;
    gmk_bridge_t *bridge;
    gmk_hal_thread_t thread;
    gmk_hal_park_t started; /* the thread has come so far that init can go on */
    int start_code;         /* what init is to answer */
    int event;              /* eventfd: the thread is to look at stop and asked */
    uint32_t metric_up, metric_resets;

    /* The thread's. */
    gmk_drv_host_t host;
    uint32_t in_a_row;    /* resets since the last message */
    uint64_t messages;    /* received and acknowledged, when that was last looked at */
    uint64_t looked_ns;   /* when */
    gmk_drv_pulse_t peer; /* of the peer's kernel as a whole */
    gmk_drv_pulse_t worker[GMK_MAX_WORKERS];

    /* Written with the lock; the thread, that writes them, reads without. */
    gmk_hal_lock_t lock;
    uint32_t state, device, epoch, resets; /* enum gmk_gpu_state, gmk_gpu_device */
    int pid;
    char device_name[64], last_reset[GMK_BRIDGE_TEXT];
    /* Read and written with the lock. */
    bool booted, stop;
    char asked[GMK_BRIDGE_TEXT]; /* why a reset is asked for; "" = none */
};

/* The life of the thread.  arg: the gmk_gpu_t. */
void gmk_drv_main(void *arg);

/* Makes the thread look. */
void gmk_drv_nudge(const gmk_gpu_t *g);

/* printf into a text of that size, cut off where it ends. */
__attribute__((format(printf, 3, 4))) void gmk_drv_text(char *to, size_t size, const char *format, ...);

/* A line on the console, "ggmk: cpu.0: gpu.0: ...", unless the kernel is quiet. */
void gmk_drv_say(const gmk_gpu_t *g, const char *text);

/* Why the boot fails: on the console and in the status.  Returns rc. */
int gmk_drv_refuse(gmk_gpu_t *g, const char *why, int rc);

#endif
