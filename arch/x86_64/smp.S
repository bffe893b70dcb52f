/* SPDX-License-Identifier: MIT */
/*
 * smp.S — where the loader sends a parked CPU.
 *
 * In: RDI = the loader's structure of this CPU, whose extra_argument (offset 24) is our ap_start_t; the
 * loader's page tables and stack.  The CPU takes the start if nobody else has (a CPU that comes too late
 * finds it withdrawn and halts), then leaves the loader's page tables and stack for ours.  Until then it
 * touches nothing but the image.
 */
    .section .text.smp_ap_entry, "ax", @progbits
    .global smp_ap_entry
    .type smp_ap_entry, @function
smp_ap_entry:
    cli
    cld
    movq 24(%rdi), %rdi
    movl $1, %eax               /* AP_WAITED_FOR */
    movl $2, %ecx               /* AP_ARRIVED */
    lock cmpxchgl %ecx, 0(%rdi)
    jne 1f
    movq 8(%rdi), %rax
    movq %rax, %cr3
    movq 16(%rdi), %rsp
    xorl %ebp, %ebp
    call smp_ap_main
1:  cli
    hlt
    jmp 1b
    .size smp_ap_entry, . - smp_ap_entry

    .section .note.GNU-stack, "", @progbits
