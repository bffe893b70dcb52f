/* SPDX-License-Identifier: MIT */
#include "say.h"

static int to_console(void *arg, const void *data, size_t size)
{
    char line[GMK_OUT_BYTES + 1];
    (void)arg;
    gmk_hal_memcpy(line, data, size);
    line[size] = '\0';
    gmk_hal_console(line);
    return 0;
}

void gmk_say(gmk_out_t *o, const char *who)
{
    gmk_out_begin(o, to_console, NULL);
    gmk_out_str(o, "ggmk: ");
    gmk_out_str(o, who);
    gmk_out_str(o, ": ");
}

void gmk_said(gmk_out_t *o) { (void)gmk_out_end(o); }
