/* SPDX-License-Identifier: MIT */
/*
 * acpi_parse.c — the description tables themselves: RSDP, table headers, MADT, FADT, HPET, MCFG.
 *
 * The tables are little-endian and unaligned, so every field is put together from bytes.
 */
#include "acpi_parse.h"

#include <ggmk/error.h>

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static uint32_t get32(const uint8_t *p) { return get16(p) | (uint32_t)get16(p + 2) << 16; }
static uint64_t get64(const uint8_t *p) { return get32(p) | (uint64_t)get32(p + 4) << 32; }

static bool sum_is_zero(const uint8_t *p, size_t size)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + p[i]);
    return sum == 0;
}

static bool same(const uint8_t *p, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (p[i] != (uint8_t)text[i])
            return false;
    return true;
}

static void clear(void *out, size_t size)
{
    volatile uint8_t *p = out;
    for (size_t i = 0; i < size; i++)
        p[i] = 0;
}

/* ACPI 6.4 §5.2.5.3: the first 20 bytes have a sum of their own, so do all `length` from revision 2 on. */
int acpi_parse_rsdp(const void *buf, size_t size, acpi_rsdp_t *out)
{
    const uint8_t *p = buf;
    clear(out, sizeof *out);
    if (p == NULL || size < 20 || !same(p, "RSD PTR ", 8) || !sum_is_zero(p, 20))
        return GMK_ERR_INVAL;
    out->revision = p[15];
    out->rsdt = get32(p + 16);
    if (out->revision < 2)
        return out->rsdt != 0 ? GMK_OK : GMK_ERR_INVAL;
    if (size >= ACPI_RSDP_SIZE) {
        uint32_t length = get32(p + 20);
        if (length >= ACPI_RSDP_SIZE && length <= size && sum_is_zero(p, length))
            out->xsdt = get64(p + 24);
    }
    return out->rsdt != 0 || out->xsdt != 0 ? GMK_OK : GMK_ERR_INVAL;
}

int acpi_check_table(const void *buf, size_t size, const char *signature)
{
    const uint8_t *p = buf;
    if (p == NULL || size < ACPI_HEADER_SIZE)
        return GMK_ERR_INVAL;
    uint32_t length = get32(p + 4);
    if (length < ACPI_HEADER_SIZE || length > size || length > ACPI_TABLE_LIMIT)
        return GMK_ERR_INVAL;
    if (signature != NULL && !same(p, signature, 4))
        return GMK_ERR_INVAL;
    return sum_is_zero(p, length) ? GMK_OK : GMK_ERR_INVAL;
}

/* The checked length of a table of this kind with at least `least` bytes; 0: it is none. */
static uint32_t table_length(const void *buf, size_t size, const char *signature, uint32_t least)
{
    if (acpi_check_table(buf, size, signature) != GMK_OK)
        return 0;
    uint32_t length = get32((const uint8_t *)buf + 4);
    return length >= least ? length : 0;
}

/* ---- MADT, ACPI 6.4 §5.2.12 ------------------------------------------------------------------ */

enum { MADT_LAPIC, MADT_IOAPIC, MADT_OVERRIDE, MADT_LAPIC_ADDRESS = 5, MADT_X2APIC = 9 };

/* A CPU may be described twice, as LAPIC and as x2APIC: the first description stays. */
static bool add_cpu(acpi_madt_t *m, uint32_t apic_id, uint32_t uid, uint32_t flags)
{
    for (uint32_t i = 0; i < m->cpu_count; i++)
        if (m->cpu[i].apic_id == apic_id)
            return true;
    if (m->cpu_count == ACPI_MAX_CPUS)
        return false;
    m->cpu[m->cpu_count++] = (acpi_cpu_t){
        .apic_id = apic_id, .uid = uid, .enabled = flags & 1, .online_capable = !(flags & 1) && (flags & 2)};
    return true;
}

static bool add_ioapic(acpi_madt_t *m, const uint8_t *e)
{
    if (m->ioapic_count == ACPI_MAX_IOAPICS || get32(e + 4) == 0)
        return false;
    m->ioapic[m->ioapic_count++] = (acpi_ioapic_t){
        .id = e[2], .gsi_base = get32(e + 8), .address = get32(e + 4)};
    return true;
}

/*
 * Polarity in bits 0..1, trigger mode in bits 2..3: 0 as the bus has it, which for ISA is active high
 * and edge, 1 high or edge, 3 low or level; 2 is reserved.
 */
static bool add_override(acpi_madt_t *m, const uint8_t *e)
{
    uint16_t flags = get16(e + 8);
    uint32_t polarity = flags & 3u, trigger = (flags >> 2) & 3u;
    if (m->override_count == ACPI_MAX_OVERRIDES || e[2] != 0 || e[3] > 15 || polarity == 2 || trigger == 2)
        return false;
    m->override[m->override_count++] = (acpi_override_t){
        .irq = e[3], .gsi = get32(e + 4), .active_low = polarity == 3, .level = trigger == 3};
    return true;
}

static bool madt_entry(acpi_madt_t *m, const uint8_t *e, uint8_t length)
{
    switch (e[0]) {
    case MADT_LAPIC: return length >= 8 && (e[3] == 0xff || add_cpu(m, e[3], e[2], get32(e + 4)));
    case MADT_IOAPIC: return length >= 12 && add_ioapic(m, e);
    case MADT_OVERRIDE: return length >= 10 && add_override(m, e);
    case MADT_X2APIC:
        return length >= 16 &&
               (get32(e + 4) == UINT32_MAX || add_cpu(m, get32(e + 4), get32(e + 12), get32(e + 8)));
    case MADT_LAPIC_ADDRESS:
        if (length >= 12)
            m->lapic_address = get64(e + 4);
        return length >= 12;
    default: return true;
    }
}

int acpi_parse_madt(const void *buf, size_t size, acpi_madt_t *out)
{
    const uint8_t *p = buf;
    clear(out, sizeof *out);
    uint32_t length = table_length(buf, size, "APIC", 44);
    if (length == 0)
        return GMK_ERR_INVAL;
    out->lapic_address = get32(p + 36);
    out->has_8259 = get32(p + 40) & 1;
    for (uint32_t at = 44; length - at >= 2;) {
        uint8_t step = p[at + 1];
        if (step < 2 || step > length - at) {
            out->ignored++; /* the rest cannot be told apart */
            break;
        }
        out->ignored += !madt_entry(out, p + at, step);
        at += step;
    }
    return GMK_OK;
}

acpi_override_t acpi_isa_route(const acpi_madt_t *madt, uint32_t irq)
{
    for (uint32_t i = 0; madt != NULL && i < madt->override_count; i++)
        if (madt->override[i].irq == irq)
            return madt->override[i];
    return (acpi_override_t){.irq = (uint8_t)irq, .gsi = irq};
}

/* ---- FADT, §5.2.9 ------------------------------------------------------------------------------ */

#define FADT_TMR_VAL_EXT (1u << 8)
#define FADT_RESET_REG_SUP (1u << 10)
#define FADT_HW_REDUCED (1u << 20)

static acpi_reg_t get_reg(const uint8_t *p, uint32_t length, uint32_t at)
{
    if (length < at + 12)
        return (acpi_reg_t){0};
    return (acpi_reg_t){.space = p[at], .bits = p[at + 1], .address = get64(p + at + 4)};
}

/* The X_ field where it names a register, else the older one: a 32-bit port number and a byte count. */
static acpi_reg_t get_block(const uint8_t *p, uint32_t length, uint32_t x_at, uint32_t at, uint8_t bits)
{
    acpi_reg_t reg = get_reg(p, length, x_at);
    if (reg.address == 0)
        reg = (acpi_reg_t){.space = ACPI_SPACE_IO, .address = get32(p + at)};
    reg.bits = bits;
    return reg;
}

int acpi_parse_fadt(const void *buf, size_t size, acpi_fadt_t *out)
{
    const uint8_t *p = buf;
    clear(out, sizeof *out);
    uint32_t length = table_length(buf, size, "FACP", 116);
    if (length == 0)
        return GMK_ERR_INVAL;
    uint32_t flags = get32(p + 112);
    uint64_t x_dsdt = length >= 148 ? get64(p + 140) : 0;
    out->dsdt = x_dsdt != 0 ? x_dsdt : get32(p + 40);
    out->sci_irq = get16(p + 46);
    out->smi_command = get32(p + 48) <= 0xffff ? get16(p + 48) : 0;
    out->acpi_enable = p[52];
    out->acpi_disable = p[53];
    out->hardware_reduced = flags & FADT_HW_REDUCED;
    out->pm_timer_32 = flags & FADT_TMR_VAL_EXT;
    out->pm1a_control = get_block(p, length, 172, 64, 16);
    out->pm1b_control = get_block(p, length, 184, 68, 16);
    out->pm_timer = get_block(p, length, 208, 76, 32);
    if ((flags & FADT_RESET_REG_SUP) && length >= 129) {
        out->reset = get_reg(p, length, 116);
        out->reset_value = p[128];
    }
    if (out->hardware_reduced)
        out->sleep_control = get_reg(p, length, 244);
    return GMK_OK;
}

/* ---- HPET and MCFG ----------------------------------------------------------------------------- */

int acpi_parse_hpet(const void *buf, size_t size, acpi_hpet_t *out)
{
    clear(out, sizeof *out);
    uint32_t length = table_length(buf, size, "HPET", 56);
    if (length == 0)
        return GMK_ERR_INVAL;
    acpi_reg_t reg = get_reg(buf, length, 40);
    if (reg.space != ACPI_SPACE_MEMORY || reg.address == 0 || reg.address % 8 != 0)
        return GMK_ERR_INVAL;
    out->address = reg.address;
    return GMK_OK;
}

/* 1 MiB for each bus; no CPU has more than 52 bits of physical address. */
static bool possible(const acpi_segment_t *s)
{
    return s->base != 0 && s->base % (1u << 20) == 0 && s->base < UINT64_C(1) << 52 &&
           s->end_bus >= s->start_bus;
}

int acpi_parse_mcfg(const void *buf, size_t size, acpi_mcfg_t *out)
{
    const uint8_t *p = buf;
    clear(out, sizeof *out);
    uint32_t length = table_length(buf, size, "MCFG", 44);
    if (length == 0)
        return GMK_ERR_INVAL;
    for (uint32_t at = 44; length - at >= 16; at += 16) {
        acpi_segment_t s = {.base = get64(p + at),
                            .segment = get16(p + at + 8),
                            .start_bus = p[at + 10],
                            .end_bus = p[at + 11]};
        if (out->count == ACPI_MAX_SEGMENTS || !possible(&s))
            out->ignored++;
        else
            out->segment[out->count++] = s;
    }
    return GMK_OK;
}
