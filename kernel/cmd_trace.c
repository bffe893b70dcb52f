/* SPDX-License-Identifier: MIT */
/* cmd_trace.c — trace: what the core records, and sending it. */
#include "kernel/com2.h"
#include "kernel/machine.h"
#include "kernel/monitor.h"
#include "kernel/text.h"

#include "kprintf.h"
#include "string.h"

static const char *const levels[] = {
    [GMK_TRACE_OFF] = "off",   [GMK_TRACE_ERROR] = "error", [GMK_TRACE_WARN] = "warn",
    [GMK_TRACE_INFO] = "info", [GMK_TRACE_ALL] = "all",
};
static const char *level_now; /* last set for every module; NULL: that of the boot */

static int level_named(const char *name)
{
    int level = GMK_TRACE_OFF;

    while (level <= GMK_TRACE_ALL && strcmp(levels[level], name) != 0)
        level++;
    return level;
}

static bool send_trace(void)
{
    uint64_t bytes = 0;
    char size[TEXT_SHORT];
    int code = com2_send_trace(&bytes);

    if (code == GMK_OK)
        kprintf("sent the trace, %s\n", text_bytes(size, bytes));
    return report_code(code == GMK_ERR_NOTFOUND ? "no second serial port" : "trace", code);
}

static bool set_sample(int argc, char **argv)
{
    uint64_t n = 0;

    if (argc != 3)
        return wrong("one in how many?", "trace every");
    if (!number_argument(argc, argv, 2, UINT32_MAX, &n))
        return false;
    return n ? report_code("trace", gmk_trace_sample(machine_core(), (uint32_t)n))
             : wrong("at least 1", argv[2]);
}

static bool set_level(int argc, char **argv)
{
    const char *module = argc > 2 ? argv[2] : NULL;
    int level = level_named(argv[1]);

    if (level > GMK_TRACE_ALL)
        return wrong("no such level (off error warn info all)", argv[1]);
    int code = gmk_trace_level(machine_core(), module, level);
    if (code == GMK_ERR_NOTFOUND)
        return wrong("no such module (mod lists them)", module ? module : "");
    if (code == GMK_OK && !module)
        level_now = levels[level];
    return report_code("trace", code);
}

bool cmd_trace(int argc, char **argv)
{
    if (argc > 3)
        return wrong("too many words", argv[3]);
    if (argc == 1) {
        kprintf("level %s; each worker keeps its last events in a ring\n",
                level_now ? level_now : "as at the boot");
        kprintf("levels: off, error (failures, faults, stalls), warn, info (modules' own),\n"
                "        all (every task)\n");
        return true;
    }
    if (strcmp(argv[1], "send") == 0)
        return argc == 2 ? send_trace() : wrong("too many words", argv[2]);
    return strcmp(argv[1], "every") == 0 ? set_sample(argc, argv) : set_level(argc, argv);
}
