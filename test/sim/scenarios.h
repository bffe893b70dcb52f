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
    X(mp, NULL, "weak: message passing by release and acquire, and by fences")                               \
    X(mp_no_release, "the message is not there", "weak: without release")                                    \
    X(mp_no_acquire, "the message is not there", "weak: without acquire")                                    \
    X(mp_narrow, "the message is not there", "weak: a release of worker scope, between workers")             \
    X(mp_passed_on, NULL, "weak: a read-modify-write, or a later store, carries on what was released")       \
    X(mp_broken_off, "the message is not there", "weak: a store does not")                                   \
    X(sb, NULL, "weak: store buffering is forbidden between sequentially consistent fences")                 \
    X(sb_asym, NULL, "weak: and between a light and a heavy one")                                            \
    X(sb_no_fence, "both stores were buffered", "weak: without fences")                                      \
    X(sb_one_fence, "both stores were buffered", "weak: with one")                                           \
    X(sb_weak_fence, "both stores were buffered", "weak: with fences that only acquire and release")         \
    X(sb_light, "both stores were buffered", "weak: with two light ones")                                    \
    X(coherence, NULL, "weak: nobody reads an older store than before, and additions are not lost")          \
    X(arrives, NULL, "weak: who waits for a store sees it")                                                  \
    X(no_race, NULL, "a plain word is passed by release and acquire")                                        \
    X(no_race_apart, NULL, "neighbours are written at once")                                                 \
    X(no_race_locked, NULL, "a plain word under a lock")                                                     \
    X(no_race_lanes, NULL, "lanes meet between their accesses")                                              \
    X(race, "race on", "a plain word is passed without release")                                             \
    X(race_copy, "race on", "a byte is written while it is copied over")                                     \
    X(race_atomic, "race on", "a word is cleared while it is read as an atomic")                             \
    X(race_narrow, "race on", "an atomic of worker scope, used by another worker")                           \
    X(race_lanes, "race on", "lanes that do not meet between their accesses")                                \
    X(lanes_apart, "waits at another", "one lane at a warp barrier, the others at a block barrier")          \
    X(freed, "freed memory", "memory is read that was freed")                                                \
    X(freed_atomic, "freed memory", "an atomic is read in memory that was freed")                            \
    X(used_again, NULL, "memory that was freed is written and used again")                                   \
    X(outside, "outside the arena", "a byte behind the pages is read")                                       \
    X(spsc, NULL, "push and pop: every item through a ring once, in order")                                  \
    X(spsc_n, NULL, "push_n and pop_n: the same")                                                            \
    X(spsc_mixed, NULL, "each of the one calls against each of the others")                                  \
    X(mpmc, NULL, "push and pop: every item once, each producer's in order")                                 \
    X(mpmc_n, NULL, "push_n and pop_n: the same")                                                            \
    X(mpmc_mixed, NULL, "three producers, two consumers, each pair of calls")                                \
    X(mpsc, NULL, "every node through a queue once, each producer's in order")                               \
    X(local, NULL, "every task out of a local queue once, thieves or owner")                                 \
    X(slab_list, NULL, "few objects of a slab: each has one owner at a time")                                \
    X(slab_cache, NULL, "objects of a slab through caches: allocated here, freed there, flushed")            \
    X(heap_cache, NULL, "blocks through caches: allocated here, freed there, flushed")                       \
    X(heap_spans, NULL, "spans change classes and become runs, until there are none")                        \
    X(payload, NULL, "counted payloads: the last who lets go frees")                                         \
    X(bump, NULL, "the lanes of a worker take scratch memory at once")

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
    X(refs, NULL, "references on payloads, across three subscribers")                                        \
    X(pinned, NULL, "messages for one worker only wake that worker")                                         \
    X(replay, NULL, "late subscribers read what is kept; payloads live as long")                             \
    X(degrade, NULL, "a slow subscriber loses messages and is told")                                         \
    X(churn, NULL, "channels and subscriptions end under fire")                                              \
    X(churn_lossy, NULL, "the same, where messages are shed")                                                \
    X(grace_sub, NULL, "memory of a mailbox that ended is left alone as long as somebody holds it")          \
    X(grace_chan, NULL, "memory of a channel that ended is left alone as long as somebody holds it")         \
    X(takeover, NULL, "one subscriber after the other, in order")                                            \
    X(modules, NULL, "a module is loaded and unloaded under fire")                                           \
    X(faults, NULL, "handlers crash, and nobody else notices")                                               \
    X(watchdog, NULL, "workers hang and are replaced; every task still runs once")                           \
    X(halt_loaded, NULL, "a halt accounts for all that is left")                                             \
    X(halt_calls, NULL, "calls from outside while the kernel halts, and ports that keep it from halting")    \
    X(ports, NULL, "more threads than ports; what a port kept comes back with it")                           \
    X(zombie, NULL, "a worker is stuck: all else runs; it comes back, or the halt says who it is")           \
    X(crash_inside, "fault inside the kernel", "a fault inside the core ends the kernel")                    \
    X(boot_fails, NULL, "a boot that fails at any step leaves nothing behind")                               \
    X(exchange, NULL, "blocks and payloads allocated here and freed there")                                  \
    X(deterministic, NULL, "one hash, whatever the schedule and the number of workers")                      \
    X(wide, NULL, "workers of four lanes: scalar, warp and block tasks")                                     \
    X(bridge_order, NULL, "two kernels: everything across the bridge once, and in order")                    \
    X(bridge_full, NULL, "full lines hold their senders, end to end, and nobody else")                       \
    X(bridge_lossy, NULL, "a lossy line sheds for the slow one, and accounts for it")                        \
    X(bridge_payload, NULL, "payloads of all sizes, with little memory")                                     \
    X(bridge_bulk, NULL, "large payloads by copy engines, with too little memory, and a reset meanwhile")    \
    X(bridge_wiring, NULL, "channels come and go on both sides while messages flow")                         \
    X(bridge_disagree, NULL, "two declarations of one channel disagree, and both sides say so")              \
    X(bridge_sleep, NULL, "pumps sleep and are woken for every message and credit, or nap")                  \
    X(bridge_device, NULL, "a device boots, serves and is stopped, or killed")                               \
    X(bridge_reset, NULL, "a peer is taken down, killed, or stopped and comes back too late")                \
    X(bridge_wild, NULL, "a peer that writes what it likes ruins its bridge at most")                        \
    X(deterministic_dual, NULL, "two kernels: one order of ticks, one hash")                                 \
    X(deterministic_gone, NULL, "the bridge goes down in the middle of a deterministic run")                 \
    X(mixed, NULL, "a bit of everything at once")

#define SIM_DECLARE(name, expect, text) void scn_##name(void *arg);
SIM_SCENARIOS(SIM_DECLARE)
SIM_KERNEL_SCENARIOS(SIM_DECLARE)
#undef SIM_DECLARE

/* ---- counters that several fibers add to; they order nothing -------------------------------- */

/* Returns what was there. */
static inline uint32_t scn_add(gmk_a32_t *c, uint32_t n) { return gmk_add32(c, n, GMK_RLX, GMK_KERNEL); }
static inline uint32_t scn_inc(gmk_a32_t *c) { return scn_add(c, 1); }
static inline uint32_t scn_get(const gmk_a32_t *c) { return gmk_load32(c, GMK_RLX, GMK_KERNEL); }

/* Starts n threads fn(&args[i]), of one lane each, and joins them. */
static inline void scn_together(uint32_t n, void (*fn)(void *), void *args, size_t size)
{
    gmk_hal_thread_t t[16];
    for (uint32_t i = 0; i < n; i++)
        sim_check(sim_thread_create(&t[i], "worker", 1, fn, (char *)args + i * size) == 0);
    for (uint32_t i = 0; i < n; i++)
        gmk_hal_thread_join(&t[i]);
}

#endif
