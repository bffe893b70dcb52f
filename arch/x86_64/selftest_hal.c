/* SPDX-License-Identifier: MIT */
/* selftest_hal.c — the kernel's checks of its HAL: locks, park slots, threads, pages. */
#include "selftest_cpu.h"

#include "clock.h"
#include "cpu.h"
#include "pmm.h"

#include <ggmk/error.h>
#include <ggmk/hal.h>

#define MS UINT64_C(1000000)
#define ROUNDS 500u

static gmk_hal_lock_t lock;
static gmk_hal_park_t slots[2];
static volatile uint64_t counted;
static gmk_a32_t lost;

/* ---- locks: held while others of the same CPU run ----------------------------------------------- */

static void count(void *unused)
{
    (void)unused;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        gmk_hal_lock_acquire(&lock);
        uint64_t before = counted;
        if (i % 16 == 0)
            thread_yield();
        counted = before + 1;
        gmk_hal_lock_release(&lock);
    }
}

static void check_lock(void)
{
    gmk_hal_thread_t t[4];
    counted = 0;
    gmk_hal_lock_init(&lock);
    for (uint32_t i = 0; i < 4; i++)
        if (gmk_hal_thread_create(&t[i], "locker", i < 2 ? 0 : UINT32_MAX, count, NULL) != GMK_OK) {
            selftest_check(false, "threads to take a lock");
            return;
        }
    for (uint32_t i = 0; i < 4; i++)
        gmk_hal_thread_join(&t[i]);
    gmk_hal_lock_destroy(&lock);
    selftest_check(counted == 4 * ROUNDS, "a HAL lock admits one thread, also among those of one CPU");
}

/* ---- park slots ------------------------------------------------------------------------------- */

static void play(void *arg)
{
    uint32_t me = (uint32_t)(uintptr_t)arg;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        if (!gmk_hal_park_wait(&slots[me], 30 * SELFTEST_SECOND))
            (void)gmk_add32(&lost, 1, GMK_RLX, GMK_KERNEL);
        gmk_hal_park_wake(&slots[1 - me]);
    }
}

static bool ping_pong(uint32_t cpu0, uint32_t cpu1)
{
    gmk_hal_thread_t t[2];
    gmk_hal_park_init(&slots[0]);
    gmk_hal_park_init(&slots[1]);
    if (gmk_hal_thread_create(&t[0], "ping", cpu0, play, (void *)0) != GMK_OK ||
        gmk_hal_thread_create(&t[1], "pong", cpu1, play, (void *)1) != GMK_OK)
        return false;
    gmk_hal_park_wake(&slots[0]);
    gmk_hal_thread_join(&t[0]);
    gmk_hal_thread_join(&t[1]);
    return lost.v == 0;
}

static void check_park(void)
{
    gmk_hal_park_t *p = &slots[0];
    gmk_hal_park_init(p);
    gmk_hal_park_wake(p);
    gmk_hal_park_wake(p);
    selftest_check(gmk_hal_park_wait(p, 0) && !gmk_hal_park_wait(p, 0),
                   "a wake before the wait counts, once");
    uint64_t before = clock_now_ns();
    selftest_check(!gmk_hal_park_wait(p, 3 * MS) && clock_now_ns() - before >= 3 * MS,
                   "a wait ends with its time");
    thread_unblock(thread_self());
    before = clock_now_ns();
    selftest_check(!gmk_hal_park_wait(p, 3 * MS) && clock_now_ns() - before >= 3 * MS,
                   "an unblock that is no wake does not end it");
    selftest_check(ping_pong(0, 0) && ping_pong(0, cpu_count() - 1), "hand-overs by park slots lose no wake");
    gmk_hal_park_destroy(p);
}

/* ---- threads and pages ------------------------------------------------------------------------ */

static void check_threads(void)
{
    gmk_hal_thread_t t;
    selftest_check(gmk_hal_thread_create(&t, "x", gmk_hal_cpu_count(), count, NULL) == GMK_ERR_INVAL,
                   "no HAL thread without its CPU");
}

static bool is_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != 0)
            return false;
    return true;
}

static void check_pages(void)
{
    pmm_stats_t before, after;
    size_t large = (size_t)2 << 20;
    pmm_stats(&before);
    uint8_t *p = gmk_hal_page_alloc(5000), *q = gmk_hal_page_alloc(large);
    bool good = p != NULL && q != NULL && is_zero(p, 5000) && is_zero(q, large) && (uintptr_t)q % large == 0;
    if (p != NULL)
        gmk_hal_memset(p, 0xFF, 5000);
    gmk_hal_page_free(p, 5000);
    gmk_hal_page_free(q, large);
    pmm_stats(&after);
    selftest_check(good, "pages come zeroed, large ones aligned to 2 MiB");
    selftest_check(before.free == after.free, "and go back");
    selftest_check(gmk_hal_page_alloc(0) == NULL && gmk_hal_page_alloc(SIZE_MAX) == NULL &&
                       gmk_hal_page_alloc((size_t)1 << 46) == NULL,
                   "what there is not is refused");
}

void selftest_hal(void)
{
    check_lock();
    check_park();
    check_threads();
    check_pages();
}
