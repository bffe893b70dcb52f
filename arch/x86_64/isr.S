/* SPDX-License-Identifier: MIT */
/*
 * isr.S — 256 entry stubs: they complete a frame_t (irq.h) on the interrupt stack and call
 * trap_dispatch with it.  Where the CPU pushes no error code the stub pushes 0.
 *
 * A frame is 176 bytes and the CPU aligns the stack to 16 before it pushes, so RSP is 8 mod 16 at the
 * entry of the C function.
 */
    .section .text, "ax", @progbits

    .altmacro
    .macro stub n
.Ltrap_stub_\n:
    .if (\n == 8) || (\n >= 10 && \n <= 14) || (\n == 17) || (\n == 21) || (\n == 29) || (\n == 30)
    .else
    push $0
    .endif
    push $\n
    jmp trap_common
    .endm

    .macro stub_address n
    .quad .Ltrap_stub_\n
    .endm

    .set i, 0
    .rept 256
    stub %i
    .set i, i + 1
    .endr

    .type trap_common, @function
trap_common:
    push %rax
    push %rbx
    push %rcx
    push %rdx
    push %rsi
    push %rdi
    push %rbp
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
    cld
    mov %rsp, %rdi
    call trap_dispatch
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rbp
    pop %rdi
    pop %rsi
    pop %rdx
    pop %rcx
    pop %rbx
    pop %rax
    add $16, %rsp /* vector and error code */
    iretq
    .size trap_common, . - trap_common

    .section .rodata, "a", @progbits
    .balign 8
    .globl trap_stubs
trap_stubs:
    .set i, 0
    .rept 256
    stub_address %i
    .set i, i + 1
    .endr

    .section .note.GNU-stack, "", @progbits
