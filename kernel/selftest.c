/* SPDX-License-Identifier: MIT */
/* selftest.c — the groups, and TAP around them. */
#include "kernel/selftest.h"

#include "kernel/text.h"

#include "boot_info.h"
#include "drivers/selftest_dev.h"
#include "kprintf.h"
#include "power.h"
#include "selftest_cpu.h"
#include "selftest_mem.h"
#include "selftest_platform.h"

#include <stddef.h>

#define EXIT_PASSED 0x10u
#define EXIT_FAILED 0x11u

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

int selftest_run(const char *list)
{
    bool found = false;

    number = failed = 0;
    for (uint32_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        if (list && !text_in_list(list, groups[i].name))
            continue;
        found = true;
        kprintf("# %s\n", groups[i].name);
        (void)groups[i].run(ok);
    }
    if (!found) {
        kprintf("# no such group: %s\n", list);
        return -1;
    }
    kprintf("1..%d\n", number);
    kprintf("# %d of %d failed\n", failed, number);
    return failed;
}

_Noreturn void selftest_and_exit(void)
{
    char list[64];
    const char *groups_asked = boot_option("test", list, sizeof(list)) ? list : NULL;

    power_debug_exit(selftest_run(groups_asked) == 0 ? EXIT_PASSED : EXIT_FAILED);
    power_off();
}
