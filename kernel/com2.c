/* SPDX-License-Identifier: MIT */
/* com2.c — cuts what the core exports into frames. */
#include "kernel/com2.h"

#include "kernel/frame.h"
#include "kernel/machine.h"
#include "kernel/text.h"

#include "boot_info.h"
#include "kprintf.h"
#include "serial.h"

typedef struct piece {
    uint32_t type, flags, used;
    uint64_t total;
    uint8_t bytes[FRAME_PAYLOAD];
} piece_t;

static uint32_t sequence; /* of the next frame */

static void send(piece_t *p, uint32_t last)
{
    uint8_t header[FRAME_HEADER];

    frame_pack(header, p->type, p->flags | last, sequence++, p->bytes, p->used);
    serial_write(SERIAL_COM2, header, sizeof(header));
    serial_write(SERIAL_COM2, p->bytes, p->used);
    p->flags = 0;
    p->used = 0;
}

static int add(void *arg, const void *data, size_t size)
{
    piece_t *p = arg;
    const uint8_t *from = data;

    p->total += size;
    for (size_t i = 0; i < size; i++) {
        if (p->used == FRAME_PAYLOAD)
            send(p, 0);
        p->bytes[p->used++] = from[i];
    }
    return 0;
}

static int send_piece(uint32_t type, int (*export)(gmk_kernel_t *, gmk_write_fn, void *), uint64_t *bytes)
{
    static piece_t p;

    if (!serial_present(SERIAL_COM2))
        return GMK_ERR_NOTFOUND;
    p = (piece_t){.type = type, .flags = FRAME_FIRST};
    int code = export(machine_core(), add, &p);
    if (code == GMK_OK)
        send(&p, FRAME_LAST);
    *bytes = p.total;
    return code;
}

int com2_send_metrics(uint64_t *bytes) { return send_piece(FRAME_METRICS, gmk_export_prometheus, bytes); }

int com2_send_trace(uint64_t *bytes) { return send_piece(FRAME_TRACE, gmk_export_fxt, bytes); }

static void send_if_asked(const char *list, const char *what, int (*send_it)(uint64_t *))
{
    char size[TEXT_SHORT];
    uint64_t bytes = 0;

    if (!text_in_list(list, what))
        return;
    int code = send_it(&bytes);
    if (code == GMK_OK)
        kprintf("com2: sent %s, %s\n", what, text_bytes(size, bytes));
    else if (code == GMK_ERR_NOTFOUND)
        kprintf("com2: no %s: this machine has no second serial port\n", what);
    else
        kprintf("com2: no %s: %s\n", what, gmk_strerror(code));
}

void com2_send_asked(void)
{
    char list[64];

    if (!boot_option("com2", list, sizeof(list)))
        return;
    send_if_asked(list, "metrics", com2_send_metrics);
    send_if_asked(list, "trace", com2_send_trace);
}
