/* SPDX-License-Identifier: MIT */
/*
 * run.h — what the hosted programs of the word counter share: options, the outside of the pipeline (the
 * source of bytes, the result, a progress line), and the export of traces and metrics.
 *
 * A program fills in what is its own in a program_t, parses its options, and calls run().  All of it is for
 * the main thread.
 */
#ifndef RUN_H
#define RUN_H

#include "wc.h"

#include <getopt.h>
#include <stdatomic.h>
#include <stdio.h>

enum { EXIT_TROUBLE = 1, EXIT_USAGE = 2 };

typedef struct options {
    const char *file;  /* "-" = standard input */
    const char *trace; /* NULL = none */
    bool metrics;
    uint32_t workers;
    uint64_t memory; /* bytes of arena */
} options_t;

typedef struct program program_t;
struct program {
    /* The program's own, set before parse_options.  Its options have values from 256 up. */
    const char *name;        /* in messages */
    const char *kernel_name; /* of the kernel that runs here */
    const char *more_usage;  /* lines on its own options; "" = none */
    const struct option *more_options;
    uint32_t n_more_options;
    void (*option)(program_t *p, int option, const char *value);
    uint32_t most_chunks;       /* in flight; 0 = as many as keep the workers busy */
    int (*boot)(program_t *p);  /* boots the kernel: 0, or an exit status and a message */
    int (*watch)(program_t *p); /* looked at now and then while the run lasts: GMK_OK, or what it ends with */
    const char *(*explain)(program_t *p, int code); /* why a run failed; NULL = no special reason */

    options_t opt;
    gmk_kernel_t kernel;
    int input;           /* descriptor */
    int trace;           /* descriptor, with --trace */
    bool made_trace;     /* the file was not there before */
    bool may_block;      /* the input is no regular file */
    uint64_t input_size; /* bytes, 0 = not known */
    int event;           /* eventfd: something below has changed */
    atomic_bool wants_input, finished;
    int read_errno, code;
    char *result; /* what report has written */
    size_t result_size, result_room;
};

/* ---- options.c: what is wrong ends the program, with a line that says so -------------------- */

/* Sets p->opt and what of wc_config hangs on it: chunk_bytes, chunk_slots, word_max, top. */
void parse_options(program_t *p, int argc, char **argv);

/* A whole decimal number within bounds. */
uint64_t parse_number(const program_t *p, const char *option, const char *text, uint64_t low, uint64_t high);

/* ---- run.c ---------------------------------------------------------------------------------- */

/* From open files to the halt: the exit status. */
int run(program_t *p);

/* For p->boot: boots the kernel with these modules. */
int boot_modules(program_t *p, gmk_module_t **modules, uint32_t n);

/* Writes the line "NAME: what: why"; EXIT_TROUBLE. */
int complain(const program_t *p, const char *what, const char *why);

#endif
