/* SPDX-License-Identifier: MIT */
/*
 * sync.c — locks and park slots of the hosted HAL.
 *
 * A lock is a pthread mutex.  A park slot is one futex word:
 *
 *   EMPTY     nobody waits and nobody has woken
 *   TOKEN     a wake came first; the next wait takes it and returns at once
 *   WAITING   the owner sleeps, or is about to
 *
 * Order.  A wake is an acquire-release exchange to TOKEN and a wait returns true only after it
 * has taken a TOKEN with acquire: all that came before the wake is seen after the wait.  No
 * wake is lost: the kernel compares the word with WAITING under its own lock before the owner
 * sleeps, and a waker that finds WAITING makes the system call.
 */
#include <ggmk/hal.h>

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

_Static_assert(sizeof(pthread_mutex_t) <= sizeof(struct gmk_hal_lock), "gmk_hal_lock holds a mutex");
_Static_assert(_Alignof(pthread_mutex_t) <= _Alignof(struct gmk_hal_lock),
               "gmk_hal_lock is aligned for a mutex");

enum { PARK_EMPTY, PARK_TOKEN, PARK_WAITING };

static pthread_mutex_t *mutex_of(gmk_hal_lock_t *l) { return (pthread_mutex_t *)(void *)l->opaque; }

/* A mutex call fails only on a broken lock word; going on would mean two owners. */
static void must(int err, const char *what)
{
    if (err != 0) {
        gmk_hal_console(what);
        __builtin_trap();
    }
}

void gmk_hal_lock_init(gmk_hal_lock_t *l)
{
    must(pthread_mutex_init(mutex_of(l), NULL), "ggmk: a lock could not be made");
}

void gmk_hal_lock_acquire(gmk_hal_lock_t *l)
{
    must(pthread_mutex_lock(mutex_of(l)), "ggmk: a lock is damaged");
}

void gmk_hal_lock_release(gmk_hal_lock_t *l)
{
    must(pthread_mutex_unlock(mutex_of(l)), "ggmk: a lock is damaged");
}

void gmk_hal_lock_destroy(gmk_hal_lock_t *l)
{
    must(pthread_mutex_destroy(mutex_of(l)), "ggmk: a lock was destroyed while held");
}

/* FUTEX_WAIT_BITSET takes the deadline as an absolute time, so a retry needs no arithmetic. */
static int futex_wait_until(gmk_a32_t *word, uint32_t expected, const struct timespec *deadline)
{
    long r = syscall(SYS_futex, &word->v, FUTEX_WAIT_BITSET_PRIVATE, expected, deadline, NULL,
                     FUTEX_BITSET_MATCH_ANY);
    return r == 0 ? 0 : errno;
}

static void futex_wake_one(gmk_a32_t *word)
{
    /* The slot may be gone by now if its owner saw the token first: then this wakes nobody. */
    (void)syscall(SYS_futex, &word->v, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static bool take_token(gmk_hal_park_t *p)
{
    uint32_t expected = PARK_TOKEN;
    return gmk_cas32(&p->word, &expected, PARK_EMPTY, GMK_ACQ, GMK_KERNEL);
}

/* Turns a timeout into a deadline; NULL when it lies beyond what the clock can count. */
static const struct timespec *deadline_after(uint64_t timeout_ns, struct timespec *ts)
{
    uint64_t now = gmk_hal_now_ns();
    if (timeout_ns == GMK_HAL_FOREVER || timeout_ns > (uint64_t)INT64_MAX - now)
        return NULL;
    ts->tv_sec = (time_t)((now + timeout_ns) / 1000000000u);
    ts->tv_nsec = (long)((now + timeout_ns) % 1000000000u);
    return ts;
}

void gmk_hal_park_init(gmk_hal_park_t *p) { gmk_store32(&p->word, PARK_EMPTY, GMK_REL, GMK_KERNEL); }

bool gmk_hal_park_wait(gmk_hal_park_t *p, uint64_t timeout_ns)
{
    struct timespec ts;
    uint32_t expected = PARK_EMPTY;

    if (take_token(p))
        return true;
    if (timeout_ns == 0)
        return false;
    const struct timespec *deadline = deadline_after(timeout_ns, &ts);
    if (!gmk_cas32(&p->word, &expected, PARK_WAITING, GMK_ACQ, GMK_KERNEL))
        return take_token(p); /* only a wake can have changed the word */
    for (;;) {
        int err = futex_wait_until(&p->word, PARK_WAITING, deadline);
        if (take_token(p))
            return true;
        if (err == ETIMEDOUT) /* a wake may have come since the check above */
            return gmk_xchg32(&p->word, PARK_EMPTY, GMK_ACQ, GMK_KERNEL) == PARK_TOKEN;
    }
}

void gmk_hal_park_wake(gmk_hal_park_t *p)
{
    if (gmk_xchg32(&p->word, PARK_TOKEN, GMK_ACQ_REL, GMK_KERNEL) == PARK_WAITING)
        futex_wake_one(&p->word);
}

void gmk_hal_park_destroy(gmk_hal_park_t *p) { (void)p; }
