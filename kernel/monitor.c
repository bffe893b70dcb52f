/* SPDX-License-Identifier: MIT */
/* monitor.c — reads a line, finds the command, runs it. */
#include "kernel/monitor.h"

#include "kernel/line.h"
#include "kernel/text.h"

#include "boot_info.h"
#include "kprintf.h"
#include "serial.h"
#include "string.h"

#include <ggmk/error.h>
#include <ggmk/hal.h>

#define WORDS 8

static bool cmd_help(int argc, char **argv);

static const struct command {
    const char *name, *arguments, *what;
    command_fn run;
} commands[] = {
    {"help", "[COMMAND]", "this list, or how to write one command", cmd_help},
    {"ps", "", "threads: CPU, state, time they ran", cmd_ps},
    {"top", "[SECONDS]", "who used the CPUs during the last second", cmd_top},
    {"stats", "[TYPE | send]", "figures of the core, or of a handler type; send: by COM2", cmd_stats},
    {"trace", "[LEVEL [MODULE] | every N | send]", "sets what is recorded; send: by COM2", cmd_trace},
    {"chan", "[NAME]", "channels: credits, messages, subscribers", cmd_chan},
    {"mod", "", "modules and their handlers", cmd_mod},
    {"mem", "[map]", "physical, virtual and the core's memory; the machine's map", cmd_mem},
    {"pci", "[ADDRESS]", "devices on the PCI buses, or one of them", cmd_pci},
    {"blk", "[DISK SECTOR]", "disks, or what is in a sector", cmd_blk},
    {"emit", "CHANNEL | TYPE [META0 [META1]]", "emits a message, or submits a task", cmd_emit},
    {"test", "[GROUP]", "self-tests: cpu mem platform dev core", cmd_test},
    {"fault", "[KIND | release]", "makes a fault happen; alone: the kinds", cmd_fault},
    {"reboot", "", "halts the core and restarts the machine", cmd_reboot},
    {"halt", "", "halts the core and switches the machine off", cmd_halt},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

bool wrong(const char *what, const char *value)
{
    kprintf("%s: '%s'\n", what, value);
    return false;
}

bool number_argument(int argc, char **argv, int i, uint64_t most, uint64_t *value)
{
    if (i >= argc)
        return true;
    if (!parse_number(argv[i], value))
        return wrong("not a number", argv[i]);
    return *value <= most || wrong("too large", argv[i]);
}

bool report_code(const char *what, int code)
{
    if (code < 0)
        kprintf("%s: %s (%d)\n", what, gmk_strerror(code), code);
    return true;
}

static const struct command *find(const char *name)
{
    for (uint32_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static void show_usage(const struct command *c)
{
    kprintf("usage: %s%s%s\n", c->name, c->arguments[0] ? " " : "", c->arguments);
}

static bool cmd_help(int argc, char **argv)
{
    const struct command *c = argc > 1 ? find(argv[1]) : NULL;

    if (argc > 1 && !c)
        return wrong("no such command", argv[1]);
    if (c) {
        show_usage(c);
        kprintf("       %s\n", c->what);
        return true;
    }
    for (uint32_t i = 0; i < COMMANDS; i++)
        kprintf("  %-8s %s\n", commands[i].name, commands[i].what);
    kprintf("Keys: arrows, Home, End, Delete, ^A ^E ^B ^F ^D ^K ^U ^W ^Y ^L ^P ^N\n");
    return true;
}

/* Runs one line; it is cut into words in place. */
static void run_line(char *line)
{
    char *words[WORDS + 1];
    int n = text_words(line, words, WORDS + 1);
    const struct command *c = n ? find(words[0]) : NULL;

    if (n == 0)
        return;
    if (!c) {
        kprintf("no such command: '%s' (help lists them)\n", words[0]);
        return;
    }
    bool takes_none = c->arguments[0] == 0;
    if ((takes_none && n > 1 && !wrong("no arguments here", words[1])) ||
        (n > WORDS && !wrong("too many words", words[WORDS])) || !c->run(n, words))
        show_usage(c);
}

static void to_terminal(void *arg, const char *text, size_t n)
{
    (void)arg;
    serial_write(SERIAL_COM1, text, n);
}

static line_t line;
static gmk_a32_t at_prompt; /* the monitor waits for keys */

/* What others print takes the place of the prompt, which then comes back below it. */
static void make_room(bool after)
{
    if (!gmk_load32(&at_prompt, GMK_ACQ, GMK_KERNEL))
        return;
    if (after)
        line_show(&line);
    else
        serial_write(SERIAL_COM1, "\r\033[K", 4);
}

void monitor_main(void *unused)
{
    static char copy[LINE_MAX + 1];
    uint8_t bytes[64];

    (void)unused;
    line_init(&line, "ggmk> ", to_terminal, NULL);
    line_show(&line);
    gmk_store32(&at_prompt, 1, GMK_REL, GMK_KERNEL);
    kprintf_around = make_room;
    for (;;) {
        size_t n = serial_read(SERIAL_COM1, bytes, sizeof(bytes), UINT64_MAX);
        for (size_t i = 0; i < n; i++) {
            const char *done = line_key(&line, bytes[i]);
            if (!done)
                continue;
            (void)strlcpy(copy, done, sizeof(copy));
            gmk_store32(&at_prompt, 0, GMK_REL, GMK_KERNEL);
            run_line(copy);
            gmk_store32(&at_prompt, 1, GMK_REL, GMK_KERNEL);
            line_show(&line);
        }
    }
}
