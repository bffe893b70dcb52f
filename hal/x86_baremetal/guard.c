/* SPDX-License-Identifier: MIT */
/*
 * guard.c — CPU faults of a handler come back as a return value.
 *
 * The exception handlers (arch/x86_64/trap.c) run on stacks of their own, so a handler that has overflowed
 * its stack is caught like any other, and no thread needs preparing.  This contains mistakes.  It is not a
 * protection domain: what a handler wrote before it faulted stays written.
 */
#include <ggmk/error.h>
#include <ggmk/hal.h>

#include "idt.h"
#include "kprintf.h"
#include "panic.h"
#include "thread.h"

/* Vectors begin at 0, and kind 0 means no fault. */
#define KIND_OF_VECTOR 0x100u
#define PAGE_FAULT 14u

int gmk_hal_guard_enter(void) { return GMK_OK; }
void gmk_hal_guard_leave(void) {}

/* The core counts the fault and fails the task; only here it is known what happened, and where. */
static void say(const thread_fault_t *f)
{
    uint64_t offset = 0;
    const char *name = symbol_of(f->pc, &offset);
    char where[32] = "";
    if (f->vector == PAGE_FAULT)
        (void)ksnprintf(where, sizeof where, ", address 0x%lx", f->address);
    kprintf("fault: %s: %s, %s at 0x%lx %s+0x%lx%s\n", thread_name(thread_self()), trap_mnemonic(f->vector),
            f->stack_overflow ? "stack overflow" : trap_name(f->vector), f->pc,
            name != NULL ? name : "nowhere", offset, where);
}

bool gmk_hal_guarded(void (*fn)(void *), void *arg, const volatile uint32_t *depth, gmk_fault_info_t *info)
{
    thread_fault_t fault;
    if (thread_guarded(fn, arg, depth, &fault))
        return true;
    say(&fault);
    *info = (gmk_fault_info_t){
        .kind = KIND_OF_VECTOR + fault.vector, .address = fault.address, .pc = fault.pc};
    return false;
}
