/* SPDX-License-Identifier: MIT */
/* The word counter as one would write it by hand for one thread: fread, a hash map, qsort.  The
 * peer that examples/wordcount is measured against.  Usage: wc_hash [FILE]; prints the first 20. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char *word;
    size_t len, hash, count;
} slot_t;
static slot_t *slots;
static size_t n_slots = 1 << 16, used;

static slot_t *find(const char *word, size_t len, size_t hash)
{
    size_t i = hash & (n_slots - 1);
    while (slots[i].word &&
           (slots[i].hash != hash || slots[i].len != len || memcmp(slots[i].word, word, len) != 0))
        i = (i + 1) & (n_slots - 1);
    return &slots[i];
}

static void grow(void)
{
    slot_t *old = slots;
    size_t n = n_slots;
    slots = calloc(n_slots *= 2, sizeof(slot_t));
    for (size_t i = 0; i < n; i++)
        if (old[i].word)
            *find(old[i].word, old[i].len, old[i].hash) = old[i];
    free(old);
}

static void add(const char *word, size_t len, size_t hash)
{
    slot_t *s = find(word, len, hash);
    if (!s->word) {
        *s = (slot_t){memcpy(malloc(len + 1), word, len), len, hash, 0};
        s->word[len] = 0;
    }
    if (s->count++ == 0 && ++used * 2 > n_slots)
        grow();
}

static int by_count(const void *a, const void *b)
{
    const slot_t *x = a, *y = b;
    return x->count != y->count ? (x->count < y->count ? 1 : -1)
                                : strcmp(x->word ? x->word : "", y->word ? y->word : "");
}

int main(int argc, char **argv)
{
    static unsigned char lower[256], in[1 << 20];
    static char word[1 << 20];
    FILE *f = argc > 1 ? fopen(argv[1], "rb") : stdin;
    size_t n, len = 0, hash = 14695981039346656037u;

    if (!f || !(slots = calloc(n_slots, sizeof(slot_t))))
        return perror("wc_hash"), 1;
    for (int c = 'a'; c <= 'z'; c++)
        lower[c] = lower[c - 32] = (unsigned char)c;
    while ((n = fread(in, 1, sizeof(in), f)) > 0)
        for (size_t i = 0; i < n; i++) {
            unsigned char c = lower[in[i]];
            if (c && len < sizeof(word)) {
                word[len++] = (char)c;
                hash = (hash ^ c) * 1099511628211u; /* FNV-1a */
            } else if (len) {
                add(word, len, hash);
                len = 0;
                hash = 14695981039346656037u;
            }
        }
    if (len)
        add(word, len, hash);
    qsort(slots, n_slots, sizeof(slot_t), by_count);
    for (size_t i = 0; i < 20 && i < used; i++)
        printf("%7zu %s\n", slots[i].count, slots[i].word);
    return 0;
}
