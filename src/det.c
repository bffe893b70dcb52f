/* SPDX-License-Identifier: MIT */
/* det.c — ticks: what is due, its order, and running it.  det_peer.c does the same with a second kernel. */
#include "det_int.h"
#include "say.h"

size_t gmk_det_bytes(void) { return sizeof(struct gmk_det); }

void gmk_det_init(gmk_core_t *k) { gmk_hal_lock_init(&k->det->lock); }

uint64_t gmk_det_future(gmk_core_t *k) { return gmk_load64(&k->det->future, GMK_ACQ, GMK_KERNEL); }

uint64_t gmk_det_now(const gmk_core_t *k) { return k->det->done_tick; }

/* ---- the hash ----------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h, uint64_t v) /* one round of the splitmix64 finalizer per word */
{
    h ^= v + 0x9e3779b97f4a7c15u + (h << 6) + (h >> 2);
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
    h = (h ^ h >> 27) * 0x94d049bb133111ebu;
    return h ^ h >> 31;
}

static uint64_t mix_bytes(uint64_t h, const unsigned char *p, uint64_t n)
{
    uint64_t word;
    h = mix(h, n);
    for (; n >= 8; n -= 8, p += 8) {
        gmk_hal_memcpy(&word, p, 8);
        h = mix(h, word);
    }
    word = 0;
    if (n != 0) {
        gmk_hal_memcpy(&word, p, n);
        h = mix(h, word);
    }
    return h;
}

static uint64_t name_hash(const gmk_core_t *k, uint32_t delivery)
{
    gmk_channel_t *c = delivery == 0 ? NULL : gmk_chan_of(k, delivery);
    uint32_t n = 0;
    if (c == NULL)
        return 0;
    while (c->name[n] != '\0')
        n++;
    return mix_bytes(1, (const unsigned char *)c->name, n);
}

/* Of all but the result, before the task runs. */
static uint64_t task_hash(const gmk_core_t *k, const gmk_task_t *t, uint64_t rank)
{
    uint64_t h = mix(gmk_det_now(k) & UINT32_MAX, rank);
    h = mix(h, (uint64_t)t->type << 32 | (uint64_t)gmk_prio(t) << 16 | t->tenant);
    h = mix(h, name_hash(k, (t->flags & GMK_TASK_CHANNEL_MSG) != 0 ? t->channel : 0));
    h = mix(mix(h, t->meta0), t->meta1);
    if (t->payload_ptr != 0)
        h = mix_bytes(h, (const unsigned char *)(uintptr_t)t->payload_ptr, t->payload_len);
    return h;
}

/* ---- collecting --------------------------------------------------------------------------- */

void gmk_det_end(gmk_core_t *k, int code, const char *why)
{
    gmk_out_t o;
    uint32_t none = 0;
    if (!gmk_cas32(&k->det->dead, &none, (uint32_t)code, GMK_ACQ_REL, GMK_KERNEL) ||
        (k->flags & GMK_BOOT_QUIET) != 0)
        return;
    gmk_say(&o, k->name);
    gmk_out_str(&o, "the deterministic run ends: ");
    gmk_out_str(&o, why);
    gmk_out_str(&o, " in tick ");
    gmk_out_u64(&o, k->det->done_tick);
    gmk_said(&o);
}

int gmk_det_out_of_memory(gmk_core_t *k)
{
    gmk_det_end(k, GMK_ALLOC_FAIL, "the arena is exhausted");
    return GMK_ALLOC_FAIL;
}

gmk_det_item_t *gmk_det_item_new(gmk_front_t *f, const gmk_task_t *t)
{
    gmk_det_item_t *i = gmk_heap_alloc(&f->core->heap, f->shared ? NULL : &f->heap, sizeof *i);
    if (i == NULL)
        return NULL;
    gmk_hal_memset(i, 0, sizeof *i);
    i->task = *t;
    return i;
}

void gmk_det_item_free(gmk_front_t *f, gmk_det_item_t *i)
{
    gmk_heap_free(&f->core->heap, f->shared ? NULL : &f->heap, i);
}

static void push_emitted(struct gmk_det *d, gmk_det_item_t *i)
{
    uint64_t head = gmk_load64(&d->emitted, GMK_RLX, GMK_KERNEL);
    do
        i->next = (gmk_det_item_t *)(uintptr_t)head;
    while (!gmk_cas64(&d->emitted, &head, (uint64_t)(uintptr_t)i, GMK_ACQ_REL, GMK_KERNEL));
}

static bool takes_deterministic(const gmk_core_t *k, uint32_t type)
{
    uint32_t flags = gmk_load32(&k->types[type].flags, GMK_RLX, GMK_KERNEL);
    return (flags & (GMK_HANDLER_DETERMINISTIC | GMK_HANDLER_DET_PARALLEL)) != 0;
}

int gmk_det_input(gmk_front_t *f, const gmk_task_t *t, uint32_t chan, uint32_t tick)
{
    gmk_core_t *k = f->core;
    struct gmk_det *d = k->det;
    if (chan == 0 && !takes_deterministic(k, t->type))
        return GMK_ERR_UNSUPPORTED;
    if (GMK_UNLIKELY(gmk_det_over(k) < 0))
        return gmk_det_over(k);
    gmk_det_item_t *i = gmk_det_item_new(f, t);
    if (i == NULL)
        return GMK_ALLOC_FAIL;
    gmk_task_born(f, &i->task, chan == 0 ? gmk_count_old(f, &f->counts->accepted, 1) : 0);
    i->chan = chan;
    gmk_hal_lock_acquire(&d->lock);
    if (chan == 0) /* with the lock: who sees the count and then looks for the input finds it */
        (void)gmk_add64(&d->future, 1, GMK_ACQ_REL, GMK_KERNEL);
    else
        (void)gmk_add32(&d->waiting, 1, GMK_ACQ_REL, GMK_KERNEL);
    i->waits = chan != 0;
    uint64_t now = gmk_load64(&k->tick, GMK_ACQ, GMK_KERNEL);
    int32_t ahead = (int32_t)(tick - (uint32_t)now);
    i->tick = ahead > 0 ? now + (uint32_t)ahead : now + 1;
    i->minor = d->n_inputs++;
    i->next = d->inputs;
    d->inputs = i;
    gmk_hal_lock_release(&d->lock);
    /* If the run has ended meanwhile, the input is dropped: whoever ended it may have looked before it was there. */
    if ((k->flags & GMK_BOOT_AUTO_TICK) != 0 || gmk_det_joined(d) || gmk_det_over(k) < 0)
        gmk_det_advance(f);
    return GMK_OK;
}

int gmk_det_emit(gmk_lane_t *l, const gmk_task_t *t, uint32_t chan, uint32_t ticks)
{
    gmk_front_t *f = l->ctx.front;
    gmk_core_t *k = f->core;
    if (chan == 0 && !takes_deterministic(k, t->type))
        return GMK_ERR_UNSUPPORTED;
    if (GMK_UNLIKELY(gmk_det_over(k) < 0))
        return gmk_det_over(k);
    gmk_det_item_t *i = gmk_det_item_new(f, t);
    if (i == NULL)
        return gmk_det_out_of_memory(k);
    uint64_t number = chan == 0 ? gmk_count_old(f, &f->counts->accepted, 1) : 0;
    gmk_task_born(f, &i->task, number);
    if (chan == 0)
        (void)gmk_add64(&k->det->future, 1, GMK_ACQ_REL, GMK_KERNEL);
    i->chan = chan;
    i->born = gmk_det_now(k);
    i->tick = i->born + ticks;
    i->major = 1 + l->det_rank;
    i->minor = l->ctx.det_index++;
    push_emitted(k->det, i);
    return GMK_OK;
}

void gmk_det_again(gmk_lane_t *l, gmk_task_t *t, uint32_t ticks)
{
    gmk_core_t *k = l->ctx.front->core;
    gmk_det_item_t *i = k->det->items[l->det_rank];
    i->task = *t;
    i->born = gmk_det_now(k);
    i->tick = i->born + ticks;
    i->major = 1 + l->det_rank;
    i->minor = l->ctx.det_index++;
    k->det->items[l->det_rank] = NULL;
    (void)gmk_add64(&k->det->future, 1, GMK_ACQ_REL, GMK_KERNEL);
    push_emitted(k->det, i);
}

/* ---- ordering ----------------------------------------------------------------------------- */

typedef bool (*before_fn)(const gmk_det_item_t *a, const gmk_det_item_t *b);

/*
 * What was carried over first, from the longest ago; then inputs; an emission that was put off comes before
 * those of the latest tick.  sub tells apart what two kernels' inputs, or the hearers of one message, share.
 */
static bool by_origin(const gmk_det_item_t *a, const gmk_det_item_t *b)
{
    if (a->tick != b->tick)
        return a->tick < b->tick;
    if (a->born != b->born)
        return a->born < b->born;
    if (a->major != b->major)
        return a->major < b->major;
    return a->minor != b->minor ? a->minor < b->minor : a->sub < b->sub;
}

static bool by_rank(const gmk_det_item_t *a, const gmk_det_item_t *b)
{
    uint32_t pa = gmk_prio(&a->task), pb = gmk_prio(&b->task);
    if (pa != pb)
        return pa < pb;
    return a->task.type != b->task.type ? a->task.type < b->task.type : a->minor < b->minor;
}

/* Heapsort (Williams 1964): in place, no recursion; keys are unique, so it need not be stable. */
static void sift(gmk_det_item_t **v, uint64_t root, uint64_t n, before_fn before)
{
    for (uint64_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && before(v[child], v[child + 1]))
            child++;
        if (!before(v[root], v[child]))
            return;
        gmk_det_item_t *t = v[root];
        v[root] = v[child];
        v[child] = t;
    }
}

static void sort(gmk_det_item_t **v, uint64_t n, before_fn before)
{
    for (uint64_t i = n / 2; i-- > 0;)
        sift(v, i, n, before);
    for (uint64_t end = n; end-- > 1;) {
        gmk_det_item_t *t = v[0];
        v[0] = v[end];
        v[end] = t;
        sift(v, 0, end, before);
    }
}

/* ---- preparing a tick --------------------------------------------------------------------- */

/* Moves what is for this tick from one list to another; the rest stays, in its order. */
static void take_due(gmk_det_item_t **list, uint64_t tick, gmk_det_item_t **to, uint64_t *n)
{
    while (*list != NULL) {
        gmk_det_item_t *i = *list;
        if (i->tick > tick) {
            list = &i->next;
            continue;
        }
        *list = i->next;
        i->next = *to;
        *to = i;
        ++*n;
    }
}

/* Emissions for a later tick join the inputs, behind those handed in so far. */
static void keep_later(struct gmk_det *d, uint64_t tick, gmk_det_item_t **now, uint64_t *n)
{
    gmk_det_item_t *i = (gmk_det_item_t *)(uintptr_t)gmk_xchg64(&d->emitted, 0, GMK_ACQ_REL, GMK_KERNEL);
    while (i != NULL) {
        gmk_det_item_t *next = i->next;
        gmk_det_item_t **to = i->tick > tick ? &d->inputs : now;
        i->next = *to;
        *to = i;
        *n += to == now;
        i = next;
    }
}

gmk_mailbox_t *gmk_det_hearer(gmk_channel_t *c, uint32_t place)
{
    gmk_mailbox_t *m = gmk_sub_at(c, place);
    return m != NULL && gmk_load64(&m->port, GMK_RLX, GMK_KERNEL) == 0 &&
                   gmk_load32(&m->leaving, GMK_ACQ, GMK_KERNEL) == 0
             ? m
             : NULL;
}

bool gmk_det_has_outlet(gmk_channel_t *c)
{
    for (uint32_t s = 0; s < GMK_MAX_SUBS; s++) {
        const gmk_mailbox_t *m = gmk_sub_at(c, s);
        if (m != NULL && gmk_load64(&m->port, GMK_RLX, GMK_KERNEL) != 0)
            return true;
    }
    return false;
}

/* A message as this subscriber gets it, accepted.  Each has a payload reference, the first the message's. */
static gmk_task_t delivery(gmk_front_t *f, const gmk_det_item_t *msg, const gmk_mailbox_t *m, bool first)
{
    gmk_task_t t = msg->task;
    t.type = m->handler;
    t.channel = m->delivery;
    t.flags |= GMK_TASK_CHANNEL_MSG;
    if (!first && (t.flags & GMK_TASK_PAYLOAD_RC) != 0 && t.payload_ptr != 0)
        (void)gmk_payload_add(&f->core->heap, (void *)(uintptr_t)t.payload_ptr, 1);
    gmk_count(f, &f->counts->accepted, 1);
    return t;
}

/*
 * A message that has no subscribers any more was accepted all the same: one delivery of it is dropped.
 * Another channel may have the index by now; the counts of that one are not touched.
 */
static void drop_whole(gmk_front_t *f, const gmk_det_item_t *msg, int code)
{
    gmk_task_t t = msg->task;
    t.channel = msg->chan;
    if (gmk_chan_of(f->core, msg->chan) != NULL)
        t.flags |= GMK_TASK_CHANNEL_MSG;
    gmk_count(f, &f->counts->accepted, 1);
    gmk_drop(f, &t, code);
}

/* A message that will not be handed over: what would have been its deliveries is dropped. */
static void drop_message(gmk_front_t *f, const gmk_det_item_t *msg, int code)
{
    gmk_channel_t *c = gmk_chan_of(f->core, msg->chan);
    bool first = true;
    for (uint32_t s = 0; c != NULL && s < GMK_MAX_SUBS; s++) {
        const gmk_mailbox_t *m = gmk_det_hearer(c, s);
        if (m == NULL)
            continue;
        gmk_task_t t = delivery(f, msg, m, first);
        gmk_drop(f, &t, code);
        first = false;
    }
    if (first)
        drop_whole(f, msg, code);
}

static void drop_item(gmk_front_t *f, gmk_det_item_t *i)
{
    struct gmk_det *d = f->core->det;
    if (i->far) {
        gmk_det_item_free(f, i);
        return;
    }
    if (i->chan == 0) {
        (void)gmk_sub64(&d->future, 1, GMK_ACQ_REL, GMK_KERNEL);
        gmk_drop(f, &i->task, GMK_DROP_HALTED);
    } else {
        if (i->waits)
            (void)gmk_sub32(&d->waiting, 1, GMK_ACQ_REL, GMK_KERNEL);
        drop_message(f, i, GMK_DROP_HALTED);
    }
    gmk_det_item_free(f, i);
}

/* Dead letters go out on channels, and the caller need not be in a grace period: the lock keeps those. */
void gmk_det_drop_list(gmk_front_t *f, gmk_det_item_t *i)
{
    if (i == NULL)
        return;
    gmk_hal_lock_acquire(&f->core->control);
    while (i != NULL) {
        gmk_det_item_t *next = i->next;
        drop_item(f, i);
        i = next;
    }
    gmk_hal_lock_release(&f->core->control);
}

/* Everything that waits for a tick. */
static void drop_waiting(gmk_front_t *f)
{
    struct gmk_det *d = f->core->det;
    gmk_hal_lock_acquire(&d->lock);
    gmk_det_item_t *inputs = d->inputs;
    d->inputs = NULL;
    gmk_hal_lock_release(&d->lock);
    gmk_det_drop_list(f, d->carried);
    d->carried = NULL;
    gmk_det_drop_list(f, inputs);
    gmk_det_drop_list(f, (gmk_det_item_t *)(uintptr_t)gmk_xchg64(&d->emitted, 0, GMK_ACQ_REL, GMK_KERNEL));
}

/*
 * Hands one message to all subscribers of its channel; appends the deliveries to *tail.  When the arena
 * runs out the run ends, and those for whom there is no item any more are dropped.
 */
static void hand_to_subscribers(gmk_front_t *f, gmk_channel_t *c, gmk_det_item_t *msg, gmk_det_item_t ***tail)
{
    bool first = true;
    for (uint32_t s = 0; s < GMK_MAX_SUBS; s++) {
        const gmk_mailbox_t *m = gmk_det_hearer(c, s);
        if (m == NULL)
            continue;
        gmk_task_t t = delivery(f, msg, m, first);
        gmk_det_item_t *i = gmk_det_item_new(f, &t);
        first = false;
        if (i == NULL) {
            (void)gmk_det_out_of_memory(f->core);
            gmk_drop(f, &t, GMK_DROP_HALTED);
            continue;
        }
        i->tick = msg->tick;
        i->born = msg->born;
        i->major = msg->major;
        i->minor = msg->minor;
        i->sub = (uint16_t)(msg->sub | f->core->det->side << 5 | s);
        (void)gmk_add64(&f->core->det->future, 1, GMK_ACQ_REL, GMK_KERNEL);
        **tail = i;
        *tail = &i->next;
    }
    if (first && msg->sub >> 8 == f->core->det->side && gmk_det_has_outlet(c)) {
        drop_whole(f, msg, GMK_DROP_BRIDGE); /* those who hear it are where no tick can reach them */
    } else if (first) {
        gmk_count(f, &f->counts->unheard, 1);
        gmk_count(f, &f->chans[c->index].unheard, 1);
        gmk_task_payload_done(f, &msg->task);
    }
}

/*
 * Turns the sorted origins into tasks of the tick: direct ones as they are, messages into their
 * deliveries, as many per channel as it has slots; the others are carried to the next tick.
 *
 * With the control lock: a thread from outside that advances the tick is in no grace period, and what
 * is unlinked is freed with the lock held.  So the subscribers are the same for the whole tick, too.
 */
static gmk_det_list_t expand(gmk_front_t *f, gmk_det_item_t **v, uint64_t n)
{
    gmk_core_t *k = f->core;
    uint32_t *used = k->det->used;
    gmk_det_list_t list = {0};
    gmk_det_item_t **tail = &list.first, **carry = &k->det->carried;
    gmk_hal_memset(used, 0, sizeof k->det->used);
    for (uint64_t x = 0; x < n; x++) {
        gmk_det_item_t *i = v[x];
        i->next = NULL;
        if (i->waits) /* handed in from outside, or carried over */
            (void)gmk_sub32(&k->det->waiting, 1, GMK_ACQ_REL, GMK_KERNEL);
        i->waits = false;
        if (i->chan == 0) {
            *tail = i;
            tail = &i->next;
            continue;
        }
        gmk_channel_t *c = gmk_chan_of(k, i->chan);
        bool closed = c == NULL || gmk_load32(&c->closing, GMK_ACQ, GMK_KERNEL) != 0;
        if (!closed && used[c->index] >= c->slots) {
            (void)gmk_add32(&k->det->waiting, 1, GMK_ACQ_REL, GMK_KERNEL);
            i->waits = true;
            *carry = i;
            carry = &i->next;
            continue;
        }
        if (closed)
            drop_whole(f, i,
                       GMK_DROP_CLOSED); /* how many of its subscribers are left is a matter of chance */
        else {
            used[c->index]++;
            hand_to_subscribers(f, c, i, &tail);
        }
        gmk_det_item_free(f, i);
    }
    for (gmk_det_item_t *i = list.first; i != NULL; i = i->next)
        list.n++;
    return list;
}

/* What is carried keeps its tick, and by that its place in front. */
gmk_det_list_t gmk_det_collect(gmk_front_t *f, uint64_t tick)
{
    struct gmk_det *d = f->core->det;
    gmk_det_item_t *all = NULL, *carried = d->carried, **tail = &all;
    uint64_t n = 0;
    d->carried = NULL;
    gmk_hal_lock_acquire(&d->lock);
    keep_later(d, tick, &all, &n);
    take_due(&d->inputs, tick, &all, &n);
    gmk_hal_lock_release(&d->lock);
    for (; *tail != NULL; tail = &(*tail)->next) {
        (*tail)->tick = tick;
        (*tail)->sub = (uint16_t)(d->side << 8);
    }
    *tail = carried;
    for (; carried != NULL; carried = carried->next)
        n++;
    return (gmk_det_list_t){all, n};
}

/* The items of a list, in an array; NULL: the run has ended, and they are dropped. */
static gmk_det_item_t **array_of(gmk_front_t *f, gmk_det_list_t list)
{
    uint64_t at = 0;
    gmk_det_item_t **v = gmk_heap_alloc(&f->core->heap, NULL, list.n * sizeof *v);
    if (v == NULL) {
        (void)gmk_det_out_of_memory(f->core);
        gmk_det_drop_list(f, list.first);
        return NULL;
    }
    for (gmk_det_item_t *i = list.first; i != NULL; i = i->next)
        v[at++] = i;
    return v;
}

gmk_det_list_t gmk_det_expand(gmk_front_t *f, gmk_det_list_t origins)
{
    gmk_det_list_t tasks = {0};
    gmk_det_item_t **v = origins.n == 0 ? NULL : array_of(f, origins);
    if (v == NULL)
        return tasks;
    sort(v, origins.n, by_origin);
    gmk_hal_lock_acquire(&f->core->control);
    tasks = expand(f, v, origins.n);
    gmk_hal_lock_release(&f->core->control);
    gmk_heap_free(&f->core->heap, NULL, v);
    return tasks;
}

void gmk_det_failed(gmk_core_t *k, uint32_t type)
{
    (void)gmk_or64(&k->det->failed[type / 64], (uint64_t)1 << (type % 64), GMK_ACQ_REL, GMK_KERNEL);
}

static void poison_if_due(gmk_front_t *f, gmk_type_t *ty)
{
    gmk_core_t *k = f->core;
    uint32_t n = gmk_load32(&ty->fails, GMK_ACQ, GMK_KERNEL);
    if (gmk_load32(&ty->taken, GMK_ACQ, GMK_KERNEL) == 0)
        return;
    uint64_t oldest = gmk_load64(&ty->fail_at[n % k->poison_failures], GMK_ACQ, GMK_KERNEL);
    uint64_t latest = gmk_load64(&ty->fail_at[(n - 1) % k->poison_failures], GMK_ACQ, GMK_KERNEL);
    if (oldest != 0 && latest - oldest <= k->poison_ticks)
        gmk_poison(f, ty);
}

/* The lock keeps the types in place. */
void gmk_det_poison(gmk_front_t *f)
{
    gmk_core_t *k = f->core;
    for (uint32_t i = 0; i * 64 < k->n_types; i++) {
        uint64_t bits = gmk_load64(&k->det->failed[i], GMK_ACQ, GMK_KERNEL);
        if (bits == 0)
            continue;
        (void)gmk_xchg64(&k->det->failed[i], 0, GMK_ACQ_REL, GMK_KERNEL);
        gmk_hal_lock_acquire(&k->control);
        for (; bits != 0; bits &= bits - 1)
            poison_if_due(f, &k->types[i * 64 + (uint32_t)__builtin_ctzll(bits)]);
        gmk_hal_lock_release(&k->control);
    }
}

/*
 * The number within the tick is the same on every run, so handlers may see it.  What runs on the peer
 * leaves a gap in the ranks.
 */
bool gmk_det_rank(gmk_front_t *f, gmk_det_list_t tasks, bool merged)
{
    struct gmk_det *d = f->core->det;
    uint64_t near = 0;
    d->items = tasks.n == 0 ? NULL : array_of(f, tasks);
    if (d->items == NULL)
        return false;
    if (merged)
        sort(d->items, tasks.n, by_origin);
    for (uint64_t i = 0; i < tasks.n; i++) {
        d->items[i]->minor = i;
        d->items[i]->task.seq = (uint32_t)i;
    }
    sort(d->items, tasks.n, by_rank);
    for (uint64_t i = 0; i < tasks.n; i++) {
        if (!d->items[i]->far) {
            near++;
            continue;
        }
        gmk_det_item_free(f, d->items[i]);
        d->items[i] = NULL;
    }
    d->n_items = (uint32_t)tasks.n;
    (void)gmk_sub64(&d->future, near, GMK_ACQ_REL, GMK_KERNEL);
    return true;
}

/* False: nothing to run. */
static bool prepare(gmk_front_t *f, uint64_t tick)
{
    gmk_det_poison(f);
    return gmk_det_rank(f, gmk_det_expand(f, gmk_det_collect(f, tick)), false);
}

/* ---- running a tick ----------------------------------------------------------------------- */

#define GMK_DET_RUN 32u

static bool parallel(const gmk_core_t *k, uint32_t type)
{
    return (gmk_load32(&k->types[type].flags, GMK_RLX, GMK_KERNEL) & GMK_HANDLER_DET_PARALLEL) != 0;
}

/* Queues tokens for other workers; never more than one per worker at a time. */
static void invite(gmk_front_t *f, uint32_t n)
{
    struct gmk_det *d = f->core->det;
    gmk_task_t t = {.flags = GMK_TASK_INTERNAL, .meta0 = GMK_INTERNAL_DET};
    for (uint32_t i = 0; i < n; i++) {
        if (gmk_add32(&d->tokens, 1, GMK_ACQ_REL, GMK_KERNEL) > f->core->n_workers) {
            (void)gmk_sub32(&d->tokens, 1, GMK_ACQ_REL, GMK_KERNEL);
            return;
        }
        gmk_enqueue_core(f, &t, 1, GMK_ENQ_SHARED, NULL);
    }
}

/* Opens the segment that starts at `from`: one task, or all neighbours of one parallel type.  False: none is left. */
static bool open_segment(gmk_front_t *f, uint32_t from)
{
    gmk_core_t *k = f->core;
    struct gmk_det *d = k->det;
    while (from < d->n_items && d->items[from] == NULL)
        from++;
    if (from == d->n_items)
        return false;
    uint32_t to = from + 1, type = d->items[from]->task.type;
    while (parallel(k, type) && to < d->n_items && (d->items[to] == NULL || d->items[to]->task.type == type))
        to++;
    gmk_store32(&d->left, to - from, GMK_RLX, GMK_KERNEL);
    gmk_store64(&d->claim, (uint64_t)to << 32 | from, GMK_REL, GMK_KERNEL);
    if (to - from > 1)
        invite(f, to - from < k->n_workers ? to - from - 1 : k->n_workers - 1);
    return true;
}

static void end_tick(gmk_front_t *f)
{
    struct gmk_det *d = f->core->det;
    gmk_heap_free(&f->core->heap, NULL, d->items);
    d->items = NULL;
    d->n_items = 0;
}

bool gmk_det_run_tick(gmk_front_t *f)
{
    if (!open_segment(f, 0)) {
        end_tick(f);
        return false;
    }
    invite(f, 1);
    return true;
}

bool gmk_det_has_work(const struct gmk_det *d)
{
    return gmk_load64(&d->future, GMK_ACQ, GMK_KERNEL) != 0 ||
           gmk_load64(&d->emitted, GMK_ACQ, GMK_KERNEL) != 0 ||
           gmk_load32(&d->waiting, GMK_ACQ, GMK_KERNEL) != 0;
}

/* With AUTO_TICK, ticks follow each other as long as something waits for one. */
static bool wants_tick(gmk_core_t *k)
{
    return (k->flags & GMK_BOOT_AUTO_TICK) != 0 && gmk_det_has_work(k->det);
}

/*
 * The first tick after the last one done that has work: what was carried over or emitted is for the very
 * next.  An input for an earlier tick that comes in meanwhile is due in the one that is leapt to; one
 * that comes later still sees the new tick, with the lock, and is for the tick after that.
 */
uint64_t gmk_det_next_with_work(struct gmk_det *d)
{
    uint64_t next = UINT64_MAX;
    if (d->carried != NULL || gmk_load64(&d->emitted, GMK_ACQ, GMK_KERNEL) != 0)
        return d->done_tick + 1;
    gmk_hal_lock_acquire(&d->lock);
    for (const gmk_det_item_t *i = d->inputs; i != NULL; i = i->next)
        next = i->tick < next ? i->tick : next;
    gmk_hal_lock_release(&d->lock);
    return next > d->done_tick && next != UINT64_MAX ? next : d->done_tick + 1;
}

void gmk_det_new_tick(gmk_front_t *f, uint64_t ahead)
{
    uint64_t tick = gmk_add64(&f->core->tick, ahead, GMK_ACQ_REL, GMK_KERNEL) + ahead;
    if (gmk_load32(&f->core->trace_mask, GMK_RLX, GMK_KERNEL) >= GMK_TRACE_INFO)
        gmk_trace_now(f, GMK_EV_TICK, 0, (uint32_t)tick, 0);
}

void gmk_det_poke(gmk_core_t *k)
{
    gmk_store32(&k->det->poked, 1, GMK_SEQ, GMK_KERNEL);
    gmk_front_t *port = (gmk_front_t *)(uintptr_t)gmk_load64(&k->det->port, GMK_ACQ, GMK_KERNEL);
    gmk_hal_park_wake(&port->park);
}

/*
 * The bridge prepares the next tick.  False: it has left meanwhile, and the caller still has `active`.
 * The fence pairs with gmk_det_leave: one of the two sees what the other did.
 */
static bool hand_over(gmk_core_t *k)
{
    struct gmk_det *d = k->det;
    uint32_t idle = 0;
    gmk_store32(&d->active, 0, GMK_REL, GMK_KERNEL);
    gmk_fence(GMK_SEQ, GMK_KERNEL);
    gmk_det_poke(k);
    return gmk_det_joined(d) || !gmk_cas32(&d->active, &idle, 1, GMK_ACQ_REL, GMK_KERNEL);
}

/* The run has ended, and here is an input that was let in just before. */
static bool has_late_input(struct gmk_det *d)
{
    if (GMK_LIKELY(gmk_load32(&d->dead, GMK_ACQ, GMK_KERNEL) == 0))
        return false;
    gmk_hal_lock_acquire(&d->lock);
    bool any = d->inputs != NULL;
    gmk_hal_lock_release(&d->lock);
    return any;
}

/*
 * The holder of `active`: starts the next due tick that has work, or lets go.  A worker lets go in any
 * case after some ticks without work: somebody who advances them as fast as it follows would else keep
 * it from its batch, and from passing grace periods.  The token goes on unless somebody else has.
 */
void gmk_det_next_tick(gmk_front_t *f)
{
    gmk_core_t *k = f->core;
    struct gmk_det *d = k->det;
    for (uint32_t empty = 0;;) {
        if (GMK_UNLIKELY(gmk_det_joined(d))) {
            if (hand_over(k))
                return;
            continue;
        }
        if (GMK_UNLIKELY(gmk_load32(&d->dead, GMK_ACQ, GMK_KERNEL) != 0))
            drop_waiting(f);
        if (d->done_tick == gmk_load64(&k->tick, GMK_ACQ, GMK_KERNEL) && wants_tick(k)) {
            uint64_t next = gmk_det_next_with_work(d);
            gmk_det_new_tick(f, next - d->done_tick);
            d->done_tick = next - 1;
        }
        while (d->done_tick < gmk_load64(&k->tick, GMK_ACQ, GMK_KERNEL)) {
            if (prepare(f, ++d->done_tick) && gmk_det_run_tick(f))
                return;
            if (f->worker != NULL && ++empty == GMK_DET_RUN) {
                gmk_store32(&d->active, 0, GMK_REL, GMK_KERNEL);
                invite(f, 1);
                return;
            }
        }
        uint64_t done = d->done_tick;
        uint32_t idle = 0;
        gmk_store32(&d->active, 0, GMK_REL, GMK_KERNEL);
        gmk_fence(GMK_SEQ, GMK_KERNEL); /* pairs with gmk_det_advance: let go, then look again */
        if ((done == gmk_load64(&k->tick, GMK_ACQ, GMK_KERNEL) && !wants_tick(k) && !has_late_input(d)) ||
            !gmk_cas32(&d->active, &idle, 1, GMK_ACQ_REL, GMK_KERNEL))
            return;
    }
}

void gmk_det_advance(gmk_front_t *f)
{
    uint32_t idle = 0;
    gmk_fence(GMK_SEQ, GMK_KERNEL); /* the tick or the input is there; pairs with gmk_det_next_tick */
    if (GMK_UNLIKELY(gmk_det_joined(f->core->det)))
        gmk_det_poke(f->core);
    else if (gmk_cas32(&f->core->det->active, &idle, 1, GMK_ACQ_REL, GMK_KERNEL))
        gmk_det_next_tick(f);
}

void gmk_det_tick(gmk_front_t *f)
{
    gmk_det_new_tick(f, 1);
    gmk_det_advance(f);
}

static bool claim_one(struct gmk_det *d, uint32_t *rank)
{
    uint64_t c = gmk_load64(&d->claim, GMK_ACQ, GMK_KERNEL);
    do {
        *rank = (uint32_t)c;
        if (*rank >= c >> 32)
            return false;
    } while (!gmk_cas64(&d->claim, &c, c + 1, GMK_ACQ_REL, GMK_KERNEL));
    return true;
}

/* The task has its outcome; whoever finishes the segment opens the next, or ends the tick. */
static void finish(gmk_lane_t *l)
{
    gmk_front_t *f = l->ctx.front;
    struct gmk_det *d = f->core->det;
    gmk_det_item_t *i = d->items[l->det_rank];
    l->det_run = 0;
    if (i != NULL)
        gmk_det_item_free(f, i);
    d->items[l->det_rank] = NULL;
    if (gmk_sub32(&d->left, 1, GMK_ACQ_REL, GMK_KERNEL) != 1)
        return;
    uint32_t end = (uint32_t)(gmk_load64(&d->claim, GMK_ACQ, GMK_KERNEL) >> 32);
    if (open_segment(f, end))
        return;
    end_tick(f);
    gmk_det_next_tick(f);
}

void gmk_det_run(gmk_lane_t *l, const gmk_task_t *t)
{
    gmk_front_t *f = l->ctx.front;
    struct gmk_det *d = f->core->det;
    uint32_t rank;
    (void)t;
    (void)gmk_sub32(&d->tokens, 1, GMK_ACQ_REL, GMK_KERNEL);
    for (uint32_t i = 0; i < GMK_DET_RUN; i++) {
        if (!claim_one(d, &rank)) {
            gmk_det_advance(f); /* a worker may have let go of ticks that are due */
            return;
        }
        l->det_rank = rank;
        if (GMK_UNLIKELY(d->items[rank] == NULL)) { /* the peer's */
            finish(l);
            continue;
        }
        gmk_task_t *task = &d->items[rank]->task;
        l->det_run = 1;
        l->ctx.det_index = 0;
        l->det_hash = task_hash(f->core, task, rank);
        gmk_run_task(l, task, 0);
        finish(l);
    }
    invite(f, 1);
}

void gmk_det_result(gmk_lane_t *l, uint32_t result)
{
    gmk_front_t *f = l->ctx.front;
    gmk_count(f, &f->counts->det_hash, mix(l->det_hash, result));
}

void gmk_det_after_fault(gmk_lane_t *l)
{
    finish(l);
    invite(l->ctx.front, 1);
}

void gmk_det_drop_all(gmk_front_t *f)
{
    struct gmk_det *d = f->core->det;
    for (uint32_t i = 0; i < d->n_items; i++)
        if (d->items[i] != NULL) {
            gmk_drop(f, &d->items[i]->task, GMK_DROP_HALTED);
            gmk_det_item_free(f, d->items[i]);
        }
    drop_waiting(f);
    gmk_heap_free(&f->core->heap, NULL, d->items);
    gmk_hal_lock_destroy(&d->lock);
}
