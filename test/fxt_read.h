/* SPDX-License-Identifier: MIT */
/*
 * fxt_read.h — a reader of the Fuchsia trace format for tests, written from the format's public
 * description (fuchsia.dev/fuchsia-src/reference/tracing/trace-format) and sharing nothing with
 * the exporter.  One thread; allocates; answers with what is wrong, in words.
 *
 *   fxt_parse         bytes -> events in file order
 *   fxt_check_slices  slices of each thread nest, every flow event lies in one; leaves the events
 *                     sorted by thread and time
 *   fxt_loose_flows   how many flow ends and steps have no begin anywhere in the trace
 */
#ifndef GMK_TEST_FXT_READ_H
#define GMK_TEST_FXT_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FXT_INSTANT = 0,
    FXT_BEGIN = 2,
    FXT_END = 3,
    FXT_FLOW_BEGIN = 8,
    FXT_FLOW_STEP = 9,
    FXT_FLOW_END = 10
};

typedef struct fxt_arg {
    char name[64];
    int type;
    uint64_t number;
    char text[64];
} fxt_arg_t;

typedef struct fxt_event {
    int kind;
    uint64_t time, process, thread, id;
    char category[64], name[64];
    int n_args;
    fxt_arg_t arg[15];
    size_t order; /* in the file */
} fxt_event_t;

typedef struct fxt_object {
    int type; /* 1 process, 2 thread */
    uint64_t koid, process;
    char name[64];
} fxt_object_t;

typedef struct fxt_trace {
    uint64_t ticks_per_second;
    char provider[64];
    fxt_event_t *event;
    size_t n_events;
    fxt_object_t *object;
    size_t n_objects;
    /* while parsing */
    char (*string)[64];
    struct {
        uint64_t process, thread;
        bool set;
    } thread[256];
} fxt_trace_t;

/* NULL, or what is wrong; fxt_free in both cases. */
const char *fxt_parse(const unsigned char *p, size_t size, fxt_trace_t *t);
const char *fxt_check_slices(fxt_trace_t *t);
size_t fxt_loose_flows(const fxt_trace_t *t);
void fxt_free(fxt_trace_t *t);

#endif
