/* SPDX-License-Identifier: MIT */
/* thread.c — threads of the bare-metal HAL: kernel threads, each on one CPU; and the time. */
#include <ggmk/error.h>
#include <ggmk/hal.h>

#include "clock.h"
#include "cpu.h"
#include "thread.h"

/* LIMIT: no memory left.  INVAL: there is no such CPU. */
int gmk_hal_thread_create(gmk_hal_thread_t *t, const char *name, uint32_t cpu, void (*fn)(void *), void *arg)
{
    if (cpu != UINT32_MAX && cpu >= cpu_count())
        return GMK_ERR_INVAL;
    t->handle = thread_start(name != NULL ? name : "ggmk", cpu, fn, arg);
    return t->handle != NULL ? GMK_OK : GMK_ERR_LIMIT;
}

void gmk_hal_thread_join(gmk_hal_thread_t *t) { thread_join(t->handle); }

uint32_t gmk_hal_cpu_count(void) { return cpu_count(); }

void gmk_hal_yield_slice(void) { thread_yield(); }

uint64_t gmk_hal_now_ns(void) { return clock_now_ns(); }
