/* SPDX-License-Identifier: MIT */
/*
 * cpu.h — one CPU: its instructions, and the structure the kernel keeps about it.
 *
 * The GS base of a CPU points to its cpu_t from the first line of C on, so cpu_this works everywhere.
 * Threads never change their CPU, so what cpu_this returned stays right.
 */
#ifndef ARCH_CPU_H
#define ARCH_CPU_H

#include "irq.h"
#include "spinlock.h"

#include <ggmk/hal.h>

#define CPU_MAX 256u

/* ---- instructions ------------------------------------------------------------------------- */

#define CPU_INLINE static inline __attribute__((always_inline))

CPU_INLINE void outb(uint16_t port, uint8_t v) { __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }
CPU_INLINE void outw(uint16_t port, uint16_t v) { __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port)); }
CPU_INLINE void outl(uint16_t port, uint32_t v) { __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port)); }
CPU_INLINE uint8_t inb(uint16_t port)
{
    uint8_t v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
CPU_INLINE uint16_t inw(uint16_t port)
{
    uint16_t v;
    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
CPU_INLINE uint32_t inl(uint16_t port)
{
    uint32_t v;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

#define MSR_EFER 0xC0000080u
#define MSR_GS_BASE 0xC0000101u
#define EFER_NXE (UINT64_C(1) << 11)

CPU_INLINE uint64_t rdmsr(uint32_t msr)
{
    uint32_t lo, hi;
    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
    return (uint64_t)hi << 32 | lo;
}
CPU_INLINE void wrmsr(uint32_t msr, uint64_t v)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}

CPU_INLINE void cpuid(uint32_t leaf, uint32_t sub, uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
{
    __asm__ volatile("cpuid" : "=a"(*a), "=b"(*b), "=c"(*c), "=d"(*d) : "a"(leaf), "c"(sub));
}

CPU_INLINE uint64_t rdtsc(void)
{
    uint32_t lo, hi;
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
    return (uint64_t)hi << 32 | lo;
}

#define CPU_CONTROL_READ(n)                                                                                  \
    CPU_INLINE uint64_t read_cr##n(void)                                                                     \
    {                                                                                                        \
        uint64_t v;                                                                                          \
        __asm__ volatile("mov %%cr" #n ", %0" : "=r"(v) : : "memory");                                       \
        return v;                                                                                            \
    }
#define CPU_CONTROL_WRITE(n)                                                                                 \
    CPU_INLINE void write_cr##n(uint64_t v) { __asm__ volatile("mov %0, %%cr" #n : : "r"(v) : "memory"); }

CPU_CONTROL_READ(0)
CPU_CONTROL_READ(2)
CPU_CONTROL_READ(3)
CPU_CONTROL_READ(4)
CPU_CONTROL_WRITE(0)
CPU_CONTROL_WRITE(2)
CPU_CONTROL_WRITE(3)
CPU_CONTROL_WRITE(4)

#define RFLAGS_IF (UINT64_C(1) << 9)

CPU_INLINE uint64_t read_flags(void)
{
    uint64_t flags;
    __asm__ volatile("pushfq; popq %0" : "=r"(flags) : : "memory");
    return flags;
}
CPU_INLINE void irq_enable(void) { __asm__ volatile("sti" : : : "memory"); }
CPU_INLINE void irq_disable(void) { __asm__ volatile("cli" : : : "memory"); }
CPU_INLINE uint64_t irq_save(void)
{
    uint64_t flags = read_flags();
    irq_disable();
    return flags;
}
/* Of the flags only IF is put back. */
CPU_INLINE void irq_restore(uint64_t flags)
{
    if ((flags & RFLAGS_IF) != 0)
        irq_enable();
}

CPU_INLINE void invlpg(const void *p) { __asm__ volatile("invlpg (%0)" : : "r"(p) : "memory"); }
CPU_INLINE void cpu_pause(void) { __asm__ volatile("pause" : : : "memory"); }

/* Halts for good. */
_Noreturn CPU_INLINE void cpu_stop(void)
{
    for (;;)
        __asm__ volatile("cli; hlt" : : : "memory");
}

/* ---- the structure ------------------------------------------------------------------------ */

/* Interrupt stack table: nothing ever enters on the stack it interrupts.  Index into tss.ist, plus 1. */
enum { IST_DOUBLE_FAULT = 1, IST_NMI, IST_MACHINE_CHECK, IST_PAGE_FAULT, IST_IRQ, IST_FAULT, IST_COUNT = 6 };
#define IST_BYTES 8192u

/* Intel SDM 3A §7.7: packed, 104 bytes. */
typedef struct tss {
    uint32_t reserved0;
    uint32_t rsp[6];
    uint32_t reserved1[2];
    uint32_t ist[14]; /* IST n in words 2n - 2 and 2n - 1 */
    uint32_t reserved2[2];
    uint16_t reserved3, io_map;
} tss_t;

enum { GDT_NULL, GDT_CODE, GDT_DATA, GDT_TSS, GDT_TSS_HIGH, GDT_ENTRIES };
#define SEL_CODE (GDT_CODE * 8)
#define SEL_DATA (GDT_DATA * 8)
#define SEL_TSS (GDT_TSS * 8)

typedef struct irq_slot {
    irq_fn fn; /* NULL = free */
    void *arg;
    bool late; /* acknowledged after fn has run */
} irq_slot_t;

struct thread;

typedef struct cpu {
    struct cpu *self; /* gs:0 */
    uint32_t index, lapic_id;
    struct thread *current; /* NULL before thread_init_cpu */
    gmk_a32_t pending;      /* bit w: a bit of pending_vectors[w] is set */
    gmk_a32_t online;       /* its threads run and it takes interrupts */

    /* Threads (thread.c), under `lock`. */
    spinlock_t lock;
    struct thread *ready_first, *ready_last, *sleepers;
    struct thread *idle, *irq_thread;
    uint64_t slice_end, switched_at, timer_at;
    gmk_a32_t n_ready, n_threads, need_resched;
    uint32_t in_irq; /* only this CPU */

    /* Interrupts (irq.c). */
    gmk_a32_t pending_vectors[8]; /* bit v % 32 of word v / 32 */
    gmk_a32_t owed[8];            /* the same: in service, to be acknowledged by the interrupt thread */
    gmk_a32_t bottom;             /* the vector whose bottom function runs, 0 = none */
    spinlock_t irq_lock;          /* of irqs */
    irq_slot_t irqs[IRQ_VECTORS];
    gmk_a64_t counts[256]; /* only this CPU writes them */

    /* Exceptions and panic (trap.c, panic.c). */
    uint32_t in_page_fault;
    gmk_a32_t stopped; /* 1: `stop_frame` is what the panic's NMI interrupted */
    frame_t stop_frame;

    uint64_t ist_top[IST_COUNT + 1];
    uint64_t gdt[GDT_ENTRIES];
    tss_t tss;
} cpu_t;

CPU_INLINE cpu_t *cpu_this(void)
{
    cpu_t *c;
    __asm__("movq %%gs:0, %0" : "=r"(c));
    return c;
}

/* NULL when there is no such CPU.  It may not be online yet. */
cpu_t *cpu_at(uint32_t index);

/* CPUs that are online; they have the indices below it when smp_start has returned. */
uint32_t cpu_count(void);

/* CPU 0, first: its cpu_t, GDT, TSS, interrupt stacks, IDT, control registers. */
void cpu_init_boot(void);

/*
 * On the CPU itself, with our page tables loaded and interrupts off: the same, with memory from
 * pmm_alloc.  Panics without memory.
 */
void cpu_init_ap(uint32_t index, uint32_t lapic_id);

/* The last step of thread_init_cpu. */
void cpu_set_online(void);

#endif
