/* SPDX-License-Identifier: MIT */
/*
 * say.h — one line on the console, built from pieces:
 *     gmk_out_t o;
 *     gmk_say(&o, k->name); gmk_out_str(&o, "..."); gmk_out_u64(&o, n); gmk_said(&o);
 * The line starts with "ggmk: NAME: ".  Any thread; the line appears as a whole.
 */
#ifndef GMK_SAY_H
#define GMK_SAY_H

#include "format.h"

void gmk_say(gmk_out_t *o, const char *who);
void gmk_said(gmk_out_t *o);

#endif
