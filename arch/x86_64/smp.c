/* SPDX-License-Identifier: MIT */
/*
 * smp.c — starting the other CPUs, and the three things CPUs ask of each other.
 *
 * BARRIER.  An initiator takes a number from barrier_asked (sequentially consistent, so all it wrote is
 * visible to whoever reads that number), interrupts the CPUs whose `barrier_done` is below it, and waits
 * until none is.  A CPU reads barrier_asked (acquire), executes a full fence, and publishes the number
 * (release): what it did before the interruption is visible to the initiator that reads it (acquire),
 * what it does afterwards sees all the initiator did before.  One answer serves all initiators whose
 * numbers are not above it.
 *
 * CALL.  The same with a function, and one initiator at a time.
 *
 * Each CPU's answers are written by that CPU alone, with interrupts off.
 */
#include "smp.h"

#include "apic.h"
#include "boot/limine.h"
#include "boot_info.h"
#include "clock.h"
#include "cpu.h"
#include "kprintf.h"
#include "panic.h"
#include "thread.h"
#include "vmm.h"

#include <stddef.h>

#define ARRIVE_NS UINT64_C(1000000000)
#define READY_NS UINT64_C(10000000000)
#define RESEND_NS UINT64_C(100000000)
#define LOOK_SPINS 256u /* between two looks at the clock, which may be slow */
#define ANSWER_NS UINT64_C(30000000000)
#define STOP_NS UINT64_C(1000000000)
#define AP_STACK_BYTES THREAD_STACK_BYTES

typedef struct per_cpu {
    _Alignas(GMK_CACHE_LINE) gmk_a64_t barrier_done;
    gmk_a64_t call_done;
    gmk_a32_t online;
    uint64_t call_seen; /* only this CPU: a function that polls does not start itself again */
} per_cpu_t;

static per_cpu_t per_cpu[CPU_MAX] = {[0] = {.online = {1}}};
static gmk_a32_t online_count = {1};
static uint32_t missing;

static gmk_a64_t barrier_asked, call_asked;
static gmk_a32_t call_taken;
static void (*call_fn)(void *);
static void *call_arg;

bool smp_online(uint32_t index)
{
    return index < CPU_MAX && gmk_load32(&per_cpu[index].online, GMK_ACQ, GMK_KERNEL) != 0;
}

uint32_t smp_missing(void) { return missing; }

/* ---- asked -------------------------------------------------------------------------------------- */

void smp_poll(void)
{
    uint64_t flags = irq_save();
    per_cpu_t *me = &per_cpu[cpu_this()->index];
    uint64_t barrier = gmk_load64(&barrier_asked, GMK_ACQ, GMK_KERNEL);
    if (gmk_load64(&me->barrier_done, GMK_RLX, GMK_KERNEL) != barrier) {
        gmk_fence(GMK_SEQ, GMK_KERNEL);
        gmk_store64(&me->barrier_done, barrier, GMK_REL, GMK_KERNEL);
    }
    uint64_t call = gmk_load64(&call_asked, GMK_ACQ, GMK_KERNEL);
    if (me->call_seen != call && gmk_load32(&me->online, GMK_RLX, GMK_KERNEL) != 0) {
        me->call_seen = call;
        call_fn(call_arg);
        gmk_store64(&me->call_done, call, GMK_REL, GMK_KERNEL);
    }
    vmm_shootdown_poll();
    irq_restore(flags);
}

/* ---- asking ------------------------------------------------------------------------------------- */

static gmk_a64_t *answer_of(uint32_t index, const gmk_a64_t *asked)
{
    return asked == &call_asked ? &per_cpu[index].call_done : &per_cpu[index].barrier_done;
}

static void remind(uint32_t index, uint64_t waited)
{
    if (waited > ANSWER_NS)
        panic("CPU %u (APIC id %u) has not answered for 30 s: it runs with interrupts off, or it is dead",
              index, cpu_at(index)->lapic_id);
    lapic_ipi(cpu_at(index)->lapic_id, VECTOR_BARRIER);
}

/* Asks again now and then; a panic has stopped the others for good, so then it waits for nobody. */
static void wait_for_answer(uint32_t index, const gmk_a64_t *answer, uint64_t number)
{
    uint64_t began = 0, sent = 0;
    for (uint32_t spins = 1; gmk_load64(answer, GMK_ACQ, GMK_KERNEL) < number && !panicking(); spins++) {
        smp_poll();
        cpu_pause();
        if (spins % LOOK_SPINS != 0)
            continue;
        uint64_t now = clock_now_ns();
        began = began != 0 ? began : now;
        if (now - (sent != 0 ? sent : began) > RESEND_NS) {
            remind(index, now - began);
            sent = now;
        }
    }
}

static void ask_others(const gmk_a64_t *asked, uint64_t number)
{
    uint32_t self = cpu_this()->index;
    for (uint32_t i = 0; i < CPU_MAX; i++)
        if (i != self && smp_online(i) && gmk_load64(answer_of(i, asked), GMK_ACQ, GMK_KERNEL) < number)
            lapic_ipi(cpu_at(i)->lapic_id, VECTOR_BARRIER);
    for (uint32_t i = 0; i < CPU_MAX; i++)
        if (i != self && smp_online(i))
            wait_for_answer(i, answer_of(i, asked), number);
}

void smp_barrier_all(void)
{
    if (gmk_load32(&online_count, GMK_ACQ, GMK_KERNEL) == 1) {
        gmk_fence(GMK_SEQ, GMK_KERNEL);
        return;
    }
    uint64_t number = gmk_add64(&barrier_asked, 1, GMK_SEQ, GMK_KERNEL) + 1;
    ask_others(&barrier_asked, number);
    gmk_fence(GMK_SEQ, GMK_KERNEL);
}

/* Held by who calls, and by a CPU that comes online: it takes part in whole calls only. */
static void take_call(void)
{
    uint32_t free = 0;
    while (!gmk_cas32(&call_taken, &free, 1, GMK_ACQ, GMK_KERNEL)) {
        free = 0;
        smp_poll();
        thread_yield();
    }
}

static void give_call(void) { gmk_store32(&call_taken, 0, GMK_REL, GMK_KERNEL); }

void smp_call_all(void (*fn)(void *arg), void *arg)
{
    take_call();
    call_fn = fn;
    call_arg = arg;
    uint64_t number = gmk_add64(&call_asked, 1, GMK_SEQ, GMK_KERNEL) + 1;
    smp_poll(); /* here */
    ask_others(&call_asked, number);
    give_call();
}

static void stop_unless(void *caller)
{
    if (cpu_this() != caller)
        cpu_stop();
}

/* None of them answers: who has stopped cannot. */
void smp_stop_others(void)
{
    uint64_t end = clock_now_ns() + STOP_NS;
    while (gmk_xchg32(&call_taken, 1, GMK_ACQ, GMK_KERNEL) != 0 && clock_now_ns() < end)
        smp_poll();
    call_fn = stop_unless;
    call_arg = cpu_this();
    (void)gmk_add64(&call_asked, 1, GMK_SEQ, GMK_KERNEL);
    lapic_ipi_others(VECTOR_BARRIER);
}

/* ---- starting ----------------------------------------------------------------------------------- */

/* State of a start.  Whoever moves it from WAITED_FOR, the CPU or the clock, decides. */
enum { AP_WITHDRAWN, AP_WAITED_FOR, AP_ARRIVED };

/* smp.S knows the offsets of the first three. */
typedef struct ap_start {
    gmk_a32_t state;
    uint64_t cr3;
    void *stack_top;
    uint32_t index, lapic_id;
    void (*fn)(uint32_t index);
} ap_start_t;

_Static_assert(offsetof(ap_start_t, cr3) == 8 && offsetof(ap_start_t, stack_top) == 16, "smp.S");
_Static_assert(offsetof(struct limine_mp_cpu, extra_argument) == 24, "smp.S");

static ap_start_t starts[BOOT_CPUS]; /* stay: a CPU may come arbitrarily late */

void smp_ap_entry(void);
_Noreturn void smp_ap_main(ap_start_t *start);

static void go_online(per_cpu_t *me)
{
    take_call();
    me->barrier_done.v = gmk_load64(&barrier_asked, GMK_ACQ, GMK_KERNEL);
    me->call_seen = me->call_done.v = gmk_load64(&call_asked, GMK_ACQ, GMK_KERNEL);
    (void)gmk_add32(&online_count, 1, GMK_SEQ, GMK_KERNEL);
    gmk_store32(&me->online, 1, GMK_SEQ, GMK_KERNEL);
    give_call();
}

/* Until cpu_init_ap has made the CPU's own: whoever has to wait for a lock asks who he is. */
static void borrow_identity(uint32_t index)
{
    static cpu_t arriving; /* one CPU at a time */
    arriving.self = &arriving;
    arriving.index = index;
    wrmsr(MSR_GS_BASE, (uintptr_t)&arriving);
}

/* On the new CPU, from smp.S. */
_Noreturn void smp_ap_main(ap_start_t *start)
{
    borrow_identity(start->index);
    vmm_load();
    cpu_init_ap(start->index, start->lapic_id);
    lapic_init_ap();
    go_online(&per_cpu[start->index]);
    vmm_cpu_online();
    start->fn(start->index);
    panic("the main function of CPU %u has returned", start->index);
}

/* True as soon as the condition holds; false when the time has passed. */
static bool wait_until(bool (*condition)(const ap_start_t *), const ap_start_t *start, uint64_t ns)
{
    uint64_t end = clock_now_ns() + ns;
    while (!condition(start)) {
        if (clock_now_ns() > end)
            return false;
        smp_poll();
        cpu_pause();
    }
    return true;
}

static bool arrived(const ap_start_t *start)
{
    return gmk_load32(&start->state, GMK_ACQ, GMK_KERNEL) == AP_ARRIVED;
}

static bool ready(const ap_start_t *start)
{
    const cpu_t *c = smp_online(start->index) ? cpu_at(start->index) : NULL;
    return c != NULL && gmk_load32(&c->online, GMK_ACQ, GMK_KERNEL) != 0;
}

/* Both times are generous: an emulator may have one processor for all of them. */
static bool start_cpu(const boot_cpu_t *cpu, ap_start_t *start)
{
    start->stack_top = vmm_stack_alloc(AP_STACK_BYTES);
    if (start->stack_top == NULL) {
        kprintf("smp: no memory for the stack of the CPU with APIC id %u: left out\n", cpu->lapic_id);
        return false;
    }
    gmk_store32(&start->state, AP_WAITED_FOR, GMK_REL, GMK_KERNEL);
    cpu->mp->extra_argument = (uintptr_t)start;
    __atomic_store_n(&cpu->mp->goto_address, (uintptr_t)smp_ap_entry, __ATOMIC_RELEASE);
    uint32_t expected = AP_WAITED_FOR;
    if (!wait_until(arrived, start, ARRIVE_NS) &&
        gmk_cas32(&start->state, &expected, AP_WITHDRAWN, GMK_ACQ_REL, GMK_KERNEL)) {
        kprintf("smp: the CPU with APIC id %u does not answer: left out\n", cpu->lapic_id);
        vmm_stack_free(start->stack_top, AP_STACK_BYTES);
        return false;
    }
    if (!wait_until(ready, start, READY_NS))
        panic(
            "CPU %u (APIC id %u) came, but was not ready after 10 s: turn it off in the firmware's settings",
            start->index, cpu->lapic_id);
    return true;
}

void smp_start(void (*ap_main)(uint32_t index))
{
    const boot_info_t *info = boot_info();
    uint32_t next = 1;
    for (uint32_t i = 0; i < info->n_cpus && i < BOOT_CPUS && next < CPU_MAX; i++) {
        const boot_cpu_t *cpu = &info->cpus[i];
        if (cpu->mp == NULL || cpu->lapic_id == info->bsp_lapic)
            continue;
        starts[i] = (ap_start_t){.cr3 = read_cr3(), .index = next, .lapic_id = cpu->lapic_id, .fn = ap_main};
        if (start_cpu(cpu, &starts[i]))
            next++;
        else
            missing++;
    }
    kprintf("smp: %u of %u CPUs online\n", next, info->n_cpus + info->cpus_left_out);
    if (info->cpus_left_out != 0)
        kprintf("smp: %u CPUs beyond the first %u are left out\n", info->cpus_left_out, BOOT_CPUS);
}
