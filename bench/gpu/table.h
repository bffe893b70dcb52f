/* SPDX-License-Identifier: MIT */
/* table.h — the rows of what is measured on a GPU: for people on standard output, and a JSON object a line. */
#ifndef GGMK_BENCH_TABLE_H
#define GGMK_BENCH_TABLE_H

#include <stdio.h>
#include <stdlib.h>

static FILE *table_json; /* NULL: none is wanted */

static inline void table_open(const char *path)
{
    if (path != NULL && (table_json = fopen(path, "a")) == NULL) {
        perror(path);
        exit(1);
    }
}

static inline void table_close(void)
{
    if (table_json != NULL && fclose(table_json) != 0)
        perror("the file of figures");
}

static inline void table_row(const char *test, double value, const char *unit, const char *more)
{
    printf("%-42s %12.3f %-6s %s\n", test, value, unit, more);
    fflush(stdout);
    if (table_json != NULL)
        fprintf(table_json, "{\"bench\": \"gpu\", \"test\": \"%s\", \"value\": %.4f, \"unit\": \"%s\"}\n",
                test, value, unit);
}

/* Of things that take so many ns each. */
static inline void table_rate(const char *test, double ns_each)
{
    char more[64];

    snprintf(more, sizeof more, "%.1f ns each", ns_each);
    table_row(test, 1e3 / ns_each, "M/s", more);
}

#endif
