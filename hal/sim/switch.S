/* SPDX-License-Identifier: MIT */
/*
 * void sim_switch(void **save_sp, void *load_sp)
 *
 * Saves what a function must preserve (System V ABI, x86-64) and the stack pointer, and goes on
 * where load_sp was saved.  The floating-point control words are the same in every fiber.
 */
    .text
    .globl sim_switch
    .type sim_switch, @function
sim_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size sim_switch, . - sim_switch
    .section .note.GNU-stack, "", @progbits
