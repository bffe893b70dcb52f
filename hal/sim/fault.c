/* SPDX-License-Identifier: MIT */
/*
 * fault.c — CPU faults under simulation: raised by the CPU or by sim_crash, they come back from
 * gmk_hal_guarded, or end the run and are reported with their seed.
 */
#include "sim_int.h"

#include <ggmk/error.h>

#include <signal.h>
#include <string.h>
#include <ucontext.h>

static _Noreturn void fault(uint32_t kind, uint64_t address, uint64_t pc)
{
    struct sim_guard *g = sim.current->guard;

    if (g == NULL)
        sim_end("fault", "fault: signal %u at address 0x%llx, pc 0x%llx", kind, (unsigned long long)address,
                (unsigned long long)pc);
    if (*g->depth != 0)
        sim_end("fault", "fault inside the kernel: signal %u at address 0x%llx, pc 0x%llx, depth %u", kind,
                (unsigned long long)address, (unsigned long long)pc, *g->depth);
    *g->info = (gmk_fault_info_t){.kind = kind, .address = address, .pc = pc};
    siglongjmp(g->back, 1);
}

void sim_crash(uint32_t kind, uint64_t address)
{
    fault(kind, address, (uint64_t)(uintptr_t)__builtin_return_address(0));
}

static void on_signal(int sig, siginfo_t *si, void *uc)
{
    if (sim.current == NULL || si->si_code <= 0) {
        signal(sig, SIG_DFL); /* not a fault of a fiber: it happens again, and ends the program */
        if (si->si_code <= 0)
            (void)raise(sig);
        return;
    }
    const ucontext_t *u = uc;
    fault((uint32_t)sig, (uint64_t)(uintptr_t)si->si_addr, (uint64_t)u->uc_mcontext.gregs[REG_RIP]);
}

/* The handler leaves by a jump: nothing may be blocked (SA_NODEFER, empty mask). */
void sim_fault_install(void)
{
    static _Alignas(16) char stack[64 << 10];
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    static bool done;
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    stack_t alt = {.ss_sp = stack, .ss_size = sizeof stack};

    if (done)
        return;
    done = true;
    sigaltstack(&alt, NULL);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        sigaction(signals[i], &sa, NULL);
}

int gmk_hal_guard_enter(void) { return GMK_OK; }

void gmk_hal_guard_leave(void) {}

bool gmk_hal_guarded(void (*fn)(void *), void *arg, const volatile uint32_t *depth, gmk_fault_info_t *info)
{
    struct sim_fiber *f = sim.current;
    struct sim_guard g = {.depth = depth, .info = info};
    struct sim_guard *outer = f->guard;

    if (sigsetjmp(g.back, 0) != 0) {
        sim.current->guard = outer;
        return false;
    }
    f->guard = &g;
    fn(arg);
    f->guard = outer;
    return true;
}
