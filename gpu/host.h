/* SPDX-License-Identifier: MIT */
/*
 * host.h — the parts of ggmk-gpuhost, the process that owns the GPU.
 *
 * Its life is the table of steps in host.c.  A device, the GPU or the software device, is a table of
 * functions; all of them, and everything else here, is called by the program's one thread.  A function that
 * returns int answers 0, or -1 with the reason, in words for people, in host_t.why.
 */
#ifndef GMK_GPU_HOST_H
#define GMK_GPU_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include <ggmk/gpu.h>
#include "host_proto.h"

typedef struct host_options {
    int fd;               /* the socket, -1 = none */
    uint32_t device;      /* enum gmk_gpu_device */
    uint32_t ordinal;     /* which GPU */
    const char *image;    /* NULL = where the installation has it */
    uint64_t arena_bytes; /* of the device's kernel */
    uint32_t workers;     /* at most so many; 0 = as many as the device has at once */
    bool probe;
} host_options_t;

struct host_device;

typedef struct host {
    host_options_t opt;
    int memfd; /* what the hello brought */
    void *region;
    uint64_t region_bytes;
    uint64_t pool_at[2], pool_bytes; /* in the region, by the side that writes */
    const struct host_device *device;
    bool launched;           /* the kernel has been started: what fails from now on is a fault */
    int code;                /* what the kernel's life ended with */
    int status;              /* how the process ends after a failure */
    char why[GMK_HOST_TEXT]; /* the reason of the last failure */
} host_t;

enum host_life { HOST_RUNS, HOST_ENDED, HOST_FAULTED };

typedef struct host_device {
    uint32_t kind;            /* enum gmk_gpu_device */
    int64_t (*rest_ns)(void); /* until look is called again; -1 = only when wake_fd is readable */
    /* Everything up to the point where the kernel could be started.  After a failure nothing is held. */
    int (*open)(host_t *h);
    const char *(*name)(void);
    int (*launch)(host_t *h);
    int (*wake_fd)(void); /* -1 = none */
    /* Is the kernel still there?  ENDED: host_t.code; FAULTED: host_t.why.  Never waits. */
    enum host_life (*look)(host_t *h);
} host_device_t;

extern const host_device_t host_soft, host_cuda;

/* Options.  Ends the program after --help, and with one line after a bad option. */
void host_options(host_options_t *o, int argc, char **argv);

/* Keeps the reason, and how the process shall end (GMK_HOST_EXIT_*).  Always -1. */
__attribute__((format(printf, 3, 4))) int host_fail(host_t *h, int status, const char *format, ...);

/* A line on standard error, with the program's name. */
__attribute__((format(printf, 1, 2))) void host_say(const char *format, ...);

/* The socket to the parent. */
int host_tie(host_t *h);   /* this process ends with its parent */
int host_greet(host_t *h); /* takes the hello and the region's descriptor */
void host_report(host_t *h, uint32_t kind, int code, const char *text);
void host_check_parent(host_t *h); /* ends the process when the parent has gone, or says what it may not */

/* Maps the region and checks it. */
int host_map_region(host_t *h);

/* --probe: says on standard output what there is.  The exit status. */
int host_probe(const host_options_t *o);

#endif
