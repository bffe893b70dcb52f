/* SPDX-License-Identifier: MIT */
/* inject.c — handlers that fault, hang, or fault on every CPU at once; and faults outside of handlers. */
#include "kernel/inject.h"

#include "kernel/machine.h"

#include "cpu.h"
#include "kprintf.h"
#include "panic.h"
#include "string.h"

#include <ggmk/hal.h>

enum { DIVIDE, PAGE, STACK, UD, HANG, EVERYWHERE, HANDLERS, DOUBLE = HANDLERS, PANIC, KINDS };

static const inject_kind_t kinds[KINDS] = {
    [DIVIDE] = {"divide", "a handler divides by zero", false},
    [PAGE] = {"page", "a handler reads where nothing is mapped", false},
    [STACK] = {"stack", "a handler recurses without end", false},
    [UD] = {"ud", "a handler runs an undefined instruction", false},
    [HANG] = {"hang", "a handler does not return until `fault release`", false},
    [EVERYWHERE] = {"everywhere", "a handler divides by zero on every CPU at once", false},
    [DOUBLE] = {"double", "a double fault, outside of any handler", true},
    [PANIC] = {"panic", "a panic, outside of any handler", true},
};

#define MEET_NS 20000000000u /* how long the handlers on all CPUs wait for each other, at most */
#define PER_CHANNEL GMK_MAX_SUBS

static gmk_a32_t hanging, released, expected, arrived;
static volatile uint32_t zero;

const inject_kind_t *inject_kinds(uint32_t *n)
{
    *n = KINDS;
    return kinds;
}

/* ---- what handlers do wrong --------------------------------------------------------------- */

/* In assembly: a compiler may do with an undefined division what it likes. */
static void divide_by_zero(void) { __asm__ volatile("divl %0" : : "r"(zero), "a"(1), "d"(0) : "cc"); }

static int on_divide(gmk_ctx_t *c)
{
    (void)c;
    divide_by_zero();
    return GMK_OK;
}

static int on_page(gmk_ctx_t *c)
{
    uint32_t v;

    __asm__ volatile("movl (%1), %0" : "=r"(v) : "r"((uint64_t)0x1000) : "memory");
    return c->task->meta0 == v ? GMK_FAIL(0) : GMK_OK;
}

static uint32_t recurse(volatile uint32_t *up);
static uint32_t (*volatile again)(volatile uint32_t *) =
    recurse; /* a compiler would see through a plain call */

static uint32_t recurse(volatile uint32_t *up)
{
    volatile uint32_t here[64];

    here[0] = *up + 1;
    return again(here) + here[0];
}

static int on_stack(gmk_ctx_t *c)
{
    volatile uint32_t start = (uint32_t)c->task->meta0;

    return recurse(&start) ? GMK_OK : GMK_FAIL(0);
}

static int on_ud(gmk_ctx_t *c)
{
    (void)c;
    __asm__ volatile("ud2");
    return GMK_OK;
}

static int on_hang(gmk_ctx_t *c)
{
    uint32_t turn = gmk_load32(&released, GMK_ACQ, GMK_KERNEL);

    (void)c;
    (void)gmk_add32(&hanging, 1, GMK_RLX, GMK_KERNEL);
    while (gmk_load32(&released, GMK_ACQ, GMK_KERNEL) == turn)
        cpu_pause();
    (void)gmk_sub32(&hanging, 1, GMK_RLX, GMK_KERNEL);
    return GMK_OK;
}

/* Waits, for a bounded time, until the handlers on all CPUs are here. */
static int on_everywhere(gmk_ctx_t *c)
{
    uint64_t until = gmk_now_ns(c) + MEET_NS;

    (void)gmk_add32(&arrived, 1, GMK_ACQ_REL, GMK_KERNEL);
    while (gmk_load32(&arrived, GMK_ACQ, GMK_KERNEL) < gmk_load32(&expected, GMK_RLX, GMK_KERNEL) &&
           gmk_now_ns(c) < until)
        cpu_pause();
    divide_by_zero();
    return GMK_OK;
}

static const gmk_handler_reg_t handlers[HANDLERS] = {
    {.type = TYPE_INJECT + DIVIDE, .fn = on_divide, .name = "fault.divide"},
    {.type = TYPE_INJECT + PAGE, .fn = on_page, .name = "fault.page"},
    {.type = TYPE_INJECT + STACK, .fn = on_stack, .name = "fault.stack"},
    {.type = TYPE_INJECT + UD, .fn = on_ud, .name = "fault.ud"},
    {.type = TYPE_INJECT + HANG, .fn = on_hang, .name = "fault.hang"},
    {.type = TYPE_INJECT + EVERYWHERE, .fn = on_everywhere, .name = "fault.everywhere"},
};

gmk_module_t inject_module = {.name = "inject", .version = 1, .handlers = handlers, .n_handlers = HANDLERS};

/* ---- injecting ---------------------------------------------------------------------------- */

static void channel_name(char name[GMK_NAME_MAX + 1], uint32_t group)
{
    (void)ksnprintf(name, GMK_NAME_MAX + 1, "fault.everywhere.%u", group);
}

/* A fan-out channel whose subscriptions are pinned to the workers of a group; one message to each. */
static int open_group(gmk_ctx_t *c, uint32_t group, uint32_t workers)
{
    char name[GMK_NAME_MAX + 1];
    const gmk_chan_cfg_t cfg = {.name = name, .mode = GMK_FANOUT, .slots = 16};
    uint32_t first = group * PER_CHANNEL, end = first + PER_CHANNEL < workers ? first + PER_CHANNEL : workers;
    gmk_chan_t ch;

    channel_name(name, group);
    int code = gmk_chan_open(c, &cfg, &ch);
    for (uint32_t w = first; w < end && code == GMK_OK; w++) {
        gmk_sub_cfg_t sub = {.handler = TYPE_INJECT + EVERYWHERE, .pinned = 1, .worker = w};
        code = gmk_chan_sub(c, ch, &sub, NULL);
    }
    return code;
}

static int emit_to_group(gmk_ctx_t *c, uint32_t group, bool close)
{
    char name[GMK_NAME_MAX + 1];
    const gmk_task_t t = {.flags = GMK_PRIO_0};
    gmk_chan_t ch;

    channel_name(name, group);
    int code = gmk_chan_find(c, name, &ch);
    if (code != GMK_OK)
        return code;
    if (!close)
        return gmk_chan_emit(c, ch, &t);
    code = gmk_chan_close(c, ch);
    return code == GMK_OK ? gmk_wait_closed(c, ch, MEET_NS) : code;
}

/* One handler on each CPU, all at once.  A channel has 32 subscriptions, so many CPUs take several. */
static int everywhere(void)
{
    uint32_t workers = cpu_count(), groups = (workers + PER_CHANNEL - 1) / PER_CHANNEL;
    gmk_port_t port;
    int code = gmk_attach(machine_core(), &port);

    if (code != GMK_OK)
        return code;
    gmk_ctx_t *c = gmk_port_ctx(&port);
    gmk_store32(&arrived, 0, GMK_RLX, GMK_KERNEL);
    gmk_store32(&expected, workers, GMK_REL, GMK_KERNEL);
    for (uint32_t g = 0; g < groups && code == GMK_OK; g++)
        code = open_group(c, g, workers);
    for (uint32_t g = 0; g < groups && code == GMK_OK; g++)
        code = emit_to_group(c, g, false);
    if (code == GMK_OK)
        code = gmk_drain(machine_core(), 2 * (uint64_t)MEET_NS);
    for (uint32_t g = 0; g < groups; g++)
        (void)emit_to_group(c, g, true);
    gmk_detach(&port);
    return code;
}

/* Intel SDM 3A §6.15: an exception whose gate is not present, and whose #NP gate is not either, is a #DF. */
static void double_fault(void)
{
    static struct gate {
        uint16_t words[8];
    } gates[32];
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } table;

    irq_disable();
    __asm__ volatile("sidt %0" : "=m"(table));
    memcpy(gates, (const void *)table.base, sizeof(gates));
    for (uint32_t v = 0; v < 32; v++)
        if (v != 2 && v != 8)
            gates[v].words[2] &= 0x7fff; /* P */
    table.base = (uint64_t)gates;
    table.limit = sizeof(gates) - 1;
    __asm__ volatile("lidt %0; ud2" : : "m"(table));
}

static uint32_t kind_of(const char *name)
{
    uint32_t k = 0;

    while (k < KINDS && strcmp(kinds[k].name, name) != 0)
        k++;
    return k;
}

uint32_t inject_type(const char *kind)
{
    uint32_t k = kind_of(kind);

    return k < HANDLERS ? TYPE_INJECT + k : 0;
}

int inject(const char *kind)
{
    uint32_t k = kind_of(kind);
    gmk_task_t t = {.type = TYPE_INJECT + k};

    if (k == KINDS)
        return GMK_ERR_NOTFOUND;
    if (k == DOUBLE)
        double_fault();
    if (k == PANIC)
        panic("a panic, as asked for");
    (void)gmk_type_reset(machine_core(), t.type); /* or enough of them would poison it */
    return k == EVERYWHERE ? everywhere() : gmk_submit(machine_core(), &t);
}

uint32_t inject_release(void)
{
    uint32_t n = gmk_load32(&hanging, GMK_RLX, GMK_KERNEL);

    (void)gmk_add32(&released, 1, GMK_REL, GMK_KERNEL);
    return n;
}
