/* SPDX-License-Identifier: MIT */
/*
 * wc.h — what the modules of the word counter share: types of messages and their layouts.
 *
 *   reader --wc.chunk--> tokenize --wc.words.S--> count --wc.top--> report
 *              P2P,         parallel     one P2P channel    P2P, ordered
 *            parallel                    a shard, ordered
 *
 * The modules know each other by these channels only, and each opens what it uses, so that tokenize and count
 * may live on another kernel than reader and report: what travels on wc.chunk and wc.top points at nothing.
 * They include <ggmk.h> and nothing else; what touches the outside world is the wc_io_t that the program
 * supplies before it boots.
 *
 * A word is a maximal run of ASCII letters, lower-cased.  Words of up to 16 letters travel as
 * two 64-bit keys, zero-padded; longer ones as their bytes.
 *
 * Failures travel in band: a message with WC_FAILED carries a code in meta1 down to report,
 * which ends the run with it.  The module trouble, of which each kernel has one, sends it the dead letters.
 */
#ifndef WC_H
#define WC_H

#include <ggmk.h>

/* Handler types, which are also the types of the messages they take. */
enum { WC_READ = 1, WC_TOKENIZE = 2, WC_COUNT = 3, WC_REPORT = 4, WC_TROUBLE = 5 };

#define WC_MAX_SHARDS 16u
#define WC_KEY_LETTERS 16u /* longest word that travels as keys */

/* ---- the outside world -------------------------------------------------------------------- */

/* read() may answer this: nothing now, and a WC_READ task will be submitted when there is. */
#define WC_LATER GMK_ERR_BUSY

/*
 * read   fills up to `size` bytes at `buf`, an address in the arena, so a driver may aim its DMA
 *        there: > 0 bytes, 0 at the end, WC_LATER, or another negative code.  One call at a time.
 * write  takes a piece of the result, in order; < 0 = failed.
 * done   is called once, last: GMK_OK, or why the run failed.
 */
typedef struct wc_io {
    int64_t (*read)(void *arg, void *buf, uint64_t size);
    gmk_write_fn write;
    void (*done)(void *arg, int code);
    void *arg;
} wc_io_t;

/*
 * Set before the boot, constant afterwards: by the program, or on a kernel that is booted from an image
 * by its first module (device.c).
 */
typedef struct wc_config {
    wc_io_t io;
    uint32_t shards;      /* power of two, 1 .. WC_MAX_SHARDS */
    uint32_t chunk_bytes; /* size of a chunk's payload, > WC_CHUNK_HEAD + WC_CHUNK_PAD */
    uint32_t chunk_slots; /* chunks in flight */
    uint64_t word_max;    /* longest word, bytes */
    uint64_t top;         /* words to print, 0 = all */
} wc_config_t;

extern wc_config_t wc_config;

/* The modules, in the order in which they boot: a consumer before its producers. */
extern gmk_module_t wc_report, wc_trouble, wc_count, wc_tokenize, wc_reader;

/* ---- wc.chunk: reader to tokenize --------------------------------------------------------- */

/*
 * The payload: this head, `len` bytes of text that begin and end between two words, and
 * WC_CHUNK_PAD zero bytes.  One message with meta0 = WC_END says in meta1 how many chunks there
 * were; it has no payload.
 */
typedef struct wc_chunk {
    struct wc_batch *unsent; /* tokenize's, and NULL when it arrives: batches whose channel was full */
    uint64_t len;
    uint32_t tokenized; /* tokenize's, likewise 0: the text is done, the batches are being sent */
    uint32_t failed;    /* tokenize's, likewise 0: an allocation failed */
    uint8_t reserved[40];
} wc_chunk_t;

#define WC_CHUNK_HEAD 64u
#define WC_CHUNK_PAD 128u
_Static_assert(sizeof(wc_chunk_t) == WC_CHUNK_HEAD, "the text begins on a cache line");

/* What a message is, in meta0. */
enum { WC_DATA = 0, WC_END = 1, WC_FAILED = 2 };

static inline uint8_t *wc_text(wc_chunk_t *chunk) { return (uint8_t *)chunk + WC_CHUNK_HEAD; }

/* ---- wc.words.S: tokenize to count -------------------------------------------------------- */

/*
 * meta0: bits 0-7 what it is (WC_DATA, WC_END, WC_FAILED), bits 8-15 the shard.  meta1: with END
 * the number of chunks, with FAILED the code.  The payload of DATA is a wc_batch_t; every chunk
 * sends exactly one batch with `closes` set to every shard, even when it has no word for it.
 */

typedef struct wc_entry {
    uint64_t lo, hi; /* letters 0-7 and 8-15, first letter in the lowest byte */
    uint64_t count;
} wc_entry_t;

/* A word longer than WC_KEY_LETTERS: followed by its bytes, padded to a multiple of 8. */
typedef struct wc_long {
    uint64_t len;
    uint64_t hash;
} wc_long_t;

typedef struct wc_batch {
    struct wc_batch *next; /* tokenize's */
    uint32_t shard;
    uint32_t n;      /* entries, or 0: long words */
    uint32_t closes; /* the last batch of its chunk for its shard */
    uint32_t reserved;
    uint64_t used; /* bytes of long words */
} wc_batch_t;

#define WC_WORDS_SLOTS 32u    /* batches in flight, a shard */
#define WC_BATCH_BYTES 65536u /* of the largest, but for one long word; those of small chunks are smaller */

static inline wc_entry_t *wc_entries(wc_batch_t *b) { return (wc_entry_t *)(b + 1); }
static inline uint8_t *wc_longs(wc_batch_t *b) { return (uint8_t *)(b + 1); }
static inline uint64_t wc_long_bytes(uint64_t len) { return sizeof(wc_long_t) + ((len + 7) & ~(uint64_t)7); }

/* ---- wc.top: count and trouble to report --------------------------------------------------- */

/*
 * meta0 is WC_DATA or WC_FAILED (meta1 = code), one message a shard.  meta1 of DATA is the number
 * of records in the payload: the shard's most frequent words, most frequent first.
 */
typedef struct wc_record { /* followed by the word, padded to a multiple of 8 */
    uint64_t count;
    uint64_t len;
} wc_record_t;

static inline uint64_t wc_record_bytes(uint64_t len)
{
    return sizeof(wc_record_t) + ((len + 7) & ~(uint64_t)7);
}

#define WC_TOP_SLOTS (4 * WC_MAX_SHARDS)

/* A part of a handler that is big and seldom entered: what it needs of a GPU's registers is saved there alone. */
#define WC_APART __attribute__((noinline))

/* ---- shared little things ----------------------------------------------------------------- */

/* Multiply-xorshift over both keys; the high bits choose the shard, the low ones the slot. */
static inline uint64_t wc_hash(uint64_t lo, uint64_t hi)
{
    uint64_t h = (lo ^ (hi * 0x9e3779b97f4a7c15u)) * 0xd6e8feb86659fd93u;

    h ^= h >> 32;
    return h * 0xff51afd7ed558ccdu;
}

static inline uint32_t wc_shard(uint64_t hash) { return (uint32_t)(hash >> 60) & (wc_config.shards - 1); }

static inline void wc_copy(void *restrict to, const void *restrict from, uint64_t n)
{
    uint8_t *restrict t = to;
    const uint8_t *restrict f = from;

    for (uint64_t i = 0; i < n; i++)
        t[i] = f[i];
}

/* Does word a come before word b, byte by byte? */
static inline bool wc_word_before(const uint8_t *a, uint64_t a_len, const uint8_t *b, uint64_t b_len)
{
    for (uint64_t i = 0; i < a_len && i < b_len; i++)
        if (a[i] != b[i])
            return a[i] < b[i];
    return a_len < b_len;
}

/* In round i of a loop that may be long: a sign of life, so that no watchdog takes the handler for a hung one. */
static inline void wc_alive(gmk_ctx_t *c, uint64_t i)
{
    if ((i & 1023) == 0)
        (void)gmk_over_budget(c);
}

/* Opens a channel, or finds it where the other end has opened it already. */
static inline int wc_open(gmk_ctx_t *c, const gmk_chan_cfg_t *cfg, gmk_chan_t *out)
{
    int rc = gmk_chan_find(c, cfg->name, out);

    return rc == GMK_ERR_NOTFOUND ? gmk_chan_open(c, cfg, out) : rc;
}

static inline int wc_open_chunk(gmk_ctx_t *c, gmk_chan_t *out)
{
    const gmk_chan_cfg_t cfg = {.name = "wc.chunk", .msg_type = WC_TOKENIZE, .slots = wc_config.chunk_slots};

    return wc_open(c, &cfg, out);
}

/* The channel of a shard, wc.words.SS. */
static inline int wc_open_words(gmk_ctx_t *c, uint32_t shard, gmk_chan_t *out)
{
    const char digits[] = {(char)('0' + shard / 10), (char)('0' + shard % 10), 0};
    char name[16] = "wc.words.";
    const gmk_chan_cfg_t cfg = {.name = name, .msg_type = WC_COUNT, .slots = WC_WORDS_SLOTS};

    wc_copy(name + 9, digits, sizeof(digits));
    return wc_open(c, &cfg, out);
}

#endif
