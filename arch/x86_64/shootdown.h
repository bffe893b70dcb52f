/* SPDX-License-Identifier: MIT */
/*
 * shootdown.h — making every CPU forget translations that were taken out of the page tables.
 *
 * ORDER.  The initiator (1) clears the entries, (2) writes the range and publishes a new number with
 * a sequentially consistent exchange, (3) sends IPI 0xFD, (4) waits until every participating CPU has
 * stored that number.  A CPU, in the IPI or in a poll, (5) loads the number with acquire, (6) executes
 * INVLPG or reloads CR3, (7) stores the number with release.
 *
 *   - A CPU that sees the number sees the cleared entries (2 → 5), so what it walks after (6) is the
 *     new state.  INVLPG and MOV to CR3 serialise (Intel SDM 3A §8.3): every earlier access of that
 *     CPU through the old translation, stores in its buffer included, is complete before (7).
 *   - The initiator's wait acquires (7), so it frees frames only when no CPU can reach them any more.
 *   - A CPU that joins says so, then a sequentially consistent fence, then drops all translations.
 *     Either the initiator sees it in (4), or its flush comes after (1), and it never walks the old.
 *   - A CPU that missed numbers while it did not take part drops everything, not the last range.
 *
 * NO DEADLOCK.  One initiator at a time; it has interrupts off, so it is never preempted.  Another one
 * waits for its turn: asleep, interruptible like any thread, or, if it came with interrupts off, polling
 * in its spin; either way it answers the first one's request.  Spinlocks poll while they spin; the
 * holder of a spinlock does not unmap, and so never waits here.  Everything else with interrupts off is
 * short.  An IPI that a CPU could not take (its LAPIC was not on yet) is sent again.  A CPU that does
 * not answer for SHOOTDOWN_PATIENCE_NS is named by a panic.  In a panic the others are stopped, and
 * nobody waits for them.
 */
#ifndef GMK_X86_SHOOTDOWN_H
#define GMK_X86_SHOOTDOWN_H

#include <stdbool.h>
#include <stdint.h>

#define SHOOTDOWN_PATIENCE_NS (20 * UINT64_C(1000000000))

/* The caller has cleared the entries of these pages, and holds no spinlock. */
void shootdown(uint64_t va, uint64_t pages);
uint64_t shootdown_count(void); /* requests that other CPUs had to answer */
bool shootdown_takes_part(uint32_t cpu);

#endif
