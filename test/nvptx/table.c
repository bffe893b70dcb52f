/* SPDX-License-Identifier: MIT */
/* table.c — a constant table of strings that is only indexed; see docs/decisions/nvptx-code-model.md. */
#include <stdint.h>

const char *table_name(uint32_t i);

const char *table_name(uint32_t i)
{
    static const char *const names[] = {"counter", "gauge", "histogram", "summary"};
    return names[i & 3];
}
