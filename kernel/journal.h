/* SPDX-License-Identifier: MIT */
/*
 * journal.h — the module that says on the console what fails and what is dropped in cpu.0.
 *
 * It hears sys.error and sys.dropped, and prints at most JOURNAL_LINES lines a second; what it leaves out
 * it counts.  It also has the channel "machine.echo", whose messages it prints, for `emit`.
 */
#ifndef GGMK_KERNEL_JOURNAL_H
#define GGMK_KERNEL_JOURNAL_H

#include <ggmk.h>

#define JOURNAL_LINES 10u

extern gmk_module_t journal_module;

/* While quiet it counts only: for those who fail on purpose. */
void journal_quiet(bool quiet);

/* Records heard since the boot: failures and drops, by deliveries. */
void journal_counts(uint64_t *failed, uint64_t *dropped);

#endif
