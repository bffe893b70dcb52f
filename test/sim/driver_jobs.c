/* SPDX-License-Identifier: MIT */
/*
 * driver_jobs.c — a range of seeds over several processes.
 *
 * Process j of J runs every J-th seed and stops at its first failure, or when all that is left lies
 * above a failure of another: so the lowest failing seed is found, whatever J.  Processes and not
 * threads, because a simulator is one to a process; and a crash or a hang of one is a failure with a seed.
 */
#include "driver.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HANG_SECONDS 60.0
#define TWICE_EVERY 64u /* so many seeds, one is run a second time and must do the same */

struct job {
    _Atomic uint64_t seed; /* at hand */
    _Atomic uint64_t seeds, steps, failures, hash;
    bool differs; /* the seed did something else the second time */
    /* of the parent */
    bool hung;
    pid_t pid;
    uint64_t seen;
    double since;
};

struct shared {
    _Atomic uint64_t lowest; /* failing seed; UINT64_MAX = none */
    struct job job[];
};

static struct shared *shared;

static double seconds_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void failed_at(uint64_t seed)
{
    uint64_t lowest = atomic_load(&shared->lowest);
    while (seed < lowest && !atomic_compare_exchange_weak(&shared->lowest, &lowest, seed))
        ;
}

/* ---- in a process -------------------------------------------------------------------------- */

static bool as_expected(const entry_t *e, const sim_result_t *r)
{
    return e->expect != NULL && strstr(r->message, e->expect) != NULL && !opt.one && !opt.shrink &&
           opt.trace == NULL;
}

static bool same_twice(const case_t *c, const sim_result_t *r)
{
    sim_result_t again;
    (void)drv_run(c, &again);
    return again.hash == r->hash && again.steps == r->steps && again.time_ns == r->time_ns &&
           strcmp(again.message, r->message) == 0;
}

/* False when the process is to stop. */
static bool one_seed(const entry_t *e, uint64_t seed, struct job *job)
{
    sim_result_t r;
    case_t c = drv_case(e, seed);

    atomic_store(&job->seed, seed);
    bool passed = drv_run(&c, &r);
    atomic_fetch_add(&job->seeds, 1);
    atomic_fetch_add(&job->steps, r.steps);
    atomic_store(&job->hash, r.hash);
    if (!passed) {
        if (!as_expected(e, &r)) {
            failed_at(seed);
            return false;
        }
        atomic_fetch_add(&job->failures, 1);
    }
    if ((seed - opt.first) % TWICE_EVERY == 0 && !same_twice(&c, &r)) {
        job->differs = true;
        failed_at(seed);
        return false;
    }
    return true;
}

static void work(const entry_t *e, unsigned number)
{
    uint64_t left = opt.last - opt.first;
    for (uint64_t i = number; i <= left; i += opt.jobs)
        if (opt.first + i >= atomic_load(&shared->lowest) ||
            !one_seed(e, opt.first + i, &shared->job[number]))
            return;
}

/* ---- in the parent ------------------------------------------------------------------------- */

static void progress(const entry_t *e, double since)
{
    uint64_t seeds = 0, steps = 0;
    double now = seconds_now(), passed = now - since;
    static double latest;
    if (opt.tap || !isatty(STDERR_FILENO) || now - latest < 0.1)
        return;
    latest = now;
    for (unsigned j = 0; j < opt.jobs; j++) {
        seeds += atomic_load(&shared->job[j].seeds);
        steps += atomic_load(&shared->job[j].steps);
    }
    fprintf(stderr, "\r%s: %llu of %llu seeds, %.1f million points a second\033[K", e->name,
            (unsigned long long)seeds, (unsigned long long)(opt.last - opt.first + 1),
            passed > 0 ? (double)steps / passed / 1e6 : 0.0);
}

static void note_death(tally_t *t, struct job *job, const char *how, int number)
{
    uint64_t seed = atomic_load(&job->seed);
    if (seed < t->seed) {
        t->seed = seed;
        snprintf(t->how, sizeof t->how, "%s %d", how, number);
    }
    failed_at(seed);
}

/* True when the process has ended. */
static bool ended(tally_t *t, struct job *job)
{
    int status;
    pid_t pid = waitpid(job->pid, &status, WNOHANG);
    if (pid == 0 || (pid < 0 && errno == EINTR))
        return false;
    job->pid = 0;
    if (job->hung)
        note_death(t, job, "no scheduling point ends it; seconds waited:", (int)HANG_SECONDS);
    else if (pid > 0 && WIFSIGNALED(status))
        note_death(t, job, "the simulator died of signal", WTERMSIG(status));
    else if (pid < 0 || WEXITSTATUS(status) != 0)
        note_death(t, job, "the simulator left with status", pid < 0 ? -1 : WEXITSTATUS(status));
    return true;
}

static void kill_if_hung(struct job *job)
{
    uint64_t seen = atomic_load(&job->seed);
    if (seen != job->seen || job->since == 0) {
        job->seen = seen;
        job->since = seconds_now();
    } else if (seconds_now() - job->since > HANG_SECONDS) {
        job->hung = true;
        kill(job->pid, SIGKILL);
    }
}

static void watch(const entry_t *e, tally_t *t)
{
    double since = seconds_now();
    for (unsigned running = opt.jobs; running > 0;) {
        const struct timespec pause = {.tv_nsec = 2000000};
        nanosleep(&pause, NULL);
        running = 0;
        for (unsigned j = 0; j < opt.jobs; j++) {
            struct job *job = &shared->job[j];
            if (job->pid == 0 || ended(t, job))
                continue;
            kill_if_hung(job);
            running++;
        }
        progress(e, since);
    }
    if (!opt.tap && isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K");
}

static void start(const entry_t *e)
{
    fflush(stdout);
    for (unsigned j = 0; j < opt.jobs; j++) {
        pid_t pid = fork();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            work(e, j);
            _exit(0);
        }
        if (pid < 0) {
            fprintf(stderr, "%s: no process can be started: %s\n", opt.program, strerror(errno));
            exit(2);
        }
        shared->job[j].pid = pid;
    }
}

static void add_up(tally_t *t)
{
    uint64_t lowest = atomic_load(&shared->lowest);
    for (unsigned j = 0; j < opt.jobs; j++) {
        struct job *job = &shared->job[j];
        t->seeds += atomic_load(&job->seeds);
        t->steps += atomic_load(&job->steps);
        t->failures += atomic_load(&job->failures);
        t->hash = atomic_load(&job->hash);
        if (lowest != UINT64_MAX && job->differs && atomic_load(&job->seed) == lowest)
            snprintf(t->how, sizeof t->how, "a second run of the same case was another one");
    }
    t->failed = lowest != UINT64_MAX;
    if (lowest < t->seed)
        t->how[0] = '\0';
    t->seed = lowest;
}

/* Processor time of all processes that have ended. */
static double seconds_used(void)
{
    struct rusage u;
    getrusage(RUSAGE_CHILDREN, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

tally_t drv_range(const entry_t *e)
{
    tally_t t = {.seconds = seconds_used(), .seed = UINT64_MAX};
    size_t size = sizeof *shared + opt.jobs * sizeof shared->job[0];

    shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        fprintf(stderr, "%s: no memory\n", opt.program);
        exit(2);
    }
    atomic_store(&shared->lowest, UINT64_MAX);
    start(e);
    watch(e, &t);
    add_up(&t);
    munmap(shared, size);
    t.seconds = seconds_used() - t.seconds;
    return t;
}
