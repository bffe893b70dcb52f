/* SPDX-License-Identifier: MIT */
/*
 * hal_nvptx.c — the rest of the GPU HAL.
 *
 * Nothing here depends on an operating system or a driver: memory is handed over at launch,
 * threads are the blocks that are already up, sleeping is nanosleep.  There are no faults to
 * contain: a device fault ends the launch, and the host's watchdog deals with it.
 */
#include <ggmk/error.h>
#include <ggmk/hal.h>

/* ---- locks: tickets (Mellor-Crummey and Scott 1991) ---------------------------------------- */

void gmk_hal_lock_init(gmk_hal_lock_t *l)
{
    gmk_store32(&l->next, 0, GMK_RLX, GMK_KERNEL);
    gmk_store32(&l->serving, 0, GMK_RLX, GMK_KERNEL);
}

/*
 * The acquire load of `serving` pairs with the release store of the holder before us, which
 * orders its critical section before ours.  The ticket itself carries no data.
 */
void gmk_hal_lock_acquire(gmk_hal_lock_t *l)
{
    uint32_t mine = gmk_add32(&l->next, 1, GMK_RLX, GMK_KERNEL);
    for (uint32_t round = 0; gmk_load32(&l->serving, GMK_ACQ, GMK_KERNEL) != mine; round++)
        gmk_hal_relax(round);
}

void gmk_hal_lock_release(gmk_hal_lock_t *l)
{
    uint32_t mine = gmk_load32(&l->serving, GMK_RLX, GMK_KERNEL); /* only the holder writes it */
    gmk_store32(&l->serving, mine + 1, GMK_REL, GMK_KERNEL);
}

void gmk_hal_lock_destroy(gmk_hal_lock_t *l) { (void)l; }

/* ---- park: a word and a sleep that grows --------------------------------------------------- */

void gmk_hal_park_init(gmk_hal_park_t *p) { gmk_store32(&p->woken, 0, GMK_RLX, GMK_KERNEL); }

/*
 * The exchange takes the wake: its acquire pairs with the release in gmk_hal_park_wake, so the
 * sleeper sees what its waker published.  The poll before it is a load, which any number of
 * sleeping blocks may repeat without owning the line.
 */
bool gmk_hal_park_wait(gmk_hal_park_t *p, uint64_t timeout_ns)
{
    uint64_t start = gmk_hal_now_ns();
    for (uint32_t round = 0;; round++) {
        if (gmk_load32(&p->woken, GMK_RLX, GMK_KERNEL) && gmk_xchg32(&p->woken, 0, GMK_ACQ, GMK_KERNEL))
            return true;
        if (timeout_ns != GMK_HAL_FOREVER && gmk_hal_now_ns() - start >= timeout_ns)
            return false;
        gmk_hal_relax(round);
    }
}

void gmk_hal_park_wake(gmk_hal_park_t *p) { gmk_store32(&p->woken, 1, GMK_REL, GMK_KERNEL); }

void gmk_hal_park_destroy(gmk_hal_park_t *p) { (void)p; }

/* ---- threads: blocks that wait for something to run ----------------------------------------- */

#define GMK_HAL_NVPTX_THREADS 1024u

/*
 * A slot is written once, by its creator, and then read by the one block whose number it is: the
 * release store of `thread` publishes the function and its argument.
 */
static struct {
    gmk_a32_t created;
    gmk_a32_t closed;
    gmk_a64_t thread[GMK_HAL_NVPTX_THREADS];
} gmk_hal_nvptx_board;

uint32_t gmk_hal_cpu_count(void)
{
    uint32_t blocks = (uint32_t)__nvvm_read_ptx_sreg_nctaid_x();
    return blocks > 2 ? blocks - 2
                      : 1; /* block 0 serves the kernel from outside, one is for a bridge's pump */
}

int gmk_hal_thread_create(gmk_hal_thread_t *t, const char *name, uint32_t cpu, void (*fn)(void *), void *arg)
{
    (void)name;
    (void)cpu; /* a block never moves */
    uint32_t limit = (uint32_t)__nvvm_read_ptx_sreg_nctaid_x() - 1;
    if (limit > GMK_HAL_NVPTX_THREADS)
        limit = GMK_HAL_NVPTX_THREADS;
    uint32_t n = gmk_load32(&gmk_hal_nvptx_board.created, GMK_RLX, GMK_KERNEL);
    do {
        if (n >= limit)
            return GMK_ERR_LIMIT;
    } while (!gmk_cas32(&gmk_hal_nvptx_board.created, &n, n + 1, GMK_RLX, GMK_KERNEL));
    t->fn = fn;
    t->arg = arg;
    gmk_store32(&t->done, 0, GMK_RLX, GMK_KERNEL);
    gmk_store64(&gmk_hal_nvptx_board.thread[n], (uint64_t)(uintptr_t)t, GMK_REL, GMK_KERNEL);
    return GMK_OK;
}

/* Pairs with the release store at the end of gmk_hal_nvptx_serve. */
void gmk_hal_thread_join(gmk_hal_thread_t *t)
{
    for (uint32_t round = 0; !gmk_load32(&t->done, GMK_ACQ, GMK_KERNEL); round++)
        gmk_hal_relax(round);
}

static gmk_hal_thread_t *gmk_hal_nvptx_assigned(uint32_t n)
{
    for (uint32_t round = 0;; round++) {
        uint64_t t = gmk_load64(&gmk_hal_nvptx_board.thread[n], GMK_ACQ, GMK_KERNEL);
        if (t || gmk_load32(&gmk_hal_nvptx_board.closed, GMK_RLX, GMK_KERNEL))
            return (gmk_hal_thread_t *)(uintptr_t)t;
        gmk_hal_relax(round);
    }
}

/* Which thread the block runs is decided by lane 0 and read by all from scratch. */
void gmk_hal_nvptx_serve(void)
{
    uint32_t n = (uint32_t)__nvvm_read_ptx_sreg_ctaid_x() - 1;
    gmk_hal_thread_t **mine = (gmk_hal_thread_t **)gmk_hal_scratch(NULL);
    if (gmk_hal_lane() == 0)
        *mine = n < GMK_HAL_NVPTX_THREADS ? gmk_hal_nvptx_assigned(n) : NULL;
    gmk_hal_block_barrier();
    gmk_hal_thread_t *t = *mine;
    gmk_hal_block_barrier(); /* from here on the scratch is the function's */
    if (!t)
        return;
    t->fn(t->arg);
    gmk_hal_block_barrier();
    if (gmk_hal_lane() == 0)
        gmk_store32(&t->done, 1, GMK_REL, GMK_KERNEL);
}

void gmk_hal_nvptx_close(void) { gmk_store32(&gmk_hal_nvptx_board.closed, 1, GMK_RLX, GMK_KERNEL); }

/* ---- pages: a bump over the region handed over at launch ------------------------------------ */

/* base and end are written by gmk_hal_nvptx_init alone; the first release store publishes them. */
static struct {
    uintptr_t base;
    uintptr_t end;
    gmk_a64_t next;
} gmk_hal_nvptx_pages;

void gmk_hal_nvptx_init(void *arena, size_t bytes)
{
    gmk_hal_nvptx_pages.base = (uintptr_t)arena;
    gmk_hal_nvptx_pages.end = (uintptr_t)arena + bytes;
    gmk_store64(&gmk_hal_nvptx_pages.next, (uintptr_t)arena, GMK_REL, GMK_KERNEL);
}

#define GMK_HAL_NVPTX_PAGE ((uintptr_t)4096)
#define GMK_HAL_NVPTX_BIG_PAGE ((uintptr_t)2 << 20)

void *gmk_hal_page_alloc(size_t bytes)
{
    uint64_t next = gmk_load64(&gmk_hal_nvptx_pages.next, GMK_ACQ, GMK_KERNEL);
    uintptr_t align = bytes >= GMK_HAL_NVPTX_BIG_PAGE ? GMK_HAL_NVPTX_BIG_PAGE : GMK_HAL_NVPTX_PAGE;
    uintptr_t at;
    do {
        at = (next + align - 1) & ~(align - 1);
        if (next == 0 || bytes == 0 || at < next || at > gmk_hal_nvptx_pages.end ||
            bytes > gmk_hal_nvptx_pages.end - at)
            return NULL;
    } while (!gmk_cas64(&gmk_hal_nvptx_pages.next, &next, at + bytes, GMK_ACQ_REL, GMK_KERNEL));
    return (void *)at;
}

/* Pages must be zeroed, which one lane cannot do for gigabytes: the next launch gets them anew. */
void gmk_hal_page_free(void *p, size_t bytes)
{
    (void)p;
    (void)bytes;
}

/* ---- faults --------------------------------------------------------------------------------- */

int gmk_hal_guard_enter(void) { return GMK_OK; }

void gmk_hal_guard_leave(void) {}

bool gmk_hal_guarded(void (*fn)(void *), void *arg, const volatile uint32_t *depth, gmk_fault_info_t *info)
{
    (void)depth;
    (void)info;
    fn(arg);
    return true;
}

/* ---- console -------------------------------------------------------------------------------- */

struct gmk_hal_nvptx_console gmk_hal_nvptx_console;

/*
 * Claims the next slot once the line a lap ago is complete in it; while that one is still being
 * written the new line is dropped, and nobody waits.  Acquire: our words come after the commit we saw.
 */
static bool gmk_hal_nvptx_claim_line(uint64_t *number)
{
    struct gmk_hal_nvptx_console *c = &gmk_hal_nvptx_console;
    uint64_t n = gmk_load64(&c->next, GMK_RLX, GMK_KERNEL);
    for (;;) {
        uint64_t lap_ago = n < GMK_HAL_NVPTX_LINES ? 0 : n - GMK_HAL_NVPTX_LINES + 1;
        bool free = gmk_load64(&c->line[n % GMK_HAL_NVPTX_LINES].commit, GMK_ACQ, GMK_KERNEL) == lap_ago;
        uint64_t seen = n;
        if (free && gmk_cas64(&c->next, &n, n + 1, GMK_RLX, GMK_KERNEL)) {
            *number = n;
            return true;
        }
        if (!free)
            n = gmk_load64(&c->next, GMK_RLX, GMK_KERNEL);
        if (!free && n == seen)
            return false;
    }
}

/* Up to eight characters as a little-endian word, zeros after the end. */
static uint64_t gmk_hal_nvptx_word(const char **text)
{
    uint64_t w = 0;
    for (uint32_t i = 0; i < 8 && **text; i++, (*text)++)
        w |= (uint64_t)(unsigned char)**text << (8 * i);
    return w;
}

/*
 * While a line is written its commit is 0.  The fence keeps the new words after that 0, and the
 * release store keeps them before the new commit: a reader that finds the same commit before and
 * after its copy has one line, whole.
 */
void gmk_hal_console(const char *line)
{
    struct gmk_hal_nvptx_console *c = &gmk_hal_nvptx_console;
    uint64_t n;
    if (!gmk_hal_nvptx_claim_line(&n)) {
        gmk_add64(&c->dropped, 1, GMK_RLX, GMK_KERNEL);
        return;
    }
    uint32_t slot = (uint32_t)(n % GMK_HAL_NVPTX_LINES);
    gmk_store64(&c->line[slot].commit, 0, GMK_RLX, GMK_KERNEL);
    gmk_fence(GMK_REL, GMK_KERNEL);
    for (uint32_t i = 0; i < GMK_HAL_NVPTX_LINE_WORDS; i++) {
        uint64_t w = gmk_hal_nvptx_word(&line);
        if (i == GMK_HAL_NVPTX_LINE_WORDS - 1)
            w &= UINT64_MAX >> 8;
        gmk_store64(&c->line[slot].text[i], w, GMK_RLX, GMK_KERNEL);
    }
    gmk_store64(&c->line[slot].commit, n + 1, GMK_REL, GMK_KERNEL);
}

uint32_t gmk_hal_linked_modules(struct gmk_module *const **first)
{
    *first = NULL; /* the image's build makes the list */
    return 0;
}

/* ---- memory --------------------------------------------------------------------------------- */

__attribute__((address_space(3), loader_uninitialized,
               aligned(16))) unsigned char gmk_hal_nvptx_scratch[GMK_HAL_SCRATCH_BYTES];

typedef uint64_t __attribute__((may_alias)) gmk_hal_word_t;

static inline bool gmk_hal_nvptx_aligned(uintptr_t a, uintptr_t b)
{
    return ((a | b) & (sizeof(gmk_hal_word_t) - 1)) == 0;
}

void *gmk_hal_nvptx_set(void *d, int c, size_t n)
{
    unsigned char *to = d;
    size_t i = 0;
    if (gmk_hal_nvptx_aligned((uintptr_t)d, 0)) {
        uint64_t w = (uint64_t)(unsigned char)c * 0x0101010101010101u;
        for (; i + sizeof(w) <= n; i += sizeof(w))
            *(gmk_hal_word_t *)(to + i) = w;
    }
    for (; i < n; i++)
        to[i] = (unsigned char)c;
    return d;
}

void *gmk_hal_nvptx_copy(void *d, const void *s, size_t n)
{
    unsigned char *to = d;
    const unsigned char *from = s;
    size_t i = 0;
    if (gmk_hal_nvptx_aligned((uintptr_t)d, (uintptr_t)s))
        for (; i + sizeof(gmk_hal_word_t) <= n; i += sizeof(gmk_hal_word_t))
            *(gmk_hal_word_t *)(to + i) = *(const gmk_hal_word_t *)(from + i);
    for (; i < n; i++)
        to[i] = from[i];
    return d;
}

/* Upwards unless that would overwrite what is still to be read. */
void *gmk_hal_nvptx_move(void *d, const void *s, size_t n)
{
    unsigned char *to = d;
    const unsigned char *from = s;
    if ((uintptr_t)d - (uintptr_t)s >= n)
        return gmk_hal_nvptx_copy(d, s, n);
    while (n--)
        to[n] = from[n];
    return d;
}

int gmk_hal_memcmp(const void *a, const void *b, size_t n)
{
    const unsigned char *x = a, *y = b;
    for (size_t i = 0; i < n; i++)
        if (x[i] != y[i])
            return x[i] < y[i] ? -1 : 1;
    return 0;
}
