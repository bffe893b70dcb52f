/* SPDX-License-Identifier: MIT */
/*
 * hal.h — everything the core asks of a platform, and the only platform #if in it.
 *
 * The core (src/) is written against this contract and compiled unchanged for every target.
 * Each HAL supplies one header, included at the end of this file, with the inline part, and one
 * or more .c files with the rest.
 *
 * ATOMICS.  A word that more than one thread of execution may touch is a gmk_a32_t or a
 * gmk_a64_t and is touched only through the functions below.  Every access names its order and
 * its scope:
 *
 *   GMK_WORKER  the lanes of one worker.  With one lane these are plain loads and stores.
 *   GMK_KERNEL  the workers and ports of one kernel.
 *   GMK_SYSTEM  a peer kernel too.  Only load-acquire, store-release and fences exist there:
 *               across a bus a read-modify-write is not atomic.
 *
 *   gmk_load32(p, order, scope)            gmk_store32(p, v, order, scope)
 *   gmk_xchg32(p, v, order, scope)         returns the old value, as do add, sub, or, and
 *   gmk_cas32(p, &expected, v, order, scope)  true on success; else expected holds what was there.
 *                                          Strong.  A failure has the order's acquire part.
 *   gmk_add32 gmk_sub32 gmk_or32 gmk_and32 (p, v, order, scope)
 *   the same with 64
 *   gmk_fence(order, scope)
 *
 * Orders: GMK_RLX, GMK_ACQ, GMK_REL, GMK_ACQ_REL, GMK_SEQ.  Order and scope are always literal
 * constants.
 *
 * ASYMMETRIC FENCE.  gmk_hal_asym_light() on the frequent side and gmk_hal_asym_heavy() on the
 * rare side order like two GMK_SEQ fences at kernel scope (store buffering is forbidden between
 * them); the light side costs a compiler barrier where the platform can interrupt its peers.
 *
 * LANES.  A worker has gmk_hal_lanes() lanes, 1 on CPUs.  Core functions are for ONE lane, for
 * ANY lanes (each on its own), or for ALL lanes (they meet); a function says which, and only
 * ALL functions may call a meeting.  What decides whether lanes reach a meeting is read from
 * memory written before the previous one.  HAL locks are ONE.
 */
#ifndef GGMK_HAL_H
#define GGMK_HAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum gmk_order { GMK_RLX, GMK_ACQ, GMK_REL, GMK_ACQ_REL, GMK_SEQ };
enum gmk_scope { GMK_WORKER, GMK_KERNEL, GMK_SYSTEM };

typedef struct {
    _Alignas(4) uint32_t v;
} gmk_a32_t;
typedef struct {
    _Alignas(8) uint64_t v;
} gmk_a64_t;

#define GMK_CACHE_LINE 64

/* What a contained fault looked like. */
typedef struct gmk_fault_info {
    uint32_t kind; /* signal number or vector; 0 = none */
    uint32_t reserved;
    uint64_t address; /* faulting address where there is one */
    uint64_t pc;
} gmk_fault_info_t;

/* ---- functions each HAL provides (inline or not) ------------------------------------------ */

/*
 *   void gmk_hal_relax(uint32_t round);   one step of a spin; round counts the steps so far, so a
 *                                         platform may back off or give up its time slice
 *   void gmk_hal_asym_light(void);  void gmk_hal_asym_heavy(void);
 *   uint64_t gmk_hal_now_ns(void);        monotonic
 *   uint64_t gmk_hal_cycles(void);        cheap, monotonic enough for intervals, uncalibrated
 *   uint32_t gmk_hal_lane(void);  uint32_t gmk_hal_lanes(void);
 *   void gmk_hal_block_barrier(void);     ALL lanes of the worker
 *   void gmk_hal_warp_barrier(uint32_t mask);
 *   uint32_t gmk_hal_ballot(uint32_t mask, bool pred);        lanes of the warp where pred holds
 *   uint32_t gmk_hal_shuffle(uint32_t mask, uint32_t v, uint32_t from);
 *   uint32_t gmk_hal_coalesce(void);      mask of the lanes of the warp active here
 *   bool gmk_hal_rq_per_type(void);       asked at boot: shall the ready queue have rings per type and
 *                                         priority, or per priority?  GMK_HAL_RQ_PER_TYPE 0: never per type
 *   int gmk_hal_call(uint32_t type, int (*fn)(struct gmk_ctx *), struct gmk_ctx *ctx);
 *                                         the handler of a type, which is fn; a closed image may know it
 *   void *gmk_hal_scratch(void *worker_scratch);  where ALL-phase decisions are kept
 *   gmk_hal_memset/memcpy/memmove/memcmp
 *   uint16_t gmk_hal_once16(const uint16_t *p), 32, 64:  a plain load of exactly that width, never
 *                                         merged with its neighbours: a wide load of what was just
 *                                         written in narrow pieces waits for the store buffer.  What
 *                                         p points at may have any type
 */

/* Locks: never on a fast path.  Not recursive. */
typedef struct gmk_hal_lock gmk_hal_lock_t;
/* Park slots: wait returns when woken (a wake before the wait counts) or after timeout_ns. */
typedef struct gmk_hal_park gmk_hal_park_t;
/* Threads. */
typedef struct gmk_hal_thread gmk_hal_thread_t;

#if defined(GMK_HAL_SIM)
#include "../../hal/sim/hal_sim.h"
#elif defined(__NVPTX__)
#include "../../hal/nvptx/hal_nvptx.h"
#elif defined(GMK_HAL_BAREMETAL)
#include "../../hal/x86_baremetal/hal_x86.h"
#else
#include "../../hal/linux/hal_linux.h"
#endif

void gmk_hal_lock_init(gmk_hal_lock_t *l);
void gmk_hal_lock_acquire(gmk_hal_lock_t *l);
void gmk_hal_lock_release(gmk_hal_lock_t *l);
void gmk_hal_lock_destroy(gmk_hal_lock_t *l);

#define GMK_HAL_FOREVER UINT64_MAX
void gmk_hal_park_init(gmk_hal_park_t *p);
bool gmk_hal_park_wait(gmk_hal_park_t *p, uint64_t timeout_ns); /* true = woken, false = time passed */
void gmk_hal_park_wake(gmk_hal_park_t *p);
void gmk_hal_park_destroy(gmk_hal_park_t *p);

/* cpu: UINT32_MAX = not pinned.  GMK_ERR_LIMIT when the platform has no more. */
int gmk_hal_thread_create(gmk_hal_thread_t *t, const char *name, uint32_t cpu, void (*fn)(void *), void *arg);
void gmk_hal_thread_join(gmk_hal_thread_t *t);
uint32_t gmk_hal_cpu_count(void);

/* Zeroed, 2 MiB-aligned where that helps; NULL when there is none. */
void *gmk_hal_page_alloc(size_t bytes);
void gmk_hal_page_free(void *p, size_t bytes);

/*
 * Runs fn(arg).  A CPU fault during it, raised while *depth is 0, comes back here: the call
 * returns false and *info says what happened; whatever fn had on its stack is gone.  A fault
 * with *depth above 0 is reported on the console and ends the program: the core was inside one
 * of its own structures.  A worker thread calls gmk_hal_guard_enter once before its first batch
 * and gmk_hal_guard_leave after its last.
 */
int gmk_hal_guard_enter(void);
void gmk_hal_guard_leave(void);
bool gmk_hal_guarded(void (*fn)(void *), void *arg, const volatile uint32_t *depth, gmk_fault_info_t *info);

/* One line of text, without its newline; may be called from anywhere. */
void gmk_hal_console(const char *line);

/* The modules that GMK_MODULE placed in this image: their number, and *first. */
struct gmk_module;
uint32_t gmk_hal_linked_modules(struct gmk_module *const **first);

#endif
