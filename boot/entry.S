/* SPDX-License-Identifier: MIT
 *
 * The two ways in (PVH, Multiboot2), the way to 64-bit mode for the boot CPU and for the others, and the last
 * instructions before the kernel.
 */
#include "handoff.h"

#define CR0_VALUE 0x80010011 /* PG, WP, ET, PE: caches on */
#define CR4_PAE 0x20
#define MSR_EFER 0xc0000080
#define EFER_VALUE 0x900 /* LME, NXE */
#define MSR_PAT 0x277
#define MSR_APIC_BASE 0x1b
#define MSR_X2APIC 0x800
#define MSR_X2APIC_ID 0x802
#define LAPIC_EOI 0xb0
#define LAPIC_SVR 0xf0
#define LAPIC_LVT_TIMER 0x320
#define LAPIC_TIMER_COUNT 0x380
#define LAPIC_TIMER_DIVIDE 0x3e0
#define PARK_VECTOR 0x40
#define PARK_COUNT 2000000 /* 2 ms of QEMU's 1 GHz */
#define CPUID_LM_NX 0x20100000

#define SEL_CODE32 0x18
#define SEL_DATA32 0x20
#define SEL_CODE64 0x28
#define SEL_DATA64 0x30

#define PVH 1
#define MULTIBOOT2 2

    .macro lapic_set register, value
    mov $\register, %ecx
    mov $\value, %eax
    call lapic_write
    .endm

    /* Multiboot2 header, 3.1: page-aligned modules (tag 6), end. */
    .section .multiboot2, "a"
    .balign 8
mb2_header:
    .long 0xe85250d6, 0, mb2_header_end - mb2_header, -(0xe85250d6 + 0 + (mb2_header_end - mb2_header))
    .word 6, 0
    .long 8
    .word 0, 0
    .long 8
mb2_header_end:

    /* Xen's ELF note 18, XEN_ELFNOTE_PHYS32_ENTRY. */
    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 4, 18
    .asciz "Xen"
    .long pvh_start

    .text
    .code32
    .globl pvh_start, mb2_start
pvh_start:
    mov $PVH, %esi
    jmp start32
mb2_start:
    mov $MULTIBOOT2, %esi
start32:
    cli
    cld
    mov $loader_stack_top, %esp
    mov %eax, %edi
    mov %ebx, %ebp
    mov $0x80000000, %eax
    cpuid
    cmp $0x80000001, %eax
    jb no_long_mode
    mov $0x80000001, %eax
    cpuid
    and $CPUID_LM_NX, %edx
    cmp $CPUID_LM_NX, %edx
    jne no_long_mode

    /* The lowest 4 GiB, in pages of 2 MiB. */
    mov $early_pd, %ebx
    mov $0x83, %eax
1:  mov %eax, (%ebx)
    add $8, %ebx
    add $0x200000, %eax
    jnc 1b
    movl $early_pd + 0x0003, early_pdpt
    movl $early_pd + 0x1003, early_pdpt + 8
    movl $early_pd + 0x2003, early_pdpt + 16
    movl $early_pd + 0x3003, early_pdpt + 24
    movl $early_pdpt + 3, early_pml4

    lgdt gdtr
    mov $start64, %ebx
    jmp long_mode

/* On to %ebx in 64-bit mode; %esi, %edi, %ebp and %esp stay. */
long_mode:
    mov $SEL_DATA32, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $CR4_PAE, %eax
    mov %eax, %cr4
    mov $early_pml4, %eax
    mov %eax, %cr3
    mov $MSR_EFER, %ecx
    mov $EFER_VALUE, %eax
    xor %edx, %edx
    wrmsr
    mov $MSR_PAT, %ecx
    mov $PAT_VALUE & 0xffffffff, %eax
    mov $PAT_VALUE >> 32, %edx
    wrmsr
    mov $CR0_VALUE, %eax
    mov %eax, %cr0
    ljmp $SEL_CODE64, $1f
    .code64
1:  jmp *%rbx

start64:
    mov %esi, %eax
    mov %edi, %esi
    mov %eax, %edi
    mov %ebp, %edx
    xor %ebp, %ebp
    call boot_main

    .code32
/* There is no C to say it with. */
no_long_mode:
    mov $0x3f8 + 3, %edx
    mov $0x80, %al
    out %al, %dx
    mov $0x3f8, %edx
    mov $1, %al
    out %al, %dx
    inc %edx
    xor %eax, %eax
    out %al, %dx
    mov $0x3f8 + 3, %edx
    mov $3, %al
    out %al, %dx
    mov $no_long_mode_text, %esi
1:  mov $0x3f8 + 5, %edx
    mov $100000, %ecx
2:  in %dx, %al
    test $0x20, %al
    loopz 2b
    lodsb
    test %al, %al
    jz 3f
    mov $0x3f8, %edx
    out %al, %dx
    jmp 1b
3:  mov $1, %eax
    cpuid
    test %ecx, %ecx
    jns 4f
    mov $0x7f, %al
    out %al, $0xf4
4:  cli
    hlt
    jmp 4b

/* Where the other CPUs come from the trampoline. */
ap_start32:
    mov $ap_start64, %ebx
    jmp long_mode

    .code64
ap_start64:
    mov $MSR_APIC_BASE, %ecx
    rdmsr
    cmpl $0, smp_x2apic
    je 1f
    or $0xc00, %eax
    wrmsr
1:  test $0x400, %eax
    jz 2f
    mov $MSR_X2APIC_ID, %ecx
    rdmsr
    jmp 3f
2:  and $0xfffff000, %eax
    mov 0x20(%rax), %eax
    shr $24, %eax
3:  mov $smp_slots, %ebx
    mov smp_slot_count, %ecx
4:  dec %ecx
    js 6f
    cmp %eax, SLOT_LAPIC_ID(%rbx)
    je 5f
    add $SLOT_SIZE, %rbx
    jmp 4b
5:  mov kernel_cr3, %rdi
    mov SLOT_STACK(%rbx), %rsp
    movabs $HHDM, %rax
    add %rax, %rbx
    movabs $handoff_ap + HHDM, %rax
    jmp *%rax
6:  cli
    hlt
    jmp 6b

    /* Copied to a page below 1 MiB.  CS is that page. */
    .section .rodata
    .globl trampoline, trampoline_end
    .code16
trampoline:
    cli
    cld
    mov %cs, %ax
    mov %ax, %ds
    lgdtl 3f - trampoline
    mov %cr0, %eax
    or $1, %al
    and $0x9fffffff, %eax
    mov %eax, %cr0
    ljmpl $SEL_CODE32, $ap_start32
3:  .word gdt_end - gdt - 1
    .long gdt
trampoline_end:

no_long_mode_text:
    .asciz "loader: this CPU has no 64-bit mode, or no NX bit; use a machine with an x86-64 CPU\r\n"

/* In a page of its own: all that is mapped at its HHDM address as code. */
    .section .handoff, "ax"
    .code64
    .balign 4096
    .globl handoff_page, handoff_boot_cpu
handoff_page:

/* %rdi CR3, %rsi stack, %rdx entry */
handoff_boot_cpu:
    mov %rdi, %cr3
    mov %rsi, %rsp
    call clean_state
    pushq $0 /* the return address: (%rsp) is 8 mod 16 now */
    push %rdx
    xor %ebx, %ebx
    xor %edx, %edx
    xor %edi, %edi
    ret

/* %rdi CR3, %rbx slot */
handoff_ap:
    mov %rdi, %cr3
    call clean_state
    pushq $0
    mov SLOT_CPU(%rbx), %rdi
    movabs park_lapic + HHDM, %rax
    cmp $PARK_SPINNING, %rax
    je spin
    mov %rax, %rbp

/* A hypervisor may have fewer CPUs than we: sleep, and look at goto_address whenever the timer fires. */
    lidt idtr_park(%rip)
    lapic_set LAPIC_SVR, 0x1ff
    lapic_set LAPIC_TIMER_DIVIDE, 0xb /* by 1 */
    lapic_set LAPIC_LVT_TIMER, 0x20000 + PARK_VECTOR /* periodic */
    lapic_set LAPIC_TIMER_COUNT, PARK_COUNT
    movl $1, SLOT_READY(%rbx)
1:  cmpq $0, CPU_GOTO(%rdi)
    jne 2f
    sti
    hlt
    cli
    jmp 1b
    /* Back to what INIT had left; the second sti takes what is pending still. */
2:  lapic_set LAPIC_LVT_TIMER, 0x10000
    lapic_set LAPIC_TIMER_COUNT, 0
    lapic_set LAPIC_TIMER_DIVIDE, 0
    sti
    nop
    cli
    lapic_set LAPIC_SVR, 0xff
    jmp leave

spin:
    movl $1, SLOT_READY(%rbx)
1:  pause
    cmpq $0, CPU_GOTO(%rdi)
    je 1b
leave:
    xor %ebx, %ebx
    call clean_state
    xor %edx, %edx
    pushq $2
    popfq
    jmp *CPU_GOTO(%rdi)

/* Every vector of a waiting CPU. */
    .globl park_interrupt
park_interrupt:
    push %rax
    push %rcx
    push %rdx
    lapic_set LAPIC_EOI, 0
    pop %rdx
    pop %rcx
    pop %rax
    iretq

/* %eax to register %ecx of the LAPIC at %rbp, or by MSR where that is PARK_X2APIC. */
lapic_write:
    cmp $PARK_X2APIC, %rbp
    je 1f
    mov %eax, (%rbp, %rcx)
    ret
1:  shr $4, %ecx
    add $MSR_X2APIC, %ecx
    xor %edx, %edx
    wrmsr
    ret

/* All of the promised state but %rbx, %rdx and %rdi, which hold something still. */
clean_state:
    lgdt gdtr_high(%rip)
    lidt idtr_none(%rip)
    mov (%rsp), %rcx
    lea 8(%rsp), %rax
    pushq $SEL_DATA64
    push %rax
    pushq $2
    pushq $SEL_CODE64
    push %rcx
    mov $SEL_DATA64, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    xor %eax, %eax
    xor %ecx, %ecx
    xor %esi, %esi
    xor %ebp, %ebp
    xor %r8d, %r8d
    xor %r9d, %r9d
    xor %r10d, %r10d
    xor %r11d, %r11d
    xor %r12d, %r12d
    xor %r13d, %r13d
    xor %r14d, %r14d
    xor %r15d, %r15d
    iretq

    .balign 8
    .word 0, 0, 0
gdtr_high:
    .word gdt_end - gdt - 1
    .quad gdt + HHDM
idtr_none:
    .word 0
    .quad 0
idtr_park:
    .word 256 * 16 - 1
    .quad park_idt + HHDM
    .balign 4096

    .data
    .balign 8
gdt:
    .quad 0
    .quad 0x00009b000000ffff /* 16-bit code, data */
    .quad 0x000093000000ffff
    .quad 0x00cf9b000000ffff /* 32-bit code, data */
    .quad 0x00cf93000000ffff
    .quad 0x00209b0000000000 /* 64-bit code, data */
    .quad 0x0000930000000000
gdt_end:
    .word 0
gdtr:
    .word gdt_end - gdt - 1
    .long gdt

    .bss
    .balign 4096
    .globl early_pml4
early_pml4:
    .skip 4096
early_pdpt:
    .skip 4096
early_pd:
    .skip 4 * 4096
    .skip LOADER_STACK
loader_stack_top:

    .section .note.GNU-stack, "", @progbits
