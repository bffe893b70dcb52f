/* SPDX-License-Identifier: MIT */
/* raw.h — what the parts of `raw` share: the driver, and the kernels of raw.ptx.  A call that fails ends the program. */
#ifndef GGMK_BENCH_RAW_H
#define GGMK_BENCH_RAW_H

#include "../../gpu/cuda.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- raw.c ----------------------------------------------------------------------------------- */

CUfunction raw_kernel(const char *name);

/* Zeroed memory of this machine that the GPU reaches too, at *at. */
void *raw_shared(size_t bytes, CUdeviceptr *at);

/* Blocks of one warp or less.  Kernels run one after the other; raw_wait waits for the last. */
void raw_launch(CUfunction f, unsigned blocks, unsigned lanes, void **parameters);
void raw_wait(void);

/* A round of a spin, zero at first: ends the program when there is no progress for ten seconds. */
typedef struct raw_spin {
    uint32_t rounds;
    double give_up; /* 0: not yet set */
} raw_spin_t;
void raw_spin(raw_spin_t *s, bool progress);

/* ---- ring.c: the bridge's ring, without kernels that schedule ---------------------------------- */

#define RING_MOST 8u

void ring_open(void);

/*
 * n numbered messages through each of so many rings, between this thread and a warp of `lanes` lanes for each ring;
 * as many messages as there are lanes are published at once.  ns until all have been taken and looked at.
 */
double ring_to(uint32_t rings, uint32_t lanes, uint64_t n);
double ring_from(uint32_t rings, uint32_t lanes, uint64_t n);

/* One message there and back, n times: fills ns. */
void ring_trips(double *ns, uint32_t n);

#endif
