/* SPDX-License-Identifier: MIT */
/*
 * irq.h — interrupts of devices, and the registers they leave behind.
 *
 * Each CPU has the vectors 0x30..0xEF for devices.  An interrupt sets bits in the CPU's pending words,
 * acknowledges the LAPIC and wakes the CPU's interrupt thread; that thread calls the registered bottom
 * function.  A bottom function may take locks, wake threads and talk to the core through a port; it
 * shares its thread with all devices of that CPU, so it does not wait for any of them.  Interrupts that
 * come before it starts are merged into one call.
 *
 * Every vector enters on an interrupt stack of its CPU (IST), never on the stack of the interrupted
 * thread, so a thread may use its stack to the last byte.
 *
 * Order: the pending bits are set with release before the thread is woken, and taken with acquire; an
 * interrupt that arrives after its bit was taken sets it again and wakes the thread again.
 */
#ifndef ARCH_IRQ_H
#define ARCH_IRQ_H

#include <stdint.h>

#define IRQ_VECTOR_FIRST 0x30u
#define IRQ_VECTOR_LAST 0xEFu
#define IRQ_VECTORS (IRQ_VECTOR_LAST - IRQ_VECTOR_FIRST + 1u)

/* What the entries of isr.S leave on the stack. */
typedef struct frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error; /* error: 0 where the CPU pushes none */
    uint64_t rip, cs, rflags, rsp, ss;
} frame_t;

typedef void (*irq_fn)(void *arg);

/*
 * Allocates a device vector of a CPU.  Any thread.  Returns the vector, GMK_ERR_NOTFOUND when that CPU
 * is not online, GMK_ERR_INVAL without a function, GMK_ERR_LIMIT when all its vectors are taken.  A late
 * interrupt of the vector's former owner may call the new one's function once.
 */
int irq_register(uint32_t cpu, irq_fn bottom, void *arg);

/*
 * The same for a line that may be level-triggered, that is, asserted until the function has served the
 * device: the LAPIC is acknowledged only after that, or it would interrupt again without end.
 */
int irq_register_line(uint32_t cpu, irq_fn bottom, void *arg);

/*
 * Gives a vector back.  Any thread; when it returns, the function is not running and never will again
 * (unless the caller is that function itself).  Silence the device first.
 */
void irq_unregister(uint32_t cpu, uint32_t vector);

/* Interrupts taken so far, on any vector from 0x20; 0 for a CPU or vector that does not exist. */
uint64_t irq_count(uint32_t cpu, uint32_t vector);

/* From isr.S, interrupts off: vectors 0x20..0xFF. */
void irq_dispatch(frame_t *f);

/* What a CPU's interrupt thread runs for ever. */
void irq_thread_main(void *unused);

#endif
