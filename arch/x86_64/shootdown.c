/* SPDX-License-Identifier: MIT */
/* shootdown.c — one request at a time, acknowledged by every CPU that takes part. */
#include "shootdown.h"

#include "apic.h"
#include "clock.h"
#include "cpu.h"
#include "paging.h"
#include "thread.h"
#include "vmm.h"

#define FLUSH_PAGES 64u /* from here on all translations are dropped at once */
#define RESEND_SPINS 4096u
#define TURN_SPINS 256u
#define TURN_SLEEP_NS UINT64_C(100000)

static gmk_a32_t turn;           /* 1: there is an initiator */
static gmk_a32_t number;         /* of the latest request */
static gmk_a64_t start, n_pages; /* its range */
static gmk_a32_t takes_part[CPU_MAX];
static gmk_a32_t acknowledged[CPU_MAX]; /* the latest request that this CPU has carried out */
static gmk_a64_t count;

uint64_t shootdown_count(void) { return gmk_load64(&count, GMK_RLX, GMK_KERNEL); }

bool shootdown_takes_part(uint32_t cpu)
{
    return cpu < CPU_MAX && gmk_load32(&takes_part[cpu], GMK_SEQ, GMK_KERNEL) != 0;
}

static void flush_all(void) { write_cr3(read_cr3()); }

static void flush(uint64_t va, uint64_t pages)
{
    if (pages >= FLUSH_PAGES) {
        flush_all();
        return;
    }
    for (uint64_t i = 0; i < pages; i++)
        invlpg((const void *)(uintptr_t)(va + i * PAGE_SIZE));
}

void vmm_cpu_online(void)
{
    uint64_t flags = irq_save();
    uint32_t me = cpu_this()->index;

    gmk_store32(&takes_part[me], 1, GMK_SEQ, GMK_KERNEL);
    gmk_fence(GMK_SEQ, GMK_KERNEL);
    uint32_t latest = gmk_load32(&number, GMK_ACQ, GMK_KERNEL);
    flush_all();
    gmk_store32(&acknowledged[me], latest, GMK_REL, GMK_KERNEL);
    irq_restore(flags);
}

/* Interrupts off. */
static void answer(uint32_t me)
{
    uint32_t done = gmk_load32(&acknowledged[me], GMK_RLX, GMK_KERNEL);
    uint32_t latest = gmk_load32(&number, GMK_ACQ, GMK_KERNEL);

    if (latest == done)
        return;
    if (latest == done + 1)
        flush(gmk_load64(&start, GMK_RLX, GMK_KERNEL), gmk_load64(&n_pages, GMK_RLX, GMK_KERNEL));
    else
        flush_all();
    gmk_store32(&acknowledged[me], latest, GMK_REL, GMK_KERNEL);
}

void vmm_shootdown_poll(void)
{
    if (gmk_load32(&number, GMK_RLX, GMK_KERNEL) == 0)
        return; /* nothing was ever unmapped; cpu_this() may not work yet */
    uint64_t flags = irq_save();
    answer(cpu_this()->index);
    irq_restore(flags);
}

/* The first CPU that takes part and has not carried out this request; CPU_MAX: all have. */
static uint32_t missing(uint32_t request, uint32_t from)
{
    for (uint32_t i = from; i < CPU_MAX; i++)
        if (shootdown_takes_part(i) && gmk_load32(&acknowledged[i], GMK_ACQ, GMK_KERNEL) != request)
            return i;
    return CPU_MAX;
}

static void wait_for_all(uint32_t request)
{
    uint64_t deadline = 0;
    uint32_t late = missing(request, 0);

    for (uint64_t spins = 0; late < CPU_MAX; spins++) {
        if (spins % RESEND_SPINS == 0) {
            uint64_t now = clock_now_ns();
            deadline = spins == 0 ? now + SHOOTDOWN_PATIENCE_NS : deadline;
            if (now > deadline)
                panic(
                    "CPU %u has not answered a TLB shoot-down for 20 s: it runs with interrupts off, or it is dead",
                    late);
            lapic_ipi_others(VECTOR_SHOOTDOWN);
        }
        cpu_pause();
        late = missing(request, late);
    }
    if (deadline != 0)
        gmk_add64(&count, 1, GMK_RLX, GMK_KERNEL);
}

/*
 * Interrupts off.  After a short spin, a caller that had interrupts on sleeps: on a machine with more CPUs
 * than processors, an emulator's, whoever spins keeps the CPUs that are to answer from running.
 */
static void take_turn(uint32_t me, bool may_sleep)
{
    for (uint32_t round = 0; gmk_xchg32(&turn, 1, GMK_ACQ, GMK_KERNEL) != 0; round++) {
        answer(me);
        if (!may_sleep || round < TURN_SPINS) {
            cpu_pause();
            continue;
        }
        irq_enable();
        thread_sleep_ns(TURN_SLEEP_NS);
        irq_disable();
    }
}

/* Interrupts off, and it is our turn. */
static void request_and_wait(uint32_t me, uint64_t va, uint64_t pages)
{
    uint32_t request = gmk_load32(&number, GMK_RLX, GMK_KERNEL) + 1;
    request += request == 0; /* 0: nothing was ever unmapped */

    answer(me); /* the one before ours, if it came in between */
    gmk_store64(&start, va, GMK_RLX, GMK_KERNEL);
    gmk_store64(&n_pages, pages, GMK_RLX, GMK_KERNEL);
    gmk_xchg32(&number, request, GMK_SEQ, GMK_KERNEL);
    answer(me);
    wait_for_all(request);
}

void shootdown(uint64_t va, uint64_t pages)
{
    uint64_t flags = irq_save();

    if (panicking()) {
        flush(va, pages); /* the others are stopped, one of them perhaps in its turn */
    } else {
        take_turn(cpu_this()->index, (flags & RFLAGS_IF) && thread_self());
        request_and_wait(cpu_this()->index, va, pages);
        gmk_store32(&turn, 0, GMK_REL, GMK_KERNEL);
    }
    irq_restore(flags);
}
