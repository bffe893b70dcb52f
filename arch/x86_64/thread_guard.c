/* SPDX-License-Identifier: MIT */
/* thread_guard.c — faults that come back; thread.h says which do. */
#include "thread_int.h"

/* A guarded call in progress; lies in the frame of thread_guarded. */
struct guard {
    struct guard *outer;
    const volatile uint32_t *depth;
    thread_fault_t *fault;
    uint64_t rsp; /* for context_landing */
};

/* switch.S */
uint32_t context_guard(void (*fn)(void *), void *arg, uint64_t *rsp);
extern const char context_landing[];

bool thread_guarded(void (*fn)(void *), void *arg, const volatile uint32_t *depth, thread_fault_t *fault)
{
    thread_t *t = thread_self();
    struct guard g = {.outer = t->guard, .depth = depth, .fault = fault};
    t->guard = &g;
    bool returned = context_guard(fn, arg, &g.rsp) != 0;
    t->guard = g.outer;
    return returned;
}

uint32_t thread_guard_depth(void)
{
    const thread_t *t = thread_self();
    return t != NULL && t->guard != NULL ? *t->guard->depth : 0;
}

/*
 * With interrupts off the thread was in the middle of something that others rely on: no way back. The
 * stack of the faulting code is given up as a whole, so nothing of it needs to be in order.
 */
bool thread_catch(frame_t *f, uint64_t address, bool stack_overflow)
{
    cpu_t *c = cpu_this();
    struct guard *g = c->current != NULL ? c->current->guard : NULL;
    if (g == NULL || c->in_irq != 0 || (f->rflags & RFLAGS_IF) == 0 || *g->depth != 0)
        return false;
    *g->fault = (thread_fault_t){(uint32_t)f->vector, stack_overflow, address, f->rip};
    f->rip = (uint64_t)(uintptr_t)context_landing;
    f->rsp = g->rsp;
    f->rflags = RFLAGS_IF | 2; /* bit 1 is always set; direction, trap and alignment flags off */
    f->cs = SEL_CODE;
    f->ss = SEL_DATA;
    return true;
}
