/* SPDX-License-Identifier: MIT */
/*
 * format.h — buffered output to a gmk_write_fn, with the few conversions the exporters need.
 *
 * One thread owns a gmk_out_t, usually on its stack.  A failure of the writer sticks: what
 * follows is discarded and gmk_out_end reports it.
 */
#ifndef GGMK_FORMAT_H
#define GGMK_FORMAT_H

#include <ggmk/hal.h>
#include <ggmk/observe.h>

#define GMK_OUT_BYTES 1024u

typedef struct gmk_out {
    gmk_write_fn write;
    void *arg;
    uint32_t used;
    bool failed;
    unsigned char buf[GMK_OUT_BYTES];
} gmk_out_t;

void gmk_out_begin(gmk_out_t *o, gmk_write_fn write, void *arg);
int gmk_out_end(gmk_out_t *o); /* writes what is buffered; GMK_OK or GMK_ERR_IO */

void gmk_out_bytes(gmk_out_t *o, const void *data, size_t n);
void gmk_out_str(gmk_out_t *o, const char *s);
void gmk_out_u64(gmk_out_t *o, uint64_t v); /* decimal */
void gmk_out_i64(gmk_out_t *o, int64_t v);
void gmk_out_seconds(gmk_out_t *o, uint64_t ns);           /* decimal seconds, nine places */
void gmk_out_quoted(gmk_out_t *o, const char *s);          /* in double quotes; \ " and newline escaped */
void gmk_out_le(gmk_out_t *o, uint64_t v, uint32_t bytes); /* little-endian, <= 8 bytes */

/* Little-endian into memory. */
void gmk_put_le(unsigned char *to, uint64_t v, uint32_t bytes);

/* Copies a name, at most GMK_NAME_MAX bytes of it; are two names the same? */
void gmk_name_copy(char to[GMK_NAME_MAX + 1], const char *name);
bool gmk_name_same(const char *a, const char *b);

/* A name with a number behind it ("type.7") into a buffer that holds GMK_NAME_MAX + 1. */
void gmk_numbered_name(char to[GMK_NAME_MAX + 1], const char *name, uint32_t number);

/* Length, at most max, of text that need not be terminated. */
uint32_t gmk_text_len(const char *s, uint32_t max);

#endif
