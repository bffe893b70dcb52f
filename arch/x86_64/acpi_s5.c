/* SPDX-License-Identifier: MIT */
/*
 * acpi_s5.c — the sleep types of soft-off, without an AML interpreter.
 *
 * The value is a named package of constants, Name(_S5, Package(){a, b, 0, 0}), which compilers encode
 * as NameOp, "_S5_", PackageOp, PkgLength, NumElements, integers (ACPI 6.4 §7.4.2, §20.2).  The scan
 * looks for exactly that and takes the first one whose numbers are possible.
 */
#include "acpi_parse.h"

#include <ggmk/error.h>

enum {
    AML_ZERO = 0x00,
    AML_ONE = 0x01,
    AML_NAME = 0x08,
    AML_BYTE = 0x0a,
    AML_WORD = 0x0b,
    AML_DWORD = 0x0c,
    AML_QWORD = 0x0e,
    AML_PACKAGE = 0x12,
    AML_ROOT = 0x5c
};

typedef struct cursor {
    const uint8_t *p;
    size_t left;
} cursor_t;

static bool take(cursor_t *c, uint8_t *v)
{
    if (c->left == 0)
        return false;
    *v = *c->p++;
    c->left--;
    return true;
}

static bool take_integer(cursor_t *c, uint64_t *v)
{
    uint8_t op, byte, bytes;
    if (!take(c, &op))
        return false;
    switch (op) {
    case AML_ZERO:
    case AML_ONE: *v = op; return true;
    case AML_BYTE: bytes = 1; break;
    case AML_WORD: bytes = 2; break;
    case AML_DWORD: bytes = 4; break;
    case AML_QWORD: bytes = 8; break;
    default: return false;
    }
    *v = 0;
    for (uint32_t i = 0; i < bytes; i++) {
        if (!take(c, &byte))
            return false;
        *v |= (uint64_t)byte << (8 * i);
    }
    return true;
}

/* PkgLength: the top two bits of the first byte say how many bytes follow it; its value is not needed. */
static bool skip_package_length(cursor_t *c)
{
    uint8_t lead, byte;
    if (!take(c, &lead))
        return false;
    for (uint32_t i = 0; i < (uint32_t)lead >> 6; i++)
        if (!take(c, &byte))
            return false;
    return true;
}

/* What follows the name; SLP_TYP has 3 bits. */
static bool take_s5(cursor_t c, acpi_s5_t *out)
{
    uint8_t op, elements;
    uint64_t a, b;
    if (!take(&c, &op) || op != AML_PACKAGE || !skip_package_length(&c) || !take(&c, &elements))
        return false;
    if (elements < 1 || !take_integer(&c, &a) || a > 7)
        return false;
    b = a;
    if (elements >= 2 && (!take_integer(&c, &b) || b > 7))
        return false;
    *out = (acpi_s5_t){.type_a = (uint8_t)a, .type_b = (uint8_t)b};
    return true;
}

int acpi_parse_s5(const void *buf, size_t size, acpi_s5_t *out)
{
    const uint8_t *p = buf;
    *out = (acpi_s5_t){0};
    if (p == NULL || size < ACPI_HEADER_SIZE)
        return GMK_ERR_INVAL;
    for (size_t i = ACPI_HEADER_SIZE + 1; i + 4 <= size; i++) {
        if (p[i] != '_' || p[i + 1] != 'S' || p[i + 2] != '5' || p[i + 3] != '_')
            continue;
        bool named = p[i - 1] == AML_NAME || (p[i - 1] == AML_ROOT && p[i - 2] == AML_NAME);
        if (named && take_s5((cursor_t){p + i + 4, size - i - 4}, out))
            return GMK_OK;
    }
    return GMK_ERR_NOTFOUND;
}
