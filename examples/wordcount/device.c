/* SPDX-License-Identifier: MIT */
/*
 * device.c — the word counter's first module on a kernel that is booted from an image: it reads the
 * configuration from the launch arguments, before the modules behind it look.
 *
 *   wc.shards=N  wc.top=N  wc.chunk=BYTES  wc.slots=N     as in wc_config_t; the program gives all four
 */
#include "wc.h"

wc_config_t wc_config;

static int number(gmk_ctx_t *c, const char *name, uint64_t low, uint64_t high, uint64_t *value)
{
    int rc = gmk_arg_u64(c, name, value);

    return rc == GMK_OK && (*value < low || *value > high) ? GMK_ERR_RANGE : rc;
}

static int init(gmk_ctx_t *c)
{
    uint64_t shards = 0, chunk = 0, slots = 0;
    int rc = number(c, "wc.top", 0, UINT64_MAX, &wc_config.top);

    if (rc == GMK_OK)
        rc = number(c, "wc.shards", 1, WC_MAX_SHARDS, &shards);
    if (rc == GMK_OK && (shards & (shards - 1)))
        rc = GMK_ERR_RANGE;
    if (rc == GMK_OK)
        rc = number(c, "wc.chunk", WC_CHUNK_HEAD + WC_CHUNK_PAD + 1, UINT32_MAX, &chunk);
    if (rc == GMK_OK)
        rc = number(c, "wc.slots", 1, GMK_MAX_SLOTS, &slots);
    wc_config.shards = (uint32_t)shards;
    wc_config.chunk_bytes = (uint32_t)chunk;
    wc_config.chunk_slots = (uint32_t)slots;
    return rc;
}

gmk_module_t wc_setup = {.name = "wc.setup", .version = 1, .init = init};

GMK_MODULE(wc_setup);
