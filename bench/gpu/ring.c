/* SPDX-License-Identifier: MIT */
/*
 * ring.c — the rings of bridge/link.h between this thread and the GPU, without a kernel of GGMK on either side: what a
 * bridge could reach at most.  The GPU's ends are in raw.ptx.
 */
#include "raw.h"

#include "../../bridge/link.h"
#include "../bench_sched.h"

enum { SLOTS = 4096, LANES = 32, EPOCH = 1, BATCH = 64 }; /* raw.ptx knows them too */
#define STEP UINT64_C(0x9e3779b97f4a7c15)

/* One direction.  What the consumer writes lies apart from what the producer does. */
typedef struct way {
    gmk_region_slot_t slot[RING_MOST][SLOTS];
    struct {
        _Alignas(GMK_CACHE_LINE) gmk_a64_t taken;
    } head[RING_MOST];
    uint64_t right[RING_MOST][LANES]; /* messages that a lane of the GPU took, and found right */
} way_t;

static struct {
    way_t *way;
    CUdeviceptr slots, heads, right; /* the GPU's addresses */
} to, from;

static CUfunction take, give, echo;

static void die(const char *why)
{
    fprintf(stderr, "raw: ring: %s\n", why);
    _Exit(1); /* a kernel may still look at the memory */
}

void ring_open(void)
{
    CUdeviceptr at;

    take = raw_kernel("take");
    give = raw_kernel("give");
    echo = raw_kernel("echo");
    to.way = raw_shared(2 * sizeof *to.way, &at);
    from.way = to.way + 1;
    to.slots = at + offsetof(way_t, slot);
    to.heads = at + offsetof(way_t, head);
    to.right = at + offsetof(way_t, right);
    from.slots = to.slots + sizeof(way_t);
    from.heads = to.heads + sizeof(way_t);
}

/* Nobody runs there: a ring begins as zeros. */
static void clear(void) { memset(to.way, 0, 2 * sizeof *to.way); }

static gmk_link_out_t out_of(uint32_t ring)
{
    gmk_link_out_t l;

    gmk_link_out_init(&l, to.way->slot[ring], SLOTS, &to.way->head[ring].taken, EPOCH);
    return l;
}

static gmk_link_in_t in_of(uint32_t ring)
{
    gmk_link_in_t l;

    gmk_link_in_init(&l, from.way->slot[ring], SLOTS, &from.way->head[ring].taken, EPOCH);
    return l;
}

/* ---- messages ------------------------------------------------------------------------------ */

static void put(gmk_link_out_t *l, uint64_t number)
{
    gmk_region_slot_t *s = gmk_link_fill(l);

    s->body[0] = number;
    for (uint32_t i = 1; i < 6; i++)
        s->body[i] = number * STEP + i;
    s->stamp = 0;
}

static void expect(const gmk_link_in_t *l, uint32_t i)
{
    uint64_t body[6], number = l->next + i, wrong;

    gmk_link_copy(body, gmk_link_slot(l, i));
    wrong = body[0] ^ number;
    for (uint32_t w = 1; w < 6; w++)
        wrong |= body[w] ^ (number * STEP + w);
    if (wrong != 0)
        die("a message from the GPU was lost, doubled or damaged");
}

/* At most max; returns how many were there. */
static uint32_t receive(gmk_link_in_t *l, uint32_t max)
{
    uint32_t n = gmk_link_ready(l, max);

    if (l->broken)
        die("a word from the GPU is none of this ring's");
    for (uint32_t i = 0; i < n; i++)
        expect(l, i);
    if (n != 0)
        gmk_link_took(l, n);
    return n;
}

/* ---- many, one way ------------------------------------------------------------------------- */

/* Whole batches: the GPU's lanes wait for each other. */
static uint32_t send_some(gmk_link_out_t *l, uint32_t batch, uint64_t n)
{
    if (l->tail == n || gmk_link_room(l, batch) < batch)
        return 0;
    for (uint32_t i = 0; i < batch; i++)
        put(l, l->tail + i);
    return gmk_link_publish(l);
}

static void check_taken(uint64_t all)
{
    uint64_t right = 0;

    for (uint32_t i = 0; i < RING_MOST * LANES; i++)
        right += to.way->right[i / LANES][i % LANES];
    if (right != all)
        die("a message to the GPU was lost, doubled or damaged");
}

double ring_to(uint32_t rings, uint32_t lanes, uint64_t n)
{
    gmk_link_out_t l[RING_MOST];
    void *parameters[] = {&to.slots, &to.heads, &to.right, &n};
    raw_spin_t spin = {0};
    uint64_t left = rings * n;

    clear();
    for (uint32_t r = 0; r < rings; r++)
        l[r] = out_of(r);
    double start = bench_ns();
    raw_launch(take, rings, lanes, parameters);
    while (left != 0) {
        uint32_t sent = 0;
        for (uint32_t r = 0; r < rings; r++)
            sent += send_some(&l[r], lanes, n);
        left -= sent;
        raw_spin(&spin, sent != 0);
    }
    for (uint32_t r = 0; r < rings; r++)
        while (!gmk_link_is_idle(&l[r]))
            raw_spin(&spin, false);
    double ns = bench_ns() - start;
    raw_wait();
    check_taken(rings * n);
    return ns;
}

double ring_from(uint32_t rings, uint32_t lanes, uint64_t n)
{
    gmk_link_in_t l[RING_MOST];
    void *parameters[] = {&from.slots, &from.heads, &n};
    raw_spin_t spin = {0};
    uint64_t left = rings * n;

    clear();
    for (uint32_t r = 0; r < rings; r++)
        l[r] = in_of(r);
    double start = bench_ns();
    raw_launch(give, rings, lanes, parameters);
    while (left != 0) {
        uint32_t got = 0;
        for (uint32_t r = 0; r < rings; r++)
            got += receive(&l[r], BATCH);
        left -= got;
        raw_spin(&spin, got != 0);
    }
    double ns = bench_ns() - start;
    raw_wait();
    for (uint32_t r = 0; r < rings; r++)
        if (l[r].next != n || gmk_link_look(&l[r], 0) != GMK_LINK_EMPTY)
            die("there are more messages from the GPU than it was to send");
    return ns;
}

/* ---- one, there and back --------------------------------------------------------------------- */

/* The answer comes before its question's slot is given back: so there may be no room for the next at once. */
void ring_trips(double *ns, uint32_t n)
{
    gmk_link_out_t there = out_of(0);
    gmk_link_in_t back = in_of(0);
    uint64_t all = n;
    void *parameters[] = {&to.slots, &to.heads, &from.slots, &all};

    clear();
    raw_launch(echo, 1, 1, parameters);
    for (uint32_t i = 0; i < n; i++) {
        raw_spin_t spin = {0};
        double start = bench_ns();
        while (gmk_link_room(&there, 1) == 0)
            raw_spin(&spin, false);
        put(&there, i);
        (void)gmk_link_publish(&there);
        while (receive(&back, 1) == 0)
            raw_spin(&spin, false);
        ns[i] = bench_ns() - start;
    }
    raw_wait();
}
