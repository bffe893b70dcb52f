/* SPDX-License-Identifier: MIT */
/*
 * words.c — atomic words: what each store released, and under the weak model the stores a load
 * may still read.
 *
 * The order of stores to a word is the order in which they were executed, and memory holds the newest.
 * A word remembers its last SIM_STORES stores, and of each who has seen it or a newer one, and
 * in which of its epochs first.  A load may read any store that is not older than the newest one of
 * which the loading fiber's view contains such a sight.  Where the list of sights is full everybody
 * counts as having seen the store: the model is then stronger than it should be, never weaker.
 *
 * RELEASE SEQUENCES.  What a store released is carried on by read-modify-writes of anybody and, as C11 and
 * RC11 have it, by later stores of the fiber that released, as long as nobody else stores.
 *
 * A word that was written by a plain store since, which shows when memory is not what the newest store
 * left, begins anew.
 */
#include "memory.h"

#include <stdlib.h>
#include <string.h>

#define STORES 8u
#define SIGHTS 6u
#define STALE_RUN 16u /* so many loads in a row by one fiber may miss the newest store */

struct store {
    uint64_t value;
    struct sim_snapshot *released;
    struct sim_snapshot *headed; /* the latest release of the sequence it is in, by fiber `head` */
    uint32_t head;
    const struct sim_team *from; /* whose lanes released it; NULL = several teams */
    bool narrow;                 /* released for the lanes of `from` only */
    uint32_t n_sights;
    struct {
        uint32_t fiber, epoch;
    } sight[SIGHTS];
};

/* A word with one store has it in `first`; with more, they are in a ring. */
struct word {
    const void *at;
    uint32_t size, newest, n;
    struct store first;
    struct store *ring;
};

static struct {
    struct slot {
        const void *at;
        uint64_t run;
        struct word *word;
    } * slot;
    uint32_t size, used; /* size: a power of two */
    uint64_t run;
} table;

static uint32_t stale_run[SIM_MAX_FIBERS];

/* ---- finding a word ------------------------------------------------------------------------- */

static struct slot *probe(const void *p)
{
    uint64_t h = (uint64_t)(uintptr_t)p * 0x9e3779b97f4a7c15u;
    uint32_t i = (uint32_t)(h >> 32) & (table.size - 1);

    while (table.slot[i].run == table.run && table.slot[i].at != p)
        i = (i + 1) & (table.size - 1);
    return &table.slot[i];
}

static struct word *find(const void *p)
{
    struct slot *s = probe(p);
    return s->run == table.run ? s->word : NULL;
}

static void grow(void)
{
    struct slot *old = table.slot;
    uint32_t n = table.size;

    table.size *= 2;
    table.slot = calloc(table.size, sizeof *table.slot);
    if (table.slot == NULL)
        sim_out_of_memory();
    for (uint32_t i = 0; i < n; i++)
        if (old[i].run == table.run)
            *probe(old[i].at) = old[i];
    free(old);
}

static struct word *make(const void *p, uint32_t size)
{
    if (table.used >= table.size / 2)
        grow();
    struct slot *s = probe(p);
    struct word *w = sim_memory_take(sizeof *w);
    *s = (struct slot){p, table.run, w};
    table.used++;
    *w = (struct word){.at = p, .size = size};
    return w;
}

void sim_words_reset(void)
{
    if (table.slot == NULL) {
        table.size = 1u << 12;
        table.slot = calloc(table.size, sizeof *table.slot);
        if (table.slot == NULL)
            sim_out_of_memory();
    }
    table.run++;
    table.used = 0;
    memset(stale_run, 0, sizeof stale_run);
}

/* ---- its stores ----------------------------------------------------------------------------- */

/* The store so many behind the newest. */
static struct store *store_at(struct word *w, uint32_t behind)
{
    return w->ring != NULL ? &w->ring[(w->newest - behind) % STORES] : &w->first;
}

static void see(struct store *s)
{
    uint32_t me = sim.current->id;

    for (uint32_t i = 0; i < s->n_sights && i < SIGHTS; i++)
        if (s->sight[i].fiber == me)
            return; /* an earlier epoch is known to more */
    if (s->n_sights < SIGHTS) {
        s->sight[s->n_sights].fiber = me;
        s->sight[s->n_sights].epoch = sim_epoch(me);
    }
    if (s->n_sights <= SIGHTS)
        s->n_sights++;
}

static bool known(const struct store *s)
{
    if (s->n_sights > SIGHTS)
        return true;
    for (uint32_t i = 0; i < s->n_sights; i++)
        if (sim_knows(sim.current->id, SIM_VIEW, s->sight[i].fiber, s->sight[i].epoch))
            return true;
    return false;
}

static void forget(struct store *s)
{
    sim_snapshot_drop(s->released);
    sim_snapshot_drop(s->headed);
}

/* Forgets all stores but one, of which nothing is known but its value. */
static void begin_anew(struct word *w, uint64_t value, uint32_t size)
{
    for (uint32_t i = 0; i < w->n; i++)
        forget(store_at(w, i));
    w->size = size;
    w->n = 1;
    *store_at(w, 0) = (struct store){.value = value};
}

/* The word, if it has a past worth knowing: `now` is in memory. */
static struct word *word_of(const void *p, uint64_t now, uint32_t size)
{
    struct word *w = find(p);
    if (w != NULL && (store_at(w, 0)->value != now || w->size != size))
        begin_anew(w, now, size);
    return w;
}

static struct store *append(struct word *w, uint64_t value)
{
    if (!sim.weak) {
        forget(&w->first);
        w->first = (struct store){.value = value};
        return &w->first;
    }
    if (w->ring == NULL) {
        w->ring = sim_memory_take(STORES * sizeof *w->ring);
        w->ring[0] = w->first;
        w->newest = 0;
    }
    w->newest++;
    struct store *s = store_at(w, 0);
    if (w->n == STORES)
        forget(s);
    else
        w->n++;
    *s = (struct store){.value = value};
    see(s);
    return s;
}

/* ---- orders --------------------------------------------------------------------------------- */

static bool acquires(enum gmk_order o) { return o == GMK_ACQ || o >= GMK_ACQ_REL; }
static bool releases(enum gmk_order o) { return o >= GMK_REL; }

/* An order on a scope that does not reach both counts as relaxed. */
static void take(const struct store *s, struct sim_how how)
{
    const struct sim_team *mine = sim.current->team;

    if (s->released == NULL || (s->narrow && s->from != mine))
        return;
    if (acquires(how.order) && (how.scope != GMK_WORKER || s->from == mine))
        sim_acquire(s->released);
    else
        sim_acquire_later(s->released);
}

/* One snapshot for two, either of which may be NULL; takes both over. */
static struct sim_snapshot *joined(struct sim_snapshot *a, struct sim_snapshot *b)
{
    if (a == NULL || b == NULL)
        return a != NULL ? a : b;
    struct sim_snapshot *both = sim_snapshot_merge(a, b);
    sim_snapshot_drop(a);
    sim_snapshot_drop(b);
    return both;
}

/* A store gives what its fiber knows, or what its latest fence gave, and goes on with its own sequence. */
static void give(struct store *s, const struct store *before, struct sim_how how)
{
    uint32_t me = sim.current->id;

    s->from = sim.current->team;
    s->narrow = how.scope == GMK_WORKER;
    if (releases(how.order)) {
        s->released = sim_release();
        s->headed = sim_snapshot_hold(s->released);
        s->head = me;
        return;
    }
    s->released = sim_released_by_fence();
    if (before->headed != NULL && before->head == me) {
        s->head = me;
        s->headed = sim_snapshot_hold(before->headed);
        s->released = joined(s->released, sim_snapshot_hold(before->headed));
    }
}

/* A store's predecessor, to be had after it took its place. */
static struct store hold(const struct store *s)
{
    (void)sim_snapshot_hold(s->released);
    (void)sim_snapshot_hold(s->headed);
    return *s;
}

/* A sequentially consistent access: a fence, then acquire and release. */
static void lead_in(struct sim_how how)
{
    if (how.order == GMK_SEQ && how.scope != GMK_WORKER)
        sim_fence(GMK_SEQ);
}

/* Who is created later knows all that happened before. */
static bool alone(void) { return sim.n_fibers == 1; }

static void check(const void *p, struct sim_how how, uint32_t kind)
{
    if (sim.races)
        sim_access(p, how.size, kind | SIM_ACCESS_ATOMIC | (how.scope == GMK_WORKER ? SIM_ACCESS_NARROW : 0),
                   sim.current->pc);
}

/* ---- operations ----------------------------------------------------------------------------- */

/* How many stores behind the newest a load goes. */
static uint32_t choose(struct word *w, struct sim_how how)
{
    uint32_t me = sim.current->id, oldest = 0;

    if (!sim.weak || w->n == 1 || how.scope == GMK_WORKER || sim.n_runnable == 1 ||
        stale_run[me] >= STALE_RUN)
        return 0;
    if (sim.current->fresh > 0) {
        sim.current->fresh--;
        return 0;
    }
    while (oldest + 1 < w->n && !known(store_at(w, oldest)))
        oldest++;
    return oldest != 0 && sim_fault_comes(SIM_FAULT_STALE, sim.options.stale) ? 1 + sim_below(oldest) : 0;
}

uint64_t sim_word_load(const void *p, uint64_t now, struct sim_how how, struct sim_entry *e)
{
    lead_in(how);
    check(p, how, 0);
    struct word *w = word_of(p, now, how.size);
    if (w == NULL)
        return now;
    uint32_t behind = choose(w, how);
    struct store *s = store_at(w, behind);
    stale_run[sim.current->id] = behind != 0 ? stale_run[sim.current->id] + 1 : 0;
    sim.result.stale += behind != 0;
    e->age = (uint16_t)behind;
    if (sim.weak)
        see(s);
    take(s, how);
    return s->value;
}

void sim_word_store(const void *p, uint64_t old, uint64_t now, struct sim_how how)
{
    lead_in(how);
    check(p, how, SIM_ACCESS_WRITE);
    struct word *w = word_of(p, old, how.size);
    if (w == NULL) {
        if (alone() || (!sim.weak && !releases(how.order) && !sim_has_fenced()))
            return;
        w = make(p, how.size);
        begin_anew(w, old, how.size);
    }
    struct store before = hold(store_at(w, 0));
    give(append(w, now), &before, how);
    forget(&before);
}

/* A read-modify-write reads the newest store and carries on what that released. */
void sim_word_update(const void *p, uint64_t old, uint64_t now, struct sim_how how)
{
    lead_in(how);
    check(p, how, SIM_ACCESS_WRITE);
    struct word *w = word_of(p, old, how.size);
    if (w == NULL) {
        if (alone())
            return;
        w = make(p, how.size);
        begin_anew(w, old, how.size);
    }
    struct store before = hold(store_at(w, 0));
    take(&before, how);
    struct store *s = append(w, now);
    give(s, &before, how);
    if (before.released != NULL) {
        s->from = before.from == s->from ? s->from : NULL;
        s->narrow |= before.narrow;
        s->released = joined(s->released, sim_snapshot_hold(before.released));
    }
    if (s->headed == NULL) {
        s->headed = sim_snapshot_hold(before.headed);
        s->head = before.head;
    }
    forget(&before);
}

/* A compare-and-swap that did not: a load of the newest store. */
void sim_word_miss(const void *p, uint64_t now, struct sim_how how)
{
    lead_in(how);
    check(p, how, 0);
    struct word *w = word_of(p, now, how.size);
    if (w == NULL)
        return;
    if (sim.weak)
        see(store_at(w, 0));
    take(store_at(w, 0), how);
}

/* ---- objects of the HAL --------------------------------------------------------------------- */

void sim_object_release(const void *p)
{
    if (!sim.tracked)
        return;
    struct word *w = find(p);
    if (w == NULL)
        begin_anew(w = make(p, 0), 0, 0);
    struct store *s = store_at(w, 0);
    s->released = joined(sim_release(), s->released);
}

void sim_object_acquire(const void *p)
{
    struct word *w = sim.tracked ? find(p) : NULL;
    if (w != NULL)
        sim_acquire(store_at(w, 0)->released);
}

void sim_object_clear(const void *p)
{
    struct word *w = sim.tracked ? find(p) : NULL;
    if (w != NULL)
        begin_anew(w, 0, 0);
}
