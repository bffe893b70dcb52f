/* SPDX-License-Identifier: MIT */
/* frame.c — packs the frames of the second serial port. */
#include "kernel/frame.h"

static const uint8_t magic[4] = {'G', 'M', 'K', 1};

static void put32(uint8_t *to, uint32_t v)
{
    for (uint32_t i = 0; i < 4; i++)
        to[i] = (uint8_t)(v >> 8 * i);
}

/* Reflected, polynomial 0x04c11db7, half a byte at a time. */
uint32_t frame_crc(const void *data, size_t n)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    const uint8_t *p = data;
    uint32_t crc = 0xffffffff;

    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

void frame_pack(uint8_t header[FRAME_HEADER], uint32_t type, uint32_t flags, uint32_t sequence,
                const void *payload, uint32_t length)
{
    for (uint32_t i = 0; i < 4; i++)
        header[i] = magic[i];
    header[4] = (uint8_t)length;
    header[5] = (uint8_t)(length >> 8);
    header[6] = (uint8_t)type;
    header[7] = (uint8_t)flags;
    put32(header + 8, sequence);
    put32(header + 12, frame_crc(payload, length));
    put32(header + 16, frame_crc(header, 16));
}
