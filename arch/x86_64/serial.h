/* SPDX-License-Identifier: MIT */
/*
 * serial.h — COM1 and COM2: 16550 UARTs, 115200 8N1.
 *
 * Writing is polled, and waits a bounded time for a port that does not take its bytes; it is safe from
 * any context, interrupts included, and up to 1 KiB is written in one piece.  Reading is for one thread per
 * port at a time: polled until serial_irq_enable, afterwards by interrupt into a ring of 1 KiB.  While that is
 * full the UART keeps what comes, as long as it can.  A port that is not there swallows what is written and never has
 * anything to read.
 */
#ifndef ARCH_SERIAL_H
#define ARCH_SERIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SERIAL_COM1, SERIAL_COM2, SERIAL_PORTS };

/* Probes the port and sets it up; false when there is no UART that answers.  Boot code. */
bool serial_init(uint32_t port);
bool serial_present(uint32_t port);

void serial_write(uint32_t port, const void *bytes, size_t n);

/* Whether serial_read would return at once with bytes. */
bool serial_readable(uint32_t port);

/* At least one byte and at most n, or 0 when timeout_ns has passed (UINT64_MAX: waits for ever). */
size_t serial_read(uint32_t port, void *bytes, size_t n, uint64_t timeout_ns);

/* Once, by a thread, after ioapic_init: a port whose interrupt cannot be routed stays polled. */
void serial_irq_enable(void);

/* How often the UART had to drop what came. */
uint64_t serial_dropped(uint32_t port);

/* From now on no lock is taken: only the panicking CPU still writes. */
void serial_panic_mode(void);

#endif
