/* SPDX-License-Identifier: MIT */
/*
 * fault.c — CPU faults of a handler come back as a return value.
 *
 * One process-wide handler for SIGSEGV, SIGBUS, SIGFPE and SIGILL is installed by the first
 * thread that enters and removed by the last that leaves.  It acts only on a fault that the CPU
 * raised inside gmk_hal_guarded, on the thread that runs it; everything else goes to whoever
 * had the signal before, as if this file were not there.  Each thread that enters gets an
 * alternate stack, so that a stack overflow can be contained too.
 *
 * The jump saves no signal mask, which would cost two system calls a batch: the rare path, the
 * handler, puts back the mask of the interrupted context before it jumps.
 *
 * This contains mistakes.  It is not a protection domain: what a handler wrote before it
 * faulted stays written.
 */
#include <ggmk/error.h>
#include <ggmk/hal.h>

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

/* What a thread is inside of: the innermost gmk_hal_guarded. */
struct guard {
    sigjmp_buf back;
    const volatile uint32_t *depth;
    gmk_fault_info_t *info;
};

/* Thread state.  Initial-exec: the signal handler must not meet a lazy TLS allocation. */
#define GUARD_TLS static _Thread_local __attribute__((tls_model("initial-exec")))
GUARD_TLS struct guard *volatile guard_current;
GUARD_TLS uint32_t guard_entered;
GUARD_TLS void *guard_stack;
GUARD_TLS stack_t guard_stack_before;

static const int fault_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
#define N_SIGNALS (sizeof fault_signals / sizeof fault_signals[0])

static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t install_count;
/* Dispositions before ours; written only while ours is not installed, or not first. */
static struct sigaction before[N_SIGNALS];
/* Somebody put a handler over ours and we could not leave: we are still on its chain. */
static bool stayed[N_SIGNALS];

static size_t signal_index(int sig)
{
    size_t i = 0;
    while (fault_signals[i] != sig)
        i++;
    return i;
}

/* ---- report -------------------------------------------------------------------------------- */

/* Appends without libc's formatted output, which a signal handler may not call. */
static char *put_text(char *to, const char *text)
{
    while (*text != '\0')
        *to++ = *text++;
    return to;
}

static char *put_number(char *to, uint64_t n, unsigned base)
{
    char digits[20];
    int count = 0;
    do {
        digits[count++] = "0123456789abcdef"[n % base];
        n /= base;
    } while (n != 0);
    while (count > 0)
        *to++ = digits[--count];
    return to;
}

static const char *signal_name(int sig)
{
    return sig == SIGSEGV ? "SIGSEGV" : sig == SIGBUS ? "SIGBUS" : sig == SIGFPE ? "SIGFPE" : "SIGILL";
}

static void report_core_fault(const gmk_fault_info_t *f, uint32_t depth)
{
    char line[192];
    char *p = put_text(line, "ggmk: fault inside the kernel: ");
    p = put_text(p, signal_name((int)f->kind));
    p = put_text(p, " at address 0x");
    p = put_number(p, f->address, 16);
    p = put_text(p, ", pc 0x");
    p = put_number(p, f->pc, 16);
    p = put_text(p, ", depth ");
    p = put_number(p, depth, 10);
    p = put_text(p, ", thread ");
    p = put_number(p, (uint64_t)gettid(), 10);
    p = put_text(p, ": its structures can no longer be trusted, the program ends");
    *p = '\0';
    gmk_hal_console(line);
}

/* ---- chaining ------------------------------------------------------------------------------ */

static void default_action(int sig, const siginfo_t *si)
{
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    sigaction(sig, &dfl, NULL);
    if (si->si_code <= 0)
        (void)raise(sig); /* was sent, so it does not happen again by itself; a fault does */
}

/* Calls the handler that was there before with the mask the kernel would have given it. */
static void call_before(const struct sigaction *old, int sig, siginfo_t *si, void *uc)
{
    sigset_t mask = old->sa_mask, saved;
    if (!(old->sa_flags & SA_NODEFER))
        sigaddset(&mask, sig);
    pthread_sigmask(SIG_BLOCK, &mask, &saved);
    if (old->sa_flags & SA_SIGINFO)
        old->sa_sigaction(sig, si, uc);
    else
        old->sa_handler(sig);
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
}

static void chain(int sig, siginfo_t *si, void *uc)
{
    const struct sigaction *old = &before[signal_index(sig)];
    bool has_handler = (old->sa_flags & SA_SIGINFO) ||
                       (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN);

    if (has_handler)
        call_before(old, sig, si, uc);
    else if (old->sa_handler == SIG_DFL || si->si_code > 0)
        default_action(sig, si); /* a real fault cannot be ignored: the kernel kills then, too */
}

/* ---- the handler --------------------------------------------------------------------------- */

static uint64_t pc_of(const void *uc)
{
    const ucontext_t *u = uc;
#if defined(__x86_64__)
    return (uint64_t)u->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (uint64_t)u->uc_mcontext.pc;
#else
    (void)u;
    return 0;
#endif
}

static void on_fault(int sig, siginfo_t *si, void *uc)
{
    struct guard *g = guard_current;

    if (g == NULL || si->si_code <= 0) { /* not ours, or sent by kill(2) */
        chain(sig, si, uc);
        return;
    }
    gmk_fault_info_t info = {
        .kind = (uint32_t)sig, .address = (uint64_t)(uintptr_t)si->si_addr, .pc = pc_of(uc)};
    uint32_t depth = *g->depth;
    if (depth != 0) {
        guard_current = NULL; /* a second fault in what follows is not ours */
        report_core_fault(&info, depth);
        chain(sig, si, uc);
        default_action(sig, si);
        return;
    }
    *g->info = info;
    pthread_sigmask(SIG_SETMASK, &((ucontext_t *)uc)->uc_sigmask, NULL);
    siglongjmp(g->back, 1);
}

/* ---- install and restore ------------------------------------------------------------------- */

static bool is_ours(const struct sigaction *sa)
{
    return (sa->sa_flags & SA_SIGINFO) && sa->sa_sigaction == on_fault;
}

static void install_all(void)
{
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    sigemptyset(&sa.sa_mask);
    for (size_t i = 0; i < N_SIGNALS; i++) {
        if (stayed[i])
            continue; /* still on the chain; a second link would make it a circle */
        sigaction(fault_signals[i], NULL, &before[i]); /* known before ours can run */
        sigaction(fault_signals[i], &sa, NULL);
    }
}

static void restore_all(void)
{
    for (size_t i = 0; i < N_SIGNALS; i++) {
        struct sigaction now;
        sigaction(fault_signals[i], NULL, &now);
        stayed[i] = !is_ours(&now);
        if (!stayed[i])
            sigaction(fault_signals[i], &before[i], NULL);
    }
}

/* ---- the alternate stack ------------------------------------------------------------------- */

#define ALT_STACK_BYTES ((size_t)64 << 10)

static bool alt_stack_enter(void)
{
    size_t guard_page = (size_t)sysconf(_SC_PAGESIZE);
    char *p = mmap(NULL, ALT_STACK_BYTES + guard_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                   -1, 0);
    if (p == MAP_FAILED)
        return false;
    (void)mprotect(p, guard_page, PROT_NONE);
    stack_t ours = {.ss_sp = p + guard_page, .ss_size = ALT_STACK_BYTES};
    if (sigaltstack(&ours, &guard_stack_before) != 0) {
        (void)munmap(p, ALT_STACK_BYTES + guard_page);
        return false;
    }
    guard_stack = p;
    return true;
}

static void alt_stack_leave(void)
{
    (void)sigaltstack(&guard_stack_before, NULL);
    (void)munmap(guard_stack, ALT_STACK_BYTES + (size_t)sysconf(_SC_PAGESIZE));
    guard_stack = NULL;
}

/* ---- the interface ------------------------------------------------------------------------- */

int gmk_hal_guard_enter(void)
{
    if (guard_entered == 0 && !alt_stack_enter())
        return GMK_ALLOC_FAIL;
    guard_entered++;
    pthread_mutex_lock(&install_lock);
    if (install_count++ == 0)
        install_all();
    pthread_mutex_unlock(&install_lock);
    return GMK_OK;
}

void gmk_hal_guard_leave(void)
{
    pthread_mutex_lock(&install_lock);
    if (--install_count == 0)
        restore_all();
    pthread_mutex_unlock(&install_lock);
    if (--guard_entered == 0)
        alt_stack_leave();
}

bool gmk_hal_guarded(void (*fn)(void *), void *arg, const volatile uint32_t *depth, gmk_fault_info_t *info)
{
    struct guard g;
    struct guard *outer = guard_current;

    g.depth = depth;
    g.info = info;
    if (sigsetjmp(g.back, 0) != 0) {
        guard_current = outer;
        return false;
    }
    guard_current = &g;
    fn(arg);
    guard_current = outer;
    return true;
}
