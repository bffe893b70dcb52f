/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes a kernel's end of a bridge: the input is what a peer that may do anything writes into the region
 * between the rounds of the pump.  Whatever that is, the kernel must stay within the region (the address
 * sanitizer looks on), keep every delivery accounted for, and go on with its own work.
 *
 * The pump's own thread waits for the lock all the time: the rounds are made here, one after the other, so that an
 * input does the same each time but for the handlers, which do nothing.
 */
#include <ggmk.h>

#include "bridge/bridge_int.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { NOTE = 1 };

static gmk_kernel_t kernel;
static gmk_bridge_t *b;
static gmk_port_t port;
static gmk_chan_t out;
static unsigned char *region;
static uint64_t bytes;
static const gmk_region_cfg_t cfg = {.ring_slots = 64, .control_slots = 16, .pool_bytes = 65536};

static const uint8_t *input;
static size_t left;

static void require(bool holds)
{
    if (!holds)
        abort();
}

static uint64_t next(uint32_t n)
{
    uint64_t v = 0;

    if (n > left)
        n = (uint32_t)left;
    memcpy(&v, input, n);
    input += n;
    left -= n;
    return v;
}

static int note(gmk_ctx_t *c)
{
    volatile const unsigned char *p = (const unsigned char *)(uintptr_t)c->task->payload_ptr;
    unsigned char sum = 0;

    for (uint32_t i = 0; p != NULL && i < c->task->payload_len; i += 512)
        sum ^= p[i];
    return (sum & 1) != 0 ? GMK_FAIL(sum) : GMK_OK;
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const gmk_handler_reg_t handlers[] = {{.type = NOTE, .fn = note}};
    static const gmk_chan_decl_t channels[] = {
        {.name = "t.in", .direction = GMK_CONSUMES, .msg_type = 7, .handler = NOTE},
        {.name = "t.fan",
         .direction = GMK_CONSUMES | GMK_PRODUCES,
         .mode = GMK_FANOUT,
         .handler = NOTE,
         .slots = 16}};
    static gmk_module_t module = {
        .name = "fuzz", .handlers = handlers, .n_handlers = 1, .channels = channels, .n_channels = 2};
    gmk_module_t *mods[] = {&module};
    const gmk_boot_cfg_t boot = {
        .arena_size = (uint64_t)16 << 20, .n_workers = 1, .flags = GMK_BOOT_QUIET | GMK_BOOT_NO_WATCHDOG};
    const gmk_bridge_cfg_t end = {.window = 16, .beat_ns = 1000};

    (void)argc;
    (void)argv;
    bytes = gmk_region_bytes(&cfg);
    region = aligned_alloc(4096, bytes); /* what lies behind it is poisoned */
    require(region != NULL && gmk_boot(&kernel, &boot, mods, 1) == GMK_OK);
    require(gmk_bridge_create(&kernel, &end, &b) == GMK_OK && gmk_attach(&kernel, &port) == GMK_OK);
    return 0;
}

/* What a decent peer does next, with details from the input: else nothing wild would get far. */
static void decent(gmk_link_out_t *ring, gmk_link_out_t *control, const gmk_region_view_t *v, uint64_t what)
{
    static const char *const names[] = {"t.in", "t.fan", "t.out", "t.new"};
    gmk_control_t c = {.op = (uint8_t)(what >> 8 & 15), .route = (uint32_t)(what >> 16 & 7)};
    gmk_task_t t = {.channel = (uint32_t)(what >> 8 & 7), .seq = (uint32_t)(what >> 16 & 0xff)};

    switch (what & 3) {
    case 0:
        if (gmk_link_room(control, 1) == 0)
            return;
        strcpy(c.u.name, names[what >> 24 & 3]);
        c.flags = (uint8_t)(what >> 26 & 1);
        c.mode = (uint8_t)(c.u.name[2] == 'f');
        c.msg_type = c.u.name[2] == 'i' ? 7 : c.u.name[2] == 'o' ? 8 : 0;
        c.slots = (uint32_t)(what >> 28 & 31);
        memcpy(gmk_link_fill(control)->body, &c, sizeof c);
        (void)gmk_link_publish(control);
        break;
    case 1:
        if (gmk_link_room(ring, 1) == 0)
            return;
        t.payload_ptr = (what >> 24 & 1) != 0 ? 1 + (what >> 25 & 0xffff) : 0;
        t.payload_len = t.payload_ptr != 0 ? (uint32_t)(what >> 41 & 0xffff) : 0;
        t.flags = (uint16_t)(what >> 57);
        memcpy(gmk_link_fill(ring)->body, &t, sizeof t);
        (void)gmk_link_publish(ring);
        break;
    case 2:
        gmk_store64(&v->mine->ack[what >> 8 & 7].completed, what >> 16 & 0xff, GMK_REL, GMK_SYSTEM);
        gmk_store64(&v->mine->ack[what >> 8 & 7].delivered, what >> 16 & 0xff, GMK_REL, GMK_SYSTEM);
        break;
    default: gmk_store64(&v->mine->state, what >> 8 & 7, GMK_REL, GMK_SYSTEM); break;
    }
}

/* Any eight bytes of what is the peer's to write. */
static void wild(const gmk_region_view_t *v, uint64_t where, uint64_t what)
{
    static const uint32_t sizes[] = {sizeof(gmk_region_side_t), 64 * 64, 16 * 64, 65536};
    unsigned char *const parts[] = {(unsigned char *)v->mine, (unsigned char *)v->ring_out,
                                    (unsigned char *)v->control_out, v->pool_out};
    uint32_t part = (uint32_t)where & 3;

    memcpy(parts[part] + (where >> 2) % (sizes[part] - 8), &what, 8);
}

static void round_of_pump(void)
{
    gmk_call_begin(b->f);
    (void)gmk_pump_round(b);
    gmk_call_end(b->f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const gmk_chan_cfg_t to = {.name = "t.out", .msg_type = 8, .slots = 32};
    static uint32_t epoch;
    gmk_region_cfg_t c = cfg;
    gmk_region_view_t v;
    gmk_link_out_t ring, control;
    gmk_stats_t s;
    const char *why;

    input = data;
    left = size;
    c.epoch = ++epoch;
    memset(region, 0, bytes);
    require(gmk_region_format(region, bytes, &c) == GMK_OK);
    if (next(1) == 0) { /* the head itself; the region is not used further */
        uint64_t at = next(2) % (sizeof(gmk_region_head_t) - 8), what = next(8);
        memcpy(region + at, &what, 8);
        if (gmk_bridge_up(b, region, bytes, 0) == GMK_OK) {
            epoch = b->last_epoch;
            require(gmk_bridge_down(b, false) == GMK_OK);
        }
        return 0;
    }
    require(gmk_region_view(&v, region, bytes, 1, &why) == GMK_OK);
    gmk_link_out_init(&ring, v.ring_out, v.ring_slots, &v.theirs->ring_head, v.epoch);
    gmk_link_out_init(&control, v.control_out, v.control_slots, &v.theirs->control_head, v.epoch);
    require(gmk_chan_open(gmk_port_ctx(&port), &to, &out) == GMK_OK);
    require(gmk_bridge_up(b, region, bytes, 0) == GMK_OK);
    gmk_bridge_lock(b);
    while (left != 0) {
        uint64_t how = next(1);
        if ((how & 7) == 0)
            wild(&v, next(3), next(8));
        else if ((how & 7) == 1)
            (void)gmk_chan_emit(gmk_port_ctx(&port), out,
                                &(gmk_task_t){.flags = (how & 8) != 0 ? GMK_TASK_IDEMPOTENT : 0});
        else
            decent(&ring, &control, &v, next(8));
        round_of_pump();
    }
    gmk_bridge_unlock(b);
    require(gmk_bridge_down(b, (size & 1) != 0) == GMK_OK && gmk_bridge_down(b, false) == GMK_OK);
    (void)gmk_chan_close(gmk_port_ctx(&port),
                         out); /* the peer may have closed it; what waits for somebody to come is dropped */
    require(gmk_wait_closed(gmk_port_ctx(&port), out, UINT64_C(60000000000)) == GMK_OK);
    require(gmk_drain(&kernel, UINT64_C(60000000000)) == GMK_OK && gmk_stats(&kernel, &s) == GMK_OK);
    require(s.accepted == s.completed + s.failed + s.dropped && s.pending == 0);
    return 0;
}
