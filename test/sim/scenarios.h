/* SPDX-License-Identifier: MIT */
/*
 * scenarios.h — the table of scenarios: one file scn_NAME.c for each group of them.
 *
 * X(name, expect, text).  expect is NULL for a scenario that must pass with every seed.  Otherwise
 * the scenario is wrong on purpose: some seed must fail with that text in its message, and none
 * with another.  Those are the simulator's own tests.
 */
#ifndef GGMK_SIM_SCENARIOS_H
#define GGMK_SIM_SCENARIOS_H

#include "../../hal/sim/sim.h"

#define SIM_SCENARIOS(X)                                                                                     \
    X(atomics, NULL, "every atomic operation from several threads")                                          \
    X(lost_update, "total", "load and store in place of add loses updates")                                  \
    X(lock, NULL, "a lock excludes")                                                                         \
    X(lock_order, "deadlock", "two locks taken in opposite orders")                                          \
    X(lock_twice, "taken again", "a lock is not recursive")                                                  \
    X(park_token, NULL, "a wake before the wait counts, once")                                               \
    X(park_data, NULL, "two threads hand a value to and fro by parking")                                     \
    X(park_timeout, NULL, "timeouts race wakes and none is lost")                                            \
    X(park_lost_wake, "deadlock", "checking first and announcing later loses a wake")                        \
    X(relax, NULL, "spinning in relax sees a change and sees time move")                                     \
    X(relax_forever, "only spin", "spinning for what nobody does")                                           \
    X(busy_forever, "bound of", "two threads undo each other's work for ever")                               \
    X(time, NULL, "an hour passes when nobody can run, and in order")                                        \
    X(thread_left, "never joined", "a thread is left behind")                                                \
    X(pages, NULL, "pages are zeroed, apart, and may be refused")                                            \
    X(pages_leak, "not given back", "pages are left behind")                                                 \
    X(fault, NULL, "faults come back from a guard")                                                          \
    X(fault_in_core, "fault inside the kernel", "a fault while the core is inside itself")                   \
    X(lanes, NULL, "lanes meet at barriers, ballots and shuffles")                                           \
    X(lanes_diverge, "deadlock", "a lane that misses a meeting")                                             \
    X(coalesce, NULL, "lanes that are active together elect one to act for all")                             \
    X(spsc, NULL, "every item through a ring once, in order")                                                \
    X(mpmc, NULL, "every item through a ring once, each producer's in order")                                \
    X(mpsc, NULL, "every node through a queue once, each producer's in order")                               \
    X(local, NULL, "every task out of a local queue once, thieves or owner")

/* Scenarios around a whole kernel: longer, so they run over fewer seeds. */
#define SIM_KERNEL_SCENARIOS(X)                                                                              \
    X(queues, NULL, "local queues, stealing and overflow: every task once")                                  \
    X(credits, NULL, "exactly task_max tasks are accepted at a time")                                        \
    X(parking, NULL, "workers park and are woken from outside; drains")                                      \
    X(yields, NULL, "yields, phases and their limit")                                                        \
    X(retries, NULL, "backoff, the retry limit, poison and reset")                                           \
    X(timers, NULL, "timers fire in order, not early, not late; ticks")                                      \
    X(mailbox, NULL, "an ordered mailbox: several emitters, priorities, yields, retries")                    \
    X(boost, NULL, "a message of priority 0 hurries its mailbox on")                                         \
    X(fanout, NULL, "lossless fan-out: all in the same order, each once")                                    \
    X(lossy, NULL, "lossy channels shed, newest or oldest, and report it")                                   \
    X(waiters, NULL, "handlers wait for credits, through two channels")                                      \
    X(emit_wait, NULL, "ports wait for credits, and time out")                                               \
    X(replay, NULL, "late subscribers read what is kept; payloads live as long")                             \
    X(degrade, NULL, "a slow subscriber loses messages and is told")                                         \
    X(churn, NULL, "channels and subscriptions end under fire")                                              \
    X(takeover, NULL, "one subscriber after the other, in order")                                            \
    X(modules, NULL, "a module is loaded and unloaded under fire")                                           \
    X(faults, NULL, "handlers crash, and nobody else notices")                                               \
    X(watchdog, NULL, "workers hang and are replaced; every task still runs once")                           \
    X(halt_loaded, NULL, "a halt accounts for all that is left")                                             \
    X(exchange, NULL, "blocks and payloads allocated here and freed there")                                  \
    X(deterministic, NULL, "one hash, whatever the schedule and the number of workers")                      \
    X(wide, NULL, "workers of four lanes: scalar, warp and block tasks")                                     \
    X(mixed, NULL, "a bit of everything at once")

#define SIM_DECLARE(name, expect, text) void scn_##name(void *arg);
SIM_SCENARIOS(SIM_DECLARE)
SIM_KERNEL_SCENARIOS(SIM_DECLARE)
#undef SIM_DECLARE

/* Starts n threads fn(&args[i]) and joins them. */
static inline void scn_together(uint32_t n, void (*fn)(void *), void *args, size_t size)
{
    gmk_hal_thread_t t[16];
    for (uint32_t i = 0; i < n; i++)
        sim_check(gmk_hal_thread_create(&t[i], "worker", UINT32_MAX, fn, (char *)args + i * size) == 0);
    for (uint32_t i = 0; i < n; i++)
        gmk_hal_thread_join(&t[i]);
}

#endif
