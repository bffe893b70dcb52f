/* SPDX-License-Identifier: MIT */
/* thread.c — threads of the hosted HAL: pthreads with a name and, on request, one CPU. */
#include <ggmk/error.h>
#include <ggmk/hal.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

_Static_assert(sizeof(pthread_t) == sizeof(unsigned long), "gmk_hal_thread holds a pthread_t");

static void *thread_main(void *arg)
{
    gmk_hal_thread_t *t = arg;
    (void)prctl(PR_SET_NAME, t->name, 0, 0, 0);
    t->fn(t->arg);
    return NULL;
}

/* Signals meant for the process belong to the program's own threads; faults and the profiler stay. */
static void block_process_signals(sigset_t *before)
{
    static const int ours[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPROF};
    sigset_t set;
    sigfillset(&set);
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        sigdelset(&set, ours[i]);
    pthread_sigmask(SIG_BLOCK, &set, before);
}

static int pin_to(pthread_attr_t *attr, uint32_t cpu)
{
    cpu_set_t set;
    if (cpu == UINT32_MAX)
        return 0;
    if (cpu >= CPU_SETSIZE)
        return EINVAL;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return pthread_attr_setaffinity_np(attr, sizeof set, &set);
}

static int start(gmk_hal_thread_t *t, const pthread_attr_t *attr)
{
    sigset_t before;
    pthread_t handle;

    block_process_signals(&before);
    int err = pthread_create(&handle, attr, thread_main, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err == 0)
        memcpy(&t->handle, &handle, sizeof handle);
    return err;
}

/* LIMIT: no memory or no thread left.  INVAL: there is no such CPU for this process. */
int gmk_hal_thread_create(gmk_hal_thread_t *t, const char *name, uint32_t cpu, void (*fn)(void *), void *arg)
{
    pthread_attr_t attr;

    t->fn = fn;
    t->arg = arg;
    t->cpu = cpu;
    memset(t->name, 0, sizeof t->name);
    strncpy(t->name, name ? name : "ggmk", sizeof t->name - 1); /* Linux keeps 15 bytes */
    if (pthread_attr_init(&attr) != 0)
        return GMK_ERR_LIMIT;
    int err = pin_to(&attr, cpu);
    if (err == 0)
        err = start(t, &attr);
    pthread_attr_destroy(&attr);
    return err == 0 ? GMK_OK : err == EINVAL ? GMK_ERR_INVAL : GMK_ERR_LIMIT;
}

void gmk_hal_thread_join(gmk_hal_thread_t *t)
{
    pthread_t handle;
    memcpy(&handle, &t->handle, sizeof handle);
    (void)pthread_join(handle, NULL);
}

/* CPUs this process may use; a container's share counts, not the machine's size. */
uint32_t gmk_hal_cpu_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return (uint32_t)CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN); /* more CPUs than cpu_set_t can name */
    return n > 0 ? (uint32_t)n : 1;
}

void gmk_hal_yield_slice(void) { (void)sched_yield(); }
