/* SPDX-License-Identifier: MIT */
/* region.c — formatting and checking a region. */
#include "region.h"

#define DEFAULT_RING 4096u
#define DEFAULT_CONTROL 256u
#define DEFAULT_POOL ((uint64_t)64 << 20)
#define MAX_POOL ((uint64_t)4 << 30)
#define MIN_POOL ((uint64_t)64 << 10)

static bool pow2(uint32_t v) { return v != 0 && (v & (v - 1)) == 0; }

static uint64_t pages(uint64_t bytes)
{
    return (bytes + GMK_REGION_ALIGN - 1) & ~(uint64_t)(GMK_REGION_ALIGN - 1);
}

static gmk_region_cfg_t defaults(const gmk_region_cfg_t *cfg)
{
    gmk_region_cfg_t c = cfg == NULL ? (gmk_region_cfg_t){0} : *cfg;
    c.epoch = c.epoch != 0 ? c.epoch : 1;
    c.ring_slots = c.ring_slots != 0 ? c.ring_slots : DEFAULT_RING;
    c.control_slots = c.control_slots != 0 ? c.control_slots : DEFAULT_CONTROL;
    c.pool_bytes = pages(c.pool_bytes != 0 ? c.pool_bytes : DEFAULT_POOL);
    c.name[0] = c.name[0] != NULL ? c.name[0] : "cpu.0";
    c.name[1] = c.name[1] != NULL ? c.name[1] : "gpu.0";
    return c;
}

static bool numbers_ok(uint32_t ring_slots, uint32_t control_slots, uint64_t pool_bytes)
{
    return pow2(ring_slots) && ring_slots >= 64 && ring_slots <= 65536 && pow2(control_slots) &&
           control_slots >= 16 && control_slots <= 4096 && pool_bytes >= MIN_POOL && pool_bytes <= MAX_POOL;
}

/* Fills in where the parts lie; returns the end. */
static uint64_t place(gmk_region_head_t *h)
{
    uint64_t at = GMK_REGION_HEAD_BYTES;
    for (uint32_t s = 0; s < 2; s++, at += pages(sizeof(gmk_region_side_t)))
        h->side_at[s] = at;
    for (uint32_t s = 0; s < 2; s++, at += pages((uint64_t)h->ring_slots * sizeof(gmk_region_slot_t)))
        h->ring_at[s] = at;
    for (uint32_t s = 0; s < 2; s++, at += pages((uint64_t)h->control_slots * sizeof(gmk_region_slot_t)))
        h->control_at[s] = at;
    for (uint32_t s = 0; s < 2; s++, at += h->pool_bytes)
        h->pool_at[s] = at;
    return at;
}

static gmk_region_head_t head_of(const gmk_region_cfg_t *c)
{
    gmk_region_head_t h = {.magic = GMK_REGION_MAGIC,
                           .version = GMK_REGION_VERSION,
                           .head_bytes = GMK_REGION_HEAD_BYTES,
                           .epoch = c->epoch,
                           .ring_slots = c->ring_slots,
                           .control_slots = c->control_slots,
                           .side_bytes = sizeof(gmk_region_side_t),
                           .pool_bytes = c->pool_bytes};
    h.region_bytes = place(&h);
    return h;
}

uint64_t gmk_region_bytes(const gmk_region_cfg_t *cfg)
{
    gmk_region_cfg_t c = defaults(cfg);
    return numbers_ok(c.ring_slots, c.control_slots, c.pool_bytes) ? head_of(&c).region_bytes : 0;
}

/* Copies at most `most` bytes of text; false when there is more, or none and some is needed. */
static bool copy_text(char *to, const char *from, uint32_t most)
{
    uint32_t n = 0;
    for (; from != NULL && from[n] != '\0'; n++) {
        if (n == most)
            return false;
        to[n] = from[n];
    }
    return true;
}

static bool is_name(const char *name)
{
    uint32_t n = 0;
    for (; n <= GMK_NAME_MAX && name[n] != '\0'; n++) {
        char c = name[n];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
              c == '-' || c == '.'))
            return false;
    }
    return n != 0 && n <= GMK_NAME_MAX;
}

int gmk_region_format(void *region, uint64_t bytes, const gmk_region_cfg_t *cfg)
{
    gmk_region_cfg_t c = defaults(cfg);
    if (region == NULL || ((uintptr_t)region & (GMK_REGION_ALIGN - 1)) != 0 || !is_name(c.name[0]) ||
        !is_name(c.name[1]))
        return GMK_ERR_INVAL;
    if (!numbers_ok(c.ring_slots, c.control_slots, c.pool_bytes))
        return GMK_ERR_RANGE;
    gmk_region_head_t h = head_of(&c);
    if (bytes < h.region_bytes)
        return GMK_ERR_RANGE;
    if (!copy_text((char *)region + GMK_REGION_ARGS_AT, c.args, GMK_REGION_ARGS_MAX))
        return GMK_ERR_INVAL;
    for (uint32_t s = 0; s < 2; s++)
        (void)copy_text(h.name[s], c.name[s], GMK_NAME_MAX);
    gmk_hal_memcpy(region, &h, sizeof h);
    gmk_fence(GMK_REL, GMK_SYSTEM);
    return GMK_OK;
}

static int wrong(const char **why, const char *what, int code)
{
    *why = what;
    return code;
}

/* h is a private copy. */
static int check(const gmk_region_head_t *h, uint64_t bytes, const char **why)
{
    gmk_region_head_t expect = *h;
    if (h->magic != GMK_REGION_MAGIC)
        return wrong(why, "it is no bridge region (the magic number is missing)", GMK_ERR_INVAL);
    if (h->version != GMK_REGION_VERSION)
        return wrong(why, "it has another version than 1; build both kernels from one source",
                     GMK_ERR_VERSION);
    if (h->head_bytes != GMK_REGION_HEAD_BYTES || h->side_bytes != sizeof(gmk_region_side_t))
        return wrong(why, "its parts have other sizes than this version's", GMK_ERR_VERSION);
    if (h->epoch == 0 || !numbers_ok(h->ring_slots, h->control_slots, h->pool_bytes) ||
        h->pool_bytes % GMK_REGION_ALIGN != 0)
        return wrong(why, "a number in its head is out of range", GMK_ERR_INVAL);
    if (place(&expect) != h->region_bytes || gmk_hal_memcmp(&expect, h, sizeof expect) != 0)
        return wrong(why, "its parts do not lie where they should", GMK_ERR_INVAL);
    if (h->region_bytes > bytes)
        return wrong(why, "the memory is smaller than the region", GMK_ERR_RANGE);
    if (!is_name(h->name[0]) || !is_name(h->name[1]))
        return wrong(why, "a name in its head is damaged", GMK_ERR_INVAL);
    return GMK_OK;
}

static gmk_region_slot_t *slots_at(unsigned char *base, uint64_t at)
{
    return (gmk_region_slot_t *)(void *)(base + at);
}

int gmk_region_view(gmk_region_view_t *v, void *region, uint64_t bytes, uint32_t side, const char **why)
{
    gmk_region_head_t h;
    unsigned char *base = region;
    if (region == NULL || ((uintptr_t)region & (GMK_REGION_ALIGN - 1)) != 0)
        return wrong(why, "its address is no multiple of 4096", GMK_ERR_INVAL);
    if (side > 1)
        return wrong(why, "the side must be 0 or 1", GMK_ERR_INVAL);
    if (bytes < GMK_REGION_HEAD_BYTES)
        return wrong(why, "the memory is smaller than a region's head", GMK_ERR_RANGE);
    gmk_fence(GMK_ACQ, GMK_SYSTEM);
    gmk_hal_memcpy(&h, region, sizeof h);
    int rc = check(&h, bytes, why);
    if (rc < 0)
        return rc;
    uint32_t peer = 1 - side;
    *v = (gmk_region_view_t){.args = (const char *)base + GMK_REGION_ARGS_AT,
                             .mine = (gmk_region_side_t *)(void *)(base + h.side_at[side]),
                             .theirs = (gmk_region_side_t *)(void *)(base + h.side_at[peer]),
                             .ring_out = slots_at(base, h.ring_at[side]),
                             .ring_in = slots_at(base, h.ring_at[peer]),
                             .control_out = slots_at(base, h.control_at[side]),
                             .control_in = slots_at(base, h.control_at[peer]),
                             .pool_out = base + h.pool_at[side],
                             .pool_in = base + h.pool_at[peer],
                             .ring_slots = h.ring_slots,
                             .control_slots = h.control_slots,
                             .epoch = h.epoch,
                             .side = side,
                             .pool_bytes = h.pool_bytes};
    gmk_hal_memcpy(v->name, h.name, sizeof v->name);
    return GMK_OK;
}
