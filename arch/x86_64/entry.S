/* SPDX-License-Identifier: MIT */
/*
 * entry.S — the first instructions, in the state the Limine protocol promises: 64-bit mode, paging on,
 * interrupts off, some stack.  SSE is made usable before any C runs, as the compiler may use it.
 */
#define CR0_MP (1 << 1)
#define CR0_EM (1 << 2)
#define CR0_TS (1 << 3)
#define CR4_OSFXSR (1 << 9)
#define CR4_OSXMMEXCPT (1 << 10)
#define MSR_GS_BASE 0xC0000101

    .section .text.entry, "ax", @progbits
    .globl kernel_entry
    .type kernel_entry, @function
kernel_entry:
    cli
    cld
    mov %cr0, %rax
    and $~(CR0_EM | CR0_TS), %rax
    or $CR0_MP, %rax
    mov %rax, %cr0
    mov %cr4, %rax
    or $(CR4_OSFXSR | CR4_OSXMMEXCPT), %rax
    mov %rax, %cr4
    ldmxcsr mxcsr_start(%rip)

    /* cpu_this() works from the first line of C on. */
    mov $cpu_boot, %rax
    mov %rax, %rdx
    shr $32, %rdx
    mov $MSR_GS_BASE, %ecx
    wrmsr

    mov $boot_stack_top, %rsp
    xor %ebp, %ebp
    push %rbp /* where frame pointers end; and RSP is 8 mod 16, as after a call */
    jmp kmain
    .size kernel_entry, . - kernel_entry

    .section .rodata, "a", @progbits
    .balign 4
mxcsr_start:
    .long 0x1F80

    .section .bss, "aw", @nobits
    .balign 4096
    .globl boot_stack, boot_stack_top
boot_stack:
    .skip 65536
boot_stack_top:

    .section .note.GNU-stack, "", @progbits
