/* SPDX-License-Identifier: MIT */
/* test_hal.c — the hosted HAL: locks, park slots, threads, pages, fences, console, faults. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <ggmk/error.h>
#include <ggmk/hal.h>
#include <ggmk/module.h>

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS 1000000ull
/* These functions do on purpose what the sanitizer looks for. */
#define FAULTS_ON_PURPOSE __attribute__((noinline, no_sanitize("undefined")))

/* ---- locks --------------------------------------------------------------------------------- */

struct counted {
    gmk_hal_lock_t lock;
    uint64_t n;
};

static void count_up(void *arg)
{
    struct counted *c = arg;
    for (int i = 0; i < 20000; i++) {
        gmk_hal_lock_acquire(&c->lock);
        c->n++;
        gmk_hal_lock_release(&c->lock);
    }
}

static void test_lock_excludes(void **state)
{
    (void)state;
    struct counted c = {.n = 0};
    gmk_hal_thread_t t[3];

    gmk_hal_lock_init(&c.lock);
    for (int i = 0; i < 3; i++)
        assert_int_equal(gmk_hal_thread_create(&t[i], "counter", UINT32_MAX, count_up, &c), GMK_OK);
    for (int i = 0; i < 3; i++)
        gmk_hal_thread_join(&t[i]);
    gmk_hal_lock_destroy(&c.lock);
    assert_int_equal(c.n, 60000);
}

/* ---- park ---------------------------------------------------------------------------------- */

static void test_park_token_before_wait(void **state)
{
    (void)state;
    gmk_hal_park_t p;

    gmk_hal_park_init(&p);
    gmk_hal_park_wake(&p);
    gmk_hal_park_wake(&p); /* tokens do not add up */
    assert_true(gmk_hal_park_wait(&p, GMK_HAL_FOREVER));
    assert_false(gmk_hal_park_wait(&p, 0));
    gmk_hal_park_wake(&p);
    assert_true(gmk_hal_park_wait(&p, 0));
    gmk_hal_park_destroy(&p);
}

static void test_park_times_out(void **state)
{
    (void)state;
    gmk_hal_park_t p;

    gmk_hal_park_init(&p);
    uint64_t start = gmk_hal_now_ns();
    assert_false(gmk_hal_park_wait(&p, 5 * MS));
    assert_true(gmk_hal_now_ns() - start >= 5 * MS);
    gmk_hal_park_wake(&p); /* the slot is as good as new */
    assert_true(gmk_hal_park_wait(&p, 5 * MS));
    gmk_hal_park_destroy(&p);
}

static void wake_slot(void *arg)
{
    gmk_hal_park_t *p = arg;
    while (gmk_load32(&p->word, GMK_RLX, GMK_KERNEL) == 0) /* until the other side waits */
        sched_yield();
    for (uint64_t until = gmk_hal_now_ns() + 2 * MS; gmk_hal_now_ns() < until;)
        sched_yield(); /* a wait that gives up at once must not be saved by this wake */
    gmk_hal_park_wake(p);
}

static void wait_for_a_waker(uint64_t timeout)
{
    gmk_hal_park_t p;
    gmk_hal_thread_t t;

    gmk_hal_park_init(&p);
    assert_int_equal(gmk_hal_thread_create(&t, "waker", UINT32_MAX, wake_slot, &p), GMK_OK);
    assert_true(gmk_hal_park_wait(&p, timeout));
    gmk_hal_thread_join(&t);
    gmk_hal_park_destroy(&p);
}

static void test_park_is_woken(void **state)
{
    (void)state;
    wait_for_a_waker(GMK_HAL_FOREVER);
    wait_for_a_waker(3600 * 1000 * MS);
    wait_for_a_waker(UINT64_MAX - 1); /* more than the clock can count is forever */
}

struct pingpong {
    gmk_hal_park_t here, there;
    uint64_t plain; /* handed over by the parks alone */
};

static void pong(void *arg)
{
    struct pingpong *g = arg;
    for (int i = 0; i < 2000; i++) {
        (void)gmk_hal_park_wait(&g->there, GMK_HAL_FOREVER);
        g->plain++;
        gmk_hal_park_wake(&g->here);
    }
}

static void test_park_carries_data(void **state)
{
    (void)state;
    struct pingpong g = {.plain = 0};
    gmk_hal_thread_t t;

    gmk_hal_park_init(&g.here);
    gmk_hal_park_init(&g.there);
    assert_int_equal(gmk_hal_thread_create(&t, "pong", UINT32_MAX, pong, &g), GMK_OK);
    for (int i = 0; i < 2000; i++) {
        g.plain++;
        gmk_hal_park_wake(&g.there);
        assert_true(gmk_hal_park_wait(&g.here, GMK_HAL_FOREVER));
    }
    gmk_hal_thread_join(&t);
    assert_int_equal(g.plain, 4000);
}

/* A short timeout against a wake: whatever comes first, no wake is lost and none is invented. */
static void short_waits(void *arg)
{
    struct pingpong *g = arg;
    for (int i = 0; i < 500; i++) {
        while (!gmk_hal_park_wait(&g->there, 1000))
            ;
        gmk_hal_park_wake(&g->here);
    }
}

static void test_park_timeout_races_wake(void **state)
{
    (void)state;
    struct pingpong g = {.plain = 0};
    gmk_hal_thread_t t;

    gmk_hal_park_init(&g.here);
    gmk_hal_park_init(&g.there);
    assert_int_equal(gmk_hal_thread_create(&t, "short", UINT32_MAX, short_waits, &g), GMK_OK);
    for (int i = 0; i < 500; i++) {
        gmk_hal_park_wake(&g.there);
        assert_true(gmk_hal_park_wait(&g.here, GMK_HAL_FOREVER));
    }
    gmk_hal_thread_join(&t);
    assert_false(gmk_hal_park_wait(&g.there, 0));
    assert_false(gmk_hal_park_wait(&g.here, 0));
}

/* ---- threads ------------------------------------------------------------------------------- */

struct seen {
    char name[16];
    int cpu;
    bool sigint_blocked, sigsegv_blocked;
};

static void look_around(void *arg)
{
    struct seen *s = arg;
    sigset_t mask;

    prctl(PR_GET_NAME, s->name, 0, 0, 0);
    s->cpu = sched_getcpu();
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    s->sigint_blocked = sigismember(&mask, SIGINT) == 1;
    s->sigsegv_blocked = sigismember(&mask, SIGSEGV) == 1;
}

static uint32_t some_cpu(void)
{
    cpu_set_t set;
    uint32_t last = 0;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    for (uint32_t i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &set))
            last = i;
    return last;
}

static void test_thread_name_pin_mask(void **state)
{
    (void)state;
    struct seen s = {.cpu = -1};
    gmk_hal_thread_t t;
    uint32_t cpu = some_cpu();

    assert_int_equal(gmk_hal_thread_create(&t, "a name that is too long", cpu, look_around, &s), GMK_OK);
    gmk_hal_thread_join(&t);
    assert_string_equal(s.name, "a name that is ");
    assert_int_equal(s.cpu, cpu);
    assert_true(s.sigint_blocked);
    assert_false(s.sigsegv_blocked);

    assert_int_equal(gmk_hal_thread_create(&t, NULL, UINT32_MAX, look_around, &s), GMK_OK);
    gmk_hal_thread_join(&t);
    assert_string_equal(s.name, "ggmk");
}

static void test_thread_without_such_cpu(void **state)
{
    (void)state;
    gmk_hal_thread_t t;
    assert_int_equal(gmk_hal_thread_create(&t, "x", CPU_SETSIZE, look_around, NULL), GMK_ERR_INVAL);
    assert_int_equal(gmk_hal_thread_create(&t, "x", CPU_SETSIZE - 1, look_around, NULL), GMK_ERR_INVAL);
}

static void test_cpu_count(void **state)
{
    (void)state;
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    assert_int_equal(gmk_hal_cpu_count(), CPU_COUNT(&set));
}

/* ---- pages --------------------------------------------------------------------------------- */

static void test_pages(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 4096, 4097, (2u << 20) - 1, 2u << 20, (5u << 20) + 3};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned char *p = gmk_hal_page_alloc(sizes[i]);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p & (sizes[i] > (2u << 20) - 4096 ? (2u << 20) - 1 : 4095), 0);
        assert_int_equal(p[0] | p[sizes[i] / 2] | p[sizes[i] - 1], 0);
        memset(p, 0xa5, sizes[i]);
        gmk_hal_page_free(p, sizes[i]);
    }
    gmk_hal_page_free(NULL, 4096);
}

static void test_pages_refused(void **state)
{
    (void)state;
    assert_null(gmk_hal_page_alloc(0));
    assert_null(gmk_hal_page_alloc(SIZE_MAX));
    assert_null(gmk_hal_page_alloc(SIZE_MAX - (2u << 20)));
    assert_null(gmk_hal_page_alloc(SIZE_MAX / 2));
}

/* ---- the asymmetric fence ------------------------------------------------------------------ */

struct buffering {
    _Alignas(GMK_CACHE_LINE) gmk_a32_t x;
    _Alignas(GMK_CACHE_LINE) gmk_a32_t y;
    _Alignas(GMK_CACHE_LINE) gmk_a32_t go;
    _Alignas(GMK_CACHE_LINE) gmk_a32_t done;
    uint32_t saw_y;
};

#define FENCE_ROUNDS 5000u

static void await(const gmk_a32_t *word, uint32_t value)
{
    for (uint32_t i = 0; gmk_load32(word, GMK_ACQ, GMK_KERNEL) != value; i++)
        gmk_hal_relax(i);
}

static void light_side(void *arg)
{
    struct buffering *b = arg;
    for (uint32_t round = 1; round <= FENCE_ROUNDS; round++) {
        await(&b->go, round);
        gmk_store32(&b->x, round, GMK_RLX, GMK_KERNEL);
        gmk_hal_asym_light();
        b->saw_y = gmk_load32(&b->y, GMK_RLX, GMK_KERNEL);
        gmk_store32(&b->done, round, GMK_REL, GMK_KERNEL);
    }
}

/* Store buffering: at least one side must see the other's store. */
static void test_asymmetric_fence(void **state)
{
    (void)state;
    static struct buffering b;
    gmk_hal_thread_t t;

    assert_int_equal(gmk_hal_thread_create(&t, "light", UINT32_MAX, light_side, &b), GMK_OK);
    for (uint32_t round = 1; round <= FENCE_ROUNDS; round++) {
        gmk_store32(&b.go, round, GMK_REL, GMK_KERNEL);
        for (uint64_t until = gmk_hal_cycles() + round % 512; gmk_hal_cycles() < until;)
            ; /* hits the other side at a different moment each time */
        gmk_store32(&b.y, round, GMK_RLX, GMK_KERNEL);
        gmk_hal_asym_heavy();
        uint32_t saw_x = gmk_load32(&b.x, GMK_RLX, GMK_KERNEL);
        await(&b.done, round);
        assert_true(saw_x == round || b.saw_y == round);
    }
    gmk_hal_thread_join(&t);
    assert_true(gmk_load32(&gmk_hal_membarrier_state, GMK_RLX, GMK_KERNEL) != GMK_HAL_MEMBARRIER_UNKNOWN);
}

static void test_relax_and_clocks(void **state)
{
    (void)state;
    uint64_t ns = gmk_hal_now_ns(), cycles = gmk_hal_cycles();
    for (uint32_t round = 0; round < 1000; round++)
        gmk_hal_relax(round);
    assert_true(gmk_hal_now_ns() > ns);
    assert_true(gmk_hal_cycles() > cycles);
}

/* ---- running something in a child, with its standard error --------------------------------- */

struct child {
    int status;
    char text[4096];
};

static struct child in_child(void (*fn)(void))
{
    struct child c = {.status = 0};
    int fd[2];
    size_t used = 0;
    ssize_t got;

    assert_int_equal(pipe(fd), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(fd[1], STDERR_FILENO);
        close(fd[0]);
        fn();
        _exit(0);
    }
    close(fd[1]);
    char scrap[512];
    while ((got = read(fd[0], scrap, sizeof scrap)) > 0) {
        size_t n = (size_t)got < sizeof c.text - 1 - used ? (size_t)got : sizeof c.text - 1 - used;
        memcpy(c.text + used, scrap, n);
        used += n;
    }
    close(fd[0]);
    assert_int_equal(waitpid(pid, &c.status, 0), pid);
    return c;
}

static void say_two_lines(void)
{
    gmk_hal_console("one");
    gmk_hal_console("");
    gmk_hal_console("two");
}

static void test_console(void **state)
{
    (void)state;
    struct child c = in_child(say_two_lines);
    assert_int_equal(c.status, 0);
    assert_string_equal(c.text, "one\n\ntwo\n");
}

/* ---- faults -------------------------------------------------------------------------------- */

static volatile uint32_t in_core;
static _Thread_local volatile uint32_t reached;

FAULTS_ON_PURPOSE static void null_pointer(void *arg)
{
    volatile int *volatile p = arg; /* NULL or a small number */
    *p = 1;
    reached++;
}

#if defined(__x86_64__)
FAULTS_ON_PURPOSE static void divide_by_zero(void *arg)
{
    volatile int zero = 0, one = 1;
    (void)arg;
    one = one / zero;
    reached++;
}

static void illegal_instruction(void *arg)
{
    (void)arg;
    __asm__ __volatile__("ud2");
}

FAULTS_ON_PURPOSE static void wild_pointer(void *arg)
{
    volatile char *volatile p = (volatile char *)(uintptr_t)0xdead00000000beefu; /* not canonical */
    (void)arg;
    *p = 1;
    reached++;
}
#endif

FAULTS_ON_PURPOSE static uint32_t overflow_stack(uint32_t n)
{
    volatile uint32_t page[512]; /* less than a guard page: a step cannot jump over it */
    page[n & 511] = n;
    return in_core == 0 ? overflow_stack(n + 1) + page[n & 511] : n; /* in_core stays 0: no end */
}

static void endless_recursion(void *arg)
{
    (void)arg;
    reached += overflow_stack(0);
}

static void nothing(void *arg)
{
    (void)arg;
    reached++;
}

static void expect_contained(void (*fn)(void *), void *arg, int sig)
{
    gmk_fault_info_t info = {.kind = 0};
    reached = 0;
    assert_false(gmk_hal_guarded(fn, arg, &in_core, &info));
    assert_int_equal(info.kind, sig);
    assert_int_equal(reached, 0);
    assert_true(info.pc != 0);
    if (fn == null_pointer)
        assert_int_equal(info.address, (uintptr_t)arg);
}

static void contain_everything(void *arg)
{
    (void)arg;
    assert_int_equal(gmk_hal_guard_enter(), GMK_OK);
    for (uintptr_t i = 0; i < 100; i++) /* the signal is unblocked each time */
        expect_contained(null_pointer, (void *)(i * 4), SIGSEGV);
#if defined(__x86_64__)
    expect_contained(divide_by_zero, NULL, SIGFPE);
    expect_contained(illegal_instruction, NULL, SIGILL);
    expect_contained(wild_pointer, NULL, SIGSEGV);
#endif
    expect_contained(endless_recursion, NULL, SIGSEGV);
    expect_contained(endless_recursion, NULL, SIGSEGV);

    gmk_fault_info_t info = {.kind = 7};
    assert_true(gmk_hal_guarded(nothing, NULL, &in_core, &info));
    assert_int_equal(reached, 1);
    assert_int_equal(info.kind, 7);
    gmk_hal_guard_leave();
}

static void test_faults_contained(void **state)
{
    (void)state;
    contain_everything(NULL);
}

static void test_faults_contained_in_threads(void **state)
{
    (void)state;
    gmk_hal_thread_t t[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(gmk_hal_thread_create(&t[i], "faulty", UINT32_MAX, contain_everything, NULL),
                         GMK_OK);
    for (int i = 0; i < 2; i++)
        gmk_hal_thread_join(&t[i]);
}

static void inner_guard(void *arg)
{
    (void)arg;
    expect_contained(null_pointer, NULL, SIGSEGV);
    null_pointer(NULL); /* the outer guard counts again */
}

static void test_guards_nest(void **state)
{
    (void)state;
    gmk_fault_info_t info = {.kind = 0};
    assert_int_equal(gmk_hal_guard_enter(), GMK_OK);
    assert_false(gmk_hal_guarded(inner_guard, NULL, &in_core, &info));
    assert_int_equal(info.kind, SIGSEGV);
    gmk_hal_guard_leave();
}

static void own_handler(int sig, siginfo_t *si, void *uc)
{
    (void)sig;
    (void)si;
    (void)uc;
}

static void *segv_handler(void)
{
    struct sigaction sa;
    sigaction(SIGSEGV, NULL, &sa);
    return sa.sa_flags & SA_SIGINFO ? (void *)(uintptr_t)sa.sa_sigaction : (void *)(uintptr_t)sa.sa_handler;
}

static void test_handlers_counted_and_restored(void **state)
{
    (void)state;
    void *before = segv_handler();
    stack_t stack_before, stack_now;

    sigaltstack(NULL, &stack_before);
    assert_int_equal(gmk_hal_guard_enter(), GMK_OK);
    void *ours = segv_handler();
    assert_ptr_not_equal(ours, before);
    assert_int_equal(gmk_hal_guard_enter(), GMK_OK);
    gmk_hal_guard_leave();
    assert_ptr_equal(segv_handler(), ours);
    expect_contained(null_pointer, NULL, SIGSEGV);
    gmk_hal_guard_leave();
    assert_ptr_equal(segv_handler(), before);
    sigaltstack(NULL, &stack_now);
    assert_ptr_equal(stack_now.ss_sp, stack_before.ss_sp);
    assert_int_equal(stack_now.ss_flags, stack_before.ss_flags);
}

/* A handler put over ours stays, and entering again does not make a circle of the chain. */
static void test_foreign_handler_on_top_stays(void **state)
{
    (void)state;
    struct sigaction mine = {.sa_sigaction = own_handler, .sa_flags = SA_SIGINFO}, ours;

    assert_int_equal(gmk_hal_guard_enter(), GMK_OK);
    sigaction(SIGSEGV, &mine, &ours);
    gmk_hal_guard_leave();
    assert_ptr_equal(segv_handler(), (void *)(uintptr_t)own_handler);
    assert_int_equal(gmk_hal_guard_enter(), GMK_OK);
    assert_ptr_equal(segv_handler(), (void *)(uintptr_t)own_handler);
    sigaction(SIGSEGV, &ours, NULL); /* it goes in the right order */
    expect_contained(null_pointer, NULL, SIGSEGV);
    gmk_hal_guard_leave();
    assert_ptr_not_equal(segv_handler(), (void *)(uintptr_t)own_handler);
    contain_everything(NULL);
}

static void exit_33(int sig) { _exit(33 + (sig == SIGSEGV ? 0 : 1)); }

static void exit_44(int sig, siginfo_t *si, void *uc)
{
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    bool masked = sigismember(&mask, SIGUSR1) == 1 && sigismember(&mask, SIGSEGV) == 1;
    _exit(masked && sig == SIGSEGV && si->si_addr == (void *)8 && uc != NULL ? 44 : 45);
}

static void fault_unguarded_after(const struct sigaction *sa)
{
    sigaction(SIGSEGV, sa, NULL);
    (void)gmk_hal_guard_enter();
    null_pointer((void *)8);
    _exit(99);
}

static void chain_to_handler(void) { fault_unguarded_after(&(struct sigaction){.sa_handler = exit_33}); }

static void chain_to_siginfo(void)
{
    struct sigaction sa = {.sa_sigaction = exit_44, .sa_flags = SA_SIGINFO};
    sigaddset(&sa.sa_mask, SIGUSR1);
    fault_unguarded_after(&sa);
}

static void chain_to_default(void) { fault_unguarded_after(&(struct sigaction){.sa_handler = SIG_DFL}); }

static void chain_to_ignore(void) { fault_unguarded_after(&(struct sigaction){.sa_handler = SIG_IGN}); }

static void test_unguarded_fault_chains(void **state)
{
    (void)state;
    struct child c = in_child(chain_to_handler);
    assert_true(WIFEXITED(c.status) && WEXITSTATUS(c.status) == 33);
    c = in_child(chain_to_siginfo);
    assert_true(WIFEXITED(c.status) && WEXITSTATUS(c.status) == 44);
    c = in_child(chain_to_default);
    assert_true(WIFSIGNALED(c.status) && WTERMSIG(c.status) == SIGSEGV);
    c = in_child(chain_to_ignore);
    assert_true(WIFSIGNALED(c.status) && WTERMSIG(c.status) == SIGSEGV);
}

/* A signal that somebody sent is no CPU fault, not even inside a guard. */
static void send_segv(void *arg)
{
    (void)arg;
    raise(SIGSEGV);
    reached++;
}

static void sent_to_default(void)
{
    gmk_fault_info_t info;
    signal(SIGSEGV, SIG_DFL);
    (void)gmk_hal_guard_enter();
    (void)gmk_hal_guarded(send_segv, NULL, &in_core, &info);
    _exit(99);
}

static void sent_to_ignore(void)
{
    gmk_fault_info_t info;
    signal(SIGSEGV, SIG_IGN);
    (void)gmk_hal_guard_enter();
    bool back = gmk_hal_guarded(send_segv, NULL, &in_core, &info);
    _exit(back && reached == 1 ? 55 : 99);
}

static void test_sent_signal_chains(void **state)
{
    (void)state;
    reached = 0;
    struct child c = in_child(sent_to_default);
    assert_true(WIFSIGNALED(c.status) && WTERMSIG(c.status) == SIGSEGV);
    c = in_child(sent_to_ignore);
    assert_true(WIFEXITED(c.status) && WEXITSTATUS(c.status) == 55);
}

static void fault_in_core(void *arg)
{
    in_core = 3;
    null_pointer(arg);
}

static void core_fault_default(void)
{
    gmk_fault_info_t info;
    signal(SIGSEGV, SIG_DFL);
    (void)gmk_hal_guard_enter();
    (void)gmk_hal_guarded(fault_in_core, (void *)16, &in_core, &info);
    _exit(99);
}

/* The handler below ours returns: the program ends all the same. */
static void core_fault_handler_returns(void)
{
    gmk_fault_info_t info;
    struct sigaction sa = {.sa_sigaction = own_handler, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &sa, NULL);
    (void)gmk_hal_guard_enter();
    (void)gmk_hal_guarded(fault_in_core, (void *)16, &in_core, &info);
    _exit(99);
}

static void test_fault_inside_the_core_ends_the_program(void **state)
{
    (void)state;
    struct child c = in_child(core_fault_default);
    assert_true(WIFSIGNALED(c.status) && WTERMSIG(c.status) == SIGSEGV);
    assert_non_null(strstr(c.text, "ggmk: fault inside the kernel: SIGSEGV at address 0x10, pc 0x"));
    assert_non_null(strstr(c.text, ", depth 3, thread "));
    c = in_child(core_fault_handler_returns);
    assert_true(WIFSIGNALED(c.status) && WTERMSIG(c.status) == SIGSEGV);
    assert_non_null(strstr(c.text, "depth 3"));
}

/* ---- linked modules ------------------------------------------------------------------------ */

static gmk_module_t hal_test_module = {.name = "hal-test"};
GMK_MODULE(hal_test_module);

static void test_linked_modules(void **state)
{
    (void)state;
    struct gmk_module *const *first;
    uint32_t n = gmk_hal_linked_modules(&first), found = 0;
    for (uint32_t i = 0; i < n; i++)
        found += first[i] == &hal_test_module;
    assert_int_equal(found, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lock_excludes),
        cmocka_unit_test(test_park_token_before_wait),
        cmocka_unit_test(test_park_times_out),
        cmocka_unit_test(test_park_is_woken),
        cmocka_unit_test(test_park_carries_data),
        cmocka_unit_test(test_park_timeout_races_wake),
        cmocka_unit_test(test_thread_name_pin_mask),
        cmocka_unit_test(test_thread_without_such_cpu),
        cmocka_unit_test(test_cpu_count),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_pages_refused),
        cmocka_unit_test(test_asymmetric_fence),
        cmocka_unit_test(test_relax_and_clocks),
        cmocka_unit_test(test_console),
        cmocka_unit_test(test_faults_contained),
        cmocka_unit_test(test_faults_contained_in_threads),
        cmocka_unit_test(test_guards_nest),
        cmocka_unit_test(test_handlers_counted_and_restored),
        cmocka_unit_test(test_foreign_handler_on_top_stays),
        cmocka_unit_test(test_unguarded_fault_chains),
        cmocka_unit_test(test_sent_signal_chains),
        cmocka_unit_test(test_fault_inside_the_core_ends_the_program),
        cmocka_unit_test(test_linked_modules),
    };
    return cmocka_run_group_tests_name("hal", tests, NULL, NULL);
}
