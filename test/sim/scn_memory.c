/* SPDX-License-Identifier: MIT */
/* scn_memory.c — pages, and faults. */
#include "scenarios.h"

#include <signal.h>
#include <string.h>

void scn_pages(void *arg)
{
    (void)arg;
    unsigned char *p[8];
    sim_options()->page_fail = 16384;
    for (uint32_t i = 0; i < 8; i++) {
        p[i] = gmk_hal_page_alloc(10000);
        if (p[i] == NULL)
            continue;
        sim_check(p[i][0] == 0 && p[i][9999] == 0);
        memset(p[i], 0xa5, 10000);
        sim_check(i == 0 || p[i - 1] == NULL || p[i - 1][9999] == 0xa5);
    }
    for (uint32_t i = 0; i < 8; i++)
        gmk_hal_page_free(p[i], 10000);
    sim_check(sim_pages_in_use() == 0);
    sim_check(gmk_hal_page_alloc(0) == NULL && gmk_hal_page_alloc(SIZE_MAX) == NULL);
}

void scn_pages_leak(void *arg)
{
    (void)arg;
    (void)gmk_hal_page_alloc(1);
}

static void crash(void *arg)
{
    (void)arg;
    sim_yield();
    sim_crash(SIGFPE, 7);
}

static void null_pointer(void *arg)
{
    sim_yield();
    **(volatile int *volatile *)arg = 0;
}

static void in_guards(void *arg)
{
    static const volatile uint32_t depth;
    volatile int *nothing = NULL;
    gmk_fault_info_t info = {.kind = 0};

    (void)arg;
    sim_check(gmk_hal_guard_enter() == 0);
    for (int i = 0; i < 3; i++) {
        sim_check(!gmk_hal_guarded(crash, NULL, &depth, &info));
        sim_check(info.kind == SIGFPE && info.address == 7);
        sim_check(!gmk_hal_guarded(null_pointer, &nothing, &depth, &info));
        sim_check(info.kind == SIGSEGV && info.address == 0 && info.pc != 0);
    }
    gmk_hal_guard_leave();
}

void scn_fault(void *arg)
{
    (void)arg;
    char args[2];
    scn_together(2, in_guards, args, 1);
}

void scn_fault_in_core(void *arg)
{
    (void)arg;
    static const volatile uint32_t depth = 2;
    gmk_fault_info_t info;
    (void)gmk_hal_guarded(crash, NULL, &depth, &info);
}
