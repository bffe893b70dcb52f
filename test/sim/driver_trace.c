/* SPDX-License-Identifier: MIT */
/*
 * driver_trace.c — a run as a Fuchsia trace (fuchsia.dev/fuchsia-src/reference/tracing/trace-format),
 * which Perfetto opens.
 *
 * A process named after the case, a track for each fiber, a slice for each operation.  The time line
 * counts operations, a microsecond each, because virtual time stands still for most of them; it is an
 * argument.  The file holds nothing but what the case decides: a replay writes the same bytes.
 */
#include "driver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { REC_METADATA = 0, REC_INIT = 1, REC_STRING = 2, REC_THREAD = 3, REC_EVENT = 4, REC_KOBJ = 7 };
enum { META_PROVIDER_INFO = 1 };
enum { EV_INSTANT = 0, EV_BEGIN = 2, EV_END = 3 };
enum { ARG_UINT32 = 2, ARG_UINT64 = 4, ARG_STRING = 6, ARG_KOID = 8 };
enum { OBJ_PROCESS = 1, OBJ_THREAD = 2 };

#define MAGIC 0x0016547846040010ull
#define NS_PER_SECOND 1000000000u
#define NS_PER_EVENT 1000u
#define PROCESS 1u
#define TEXT 63u      /* longest string */
#define STRINGS 8192u /* of the string table; old ones make room and are sent again when needed */
#define PROBES 16u    /* places where a string may be: more than an event has strings */
#define THREADS 255u  /* of the thread table, likewise */
#define TRACKS 4096u  /* fibers at a time */
#define MAX_ARGS 5u

/* Whose operations a fiber's slot runs now. */
struct track {
    char name[TEXT + 1];
    uint64_t koid;
};

static struct {
    FILE *file;
    uint64_t next_koid, end; /* end: of the latest slice */
    uint32_t last;           /* the latest fiber */
    struct {
        char text[TEXT + 1];
        uint64_t pinned; /* by the event of this number */
    } string[STRINGS + PROBES];
    uint64_t event; /* at hand, from 1 */
    uint64_t thread[THREADS];
    struct track track[TRACKS];
} tr;

typedef struct args {
    uint64_t word[2 * MAX_ARGS];
    uint32_t n, words;
} args_t;

static void word(uint64_t w)
{
    unsigned char b[8];
    for (int i = 0; i < 8; i++)
        b[i] = (unsigned char)(w >> 8 * i);
    fwrite(b, 1, sizeof b, tr.file);
}

static uint64_t header(uint32_t kind, uint32_t words) { return kind | (uint64_t)words << 4; }

static uint32_t words_of(size_t bytes) { return (uint32_t)((bytes + 7) / 8); }

static void text(const char *s, size_t len)
{
    static const char zeros[8] = "";
    fwrite(s, 1, len, tr.file);
    fwrite(zeros, 1, words_of(len) * 8 - len, tr.file);
}

/* FNV-1a, 32 bits. */
static uint32_t hash_of(const char *s)
{
    uint32_t h = 2166136261u;
    for (; *s != '\0'; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

static uint32_t place_for(const char *s)
{
    uint32_t first = hash_of(s) % (STRINGS - 1) + 1, free = first;
    for (uint32_t i = first; i < first + PROBES; i++)
        if (strncmp(tr.string[i].text, s, TEXT) == 0)
            return i;
    while (tr.string[free].pinned == tr.event)
        free++;
    return free;
}

/* Its index in the string table, where it is put when it is not there; 0 = the empty string. */
static uint32_t string(const char *s)
{
    size_t len = strnlen(s, TEXT);
    if (len == 0)
        return 0;
    uint32_t i = place_for(s);
    if (strncmp(tr.string[i].text, s, TEXT) != 0) {
        memset(tr.string[i].text, 0, sizeof tr.string[i].text);
        memcpy(tr.string[i].text, s, len);
        word(header(REC_STRING, 1 + words_of(len)) | (uint64_t)i << 16 | (uint64_t)len << 32);
        text(s, len);
    }
    tr.string[i].pinned = tr.event;
    return i;
}

static void object(uint32_t kind, uint64_t koid, const char *name)
{
    uint32_t named = string(name), process = string("process");
    bool thread = kind == OBJ_THREAD;
    word(header(REC_KOBJ, thread ? 4 : 2) | (uint64_t)kind << 16 | (uint64_t)named << 24 |
         (uint64_t)(thread ? 1 : 0) << 40);
    word(koid);
    if (thread) {
        word(header(ARG_KOID, 2) | (uint64_t)process << 16);
        word(PROCESS);
    }
}

static void arg_u64(args_t *a, const char *name, uint64_t value)
{
    a->word[a->words++] = header(ARG_UINT64, 2) | (uint64_t)string(name) << 16;
    a->word[a->words++] = value;
    a->n++;
}

static void arg_u32(args_t *a, const char *name, uint32_t value)
{
    a->word[a->words++] = header(ARG_UINT32, 1) | (uint64_t)string(name) << 16 | (uint64_t)value << 32;
    a->n++;
}

static void arg_text(args_t *a, const char *name, const char *value)
{
    uint32_t n = string(name), v = string(value);
    a->word[a->words++] = header(ARG_STRING, 1) | (uint64_t)n << 16 | (uint64_t)v << 32;
    a->n++;
}

static uint32_t thread_of(const struct track *t, uint32_t fiber)
{
    uint32_t index = fiber % THREADS;
    if (tr.thread[index] != t->koid) {
        tr.thread[index] = t->koid;
        word(header(REC_THREAD, 3) | (uint64_t)(index + 1) << 16);
        word(PROCESS);
        word(t->koid);
    }
    return index + 1;
}

static void event(uint32_t kind, uint64_t ns, uint32_t thread, const char *name, const args_t *a)
{
    uint32_t n = a != NULL ? a->n : 0, words = a != NULL ? a->words : 0;
    uint32_t category = string("sim"), named = string(name);
    word(header(REC_EVENT, 2 + words) | (uint64_t)kind << 16 | (uint64_t)n << 20 | (uint64_t)thread << 24 |
         (uint64_t)category << 32 | (uint64_t)named << 48);
    word(ns);
    for (uint32_t i = 0; i < words; i++)
        word(a->word[i]);
    tr.event++;
}

static struct track *track_of(const sim_event_t *e)
{
    char name[TEXT + 1];
    struct track *t = &tr.track[e->fiber % TRACKS];
    snprintf(name, sizeof name, e->lane != 0 ? "%u:%.40s.%u" : "%u:%.40s", e->fiber, e->name, e->lane);
    if (strcmp(name, t->name) != 0) {
        memcpy(t->name, name, sizeof name);
        t->koid = tr.next_koid++;
        object(OBJ_THREAD, t->koid, name);
    }
    return t;
}

static void place(const sim_event_t *e, char name[TEXT + 1])
{
    switch (e->space) {
    case SIM_PAGE: snprintf(name, TEXT + 1, "page+0x%llx", (unsigned long long)e->offset); break;
    case SIM_STACK:
        snprintf(name, TEXT + 1, "stack%u-0x%llx", e->owner, (unsigned long long)e->offset);
        break;
    case SIM_STATIC: sim_symbol(e->offset, name, TEXT + 1); break;
    default: name[0] = '\0';
    }
}

static void on_event(void *arg, const sim_event_t *e)
{
    char name[TEXT + 1];
    args_t a = {.n = 0};
    uint32_t thread = thread_of(track_of(e), e->fiber);
    uint64_t ns = e->number * NS_PER_EVENT;

    (void)arg;
    place(e, name);
    if (name[0] != '\0')
        arg_text(&a, "word", name);
    arg_u64(&a, "value", e->value);
    if (e->age != 0)
        arg_u32(&a, "age", e->age);
    sim_symbol(e->caller, name, sizeof name);
    arg_text(&a, "caller", name);
    arg_u64(&a, "time", e->time);
    event(EV_BEGIN, ns, thread, e->op, &a);
    event(EV_END, ns + NS_PER_EVENT, thread, e->op, NULL);
    tr.last = e->fiber;
    tr.end = ns + NS_PER_EVENT;
}

static void preamble(const case_t *c)
{
    char name[TEXT + 1];
    snprintf(name, sizeof name, "%s %llu", c->scenario->name, (unsigned long long)c->seed);
    word(MAGIC);
    word(header(REC_METADATA, 2) | META_PROVIDER_INFO << 16 | 1u << 20 | (uint64_t)8 << 52);
    text("ggmk-sim", 8);
    word(header(REC_INIT, 2));
    word(NS_PER_SECOND);
    object(OBJ_PROCESS, PROCESS, name);
}

static void ending(const sim_result_t *r)
{
    args_t a = {.n = 0};
    const struct track *t = &tr.track[tr.last % TRACKS];
    if (!r->failed || t->koid == 0)
        return;
    arg_text(&a, "kind", r->kind);
    arg_text(&a, "message", r->message);
    event(EV_INSTANT, tr.end, thread_of(t, tr.last), "FAILED", &a);
}

static _Noreturn void cannot(const char *file)
{
    fprintf(stderr, "%s: --trace %s: cannot be written: %s\n", opt.program, file, strerror(errno));
    exit(2);
}

void drv_trace(const case_t *c, const char *file, sim_result_t *r)
{
    memset(&tr, 0, sizeof tr);
    tr.next_koid = PROCESS + 1;
    tr.event = 1;
    tr.file = fopen(file, "wb");
    if (tr.file == NULL)
        cannot(file);
    preamble(c);
    sim_on_event(on_event, NULL);
    (void)drv_run(c, r);
    sim_on_event(NULL, NULL);
    ending(r);
    if (ferror(tr.file) || fclose(tr.file) != 0)
        cannot(file);
}
