/* SPDX-License-Identifier: MIT */
/*
 * demo.c — the machine's outside of the word counter: its text comes from disk 0, its report goes to COM1.
 *
 * The reader's read() starts a request that aims straight at the chunk and answers WC_LATER; the
 * completion, in an interrupt thread, submits the WC_READ task that asks again and gets the answer.  One
 * request is under way at a time, and whoever has it (the worker in read(), the interrupt thread in
 * completed()) owns `source`: handing in the request and submitting the task pass it on.
 */
#include "kernel/demo.h"

#include "kernel/machine.h"
#include "kernel/text.h"

#include "boot_info.h"
#include "clock.h"
#include "cpu.h"
#include "drivers/virtio_blk.h"
#include "examples/wordcount/wc.h"
#include "kprintf.h"
#include "serial.h"
#include "string.h"
#include "thread.h"
#include "vmm.h"

#define SECTOR VIRTIO_BLK_SECTOR
#define CHUNK_BYTES (256u << 10)
#define RESULT_FIRST (64u << 10)

wc_config_t wc_config = {.chunk_bytes = CHUNK_BYTES, .top = 20};

typedef struct source {
    virtio_blk_t *disk;
    virtio_blk_req_t request;
    uint64_t at, length;      /* bytes: read so far, of the text */
    uint64_t under_way;       /* bytes of text that the request will bring */
    bool answered;            /* the request is done, and read() has not taken it */
    uint8_t edge[SECTOR];     /* a sector of which the chunk has room for a part only */
    uint32_t edge_at, edge_n; /* what of it is still to be handed out */
    bool edge_asked;          /* the request fills `edge` */
    int code;                 /* what the request ended with */
} source_t;

static struct {
    source_t source;
    thread_t *waiting; /* who waits for the end */
    gmk_a32_t finished;
    int code;
    char *result;
    size_t size, room;
} demo;

bool demo_asked(void)
{
    char text[32];

    return boot_option("input_bytes", text, sizeof(text));
}

/* ---- reading: on one worker, or in an interrupt thread ------------------------------------- */

static void completed(void *arg, int code)
{
    const gmk_task_t again = {.type = WC_READ, .flags = GMK_PRIO_3};
    source_t *s = arg;

    s->code = code;
    s->answered = true;
    int refused = gmk_submit(machine_core(), &again);
    if (refused != GMK_OK)
        wc_config.io.done(wc_config.io.arg, refused);
}

/* Starts a read of whole sectors; the text begins at a sector, and `at` is at one. */
static int64_t start_read(source_t *s, void *buf, uint64_t sectors)
{
    uint64_t bytes = sectors * SECTOR, left = s->length - s->at;

    s->under_way = bytes < left ? bytes : left;
    s->answered = false;
    s->request = (virtio_blk_req_t){.op = VIRTIO_BLK_READ, .sector = s->at / SECTOR, .buf = buf};
    s->request.sectors = (uint32_t)sectors;
    s->request.done = completed;
    s->request.arg = s;
    int code = virtio_blk_submit(s->disk, &s->request);
    return code == GMK_OK ? WC_LATER : code;
}

/* A part of the sector at the edge. */
static int64_t hand_out_edge(source_t *s, uint8_t *buf, uint64_t size)
{
    uint64_t n = size < s->edge_n ? size : s->edge_n;

    memcpy(buf, s->edge + s->edge_at, n);
    s->edge_at += (uint32_t)n;
    s->edge_n -= (uint32_t)n;
    return (int64_t)n;
}

/* What the request that is done has brought. */
static int64_t take_answer(source_t *s, uint8_t *buf, uint64_t size)
{
    s->answered = false;
    if (s->code != GMK_OK)
        return s->code;
    s->at += s->under_way;
    if (!s->edge_asked)
        return (int64_t)s->under_way;
    s->edge_at = 0;
    s->edge_n = (uint32_t)s->under_way;
    return hand_out_edge(s, buf, size);
}

static int64_t read_input(void *arg, void *buf, uint64_t size)
{
    source_t *s = arg;
    uint64_t left = (s->length - s->at + SECTOR - 1) / SECTOR, fit = size / SECTOR;

    if (s->answered)
        return take_answer(s, buf, size);
    if (s->edge_n)
        return hand_out_edge(s, buf, size);
    if (left == 0)
        return 0;
    s->edge_asked = fit == 0;
    return s->edge_asked ? start_read(s, s->edge, 1) : start_read(s, buf, fit < left ? fit : left);
}

/* ---- the result ---------------------------------------------------------------------------- */

/* Kept until the end: a serial line is slow, and a handler must not wait for it. */
static int keep_result(void *arg, const void *data, size_t size)
{
    (void)arg;
    if (demo.size + size > demo.room) {
        size_t room = demo.room ? demo.room : RESULT_FIRST;
        while (room < demo.size + size)
            room *= 2;
        char *bigger = vmm_alloc(room, VMM_RW);
        if (!bigger)
            return GMK_ALLOC_FAIL;
        if (demo.result) {
            memcpy(bigger, demo.result, demo.size);
            vmm_free(demo.result, demo.room);
        }
        demo.result = bigger;
        demo.room = room;
    }
    memcpy(demo.result + demo.size, data, size);
    demo.size += size;
    return 0;
}

static void done(void *arg, int code)
{
    (void)arg;
    demo.code = code;
    gmk_store32(&demo.finished, 1, GMK_REL, GMK_KERNEL);
    thread_unblock(demo.waiting);
}

static void print_result(void)
{
    size_t from = 0;

    for (size_t i = 0; i < demo.size; i++)
        if (demo.result[i] == '\n') {
            serial_write(SERIAL_COM1, demo.result + from, i - from);
            serial_write(SERIAL_COM1, "\r\n", 2);
            from = i + 1;
        }
}

/* ---- the run ------------------------------------------------------------------------------- */

static int complain(int code, const char *why)
{
    kprintf("wordcount: %s\n", why);
    return code;
}

static int open_source(source_t *s)
{
    char text[32], why[96];
    uint64_t length = 0;

    (void)boot_option("input_bytes", text, sizeof(text));
    if (!parse_number(text, &length)) {
        kprintf("wordcount: input_bytes=%s: give the length of the text, a number of bytes\n", text);
        return GMK_ERR_INVAL;
    }
    if (virtio_blk_count() == 0)
        return complain(GMK_ERR_NOTFOUND,
                        "there is no disk to read the text from; give the machine a virtio disk");
    s->disk = virtio_blk_at(0);
    s->length = length;
    uint64_t there = virtio_blk_sectors(s->disk) * SECTOR;
    if (length <= there)
        return GMK_OK;
    (void)ksnprintf(why, sizeof(why),
                    "the disk has %lu bytes, and the text %lu (input_bytes=): not the same disk?", there,
                    length);
    return complain(GMK_ERR_RANGE, why);
}

/*
 * A shard may have WC_WORDS_SLOTS batches in flight, and each worker fills one more: half of the arena is
 * for them, a quarter for chunks.
 */
static void share_arena(uint64_t arena)
{
    uint64_t workers = cpu_count(), batches = (WC_WORDS_SLOTS + workers) * WC_BATCH_BYTES;
    uint64_t fit = arena / 4 / wc_config.chunk_bytes, most = 2 * workers + 2;

    wc_config.shards = 1;
    while (wc_config.shards < 2 * workers && wc_config.shards < WC_MAX_SHARDS &&
           2 * wc_config.shards * batches <= arena / 2)
        wc_config.shards *= 2;
    fit = fit < 4 ? 2 : fit - 2;
    wc_config.chunk_slots = (uint32_t)(fit < most ? fit : most);
    wc_config.word_max = arena / 16;
    wc_config.top = boot_number("top", 20);
}

static int load_modules(void)
{
    static gmk_module_t *const modules[] = {&wc_report, &wc_trouble, &wc_count, &wc_tokenize, &wc_reader};
    int code = GMK_OK;

    for (uint32_t i = 0; i < sizeof(modules) / sizeof(modules[0]) && code == GMK_OK; i++)
        code = gmk_module_load(machine_core(), modules[i]);
    return code;
}

static int explain(int code)
{
    char why[96];
    const source_t *s = &demo.source;

    if (s->code != GMK_OK) {
        (void)ksnprintf(why, sizeof(why), "disk 0, sector %lu: %s", s->request.sector, gmk_strerror(s->code));
        return complain(code, why);
    }
    if (code == GMK_ALLOC_FAIL)
        return complain(
            code, "the arena is too small for so many different words; give arena= or the machine more");
    if (code == GMK_ERR_LIMIT)
        return complain(code, "a word is too long for the arena; give arena= or the machine more");
    return complain(code, gmk_strerror(code));
}

int demo_run(void)
{
    char bytes[TEXT_SHORT], time[TEXT_SHORT];
    uint64_t began = clock_now_ns();
    int code = open_source(&demo.source);

    if (code != GMK_OK)
        return code;
    demo.waiting = thread_self();
    wc_config.io = (wc_io_t){.read = read_input, .write = keep_result, .done = done, .arg = &demo.source};
    share_arena(machine_core()->arena_size);
    code = load_modules();
    if (code != GMK_OK)
        return explain(code);
    while (!gmk_load32(&demo.finished, GMK_ACQ, GMK_KERNEL))
        (void)thread_block(THREAD_NEVER);
    if (demo.code != GMK_OK)
        return explain(demo.code);
    print_result();
    kprintf("wordcount: %s on %u CPU%s in %s\n", text_bytes(bytes, demo.source.length), cpu_count(),
            cpu_count() == 1 ? "" : "s", text_ns(time, clock_now_ns() - began));
    return GMK_OK;
}
