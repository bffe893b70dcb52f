/* SPDX-License-Identifier: MIT */
/* cmd_power.c — test, fault, reboot, halt: commands that do something to the machine. */
#include "kernel/inject.h"
#include "kernel/machine.h"
#include "kernel/monitor.h"
#include "kernel/selftest.h"

#include "kprintf.h"
#include "power.h"
#include "string.h"

bool cmd_test(int argc, char **argv)
{
    if (argc > 2)
        return wrong("one group at a time", argv[2]);
    int failed = selftest_run(argc > 1 ? argv[1] : NULL);
    return failed >= 0 || wrong("no such group", argv[1]);
}

static void list_kinds(void)
{
    uint32_t n;
    const inject_kind_t *kinds = inject_kinds(&n);

    for (uint32_t i = 0; i < n; i++)
        kprintf("  %-11s %s%s\n", kinds[i].name, kinds[i].what, kinds[i].fatal ? "; ends the machine" : "");
    kprintf("  %-11s lets the handlers of hang return\n", "release");
}

bool cmd_fault(int argc, char **argv)
{
    if (argc > 2)
        return wrong("one fault at a time", argv[2]);
    if (argc == 1) {
        list_kinds();
        return true;
    }
    if (strcmp(argv[1], "release") == 0) {
        kprintf("%u released\n", inject_release());
        return true;
    }
    int code = inject(argv[1]);
    return code == GMK_ERR_NOTFOUND ? wrong("no such fault (fault lists them)", argv[1])
                                    : report_code("fault", code);
}

bool cmd_reboot(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    machine_stop();
    power_reboot();
}

bool cmd_halt(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    machine_stop();
    power_off();
}
