/* SPDX-License-Identifier: MIT */
/*
 * The ready queue: tasks for whichever worker comes first.  One bounded MPMC ring per bucket;
 * on CPUs a bucket is a priority, on GPUs a (type, priority) pair, so that tasks of one type
 * come together.  A ring that is full spills to a list per priority.
 *
 * On a GPU there are hundreds of rings, most of them empty: a MARK, a bit for each, says which may hold something.  Who
 * has pushed fences, looks at the mark and sets it if need be; who finds a marked ring empty clears the mark, fences
 * and looks once more.  The fences forbid that both look too early: so a ring that holds something is marked, or
 * somebody is just about to mark it, before he looks for somebody to wake.
 *
 * A worker with several lanes pops with all of them: each looks at one slot, the first reserves as many as are filled
 * with one compare-and-swap, each copies one.
 *
 * The policy: each gather gives every priority its weighted share of the batch (8:4:2:1), then
 * hands out what is left in order of priority; within a priority the types take turns: the first to be asked is
 * the one behind the last that was the first to give.  So every non-empty priority gives something in every gather:
 * the most urgent task starts first, and none starves, however long the others have waited.
 */
#include "sched.h"

static const uint32_t weight[GMK_PRIOS] = {8, 4, 2, 1};
#define GMK_WEIGHTS 15u

/* ---- marks --------------------------------------------------------------------------------- */

static bool per_type(const gmk_core_t *k) { return GMK_HAL_RQ_PER_TYPE != 0 && k->kinds != 1; }

/* There was something pushed. */
static void mark(const gmk_bucket_t *b)
{
    gmk_fence(GMK_SEQ, GMK_KERNEL);
    if ((gmk_load64(b->mark, GMK_RLX, GMK_KERNEL) & b->bit) == 0)
        (void)gmk_or64(b->mark, b->bit, GMK_ACQ_REL, GMK_KERNEL);
}

/* It was found empty.  Who parked while it bore no mark, and should not have, is woken. */
static void unmark(gmk_front_t *f, const gmk_bucket_t *b)
{
    (void)gmk_and64(b->mark, ~b->bit, GMK_ACQ_REL, GMK_KERNEL);
    gmk_fence(GMK_SEQ, GMK_KERNEL);
    if (gmk_mpmc_empty(&b->ring))
        return;
    (void)gmk_or64(b->mark, b->bit, GMK_ACQ_REL, GMK_KERNEL);
    gmk_wake_for_work(f);
}

/* The first marked kind of a priority in [from, end), or end. */
static uint32_t marked(const gmk_core_t *k, uint32_t prio, uint32_t from, uint32_t end)
{
    const gmk_a64_t *marks = &k->marks[prio * k->mark_words];
    for (uint32_t w = from / 64; w * 64 < end; w++) {
        uint64_t bits = gmk_load64(&marks[w], GMK_RLX, GMK_KERNEL);
        if (w == from / 64)
            bits &= ~(uint64_t)0 << from % 64;
        if (bits == 0)
            continue;
        uint32_t kind = w * 64 + (uint32_t)__builtin_ctzll(bits);
        return kind < end ? kind : end;
    }
    return end;
}

/* The sum over all rings that may hold something; with `any` the first one ends it. */
static uint64_t count(const gmk_core_t *k, bool any)
{
    uint64_t n = 0;
    for (uint32_t p = 0; p < GMK_PRIOS; p++) {
        uint32_t kind = per_type(k) ? marked(k, p, 0, k->kinds) : 0;
        while (kind < k->kinds) {
            n += gmk_mpmc_count(&k->buckets[kind * GMK_PRIOS + p].ring);
            if (any && n != 0)
                return n;
            kind = per_type(k) ? marked(k, p, kind + 1, k->kinds) : 1;
        }
    }
    return n;
}

bool gmk_rq_empty(const gmk_core_t *k) { return count(k, true) == 0; }

uint64_t gmk_rq_count(const gmk_core_t *k) { return count(k, false); }

/* ---- pop ----------------------------------------------------------------------------------- */

enum { GMK_RQ_LOOK = GMK_TEAM_DISMISSED + 1, GMK_RQ_COPY };

/* Each lane says whether its slot is filled; the acquire is for its copy. */
static void look(gmk_rq_team_t *t)
{
    uint32_t lane = gmk_hal_lane(), lanes = gmk_hal_lanes(), warp = lanes < GMK_WARP ? lanes : GMK_WARP;
    uint64_t pos = t->pos + lane;
    bool there = lane < t->n &&
                 gmk_load64(gmk_mpmc_seq(gmk_mpmc_slot(t->ring, pos, GMK_SLOT_BYTES), GMK_SLOT_BYTES),
                            GMK_ACQ, GMK_KERNEL) == pos + 1;
    uint32_t all = warp == GMK_WARP ? ~0u : (1u << warp) - 1, bits = gmk_hal_ballot(all, there);
    if (lane % warp == 0)
        t->there[lane / warp] = bits;
}

static void copy(const gmk_rq_team_t *t)
{
    uint32_t lane = gmk_hal_lane();
    uint64_t pos = t->pos + lane;
    if (lane >= t->n)
        return;
    unsigned char *slot = gmk_mpmc_slot(t->ring, pos, GMK_SLOT_BYTES);
    gmk_hal_memcpy(&t->out[lane], slot, GMK_SLOT_BYTES);
    gmk_store64(gmk_mpmc_seq(slot, GMK_SLOT_BYTES), pos + t->ring->mask + 1, GMK_REL, GMK_KERNEL);
}

static void do_job(void *arg)
{
    gmk_rq_team_t *t = arg;
    if (t->team.job == GMK_RQ_LOOK)
        look(t);
    else
        copy(t);
}

void gmk_rq_serve(gmk_rq_team_t *t) { gmk_team_serve(&t->team, do_job, t); }

/* How many slots are filled without a gap. */
static uint32_t run_of(const gmk_rq_team_t *t)
{
    uint32_t lanes = gmk_hal_lanes(), warp = lanes < GMK_WARP ? lanes : GMK_WARP, n = 0;
    while (n < t->n) {
        uint32_t gap = ~t->there[n / warp], more = gap != 0 ? (uint32_t)__builtin_ctz(gap) : GMK_WARP;
        n += more < warp ? more : warp;
        if (more < warp)
            break;
    }
    return n;
}

/* As gmk_mpmc_pop_n, by all lanes: they look, one reserves for all, they copy. */
static uint32_t pop_wide(gmk_rq_team_t *t, gmk_mpmc_t *ring, gmk_slot_t *out, uint32_t max)
{
    uint32_t lanes = gmk_hal_lanes();
    t->ring = ring;
    for (;;) {
        t->pos = gmk_load64(&ring->head, GMK_RLX, GMK_KERNEL);
        t->n = max < lanes ? max : lanes;
        gmk_team_post(&t->team, GMK_RQ_LOOK, do_job, t);
        uint64_t head = t->pos;
        t->n = run_of(t);
        if (t->n == 0 && gmk_load64(&ring->head, GMK_RLX, GMK_KERNEL) == head)
            return 0;
        if (t->n != 0 && gmk_cas64(&ring->head, &head, head + t->n, GMK_RLX, GMK_KERNEL))
            break;
    }
    t->out = out;
    gmk_team_post(&t->team, GMK_RQ_COPY, do_job, t);
    return t->n;
}

static uint32_t pop_ring(gmk_worker_t *w, gmk_mpmc_t *ring, gmk_slot_t *out, uint32_t max)
{
    uint32_t got = 0, n = 0;
    if (gmk_hal_lanes() == 1)
        return gmk_mpmc_pop_n(ring, out, GMK_SLOT_BYTES, max);
    do {
        n = pop_wide(w->team, ring, out + got, max - got);
        got += n;
    } while (n != 0 && got < max);
    return got;
}

static uint32_t pop_bucket(gmk_worker_t *w, gmk_bucket_t *b, gmk_slot_t *out, uint32_t max)
{
    if (!gmk_mpmc_empty(&b->ring))
        return pop_ring(w, &b->ring, out, max);
    if (per_type(w->front.core))
        unmark(&w->front, b);
    return 0;
}

static uint32_t pop_kinds(gmk_worker_t *w, uint32_t prio, uint32_t from, uint32_t end, gmk_slot_t *out,
                          uint32_t max)
{
    gmk_core_t *k = w->front.core;
    uint32_t got = 0;
    for (uint32_t kind = marked(k, prio, from, end); kind < end && got < max;
         kind = marked(k, prio, kind + 1, end)) {
        uint32_t n = pop_bucket(w, &k->buckets[kind * GMK_PRIOS + prio], out + got, max - got);
        if (n != 0 && got == 0)
            w->turn[prio] = kind + 1;
        got += n;
    }
    return got;
}

static uint32_t pop_prio(gmk_worker_t *w, uint32_t prio, gmk_slot_t *out, uint32_t max)
{
    gmk_core_t *k = w->front.core;
    uint32_t turn = w->turn[prio];
    if (max == 0)
        return 0;
    if (!per_type(k))
        return pop_bucket(w, &k->buckets[prio], out, max);
    uint32_t got = pop_kinds(w, prio, turn, k->kinds, out, max);
    return got < max ? got + pop_kinds(w, prio, 0, turn < k->kinds ? turn : k->kinds, out + got, max - got)
                     : got;
}

uint32_t gmk_rq_pop(gmk_worker_t *w, gmk_slot_t *out, uint32_t max)
{
    uint32_t got = 0;
    for (uint32_t p = 0; p < GMK_PRIOS && got < max; p++) {
        uint32_t share = (max * weight[p] + GMK_WEIGHTS - 1) / GMK_WEIGHTS;
        got += pop_prio(w, p, out + got, share < max - got ? share : max - got);
    }
    for (uint32_t p = 0; p < GMK_PRIOS && got < max && got != 0; p++)
        got += pop_prio(w, p, out + got, max - got);
    return got;
}

/* ---- push ---------------------------------------------------------------------------------- */

bool gmk_overflow_empty(const gmk_core_t *k)
{
    for (uint32_t p = 0; p < GMK_PRIOS; p++)
        if (!gmk_mpsc_empty(&k->overflow[p].list))
            return false;
    return true;
}

/* Pushes n tasks into their ring; returns how many fitted. */
uint32_t gmk_rq_push(gmk_bucket_t *b, const gmk_task_t *t, uint32_t n, uint64_t stamp)
{
    uint64_t pos = 0;
    uint32_t got = gmk_mpmc_claim(&b->ring, &b->ring.tail, 0, GMK_SLOT_BYTES, n, &pos);
    for (uint32_t i = 0; i < got; i++, pos++) {
        unsigned char *slot = gmk_mpmc_slot(&b->ring, pos, GMK_SLOT_BYTES);
        gmk_slot_t *s = (gmk_slot_t *)(void *)slot;
        gmk_task_move(&s->task, &t[i]);
        s->stamp = stamp;
        gmk_store64(gmk_mpmc_seq(slot, GMK_SLOT_BYTES), pos + 1, GMK_REL, GMK_KERNEL);
    }
    if (GMK_HAL_RQ_PER_TYPE != 0 && got != 0 && b->mark != NULL)
        mark(b);
    return got;
}

#define GMK_REFILL_MAX 64u

/* Back to the end of the list; an embedded node that is linked again already stands for this one too. */
static void spill_again(gmk_overflow_t *o, gmk_node_t *n, const gmk_task_t *t)
{
    if (n->kind == GMK_NODE_EMBEDDED) {
        if (gmk_xchg32(&n->busy, 1, GMK_ACQ_REL, GMK_KERNEL) != 0)
            return;
        n->task = *t;
    }
    gmk_mpsc_push(&o->list, &n->t.link);
}

static void refill_prio(gmk_front_t *f, gmk_overflow_t *o)
{
    if (gmk_mpsc_empty(&o->list) || !gmk_flag_try(&o->busy))
        return;
    for (uint32_t i = 0; i < GMK_REFILL_MAX; i++) {
        gmk_link_t *l = gmk_mpsc_pop(&o->list);
        if (l == NULL)
            break;
        gmk_node_t *n = gmk_node_of(l);
        gmk_task_t t = n->task;
        bool embedded = n->kind == GMK_NODE_EMBEDDED;
        if (embedded)
            gmk_node_done(f, n); /* before its record can be looked at: from then on it needs another */
        if (gmk_rq_push(gmk_bucket_of(f->core, &t), &t, 1, 0) == 0) {
            spill_again(o, n, &t); /* the ring filled up meanwhile */
            break;
        }
        if (!embedded)
            gmk_node_done(f, n);
    }
    gmk_flag_release(&o->busy);
}

void gmk_overflow_refill(gmk_front_t *f)
{
    for (uint32_t p = 0; p < GMK_PRIOS; p++)
        refill_prio(f, &f->core->overflow[p]);
}
