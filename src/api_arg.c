/* SPDX-License-Identifier: MIT */
/* api_arg.c — launch arguments, which lie in the arena as they were given to the boot.  ANY. */
#include "api.h"

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/* Bytes of a name; 0: it is none. */
static uint32_t name_len(const char *name)
{
    uint32_t n = 0;
    while (name[n] != '\0' && name[n] != '=' && !is_blank(name[n]))
        n++;
    return name[n] == '\0' ? n : 0;
}

/* The value of the last word NAME=VALUE with that name, and its length; NULL: there is none. */
static const char *find(const char *at, const char *name, uint32_t *len)
{
    uint32_t n = name_len(name);
    const char *found = NULL;
    while (*at != '\0') {
        const char *word = at;
        while (*at != '\0' && !is_blank(*at))
            at++;
        uint32_t bytes = (uint32_t)(at - word);
        if (bytes > n && word[n] == '=' && gmk_hal_memcmp(word, name, n) == 0) {
            found = word + n + 1;
            *len = bytes - n - 1;
        }
        while (is_blank(*at))
            at++;
    }
    return found;
}

static int look_up(const gmk_ctx_t *c, const char *name, const char **value, uint32_t *len)
{
    if (!gmk_ctx_ok(c) || name == NULL || name_len(name) == 0)
        return GMK_ERR_INVAL;
    *value = find(c->front->core->args, name, len);
    return *value != NULL ? GMK_OK : GMK_ERR_NOTFOUND;
}

int gmk_arg(gmk_ctx_t *c, const char *name, char *value, size_t size)
{
    const char *found = NULL;
    uint32_t len = 0;
    int rc = value == NULL ? GMK_ERR_INVAL : look_up(c, name, &found, &len);
    if (rc < 0)
        return rc;
    if (len >= size)
        return GMK_ERR_RANGE;
    gmk_hal_memcpy(value, found, len);
    value[len] = '\0';
    return GMK_OK;
}

int gmk_arg_u64(gmk_ctx_t *c, const char *name, uint64_t *value)
{
    const char *found = NULL;
    uint32_t len = 0;
    uint64_t v = 0;
    int rc = value == NULL ? GMK_ERR_INVAL : look_up(c, name, &found, &len);
    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < len; i++) {
        uint32_t digit = (uint32_t)(unsigned char)found[i] - '0';
        if (digit > 9 || v > (UINT64_MAX - digit) / 10)
            return GMK_ERR_RANGE;
        v = v * 10 + digit;
    }
    if (len == 0)
        return GMK_ERR_RANGE;
    *value = v;
    return GMK_OK;
}
