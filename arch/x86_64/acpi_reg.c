/* SPDX-License-Identifier: MIT */
/* acpi_reg.c — registers that tables describe (ACPI 6.4 §5.2.3.2): ports, memory, PCI configuration. */
#include "acpi.h"

#include "cpu.h"
#include "vmm.h"

static bool port_access(uint16_t port, uint32_t bits, bool write, uint32_t *value)
{
    if (bits == 8 && write)
        outb(port, (uint8_t)*value);
    else if (bits == 8)
        *value = inb(port);
    else if (bits == 16 && write)
        outw(port, (uint16_t)*value);
    else if (bits == 16)
        *value = inw(port);
    else if (write)
        outl(port, *value);
    else
        *value = inl(port);
    return true;
}

/* Registers in memory are mapped once, by acpi_init, so that they can be used when nothing else works. */
static struct {
    uint64_t address;
    volatile void *p;
} mapped[8];
static uint32_t mapped_count;

static void map_register(const acpi_reg_t *reg)
{
    if (reg->space != ACPI_SPACE_MEMORY || reg->address == 0 ||
        mapped_count == sizeof mapped / sizeof mapped[0])
        return;
    void *p = vmm_map_device(reg->address, 4, VMM_UC);
    if (p == NULL)
        return;
    mapped[mapped_count].address = reg->address;
    mapped[mapped_count++].p = p;
}

void acpi_map_registers(const acpi_fadt_t *fadt)
{
    map_register(&fadt->pm1a_control);
    map_register(&fadt->pm1b_control);
    map_register(&fadt->pm_timer);
    map_register(&fadt->reset);
    map_register(&fadt->sleep_control);
}

static bool memory_access(uint64_t address, uint32_t bits, bool write, uint32_t *value)
{
    volatile void *p = NULL;
    for (uint32_t i = 0; i < mapped_count && p == NULL; i++)
        p = mapped[i].address == address ? mapped[i].p : NULL;
    if (p == NULL)
        return false;
    if (bits == 8 && write)
        *(volatile uint8_t *)p = (uint8_t)*value;
    else if (bits == 8)
        *value = *(volatile uint8_t *)p;
    else if (bits == 16 && write)
        *(volatile uint16_t *)p = (uint16_t)*value;
    else if (bits == 16)
        *value = *(volatile uint16_t *)p;
    else if (write)
        *(volatile uint32_t *)p = *value;
    else
        *value = *(volatile uint32_t *)p;
    return true;
}

/* Bus 0 only: device in bits 32..47 of the address, function in 16..31, offset in 0..15. */
static bool pci_access(uint64_t address, uint32_t bits, bool write, uint32_t *value)
{
    uint32_t device = (uint16_t)(address >> 32), function = (uint16_t)(address >> 16),
             offset = (uint16_t)address;
    if (device > 31 || function > 7 || offset > 255)
        return false;
    outl(0xcf8, 1u << 31 | device << 11 | function << 8 | (offset & 0xfcu));
    return port_access((uint16_t)(0xcfc + (offset & 3u)), bits, write, value);
}

static bool reg_access(const acpi_reg_t *reg, uint32_t bits, bool write, uint32_t *value)
{
    if (reg->address == 0 || (reg->address & (bits / 8 - 1)) != 0)
        return false;
    switch (reg->space) {
    case ACPI_SPACE_MEMORY: return memory_access(reg->address, bits, write, value);
    case ACPI_SPACE_IO:
        return reg->address <= 0xffff && port_access((uint16_t)reg->address, bits, write, value);
    case ACPI_SPACE_PCI: return pci_access(reg->address, bits, write, value);
    default: return false;
    }
}

bool acpi_reg_write(const acpi_reg_t *reg, uint32_t bits, uint32_t value)
{
    return reg_access(reg, bits, true, &value);
}

bool acpi_reg_read(const acpi_reg_t *reg, uint32_t bits, uint32_t *value)
{
    return reg_access(reg, bits, false, value);
}
