/* SPDX-License-Identifier: MIT */
/*
 * com2.h — sends metrics and traces to the host through the second serial port, in frames (frame.h).
 *
 * Any thread, one at a time.  A piece that could not be completed is left without its last frame, which
 * tools/ggmk-com2 notices.
 */
#ifndef GGMK_KERNEL_COM2_H
#define GGMK_KERNEL_COM2_H

#include <ggmk.h>

/* GMK_OK; NOTFOUND: there is no second port; or what the export answers.  *bytes: what it was. */
int com2_send_metrics(uint64_t *bytes);
int com2_send_trace(uint64_t *bytes);

/* Sends what com2= on the command line lists, and says so. */
void com2_send_asked(void);

#endif
