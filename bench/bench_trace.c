/* SPDX-License-Identifier: MIT */
/*
 * bench_trace [--json] [--rounds N]: nanoseconds per operation, the cases by turns.
 *   put      one trace record, its time given
 *   put-tsc  one trace record and the reading of the cycle counter
 *   tsc      the reading of the cycle counter alone
 *   hist     one observation in a histogram
 *   inc      one increment of a user counter
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hist.h"
#include "trace.h"
#include "usermetrics.h"

#include <ggmk/observe.h>

enum { RECORDS = 4096, EACH = 2000000, MAX_ROUNDS = 1000 };

static gmk_trace_ring_t ring;
static gmk_hist_t hist;
static gmk_umetrics_t metrics;
static uint32_t counter;
static volatile uint64_t sink;

static void put(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        gmk_trace_put(&ring, i, GMK_EV_BEGIN, i & 255, i, i + 1);
}

static void put_tsc(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        gmk_trace_put(&ring, gmk_hal_cycles(), GMK_EV_BEGIN, i & 255, i, i + 1);
}

static void tsc(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        sink = gmk_hal_cycles();
}

static void observe(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        gmk_hist_record(&hist, (uint64_t)i * 977, 1);
}

static void inc(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        gmk_umetrics_inc(&metrics, 0, counter, 1);
}

static void *no_memory(void *arg, size_t bytes)
{
    (void)arg;
    (void)bytes;
    return NULL;
}

static void set_up(void)
{
    void *records = aligned_alloc(GMK_CACHE_LINE, gmk_trace_ring_bytes(RECORDS));
    void *cells = aligned_alloc(GMK_CACHE_LINE,
                                (gmk_umetrics_bytes(64, 1) / GMK_CACHE_LINE + 1) * GMK_CACHE_LINE);
    if (records == NULL || cells == NULL)
        abort();
    gmk_trace_ring_init(&ring, records, RECORDS);
    gmk_hist_init(&hist);
    gmk_umetrics_init(&metrics, cells, 64, 1, no_memory, NULL);
    if (gmk_umetrics_register(&metrics, "counter", GMK_COUNTER, &counter) != GMK_OK)
        abort();
}

static double measure(void (*run)(uint32_t))
{
    uint64_t t0 = gmk_hal_now_ns();
    run(EACH);
    return (double)(gmk_hal_now_ns() - t0) / EACH;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static const struct {
    const char *name;
    void (*run)(uint32_t);
} cases[] = {{"put", put}, {"put-tsc", put_tsc}, {"tsc", tsc}, {"hist", observe}, {"inc", inc}};

enum { CASES = sizeof cases / sizeof cases[0] };

static void report(bool json, const char *name, double *ns, int rounds)
{
    qsort(ns, (size_t)rounds, sizeof *ns, by_value);
    if (json)
        printf(
            "{\"bench\": \"trace\", \"test\": \"%s\", \"unit\": \"ns\", \"median\": %.2f, \"min\": %.2f}\n",
            name, ns[rounds / 2], ns[0]);
    else
        printf("%-8s median %6.2f ns  min %6.2f ns\n", name, ns[rounds / 2], ns[0]);
}

int main(int argc, char **argv)
{
    static double ns[CASES][MAX_ROUNDS];
    bool json = false;
    int rounds = 9;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc)
            rounds = atoi(argv[++i]);
        else
            rounds = 0;
    }
    if (rounds < 1 || rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: bench_trace [--json] [--rounds N]\n");
        return 2;
    }
    set_up();
    for (int r = 0; r < rounds; r++)
        for (int c = 0; c < CASES; c++)
            ns[c][r] = measure(cases[c].run);
    for (int c = 0; c < CASES; c++)
        report(json, cases[c].name, ns[c], rounds);
    return 0;
}
