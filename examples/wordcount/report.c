/* SPDX-License-Identifier: MIT */
/*
 * report.c — merges the shards' lists, which come sorted, and writes the result, or ends the run with the
 * first failure that arrives.
 */
#include "wc.h"

typedef struct list {
    const uint8_t *at; /* the next record */
    uint64_t left;
    void *payload;
} list_t;

static struct {
    list_t lists[WC_MAX_SHARDS];
    uint32_t n_lists;
    bool done;
} report;

#define LINE_BUFFER 4096u

typedef struct writer {
    uint8_t bytes[LINE_BUFFER];
    uint64_t n;
    bool failed;
} writer_t;

static void flush(writer_t *w)
{
    if (w->n && !w->failed && wc_config.io.write(wc_config.io.arg, w->bytes, (size_t)w->n) < 0)
        w->failed = true;
    w->n = 0;
}

static void put(writer_t *w, const uint8_t *bytes, uint64_t n)
{
    if (w->n + n > LINE_BUFFER)
        flush(w);
    if (n > LINE_BUFFER) {
        if (!w->failed && wc_config.io.write(wc_config.io.arg, bytes, (size_t)n) < 0)
            w->failed = true;
        return;
    }
    wc_copy(w->bytes + w->n, bytes, n);
    w->n += n;
}

/* The count, right-aligned to seven places, and a space: what uniq -c prints. */
static void put_count(writer_t *w, uint64_t count)
{
    uint8_t digits[24];
    uint32_t at = sizeof(digits);

    digits[--at] = ' ';
    do
        digits[--at] = (uint8_t)('0' + count % 10);
    while (count /= 10);
    while (sizeof(digits) - at < 8)
        digits[--at] = ' ';
    put(w, digits + at, sizeof(digits) - at);
}

static bool before(const list_t *a, const list_t *b)
{
    const wc_record_t *x = (const wc_record_t *)(const void *)a->at,
                      *y = (const wc_record_t *)(const void *)b->at;

    if (x->count != y->count)
        return x->count > y->count;
    return wc_word_before((const uint8_t *)(x + 1), x->len, (const uint8_t *)(y + 1), y->len);
}

/* The list whose next word comes first, NULL when all are empty. */
static list_t *first_list(void)
{
    list_t *best = NULL;

    for (uint32_t i = 0; i < report.n_lists; i++) {
        list_t *l = &report.lists[i];
        if (l->left && (!best || before(l, best)))
            best = l;
    }
    return best;
}

static int write_result(void)
{
    writer_t w = {.n = 0};
    list_t *l;

    for (uint64_t n = 0; (wc_config.top == 0 || n < wc_config.top) && (l = first_list()); n++) {
        const wc_record_t *r = (const wc_record_t *)(const void *)l->at;
        put_count(&w, r->count);
        put(&w, (const uint8_t *)(r + 1), r->len);
        put(&w, (const uint8_t *)"\n", 1);
        l->at += wc_record_bytes(r->len);
        l->left--;
    }
    flush(&w);
    return w.failed ? GMK_ERR_IO : GMK_OK;
}

static void finish(gmk_ctx_t *c, int code)
{
    for (uint32_t i = 0; i < report.n_lists; i++)
        (void)gmk_payload_release(c, report.lists[i].payload);
    report.done = true;
    wc_config.io.done(wc_config.io.arg, code);
}

static int on_top(gmk_ctx_t *c)
{
    const gmk_task_t *t = c->task;

    if (report.done)
        return GMK_OK;
    if (t->meta0 == WC_FAILED) {
        finish(c, (int)(int64_t)t->meta1);
        return GMK_OK;
    }
    list_t *l = &report.lists[report.n_lists++];
    l->payload = (void *)(uintptr_t)t->payload_ptr;
    l->at = l->payload;
    l->left = t->meta1;
    (void)gmk_payload_retain(c, l->payload); /* until every list is there */
    if (report.n_lists == wc_config.shards)
        finish(c, write_result());
    return GMK_OK;
}

static int init(gmk_ctx_t *c)
{
    (void)c;
    report.n_lists = 0;
    report.done = false;
    return GMK_OK;
}

static const gmk_handler_reg_t handlers[] = {{.type = WC_REPORT, .fn = on_top, .name = "wc.report"}};
static const gmk_chan_decl_t channels[] = {
    {.name = "wc.top",
     .direction = GMK_CONSUMES,
     .msg_type = WC_REPORT,
     .handler = WC_REPORT,
     .slots = WC_TOP_SLOTS},
};

gmk_module_t wc_report = {
    .name = "wc.report",
    .version = 1,
    .handlers = handlers,
    .n_handlers = 1,
    .channels = channels,
    .n_channels = 1,
    .init = init,
};
