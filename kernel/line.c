/* SPDX-License-Identifier: MIT */
/* line.c — the line editor: keys as in Emacs and readline, sequences of ECMA-48 and the VT220. */
#include "line.h"

#include "string.h"

enum { ESC_NONE, ESC_BEGUN, ESC_CSI, ESC_SS3 };

#define CTRL(c) ((c)&0x1f)

static void put(line_t *l, const char *text, size_t n)
{
    if (n)
        l->write(l->arg, text, n);
}

static void copy(char *to, const char *from, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        to[i] = from[i];
    to[n] = 0;
}

static void bell(line_t *l) { put(l, "\a", 1); }

/* Moves the cursor n columns back. */
static void step_back(line_t *l, uint32_t n)
{
    static const char many[] = "\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b";

    for (; n >= sizeof(many) - 1; n -= (uint32_t)sizeof(many) - 1)
        put(l, many, sizeof(many) - 1);
    put(l, many, n);
}

void line_init(line_t *l, const char *prompt, void (*write)(void *, const char *, size_t), void *arg)
{
    l->write = write;
    l->arg = arg;
    l->prompt = prompt;
    l->len = l->at = l->entered = l->back = l->escape = l->number = 0;
    l->after_cr = false;
    l->text[0] = l->cut[0] = l->done[0] = l->fresh[0] = 0;
}

/* In one piece, and from a copy of the numbers: they may be changing. */
void line_show(line_t *l)
{
    char out[16 + 2 * LINE_MAX];
    uint32_t len = l->len, at = l->at, n = 0;

    out[n++] = '\r';
    for (const char *p = l->prompt; *p && n < 8; p++)
        out[n++] = *p;
    for (uint32_t i = 0; i < len && i < LINE_MAX; i++)
        out[n++] = l->text[i];
    for (const char *p = "\033[K"; *p; p++)
        out[n++] = *p;
    for (uint32_t i = at; i < len && i < LINE_MAX; i++)
        out[n++] = '\b';
    put(l, out, n);
}

/* ---- editing ------------------------------------------------------------------------------ */

static void insert(line_t *l, const char *text, uint32_t n)
{
    if (l->len + n > LINE_MAX) {
        bell(l);
        return;
    }
    for (uint32_t i = l->len; i > l->at; i--)
        l->text[i - 1 + n] = l->text[i - 1];
    for (uint32_t i = 0; i < n; i++)
        l->text[l->at + i] = text[i];
    l->len += n;
    l->text[l->len] = 0;
    put(l, l->text + l->at, l->len - l->at);
    l->at += n;
    step_back(l, l->len - l->at);
}

/* Takes out the n bytes from `from`, and keeps them for ^Y when there are to be kept. */
static void erase(line_t *l, uint32_t from, uint32_t n, bool keep)
{
    if (n == 0) {
        bell(l);
        return;
    }
    if (keep)
        copy(l->cut, l->text + from, n);
    for (uint32_t i = from; i + n <= l->len; i++)
        l->text[i] = l->text[i + n];
    l->len -= n;
    if (l->at > from)
        step_back(l, l->at - from);
    l->at = from;
    put(l, l->text + from, l->len - from);
    put(l, "\033[K", 3);
    step_back(l, l->len - from);
}

static void move_to(line_t *l, uint32_t at)
{
    if (at < l->at)
        step_back(l, l->at - at);
    else
        put(l, l->text + l->at, at - l->at);
    l->at = at;
}

static uint32_t word_start(const line_t *l)
{
    uint32_t at = l->at;

    while (at > 0 && l->text[at - 1] == ' ')
        at--;
    while (at > 0 && l->text[at - 1] != ' ')
        at--;
    return at;
}

/* ---- history ------------------------------------------------------------------------------ */

static char *remembered(line_t *l, uint32_t back) { return l->history[(l->entered - back) % LINE_HISTORY]; }

static void recall(line_t *l, uint32_t back)
{
    uint32_t there = l->entered < LINE_HISTORY ? l->entered : LINE_HISTORY;

    if (back > there) {
        bell(l);
        return;
    }
    if (l->back == 0)
        copy(l->fresh, l->text, l->len);
    const char *line = back ? remembered(l, back) : l->fresh;
    l->back = back;
    l->len = l->at = (uint32_t)strlen(line);
    copy(l->text, line, l->len);
    line_show(l);
}

static void remember(line_t *l)
{
    if (l->len == 0 || (l->entered > 0 && strcmp(remembered(l, 1), l->text) == 0))
        return;
    l->entered++;
    copy(remembered(l, 1), l->text, l->len);
}

static const char *finish(line_t *l)
{
    remember(l);
    copy(l->done, l->text, l->len);
    l->text[0] = 0;
    l->len = l->at = l->back = 0;
    put(l, "\r\n", 2);
    return l->done;
}

/* ---- keys --------------------------------------------------------------------------------- */

static void older(line_t *l) { recall(l, l->back + 1); }

static void newer(line_t *l)
{
    if (l->back)
        recall(l, l->back - 1);
    else
        bell(l);
}

static void left(line_t *l)
{
    if (l->at)
        move_to(l, l->at - 1);
}

static void right(line_t *l)
{
    if (l->at < l->len)
        move_to(l, l->at + 1);
}

static void delete_here(line_t *l) { erase(l, l->at, l->at < l->len, false); }

static void backspace(line_t *l) { erase(l, l->at - (l->at > 0), l->at > 0, false); }

/* CSI number ~, the VT220's editing keys. */
static void editing_key(line_t *l, uint32_t number)
{
    switch (number) {
    case 1:
    case 7: move_to(l, 0); break;
    case 3: delete_here(l); break;
    case 4:
    case 8: move_to(l, l->len); break;
    default: break;
    }
}

static void sequence_end(line_t *l, uint8_t byte)
{
    switch (byte) {
    case 'A': older(l); break;
    case 'B': newer(l); break;
    case 'C': right(l); break;
    case 'D': left(l); break;
    case 'H': move_to(l, 0); break;
    case 'F': move_to(l, l->len); break;
    case '~': editing_key(l, l->number); break;
    default: break;
    }
}

/* Within an escape sequence: parameters, intermediates, and the byte that ends it (ECMA-48 §5.4). */
static void in_sequence(line_t *l, uint8_t byte)
{
    if (l->escape == ESC_BEGUN && (byte == '[' || byte == 'O')) {
        l->escape = byte == '[' ? ESC_CSI : ESC_SS3;
        l->number = 0;
    } else if (l->escape == ESC_BEGUN) {
        l->escape = ESC_NONE;
    } else if (byte >= '0' && byte <= '9') {
        l->number = (l->number * 10 + byte - '0') % 1000;
    } else if (byte >= 0x40 && byte <= 0x7e) {
        l->escape = ESC_NONE;
        sequence_end(l, byte);
    } else if (byte < 0x20 || byte > 0x7e) {
        l->escape = ESC_NONE; /* no sequence after all */
    }
}

/* ^C: forgets the line. */
static void forget(line_t *l)
{
    put(l, "^C\r\n", 4);
    l->text[0] = 0;
    l->len = l->at = l->back = 0;
    line_show(l);
}

static void clear_screen(line_t *l)
{
    put(l, "\033[H\033[2J", 7);
    line_show(l);
}

static void control_key(line_t *l, uint8_t byte)
{
    switch (byte) {
    case CTRL('A'): move_to(l, 0); break;
    case CTRL('B'): left(l); break;
    case CTRL('C'): forget(l); break;
    case CTRL('D'): delete_here(l); break;
    case CTRL('E'): move_to(l, l->len); break;
    case CTRL('F'): right(l); break;
    case CTRL('H'):
    case 0x7f: backspace(l); break;
    case CTRL('K'): erase(l, l->at, l->len - l->at, true); break;
    case CTRL('L'): clear_screen(l); break;
    case CTRL('N'): newer(l); break;
    case CTRL('P'): older(l); break;
    case CTRL('U'): erase(l, 0, l->at, true); break;
    case CTRL('W'): erase(l, word_start(l), l->at - word_start(l), true); break;
    case CTRL('Y'): insert(l, l->cut, (uint32_t)strlen(l->cut)); break;
    case 0x1b: l->escape = ESC_BEGUN; break;
    default: break;
    }
}

const char *line_key(line_t *l, uint8_t byte)
{
    bool after_cr = l->after_cr;

    l->after_cr = byte == '\r';
    if (l->escape) {
        in_sequence(l, byte);
        return NULL;
    }
    if (byte == '\r' || (byte == '\n' && !after_cr))
        return finish(l);
    if (byte >= 0x20 && byte < 0x7f)
        insert(l, (const char *)&byte, 1);
    else
        control_key(l, byte);
    return NULL;
}
