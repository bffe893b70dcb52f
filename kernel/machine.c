/* SPDX-License-Identifier: MIT */
/* machine.c — boots the GGMK kernel of this machine on the memory that is there. */
#include "kernel/machine.h"

#include "kernel/inject.h"
#include "kernel/journal.h"
#include "kernel/text.h"

#include "boot_info.h"
#include "cpu.h"
#include "kprintf.h"
#include "panic.h"
#include "pmm.h"

#define MIB ((uint64_t)1 << 20)
#define ARENA_MOST (64 * MIB)
#define ARENA_LEAST (4 * MIB)
#define HALT_NS 5000000000u

static gmk_kernel_t kernel;

gmk_kernel_t *machine_core(void) { return &kernel; }

/* What arena= asks for, else 64 MiB or half of what is free; panics when that is too little. */
static uint64_t arena_bytes(void)
{
    pmm_stats_t memory;
    char text[TEXT_SHORT], left[TEXT_SHORT], asked[32];

    pmm_stats(&memory);
    uint64_t available = memory.free * 4096, size = available / 2 < ARENA_MOST ? available / 2 : ARENA_MOST;
    text_bytes(left, available);
    if (boot_option("arena", asked, sizeof(asked)) && (!parse_number(asked, &size) || size < ARENA_LEAST))
        panic("arena=%s: give a size of 4M or more, such as arena=32M", asked);
    if (size > available)
        panic("arena=%s: only %s of memory are free; ask for less, or give the machine more", asked, left);
    if (size < ARENA_LEAST)
        panic("too little memory: %s are free, GGMK needs %s; give the machine 16 MiB or more", left,
              text_bytes(text, 2 * ARENA_LEAST));
    return size & ~(2 * MIB - 1);
}

/* A trace that is to be sent is worth nothing without records. */
static uint32_t trace_level(void)
{
    char what[64];

    return boot_option("com2", what, sizeof(what)) && text_in_list(what, "trace") ? GMK_TRACE_ALL
                                                                                  : GMK_TRACE_DEFAULT;
}

void machine_start(void)
{
    static gmk_module_t *modules[] = {&journal_module, &inject_module};
    gmk_boot_cfg_t cfg = {.name = "cpu.0", .arena_size = arena_bytes(), .n_workers = cpu_count()};
    char text[TEXT_SHORT];

    cfg.flags = GMK_BOOT_PIN;
    cfg.n_types = MACHINE_TYPES;
    cfg.trace_level = trace_level();
    cfg.args = boot_info()->cmdline;
    int code = gmk_boot(&kernel, &cfg, modules, sizeof(modules) / sizeof(modules[0]));
    if (code != GMK_OK)
        panic(
            "cpu.0 does not boot on %s with %u CPUs: %s; give the machine more memory, or arena= more of it",
            text_bytes(text, cfg.arena_size), cfg.n_workers, gmk_strerror(code));
    kprintf("core: cpu.0, %u worker%s, arena %s\n", cfg.n_workers, cfg.n_workers == 1 ? "" : "s",
            text_bytes(text, cfg.arena_size));
}

void machine_stop(void)
{
    gmk_halt_report_t report = {0};
    int code = gmk_halt_within(&kernel, HALT_NS, &report);

    if (code == GMK_OK || code == GMK_ERR_BUSY)
        kprintf("core: halted; %lu completed, %lu failed, %lu dropped\n", report.completed, report.failed,
                report.dropped);
    if (code == GMK_ERR_BUSY)
        kprintf("core: %u worker%s still inside a handler (type %u) and left behind\n", report.zombies,
                report.zombies == 1 ? " is" : "s are", report.stuck_type);
    else if (code != GMK_OK)
        kprintf("core: not halted: %s\n", gmk_strerror(code));
}
