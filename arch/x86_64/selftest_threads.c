/* SPDX-License-Identifier: MIT */
/* selftest_threads.c — the kernel's checks of its threads: life, blocking, sleeping, preemption. */
#include "selftest_cpu.h"

#include "clock.h"
#include "cpu.h"
#include "pmm.h"
#include "smp.h"
#include "string.h"
#include "vmm.h"

#define MS UINT64_C(1000000)
#define FAR (clock_now_ns() + 30 * SELFTEST_SECOND)

static gmk_a32_t a, b, stop;

static void set_word(gmk_a32_t *w, uint32_t v) { gmk_store32(w, v, GMK_REL, GMK_KERNEL); }
static uint32_t word(const gmk_a32_t *w) { return gmk_load32(w, GMK_ACQ, GMK_KERNEL); }

/* ---- life ------------------------------------------------------------------------------------- */

static void note_cpu(void *arg) { *(uint32_t *)arg = cpu_this()->index + 1; }

static bool runs_where_told(void)
{
    bool good = true;
    for (uint32_t i = 0; i < cpu_count(); i++) {
        uint32_t seen = 0;
        good &= selftest_on_cpu(i, note_cpu, &seen) && seen == i + 1;
    }
    return good;
}

static void end_at_once(void *unused) { (void)unused; }
static void end_by_exit(void *unused)
{
    (void)unused;
    thread_exit();
}

/* Page tables stay when the stacks they map go. */
static uint64_t frames_used(void)
{
    pmm_stats_t p;
    vmm_stats_t v;
    pmm_stats(&p);
    vmm_stats(&v);
    return p.used - v.tables;
}

/* After some rounds all structures are used again; nothing may be lost from then on. */
static bool loses_no_memory(void)
{
    uint64_t before = 0;
    for (uint32_t i = 0; i < 220; i++) {
        if (i == 20)
            before = frames_used();
        if (!selftest_on_cpu(i % cpu_count(), i % 2 ? end_at_once : end_by_exit, NULL))
            return false;
    }
    return before == frames_used();
}

static bool join_after_the_end(void)
{
    set_word(&a, 0);
    uint32_t seen = 0;
    thread_t *t = thread_start("selftest", 0, note_cpu, &seen);
    thread_sleep_ns(20 * MS);
    if (t != NULL)
        thread_join(t);
    return seen == 1;
}

static bool is_listed(void)
{
    static thread_info_t list[64];
    uint32_t n = thread_list(list, 64), found = 0;
    for (uint32_t i = 0; i < n && i < 64; i++)
        found += strcmp(list[i].name, thread_name(thread_self())) == 0 && list[i].state == THREAD_RUNNING &&
                 list[i].cpu == cpu_this()->index && list[i].switches > 0 && list[i].ran_ns > 0;
    return found == 1 && thread_list(list, 0) == n;
}

static void check_life(void)
{
    selftest_check(runs_where_told(), "a thread runs on the CPU it was started on");
    selftest_check(thread_start("selftest", CPU_MAX, end_at_once, NULL) == NULL, "no thread without its CPU");
    selftest_check(join_after_the_end(), "a thread that has ended can be joined");
    selftest_check(is_listed(), "the list of threads has the running one");
    selftest_check(loses_no_memory(), "200 threads come and go, and their memory with them");
}

/* ---- blocking --------------------------------------------------------------------------------- */

static void check_tokens(void)
{
    thread_unblock(thread_self());
    thread_unblock(thread_self());
    selftest_check(thread_block(FAR), "an unblock before the block counts");
    uint64_t now = clock_now_ns();
    selftest_check(!thread_block(now + 2 * MS) && clock_now_ns() >= now + 2 * MS,
                   "two of them count once; without one the deadline ends the block, not sooner");
    selftest_check(!thread_block(0) && !thread_block(clock_now_ns()),
                   "a deadline in the past ends it at once");
}

#define ROUNDS 2000u

typedef struct player {
    thread_t *other;
    gmk_a32_t turns, lost;
} player_t;
static player_t players[2];
static gmk_a32_t started;

/* Each waits for its turn and gives it to the other: one lost wake-up stops both. */
static void play(void *arg)
{
    player_t *me = arg, *you = &players[me == &players[0]];
    while (word(&started) == 0)
        thread_yield();
    for (uint32_t i = 0; i < ROUNDS; i++) {
        while (word(&me->turns) == i)
            if (!thread_block(FAR)) {
                set_word(&me->lost, 1);
                break;
            }
        (void)gmk_add32(&you->turns, 1, GMK_REL, GMK_KERNEL);
        thread_unblock(me->other);
    }
}

static bool ping_pong(uint32_t cpu0, uint32_t cpu1)
{
    memset(players, 0, sizeof players);
    set_word(&started, 0);
    thread_t *t0 = thread_start("ping", cpu0, play, &players[0]);
    thread_t *t1 = thread_start("pong", cpu1, play, &players[1]);
    players[0].other = t1;
    players[1].other = t0;
    set_word(&players[0].turns, 1);
    set_word(&started, 1);
    thread_join(t0);
    thread_join(t1);
    return players[0].lost.v == 0 && players[1].lost.v == 0 && players[0].turns.v == ROUNDS + 1;
}

static thread_t *target;

static void bother(void *unused)
{
    (void)unused;
    while (word(&stop) == 0) {
        (void)gmk_add32(&a, 1, GMK_RLX, GMK_KERNEL);
        thread_unblock(target);
        thread_yield();
    }
}

/* Unblocks from everywhere meet blocks whose deadlines pass at the same moments. */
static void endure(void *unused)
{
    (void)unused;
    for (uint32_t i = 0; i < 3000; i++)
        (void)thread_block(clock_now_ns() + i % 7 * 3000);
    set_word(&stop, 1);
}

static bool storm(void)
{
    set_word(&stop, 0);
    set_word(&a, 0);
    target = thread_start("endure", 0, endure, NULL);
    bool ran = target != NULL && selftest_on_all(bother, NULL);
    if (target != NULL)
        thread_join(target);
    return ran && word(&a) > 0;
}

static void unblock_target(void *unused)
{
    (void)unused;
    thread_unblock(target);
}

static void wait_for_token(void *unused)
{
    (void)unused;
    set_word(&a, 1);
    set_word(&b, thread_block(FAR) ? 1 : 2);
}

/* With interrupts off on every CPU, the target's too. */
static bool from_interrupts(uint32_t cpu)
{
    set_word(&a, 0);
    set_word(&b, 0);
    target = thread_start("selftest", cpu, wait_for_token, NULL);
    while (word(&a) == 0)
        thread_yield();
    thread_sleep_ns(MS);
    smp_call_all(unblock_target, NULL);
    thread_join(target);
    return word(&b) == 1;
}

static void check_blocking(void)
{
    bool interrupts = true;
    selftest_check(ping_pong(0, 0), "2,000 hand-overs between two threads of one CPU");
    selftest_check(ping_pong(0, cpu_count() - 1), "2,000 hand-overs between CPUs");
    selftest_check(storm(), "3,000 blocks with deadlines under a storm of unblocks from all CPUs");
    for (uint32_t i = 0; i < cpu_count(); i++)
        interrupts &= from_interrupts(i);
    selftest_check(interrupts, "an unblock with interrupts off reaches a thread of every CPU");
}

/* ---- sleeping --------------------------------------------------------------------------------- */

/* On time in one of ten attempts: an emulated CPU can lose its host's CPU at any moment. */
static bool sleeps(uint64_t ns, bool *early)
{
    bool on_time = false;
    for (uint32_t i = 0; i < 10 && !on_time; i++) {
        uint64_t before = clock_now_ns();
        thread_sleep_ns(ns);
        uint64_t took = clock_now_ns() - before;
        *early |= took < ns;
        on_time = took < ns + 2 * MS;
    }
    return on_time;
}

static void sleep_and_count(void *arg)
{
    thread_sleep_ns((uint64_t)(uintptr_t)arg);
    (void)gmk_add32(&a, 1, GMK_REL, GMK_KERNEL);
}

/* Started in no order, on one CPU; after half the time only the short ones have ended. */
static bool sleepers_in_order(void)
{
    static const uint32_t ms[] = {300, 10, 400, 20, 350, 5};
    thread_t *t[6];
    set_word(&a, 0);
    for (uint32_t i = 0; i < 6; i++)
        t[i] = thread_start("sleeper", 0, sleep_and_count, (void *)(uintptr_t)(ms[i] * MS));
    thread_sleep_ns(150 * MS);
    uint32_t half = word(&a);
    for (uint32_t i = 0; i < 6; i++)
        thread_join(t[i]);
    return half == 3 && word(&a) == 6;
}

static void check_sleeping(void)
{
    bool early = false;
    selftest_check(sleeps(100000, &early), "a sleep of 0.1 ms is at most 2 ms too long");
    selftest_check(sleeps(20 * MS, &early), "a sleep of 20 ms is at most 2 ms too long");
    selftest_check(!early, "and never too short");
    selftest_check(sleepers_in_order(), "sleepers wake in the order of their times");
    target = thread_self();
    uint64_t before = clock_now_ns();
    thread_t *t = thread_start("selftest", cpu_count() - 1, unblock_target, NULL);
    thread_sleep_ns(10 * MS);
    bool whole = clock_now_ns() - before >= 10 * MS, kept = thread_block(FAR);
    thread_join(t); /* may take a token, too */
    selftest_check(whole && kept, "an unblock does not end a sleep, and is kept");
}

/* ---- preemption ------------------------------------------------------------------------------- */

#define FILL_XMM(n) "movq %0, %%xmm" #n "\n\tpaddq %%xmm" #n ", %%xmm" #n "\n\t"
#define TEST_XMM(n) "movq %%xmm" #n ", %%rax\n\txorq %1, %%rax\n\torq %%rax, %0\n\t"
#define ALL_XMM(m) m(0) m(1) m(2) m(3) m(4) m(5) m(6) m(7) m(8) m(9) m(10) m(11) m(12) m(13) m(14) m(15)

/* This file is compiled without SSE, so nothing but these instructions uses the registers. */
static void fill_xmm(uint64_t v) { __asm__ volatile(ALL_XMM(FILL_XMM) : : "r"(v)); }
static uint64_t differ_xmm(uint64_t v)
{
    uint64_t wrong = 0;
    __asm__ volatile(ALL_XMM(TEST_XMM) : "+r"(wrong) : "r"(v) : "rax");
    return wrong;
}

static uint32_t read_mxcsr(void)
{
    uint32_t v;
    __asm__ volatile("stmxcsr %0" : "=m"(v));
    return v;
}
static void write_mxcsr(uint32_t v) { __asm__ volatile("ldmxcsr %0" : : "m"(v)); }

typedef struct holder {
    uint64_t pattern;
    uint32_t mxcsr, wrong;
    uint64_t looks;
} holder_t;

/* Never gives way: only the end of its slice lets another run. */
static void hold(void *arg)
{
    holder_t *h = arg;
    write_mxcsr(h->mxcsr);
    fill_xmm(h->pattern);
    while (word(&stop) == 0) {
        h->wrong |= differ_xmm(2 * h->pattern) != 0 || read_mxcsr() != h->mxcsr;
        h->looks++;
    }
}

/* On one CPU, together with ourselves. */
static void check_preemption(void)
{
    holder_t h[3] = {{0x1111111122222222, 0x1F80, 0, 0},
                     {0x0123456789ABCDEF, 0x3F80, 0, 0},
                     {0x7FFFFFFF00000001, 0x5F80, 0, 0}};
    thread_t *t[3];
    set_word(&stop, 0);
    for (uint32_t i = 0; i < 3; i++)
        t[i] = thread_start("holder", cpu_this()->index, hold, &h[i]);
    thread_sleep_ns(100 * MS);
    set_word(&stop, 1);
    for (uint32_t i = 0; i < 3; i++)
        thread_join(t[i]);
    selftest_check(h[0].looks && h[1].looks && h[2].looks, "threads that never give way share a CPU");
    selftest_check(!h[0].wrong && !h[1].wrong && !h[2].wrong, "and each keeps its SSE registers");
}

static void keep_mxcsr(void *arg)
{
    holder_t *h = arg;
    write_mxcsr(h->mxcsr);
    for (uint32_t i = 0; i < 200; i++) {
        thread_yield();
        h->wrong |= read_mxcsr() != h->mxcsr;
    }
}

static void check_voluntary(void)
{
    holder_t h[2] = {{0, 0x1F80, 0, 0}, {0, 0x7F80, 0, 0}};
    thread_t *t0 = thread_start("keeper", 0, keep_mxcsr, &h[0]);
    thread_t *t1 = thread_start("keeper", 0, keep_mxcsr, &h[1]);
    thread_join(t0);
    thread_join(t1);
    selftest_check(!h[0].wrong && !h[1].wrong, "a thread that gives way keeps its MXCSR");
}

void selftest_threads(void)
{
    check_life();
    check_tokens();
    check_blocking();
    check_sleeping();
    check_preemption();
    check_voluntary();
}
