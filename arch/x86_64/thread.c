/* SPDX-License-Identifier: MIT */
/* thread.c — run lists, timer, the switch between threads, blocking; thread.h states the rules. */
#include "thread.h"

#include "apic.h"
#include "clock.h"
#include "panic.h"
#include "thread_int.h"

#define TIMER_MIN_NS 1000u /* a deadline that has passed */

/* switch.S */
void context_switch(thread_t *from, thread_t *to);

/* ---- lists of a CPU: its lock is held ------------------------------------------------------- */

static void count_ready(cpu_t *c, uint32_t change)
{
    gmk_store32(&c->n_ready, gmk_load32(&c->n_ready, GMK_RLX, GMK_KERNEL) + change, GMK_RLX, GMK_KERNEL);
}

static void push_last(cpu_t *c, thread_t *t)
{
    t->next = NULL;
    if (c->ready_last != NULL)
        c->ready_last->next = t;
    else
        c->ready_first = t;
    c->ready_last = t;
    count_ready(c, 1);
}

static void push_first(cpu_t *c, thread_t *t)
{
    t->next = c->ready_first;
    c->ready_first = t;
    if (c->ready_last == NULL)
        c->ready_last = t;
    count_ready(c, 1);
}

static thread_t *pop_first(cpu_t *c)
{
    thread_t *t = c->ready_first;
    if (t == NULL)
        return NULL;
    c->ready_first = t->next;
    if (c->ready_first == NULL)
        c->ready_last = NULL;
    count_ready(c, UINT32_MAX);
    return t;
}

static void sleepers_insert(cpu_t *c, thread_t *t)
{
    thread_t *after = NULL, *s = c->sleepers;
    while (s != NULL && s->deadline <= t->deadline) {
        after = s;
        s = s->next;
    }
    t->prev = after;
    t->next = s;
    if (s != NULL)
        s->prev = t;
    if (after != NULL)
        after->next = t;
    else
        c->sleepers = t;
}

static void sleepers_remove(cpu_t *c, thread_t *t)
{
    if (t->next != NULL)
        t->next->prev = t->prev;
    if (t->prev != NULL)
        t->prev->next = t->next;
    else
        c->sleepers = t->next;
    t->deadline = THREAD_NEVER;
}

/* ---- the timer: own CPU, its lock held -------------------------------------------------------- */

/*
 * Arms for the next deadline, or for the end of the slice if somebody waits for it.  An interrupt that was
 * armed for earlier is left to come: it finds nothing to do and arms again, which is cheaper than moving
 * the timer at every switch.
 */
static void timer_update(cpu_t *c, uint64_t now)
{
    uint64_t next = c->sleepers != NULL ? c->sleepers->deadline : THREAD_NEVER;
    if (c->ready_first != NULL && c->slice_end < next)
        next = c->slice_end;
    if (next >= c->timer_at)
        return;
    c->timer_at = next;
    lapic_timer_arm(next > now + TIMER_MIN_NS ? next - now : TIMER_MIN_NS);
}

/* ---- choosing and switching: own CPU, interrupts off, its lock held --------------------------- */

/* Accounts for the thread that leaves; the caller has put it where it belongs. */
thread_t *thread_elect(cpu_t *c)
{
    uint64_t now = clock_now_ns();
    thread_t *from = c->current, *to = pop_first(c);
    if (to == NULL)
        to = c->idle;
    from->ran_ns += now - c->switched_at;
    c->switched_at = now;
    c->slice_end = now + THREAD_SLICE_NS;
    gmk_store32(&c->need_resched, 0, GMK_RLX, GMK_KERNEL);
    to->state = THREAD_RUNNING;
    to->switches += to != from;
    c->current = to;
    timer_update(c, now);
    return to;
}

/* Gives up the lock. */
static void reschedule(cpu_t *c)
{
    thread_t *from = c->current, *to = thread_elect(c);
    spin_unlock_raw(&c->lock);
    if (to != from)
        context_switch(from, to);
}

static void put_back(cpu_t *c, thread_t *t)
{
    t->state = THREAD_READY;
    if (t != c->idle)
        push_last(c, t);
}

/* The running thread goes behind the others; interrupts may be on. */
static void give_way(cpu_t *c)
{
    uint64_t flags = spin_lock(&c->lock);
    put_back(c, c->current);
    reschedule(c);
    irq_restore(flags);
}

/* ---- making ready --------------------------------------------------------------------------- */

/* Lock held, any CPU.  Whether the CPU must be told: to switch, or to end the running slice in time. */
bool thread_make_ready(cpu_t *c, thread_t *t)
{
    bool first = c->ready_first == NULL;
    t->state = THREAD_READY;
    if (t->urgent)
        push_first(c, t);
    else
        push_last(c, t);
    if (c->current != c->idle && (!t->urgent || c->current->urgent))
        return first;
    gmk_store32(&c->need_resched, 1, GMK_RLX, GMK_KERNEL);
    return true;
}

/* Lock held.  After make_ready; what is left to do for our own CPU is done by thread_settle(). */
void thread_tell(cpu_t *c)
{
    if (c == cpu_this())
        timer_update(c, clock_now_ns());
    else
        lapic_ipi(c->lapic_id, VECTOR_WAKE);
}

/*
 * Ends what made threads ready, with no lock held.  If our own CPU should switch, it does so now; in an
 * interrupt routine at its end; with interrupts off otherwise as soon as they come on, by an interrupt to
 * ourselves.
 */
void thread_settle(uint64_t flags)
{
    cpu_t *c = cpu_this();
    if (c->in_irq == 0 && gmk_load32(&c->need_resched, GMK_RLX, GMK_KERNEL) != 0) {
        if ((flags & RFLAGS_IF) != 0)
            give_way(c);
        else
            lapic_ipi(c->lapic_id, VECTOR_WAKE);
    }
    irq_restore(flags);
}

/* t->cpu changes only under the lock of the CPU it leaves (thread_new). */
cpu_t *thread_lock_cpu(thread_t *t)
{
    for (;;) {
        cpu_t *c = __atomic_load_n(&t->cpu, __ATOMIC_ACQUIRE);
        spin_lock_raw(&c->lock);
        if (c == __atomic_load_n(&t->cpu, __ATOMIC_RELAXED))
            return c;
        spin_unlock_raw(&c->lock);
    }
}

void thread_unblock(thread_t *t)
{
    uint64_t flags = irq_save();
    cpu_t *c = thread_lock_cpu(t);
    if (t->state != THREAD_BLOCKED || t->deaf) {
        t->token = true;
    } else {
        if (t->deadline != THREAD_NEVER)
            sleepers_remove(c, t);
        t->woken = true;
        if (thread_make_ready(c, t))
            thread_tell(c);
    }
    spin_unlock_raw(&c->lock);
    thread_settle(flags);
}

/* ---- blocking ------------------------------------------------------------------------------- */

static bool block(cpu_t *c, uint64_t deadline, bool deaf)
{
    uint64_t flags = spin_lock(&c->lock);
    thread_t *t = c->current;
    if (t->token && !deaf) {
        t->token = false;
        spin_unlock(&c->lock, flags);
        return true;
    }
    if (deadline != THREAD_NEVER && deadline <= clock_now_ns()) {
        spin_unlock(&c->lock, flags);
        return false;
    }
    t->state = THREAD_BLOCKED;
    t->woken = false;
    t->deaf = deaf;
    t->deadline = deadline;
    if (deadline != THREAD_NEVER)
        sleepers_insert(c, t);
    reschedule(c);
    irq_restore(flags);
    return t->woken;
}

bool thread_block(uint64_t deadline_ns)
{
    cpu_t *c = cpu_this();
    if (c->current == NULL)
        panic("thread_block before there are threads");
    return block(c, deadline_ns, false);
}

static void spin_until(uint64_t deadline)
{
    while (clock_now_ns() < deadline)
        clock_delay_us(10);
}

void thread_sleep_ns(uint64_t ns)
{
    cpu_t *c = cpu_this();
    uint64_t now = clock_now_ns(), deadline = ns < THREAD_NEVER - 1 - now ? now + ns : THREAD_NEVER - 1;
    if (c->current == NULL)
        spin_until(deadline);
    else
        while (clock_now_ns() < deadline)
            (void)block(c, deadline, true);
}

void thread_yield(void)
{
    cpu_t *c = cpu_this();
    if (c->current != NULL && gmk_load32(&c->n_ready, GMK_RLX, GMK_KERNEL) != 0)
        give_way(c);
}

/* ---- interrupts: interrupts are off ----------------------------------------------------------- */

static void wake_sleepers(cpu_t *c, uint64_t now)
{
    while (c->sleepers != NULL && c->sleepers->deadline <= now) {
        thread_t *t = c->sleepers;
        sleepers_remove(c, t);
        (void)thread_make_ready(c, t);
    }
}

void thread_on_timer(void)
{
    cpu_t *c = cpu_this();
    if (c->current == NULL)
        return;
    spin_lock_raw(&c->lock);
    uint64_t now = clock_now_ns();
    c->timer_at = THREAD_NEVER;
    wake_sleepers(c, now);
    if (c->ready_first != NULL && now >= c->slice_end)
        gmk_store32(&c->need_resched, 1, GMK_RLX, GMK_KERNEL);
    else
        timer_update(c, now);
    spin_unlock_raw(&c->lock);
}

/* Another CPU made a thread of ours ready. */
void thread_on_wake(void)
{
    cpu_t *c = cpu_this();
    if (c->current == NULL)
        return;
    spin_lock_raw(&c->lock);
    timer_update(c, clock_now_ns());
    spin_unlock_raw(&c->lock);
}

/* The only switch that nobody asked for: all registers are kept. */
void thread_on_irq_exit(frame_t *f)
{
    cpu_t *c = cpu_this();
    thread_t *from = c->current;
    if (from == NULL || gmk_load32(&c->need_resched, GMK_RLX, GMK_KERNEL) == 0)
        return;
    spin_lock_raw(&c->lock);
    if (from->urgent) { /* bottoms wait for nobody's slice */
        from->state = THREAD_READY;
        push_first(c, from);
    } else {
        put_back(c, from);
    }
    thread_t *to = thread_elect(c);
    spin_unlock_raw(&c->lock);
    if (to == from)
        return;
    from->frame = *f;
    from->preempted = 1;
    __asm__ volatile("fxsave64 %0" : "=m"(from->fx));
    context_resume(to);
}
