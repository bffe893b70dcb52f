/* SPDX-License-Identifier: MIT */
/* selftest_mem.c — protection, demand paging, guard pages, shoot-down, and nothing lost. */
#include "selftest_mem.h"

#include "cpu.h"
#include "paging.h"
#include "pmm.h"
#include "shootdown.h"
#include "thread.h"
#include "vmm.h"

#include <ggmk/hal.h>

#define PAGE_FAULT 14u
#define SOME_PAGES 16u
#define SOME_BYTES (SOME_PAGES * VMM_PAGE)

static void (*report)(int good, const char *what);
static int failures;

static void check(bool good, const char *what)
{
    report(good, what);
    failures += !good;
}

/* ---- touching what may not be there ---------------------------------------------------------- */

typedef struct touch {
    volatile uint8_t *at;
    uint8_t value;
    enum { TOUCH_READ, TOUCH_WRITE, TOUCH_RUN } how;
} touch_t;

static void touch_now(void *arg)
{
    touch_t *t = arg;

    if (t->how == TOUCH_READ)
        t->value = *t->at;
    else if (t->how == TOUCH_WRITE)
        *t->at = t->value;
    else
        ((void (*)(void))(uintptr_t)t->at)();
}

/* Whether it is a page fault at this very address; *guard: reported as a guard page. */
static bool faults_at(const volatile void *p, int how, bool *guard)
{
    touch_t t = {.at = (volatile uint8_t *)(uintptr_t)p, .how = how};
    thread_fault_t fault = {.vector = 0};
    const volatile uint32_t depth = 0;
    bool fell = !thread_guarded(touch_now, &t, &depth, &fault);

    *guard = fell && fault.stack_overflow;
    return fell && fault.vector == PAGE_FAULT && fault.address == (uint64_t)(uintptr_t)p;
}

static bool faults(const volatile void *p, int how)
{
    bool guard;
    return faults_at(p, how, &guard) && !guard;
}

static bool is_guard(const volatile void *p)
{
    bool guard;
    return faults_at(p, TOUCH_READ, &guard) && guard && faults_at(p, TOUCH_WRITE, &guard) && guard;
}

/* ---- protection ------------------------------------------------------------------------------ */

static uint8_t some_data[16];
static const uint8_t some_constants[16] = {0xC3};

static void test_protection(void)
{
    const uint8_t *code = (const uint8_t *)text_begin;
    uint8_t *alias = phys_to_virt(vmm_phys(code));

    check(vmm_check_wx() == 0, "no page is writable and executable, and the lower half is empty");
    check(vmm_phys(NULL) == 0 && faults((void *)(uintptr_t)8, TOUCH_READ),
          "reading near a null pointer faults");
    check(faults((void *)(uintptr_t)0x7ffffffff000, TOUCH_WRITE), "writing to the lower half faults");
    check(faults(code, TOUCH_WRITE), "the code cannot be written");
    check(alias[0] == code[0] && faults(alias, TOUCH_WRITE), "nor through the direct mapping");
    check(faults(some_constants, TOUCH_WRITE), "constants cannot be written");
    check(faults(some_constants, TOUCH_RUN) && faults(some_data, TOUCH_RUN), "data cannot be executed");
}

/* ---- the heap -------------------------------------------------------------------------------- */

static bool all_zero(const uint8_t *p, size_t bytes)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < bytes; i++)
        sum |= p[i];
    return sum == 0;
}

static bool none_there(uint8_t *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += VMM_PAGE)
        if (vmm_phys(p + i) != 0)
            return false;
    return true;
}

static void test_demand(void)
{
    uint8_t *p = vmm_alloc(SOME_BYTES, VMM_DEMAND | VMM_GUARD);

    check(p != NULL && none_there(p, SOME_BYTES), "demand-paged memory costs nothing before it is touched");
    if (!p)
        return;
    p[5 * VMM_PAGE + 7] = 42;
    check(vmm_phys(p + 5 * VMM_PAGE) != 0 && none_there(p, 5 * VMM_PAGE), "a touch supplies one page");
    check(p[5 * VMM_PAGE + 7] == 42, "which keeps what was written");
    p[5 * VMM_PAGE + 7] = 0;
    check(all_zero(p, SOME_BYTES), "pages appear zeroed");
    check(is_guard(p - 1) && is_guard(p + SOME_BYTES),
          "guard pages on both sides fault and are known as such");
    vmm_free(p, SOME_BYTES);
    check(none_there(p, SOME_BYTES) && faults(p + 5 * VMM_PAGE, TOUCH_READ), "freed memory faults");
}

static void test_limits(void)
{
    check(!vmm_alloc(0, VMM_RW) && !vmm_alloc((size_t)129 << 20, VMM_DEMAND) && !vmm_alloc(SIZE_MAX, VMM_RW),
          "the heap refuses what it cannot hold");
    check(pmm_alloc(0, 1) == 0 && pmm_alloc(UINT64_MAX, 1) == 0 && pmm_alloc(1, 3) == 0,
          "so does physical memory");
    check(!vmm_stack_alloc(0) && !vmm_stack_alloc((size_t)1 << 30), "so do the stacks");
}

extern const char boot_stack[]; /* entry.S */

static void test_stack(void)
{
    uint8_t *top = vmm_stack_alloc(SOME_BYTES);

    check(top && all_zero(top - SOME_BYTES, SOME_BYTES), "a stack is there and zeroed");
    if (!top)
        return;
    check(is_guard(boot_stack), "below the boot stack lies a guard page");
    check(is_guard(top - SOME_BYTES - 1), "below a stack lies a guard page");
    vmm_stack_free(top, SOME_BYTES);
    check(faults(top - 1, TOUCH_WRITE) && !vmm_is_guard((uint64_t)(uintptr_t)top - SOME_BYTES - 1),
          "a freed stack and its guard page are gone");
}

/* ---- devices --------------------------------------------------------------------------------- */

/* The entry of a mapping of a physical range where nothing is; it is never touched. */
static uint64_t entry_of(uint64_t bytes, enum vmm_cache cache)
{
    uint64_t phys = paging_phys_limit() - bytes;
    uint8_t *p = vmm_map_device(phys + 5, bytes - 5, cache);
    uint64_t entry = p ? vmm_entry(p) : 0;

    if (p && (vmm_phys(p) != phys + 5 || vmm_phys(p + bytes - 6) != phys + bytes - 1))
        entry = 0;
    if (p)
        vmm_unmap_device(p, bytes - 5);
    if (p && vmm_phys(p) != 0)
        entry = 0;
    return entry;
}

#define CACHE_BITS (PTE_PWT | PTE_PCD | PTE_PAT)

static void test_devices(void)
{
    vmm_stats_t before, after;
    vmm_stats(&before);
    uint64_t uc = entry_of(8192, VMM_UC), wc = entry_of(8192, VMM_WC), wb = entry_of(8192, VMM_WB);
    uint64_t large = entry_of((uint64_t)8 << 20, VMM_UC), both = PTE_WRITE | PTE_NX;

    check((uc & both) == both && (wc & both) == both && (wb & both) == both && (large & both) == both,
          "device memory is mapped writable and not executable");
    check((uc & CACHE_BITS) == (PTE_PCD | PTE_PWT), "registers are mapped uncached");
    check((wc & CACHE_BITS) == (PTE_PAT | PTE_PWT), "frame buffers are mapped write-combining");
    check(wb != 0 && (wb & CACHE_BITS) == 0, "shared memory is mapped write-back");
    check((large & PTE_LARGE) && (large & (PTE_PCD | PTE_PWT)) == PTE_UC, "large ranges get large pages");
    check(!vmm_map_device(vmm_phys(some_data), 16, VMM_UC), "memory is not mapped uncached");
    check(!vmm_map_device(0xfee00000, 0, VMM_UC) && !vmm_map_device(UINT64_MAX - 5, 100, VMM_UC) &&
              !vmm_map_device(paging_phys_limit() - 5, 6, VMM_UC),
          "ranges that are empty, wrap or are beyond the CPU's reach are refused");
    vmm_stats(&after);
    check(before.device_maps == after.device_maps && before.device_used == after.device_used,
          "and all of it was given back");
}

/* ---- every CPU ------------------------------------------------------------------------------- */

typedef struct together {
    volatile uint8_t *page;
    gmk_a32_t read, freed, saw;
} together_t;

static void wait_for(const gmk_a32_t *word, uint32_t value)
{
    while (gmk_load32(word, GMK_ACQ, GMK_KERNEL) != value)
        thread_sleep_ns(100000);
}

/* Reads the page so that its translation is in this CPU's TLB, and again when it has been freed. */
static void read_twice(void *arg)
{
    together_t *t = arg;
    uint8_t before = *t->page;

    gmk_add32(&t->read, 1, GMK_ACQ_REL, GMK_KERNEL);
    wait_for(&t->freed, 1);
    if (before == 42 && faults(t->page, TOUCH_READ))
        gmk_add32(&t->saw, 1, GMK_ACQ_REL, GMK_KERNEL);
}

/* Runs fn(arg) in a thread on each CPU, calls meanwhile(arg) here, waits; the number of threads. */
static uint32_t on_each_cpu(void (*fn)(void *), void (*meanwhile)(void *arg, uint32_t threads), void *arg)
{
    static thread_t *threads[CPU_MAX];
    uint32_t n = cpu_count(), started = 0;

    for (uint32_t i = 0; i < n; i++) {
        threads[started] = thread_start("selftest", i, fn, arg);
        started += threads[started] != NULL;
    }
    meanwhile(arg, started);
    for (uint32_t i = 0; i < started; i++)
        thread_join(threads[i]);
    return started;
}

static void free_when_read(void *arg, uint32_t threads)
{
    together_t *t = arg;

    wait_for(&t->read, threads);
    vmm_free((void *)(uintptr_t)t->page, VMM_PAGE);
    gmk_store32(&t->freed, 1, GMK_REL, GMK_KERNEL);
}

static void test_unmap_everywhere(void)
{
    together_t t = {.page = vmm_alloc(VMM_PAGE, VMM_RW)};
    uint32_t n = cpu_count(), taking_part = 0;

    for (uint32_t i = 0; i < CPU_MAX; i++)
        taking_part += shootdown_takes_part(i);
    check(taking_part == n, "every CPU that is online takes part in shoot-downs");
    check(t.page != NULL, "a page to share");
    if (!t.page)
        return;
    *t.page = 42;
    check(on_each_cpu(read_twice, free_when_read, &t) == n && t.saw.v == n,
          "what one CPU unmaps is gone on all others");
}

/* Of all CPUs together: each round is answered by all, and an emulator may have two processors for them. */
#define ROUNDS 96u
#define ROUNDS_EACH_MOST 24u

typedef struct storm {
    gmk_a32_t wrong, done;
} storm_t;

/* With interrupts off a CPU can answer the others only where it polls. */
static void free_somehow(void *p, size_t bytes, bool interrupts_off)
{
    uint64_t flags = interrupts_off ? irq_save() : 0;

    vmm_free(p, bytes);
    irq_restore(flags);
}

/* Everybody unmaps at the same time.  A page that came back too early would show another one's mark. */
static void map_and_unmap(void *arg)
{
    storm_t *s = arg;
    uint64_t mark = cpu_this()->index + 1;
    uint32_t rounds = ROUNDS / cpu_count() + 1;

    for (uint32_t i = 0; i < rounds && i < ROUNDS_EACH_MOST; i++) {
        size_t bytes = (1 + i % 5) * VMM_PAGE;
        volatile uint64_t *p = vmm_alloc(bytes, i % 2 ? VMM_DEMAND : VMM_RW);
        bool good = p && *p == 0;
        for (size_t w = 0; good && w < bytes / 8; w += VMM_PAGE / 16)
            p[w] = mark;
        for (size_t w = 0; good && w < bytes / 8; w += VMM_PAGE / 16)
            good = p[w] == mark;
        gmk_add32(&s->wrong, !good, GMK_RLX, GMK_KERNEL);
        free_somehow((void *)(uintptr_t)p, p ? bytes : 0, i % 8 == 7);
    }
    gmk_add32(&s->done, 1, GMK_ACQ_REL, GMK_KERNEL);
}

static void wait_for_storm(void *arg, uint32_t threads)
{
    storm_t *s = arg;
    wait_for(&s->done, threads);
}

static void test_unmap_at_once(void)
{
    storm_t s = {.wrong = {0}};
    uint32_t n = on_each_cpu(map_and_unmap, wait_for_storm, &s);

    check(n == cpu_count() && s.wrong.v == 0, "all CPUs map, write, read back and unmap at the same time");
}

/* ---- nothing lost ---------------------------------------------------------------------------- */

#define HELD 128u

static uint64_t dice_state = 88172645463325252u;

static uint32_t dice(uint32_t sides)
{
    dice_state ^= dice_state << 13;
    dice_state ^= dice_state >> 7;
    dice_state ^= dice_state << 17;
    return (uint32_t)(dice_state >> 33) % sides;
}

/* Free frames, and those that page tables took for good. */
static uint64_t accounted_for(void)
{
    pmm_stats_t p;
    vmm_stats_t v;

    pmm_stats(&p);
    vmm_stats(&v);
    return p.free + v.tables;
}

typedef struct held {
    void *p; /* NULL = nothing */
    uint32_t n;
} held_t;

/* The first word of each page says who has it. */
static void mark(const held_t *h, uint32_t pages)
{
    for (uint32_t i = 0; i < pages; i++)
        *(volatile uint64_t *)((uint8_t *)h->p + (size_t)i * VMM_PAGE) = (uint64_t)(uintptr_t)h;
}

static bool marked(const held_t *h, uint32_t pages, uint64_t with)
{
    for (uint32_t i = 0; i < pages; i++)
        if (*(volatile uint64_t *)((uint8_t *)h->p + (size_t)i * VMM_PAGE) != with)
            return false;
    return true;
}

/* False when a frame that somebody has was given to somebody else. */
static bool give_frames(held_t *h)
{
    bool mine = !h->p || marked(h, h->n, (uint64_t)(uintptr_t)h);

    if (h->p)
        pmm_free(virt_to_phys(h->p), h->n);
    h->p = NULL;
    return mine;
}

static void take_frames(held_t *h)
{
    uint64_t phys;

    h->n = 1 + dice(32);
    phys = pmm_alloc(h->n, (uint64_t)1 << dice(5));
    h->p = phys ? phys_to_virt(phys) : NULL;
    if (h->p)
        mark(h, h->n);
}

static bool frames_at_random(void)
{
    static held_t held[HELD];
    bool good = true;

    for (uint32_t i = 0; i < 10000; i++) {
        held_t *h = &held[dice(HELD)];
        if (h->p)
            good &= give_frames(h);
        else
            take_frames(h);
    }
    for (uint32_t i = 0; i < HELD; i++)
        good &= give_frames(&held[i]);
    return good;
}

static uint32_t pages_of(const held_t *h) { return (h->n + VMM_PAGE - 1) / VMM_PAGE; }

static bool give_pages(held_t *h)
{
    bool mine = !h->p || marked(h, pages_of(h), (uint64_t)(uintptr_t)h);

    if (h->p)
        vmm_free(h->p, h->n);
    h->p = NULL;
    return mine;
}

/* The frames were somebody's before, and have marks in them: false when such a mark is still there. */
static bool take_pages(held_t *h)
{
    bool zeroed;

    h->n = 1 + dice(5 * VMM_PAGE);
    h->p = vmm_alloc(h->n, dice(4));
    zeroed = !h->p || marked(h, pages_of(h), 0);
    if (h->p)
        mark(h, pages_of(h));
    return zeroed;
}

static bool pages_at_random(void)
{
    static held_t held[HELD];
    bool good = true;

    for (uint32_t i = 0; i < 1000; i++) {
        held_t *h = &held[dice(HELD)];
        good &= h->p ? give_pages(h) : take_pages(h);
    }
    for (uint32_t i = 0; i < HELD; i++)
        good &= give_pages(&held[i]);
    return good;
}

static void test_nothing_lost(void)
{
    vmm_stats_t before, after;
    uint64_t frames = accounted_for();

    check(frames_at_random(), "of 10,000 random allocations of frames none overlap");
    check(accounted_for() == frames, "and none are lost");
    vmm_stats(&before);
    check(pages_at_random(), "of 1,000 random allocations of pages none overlap, and all are zeroed");
    vmm_stats(&after);
    check(accounted_for() == frames && after.heap_used == before.heap_used,
          "and neither memory nor addresses are lost");
}

int selftest_mem(void (*ok)(int good, const char *what))
{
    static void (*const tests[])(void) = {test_protection,    test_demand,      test_limits,
                                          test_stack,         test_devices,     test_unmap_everywhere,
                                          test_unmap_at_once, test_nothing_lost};

    report = ok;
    failures = 0;
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tests[i]();
    return failures;
}
