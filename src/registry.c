/* SPDX-License-Identifier: MIT */
#include "registry.h"

#include "grace.h"
#include "say.h"

static int refuse(gmk_core_t *k, const gmk_module_t *m, const char *why, const char *what, int rc)
{
    gmk_out_t o;
    if (k->registry->quiet)
        return rc;
    gmk_say(&o, k->name);
    gmk_out_str(&o, "module ");
    gmk_out_quoted(&o, m->name);
    gmk_out_str(&o, ": ");
    gmk_out_str(&o, why);
    if (what != NULL) {
        gmk_out_str(&o, " ");
        gmk_out_quoted(&o, what);
    }
    gmk_said(&o);
    return rc;
}

/* ---- handlers ----------------------------------------------------------------------------- */

static int check_handler(gmk_core_t *k, const gmk_module_t *m, uint32_t i)
{
    const gmk_handler_reg_t *h = &m->handlers[i];
    if (h->fn == NULL || (h->name != NULL && !gmk_name_ok(h->name, false)))
        return refuse(k, m, "a handler without a function or with a malformed name", h->name, GMK_ERR_INVAL);
    if (h->type == 0 || h->type >= k->n_types)
        return refuse(k, m, "a handler type outside 1 .. n_types - 1", h->name, GMK_ERR_RANGE);
    if ((h->max_yields > UINT16_MAX && h->max_yields != GMK_YIELDS_UNLIMITED) || h->max_retries > UINT16_MAX)
        return refuse(k, m, "max_yields or max_retries above 65535", h->name, GMK_ERR_RANGE);
    if (gmk_load64(&k->types[h->type].fn, GMK_ACQ, GMK_KERNEL) != 0 ||
        gmk_load32(&k->types[h->type].taken, GMK_ACQ, GMK_KERNEL) != 0)
        return refuse(k, m, "a handler type that is registered already:", k->types[h->type].name,
                      GMK_ERR_EXISTS);
    for (uint32_t j = 0; j < i; j++)
        if (m->handlers[j].type == h->type)
            return refuse(k, m, "two handlers of one type", h->name, GMK_ERR_EXISTS);
    return GMK_OK;
}

static void type_name(gmk_type_t *ty, const gmk_handler_reg_t *h)
{
    if (h->name == NULL) {
        gmk_numbered_name(ty->name, "type.", h->type);
        return;
    }
    gmk_name_copy(ty->name, h->name);
}

static void type_free(gmk_core_t *k, gmk_type_t *ty)
{
    gmk_heap_free(&k->heap, NULL, ty->run);
    gmk_heap_free(&k->heap, NULL, ty->fail_at);
    ty->run = ty->delay = NULL;
    ty->fail_at = NULL;
    gmk_store32(&ty->taken, 0, GMK_REL, GMK_KERNEL);
}

static int type_set(gmk_core_t *k, const gmk_handler_reg_t *h, uint32_t module)
{
    gmk_type_t *ty = &k->types[h->type];
    ty->run = gmk_heap_alloc(&k->heap, NULL, 2 * k->hist_shards * sizeof(gmk_hist_t));
    ty->fail_at = gmk_heap_alloc(&k->heap, NULL, k->poison_failures * sizeof(gmk_a64_t));
    if (ty->run == NULL || ty->fail_at == NULL) {
        type_free(k, ty);
        return GMK_ALLOC_FAIL;
    }
    ty->delay = ty->run + k->hist_shards;
    for (uint32_t i = 0; i < 2 * k->hist_shards; i++)
        gmk_hist_init(&ty->run[i]);
    gmk_hal_memset(ty->fail_at, 0, k->poison_failures * sizeof(gmk_a64_t));
    type_name(ty, h);
    gmk_store32(&ty->flags, h->flags, GMK_RLX, GMK_KERNEL);
    ty->max_yields = h->max_yields != 0 ? h->max_yields : GMK_DEFAULT_MAX_YIELDS;
    ty->max_retries = h->max_retries != 0 ? h->max_retries : GMK_DEFAULT_MAX_RETRIES;
    ty->budget_ns = h->budget_ns;
    ty->module = module;
    gmk_store32(&ty->level, k->registry->levels[module], GMK_RLX, GMK_KERNEL);
    gmk_store32(&ty->mean_ns, 0, GMK_RLX, GMK_KERNEL);
    gmk_store32(&ty->fails, 0, GMK_RLX, GMK_KERNEL);
    gmk_store32(&ty->special, GMK_TYPE_UNTIMED | (h->budget_ns != 0 ? GMK_TYPE_BUDGET : 0), GMK_RLX,
                GMK_KERNEL);
    gmk_store32(&ty->unloaded, 0, GMK_RLX, GMK_KERNEL);
    gmk_store32(&ty->taken, 1, GMK_RLX, GMK_KERNEL);
    gmk_store64(&ty->fn, (uint64_t)(uintptr_t)h->fn, GMK_REL, GMK_KERNEL);
    return GMK_OK;
}

static void types_off(gmk_core_t *k, const gmk_module_t *m, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        gmk_type_t *ty = &k->types[m->handlers[i].type];
        gmk_store32(&ty->unloaded, 1, GMK_RLX, GMK_KERNEL);
        gmk_store64(&ty->fn, 0, GMK_REL, GMK_KERNEL);
    }
}

/* ---- channels ----------------------------------------------------------------------------- */

static const char *owner_name(gmk_core_t *k, uint32_t index)
{
    uint32_t owner = k->registry->chan_owner[index];
    gmk_module_t *m = owner == 0 ? NULL : k->registry->mods[owner - 1].module;
    return m == NULL ? "a program" : m->name;
}

static int mismatch(gmk_core_t *k, const gmk_module_t *m, const gmk_chan_decl_t *d, const gmk_channel_t *c)
{
    gmk_out_t o;
    if (k->registry->quiet)
        return GMK_CHAN_TYPE_MISMATCH;
    gmk_say(&o, k->name);
    gmk_out_str(&o, "channel ");
    gmk_out_quoted(&o, d->name);
    gmk_out_str(&o, ": module ");
    gmk_out_quoted(&o, m->name);
    gmk_out_str(&o, " declares message type ");
    gmk_out_u64(&o, d->msg_type);
    gmk_out_str(&o, ", but ");
    gmk_out_quoted(&o, owner_name(k, c->index));
    gmk_out_str(&o, " declared ");
    gmk_out_u64(&o, c->msg_type);
    gmk_out_str(&o, "; give both the same type");
    gmk_said(&o);
    return GMK_CHAN_TYPE_MISMATCH;
}

/* Opens the channel a module declares, or checks that the open one agrees. */
static int declare(gmk_front_t *f, const gmk_module_t *m, const gmk_chan_decl_t *d, uint32_t module)
{
    gmk_core_t *k = f->core;
    uint32_t handle;
    if ((d->direction & ~3u) != 0 || d->direction == 0 || !gmk_name_ok(d->name, true))
        return refuse(k, m, "a malformed channel declaration", d->name, GMK_ERR_INVAL);
    if (gmk_channel_find(k, d->name, &handle) == GMK_OK) {
        gmk_channel_t *c = gmk_chan_of(k, handle);
        bool agrees = c->msg_type == d->msg_type || (c->sys != 0 && d->msg_type == 0);
        return agrees ? GMK_OK : mismatch(k, m, d, c);
    }
    gmk_chan_cfg_t cfg = {.name = d->name,
                          .msg_type = d->msg_type,
                          .mode = d->mode,
                          .guarantee = d->guarantee,
                          .slots = d->slots};
    int rc = gmk_channel_open(f, &cfg, false, &handle);
    if (rc < 0)
        return refuse(k, m, "cannot open channel", d->name, rc);
    k->registry->chan_owner[gmk_delivery_chan(handle)] = module + 1;
    return GMK_OK;
}

static int subscribe(gmk_front_t *f, const gmk_module_t *m, const gmk_chan_decl_t *d)
{
    uint32_t handle;
    uint64_t sub;
    gmk_sub_cfg_t cfg = {.handler = d->handler, .order = d->order};
    if ((d->direction & GMK_CONSUMES) == 0 || d->handler == 0)
        return GMK_OK;
    int rc = gmk_channel_find(f->core, d->name, &handle);
    if (rc == GMK_OK)
        rc = gmk_channel_sub(f, gmk_chan_of(f->core, handle), &cfg, &sub);
    return rc < 0 ? refuse(f->core, m, "cannot subscribe to", d->name, rc) : GMK_OK;
}

/* Ends the subscriptions whose handler is one of the module's. */
static void unsubscribe_all(gmk_front_t *f, uint32_t module)
{
    gmk_core_t *k = f->core;
    for (uint32_t i = 0; i < GMK_MAX_CHANNELS; i++) {
        gmk_channel_t *c = gmk_chan_at(k, i);
        for (uint32_t s = 0; c != NULL && s < GMK_MAX_SUBS; s++) {
            gmk_mailbox_t *m = gmk_sub_at(c, s);
            if (m != NULL && m->handler != 0 && k->types[m->handler].module == module &&
                gmk_load32(&k->types[m->handler].taken, GMK_ACQ, GMK_KERNEL) != 0 &&
                gmk_load32(&m->leaving, GMK_ACQ, GMK_KERNEL) == 0)
                gmk_channel_unsub(f, m, GMK_DROP_UNLOADED);
        }
    }
}

/* ---- load and unload ---------------------------------------------------------------------- */

static int check_module(gmk_core_t *k, const gmk_module_t *m)
{
    if (m == NULL || !gmk_name_ok(m->name, false) || (m->n_handlers != 0 && m->handlers == NULL) ||
        (m->n_channels != 0 && m->channels == NULL))
        return GMK_ERR_INVAL;
    for (uint32_t i = 0; i < k->registry->n; i++)
        if (k->registry->mods[i].state != GMK_MODULE_NONE &&
            gmk_name_same(k->registry->mods[i].module->name, m->name))
            return refuse(k, m, "a module of this name is loaded already", NULL, GMK_ERR_EXISTS);
    for (uint32_t i = 0; i < m->n_handlers; i++) {
        int rc = check_handler(k, m, i);
        if (rc < 0)
            return rc;
    }
    return GMK_OK;
}

static int place(gmk_registry_t *r, gmk_module_t *m, uint32_t *index)
{
    uint32_t i = r->n;
    if (i == GMK_MODULES_MAX) /* a place in the middle breaks the order of fini no more than the gap did */
        for (i = 0; i < GMK_MODULES_MAX && r->mods[i].state != GMK_MODULE_NONE; i++)
            ;
    if (i == GMK_MODULES_MAX)
        return GMK_ERR_LIMIT;
    if (i == r->n)
        r->n++;
    r->mods[i].module = m;
    r->mods[i].state = GMK_MODULE_LOADING;
    r->levels[i] = r->level;
    *index = i;
    return GMK_OK;
}

static void forget(gmk_core_t *k, uint32_t index)
{
    gmk_registry_t *r = k->registry;
    const gmk_module_t *m = r->mods[index].module;
    for (uint32_t i = 0; i < m->n_handlers; i++) {
        gmk_type_t *ty = &k->types[m->handlers[i].type];
        if (gmk_load32(&ty->taken, GMK_ACQ, GMK_KERNEL) != 0 && ty->module == index)
            type_free(k, ty);
    }
    for (uint32_t i = 0; i < GMK_MAX_CHANNELS; i++)
        if (r->chan_owner[i] == index + 1)
            r->chan_owner[i] = 0;
    r->mods[index].state = GMK_MODULE_NONE;
    while (r->n > 0 && r->mods[r->n - 1].state == GMK_MODULE_NONE)
        r->n--;
}

/* With the control lock: everything a module declares, but not its subscriptions. */
static int declare_all(gmk_front_t *f, gmk_module_t *m, uint32_t index)
{
    int rc = GMK_OK;
    for (uint32_t i = 0; i < m->n_channels && rc == GMK_OK; i++)
        rc = declare(f, m, &m->channels[i], index);
    for (uint32_t i = 0; i < m->n_handlers && rc == GMK_OK; i++)
        rc = type_set(f->core, &m->handlers[i], index);
    return rc;
}

static int subscribe_all(gmk_front_t *f, const gmk_module_t *m)
{
    int rc = GMK_OK;
    for (uint32_t i = 0; i < m->n_channels && rc == GMK_OK; i++)
        rc = subscribe(f, m, &m->channels[i]);
    return rc;
}

/* Channels that this module opened and that nobody else has use for any more. */
static void close_own(gmk_front_t *f, uint32_t index)
{
    for (uint32_t i = GMK_CHAN_SYS_COUNT; i < GMK_MAX_CHANNELS; i++) {
        gmk_channel_t *c = gmk_chan_at(f->core, i);
        if (c != NULL && f->core->registry->chan_owner[i] == index + 1 &&
            gmk_load32(&c->closing, GMK_ACQ, GMK_KERNEL) == 0)
            gmk_channel_close(f, c, GMK_DROP_UNLOADED);
    }
}

static void run_fini(gmk_front_t *f, gmk_module_t *m)
{
    if (m->fini == NULL)
        return;
    gmk_leave(f);
    m->fini(&f->ctx);
    gmk_enter(f);
}

/* `ready`: its init succeeded, so its fini has to run. */
static void undo(gmk_front_t *f, gmk_module_t *m, uint32_t index, bool ready)
{
    gmk_core_t *k = f->core;
    unsubscribe_all(f, index);
    close_own(f, index);
    types_off(k, m, m->n_handlers);
    uint64_t epoch = gmk_grace_start(k);
    gmk_hal_lock_release(&k->control);
    for (uint32_t round = 0; !gmk_grace_over(k, epoch); round++)
        gmk_hal_relax(round);
    if (ready)
        run_fini(f, m);
    gmk_hal_lock_acquire(&k->control);
    forget(k, index);
}

int gmk_registry_load(gmk_front_t *f, gmk_module_t *m)
{
    gmk_core_t *k = f->core;
    uint32_t index = 0;
    gmk_hal_lock_acquire(&k->control);
    int rc = check_module(k, m);
    if (rc == GMK_OK)
        rc = place(k->registry, m, &index);
    if (rc < 0) {
        gmk_hal_lock_release(&k->control);
        return rc;
    }
    rc = declare_all(f, m, index);
    if (rc == GMK_OK && m->init != NULL) {
        gmk_hal_lock_release(&k->control);
        gmk_leave(f);
        rc = m->init(&f->ctx);
        gmk_enter(f);
        if (rc < 0)
            (void)refuse(k, m, "init failed with", gmk_strerror(rc), rc);
        gmk_hal_lock_acquire(&k->control);
    }
    bool ready = rc >= 0;
    if (ready)
        rc = subscribe_all(f, m);
    if (rc < 0)
        undo(f, m, index, ready);
    else
        k->registry->mods[index].state = GMK_MODULE_UP;
    gmk_hal_lock_release(&k->control);
    return rc < 0 ? rc : GMK_OK;
}

int gmk_registry_retire(gmk_front_t *f, const char *name, uint32_t *index)
{
    gmk_core_t *k = f->core;
    gmk_registry_t *r = k->registry;
    int rc = GMK_ERR_NOTFOUND;
    gmk_hal_lock_acquire(&k->control);
    for (uint32_t i = 0; i < r->n; i++) {
        if (r->mods[i].state == GMK_MODULE_NONE || !gmk_name_same(r->mods[i].module->name, name))
            continue;
        *index = i;
        rc = r->mods[i].state == GMK_MODULE_LOADING ? GMK_ERR_STATE : GMK_OK;
        if (r->mods[i].state != GMK_MODULE_UP)
            break;
        r->mods[i].state = GMK_MODULE_LEAVING;
        unsubscribe_all(f, i);
        types_off(k, r->mods[i].module, r->mods[i].module->n_handlers);
        r->mods[i].epoch = gmk_grace_start(k);
        break;
    }
    gmk_hal_lock_release(&k->control);
    return rc;
}

bool gmk_registry_finish(gmk_front_t *f, uint32_t index)
{
    gmk_core_t *k = f->core;
    gmk_registered_t *r = &k->registry->mods[index];
    gmk_hal_lock_acquire(&k->control);
    bool mine = r->state == GMK_MODULE_LEAVING && gmk_grace_over(k, r->epoch);
    bool gone = r->state != GMK_MODULE_LEAVING && r->state != GMK_MODULE_FINI;
    if (mine)
        r->state = GMK_MODULE_FINI;
    gmk_hal_lock_release(&k->control);
    if (!mine)
        return gone;
    run_fini(f, r->module);
    gmk_hal_lock_acquire(&k->control);
    forget(k, index);
    gmk_hal_lock_release(&k->control);
    return true;
}

void gmk_registry_fini_all(gmk_front_t *f)
{
    gmk_registry_t *r = f->core->registry;
    for (uint32_t i = r->n; i-- > 0;) {
        if (r->mods[i].state == GMK_MODULE_UP || r->mods[i].state == GMK_MODULE_LEAVING)
            run_fini(f, r->mods[i].module);
    }
}

int gmk_registry_trace_level(gmk_core_t *k, const char *module, uint32_t level)
{
    gmk_registry_t *r = k->registry;
    uint32_t most = 0;
    bool found = module == NULL;
    gmk_hal_lock_acquire(&k->control);
    if (module == NULL)
        r->level = level;
    for (uint32_t i = 0; i < r->n; i++)
        if (r->mods[i].state != GMK_MODULE_NONE &&
            (module == NULL || gmk_name_same(r->mods[i].module->name, module))) {
            r->levels[i] = level;
            found = true;
        }
    for (uint32_t i = 0; i < r->n; i++)
        most = r->levels[i] > most ? r->levels[i] : most;
    for (uint32_t t = 0; t < k->n_types; t++)
        if (gmk_load32(&k->types[t].taken, GMK_ACQ, GMK_KERNEL) != 0)
            gmk_store32(&k->types[t].level, r->levels[k->types[t].module], GMK_RLX, GMK_KERNEL);
    if (found)
        gmk_store32(&k->trace_mask, most > r->level ? most : r->level, GMK_RLX, GMK_KERNEL);
    gmk_hal_lock_release(&k->control);
    return found ? GMK_OK : GMK_ERR_NOTFOUND;
}
