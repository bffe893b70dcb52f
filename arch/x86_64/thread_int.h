/* SPDX-License-Identifier: MIT */
/*
 * thread_int.h — what the files of the threads share; nobody else includes it.
 *
 * thread.c runs them: lists, timer, switch, block and unblock.  thread_life.c makes and ends them.
 * thread_guard.c brings their faults back.  Locks are taken in this order: the lists of all threads and
 * of their ends (thread_life.c), then the lock of one CPU.
 */
#ifndef ARCH_THREAD_INT_H
#define ARCH_THREAD_INT_H

#include "cpu.h"
#include "thread.h"

struct thread {
    /* switch.S knows these four. */
    uint64_t rsp, preempted;
    frame_t frame;
    _Alignas(16) uint8_t fx[512];

    /* Under the lock of `cpu`. */
    cpu_t *cpu;
    thread_t *next, *prev; /* in the ready list, or among the sleepers */
    uint64_t deadline;     /* THREAD_NEVER: not among the sleepers */
    uint32_t state;
    bool token;  /* an unblock that came before its block */
    bool woken;  /* the block ended by an unblock */
    bool deaf;   /* blocked, and only for its deadline */
    bool urgent; /* the interrupt thread */
    uint64_t ran_ns, switches;

    /* Its own. */
    struct guard *guard; /* innermost guarded call (thread_guard.c) */
    void (*fn)(void *);
    void *arg;
    uint64_t stack_low, stack_top; /* stack_bytes 0: not ours to free */
    size_t stack_bytes;

    /* Under end_lock. */
    thread_t *joiner;
    bool ended;

    /* Under all_lock. */
    thread_t *all_next, *all_prev;
    uint32_t id;
    char name[THREAD_NAME_BYTES];
};
_Static_assert(offsetof(thread_t, rsp) == 0 && offsetof(thread_t, preempted) == 8 &&
                   offsetof(thread_t, frame) == 16 && offsetof(thread_t, fx) == 192,
               "switch.S counts on these");
_Static_assert(sizeof(frame_t) == 176, "isr.S and switch.S count on it");

/* switch.S */
_Noreturn void context_resume(thread_t *to);

/* The lock of t's CPU, which it returns; interrupts off.  t may be a thread that has ended. */
cpu_t *thread_lock_cpu(thread_t *t);

/* Interrupts off, the CPU's lock held.  Makes t ready; whether its CPU must be told: to switch, or to end a slice. */
bool thread_make_ready(cpu_t *c, thread_t *t);

/* What follows when it must: thread_tell with the lock held, thread_settle without (it restores flags). */
void thread_tell(cpu_t *c);
void thread_settle(uint64_t flags);

/* Own CPU, interrupts off, its lock held; the running thread has been put where it belongs.  Its successor. */
thread_t *thread_elect(cpu_t *c);

#endif
