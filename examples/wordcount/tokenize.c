/* SPDX-License-Identifier: MIT */
/*
 * tokenize.c — turns a chunk of text into batches of counted words, one batch (or more) a shard.
 *
 * Runs in parallel, one chunk a task.  Letters are classified eight bytes at a time into a bit
 * mask of 64, and words are the runs of ones in it, so the loop has a branch per word and not
 * per byte.  Words are counted where they will travel: the entries lie in the payload of the
 * batch, and a small index finds them.  A batch that is full joins the list of what is to be
 * sent and a new one takes its place.
 *
 * Nothing is emitted before the whole chunk is tokenized.  When a channel is full the task
 * waits with its list in the head of the chunk and goes on there.  When memory is short it gives back
 * what it has and begins again a little later: others may have finished meanwhile.
 */
#include "wc.h"

#define BATCH_LEAST 4096u  /* bytes, a power of two */
#define MEMORY_RETRIES 12u /* some 0.4 s in all */

/* A batch of n bytes is indexed by n / 16 slots, a power of two that leaves a third of them free. */
#define INDEX_SHIFT 4u
_Static_assert(sizeof(wc_entry_t) * 2 == 3u << INDEX_SHIFT, "a probe finds a free slot soon");

typedef struct tokenizer {
    gmk_ctx_t *ctx;
    wc_chunk_t *chunk;
    uint16_t *index[WC_MAX_SHARDS]; /* entry number + 1, 0 = free */
    uint32_t index_mask;            /* slots of an index - 1 */
    uint32_t batch_entries;
    wc_batch_t *words[WC_MAX_SHARDS]; /* the open batch of each shard */
    wc_batch_t *longs[WC_MAX_SHARDS]; /* the open batch of long words, when there is one */
} tokenizer_t;

static gmk_chan_t outs[WC_MAX_SHARDS];
static uint32_t told;        /* shards that have got the end; one task at a time sends it */
static uint32_t batch_bytes; /* a power of two, BATCH_LEAST .. WC_BATCH_BYTES */

/* keep[n] keeps the first n bytes of a little-endian word. */
static const uint64_t keep[9] = {
    0, 0xff, 0xffff, 0xffffff, 0xffffffff, 0xffffffffff, 0xffffffffffff, 0xffffffffffffff, ~(uint64_t)0,
};

#define EACH(b) ((uint64_t)(b)*0x0101010101010101u) /* the byte b in all eight places */

static inline uint64_t load8(const uint8_t *p)
{
    uint64_t v;

    __builtin_memcpy(&v, p, 8);
    return v;
}

/* Bit i tells whether byte i of the eight, which are aligned, is an ASCII letter. */
static inline uint64_t letters8(const uint8_t *p)
{
    uint64_t v = load8(__builtin_assume_aligned(p, 8)), low = (v & EACH(0x7f)) | EACH(0x20);
    uint64_t from_a = low + EACH(0x80 - 'a'), past_z = low + EACH(0x80 - 'z' - 1);
    uint64_t m = from_a & ~past_z & ~v & EACH(0x80);

    return (m >> 7) * 0x0102040810204080u >> 56; /* gathers the eight top bits */
}

static inline uint64_t letters64(const uint8_t *p)
{
    uint64_t m = 0;

    for (uint32_t i = 0; i < 8; i++)
        m |= letters8(p + 8 * i) << (8 * i);
    return m;
}

static wc_batch_t *new_batch(tokenizer_t *t, uint32_t shard, uint64_t size)
{
    wc_batch_t *b = gmk_payload_alloc(t->ctx, size);

    if (!b) {
        t->chunk->failed = 1;
        return NULL;
    }
    *b = (wc_batch_t){.next = t->chunk->unsent, .shard = shard};
    t->chunk->unsent = b;
    return b;
}

/* Opens a batch of entries for the shard and forgets the entries of the one before. */
static bool open_batch(tokenizer_t *t, uint32_t shard)
{
    uint16_t *index = t->index[shard];

    for (uint32_t i = 0; i <= t->index_mask; i++)
        index[i] = 0;
    t->words[shard] = new_batch(t, shard, batch_bytes);
    return t->words[shard] != NULL;
}

static void add_entry(tokenizer_t *t, uint16_t *slot, uint32_t shard, wc_entry_t entry)
{
    wc_batch_t *b = t->words[shard];

    wc_entries(b)[b->n++] = entry;
    *slot = (uint16_t)b->n;
    if (b->n == t->batch_entries)
        (void)open_batch(t, shard);
}

static inline void add_short(tokenizer_t *t, const uint8_t *word, uint64_t len)
{
    uint64_t first = len < 8 ? len : 8;
    uint64_t lo = (load8(word) | EACH(0x20)) & keep[first];
    uint64_t hi = (load8(word + 8) | EACH(0x20)) & keep[len - first];
    uint64_t hash = wc_hash(lo, hi);
    uint32_t shard = wc_shard(hash), i = (uint32_t)hash;
    uint16_t *index = t->index[shard];
    wc_entry_t *entries = wc_entries(t->words[shard]);

    for (;; i++) {
        uint16_t *slot = &index[i & t->index_mask];
        if (*slot == 0) {
            add_entry(t, slot, shard, (wc_entry_t){.lo = lo, .hi = hi, .count = 1});
            return;
        }
        wc_entry_t *e = &entries[*slot - 1u];
        if (e->lo == lo && e->hi == hi) {
            e->count++;
            return;
        }
    }
}

static uint64_t hash_bytes(const uint8_t *word, uint64_t len)
{
    uint64_t h = len;

    for (uint64_t i = 0; i < len; i++)
        h = (h ^ (word[i] | 0x20u)) * 0x100000001b3u;
    return wc_hash(h, len);
}

/* Long words are rare: they are not counted here, each occurrence travels. */
static void add_long(tokenizer_t *t, const uint8_t *word, uint64_t len)
{
    uint64_t hash = hash_bytes(word, len), bytes = wc_long_bytes(len);
    uint32_t shard = wc_shard(hash);
    wc_batch_t *b = t->longs[shard];

    if (!b || sizeof(*b) + b->used + bytes > batch_bytes) {
        uint64_t size = sizeof(*b) + bytes;
        b = new_batch(t, shard, size > batch_bytes ? size : batch_bytes);
        t->longs[shard] = b;
        if (!b)
            return;
    }
    wc_long_t *l = (wc_long_t *)(void *)(wc_longs(b) + b->used);
    uint8_t *to = (uint8_t *)(l + 1);
    *l = (wc_long_t){.len = len, .hash = hash};
    for (uint64_t i = 0; i < len; i++)
        to[i] = (uint8_t)(word[i] | 0x20);
    b->used += bytes;
}

static inline void add_word(tokenizer_t *t, const uint8_t *word, uint64_t len)
{
    if (len <= WC_KEY_LETTERS)
        add_short(t, word, len);
    else
        add_long(t, word, len);
}

/* Finds every word of the text.  The zero bytes behind it end the last one. */
WC_APART static void scan(tokenizer_t *t)
{
    const uint8_t *text = wc_text(t->chunk), *start = NULL;
    uint64_t inside = 0; /* was the byte before this block a letter? */

    for (uint64_t at = 0; at <= t->chunk->len && !t->chunk->failed; at += 64) {
        const uint8_t *block = text + at;
        wc_alive(t->ctx, at >> 3); /* every 8 KiB */
        uint64_t m = letters64(block);
        uint64_t edges = m ^ (m << 1 | inside); /* where a word begins, or has just ended */
        if (inside && edges) {
            add_word(t, start, (uint64_t)(block + __builtin_ctzll(edges) - start));
            edges &= edges - 1;
        }
        while (edges && !t->chunk->failed) {
            start = block + __builtin_ctzll(edges);
            edges &= edges - 1;
            if (!edges)
                break;
            add_word(t, start, (uint64_t)(block + __builtin_ctzll(edges) - start));
            edges &= edges - 1;
        }
        inside = m >> 63;
    }
}

/* Counts the words of the chunk into batches, at least one a shard. */
static void tokenize(gmk_ctx_t *c, wc_chunk_t *chunk)
{
    tokenizer_t t = {.ctx = c, .chunk = chunk, .index_mask = (batch_bytes >> INDEX_SHIFT) - 1};
    uint16_t *indices = gmk_alloc(c, (uint64_t)wc_config.shards * (t.index_mask + 1) * sizeof(*indices));

    t.batch_entries = (uint32_t)((batch_bytes - sizeof(wc_batch_t)) / sizeof(wc_entry_t));
    if (!indices)
        chunk->failed = 1;
    /* The list is sent newest first, so the first batch of a shard is its last message. */
    for (uint32_t s = 0; s < wc_config.shards && !chunk->failed; s++) {
        t.index[s] = indices + (uint64_t)s * (t.index_mask + 1);
        if (open_batch(&t, s))
            t.words[s]->closes = 1;
    }
    if (!chunk->failed)
        scan(&t);
    gmk_free(c, indices);
    chunk->tokenized = 1;
}

/* Emits to the shard; GMK_CHAN_FULL means that this task will run again once there is room. */
static int emit_or_wait(gmk_ctx_t *c, uint32_t shard, const gmk_task_t *t)
{
    int rc = gmk_chan_emit(c, outs[shard], t);

    if (rc == GMK_CHAN_FULL) {
        int waiting = gmk_chan_wait(c, outs[shard], 1);
        return waiting == GMK_OK ? rc : waiting;
    }
    return rc;
}

static int send_batches(gmk_ctx_t *c, wc_chunk_t *chunk)
{
    int rc = GMK_OK;

    while (chunk->unsent && rc == GMK_OK) {
        wc_batch_t *b = chunk->unsent, *next = b->next;
        gmk_task_t t = {.type = WC_COUNT, .flags = GMK_PRIO_1 | GMK_TASK_PAYLOAD_RC};
        t.payload_ptr = (uint64_t)(uintptr_t)b;
        t.payload_len = (uint32_t)(sizeof(*b) + b->n * sizeof(wc_entry_t) + b->used);
        t.meta0 = WC_DATA | (uint64_t)b->shard << 8;
        rc = emit_or_wait(c, b->shard, &t); /* once accepted, the batch is no longer ours */
        if (rc == GMK_OK)
            chunk->unsent = next;
    }
    return rc;
}

/* One failure ends the run, so it need not reach every shard. */
static int send_failure(gmk_ctx_t *c, int code)
{
    gmk_task_t t = {.type = WC_COUNT, .flags = GMK_PRIO_1, .meta0 = WC_FAILED};

    t.meta1 = (uint64_t)(int64_t)code;
    return emit_or_wait(c, 0, &t);
}

/* Tells every shard how many chunks there were. */
static int send_end(gmk_ctx_t *c, uint64_t chunks)
{
    int rc = GMK_OK;

    while (told < wc_config.shards && rc == GMK_OK) {
        gmk_task_t t = {.type = WC_COUNT, .flags = GMK_PRIO_1, .meta1 = chunks};
        t.meta0 = WC_END | (uint64_t)told << 8;
        rc = emit_or_wait(c, told, &t);
        if (rc == GMK_OK)
            told++;
    }
    return rc;
}

/* Gives back what was counted. */
static void forget_batches(gmk_ctx_t *c, wc_chunk_t *chunk)
{
    while (chunk->unsent) {
        wc_batch_t *b = chunk->unsent;
        chunk->unsent = b->next;
        (void)gmk_payload_release(c, b);
    }
}

static int take_chunk(gmk_ctx_t *c, wc_chunk_t *chunk)
{
    if (!chunk->tokenized)
        tokenize(c, chunk);
    if (!chunk->failed)
        return send_batches(c, chunk);
    forget_batches(c, chunk);
    if (c->task->retry_count == MEMORY_RETRIES)
        return send_failure(c, GMK_ALLOC_FAIL);
    chunk->failed = chunk->tokenized = 0;
    return GMK_RETRY;
}

static int on_chunk(gmk_ctx_t *c)
{
    const gmk_task_t *t = c->task;
    int rc;

    if (t->meta0 == WC_END)
        rc = send_end(c, t->meta1);
    else if (t->meta0 == WC_FAILED)
        rc = send_failure(c, (int)(int64_t)t->meta1);
    else
        rc = take_chunk(c, (wc_chunk_t *)(uintptr_t)t->payload_ptr);
    return rc == GMK_CHAN_FULL ? GMK_OK : rc;
}

/* A batch has room for about twice what falls to a shard of a chunk. */
static uint32_t choose_batch_bytes(void)
{
    uint32_t n = BATCH_LEAST;

    while (n < WC_BATCH_BYTES && n < 2 * (uint64_t)wc_config.chunk_bytes / wc_config.shards)
        n *= 2;
    return n;
}

static int init(gmk_ctx_t *c)
{
    const gmk_sub_cfg_t sub = {.handler = WC_TOKENIZE, .order = GMK_PARALLEL};
    gmk_chan_t in;
    int rc = GMK_OK;

    told = 0;
    batch_bytes = choose_batch_bytes();
    for (uint32_t s = 0; s < wc_config.shards && rc == GMK_OK; s++)
        rc = wc_open_words(c, s, &outs[s]);
    if (rc == GMK_OK)
        rc = wc_open_chunk(c, &in);
    return rc == GMK_OK ? gmk_chan_sub(c, in, &sub, NULL) : rc;
}

static const gmk_handler_reg_t handlers[] = {
    {.type = WC_TOKENIZE, .fn = on_chunk, .name = "wc.tokenize", .max_retries = MEMORY_RETRIES},
};

gmk_module_t wc_tokenize = {
    .name = "wc.tokenize",
    .version = 1,
    .handlers = handlers,
    .n_handlers = 1,
    .init = init,
};

GMK_MODULE(wc_tokenize);
