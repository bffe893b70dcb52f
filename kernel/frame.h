/* SPDX-License-Identifier: MIT */
/*
 * frame.h — the frames that leave by the second serial port; tools/ggmk-com2 takes them apart.
 *
 * Pure functions over buffers.
 *
 * A frame is a header of 20 bytes and up to FRAME_PAYLOAD bytes, all numbers little-endian:
 *
 *    0  magic     4 bytes  "GMK" and the version, 1
 *    4  length    u16      bytes of payload
 *    6  type      u8       FRAME_*: what the payload is a piece of
 *    7  flags     u8       FRAME_FIRST, FRAME_LAST: the piece begins, ends it
 *    8  sequence  u32      counts the frames since the boot, from 0
 *   12  crc       u32      CRC-32 (IEEE 802.3) of the payload
 *   16  check     u32      CRC-32 of the 16 bytes before
 *
 * A line without flow control may lose bytes, and noise may look like a magic: the header has a check
 * of its own, so that a receiver never waits for a length that nobody sent.
 */
#ifndef GGMK_KERNEL_FRAME_H
#define GGMK_KERNEL_FRAME_H

#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER 20u
#define FRAME_PAYLOAD 1024u

enum { FRAME_METRICS = 1, FRAME_TRACE = 2 };
enum { FRAME_FIRST = 1 << 0, FRAME_LAST = 1 << 1 };

uint32_t frame_crc(const void *data, size_t n);

/* Writes the header of a frame whose payload is given. */
void frame_pack(uint8_t header[FRAME_HEADER], uint32_t type, uint32_t flags, uint32_t sequence,
                const void *payload, uint32_t length);

#endif
