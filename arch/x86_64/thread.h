/* SPDX-License-Identifier: MIT */
/*
 * thread.h — preemptive kernel threads.
 *
 * A thread is bound to one CPU for life.  Each CPU runs its ready threads in turn, 4 ms each when there
 * is more than one; its interrupt thread comes before the others; its idle thread halts.  The timer is
 * armed only for the next deadline or the end of a slice that somebody waits for: nothing ticks on an
 * idle machine.
 *
 * Unless said otherwise a function here may be called by any thread, and, before thread_init_cpu, by the
 * boot code; not from interrupt routines.
 *
 * Blocking.  thread_block and thread_unblock form a token, as a park slot does: an unblock of a thread
 * that is not blocked is kept (one is enough) and the next block takes it and returns at once.  So the
 * loop `while (!condition) thread_block(deadline)` loses nothing if whoever makes the condition true
 * calls thread_unblock afterwards.  A block may return for an unblock meant for something earlier:
 * always look at the condition again.  Thread structures are never unmapped, only used again, so an
 * unblock that comes after its thread has ended does no harm beyond such an extra return.
 *
 * Order.  State, token and lists of a thread change only under the lock of its CPU, with interrupts
 * off:
 *   - a block looks at the token, and becomes BLOCKED, in one critical section; an unblock finds
 *     either a running thread and leaves the token, or a BLOCKED one and makes it ready.  There is no
 *     moment in between, whoever is first.  All that came before the unblock is seen after the block
 *     (the lock's release and acquire).
 *   - the lock is given up before the stacks are switched.  Another CPU may then make the thread that
 *     is just leaving ready; but only its own CPU can run it, and that one has interrupts off until the
 *     switch is done.
 *   - a CPU that makes a thread of another CPU ready sends it the wake IPI after its list is complete;
 *     the IPI stays pending in the LAPIC while interrupts are off and ends `sti; hlt`, so none is lost.
 *   - a thread that ends leaves its stack (for the interrupt stack of its CPU, which nobody uses while
 *     interrupts are off) before it is declared dead; only then the joiner frees it.
 *   - a deadline that has passed when the timer is armed gives an interrupt at once, not never.
 */
#ifndef ARCH_THREAD_H
#define ARCH_THREAD_H

#include "irq.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct thread thread_t;

#define THREAD_NEVER UINT64_MAX
#define THREAD_ANY_CPU UINT32_MAX
#define THREAD_NAME_BYTES 24u
#define THREAD_STACK_BYTES ((size_t)64 << 10)
#define THREAD_SLICE_NS 4000000u

enum thread_state { THREAD_READY, THREAD_RUNNING, THREAD_BLOCKED, THREAD_DEAD };

typedef struct thread_info {
    char name[THREAD_NAME_BYTES];
    uint32_t id, cpu;
    uint32_t state; /* enum thread_state */
    uint64_t ran_ns, switches;
} thread_info_t;

/*
 * Once per CPU, with the memory managers, the clock and the LAPIC in place: the running context becomes
 * this CPU's first thread, and its idle and interrupt threads start.  Marks the CPU online, turns its
 * interrupts on.  Panics without memory.
 */
void thread_init_cpu(void);

/* Starts fn(arg) on a CPU, or where the fewest threads are.  NULL: no memory, or no such CPU. */
thread_t *thread_start(const char *name, uint32_t cpu, void (*fn)(void *), void *arg);

/* Waits until t has ended, and frees it.  Exactly once for each thread_start, never by t itself. */
void thread_join(thread_t *t);

/* Ends the calling thread, as a return from its function does.  CPUs' first threads may end so too. */
_Noreturn void thread_exit(void);

/* Lets every other ready thread of this CPU run first; returns at once when there is none. */
void thread_yield(void);

/* Waits for thread_unblock or the deadline (clock_now_ns); true = unblocked, false = the time came. */
bool thread_block(uint64_t deadline_ns);

/* From any CPU and any context except NMI and #MC. */
void thread_unblock(thread_t *t);

/* Sleeps at least so long; an unblock is kept for later.  Works (spinning) before thread_init_cpu. */
void thread_sleep_ns(uint64_t ns);

thread_t *thread_self(void); /* NULL before thread_init_cpu */
const char *thread_name(const thread_t *t);
uint32_t thread_cpu(const thread_t *t);
/* What it was started with; fn is NULL for a CPU's first thread.  Tells what a thread is in a report. */
void thread_entry(const thread_t *t, void (**fn)(void *), void **arg);

/* All threads, at most max of them; returns how many there are. */
uint32_t thread_list(thread_info_t *out, uint32_t max);

/* ---- faults that come back ---------------------------------------------------------------- */

typedef struct thread_fault {
    uint32_t vector;
    bool stack_overflow; /* address lies in a guard page */
    uint64_t address;    /* #PF: what was touched; else 0 */
    uint64_t pc;
} thread_fault_t;

/*
 * Runs fn(arg).  An exception of the calling thread during it, with *depth 0 and interrupts on, ends
 * the call: false, and *fault tells.  Calls nest; the innermost counts.
 */
bool thread_guarded(void (*fn)(void *), void *arg, const volatile uint32_t *depth, thread_fault_t *fault);

/* From the exception handlers: changes f so that the return from it ends the innermost guarded call. */
bool thread_catch(frame_t *f, uint64_t address, bool stack_overflow);
/* The depth that kept thread_catch from acting; 0 = there was no guarded call. */
uint32_t thread_guard_depth(void);

/* ---- for the interrupt routines and the panic ----------------------------------------------- */

/* Interrupts off.  The timer came; the wake IPI came; the end of every interrupt routine. */
void thread_on_timer(void);
void thread_on_wake(void);
void thread_on_irq_exit(frame_t *f);

/* Whether addr lies on the stack of t (of the boot code when t is NULL). */
bool thread_on_stack(const thread_t *t, uint64_t addr);

#endif
