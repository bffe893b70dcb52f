/* SPDX-License-Identifier: MIT */
/*
 * switch.S — leaving one thread and going on with another; and calls that a fault can end.
 *
 * A thread that does not run has left in one of two ways.  Either it called context_switch: then its
 * callee-saved registers and MXCSR lie on its stack, all else is dead by the calling convention.  Or an
 * interrupt took the CPU from it: then all its registers are in its frame_t and FXSAVE area, and
 * `preempted` is 1.  Offsets into thread_t are checked in thread.c.
 */
#include "frame.inc"

#define THREAD_RSP 0
#define THREAD_PREEMPTED 8
#define THREAD_FRAME 16
#define THREAD_FX 192

    .section .text, "ax", @progbits

/* What the C caller expects to find again, in the order of the pops. */
    .macro save_callee
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    sub $8, %rsp
    stmxcsr (%rsp)
    .endm

    .macro restore_callee
    ldmxcsr (%rsp)
    add $8, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    .endm

/* void context_switch(thread_t *from, thread_t *to): interrupts off; returns when `from` runs again. */
    .globl context_switch
    .type context_switch, @function
context_switch:
    save_callee
    mov %rsp, THREAD_RSP(%rdi)
    mov %rsi, %rdi
    jmp context_resume
    .size context_switch, . - context_switch

/* _Noreturn void context_resume(thread_t *to): interrupts off; whatever is on this stack is given up. */
    .globl context_resume
    .type context_resume, @function
context_resume:
    cmpq $0, THREAD_PREEMPTED(%rdi)
    jne 1f
    mov THREAD_RSP(%rdi), %rsp
    restore_callee
    ret
1:  movq $0, THREAD_PREEMPTED(%rdi)
    fxrstor64 THREAD_FX(%rdi)
    lea THREAD_FRAME(%rdi), %rsp
    frame_return
    .size context_resume, . - context_resume

/* _Noreturn void context_call(uint64_t stack_top, void (*fn)(void)): fn on another stack, for good. */
    .globl context_call
    .type context_call, @function
context_call:
    mov %rdi, %rsp
    xor %ebp, %ebp
    push %rbp
    jmp *%rsi
    .size context_call, . - context_call

/*
 * uint32_t context_guard(void (*fn)(void *), void *arg, uint64_t *rsp): 1 when fn has returned, 0 when
 * a fault ended it: thread_catch lets the exception return to context_landing on the stack kept in
 * *rsp.
 */
    .globl context_guard
    .type context_guard, @function
context_guard:
    save_callee
    mov %rsp, (%rdx)
    mov %rdi, %rax
    mov %rsi, %rdi
    call *%rax /* 8 bytes of return address and 56 saved: RSP is 0 mod 16 here */
    restore_callee
    mov $1, %eax
    ret
    .globl context_landing
context_landing:
    fninit /* what the fault left in the x87 */
    restore_callee
    xor %eax, %eax
    ret
    .size context_guard, . - context_guard

    .section .note.GNU-stack, "", @progbits
