/* SPDX-License-Identifier: MIT */
/* selftest_cpu.c — the kernel's checks of its own memory routines, formatting, locks, interrupts, symbols. */
#include "selftest_cpu.h"

#include "apic.h"
#include "clock.h"
#include "cpu.h"
#include "kprintf.h"
#include "panic.h"
#include "string.h"

#include <ggmk/error.h>

static void (*say)(int good, const char *what);
static int failed;

void selftest_check(bool good, const char *what)
{
    failed += !good;
    say(good, what);
}

bool selftest_on_cpu(uint32_t cpu, void (*fn)(void *), void *arg)
{
    thread_t *t = thread_start("selftest", cpu, fn, arg);
    if (t != NULL)
        thread_join(t);
    return t != NULL;
}

bool selftest_on_all(void (*fn)(void *), void *arg)
{
    static thread_t *threads[CPU_MAX];
    bool all = true;
    uint32_t n = cpu_count();
    for (uint32_t i = 0; i < n; i++)
        all &= (threads[i] = thread_start("selftest", i, fn, arg)) != NULL;
    for (uint32_t i = 0; i < n; i++)
        if (threads[i] != NULL)
            thread_join(threads[i]);
    return all;
}

/* ---- memory routines: each size and alignment against a byte by byte model -------------------- */

#define AREA 160u
#define SIZES 80u
#define EDGE 32u

static uint8_t area[AREA], model[AREA], source[AREA];

static void fill_areas(uint8_t salt)
{
    for (uint32_t i = 0; i < AREA; i++) {
        area[i] = model[i] = (uint8_t)(i * 7 + salt);
        source[i] = (uint8_t)(i * 13 + salt + 1);
    }
}

static bool areas_equal(void)
{
    for (uint32_t i = 0; i < AREA; i++)
        if (area[i] != model[i])
            return false;
    return true;
}

static void model_move(uint32_t to, uint32_t from, uint32_t n)
{
    uint8_t held[AREA];
    for (uint32_t i = 0; i < n; i++)
        held[i] = model[from + i];
    for (uint32_t i = 0; i < n; i++)
        model[to + i] = held[i];
}

static bool copies(uint32_t to, uint32_t from, uint32_t n)
{
    fill_areas((uint8_t)n);
    for (uint32_t i = 0; i < n; i++)
        model[EDGE + to + i] = source[from + i];
    return memcpy(area + EDGE + to, source + from, n) == area + EDGE + to && areas_equal();
}

static bool moves(uint32_t to, uint32_t from, uint32_t n)
{
    fill_areas((uint8_t)n);
    model_move(to, from, n);
    return memmove(area + to, area + from, n) == area + to && areas_equal();
}

static bool sets(uint32_t to, uint32_t n)
{
    fill_areas((uint8_t)n);
    for (uint32_t i = 0; i < n; i++)
        model[EDGE + to + i] = 0xA7;
    return memset(area + EDGE + to, 0x1A7, n) == area + EDGE + to && areas_equal();
}

/* Differs in one byte: the sign must be that byte's, whatever follows. */
static bool compares(uint32_t n)
{
    bool good = true;
    for (uint32_t at = 0; at < n; at++) {
        fill_areas(3);
        memcpy(source, area, AREA);
        good &= memcmp(area, source, n) == 0;
        source[at] = (uint8_t)(area[at] ^ 0x80);
        good &= (memcmp(area, source, n) < 0) == (area[at] < source[at]) && memcmp(area, source, at) == 0;
    }
    return good;
}

static void check_memory_routines(void)
{
    bool copy = true, move = true, set = true, compare = true;
    for (uint32_t n = 0; n < SIZES; n++) {
        for (uint32_t to = 0; to < 9; to++) {
            set &= sets(to, n);
            copy &= copies(to, 8 - to, n) && copies(to, 0, n);
        }
        for (uint32_t d = 0; d < 34; d++)
            move &= moves(EDGE + d, EDGE, n) && moves(EDGE, EDGE + d, n);
        compare &= compares(n);
    }
    selftest_check(copy, "memcpy: every size to 80, every alignment");
    selftest_check(move, "memmove: overlaps by every distance, both ways");
    selftest_check(set, "memset: every size to 80, every alignment");
    selftest_check(compare, "memcmp: a difference at every place");
}

static void check_strings(void)
{
    char to[4];
    selftest_check(strlen("") == 0 && strlen("abc") == 3 && strnlen("abc", 2) == 2, "strlen, strnlen");
    selftest_check(strcmp("abc", "abd") < 0 && strcmp("b", "a") > 0 && strcmp("a", "a") == 0 &&
                       strcmp("a", "ab") < 0 && strcmp("\xff", "a") > 0 && strncmp("abc", "abd", 2) == 0,
                   "strcmp, strncmp");
    selftest_check(*strchr("abc", 'b') == 'b' && *strchr("abc", '\0') == '\0' && strchr("abc", 'x') == NULL,
                   "strchr");
    selftest_check(strlcpy(to, "abcdef", sizeof to) == 6 && strcmp(to, "abc") == 0, "strlcpy cuts");
}

/* ---- formatting ------------------------------------------------------------------------------- */

static bool says(const char *expected, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool says(const char *expected, const char *fmt, ...)
{
    char text[64];
    va_list ap;
    va_start(ap, fmt);
    int n = kvsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return strcmp(text, expected) == 0 && (size_t)n == strlen(expected);
}

static void check_formatting(void)
{
    char text[8];
    selftest_check(says("-5|7|4294967295|-9223372036854775808", "%d|%u|%u|%lld", -5, 7u, 0xffffffffu,
                        (long long)INT64_MIN),
                   "kprintf: numbers");
    selftest_check(
        says("  42|42  |0042|-042|00ff|FF", "%4d|%-4d|%04d|%04d|%04x|%X", 42, 42, 42, -42, 255u, 255u),
        "kprintf: widths");
    selftest_check(says("a|  ab|ab  |ab|%|0x0000000000001000", "%c|%4s|%-4s|%.2s|%%|%p", 'a', "ab", "ab",
                        "abcd", (void *)0x1000),
                   "kprintf: texts");
    selftest_check(ksnprintf(text, sizeof text, "%s", "0123456789") == 10 && strcmp(text, "0123456") == 0 &&
                       ksnprintf(NULL, 0, "abc") == 3,
                   "kprintf: cut to the room there is");
}

/* ---- spinlocks -------------------------------------------------------------------------------- */

#define LOCK_ROUNDS 2000u

static spinlock_t lock = SPINLOCK_INIT;
static volatile uint64_t counted;
static gmk_a32_t flags_wrong;

static void count_under_lock(void *unused)
{
    (void)unused;
    for (uint32_t i = 0; i < LOCK_ROUNDS; i++) {
        uint64_t flags = spin_lock(&lock);
        bool off = (read_flags() & RFLAGS_IF) == 0;
        counted = counted + 1;
        spin_unlock(&lock, flags);
        if (!off || (read_flags() & RFLAGS_IF) == 0)
            (void)gmk_add32(&flags_wrong, 1, GMK_RLX, GMK_KERNEL);
    }
}

static void check_spinlock(void)
{
    counted = 0;
    bool ran = selftest_on_all(count_under_lock, NULL);
    selftest_check(ran && counted == (uint64_t)LOCK_ROUNDS * cpu_count(),
                   "a spinlock admits one CPU at a time");
    selftest_check(flags_wrong.v == 0, "it turns interrupts off, and back on");
    irq_disable();
    spin_unlock(&lock, spin_lock(&lock));
    bool off = (read_flags() & RFLAGS_IF) == 0;
    irq_enable();
    selftest_check(off, "it leaves them off where they were off");
}

/* ---- interrupts ------------------------------------------------------------------------------- */

static gmk_a32_t bottoms, bottoms_elsewhere;

static void bottom(void *arg)
{
    const cpu_t *c = arg;
    if (cpu_this() != c || thread_self() != c->irq_thread)
        (void)gmk_add32(&bottoms_elsewhere, 1, GMK_RLX, GMK_KERNEL);
    (void)gmk_add32(&bottoms, 1, GMK_REL, GMK_KERNEL);
}

static bool reaches(const gmk_a32_t *word, uint32_t n)
{
    uint64_t end = clock_now_ns() + 5 * SELFTEST_SECOND;
    while (gmk_load32(word, GMK_ACQ, GMK_KERNEL) != n && clock_now_ns() < end)
        thread_sleep_ns(100000);
    return gmk_load32(word, GMK_ACQ, GMK_KERNEL) == n;
}

static bool taken(uint32_t cpu, uint32_t vector, uint64_t n)
{
    uint64_t end = clock_now_ns() + 5 * SELFTEST_SECOND;
    while (irq_count(cpu, vector) != n && clock_now_ns() < end)
        thread_sleep_ns(100000);
    return irq_count(cpu, vector) == n;
}

/* Two interrupts by IPI on a freshly allocated vector, and one when it has been given back. */
static bool interrupts_arrive(uint32_t cpu, int (*get)(uint32_t, irq_fn, void *))
{
    cpu_t *c = cpu_at(cpu);
    bool good = true;
    bottoms.v = 0;
    int vector = get(cpu, bottom, c);
    if (vector < 0)
        return false;
    uint64_t before = irq_count(cpu, (uint32_t)vector);
    for (uint32_t i = 1; i <= 2; i++) {
        lapic_ipi(c->lapic_id, (uint32_t)vector);
        good &= reaches(&bottoms, i) && taken(cpu, (uint32_t)vector, before + i);
    }
    irq_unregister(cpu, (uint32_t)vector);
    lapic_ipi(c->lapic_id, (uint32_t)vector);
    return good && taken(cpu, (uint32_t)vector, before + 3) && bottoms.v == 2;
}

static bool vectors_run_out(void)
{
    static int taken[IRQ_VECTORS + 1];
    uint32_t n = 0;
    while (n <= IRQ_VECTORS && (taken[n] = irq_register(0, bottom, cpu_at(0))) >= 0)
        n++;
    bool good = n > 0 && n <= IRQ_VECTORS && taken[n] == GMK_ERR_LIMIT;
    while (n-- > 0)
        irq_unregister(0, (uint32_t)taken[n]);
    return good;
}

static void check_interrupts(void)
{
    bool good = true, line = true;
    for (uint32_t i = 0; i < cpu_count(); i++) {
        good &= interrupts_arrive(i, irq_register);
        line &= interrupts_arrive(i, irq_register_line);
    }
    selftest_check(good, "an interrupt runs its function once, and none after irq_unregister, on every CPU");
    selftest_check(line, "so does one that is acknowledged late");
    selftest_check(bottoms_elsewhere.v == 0, "in the interrupt thread of its CPU");
    selftest_check(vectors_run_out(), "vectors run out with GMK_ERR_LIMIT");
    selftest_check(irq_register(CPU_MAX, bottom, NULL) == GMK_ERR_NOTFOUND &&
                       irq_register(0, NULL, NULL) == GMK_ERR_INVAL,
                   "irq_register refuses a CPU that is not there, and no function");
}

/* ---- symbols ---------------------------------------------------------------------------------- */

static void check_symbols(void)
{
    uint64_t offset = 0, here = (uint64_t)(uintptr_t)selftest_cpu;
    const char *name = symbol_of(here + 1, &offset);
    selftest_check(name != NULL && strcmp(name, "selftest_cpu") == 0 && offset == 1,
                   "a function's name is found");
    selftest_check(symbol_of(0, &offset) == NULL && symbol_of((uint64_t)(uintptr_t)&lock, &offset) == NULL &&
                       symbol_of(UINT64_MAX, &offset) == NULL,
                   "no name is found outside of the code");
}

int selftest_cpu(void (*ok)(int good, const char *what))
{
    say = ok;
    failed = 0;
    check_memory_routines();
    check_strings();
    check_formatting();
    check_spinlock();
    check_interrupts();
    check_symbols();
    selftest_threads();
    selftest_faults();
    selftest_hal();
    return failed;
}
