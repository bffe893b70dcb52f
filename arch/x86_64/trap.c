/* SPDX-License-Identifier: MIT */
/*
 * trap.c — exceptions: page faults are offered to the memory manager, then every fault to the guarded call
 * it happened in; what nobody takes is a panic.
 */
#include "idt.h"
#include "panic.h"
#include "thread.h"
#include "vmm.h"

enum { NMI = 2, DOUBLE_FAULT = 8, PAGE_FAULT = 14, MACHINE_CHECK = 18, N_EXCEPTIONS = 32 };

#define CPUID_MCA (1u << 14) /* of leaf 1, EDX */
#define MSR_MCG_CAP 0x179u
#define MSR_MC0_STATUS 0x401u
#define MC_VALID (UINT64_C(1) << 63)
#define MC_HAS_ADDRESS (UINT64_C(1) << 58)

static const char *const names[N_EXCEPTIONS][2] = {
    [0] = {"#DE", "division by zero or quotient too large"},
    [1] = {"#DB", "debug exception"},
    [2] = {"NMI", "non-maskable interrupt"},
    [3] = {"#BP", "breakpoint"},
    [4] = {"#OF", "overflow"},
    [5] = {"#BR", "bound range exceeded"},
    [6] = {"#UD", "invalid opcode"},
    [7] = {"#NM", "FPU not available"},
    [8] = {"#DF", "double fault"},
    [10] = {"#TS", "invalid TSS"},
    [11] = {"#NP", "segment not present"},
    [12] = {"#SS", "stack fault"},
    [13] = {"#GP", "general protection"},
    [14] = {"#PF", "page fault"},
    [16] = {"#MF", "x87 floating-point error"},
    [17] = {"#AC", "alignment check"},
    [18] = {"#MC", "machine check"},
    [19] = {"#XM", "SIMD floating-point error"},
    [20] = {"#VE", "virtualization exception"},
    [21] = {"#CP", "control protection"},
    [28] = {"#HV", "hypervisor injection"},
    [29] = {"#VC", "VMM communication"},
    [30] = {"#SX", "security exception"},
};

const char *trap_mnemonic(uint32_t v) { return v < N_EXCEPTIONS && names[v][0] ? names[v][0] : "#??"; }
const char *trap_name(uint32_t v)
{
    return v < N_EXCEPTIONS && names[v][1] ? names[v][1] : "reserved exception";
}

/* Intel SDM 3A §4.7: what the error code of a page fault tells. */
static const char *access_of(uint64_t error)
{
    return (error & 8) != 0  ? "reserved bits in the page tables at"
         : (error & 16) != 0 ? "execution at"
         : (error & 2) != 0  ? "write to"
                             : "read from";
}

static _Noreturn void page_fault_panic(const frame_t *f, uint64_t addr, bool guard)
{
    const thread_t *t = thread_self();
    const char *who = t != NULL ? thread_name(t) : "boot";
    if (guard)
        panic_frame(f, "stack overflow of thread %s: address 0x%llx is in a guard page", who,
                    (unsigned long long)addr);
    panic_frame(f, "#PF page fault: %s 0x%llx, which is %s", access_of(f->error), (unsigned long long)addr,
                (f->error & 1) != 0 ? "protected" : "not mapped");
}

/* Where a guarded call was in progress the reason for the panic is its depth. */
static _Noreturn void fault_panic(const frame_t *f)
{
    uint32_t v = (uint32_t)f->vector, depth = thread_guard_depth();
    if (depth != 0)
        panic_frame(f, "%s %s inside the core, depth %u: its structures can no longer be trusted",
                    trap_mnemonic(v), trap_name(v), depth);
    panic_frame(f, "%s %s, error code 0x%llx, interrupts %s", trap_mnemonic(v), trap_name(v),
                (unsigned long long)f->error, (f->rflags & RFLAGS_IF) != 0 ? "on" : "off");
}

/*
 * CR2 is read first: a fault inside would change it.  A second fault on this stack would destroy the first
 * one's frame, so it is the end in any case.
 */
static void page_fault(frame_t *f)
{
    uint64_t addr = read_cr2();
    cpu_t *c = cpu_this();
    if (c->in_page_fault++ != 0)
        panic_frame(f, "page fault at 0x%llx inside the page-fault handler", (unsigned long long)addr);
    bool supplied = vmm_fault(addr, f->error);
    bool guard = !supplied && vmm_is_guard(addr);
    if (!supplied && !thread_catch(f, addr, guard))
        page_fault_panic(f, addr, guard);
    c->in_page_fault--;
}

static _Noreturn void double_fault(const frame_t *f)
{
    panic_frame(f, "#DF double fault: an exception could not be delivered (RSP 0x%llx)",
                (unsigned long long)f->rsp);
}

/* The first bank that reports an error; Intel SDM 3B §15.3. */
static _Noreturn void machine_check(const frame_t *f)
{
    uint32_t a, b, c, d;
    cpuid(1, 0, &a, &b, &c, &d);
    uint32_t banks = (d & CPUID_MCA) != 0 ? (uint32_t)rdmsr(MSR_MCG_CAP) & 0xFF : 0;
    for (uint32_t i = 0; i < banks; i++) {
        uint64_t status = rdmsr(MSR_MC0_STATUS + 4 * i);
        if ((status & MC_VALID) == 0)
            continue;
        uint64_t addr = (status & MC_HAS_ADDRESS) != 0 ? rdmsr(MSR_MC0_STATUS + 4 * i + 1) : 0;
        panic_frame(
            f, "#MC machine check: the hardware reports an error, bank %u, status 0x%016llx, address 0x%llx",
            i, (unsigned long long)status, (unsigned long long)addr);
    }
    panic_frame(f, "#MC machine check: the hardware reports an error, and not which");
}

static void exception(frame_t *f)
{
    switch (f->vector) {
    case NMI:
        panic_on_nmi(f);
        panic_frame(f, "NMI: non-maskable interrupt, from the hardware or from outside");
    case DOUBLE_FAULT: double_fault(f);
    case PAGE_FAULT: page_fault(f); break;
    case MACHINE_CHECK: machine_check(f);
    default:
        if (!thread_catch(f, 0, false))
            fault_panic(f);
    }
}

void trap_dispatch(frame_t *f)
{
    if (f->vector < N_EXCEPTIONS)
        exception(f);
    else
        irq_dispatch(f);
}
