/* SPDX-License-Identifier: MIT */
/* journal.c — prints what sys.error and sys.dropped say, but never floods the console. */
#include "kernel/journal.h"

#include "kernel/machine.h"

#include "kprintf.h"

#include <ggmk/hal.h>

#define SECOND 1000000000u

/* The two handlers are ordered each, but may run at once: hence the atomics. */
static struct {
    gmk_a64_t second; /* the one that `lines` counts for */
    gmk_a32_t lines, left_out, quiet;
    gmk_a64_t failed, dropped;
} journal;

void journal_quiet(bool quiet) { gmk_store32(&journal.quiet, quiet, GMK_REL, GMK_KERNEL); }

void journal_counts(uint64_t *failed, uint64_t *dropped)
{
    *failed = gmk_load64(&journal.failed, GMK_RLX, GMK_KERNEL);
    *dropped = gmk_load64(&journal.dropped, GMK_RLX, GMK_KERNEL);
}

/* May another line be printed now?  Who comes first in a second says what the one before left out. */
static bool may_print(gmk_ctx_t *c)
{
    uint64_t now = gmk_now_ns(c) / SECOND, second = gmk_load64(&journal.second, GMK_RLX, GMK_KERNEL);

    if (gmk_load32(&journal.quiet, GMK_ACQ, GMK_KERNEL))
        return false;
    if (now != second && gmk_cas64(&journal.second, &second, now, GMK_RLX, GMK_KERNEL)) {
        uint32_t left_out = gmk_xchg32(&journal.left_out, 0, GMK_RLX, GMK_KERNEL);
        gmk_store32(&journal.lines, 0, GMK_RLX, GMK_KERNEL);
        if (left_out)
            kprintf("core: %u more records of failures and drops\n", left_out);
    }
    if (gmk_add32(&journal.lines, 1, GMK_RLX, GMK_KERNEL) < JOURNAL_LINES)
        return true;
    (void)gmk_add32(&journal.left_out, 1, GMK_RLX, GMK_KERNEL);
    return false;
}

static void print_record(gmk_ctx_t *c, const char *what)
{
    const gmk_task_t *t = c->task;
    uint32_t type = gmk_dead_type(t), n = gmk_dead_count(t);
    int code = gmk_dead_code(t);
    gmk_type_stats_t st;

    if (!may_print(c))
        return;
    if (gmk_type_stats(c->kernel, type, &st) != GMK_OK)
        (void)ksnprintf(st.name, sizeof(st.name), "type %u", type);
    kprintf("core: %u deliver%s of \"%s\" %s: %s (%d)\n", n, n == 1 ? "y" : "ies", st.name, what,
            gmk_strerror(code), code);
}

static int on_error(gmk_ctx_t *c)
{
    (void)gmk_add64(&journal.failed, gmk_dead_count(c->task), GMK_RLX, GMK_KERNEL);
    print_record(c, "failed");
    return GMK_OK;
}

static int on_dropped(gmk_ctx_t *c)
{
    (void)gmk_add64(&journal.dropped, gmk_dead_count(c->task), GMK_RLX, GMK_KERNEL);
    print_record(c, "dropped");
    return GMK_OK;
}

static int on_echo(gmk_ctx_t *c)
{
    kprintf("echo: message %u on worker %u: %lu (0x%lx) %lu (0x%lx)\n", c->task->seq, gmk_self_worker(c),
            c->task->meta0, c->task->meta0, c->task->meta1, c->task->meta1);
    return GMK_OK;
}

static const gmk_handler_reg_t handlers[] = {
    {.type = TYPE_ON_ERROR, .fn = on_error, .name = "journal.error"},
    {.type = TYPE_ON_DROPPED, .fn = on_dropped, .name = "journal.dropped"},
    {.type = TYPE_ECHO, .fn = on_echo, .name = "journal.echo"},
};

static const gmk_chan_decl_t channels[] = {
    {.name = "sys.error", .direction = GMK_CONSUMES, .handler = TYPE_ON_ERROR},
    {.name = "sys.dropped", .direction = GMK_CONSUMES, .handler = TYPE_ON_DROPPED},
    {.name = "machine.echo", .direction = GMK_CONSUMES, .handler = TYPE_ECHO, .slots = 64},
};

gmk_module_t journal_module = {
    .name = "journal",
    .version = 1,
    .handlers = handlers,
    .n_handlers = sizeof(handlers) / sizeof(handlers[0]),
    .channels = channels,
    .n_channels = sizeof(channels) / sizeof(channels[0]),
};
