/* SPDX-License-Identifier: MIT */
/*
 * entry.S — writes the time-stamp counter at which a PVH kernel is entered to port 0xe9, eight bytes, lowest
 * first, and ends QEMU: what the firmware has used up by then.
 */
    .section .note.pvh, "a"
    .balign 4
    .long 4, 4, 18 /* name and description have four bytes; XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long entry

    .text
    .code32
    .globl entry
entry:
    rdtsc
    mov $8, %ecx
1:  outb %al, $0xe9
    shrd $8, %edx, %eax
    shr $8, %edx
    loop 1b
    outb %al, $0xf4
2:  hlt
    jmp 2b
    .section .note.GNU-stack, "", @progbits
