/* SPDX-License-Identifier: MIT */
/*
 * races.c — accesses are checked: against those of other fibers (races), against what was freed, against
 * the pages that are allocated, and against the arenas of other kernels.
 *
 * The core and the scenarios are compiled with -fsanitize=thread; what the compiler calls for
 * each plain access is here instead of in a library, as in Linux's KCSAN.  Checked is what lies in
 * pages of the HAL and on the stacks of fibers.  Variables of the program are not: the core has none, and
 * scenarios keep their notes there.
 *
 * RACES.  Vector clocks with epochs (FastTrack: Flanagan and Freund 2009), on 8 bytes at a time:
 * a granule remembers the latest accesses to its bytes that nothing later stands for.  An access
 * races with a conflicting one that is not in the clock of its fiber (memory.h).  Two atomic
 * accesses do not conflict unless the scope of one leaves out the other.  A granule has room for
 * four accesses; beyond, the oldest is forgotten, so a race may be missed, never invented.
 *
 * ARENAS.  What a fiber that works for one kernel took belongs to it: an access by a fiber of another one,
 * atomic or plain, is a failure.  So a pointer that leaks across a bridge is caught at its first use.
 *
 * FREED MEMORY.  The core's debug builds fill what is free with one byte.  Bytes filled so are marked until
 * they are written again; to read one is a failure.
 */
#include "memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define FREED 0xddu
#define CELLS 4u
#define SHADOW ((uintptr_t)0x300000000000)
#define SHADOW_STACKS ((uintptr_t)0x2f0000000000)
#define SHADOW_STEP ((size_t)1 << 28)
#define SHADOW_MAX ((size_t)1 << 40)

struct cell {
    uint32_t epoch, pc;
    uint16_t fiber;
    uint8_t bytes, kind;
};

/* A byte of the granule is a bit of a mask. */
struct granule {
    uint32_t run;
    uint8_t n, freed;
    uint16_t freed_by;
    uint32_t freed_pc, spare;
    struct cell cell[CELLS];
};
_Static_assert(sizeof(struct granule) == 64, "a granule is a cache line");

static struct {
    bool on;
    uint32_t run;
    size_t mapped; /* of the shadow */
} races;

/* ---- shadow --------------------------------------------------------------------------------- */

static void map_shadow(uintptr_t at, size_t bytes)
{
    void *p = mmap((void *)at, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (p != (void *)at)
        sim_out_of_memory();
}

/* The region of pages is in use up to here. */
void sim_races_pages(uintptr_t end)
{
    size_t need = (end - SIM_PAGES_BASE) * 8;

    if (!sim.races || need <= races.mapped)
        return;
    need = (need + SHADOW_STEP - 1) & ~(SHADOW_STEP - 1);
    if (need > SHADOW_MAX)
        sim_out_of_memory();
    map_shadow(SHADOW + races.mapped, need - races.mapped);
    races.mapped = need;
}

void sim_races_begin(void)
{
    static bool mapped;
    if (!sim.races)
        return;
    if (!mapped)
        map_shadow(SHADOW_STACKS, SIM_STACKS_BYTES * 8);
    mapped = true;
    races.run++;
}

/* Only fibers are checked, and not while they run a hook. */
void sim_races_on(bool on) { races.on = on && sim.races; }

/* ---- failures ------------------------------------------------------------------------------- */

static const char *kind_name(uint32_t kind)
{
    static const char *const name[] = {
        "plain read", "plain write",       "atomic read",       "atomic write", "",
        "",           "worker-scope read", "worker-scope write"};
    return name[kind];
}

static const char *fiber_name(uint32_t id, char *text, size_t size)
{
    const struct sim_fiber *f = sim_fiber_at(id);
    if (f->team->lanes > 1)
        snprintf(text, size, "%u:%s.%u", id, f->team->name, f->lane);
    else
        snprintf(text, size, "%u:%s", id, f->team->name);
    return text;
}

static _Noreturn void race(uintptr_t at, uint32_t kind, const void *pc, const struct cell *c)
{
    char place[96], here[96], there[96], me[32], other[32];

    sim_symbol((uint64_t)(uintptr_t)pc, here, sizeof here);
    sim_symbol(c->pc, there, sizeof there);
    sim_end("race", "race on %s: %s by %s at %s, and before it, unordered, %s by %s at %s",
            sim_place((const void *)at, place, sizeof place), kind_name(kind),
            fiber_name(sim.current->id, me, sizeof me), here, kind_name(c->kind),
            fiber_name(c->fiber, other, sizeof other), there);
}

static _Noreturn void freed(uintptr_t at, uint32_t kind, const void *pc, const struct granule *g)
{
    char place[96], here[96], there[96], me[32], other[32];

    sim_symbol((uint64_t)(uintptr_t)pc, here, sizeof here);
    sim_symbol(g->freed_pc, there, sizeof there);
    sim_end("freed", "freed memory: %s of %s by %s at %s, freed by %s at %s", kind_name(kind),
            sim_place((const void *)at, place, sizeof place), fiber_name(sim.current->id, me, sizeof me),
            here, fiber_name(g->freed_by, other, sizeof other), there);
}

static _Noreturn void outside(uintptr_t at, uint32_t kind, const void *pc)
{
    char place[96], here[96], me[32];

    sim_symbol((uint64_t)(uintptr_t)pc, here, sizeof here);
    sim_end("outside", "outside the arena: %s of %s by %s at %s", kind_name(kind),
            sim_place((const void *)at, place, sizeof place), fiber_name(sim.current->id, me, sizeof me),
            here);
}

static _Noreturn void foreign(uintptr_t at, uint32_t kind, const void *pc, uint32_t owner)
{
    char place[96], here[96], me[32];

    sim_symbol((uint64_t)(uintptr_t)pc, here, sizeof here);
    sim_end("foreign", "the arena of kernel %u: %s of %s by %s, of kernel %u, at %s", owner, kind_name(kind),
            sim_place((const void *)at, place, sizeof place), fiber_name(sim.current->id, me, sizeof me),
            sim.current->kernel, here);
}

/* ---- one granule ---------------------------------------------------------------------------- */

static bool conflict(const struct cell *c, uint32_t kind)
{
    if (((c->kind | kind) & SIM_ACCESS_WRITE) == 0)
        return false;
    if ((c->kind & kind & SIM_ACCESS_ATOMIC) == 0)
        return true;
    return ((c->kind | kind) & SIM_ACCESS_NARROW) != 0 && sim_fiber_at(c->fiber)->team != sim.current->team;
}

/* Whether whatever would race with the one access would with the other, that comes later. */
static bool stands_for(uint32_t kind, uint32_t earlier)
{
    if ((earlier & SIM_ACCESS_WRITE) != 0 && (kind & SIM_ACCESS_WRITE) == 0)
        return false;
    return (kind & SIM_ACCESS_ATOMIC) == 0 || ((earlier & SIM_ACCESS_ATOMIC) != 0 &&
                                               (kind & SIM_ACCESS_NARROW) >= (earlier & SIM_ACCESS_NARROW));
}

static void remember(struct granule *g, struct cell c)
{
    if (g->n == CELLS) {
        memmove(&g->cell[0], &g->cell[1], (CELLS - 1) * sizeof g->cell[0]);
        g->n--;
    }
    g->cell[g->n++] = c;
}

static void compare(struct granule *g, uintptr_t at, uint32_t bytes, uint32_t kind, const void *pc)
{
    uint32_t me = sim.current->id, kept = 0;
    const uint32_t *clock = sim_clock[me][SIM_HB];

    for (uint32_t i = 0; i < g->n; i++) {
        struct cell *c = &g->cell[i];
        bool known = c->fiber == me || c->epoch <= clock[c->fiber];
        if ((c->bytes & bytes) != 0) {
            if (!known && conflict(c, kind))
                race(at, kind, pc, c);
            if (known && stands_for(kind, c->kind))
                c->bytes &= (uint8_t)~bytes;
        }
        if (c->bytes != 0)
            g->cell[kept++] = *c;
    }
    g->n = (uint8_t)kept;
    remember(g,
             (struct cell){clock[me], (uint32_t)(uintptr_t)pc, (uint16_t)me, (uint8_t)bytes, (uint8_t)kind});
}

static bool seen_already(const struct granule *g, uint32_t bytes, uint32_t kind)
{
    uint32_t me = sim.current->id;
    for (uint32_t i = 0; i < g->n; i++) {
        const struct cell *c = &g->cell[i];
        if (c->fiber == me && c->epoch == sim_epoch(me) && (c->bytes & bytes) == bytes &&
            stands_for(c->kind, kind))
            return true;
    }
    return false;
}

static inline void granule(struct granule *g, uintptr_t at, uint32_t bytes, uint32_t kind, const void *pc)
{
    if (g->run != races.run) {
        g->run = races.run;
        g->n = g->freed = 0;
    }
    if ((g->freed & bytes) != 0) {
        if ((kind & SIM_ACCESS_WRITE) == 0)
            freed(at, kind, pc, g);
        g->freed &= (uint8_t)~bytes;
    }
    if (!seen_already(g, bytes, kind))
        compare(g, at, bytes, kind, pc);
}

/* ---- an access ------------------------------------------------------------------------------ */

/* The first granule of an access; NULL where nothing is checked. */
static inline struct granule *shadow_of(uintptr_t a, size_t size, uint32_t kind, const void *pc)
{
    if (a - SIM_PAGES_BASE < SIM_PAGES_END - SIM_PAGES_BASE) {
        const struct sim_pages *pages = sim_page_live(a, size);
        if (pages == NULL)
            outside(a, kind, pc);
        if (pages->kernel != sim.current->kernel && pages->kernel != 0 && sim.current->kernel != 0)
            foreign(a, kind, pc, pages->kernel);
        if (pages->wild)
            return NULL;
        return (struct granule *)(SHADOW + ((a - SIM_PAGES_BASE) & ~(uintptr_t)7) * 8);
    }
    if (a - SIM_STACKS_BASE < SIM_STACKS_BYTES)
        return (struct granule *)(SHADOW_STACKS + ((a - SIM_STACKS_BASE) & ~(uintptr_t)7) * 8);
    return NULL;
}

static void range(uintptr_t a, size_t size, uint32_t kind, const void *pc)
{
    struct granule *g = shadow_of(a, size, kind, pc);

    sim.result.checked++;
    if (g == NULL)
        return;
    for (uintptr_t end = a + size; a < end; g++) {
        uintptr_t next = (a | 7) + 1, stop = next < end ? next : end;
        uint32_t bytes = ((1u << (stop - a)) - 1) << (a & 7);
        granule(g, a, bytes, kind, pc);
        a = stop;
    }
}

/* Most accesses lie in one granule. */
static inline void access_of(const void *p, size_t size, uint32_t kind, const void *pc)
{
    uintptr_t a = (uintptr_t)p;

    if (!races.on)
        return;
    if ((a & 7) + size > 8) {
        range(a, size, kind, pc);
        return;
    }
    struct granule *g = shadow_of(a, size, kind, pc);
    sim.result.checked++;
    if (g != NULL)
        granule(g, a, ((1u << size) - 1) << (a & 7), kind, pc);
}

void sim_access(const void *p, size_t size, uint32_t kind, const void *pc) { access_of(p, size, kind, pc); }

/* ---- what memory functions do --------------------------------------------------------------- */

static void mark_freed(uintptr_t a, size_t size, const void *pc)
{
    struct granule *g = races.on ? shadow_of(a, size, SIM_ACCESS_WRITE, pc) : NULL;

    for (uintptr_t end = a + size; g != NULL && a < end; g++) {
        uintptr_t next = (a | 7) + 1, stop = next < end ? next : end;
        g->freed |= (uint8_t)(((1u << (stop - a)) - 1) << (a & 7));
        g->freed_by = (uint16_t)sim.current->id;
        g->freed_pc = (uint32_t)(uintptr_t)pc;
        a = stop;
    }
}

static inline void whole(const void *p, size_t n, uint32_t kind, const void *pc)
{
    if (races.on && n > 0)
        range((uintptr_t)p, n, kind, pc);
}

void *sim_memset(void *d, int c, size_t n)
{
    const void *pc = __builtin_return_address(0);
    whole(d, n, SIM_ACCESS_WRITE, pc);
    if ((unsigned char)c == FREED)
        mark_freed((uintptr_t)d, n, pc);
    return memset(d, c, n);
}

void *sim_memcpy(void *d, const void *s, size_t n)
{
    whole(s, n, 0, __builtin_return_address(0));
    whole(d, n, SIM_ACCESS_WRITE, __builtin_return_address(0));
    return memcpy(d, s, n);
}

void *sim_memmove(void *d, const void *s, size_t n)
{
    whole(s, n, 0, __builtin_return_address(0));
    whole(d, n, SIM_ACCESS_WRITE, __builtin_return_address(0));
    return memmove(d, s, n);
}

int sim_memcmp(const void *a, const void *b, size_t n)
{
    whole(a, n, 0, __builtin_return_address(0));
    whole(b, n, 0, __builtin_return_address(0));
    return memcmp(a, b, n);
}

/* ---- what the compiler calls ---------------------------------------------------------------- */

#define ACCESS(name, size)                                                                                   \
    void __tsan_read##name(void *p);                                                                         \
    void __tsan_write##name(void *p);                                                                        \
    void __tsan_volatile_read##name(void *p);                                                                \
    void __tsan_volatile_write##name(void *p);                                                               \
    void __tsan_read##name(void *p) { access_of(p, size, 0, __builtin_return_address(0)); }                  \
    void __tsan_write##name(void *p) { access_of(p, size, SIM_ACCESS_WRITE, __builtin_return_address(0)); }  \
    void __tsan_volatile_read##name(void *p) { access_of(p, size, 0, __builtin_return_address(0)); }         \
    void __tsan_volatile_write##name(void *p)                                                                \
    {                                                                                                        \
        access_of(p, size, SIM_ACCESS_WRITE, __builtin_return_address(0));                                   \
    }
ACCESS(1, 1)
ACCESS(2, 2)
ACCESS(4, 4)
ACCESS(8, 8)
ACCESS(16, 16)

void __tsan_read_range(void *p, size_t n);
void __tsan_write_range(void *p, size_t n);
void __tsan_init(void);
void __tsan_read_range(void *p, size_t n) { whole(p, n, 0, __builtin_return_address(0)); }
void __tsan_write_range(void *p, size_t n) { whole(p, n, SIM_ACCESS_WRITE, __builtin_return_address(0)); }
void __tsan_init(void) {}
