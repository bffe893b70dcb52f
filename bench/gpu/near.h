/* SPDX-License-Identifier: MIT */
/*
 * near.h — measuring a pair of kernels from the one that has the module bench.near.
 *
 * All calls are made by one thread, none of the kernel's.  Each measures one thing and returns when it is done;
 * a message that was lost, doubled, out of order or damaged, or no answer within a minute, ends the program
 * with a line that says so.
 */
#ifndef GGMK_BENCH_NEAR_H
#define GGMK_BENCH_NEAR_H

#include <ggmk/kernel.h>
#include <ggmk/module.h>

extern gmk_module_t bench_near;

/* Before the first of the following: the kernel whose bridge is ready. */
void near_open(gmk_kernel_t *k);

/* Numbered messages, so many each way at the same time; bytes: of each one's payload.  ns until all are there. */
double near_messages(uint64_t down, uint64_t up, uint32_t bytes);

/* One message there and back, n times: fills ns. */
void near_trips(double *ns, uint32_t n);

/* Inside the far kernel: ns until n empty tasks have run that one handler spawns. */
double near_fan(uint64_t n);

/*
 * Inside the far kernel: ns until n chains of `links` tasks have run, each spawned by the one before.  The first of each
 * wait in the ready queue until all are there, while no worker is free: with one link, these are all.
 * n * (links > 1 ? 2 : 1) <= NEAR_WAITING, for a link is there until the next one is accepted.
 */
double near_chains(uint32_t n, uint32_t links);
#define NEAR_WAITING 48000u

void near_idle(double *ns, uint32_t n); /* from emit to handler */
double near_clock_step(void);
uint32_t near_workers(void);

#endif
