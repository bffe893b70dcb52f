/* SPDX-License-Identifier: MIT */
/* describe.c — looks into the core's workers: the one place outside of src/ that knows their layout. */
#include "kernel/describe.h"

#include "kernel/machine.h"

#include "core.h"
#include "kprintf.h"
#include "thread.h"

/* The worker whose thread t is: the core starts it with the worker as its argument. */
static const gmk_worker_t *worker_of(const gmk_core_t *k, const thread_t *t)
{
    void (*fn)(void *) = NULL;
    void *arg = NULL;

    thread_entry(t, &fn, &arg);
    for (uint32_t i = 0; i < k->n_all; i++)
        if (arg == &k->workers[i])
            return &k->workers[i];
    return NULL;
}

void describe_thread(const struct thread *t, char *out, size_t size)
{
    const gmk_kernel_t *kernel = machine_core();

    if (t == boot_thread())
        (void)ksnprintf(out, size, "boot step: %s", boot_step());
    if (!t || kernel->magic != GMK_KERNEL_MAGIC)
        return;
    const gmk_worker_t *w = worker_of(kernel->core, t);
    if (!w)
        return;
    uint32_t type = gmk_load32(&w->cur_type, GMK_RLX, GMK_KERNEL);
    bool running = gmk_load32(&w->cur, GMK_RLX, GMK_KERNEL) != 0 && type < kernel->core->n_types;
    if (running)
        (void)ksnprintf(out, size, "worker %u, task of type %u \"%s\"", w->index, type,
                        kernel->core->types[type].name);
    else
        (void)ksnprintf(out, size, "worker %u, no task", w->index);
}
