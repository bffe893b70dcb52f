/* SPDX-License-Identifier: MIT */
/*
 * idt.h — the table of 256 interrupt gates, one for all CPUs, and the GDT and TSS of each.
 *
 * Boot code of each CPU only; cpu.c calls these in order.  Every gate is an interrupt gate (interrupts
 * off on entry) on a stack of the interrupt stack table.  Intel SDM 3A §6.10-6.14.
 */
#ifndef ARCH_IDT_H
#define ARCH_IDT_H

#include "cpu.h"

/* Fills GDT and TSS of c and loads them on the running CPU; c->ist_top must be set. */
void gdt_load(cpu_t *c);

void idt_init(void); /* CPU 0, once */
void idt_load(void);

/* From isr.S, interrupts off: every vector. */
void trap_dispatch(frame_t *f);

/* "#PF", "page fault"; for vectors below 32. */
const char *trap_mnemonic(uint32_t vector);
const char *trap_name(uint32_t vector);

#endif
