/* SPDX-License-Identifier: MIT */
/*
 * isr.S — 256 entries: they complete a frame_t (irq.h) on the interrupt stack and call
 * trap_dispatch with it.  Where the CPU pushes no error code the entry pushes 0.
 *
 * A frame is 176 bytes and the CPU aligns the stack to 16 before it pushes, so RSP is 8 mod 16 at the
 * entry of the C function.
 */
#include "frame.inc"

    .section .text, "ax", @progbits

    .altmacro
    .macro trap_entry n
.Ltrap_\n:
    .if (\n == 8) || (\n >= 10 && \n <= 14) || (\n == 17) || (\n == 21) || (\n == 29) || (\n == 30)
    .else
    push $0
    .endif
    push $\n
    jmp trap_common
    .endm

    .macro trap_address n
    .quad .Ltrap_\n
    .endm

    .set i, 0
    .rept 256
    trap_entry %i
    .set i, i + 1
    .endr

    .type trap_common, @function
trap_common:
    frame_push
    cld
    mov %rsp, %rdi
    call trap_dispatch
    frame_return
    .size trap_common, . - trap_common

    .section .rodata, "a", @progbits
    .balign 8
    .globl trap_entries
trap_entries:
    .set i, 0
    .rept 256
    trap_address %i
    .set i, i + 1
    .endr

    .section .note.GNU-stack, "", @progbits
