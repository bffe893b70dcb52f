/* SPDX-License-Identifier: MIT */
/*
 * host_proto.h — what gpu_drv and ggmk-gpuhost say to each other besides the region.
 *
 * They share one SOCK_SEQPACKET pair, descriptor GMK_HOST_FD in the host.  gpu_drv sends one gmk_host_hello_t
 * with the region's memfd (SCM_RIGHTS); the host sends reports.  A stop is asked for in the region
 * (gmk_bridge_ask_stop).  The end of the socket tells the host that its parent is gone: it ends at once.
 *
 *   ggmk-gpuhost --fd 3 --device auto|cuda|soft [--ordinal N] [--image FILE] [--arena BYTES] [--workers N]
 */
#ifndef GMK_HOST_PROTO_H
#define GMK_HOST_PROTO_H

#include <stdint.h>

#define GMK_HOST_FD 3
#define GMK_HOST_MAGIC 0x54534f48u /* "HOST" */
#define GMK_HOST_VERSION 1u
#define GMK_HOST_TEXT 240u

typedef struct gmk_host_hello {
    uint32_t magic, version;
    uint64_t region_bytes;
} gmk_host_hello_t;

enum gmk_host_report_kind {
    GMK_HOST_DEVICE = 1, /* device and text (its name): the kernel is being booted on it */
    GMK_HOST_FAILED,     /* text: why no kernel could be started.  The process ends */
    GMK_HOST_FAULT,  /* text: the device faulted, or the driver failed, under a running kernel.  It ends */
    GMK_HOST_STOPPED /* code: what the kernel's life ended with.  It ends */
};

typedef struct gmk_host_report {
    uint32_t magic, kind;
    uint32_t device; /* enum gmk_gpu_device: CUDA or SOFT */
    int32_t code;    /* GMK_OK or GMK_ERR_* */
    char text[GMK_HOST_TEXT];
} gmk_host_report_t;

/* How the process ends. */
enum {
    GMK_HOST_EXIT_OK = 0,
    GMK_HOST_EXIT_TROUBLE = 1,
    GMK_HOST_EXIT_USAGE = 2,
    GMK_HOST_EXIT_NO_DEVICE = 3
};

#endif
