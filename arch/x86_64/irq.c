/* SPDX-License-Identifier: MIT */
/* irq.c — interrupt routines and the thread that does their work; irq.h states the rules. */
#include "irq.h"

#include "apic.h"
#include "cpu.h"
#include "smp.h"
#include "thread.h"

#include <ggmk/error.h>

/* ---- the routines: interrupts off ----------------------------------------------------------- */

/* The pending bits first, so that the thread finds them however soon it runs. */
static void device(cpu_t *c, uint32_t vector)
{
    uint32_t word = vector / 32, bit = 1u << vector % 32;
    bool late = c->irqs[vector - IRQ_VECTOR_FIRST].late;
    if (late)
        (void)gmk_or32(&c->owed[word], bit, GMK_RLX, GMK_KERNEL);
    (void)gmk_or32(&c->pending_vectors[word], bit, GMK_RLX, GMK_KERNEL);
    (void)gmk_or32(&c->pending, 1u << word, GMK_REL, GMK_KERNEL);
    if (!late)
        lapic_eoi();
    if (c->irq_thread != NULL)
        thread_unblock(c->irq_thread);
}

static void route(cpu_t *c, uint32_t vector)
{
    switch (vector) {
    case VECTOR_SPURIOUS: break; /* not in service, so nothing to acknowledge */
    case VECTOR_BARRIER:
    case VECTOR_SHOOTDOWN:
        smp_poll();
        lapic_eoi();
        break;
    case VECTOR_TIMER:
        lapic_eoi();
        thread_on_timer();
        break;
    case VECTOR_WAKE:
        lapic_eoi();
        thread_on_wake();
        break;
    default:
        if (vector >= IRQ_VECTOR_FIRST && vector <= IRQ_VECTOR_LAST)
            device(c, vector);
        else if (vector > IRQ_VECTOR_LAST)
            lapic_eoi();
        /* 0x20..0x2F: the masked 8259 still gives spurious interrupts, which nobody acknowledges. */
    }
}

void irq_dispatch(frame_t *f)
{
    cpu_t *c = cpu_this();
    uint32_t vector = (uint32_t)f->vector & 0xFF;
    c->in_irq++;
    gmk_store64(&c->counts[vector], c->counts[vector].v + 1, GMK_RLX, GMK_KERNEL);
    route(c, vector);
    c->in_irq--;
    thread_on_irq_exit(f);
}

/* ---- the interrupt thread ------------------------------------------------------------------- */

/* It is the highest vector in service that this ends: two late ones may swap theirs, and come again. */
static void acknowledge_late(cpu_t *c, uint32_t vector)
{
    uint32_t bit = 1u << vector % 32;
    if ((gmk_and32(&c->owed[vector / 32], ~bit, GMK_RLX, GMK_KERNEL) & bit) != 0)
        lapic_eoi();
}

static void run_bottom(cpu_t *c, uint32_t vector)
{
    uint64_t flags = spin_lock(&c->irq_lock);
    irq_slot_t slot = c->irqs[vector - IRQ_VECTOR_FIRST];
    gmk_store32(&c->bottom, vector, GMK_RLX, GMK_KERNEL); /* irq_unregister reads it under the lock */
    spin_unlock(&c->irq_lock, flags);
    if (slot.fn != NULL)
        slot.fn(slot.arg);
    acknowledge_late(c, vector);
    gmk_store32(&c->bottom, 0, GMK_REL, GMK_KERNEL);
}

static void run_word(cpu_t *c, uint32_t word)
{
    uint32_t bits = gmk_xchg32(&c->pending_vectors[word], 0, GMK_ACQ, GMK_KERNEL);
    for (; bits != 0; bits &= bits - 1)
        run_bottom(c, word * 32 + (uint32_t)__builtin_ctz(bits));
}

void irq_thread_main(void *unused)
{
    cpu_t *c = cpu_this();
    (void)unused;
    for (;;) {
        uint32_t words = gmk_xchg32(&c->pending, 0, GMK_ACQ, GMK_KERNEL);
        if (words == 0)
            (void)thread_block(THREAD_NEVER);
        for (; words != 0; words &= words - 1)
            run_word(c, (uint32_t)__builtin_ctz(words));
    }
}

/* ---- registration --------------------------------------------------------------------------- */

static cpu_t *online(uint32_t cpu)
{
    cpu_t *c = cpu_at(cpu);
    return c != NULL && gmk_load32(&c->online, GMK_ACQ, GMK_KERNEL) != 0 ? c : NULL;
}

static int allocate(uint32_t cpu, irq_slot_t slot)
{
    cpu_t *c = online(cpu);
    int vector = GMK_ERR_LIMIT;
    if (slot.fn == NULL)
        return GMK_ERR_INVAL;
    if (c == NULL)
        return GMK_ERR_NOTFOUND;
    uint64_t flags = spin_lock(&c->irq_lock);
    for (uint32_t i = 0; i < IRQ_VECTORS && vector < 0; i++) {
        if (c->irqs[i].fn != NULL)
            continue;
        c->irqs[i] = slot;
        vector = (int)(IRQ_VECTOR_FIRST + i);
    }
    spin_unlock(&c->irq_lock, flags);
    return vector;
}

int irq_register(uint32_t cpu, irq_fn bottom, void *arg)
{
    return allocate(cpu, (irq_slot_t){bottom, arg, false});
}

int irq_register_line(uint32_t cpu, irq_fn bottom, void *arg)
{
    return allocate(cpu, (irq_slot_t){bottom, arg, true});
}

void irq_unregister(uint32_t cpu, uint32_t vector)
{
    cpu_t *c = online(cpu);
    if (c == NULL || vector < IRQ_VECTOR_FIRST || vector > IRQ_VECTOR_LAST)
        return;
    uint64_t flags = spin_lock(&c->irq_lock);
    c->irqs[vector - IRQ_VECTOR_FIRST].fn = NULL;
    spin_unlock(&c->irq_lock, flags);
    while (thread_self() != c->irq_thread && gmk_load32(&c->bottom, GMK_ACQ, GMK_KERNEL) == vector)
        thread_sleep_ns(50000);
}

uint64_t irq_count(uint32_t cpu, uint32_t vector)
{
    cpu_t *c = cpu_at(cpu);
    return c == NULL || vector > 0xFF ? 0 : gmk_load64(&c->counts[vector], GMK_RLX, GMK_KERNEL);
}
