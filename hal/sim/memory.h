/* SPDX-License-Identifier: MIT */
/*
 * memory.h — what fibers know of each other's accesses; for the files of hal/sim.
 *
 * Each fiber counts epochs, and begins a new one with everything it releases.  A clock says of each
 * fiber up to which epoch its accesses are known.  A fiber has two:
 *
 *   SIM_HB    what happens before what it does next: by release and acquire, locks, park slots,
 *             threads and meetings.  A conflicting access that is not in it is a race.
 *   SIM_VIEW  the same and what sequentially consistent fences order.  A load may read no store older
 *             than one it knows of (coherence), by its own accesses or by this clock.
 *
 * A SNAPSHOT is what a release gave away: both clocks of that moment.
 */
#ifndef GGMK_SIM_MEMORY_H
#define GGMK_SIM_MEMORY_H

#include "sim_int.h"

enum sim_plane { SIM_HB, SIM_VIEW, SIM_PLANES };

/* clock.c */
struct sim_snapshot {
    uint32_t refs, n, room;
    uint32_t clock[];
};
extern uint32_t sim_clock[SIM_MAX_FIBERS][SIM_PLANES][SIM_MAX_FIBERS];
_Noreturn void sim_out_of_memory(void);
bool sim_has_fenced(void);
void *sim_memory_take(size_t bytes); /* until the end of the run */
struct sim_snapshot *sim_release(void);
struct sim_snapshot *sim_released_by_fence(void);
struct sim_snapshot *sim_snapshot_hold(struct sim_snapshot *s);
void sim_snapshot_drop(struct sim_snapshot *s);
struct sim_snapshot *sim_snapshot_merge(const struct sim_snapshot *a, const struct sim_snapshot *b);
void sim_acquire(const struct sim_snapshot *s);
void sim_acquire_later(const struct sim_snapshot *s);
static inline uint32_t sim_epoch(uint32_t fiber) { return sim_clock[fiber][SIM_HB][fiber]; }
static inline bool sim_knows(uint32_t me, enum sim_plane p, uint32_t fiber, uint32_t epoch)
{
    return epoch <= sim_clock[me][p][fiber];
}

void sim_fence(enum gmk_order o);
void sim_fence_light(void);
void sim_fence_heavy(void);
void sim_clock_fiber(uint32_t id);
void sim_clock_join(uint32_t id);
void sim_clock_meet(struct sim_fiber *const *fibers, uint32_t n);
void sim_clock_reset(void);

/*
 * words.c: atomic words.  `old` is what is in memory before the operation, `now` what it leaves there.
 * A load returns what it reads; the others tell what was read or written.
 */
struct sim_how {
    enum gmk_order order;
    enum gmk_scope scope;
    uint32_t size;
};
void sim_words_reset(void);
uint64_t sim_word_load(const void *p, uint64_t now, struct sim_how how, struct sim_entry *e);
void sim_word_store(const void *p, uint64_t old, uint64_t now, struct sim_how how);
void sim_word_update(const void *p, uint64_t old, uint64_t now, struct sim_how how);
void sim_word_miss(const void *p, uint64_t now, struct sim_how how);
/* Locks, park slots: to release adds to what was released there before, until it is cleared. */
void sim_object_release(const void *p);
void sim_object_acquire(const void *p);
void sim_object_clear(const void *p);

/* races.c */
#define SIM_ACCESS_WRITE 1u
#define SIM_ACCESS_ATOMIC 2u
#define SIM_ACCESS_NARROW 4u /* atomic for the lanes of its team only */
void sim_races_begin(void);
void sim_races_on(bool on);
void sim_races_pages(uintptr_t end);
void sim_access(const void *p, size_t size, uint32_t kind, const void *pc);

#endif
