/* SPDX-License-Identifier: MIT */
/*
 * scn_races.c — what is found about plain accesses to pages: races, by missing orders, narrow scopes and
 * missing barriers; memory that was freed; what lies outside.  Races are looked for whatever the
 * setup says.
 */
#include "scenarios.h"

#define BYTES 8192u

struct shared {
    uint32_t plain, other;
    gmk_a32_t word, flag;
    unsigned char block[256];
};

/* What `first` and `second` do with it, in two threads at a time. */
static struct shared *s;

static void begin(void)
{
    sim_memory_mode(sim_setup()->weak, true);
    s = gmk_hal_page_alloc(BYTES);
    sim_check(s != NULL);
}

static void end(void) { gmk_hal_page_free(s, BYTES); }

struct role {
    void (*fn)(void);
};

static void play(void *arg) { ((const struct role *)arg)->fn(); }

static void both(void (*a)(void), void (*b)(void))
{
    struct role roles[2] = {{a}, {b}};
    begin();
    scn_together(2, play, roles, sizeof roles[0]);
    end();
}

/* ---- races ---------------------------------------------------------------------------------- */

static void write_and_release(void)
{
    s->plain = 7;
    gmk_store32(&s->flag, 1, GMK_REL, GMK_KERNEL);
}

static void write_and_tell(void)
{
    s->plain = 7;
    gmk_store32(&s->flag, 1, GMK_RLX, GMK_KERNEL);
}

static void await_and_read(void)
{
    for (uint32_t round = 0; gmk_load32(&s->flag, GMK_ACQ, GMK_KERNEL) == 0; round++)
        gmk_hal_relax(round);
    sim_check(s->plain == 7);
}

static void write_apart(void)
{
    s->other = 1;
    s->block[1] = 1;
}

static void write_beside(void)
{
    s->plain = 1;
    s->block[0] = 1;
    s->block[2] = 1;
}

static void write_part(void) { s->block[1] = 1; }
static void copy_over(void) { gmk_hal_memcpy(s->block, "0123456789abcdef", 16); }
static void read_word(void) { (void)gmk_load32(&s->word, GMK_RLX, GMK_KERNEL); }
static void clear_word(void) { gmk_hal_memset(&s->word, 0, sizeof s->word); }
static void add_narrow(void) { (void)gmk_add32(&s->word, 1, GMK_RLX, GMK_WORKER); }
static void add_wide(void) { (void)gmk_add32(&s->word, 1, GMK_RLX, GMK_KERNEL); }

#define PAIR(name, a, b)                                                                                     \
    void scn_##name(void *arg)                                                                               \
    {                                                                                                        \
        (void)arg;                                                                                           \
        both(a, b);                                                                                          \
    }
PAIR(no_race, write_and_release, await_and_read)
PAIR(no_race_apart, write_apart, write_beside)
PAIR(race, write_and_tell, await_and_read)
PAIR(race_copy, write_part, copy_over)
PAIR(race_atomic, read_word, clear_word)
PAIR(race_narrow, add_narrow, add_wide)

static void lock_and_add(void *arg)
{
    gmk_hal_lock_t *l = *(gmk_hal_lock_t **)arg;
    for (uint32_t i = 0; i < 4; i++) {
        gmk_hal_lock_acquire(l);
        s->plain++;
        gmk_hal_lock_release(l);
    }
}

void scn_no_race_locked(void *arg)
{
    (void)arg;
    gmk_hal_lock_t l, *args[2] = {&l, &l};
    begin();
    gmk_hal_lock_init(&l);
    scn_together(2, lock_and_add, args, sizeof args[0]);
    sim_check(s->plain == 8);
    gmk_hal_lock_destroy(&l);
    end();
}

/* ---- lanes ---------------------------------------------------------------------------------- */

static void block(void (*fn)(void *))
{
    gmk_hal_thread_t t;
    sim_options()->lanes = 4;
    begin();
    sim_check(sim_thread_create(&t, "block", 4, fn, NULL) == 0);
    gmk_hal_thread_join(&t);
    end();
}

static void exchange(bool meet)
{
    uint32_t lane = gmk_hal_lane();
    (void)gmk_add32(&s->word, 1, GMK_RLX, GMK_WORKER);
    s->block[lane] = 1;
    if (meet)
        gmk_hal_block_barrier();
    sim_check(s->block[(lane + 1) % 4] <= 1);
    gmk_hal_warp_barrier(0xf);
    s->block[(lane + 2) % 4] = 2;
}

static void exchange_and_meet(void *arg)
{
    (void)arg;
    exchange(true);
}

static void exchange_at_once(void *arg)
{
    (void)arg;
    exchange(false);
}

void scn_no_race_lanes(void *arg)
{
    (void)arg;
    block(exchange_and_meet);
}

void scn_race_lanes(void *arg)
{
    (void)arg;
    block(exchange_at_once);
}

static void two_places(void *arg)
{
    (void)arg;
    if (gmk_hal_lane() == 2)
        gmk_hal_warp_barrier(0xf);
    gmk_hal_block_barrier();
}

void scn_lanes_apart(void *arg)
{
    (void)arg;
    block(two_places);
}

/* ---- memory that is not there --------------------------------------------------------------- */

#define FREED 0xdd

void scn_freed(void *arg)
{
    (void)arg;
    begin();
    s->block[3] = 1;
    gmk_hal_memset(s->block, FREED, sizeof s->block);
    sim_check(s->block[3] != 1);
}

void scn_freed_atomic(void *arg)
{
    (void)arg;
    begin();
    gmk_hal_memset(s, FREED, sizeof *s);
    (void)gmk_load32(&s->word, GMK_ACQ, GMK_KERNEL);
}

void scn_used_again(void *arg)
{
    (void)arg;
    begin();
    gmk_hal_memset(s->block, FREED, sizeof s->block);
    s->block[3] = 1;
    gmk_hal_memset(s->block + 8, 0, 8);
    sim_check(s->block[3] == 1 && s->block[15] == 0);
    end();
}

void scn_outside(void *arg)
{
    (void)arg;
    begin();
    sim_check(((const volatile unsigned char *)s)[BYTES] == 0);
}
