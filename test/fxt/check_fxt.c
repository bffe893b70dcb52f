/* SPDX-License-Identifier: MIT */
/*
 * check_fxt.c — check-fxt FILE [FAILED]: reads a trace of ggmk-sim with the tests' own reader and prints
 * what is in it.  Status 1 when it is no valid trace, its slices do not nest, there is no slice or
 * track, or, with FAILED, it holds no event of that name.
 */
#include "../fxt_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned char *contents(const char *name, size_t *size)
{
    FILE *f = fopen(name, "rb");
    unsigned char *p = NULL;
    if (f != NULL && fseek(f, 0, SEEK_END) == 0) {
        *size = (size_t)ftell(f);
        p = malloc(*size + 1);
        rewind(f);
        if (p == NULL || fread(p, 1, *size, f) != *size)
            *size = 0;
    }
    if (f != NULL)
        fclose(f);
    return p;
}

static size_t count(const fxt_trace_t *t, int kind, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n_events; i++)
        n += t->event[i].kind == kind && (name == NULL || strcmp(t->event[i].name, name) == 0);
    return n;
}

static const char *judge(fxt_trace_t *t, const char *wanted)
{
    size_t tracks = 0;
    const char *bad = fxt_check_slices(t);
    for (size_t i = 0; i < t->n_objects; i++)
        tracks += t->object[i].type == 2;
    if (bad == NULL && (tracks == 0 || count(t, FXT_BEGIN, NULL) == 0))
        bad = "nothing in it";
    if (bad == NULL && wanted != NULL && count(t, FXT_INSTANT, wanted) == 0)
        bad = "no such event";
    if (bad == NULL)
        printf("%s, %zu tracks, %zu slices\n", t->provider, tracks, count(t, FXT_BEGIN, NULL));
    return bad;
}

int main(int argc, char **argv)
{
    static fxt_trace_t t;
    size_t size = 0;
    unsigned char *p = argc > 1 ? contents(argv[1], &size) : NULL;
    const char *bad = p == NULL ? "cannot be read" : fxt_parse(p, size, &t);
    if (bad == NULL)
        bad = judge(&t, argc > 2 ? argv[2] : NULL);
    if (bad != NULL)
        printf("%s: %s\n", argc > 1 ? argv[1] : "check-fxt", bad);
    fxt_free(&t);
    free(p);
    return bad != NULL;
}
