/* SPDX-License-Identifier: MIT */
/* power.c — off, restart, leaving an emulator. */
#include "power.h"

#include "acpi.h"
#include "clock.h"
#include "cpu.h"
#include "kprintf.h"
#include "smp.h"

enum { SLP_TYP_SHIFT = 10, SLP_EN = 1 << 13, SCI_EN = 1 << 0, SLEEP_TYPE_SHIFT = 2, SLEEP_EN = 1 << 5 };

void power_debug_exit(uint32_t code) { outb(0xf4, (uint8_t)code); }

/* Firmware owns the PM registers until it is told otherwise (ACPI 6.4 §4.8.2.5); it may take a while. */
static void enter_acpi_mode(const acpi_fadt_t *fadt)
{
    uint32_t control = 0;
    if (fadt->smi_command == 0 || fadt->acpi_enable == 0)
        return;
    for (uint32_t tries = 0; tries < 3000; tries++) {
        if (!acpi_reg_read(&fadt->pm1a_control, 16, &control) || (control & SCI_EN) != 0)
            return;
        if (tries == 0)
            outb(fadt->smi_command, fadt->acpi_enable);
        clock_delay_us(1000);
    }
}

/* SLP_TYP and SLP_EN together; the other bits stay as they are. */
static void sleep_by(const acpi_reg_t *reg, uint32_t type)
{
    uint32_t control = 0;
    if (!acpi_reg_read(reg, 16, &control))
        return;
    control &= ~((7u << SLP_TYP_SHIFT) | SLP_EN);
    (void)acpi_reg_write(reg, 16, control | type << SLP_TYP_SHIFT | SLP_EN);
}

static const char *try_power_off(void)
{
    const acpi_fadt_t *fadt = acpi_fadt();
    const acpi_s5_t *s5 = acpi_s5();
    if (fadt == NULL)
        return "there is no FADT";
    if (s5 == NULL)
        return "its firmware names no _S5 state";
    if (fadt->hardware_reduced) {
        (void)acpi_reg_write(&fadt->sleep_control, 8, (uint32_t)s5->type_a << SLEEP_TYPE_SHIFT | SLEEP_EN);
    } else {
        enter_acpi_mode(fadt);
        sleep_by(&fadt->pm1a_control, s5->type_a);
        sleep_by(&fadt->pm1b_control, s5->type_b);
    }
    clock_delay_us(2000000);
    return "it did not react";
}

_Noreturn void power_off(void)
{
    irq_disable();
    const char *why = try_power_off();
    kprintf(
        "power: this machine cannot be switched off by software: %s; it is halted, switch it off by hand\n",
        why);
    smp_stop_others();
    cpu_stop();
}

/* The keyboard controller's pulse on the reset line, once it takes commands. */
static void reset_by_8042(void)
{
    for (uint32_t tries = 0; tries < 1000 && (inb(0x64) & 2u) != 0; tries++)
        clock_delay_us(100);
    outb(0x64, 0xfe);
}

/* An exception without an IDT. */
_Noreturn static void triple_fault(void)
{
    static const struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } none = {0, 0};
    __asm__ volatile("lidt %0; int3" : : "m"(none));
    cpu_stop();
}

_Noreturn void power_reboot(void)
{
    irq_disable();
    const acpi_fadt_t *fadt = acpi_fadt();
    if (fadt != NULL && acpi_reg_write(&fadt->reset, 8, fadt->reset_value))
        clock_delay_us(100000);
    outb(0xcf9, 0x02);
    outb(0xcf9, 0x06);
    clock_delay_us(100000);
    reset_by_8042();
    clock_delay_us(100000);
    triple_fault();
}
