/* SPDX-License-Identifier: MIT */
#include "fxt_read.h"

#include <stdlib.h>
#include <string.h>

static uint64_t fxt_bits(uint64_t w, int from, int to)
{
    return w >> from & (to - from == 63 ? UINT64_MAX : (1ull << (to - from + 1)) - 1);
}

static uint64_t fxt_word(const unsigned char *p)
{
    uint64_t w = 0;
    for (int i = 7; i >= 0; i--)
        w = w << 8 | p[i];
    return w;
}

/* The string behind a reference; an inline one is taken from *p, which moves on. */
static const char *fxt_string(fxt_trace_t *t, uint64_t ref, const unsigned char **p, const unsigned char *end,
                              char out[64])
{
    out[0] = '\0';
    if (ref & 0x8000) {
        size_t len = ref & 0x7fff, padded = (len + 7) / 8 * 8;
        if (len > 63 || (size_t)(end - *p) < padded)
            return "inline string leaves its record";
        memcpy(out, *p, len);
        out[len] = '\0';
        *p += padded;
    } else if (ref != 0) {
        if (t->string[ref][0] == '\0')
            return "string index used before it was registered";
        memcpy(out, t->string[ref], 64);
    }
    return NULL;
}

static const char *fxt_args(fxt_trace_t *t, int n, fxt_arg_t *out, const unsigned char **p,
                            const unsigned char *end)
{
    for (int i = 0; i < n; i++) {
        if (end - *p < 8)
            return "argument leaves its record";
        const unsigned char *q = *p + 8;
        uint64_t h = fxt_word(*p), size = fxt_bits(h, 4, 15) * 8;
        if (size == 0 || size > (uint64_t)(end - *p))
            return "argument size";
        const unsigned char *arg_end = *p + size;
        const char *bad = fxt_string(t, fxt_bits(h, 16, 31), &q, arg_end, out[i].name);
        out[i].type = (int)fxt_bits(h, 0, 3);
        out[i].number = fxt_bits(h, 32, 63);
        out[i].text[0] = '\0';
        if (bad == NULL && out[i].type == 6)
            bad = fxt_string(t, fxt_bits(h, 32, 47), &q, arg_end, out[i].text);
        else if (bad == NULL &&
                 (out[i].type == 3 || out[i].type == 4 || out[i].type == 7 || out[i].type == 8)) {
            if (arg_end - q < 8)
                return "argument value";
            out[i].number = fxt_word(q);
            q += 8;
        }
        if (bad != NULL)
            return bad;
        if (q != arg_end)
            return "argument size does not fit its content";
        *p = arg_end;
    }
    return NULL;
}

/* Room for one more than n, by doubling: a power of two says that what there is is full. */
static void *fxt_grow(void *p, size_t n, size_t each)
{
    return (n & (n - 1)) == 0 ? realloc(p, (n != 0 ? 2 * n : 1) * each) : p;
}

static const char *fxt_event_record(fxt_trace_t *t, uint64_t h, const unsigned char *p,
                                    const unsigned char *end)
{
    t->event = fxt_grow(t->event, t->n_events, sizeof *t->event);
    fxt_event_t *e = &t->event[t->n_events];
    memset(e, 0, sizeof *e);
    e->order = t->n_events++;
    e->kind = (int)fxt_bits(h, 16, 19);
    e->n_args = (int)fxt_bits(h, 20, 23);
    unsigned thread = (unsigned)fxt_bits(h, 24, 31);
    if (end - p < (thread == 0 ? 24 : 8))
        return "event too short";
    e->time = fxt_word(p);
    p += 8;
    if (thread == 0) {
        e->process = fxt_word(p);
        e->thread = fxt_word(p + 8);
        p += 16;
    } else {
        if (!t->thread[thread].set)
            return "thread index used before it was registered";
        e->process = t->thread[thread].process;
        e->thread = t->thread[thread].thread;
    }
    const char *bad = fxt_string(t, fxt_bits(h, 32, 47), &p, end, e->category);
    if (bad == NULL)
        bad = fxt_string(t, fxt_bits(h, 48, 63), &p, end, e->name);
    if (bad == NULL)
        bad = fxt_args(t, e->n_args, e->arg, &p, end);
    if (bad != NULL)
        return bad;
    bool has_id = e->kind == FXT_FLOW_BEGIN || e->kind == FXT_FLOW_STEP || e->kind == FXT_FLOW_END;
    if (!has_id && e->kind != FXT_INSTANT && e->kind != FXT_BEGIN && e->kind != FXT_END)
        return "event kind not expected here";
    if (end - p != (has_id ? 8 : 0))
        return "event size does not fit its content";
    e->id = has_id ? fxt_word(p) : 0;
    return NULL;
}

static const char *fxt_string_record(fxt_trace_t *t, uint64_t h, const unsigned char *p,
                                     const unsigned char *end)
{
    size_t index = fxt_bits(h, 16, 30), len = fxt_bits(h, 32, 46);
    if (fxt_bits(h, 31, 31) != 0 || fxt_bits(h, 47, 63) != 0)
        return "reserved bits in a string record";
    if (index == 0 || len == 0 || len > 63 || (size_t)(end - p) != (len + 7) / 8 * 8)
        return "string record";
    for (size_t i = len; i < (size_t)(end - p); i++)
        if (p[i] != 0)
            return "string padding is not zero";
    memcpy(t->string[index], p, len);
    t->string[index][len] = '\0';
    return NULL;
}

static const char *fxt_object_record(fxt_trace_t *t, uint64_t h, const unsigned char *p,
                                     const unsigned char *end)
{
    fxt_arg_t arg[15];
    t->object = fxt_grow(t->object, t->n_objects, sizeof *t->object);
    fxt_object_t *o = &t->object[t->n_objects++];
    memset(o, 0, sizeof *o);
    o->type = (int)fxt_bits(h, 16, 23);
    if (end - p < 8)
        return "object record too short";
    o->koid = fxt_word(p);
    p += 8;
    int n = (int)fxt_bits(h, 40, 43);
    const char *bad = fxt_string(t, fxt_bits(h, 24, 39), &p, end, o->name);
    if (bad == NULL)
        bad = fxt_args(t, n, arg, &p, end);
    for (int i = 0; bad == NULL && i < n; i++)
        if (strcmp(arg[i].name, "process") == 0 && arg[i].type == 8)
            o->process = arg[i].number;
    return bad != NULL ? bad : p != end ? "object record size" : NULL;
}

static const char *fxt_record(fxt_trace_t *t, uint64_t h, const unsigned char *p, const unsigned char *end)
{
    size_t len;
    switch (fxt_bits(h, 0, 3)) {
    case 0:
        if (fxt_bits(h, 16, 19) != 1)
            return "metadata record of an unexpected kind";
        len = fxt_bits(h, 52, 59);
        if (len > 63 || (size_t)(end - p) != (len + 7) / 8 * 8)
            return "provider info record";
        memcpy(t->provider, p, len);
        return NULL;
    case 1:
        if (end - p != 8)
            return "initialization record";
        t->ticks_per_second = fxt_word(p);
        return NULL;
    case 2: return fxt_string_record(t, h, p, end);
    case 3:
        if (end - p != 16 || fxt_bits(h, 16, 23) == 0)
            return "thread record";
        len = fxt_bits(h, 16, 23);
        t->thread[len].process = fxt_word(p);
        t->thread[len].thread = fxt_word(p + 8);
        t->thread[len].set = true;
        return NULL;
    case 4: return fxt_event_record(t, h, p, end);
    case 7: return fxt_object_record(t, h, p, end);
    default: return "record of an unexpected type";
    }
}

void fxt_free(fxt_trace_t *t)
{
    free(t->event);
    free(t->object);
    free(t->string);
    memset(t, 0, sizeof *t);
}

const char *fxt_parse(const unsigned char *p, size_t size, fxt_trace_t *t)
{
    static const unsigned char magic[8] = {0x10, 0x00, 0x04, 0x46, 0x78, 0x54, 0x16, 0x00};
    const unsigned char *end = p + size;
    memset(t, 0, sizeof *t);
    t->ticks_per_second = 1000000000u;
    t->string = calloc(0x8000, sizeof *t->string);
    if (size < 8 || size % 8 != 0 || memcmp(p, magic, 8) != 0)
        return "no FXT magic number";
    for (p += 8; p < end;) {
        uint64_t h = fxt_word(p), words = fxt_bits(h, 4, 15);
        if (words == 0 || words * 8 > (uint64_t)(end - p))
            return "record size";
        const char *bad = fxt_record(t, h, p + 8, p + words * 8);
        if (bad != NULL)
            return bad;
        p += words * 8;
    }
    return NULL;
}

static int fxt_by_time(const void *a, const void *b)
{
    const fxt_event_t *x = a, *y = b;
    if (x->time != y->time)
        return x->time < y->time ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static int fxt_by_thread(const void *a, const void *b)
{
    const fxt_event_t *x = a, *y = b;
    if (x->process != y->process)
        return x->process < y->process ? -1 : 1;
    if (x->thread != y->thread)
        return x->thread < y->thread ? -1 : 1;
    return fxt_by_time(a, b);
}

const char *fxt_check_slices(fxt_trace_t *t)
{
    const fxt_event_t *open[64], *e = NULL;
    int depth = 0;
    qsort(t->event, t->n_events, sizeof *t->event, fxt_by_thread);
    for (size_t i = 0; i < t->n_events; i++) {
        if (e != NULL && (e->thread != t->event[i].thread || e->process != t->event[i].process) && depth != 0)
            return "a slice is never ended";
        e = &t->event[i];
        if (e->kind == FXT_BEGIN) {
            if (depth == 64)
                return "slices nest too deep";
            open[depth++] = e;
        } else if (e->kind == FXT_END) {
            if (depth == 0)
                return "a slice ends that has not begun";
            if (strcmp(open[--depth]->name, e->name) != 0)
                return "a slice ends that is not the innermost";
        } else if (e->kind != FXT_INSTANT && depth == 0) {
            return "a flow event outside every slice";
        }
    }
    return depth != 0 ? "a slice is never ended" : NULL;
}

static int fxt_by_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

size_t fxt_loose_flows(const fxt_trace_t *t)
{
    uint64_t *begun = malloc((t->n_events + 1) * sizeof *begun);
    size_t n = 0, loose = 0;
    for (size_t i = 0; i < t->n_events; i++)
        if (t->event[i].kind == FXT_FLOW_BEGIN)
            begun[n++] = t->event[i].id;
    qsort(begun, n, sizeof *begun, fxt_by_u64);
    for (size_t i = 0; i < t->n_events; i++)
        if ((t->event[i].kind == FXT_FLOW_END || t->event[i].kind == FXT_FLOW_STEP) &&
            bsearch(&t->event[i].id, begun, n, sizeof *begun, fxt_by_u64) == NULL)
            loose++;
    free(begun);
    return loose;
}
