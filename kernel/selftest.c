/* SPDX-License-Identifier: MIT */
/* selftest.c — the groups, and TAP around them. */
#include "kernel/selftest.h"

#include "drivers/selftest_dev.h"
#include "kprintf.h"
#include "power.h"
#include "selftest_cpu.h"
#include "selftest_mem.h"
#include "string.h"

#include <stddef.h>

#define EXIT_PASSED 0x10u
#define EXIT_FAILED 0x11u

int selftest_platform(selftest_ok_fn ok); /* arch/x86_64/selftest_platform.c */

static const struct group {
    const char *name;
    selftest_fn run;
} groups[] = {
    {"cpu", selftest_cpu}, {"mem", selftest_mem},   {"platform", selftest_platform},
    {"dev", selftest_dev}, {"core", selftest_core},
};

static int number, failed;

static void ok(int good, const char *what)
{
    kprintf("%sok %d - %s\n", good ? "" : "not ", ++number, what);
    failed += !good;
}

int selftest_run(const char *group)
{
    bool found = false;

    number = failed = 0;
    for (uint32_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        if (group && strcmp(group, groups[i].name) != 0)
            continue;
        found = true;
        kprintf("# %s\n", groups[i].name);
        (void)groups[i].run(ok);
    }
    if (!found)
        return -1;
    kprintf("1..%d\n", number);
    kprintf("# %d of %d failed\n", failed, number);
    return failed;
}

_Noreturn void selftest_and_exit(void)
{
    power_debug_exit(selftest_run(NULL) == 0 ? EXIT_PASSED : EXIT_FAILED);
    power_off();
}
