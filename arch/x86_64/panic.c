/* SPDX-License-Identifier: MIT */
/* panic.c — stops every CPU and tells what each was doing; panic.h says when and how it ends. */
#include "panic.h"

#include "apic.h"
#include "clock.h"
#include "cpu.h"
#include "kprintf.h"
#include "power.h"
#include "serial.h"
#include "string.h"
#include "thread.h"

#define LINES_MAX 32u
#define CALLERS_MAX 8192u
#define STOP_WAIT_US 200000u

void (*panic_describe)(const struct thread *t, char *out, size_t size);

static gmk_a32_t owner; /* index of the CPU that panics, plus 1 */

bool panicking(void) { return gmk_load32(&owner, GMK_ACQ, GMK_KERNEL) != 0; }

/* ---- backtrace ------------------------------------------------------------------------------ */

static void print_address(uint64_t rip)
{
    uint64_t offset;
    const char *name = symbol_of(rip, &offset);
    if (name != NULL)
        kprintf("    0x%016llx %s+0x%llx\n", (unsigned long long)rip, name, (unsigned long long)offset);
    else
        kprintf("    0x%016llx\n", (unsigned long long)rip);
}

static bool on_interrupt_stack(const cpu_t *c, uint64_t addr)
{
    for (uint32_t i = 1; i <= IST_COUNT; i++)
        if (addr < c->ist_top[i] && addr >= c->ist_top[i] - IST_BYTES)
            return true;
    return false;
}

/* Only what lies on a stack of c, or of the thread it runs, is read: a damaged pointer leads nowhere. */
static bool readable(const cpu_t *c, uint64_t rbp)
{
    return rbp % 8 == 0 && (thread_on_stack(c->current, rbp) || on_interrupt_stack(c, rbp)) &&
           (thread_on_stack(c->current, rbp + 8) || on_interrupt_stack(c, rbp + 8));
}

/* A recursion fills one line, not the screen. */
static void print_repeats(uint32_t times)
{
    if (times != 0)
        kprintf("    %u time%s the same\n", times, times == 1 ? "" : "s");
}

/* Callers are as many as a stack can hold, lines no more than a screen. */
static void backtrace_of(const cpu_t *c, uint64_t rip, uint64_t rbp)
{
    uint64_t last = rip;
    uint32_t repeats = 0;
    print_address(rip);
    for (uint32_t lines = 0, n = 0; lines < LINES_MAX && n < CALLERS_MAX && readable(c, rbp); n++) {
        const uint64_t *frame = (const uint64_t *)(uintptr_t)rbp; /* the caller's RBP, the way back */
        uint64_t caller = frame[1] - 1;                           /* the call, not what follows it */
        rbp = frame[0];
        if (frame[1] == 0)
            break;
        if (caller == last) {
            repeats++;
            continue;
        }
        print_repeats(repeats);
        print_address(caller);
        last = caller;
        repeats = 0;
        lines++;
    }
    print_repeats(repeats);
}

/* Where code was called that is none, the way back is on top of the stack, and no frame was made. */
static void backtrace_from(const cpu_t *c, const frame_t *f)
{
    uint64_t offset;
    if (symbol_of(f->rip, &offset) == NULL && readable(c, f->rsp)) {
        print_address(f->rip);
        backtrace_of(c, *(const uint64_t *)(uintptr_t)f->rsp - 1, f->rbp);
    } else {
        backtrace_of(c, f->rip, f->rbp);
    }
}

void backtrace_print(uint64_t rip, uint64_t rbp) { backtrace_of(cpu_this(), rip, rbp); }

/* ---- report --------------------------------------------------------------------------------- */

static void print_registers(const frame_t *f)
{
    const struct {
        const char *name;
        uint64_t v;
    } r[] = {{"rax", f->rax}, {"rbx", f->rbx}, {"rcx", f->rcx},    {"rdx", f->rdx},     {"rsi", f->rsi},
             {"rdi", f->rdi}, {"rbp", f->rbp}, {"rsp", f->rsp},    {"r8 ", f->r8},      {"r9 ", f->r9},
             {"r10", f->r10}, {"r11", f->r11}, {"r12", f->r12},    {"r13", f->r13},     {"r14", f->r14},
             {"r15", f->r15}, {"rip", f->rip}, {"flg", f->rflags}, {"cr2", read_cr2()}, {"cr3", read_cr3()}};
    for (uint32_t i = 0; i < sizeof r / sizeof r[0]; i++)
        kprintf("%s %016llx%s", r[i].name, (unsigned long long)r[i].v, i % 4 == 3 ? "\n" : "  ");
    kprintf("cs %llx  ss %llx  cr0 %llx  cr4 %llx  vector %llu  error %llx\n", (unsigned long long)f->cs,
            (unsigned long long)f->ss, (unsigned long long)read_cr0(), (unsigned long long)read_cr4(),
            (unsigned long long)f->vector, (unsigned long long)f->error);
}

static void print_cpu(const cpu_t *c)
{
    char what[96] = "";
    if (c->current != NULL && panic_describe != NULL)
        panic_describe(c->current, what, sizeof what);
    kprintf("CPU %u (LAPIC %u): thread %s%s%s\n", c->index, c->lapic_id,
            c->current != NULL ? thread_name(c->current) : "boot", what[0] != '\0' ? ", " : "", what);
}

static void print_others(uint32_t me)
{
    for (uint32_t i = 0; i < CPU_MAX; i++) {
        const cpu_t *c = cpu_at(i);
        if (c == NULL || i == me)
            continue;
        print_cpu(c);
        if (gmk_load32(&c->stopped, GMK_ACQ, GMK_KERNEL) != 0)
            backtrace_from(c, &c->stop_frame);
        else
            kprintf("    did not stop\n");
    }
}

/* ---- stopping ------------------------------------------------------------------------------- */

static bool all_stopped(uint32_t me)
{
    for (uint32_t i = 0; i < CPU_MAX; i++) {
        const cpu_t *c = cpu_at(i);
        if (c != NULL && i != me && gmk_load32(&c->stopped, GMK_ACQ, GMK_KERNEL) == 0)
            return false;
    }
    return true;
}

static void stop_others(uint32_t me)
{
    if (all_stopped(me))
        return; /* there are none, and perhaps no LAPIC yet */
    lapic_nmi_others();
    for (uint32_t us = 0; us < STOP_WAIT_US && !all_stopped(me); us += 100)
        clock_delay_us(100);
}

/* What this CPU did is kept for the report of the one that panics, the first time only. */
static _Noreturn void stop_here(const frame_t *f)
{
    cpu_t *c = cpu_this();
    if (gmk_load32(&c->stopped, GMK_RLX, GMK_KERNEL) == 0) {
        c->stop_frame = *f;
        gmk_store32(&c->stopped, 1, GMK_REL, GMK_KERNEL);
    }
    cpu_stop();
}

void panic_on_nmi(const frame_t *f)
{
    if (panicking())
        stop_here(f);
}

static _Noreturn void end(void)
{
    power_debug_exit(PANIC_EXIT);
    kprintf("halted\n");
    cpu_stop();
}

/* One CPU goes on; another one that panics stops; a panic while reporting ends the report. */
static void claim(const frame_t *f, const char *message)
{
    uint32_t me = cpu_this()->index + 1, none = 0;
    irq_disable();
    if (gmk_cas32(&owner, &none, me, GMK_ACQ_REL, GMK_KERNEL))
        return;
    if (none != me)
        stop_here(f);
    kprintf("\n*** panic while reporting a panic: %s\n", message);
    end();
}

/* f: the registers of an exception, or of the caller of panic with only rip and rbp. */
static _Noreturn void report(const frame_t *f, bool registers, const char *message)
{
    const cpu_t *c = cpu_this();
    claim(f, message);
    stop_others(c->index);
    serial_panic_mode();
    kprintf("\n*** PANIC on CPU %u: %s\n", c->index, message);
    if (registers)
        print_registers(f);
    print_cpu(c);
    backtrace_from(c, f);
    print_others(c->index);
    end();
}

_Noreturn void panic(const char *fmt, ...)
{
    char message[256];
    va_list ap;
    va_start(ap, fmt);
    (void)kvsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    const frame_t caller = {.rip = (uint64_t)(uintptr_t)__builtin_return_address(0) - 1,
                            .rbp = *(const uint64_t *)__builtin_frame_address(0)};
    report(&caller, false, message);
}

_Noreturn void panic_frame(const frame_t *f, const char *fmt, ...)
{
    char message[256];
    va_list ap;
    va_start(ap, fmt);
    (void)kvsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    report(f, true, message);
}
