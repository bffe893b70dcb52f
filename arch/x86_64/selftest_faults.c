/* SPDX-License-Identifier: MIT */
/* selftest_faults.c — the kernel's checks that faults come back from guarded calls, on every CPU. */
#include "selftest_cpu.h"

#include "cpu.h"

enum { DE = 0, BP = 3, UD = 6, SS = 12, GP = 13, PF = 14, XM = 19 };
#define UNMAPPED UINT64_C(0x123456789000)
#define NOT_CANONICAL UINT64_C(0x1234567890ABCDEF)
#define MXCSR_START 0x1F80u
#define MXCSR_DIVIDE_UNMASKED 0x1D80u

static const volatile uint32_t depth_zero;
static gmk_a32_t wrong;

/* ---- what goes wrong ---------------------------------------------------------------------------- */

/* In assembly: a compiler may do with undefined behaviour what it likes. */
static void divide(void *unused)
{
    (void)unused;
    __asm__ volatile("xorl %%ecx, %%ecx; movl $1, %%eax; cltd; idivl %%ecx" : : : "rax", "rcx", "rdx", "cc");
}
static void divide_min(void *unused) /* the quotient does not fit */
{
    (void)unused;
    __asm__ volatile("movl $-1, %%ecx; movl $0x80000000, %%eax; cltd; idivl %%ecx"
                     :
                     :
                     : "rax", "rcx", "rdx", "cc");
}
static void undefined(void *unused)
{
    (void)unused;
    __asm__ volatile("ud2");
}
static void breakpoint(void *unused)
{
    (void)unused;
    __asm__ volatile("int3");
}
static void read_at(void *p) { __asm__ volatile("movq (%0), %%rax" : : "r"(p) : "rax"); }
static void write_at(void *p) { __asm__ volatile("movb $1, (%0)" : : "r"(p) : "memory"); }
static void run_at(void *p) { ((void (*)(void))(uintptr_t)p)(); }
static void bad_stack_access(void *p)
{
    __asm__ volatile("movq %%rbp, %%rcx; movq %0, %%rbp; movq (%%rbp), %%rax; movq %%rcx, %%rbp"
                     :
                     : "r"(p)
                     : "rax", "rcx");
}
static void divide_float(void *unused)
{
    uint32_t mxcsr = MXCSR_DIVIDE_UNMASKED;
    (void)unused;
    __asm__ volatile("ldmxcsr %0; xorps %%xmm0, %%xmm0; movl $1, %%eax; cvtsi2ss %%eax, %%xmm1;"
                     "divss %%xmm0, %%xmm1"
                     :
                     : "m"(mxcsr)
                     : "rax");
}
static void backwards(void *p) /* leaves the direction flag on */
{
    __asm__ volatile("std; movq (%0), %%rax; cld" : : "r"(p) : "rax", "cc");
}
static void overflow(void *unused)
{
    (void)unused;
    __asm__ volatile("1: push %%rax; jmp 1b" : : : "memory");
}
static void overflow_by_calls(void *unused)
{
    (void)unused;
    __asm__ volatile("1: call 1b" : : : "memory");
}

static uint32_t read_mxcsr(void)
{
    uint32_t v;
    __asm__ volatile("stmxcsr %0" : "=m"(v));
    return v;
}
static void write_mxcsr(uint32_t v) { __asm__ volatile("ldmxcsr %0" : : "m"(v)); }

/* ---- the checks ------------------------------------------------------------------------------- */

typedef struct fault_case {
    const char *what;
    void (*fn)(void *);
    uint64_t arg;
    uint32_t vector;
    uint64_t address;
} fault_case_t;

extern const char rodata_begin[];

static bool comes_back(const fault_case_t *k)
{
    thread_fault_t f = {0};
    bool returned = thread_guarded(k->fn, (void *)(uintptr_t)k->arg, &depth_zero, &f);
    return !returned && f.vector == k->vector && f.address == k->address && !f.stack_overflow &&
           (read_flags() & RFLAGS_IF) != 0 && (read_flags() & 1u << 10) == 0;
}

/* Emulators differ from the processor in these two: QEMU has no #XM, and #GP for #SS. */
static void check_emulated(void)
{
    thread_fault_t f = {0};
    bool returned = thread_guarded(bad_stack_access, (void *)(uintptr_t)NOT_CANONICAL, &depth_zero, &f);
    selftest_check(!returned && (f.vector == SS || f.vector == GP),
                   "#SS, stack access that is not canonical");
    returned = thread_guarded(divide_float, NULL, &depth_zero, &f);
    selftest_check(returned || f.vector == XM, returned ? "#XM # SKIP this CPU raises none" : "#XM");
    write_mxcsr(MXCSR_START);
}

static void check_kinds(void)
{
    const uint64_t read_only = (uint64_t)(uintptr_t)rodata_begin;
    const fault_case_t cases[] = {
        {"#DE, division by zero", divide, 0, DE, 0},
        {"#DE, quotient too large", divide_min, 0, DE, 0},
        {"#UD", undefined, 0, UD, 0},
        {"#BP", breakpoint, 0, BP, 0},
        {"#PF, read of what is not mapped", read_at, UNMAPPED, PF, UNMAPPED},
        {"#PF, read through NULL", read_at, 0, PF, 0},
        {"#PF, write to read-only data", write_at, read_only, PF, read_only},
        {"#PF, execution of data", run_at, read_only, PF, read_only},
        {"#PF, execution at NULL", run_at, 0, PF, 0},
        {"#GP, address that is not canonical", read_at, NOT_CANONICAL, GP, 0},
        {"#PF with the direction flag on", backwards, UNMAPPED, PF, UNMAPPED},
    };
    for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        selftest_check(comes_back(&cases[i]), cases[i].what);
    selftest_check(read_mxcsr() == MXCSR_START, "MXCSR is what it was");
}

static bool overflow_comes_back(void (*fn)(void *))
{
    thread_fault_t f = {0};
    return !thread_guarded(fn, NULL, &depth_zero, &f) && f.vector == PF && f.stack_overflow;
}

/* In a thread of its own: the first thread's stack has no guard page. */
static void overflow_often(void *unused)
{
    (void)unused;
    for (uint32_t i = 0; i < 50; i++)
        if (!overflow_comes_back(i % 2 ? overflow : overflow_by_calls))
            (void)gmk_add32(&wrong, 1, GMK_RLX, GMK_KERNEL);
}

static void fault_often(void *unused)
{
    const fault_case_t a = {"", divide, 0, DE, 0}, b = {"", read_at, UNMAPPED, PF, UNMAPPED};
    (void)unused;
    for (uint32_t i = 0; i < 300; i++)
        if (!comes_back(i % 2 ? &a : &b))
            (void)gmk_add32(&wrong, 1, GMK_RLX, GMK_KERNEL);
}

static void set_flag(void *arg) { *(volatile uint32_t *)arg = 1; }

static void inner_fault(void *arg)
{
    thread_fault_t f = {0};
    bool returned = thread_guarded(undefined, NULL, &depth_zero, &f);
    *(volatile uint32_t *)arg = !returned && f.vector == UD;
    divide(NULL);
}

static void check_nesting(void)
{
    thread_fault_t f = {0};
    volatile uint32_t ran = 0, inner = 0;
    selftest_check(thread_guarded(set_flag, (void *)(uintptr_t)&ran, &depth_zero, &f) && ran == 1,
                   "a guarded call without a fault returns");
    bool outer = thread_guarded(inner_fault, (void *)(uintptr_t)&inner, &depth_zero, &f);
    selftest_check(inner == 1 && !outer && f.vector == DE, "guarded calls nest: each catches its own");
}

void selftest_faults(void)
{
    check_kinds();
    check_emulated();
    check_nesting();
    selftest_check(selftest_on_all(fault_often, NULL) && wrong.v == 0,
                   "faults on every CPU at once come back");
    selftest_check(selftest_on_all(overflow_often, NULL) && wrong.v == 0,
                   "stack overflows on every CPU come back, again and again");
}
