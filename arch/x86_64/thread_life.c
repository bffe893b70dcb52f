/* SPDX-License-Identifier: MIT */
/* thread_life.c — how threads come to be and end, and the list of all; thread.h states the rules. */
#include "clock.h"
#include "kprintf.h"
#include "panic.h"
#include "pmm.h"
#include "string.h"
#include "thread_int.h"
#include "vmm.h"

#define IDLE_STACK_BYTES ((size_t)4096)
#define MXCSR_START 0x1F80u

/* What context_resume takes from a stack: MXCSR, six registers, where to go on, and 0 as its caller. */
enum { SWITCH_MXCSR = 0, SWITCH_RETURN = 7, SWITCH_WORDS = 9 };

/* switch.S */
_Noreturn void context_call(uint64_t stack_top, void (*fn)(void));

extern const char boot_stack[], boot_stack_top[]; /* entry.S */

static spinlock_t all_lock = SPINLOCK_INIT, end_lock = SPINLOCK_INIT;
static thread_t *all_threads, *free_threads;
static uint32_t n_all, next_id;

/* ---- making and ending ---------------------------------------------------------------------- */

/* all_lock held.  A page full of structures; they are never given back (thread.h). */
static void refill(void)
{
    uint64_t phys = pmm_alloc(1, 1);
    if (phys == 0)
        return;
    thread_t *t = phys_to_virt(phys);
    memset(t, 0, VMM_PAGE);
    for (size_t i = 0; i < VMM_PAGE / sizeof *t; i++) {
        t[i].all_next = free_threads;
        free_threads = &t[i];
    }
}

static thread_t *take_free(void)
{
    uint64_t flags = spin_lock(&all_lock);
    if (free_threads == NULL)
        refill();
    thread_t *t = free_threads;
    if (t != NULL)
        free_threads = t->all_next;
    spin_unlock(&all_lock, flags);
    return t;
}

static void list(thread_t *t)
{
    uint64_t flags = spin_lock(&all_lock);
    t->id = next_id++;
    t->all_prev = NULL;
    t->all_next = all_threads;
    if (all_threads != NULL)
        all_threads->all_prev = t;
    all_threads = t;
    n_all++;
    spin_unlock(&all_lock, flags);
}

/* Takes t off the list of all; it may be used again at once. */
static void unlist(thread_t *t)
{
    uint64_t flags = spin_lock(&all_lock);
    if (t->all_next != NULL)
        t->all_next->all_prev = t->all_prev;
    if (t->all_prev != NULL)
        t->all_prev->all_next = t->all_next;
    else
        all_threads = t->all_next;
    n_all--;
    t->all_next = free_threads;
    free_threads = t;
    spin_unlock(&all_lock, flags);
}

/* A late thread_unblock of the structure's former life may hold the lock of its former CPU. */
static void move_to(thread_t *t, cpu_t *c)
{
    cpu_t *before = t->cpu;
    uint64_t flags = before != NULL ? spin_lock(&before->lock) : 0;
    t->token = false;
    t->woken = false;
    t->deaf = false;
    t->state = THREAD_DEAD; /* nobody makes it ready before it is started */
    t->deadline = THREAD_NEVER;
    __atomic_store_n(&t->cpu, c, __ATOMIC_RELEASE);
    if (before != NULL)
        spin_unlock(&before->lock, flags);
}

static thread_t *thread_new(const char *name, cpu_t *c, void (*fn)(void *), void *arg)
{
    thread_t *t = take_free();
    if (t == NULL)
        return NULL;
    move_to(t, c);
    t->preempted = 0;
    t->urgent = false;
    t->ran_ns = 0;
    t->switches = 0;
    t->guard = NULL;
    t->fn = fn;
    t->arg = arg;
    t->stack_bytes = 0;
    t->joiner = NULL;
    t->ended = false;
    (void)strlcpy(t->name, name != NULL ? name : "thread", sizeof t->name);
    list(t);
    return t;
}

static void thread_begin(void)
{
    thread_t *t = thread_self();
    irq_enable();
    t->fn(t->arg);
    thread_exit();
}

/* Lays out what context_resume takes off the stack of a thread that runs for the first time. */
static bool give_stack(thread_t *t, size_t bytes)
{
    void *top = vmm_stack_alloc(bytes);
    if (top == NULL)
        return false;
    uint64_t *w = (uint64_t *)top - SWITCH_WORDS;
    memset(w, 0, SWITCH_WORDS * sizeof *w);
    w[SWITCH_MXCSR] = MXCSR_START;
    w[SWITCH_RETURN] = (uint64_t)(uintptr_t)thread_begin;
    t->rsp = (uint64_t)(uintptr_t)w;
    t->stack_top = (uint64_t)(uintptr_t)top;
    t->stack_low = t->stack_top - bytes;
    t->stack_bytes = bytes;
    return true;
}

static thread_t *thread_make(const char *name, cpu_t *c, size_t stack, void (*fn)(void *), void *arg)
{
    thread_t *t = thread_new(name, c, fn, arg);
    if (t != NULL && !give_stack(t, stack)) {
        unlist(t);
        return NULL;
    }
    return t;
}

static void start(thread_t *t)
{
    uint64_t flags = irq_save();
    cpu_t *c = t->cpu;
    (void)gmk_add32(&c->n_threads, 1, GMK_RLX, GMK_KERNEL);
    spin_lock_raw(&c->lock);
    if (thread_make_ready(c, t))
        thread_tell(c);
    spin_unlock_raw(&c->lock);
    thread_settle(flags);
}

static cpu_t *least_loaded(void)
{
    cpu_t *best = cpu_this();
    for (uint32_t i = 0; i < cpu_count(); i++) {
        cpu_t *c = cpu_at(i);
        if (c != NULL && gmk_load32(&c->online, GMK_ACQ, GMK_KERNEL) != 0 &&
            gmk_load32(&c->n_threads, GMK_RLX, GMK_KERNEL) <
                gmk_load32(&best->n_threads, GMK_RLX, GMK_KERNEL))
            best = c;
    }
    return best;
}

thread_t *thread_start(const char *name, uint32_t cpu, void (*fn)(void *), void *arg)
{
    cpu_t *c = cpu == THREAD_ANY_CPU ? least_loaded() : cpu_at(cpu);
    if (c == NULL || gmk_load32(&c->online, GMK_ACQ, GMK_KERNEL) == 0)
        return NULL;
    thread_t *t = thread_make(name, c, THREAD_STACK_BYTES, fn, arg);
    if (t != NULL)
        start(t);
    return t;
}

/*
 * On the interrupt stack, interrupts off.  Nobody frees t before `ended` is seen under end_lock, and
 * whoever sees it finds the joiner told already.
 */
static _Noreturn void leave(void)
{
    cpu_t *c = cpu_this();
    thread_t *t = c->current;
    bool joinable = t->stack_bytes != 0;

    (void)gmk_sub32(&c->n_threads, 1, GMK_RLX, GMK_KERNEL);
    spin_lock_raw(&c->lock);
    t->state = THREAD_DEAD;
    thread_t *to = thread_elect(c);
    spin_unlock_raw(&c->lock);
    spin_lock_raw(&end_lock);
    t->ended = true;
    if (t->joiner != NULL)
        thread_unblock(t->joiner);
    spin_unlock_raw(&end_lock);
    if (!joinable)
        unlist(t);
    context_resume(to);
}

_Noreturn void thread_exit(void)
{
    irq_disable();
    context_call(cpu_this()->ist_top[IST_IRQ], leave);
}

static bool has_ended(thread_t *t)
{
    uint64_t flags = spin_lock(&end_lock);
    bool ended = t->ended;
    t->joiner = thread_self();
    spin_unlock(&end_lock, flags);
    return ended;
}

void thread_join(thread_t *t)
{
    while (!has_ended(t))
        (void)thread_block(THREAD_NEVER);
    vmm_stack_free((void *)(uintptr_t)t->stack_top, t->stack_bytes);
    unlist(t);
}

/* ---- the first threads of a CPU --------------------------------------------------------------- */

/* One instruction after `sti` is executed before an interrupt is taken, so none slips in between. */
static void idle(void *unused)
{
    (void)unused;
    for (;;)
        __asm__ volatile("sti; hlt" : : : "memory");
}

static thread_t *must_make(cpu_t *c, const char *name, size_t stack, void (*fn)(void *))
{
    thread_t *t = thread_make(name, c, stack, fn, NULL);
    if (t == NULL)
        panic("CPU %u: no memory for its thread \"%s\"; give the machine more", c->index, name);
    return t;
}

static thread_t *adopt(cpu_t *c)
{
    uint64_t here = (uint64_t)(uintptr_t)__builtin_frame_address(0);
    thread_t *t = thread_new(c->index == 0 ? "boot" : "start", c, NULL, NULL);
    if (t == NULL)
        panic("CPU %u: no memory for its first thread; give the machine more", c->index);
    t->state = THREAD_RUNNING;
    /* Of a stack that others allocated only the page in use is sure to be there. */
    t->stack_low = c->index == 0 ? (uint64_t)(uintptr_t)boot_stack : here & ~UINT64_C(0xFFF);
    t->stack_top = c->index == 0 ? (uint64_t)(uintptr_t)boot_stack_top : t->stack_low + 4096;
    return t;
}

void thread_init_cpu(void)
{
    cpu_t *c = cpu_this();
    char name[THREAD_NAME_BYTES];

    irq_disable();
    c->timer_at = THREAD_NEVER;
    c->switched_at = clock_now_ns();
    c->slice_end = c->switched_at + THREAD_SLICE_NS;
    thread_t *first = adopt(c);
    (void)ksnprintf(name, sizeof name, "idle.%u", c->index);
    c->idle = must_make(c, name, IDLE_STACK_BYTES, idle);
    c->current = first;
    (void)gmk_add32(&c->n_threads, 1, GMK_RLX, GMK_KERNEL);
    (void)ksnprintf(name, sizeof name, "irq.%u", c->index);
    c->irq_thread = must_make(c, name, THREAD_STACK_BYTES, irq_thread_main);
    c->irq_thread->urgent = true;
    spin_lock_raw(&c->lock);
    (void)thread_make_ready(c, c->irq_thread);
    spin_unlock_raw(&c->lock);
    cpu_set_online();
    irq_enable();
    thread_yield();
}

/* ---- what a thread is ------------------------------------------------------------------------- */

thread_t *thread_self(void) { return cpu_this()->current; }
const char *thread_name(const thread_t *t) { return t->name; }
uint32_t thread_cpu(const thread_t *t) { return t->cpu->index; }

void thread_entry(const thread_t *t, void (**fn)(void *), void **arg)
{
    *fn = t->fn;
    *arg = t->arg;
}

bool thread_on_stack(const thread_t *t, uint64_t addr)
{
    uint64_t low = t != NULL ? t->stack_low : (uint64_t)(uintptr_t)boot_stack;
    uint64_t top = t != NULL ? t->stack_top : (uint64_t)(uintptr_t)boot_stack_top;
    return addr >= low && addr < top;
}

/* all_lock held, so that t stays. */
static void describe(thread_t *t, thread_info_t *out)
{
    cpu_t *c = thread_lock_cpu(t);
    memcpy(out->name, t->name, sizeof out->name);
    out->id = t->id;
    out->cpu = c->index;
    out->state = t->state;
    out->ran_ns = t->ran_ns;
    out->switches = t->switches;
    if (t == c->current)
        out->ran_ns += clock_now_ns() - c->switched_at;
    spin_unlock_raw(&c->lock);
}

uint32_t thread_list(thread_info_t *out, uint32_t max)
{
    uint32_t n = 0;
    uint64_t flags = spin_lock(&all_lock);
    for (thread_t *t = all_threads; t != NULL && n < max; t = t->all_next)
        describe(t, &out[n++]);
    n = n_all;
    spin_unlock(&all_lock, flags);
    return n;
}
