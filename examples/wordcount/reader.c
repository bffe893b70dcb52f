/* SPDX-License-Identifier: MIT */
/*
 * reader.c — cuts a stream of bytes into chunks and emits them on wc.chunk.
 *
 * A chunk ends between two words: the piece of a word at its end moves to the head of the next
 * one.  A chunk that is one long piece of a word grows until the word ends.  When the channel
 * is full the reader waits for a credit, so the text in memory is bounded whatever the input.
 *
 * One WC_READ task is alive at a time; init starts the first.  After the source has answered
 * WC_LATER nothing here is touched until the task that it submits runs.
 */
#include "wc.h"

static struct {
    gmk_chan_t out;
    wc_chunk_t *filling; /* being filled; counted payload */
    wc_chunk_t *ready;   /* cut, not yet accepted by the channel */
    uint64_t room;       /* bytes of text that fit into `filling` */
    uint64_t chunks;     /* emitted */
    uint64_t last_kind;  /* the final message, once the input has ended: WC_END or WC_FAILED */
    uint64_t last_value;
    bool ended;
    uint32_t bytes_read; /* metric */
} reader;

static bool is_letter(uint8_t b) { return (uint8_t)((b | 0x20) - 'a') < 26; }

static void end_with(uint64_t kind, uint64_t value)
{
    reader.ended = true;
    reader.last_kind = kind;
    reader.last_value = value;
}

static void fail(int code) { end_with(WC_FAILED, (uint64_t)(int64_t)code); }

/* A chunk with room for at least `text` bytes and one more. */
static wc_chunk_t *new_chunk(gmk_ctx_t *c, uint64_t text, uint64_t *room)
{
    uint64_t size = wc_config.chunk_bytes;

    while (size - WC_CHUNK_HEAD - WC_CHUNK_PAD <= text)
        size *= 2;
    wc_chunk_t *chunk = gmk_payload_alloc(c, size);
    if (chunk) {
        *chunk = (wc_chunk_t){.len = 0};
        *room = size - WC_CHUNK_HEAD - WC_CHUNK_PAD;
    }
    return chunk;
}

/* Length of the text up to and with the last byte that is no letter. */
static uint64_t last_border(wc_chunk_t *chunk)
{
    const uint8_t *text = wc_text(chunk);
    uint64_t n = chunk->len;

    while (n > 0 && is_letter(text[n - 1]))
        n--;
    return n;
}

/* The chunk is complete up to `len`: hands it to the channel's side. */
static void make_ready(wc_chunk_t *chunk, uint64_t len)
{
    uint8_t *text = wc_text(chunk);

    chunk->len = len;
    for (uint32_t i = 0; i < WC_CHUNK_PAD; i++)
        text[len + i] = 0;
    reader.ready = chunk;
}

/* `filling` is full: splits it at its last border, or lets it grow when there is none. */
static void split(gmk_ctx_t *c)
{
    wc_chunk_t *chunk = reader.filling;
    uint64_t cut = last_border(chunk), tail = chunk->len - cut, room;

    if (tail > wc_config.word_max) {
        fail(GMK_ERR_LIMIT);
        return;
    }
    wc_chunk_t *next = new_chunk(c, tail, &room);
    if (!next) {
        fail(GMK_ALLOC_FAIL);
        return;
    }
    wc_copy(wc_text(next), wc_text(chunk) + cut, tail);
    next->len = tail;
    reader.filling = next;
    reader.room = room;
    if (cut)
        make_ready(chunk, cut);
    else
        (void)gmk_payload_release(c, chunk);
}

/* The input has ended: what is left is the last chunk. */
static void finish(void)
{
    uint64_t rest = reader.filling->len ? 1 : 0;

    if (rest) {
        make_ready(reader.filling, reader.filling->len);
        reader.filling = NULL;
    }
    end_with(WC_END, reader.chunks + rest);
}

/* Reads until a chunk is ready or the input has ended: OK, or WC_LATER. */
static int fill(gmk_ctx_t *c)
{
    if (!reader.filling && !(reader.filling = new_chunk(c, 0, &reader.room)))
        fail(GMK_ALLOC_FAIL);
    while (!reader.ready && !reader.ended) {
        wc_chunk_t *chunk = reader.filling;
        int64_t n = wc_config.io.read(wc_config.io.arg, wc_text(chunk) + chunk->len,
                                      reader.room - chunk->len);
        if (n == WC_LATER)
            return WC_LATER;
        if (n < 0) {
            fail((int)n);
        } else if (n == 0) {
            finish();
        } else {
            gmk_metric_inc(c, reader.bytes_read, (uint32_t)n);
            chunk->len += (uint64_t)n;
            if (chunk->len == reader.room)
                split(c);
        }
    }
    return GMK_OK;
}

/* Emits the chunk that is ready, then, at the end, the final message. */
static int send(gmk_ctx_t *c)
{
    gmk_task_t t = {.type = WC_TOKENIZE, .flags = GMK_PRIO_2};
    int rc = GMK_OK;

    if (reader.ready) {
        t.flags |= GMK_TASK_PAYLOAD_RC;
        t.payload_ptr = (uint64_t)(uintptr_t)reader.ready;
        t.payload_len = (uint32_t)(reader.ready->len + WC_CHUNK_HEAD + WC_CHUNK_PAD);
        rc = gmk_chan_emit(c, reader.out, &t);
        if (rc == GMK_OK) {
            reader.ready = NULL;
            reader.chunks++;
        }
    }
    if (rc == GMK_OK && reader.ended) {
        t = (gmk_task_t){.type = WC_TOKENIZE, .flags = GMK_PRIO_2};
        t.meta0 = reader.last_kind;
        t.meta1 = reader.last_value;
        rc = gmk_chan_emit(c, reader.out, &t);
    }
    return rc;
}

static int on_read(gmk_ctx_t *c)
{
    if (!reader.ready && !reader.ended && fill(c) == WC_LATER)
        return GMK_OK;
    int rc = send(c);
    if (rc == GMK_CHAN_FULL)
        return gmk_chan_wait(c, reader.out, 1);
    if (rc == GMK_OK && !reader.ended)
        return gmk_yield(c);
    return rc;
}

static int init(gmk_ctx_t *c)
{
    gmk_task_t first = {.type = WC_READ, .flags = GMK_PRIO_3};

    reader.filling = reader.ready = NULL;
    reader.chunks = 0;
    reader.ended = false;
    int rc = gmk_metric_register(c->kernel, "wc_bytes_read", GMK_COUNTER, &reader.bytes_read);
    if (rc == GMK_OK)
        rc = wc_open_chunk(c, &reader.out);
    return rc == GMK_OK ? gmk_emit(c, &first) : rc;
}

static void fini(gmk_ctx_t *c)
{
    if (reader.filling)
        (void)gmk_payload_release(c, reader.filling);
    if (reader.ready)
        (void)gmk_payload_release(c, reader.ready);
}

static const gmk_handler_reg_t handlers[] = {
    {.type = WC_READ, .fn = on_read, .name = "wc.read", .max_yields = GMK_YIELDS_UNLIMITED},
};

gmk_module_t wc_reader = {
    .name = "wc.reader",
    .version = 1,
    .handlers = handlers,
    .n_handlers = 1,
    .init = init,
    .fini = fini,
};
