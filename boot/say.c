/* SPDX-License-Identifier: MIT */
#include "say.h"
#include "cpu.h"

#define COM1 0x3f8
#define DEBUG_EXIT 0xf4
#define DEBUG_EXIT_FAILED 0x7f
#define HYPERVISOR_BIT (1u << 31)

enum {
    DATA = 0,
    INTERRUPTS = 1,
    DIVISOR_LOW = 0,
    DIVISOR_HIGH = 1,
    FIFO = 2,
    LINE = 3,
    MODEM = 4,
    STATUS = 5
};

static void serial_init(void)
{
    outb(COM1 + INTERRUPTS, 0);
    outb(COM1 + LINE, 0x80); /* the next two are the divisor: 115200 */
    outb(COM1 + DIVISOR_LOW, 1);
    outb(COM1 + DIVISOR_HIGH, 0);
    outb(COM1 + LINE, 0x03); /* 8N1 */
    outb(COM1 + FIFO, 0xc7);
    outb(COM1 + MODEM, 0x03);
}

static void say_char(char c)
{
    /* A port that is not there, or never ready, holds nobody up. */
    for (uint32_t i = 0; i < 100000 && (inb(COM1 + STATUS) & 0x20) == 0; i++)
        ;
    outb(COM1 + DATA, (uint8_t)c);
}

static void say(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\n')
            say_char('\r');
        say_char(*text);
    }
}

static void say_hex(uint64_t v)
{
    int shift = 60;
    while (shift > 0 && (v >> shift) == 0)
        shift -= 4;
    say("0x");
    for (; shift >= 0; shift -= 4)
        say_char("0123456789abcdef"[(v >> shift) & 15]);
}

void say_error(const struct boot_error *e)
{
    static bool ready;
    if (!ready)
        serial_init();
    ready = true;
    say("loader: ");
    say(e->what);
    say(": ");
    say_hex(e->value);
    say("; ");
    say(e->advice);
    say("\n");
}

void die(const struct boot_error *e)
{
    say_error(e);
    if ((cpuid(1).c & HYPERVISOR_BIT) != 0)
        outb(DEBUG_EXIT, DEBUG_EXIT_FAILED);
    for (;;)
        __asm__ volatile("cli; hlt");
}

void die_of(const char *what, uint64_t value, const char *advice)
{
    struct boot_error e;
    boot_fail(&e, what, value, advice);
    die(&e);
}
