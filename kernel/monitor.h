/* SPDX-License-Identifier: MIT */
/*
 * monitor.h — the prompt on the first serial port: one thread that reads lines and runs commands.
 *
 * Each command is a function below.  It prints what it has to say, 80 columns wide, and answers true; when
 * its arguments make no sense it returns wrong(what, value), and the monitor adds the usage line.
 */
#ifndef GGMK_KERNEL_MONITOR_H
#define GGMK_KERNEL_MONITOR_H

#include <stdbool.h>
#include <stdint.h>

/* A thread's function; it never returns. */
void monitor_main(void *unused);

/* Prints what is wrong with which word, and answers false. */
bool wrong(const char *what, const char *value);

/* The numbers of argv, or wrong(): a missing one keeps its value. */
bool number_argument(int argc, char **argv, int i, uint64_t most, uint64_t *value);

/* Prints a non-zero code in words; answers true, for the command was well formed. */
bool report_code(const char *what, int code);

typedef bool (*command_fn)(int argc, char **argv);

bool cmd_ps(int argc, char **argv); /* cmd_threads.c */
bool cmd_top(int argc, char **argv);
bool cmd_stats(int argc, char **argv); /* cmd_core.c */
bool cmd_mod(int argc, char **argv);
bool cmd_chan(int argc, char **argv); /* cmd_chan.c */
bool cmd_emit(int argc, char **argv);
bool cmd_trace(int argc, char **argv); /* cmd_trace.c */
bool cmd_mem(int argc, char **argv);   /* cmd_devices.c */
bool cmd_pci(int argc, char **argv);
bool cmd_blk(int argc, char **argv);
bool cmd_test(int argc, char **argv); /* cmd_power.c */
bool cmd_fault(int argc, char **argv);
bool cmd_reboot(int argc, char **argv);
bool cmd_halt(int argc, char **argv);

#endif
