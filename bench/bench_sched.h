/* SPDX-License-Identifier: MIT */
/* bench_sched.h — what the scheduler's and the channels' benchmark share: clocks, arguments, kernels. */
#ifndef GGMK_BENCH_SCHED_H
#define GGMK_BENCH_SCHED_H

#include <ggmk.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BENCH_RELAX() __builtin_ia32_pause()

static inline double bench_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static inline void bench_spin(double ns)
{
    for (double end = bench_ns() + ns; bench_ns() < end;)
        BENCH_RELAX();
}

static inline void bench_check(int code, const char *what)
{
    if (code < 0) {
        fprintf(stderr, "bench: %s: %s\n", what, gmk_strerror(code));
        exit(1);
    }
}

static inline int bench_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The p-th percentile of n values, which it sorts. */
static inline double bench_percentile(double *v, uint32_t n, uint32_t p)
{
    qsort(v, n, sizeof(*v), bench_compare);
    return v[(uint64_t)(n - 1) * p / 100];
}

/* A counter for every worker, each on lines of its own. */
typedef struct bench_counter {
    _Alignas(128) uint64_t n;
} bench_counter_t;

/* One sample: the driver reads "KEY NANOSECONDS". */
static inline void bench_print(const char *key, double ns) { printf("%s %.3f\n", key, ns); }

typedef struct bench_case {
    const char *name;
    void (*run)(uint32_t workers, uint64_t n);
    uint64_t n; /* default */
} bench_case_t;

/* PROGRAM CASE WORKERS [N] */
static inline int bench_main(int argc, char **argv, const bench_case_t *cases)
{
    for (const bench_case_t *c = cases; argc >= 3 && c->name; c++) {
        if (strcmp(c->name, argv[1]) != 0)
            continue;
        c->run((uint32_t)atoi(argv[2]), argc > 3 ? strtoull(argv[3], NULL, 10) : c->n);
        return 0;
    }
    fprintf(stderr, "usage: %s CASE WORKERS [N]\ncases:", argv[0]);
    for (const bench_case_t *c = cases; c->name; c++)
        fprintf(stderr, " %s", c->name);
    fputc('\n', stderr);
    return 2;
}

/* Queues that hold all the tasks there can be, because the peers' queues have no bound at all. */
static inline void bench_boot(gmk_kernel_t *k, uint32_t workers, gmk_module_t *m)
{
    gmk_module_t *mods[] = {m};
    const gmk_boot_cfg_t cfg = {.arena_size = (uint64_t)256 << 20,
                                .n_workers = workers,
                                .name = "bench",
                                .task_max = 65536,
                                .rq_slots = 65536,
                                .lq_slots = 65536};

    bench_check(gmk_boot(k, &cfg, mods, 1), "boot");
}

#endif
