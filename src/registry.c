/* SPDX-License-Identifier: MIT */
#include "registry.h"

#include "grace.h"
#include "say.h"

/* ---- what the console is told -------------------------------------------------------------- */

const char *gmk_name_fault(const char *name, bool channel)
{
    uint32_t n = 0;
    if (gmk_name_ok(name, channel))
        return NULL;
    if (name == NULL || name[0] == '\0')
        return name == NULL ? "is NULL" : "is empty";
    while (n <= GMK_NAME_MAX && name[n] != '\0')
        n++;
    if (n > GMK_NAME_MAX)
        return "is longer than 31 bytes";
    return channel ? "has a byte outside [a-z0-9_.-]" : "has a byte outside [a-zA-Z0-9_.-]";
}

/* Begins a line about a module; false when the kernel is quiet. */
static bool begins(gmk_core_t *k, const gmk_module_t *m, gmk_out_t *o)
{
    if (k->registry->quiet)
        return false;
    gmk_say(o, k->name);
    gmk_out_str(o, "module ");
    gmk_out_quoted(o, m->name);
    gmk_out_str(o, ": ");
    return true;
}

static int refuse(gmk_core_t *k, const gmk_module_t *m, const char *why, int rc)
{
    gmk_out_t o;
    if (begins(k, m, &o)) {
        gmk_out_str(&o, why);
        gmk_said(&o);
    }
    return rc;
}

/* `before` VALUE `after`; what is not given is left out. */
static void out_value(gmk_out_t *o, const char *before, uint64_t value, const char *after)
{
    gmk_out_str(o, before);
    gmk_out_u64(o, value);
    if (after != NULL)
        gmk_out_str(o, after);
}

/* ---- handlers ----------------------------------------------------------------------------- */

/* `handler 0 "name" (type 5): `; false when the kernel is quiet. */
static bool handler_begins(gmk_core_t *k, const gmk_module_t *m, uint32_t i, gmk_out_t *o)
{
    const gmk_handler_reg_t *h = &m->handlers[i];
    if (!begins(k, m, o))
        return false;
    out_value(o, "handler ", i, NULL);
    if (h->name != NULL && h->name[0] != '\0') {
        gmk_out_str(o, " ");
        gmk_out_quoted(o, h->name);
    }
    out_value(o, " (type ", h->type, "): ");
    return true;
}

static int refuse_handler(gmk_core_t *k, const gmk_module_t *m, uint32_t i, const char *what, const char *why,
                          int rc)
{
    gmk_out_t o;
    if (handler_begins(k, m, i, &o)) {
        gmk_out_str(&o, what);
        gmk_out_str(&o, why);
        gmk_said(&o);
    }
    return rc;
}

static int refuse_type(gmk_core_t *k, const gmk_module_t *m, uint32_t i)
{
    gmk_out_t o;
    if (handler_begins(k, m, i, &o)) {
        out_value(&o, "the type must be 1 .. ", k->n_types - 1, " (n_types is ");
        out_value(&o, "", k->n_types, m->handlers[i].type == 0 ? ")" : "; raise it)");
        gmk_said(&o);
    }
    return GMK_ERR_RANGE;
}

static int refuse_count(gmk_core_t *k, const gmk_module_t *m, uint32_t i)
{
    const gmk_handler_reg_t *h = &m->handlers[i];
    gmk_out_t o;
    if (handler_begins(k, m, i, &o)) {
        if (h->max_retries > UINT16_MAX)
            out_value(&o, "max_retries is ", h->max_retries, ", at most 65535");
        else
            out_value(&o, "max_yields is ", h->max_yields, ", at most 65535 or GMK_YIELDS_UNLIMITED");
        gmk_said(&o);
    }
    return GMK_ERR_RANGE;
}

static int refuse_taken(gmk_core_t *k, const gmk_module_t *m, uint32_t i)
{
    const gmk_type_t *ty = &k->types[m->handlers[i].type];
    gmk_out_t o;
    if (handler_begins(k, m, i, &o)) {
        gmk_out_str(&o, "the type is registered already: ");
        gmk_out_quoted(&o, ty->name);
        gmk_out_str(&o, " of module ");
        gmk_out_quoted(&o, k->registry->mods[ty->module].module->name);
        gmk_said(&o);
    }
    return GMK_ERR_EXISTS;
}

static int check_handler(gmk_core_t *k, const gmk_module_t *m, uint32_t i)
{
    const gmk_handler_reg_t *h = &m->handlers[i];
    if (h->fn == NULL)
        return refuse_handler(k, m, i, "it has no function", "", GMK_ERR_INVAL);
    if (h->name != NULL && !gmk_name_ok(h->name, false))
        return refuse_handler(k, m, i, "its name ", gmk_name_fault(h->name, false), GMK_ERR_INVAL);
    if (h->type == 0 || h->type >= k->n_types)
        return refuse_type(k, m, i);
    if ((h->max_yields > UINT16_MAX && h->max_yields != GMK_YIELDS_UNLIMITED) || h->max_retries > UINT16_MAX)
        return refuse_count(k, m, i);
    if (gmk_load32(&k->types[h->type].taken, GMK_ACQ, GMK_KERNEL) != 0)
        return refuse_taken(k, m, i);
    for (uint32_t j = 0; j < i; j++)
        if (m->handlers[j].type == h->type)
            return refuse_handler(k, m, i, "two handlers of one type", "", GMK_ERR_EXISTS);
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

/* ---- channels ----------------------------------------------------------------------------- */

/* `channel "name": `; false when the kernel is quiet. */
static bool channel_begins(gmk_core_t *k, const gmk_module_t *m, const char *what, const gmk_chan_decl_t *d,
                           gmk_out_t *o)
{
    if (!begins(k, m, o))
        return false;
    gmk_out_str(o, what);
    gmk_out_quoted(o, d->name);
    gmk_out_str(o, ": ");
    return true;
}

static int refuse_channel(gmk_core_t *k, const gmk_module_t *m, const char *what, const gmk_chan_decl_t *d,
                          const char *why, int rc)
{
    gmk_out_t o;
    if (channel_begins(k, m, what, d, &o)) {
        gmk_out_str(&o, why);
        gmk_said(&o);
    }
    return rc;
}

static int refuse_number(gmk_core_t *k, const gmk_module_t *m, const gmk_chan_decl_t *d, const char *field,
                         uint32_t value, const char *must, int rc)
{
    gmk_out_t o;
    if (channel_begins(k, m, "channel ", d, &o)) {
        gmk_out_str(&o, field);
        out_value(&o, " is ", value, must);
        gmk_said(&o);
    }
    return rc;
}

/* What can be told of a declaration by itself. */
static int check_decl(gmk_core_t *k, const gmk_module_t *m, uint32_t i)
{
    const gmk_chan_decl_t *d = &m->channels[i];
    if (!gmk_name_ok(d->name, true)) {
        gmk_out_t o;
        if (begins(k, m, &o)) {
            out_value(&o, "the name of channel ", i, " ");
            gmk_out_str(&o, gmk_name_fault(d->name, true));
            if (d->name != NULL && d->name[0] != '\0') {
                gmk_out_str(&o, ": ");
                gmk_out_quoted(&o, d->name);
            }
            gmk_said(&o);
        }
        return GMK_ERR_INVAL;
    }
    if ((d->direction & ~(uint32_t)(GMK_CONSUMES | GMK_PRODUCES)) != 0 || d->direction == 0)
        return refuse_number(k, m, d, "direction", d->direction,
                             ", it must be GMK_CONSUMES, GMK_PRODUCES or both", GMK_ERR_INVAL);
    if (d->mode > GMK_FANOUT)
        return refuse_number(k, m, d, "mode", d->mode, ", it must be GMK_P2P or GMK_FANOUT", GMK_ERR_RANGE);
    if (d->guarantee > GMK_LOSSY)
        return refuse_number(k, m, d, "guarantee", d->guarantee, ", it must be GMK_LOSSLESS or GMK_LOSSY",
                             GMK_ERR_RANGE);
    if (d->slots > GMK_MAX_SLOTS)
        return refuse_number(k, m, d, "slots", d->slots, ", at most 1048576", GMK_ERR_RANGE);
    return GMK_OK;
}

/* What two declarations of one channel have to agree on: numbers, or the names of 0 and 1. */
typedef struct agreement {
    const char *field;
    uint32_t mine, theirs;
    const char *names[2];
    int rc;
} agreement_t;

static void out_agreed(gmk_out_t *o, const agreement_t *a, uint32_t value)
{
    if (a->names[0] != NULL && value < 2)
        gmk_out_str(o, a->names[value]);
    else
        gmk_out_u64(o, value);
}

static int mismatch(gmk_core_t *k, const gmk_module_t *m, const gmk_channel_t *c, const agreement_t *a)
{
    uint32_t owner = k->registry->chan_owner[c->index];
    gmk_out_t o;
    if (k->registry->quiet)
        return a->rc;
    gmk_say(&o, k->name);
    gmk_out_str(&o, "channel ");
    gmk_out_quoted(&o, c->name);
    gmk_out_str(&o, ": module ");
    gmk_out_quoted(&o, m->name);
    gmk_out_str(&o, " declares ");
    gmk_out_str(&o, a->field);
    gmk_out_str(&o, " ");
    out_agreed(&o, a, a->mine);
    gmk_out_str(&o, ", but ");
    if (owner != 0) {
        gmk_out_quoted(&o, k->registry->mods[owner - 1].module->name);
        gmk_out_str(&o, " declared ");
    } else {
        gmk_out_str(&o, "it is open with ");
    }
    out_agreed(&o, a, a->theirs);
    gmk_out_str(&o, "; give both the same ");
    gmk_out_str(&o, a->field);
    gmk_said(&o);
    return a->rc;
}

/* Credits that whoever opened the channel asked for; 0 = it left them to the kernel. */
static uint32_t slots_asked(const gmk_registry_t *r, const gmk_channel_t *c)
{
    if (r->opened[c->index].handle == c->handle)
        return r->opened[c->index].slots;
    return c->slots == GMK_DEFAULT_SLOTS ? 0 : c->slots;
}

/* Does a declaration agree with the channel that is open?  The kernel's own take any. */
static int agree(gmk_core_t *k, const gmk_module_t *m, const gmk_chan_decl_t *d, const gmk_channel_t *c)
{
    uint32_t asked = slots_asked(k->registry, c);
    bool sys = c->sys != 0;
    const agreement_t all[] = {
        {"message type",
         d->msg_type,
         sys && d->msg_type == 0 ? 0 : c->msg_type,
         {NULL},
         GMK_CHAN_TYPE_MISMATCH},
        {"mode", d->mode, sys ? d->mode : c->mode, {"GMK_P2P", "GMK_FANOUT"}, GMK_ERR_INVAL},
        {"guarantee",
         d->guarantee,
         sys ? d->guarantee : c->guarantee,
         {"GMK_LOSSLESS", "GMK_LOSSY"},
         GMK_ERR_INVAL},
        {"slots", d->slots, sys || asked == 0 || d->slots == 0 ? d->slots : asked, {NULL}, GMK_ERR_INVAL},
    };
    for (uint32_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i].mine != all[i].theirs)
            return mismatch(k, m, c, &all[i]);
    return GMK_OK;
}

static int cannot_open(gmk_core_t *k, const gmk_module_t *m, const gmk_chan_decl_t *d, int rc)
{
    const char *why = rc == GMK_ERR_INVAL ? "names that begin with \"sys.\" are the kernel's"
                    : rc == GMK_ERR_LIMIT ? "256 channels are open or being closed"
                                          : gmk_strerror(rc);
    return refuse_channel(k, m, "cannot open channel ", d, why, rc);
}

/* Opens the channel a module declares, or checks that the open one agrees. */
static int declare(gmk_front_t *f, const gmk_module_t *m, uint32_t i, uint32_t module)
{
    gmk_core_t *k = f->core;
    const gmk_chan_decl_t *d = &m->channels[i];
    uint32_t handle;
    int rc = check_decl(k, m, i);
    if (rc < 0)
        return rc;
    if (gmk_channel_find(k, d->name, &handle) == GMK_OK)
        return agree(k, m, d, gmk_chan_of(k, handle));
    gmk_chan_cfg_t cfg = {.name = d->name,
                          .msg_type = d->msg_type,
                          .mode = d->mode,
                          .guarantee = d->guarantee,
                          .slots = d->slots};
    rc = gmk_channel_open(f, &cfg, false, &handle);
    if (rc < 0)
        return cannot_open(k, m, d, rc);
    uint32_t index = gmk_delivery_chan(handle);
    k->registry->chan_owner[index] = module + 1;
    k->registry->opened[index].handle = handle;
    k->registry->opened[index].slots = d->slots;
    return GMK_OK;
}

/* A subscription of the channel that is not ending; NULL = none. */
static gmk_mailbox_t *live_sub(gmk_channel_t *c)
{
    for (uint32_t s = 0; s < GMK_MAX_SUBS; s++) {
        gmk_mailbox_t *m = gmk_sub_at(c, s);
        if (m != NULL && gmk_load32(&m->leaving, GMK_ACQ, GMK_KERNEL) == 0)
            return m;
    }
    return NULL;
}

static void out_bound(gmk_core_t *k, gmk_channel_t *c, gmk_out_t *o)
{
    gmk_mailbox_t *m = live_sub(c);
    gmk_out_str(o, "it is GMK_P2P and has its subscriber");
    if (m != NULL && gmk_load32(&k->types[m->handler].taken, GMK_ACQ, GMK_KERNEL) != 0) {
        gmk_out_str(o, " (module ");
        gmk_out_quoted(o, k->registry->mods[k->types[m->handler].module].module->name);
        gmk_out_str(o, ")");
    }
    gmk_out_str(o, "; declare it GMK_FANOUT");
}

static int cannot_subscribe(gmk_core_t *k, const gmk_module_t *m, const gmk_chan_decl_t *d, gmk_channel_t *c,
                            int rc)
{
    gmk_out_t o;
    if (!channel_begins(k, m, "cannot subscribe to ", d, &o))
        return rc;
    if (rc == GMK_ERR_NOTFOUND)
        out_value(&o, "there is no handler of type ", d->handler, NULL);
    else if (rc == GMK_CHAN_ALREADY_BOUND && c != NULL)
        out_bound(k, c, &o);
    else if (rc == GMK_ERR_RANGE && d->handler >= k->n_types)
        out_value(&o, "the handler is of type ", d->handler, ", that is not below n_types");
    else if (rc == GMK_ERR_RANGE)
        out_value(&o, "order is ", d->order, ", it must be GMK_ORDERED or GMK_PARALLEL");
    else
        gmk_out_str(&o, gmk_strerror(rc));
    gmk_said(&o);
    return rc;
}

static int subscribe(gmk_front_t *f, const gmk_module_t *m, const gmk_chan_decl_t *d)
{
    gmk_channel_t *c = NULL;
    uint32_t handle;
    uint64_t sub;
    gmk_sub_cfg_t cfg = {.handler = d->handler, .order = d->order};
    if ((d->direction & GMK_CONSUMES) == 0 || d->handler == 0)
        return GMK_OK;
    int rc = gmk_channel_find(f->core, d->name, &handle) == GMK_OK ? GMK_OK : GMK_CHAN_CLOSED;
    if (rc == GMK_OK) {
        c = gmk_chan_of(f->core, handle);
        rc = gmk_channel_sub(f, c, &cfg, &sub);
    }
    return rc < 0 ? cannot_subscribe(f->core, m, d, c, rc) : GMK_OK;
}

static bool is_type_of(gmk_core_t *k, uint32_t type, uint32_t module)
{
    return type != 0 && k->types[type].module == module &&
           gmk_load32(&k->types[type].taken, GMK_ACQ, GMK_KERNEL) != 0;
}

/* Ends the subscriptions whose handler is one of the module's; channels forget such an error handler. */
static void unsubscribe_all(gmk_front_t *f, uint32_t module)
{
    gmk_core_t *k = f->core;
    for (uint32_t i = 0; i < GMK_MAX_CHANNELS; i++) {
        gmk_channel_t *c = gmk_chan_at(k, i);
        if (c == NULL)
            continue;
        if (is_type_of(k, gmk_load32(&c->on_error, GMK_RLX, GMK_KERNEL), module))
            gmk_store32(&c->on_error, 0, GMK_REL, GMK_KERNEL);
        for (uint32_t s = 0; s < GMK_MAX_SUBS; s++) {
            gmk_mailbox_t *m = gmk_sub_at(c, s);
            if (m != NULL && is_type_of(k, m->handler, module) &&
                gmk_load32(&m->leaving, GMK_ACQ, GMK_KERNEL) == 0)
                gmk_channel_unsub(f, m, GMK_DROP_UNLOADED);
        }
    }
}

/* ---- load and unload ---------------------------------------------------------------------- */

static int check_name(gmk_core_t *k, const gmk_module_t *m)
{
    const char *fault = gmk_name_fault(m->name, false);
    gmk_out_t o;
    if (fault != NULL) {
        if (!k->registry->quiet) {
            gmk_say(&o, k->name);
            gmk_out_str(&o, "the name of a module ");
            gmk_out_str(&o, fault);
            if (m->name != NULL && m->name[0] != '\0') {
                gmk_out_str(&o, ": ");
                gmk_out_quoted(&o, m->name);
            }
            gmk_said(&o);
        }
        return GMK_ERR_INVAL;
    }
    for (uint32_t i = 0; i < k->registry->n; i++) {
        const gmk_registered_t *r = &k->registry->mods[i];
        if (r->state == GMK_MODULE_NONE || !gmk_name_same(r->module->name, m->name))
            continue;
        bool leaves = r->state == GMK_MODULE_LEAVING || r->state == GMK_MODULE_FINI;
        return refuse(k, m,
                      leaves ? "a module of this name is still being unloaded"
                             : "a module of this name is loaded already",
                      GMK_ERR_EXISTS);
    }
    return GMK_OK;
}

static int check_table(gmk_core_t *k, const gmk_module_t *m, const char *what, uint32_t n, const void *table)
{
    gmk_out_t o;
    if (n == 0 || table != NULL)
        return GMK_OK;
    if (begins(k, m, &o)) {
        out_value(&o, "it has ", n, " ");
        gmk_out_str(&o, what);
        gmk_out_str(&o, " and no table of them (NULL)");
        gmk_said(&o);
    }
    return GMK_ERR_INVAL;
}

static int check_module(gmk_core_t *k, const gmk_module_t *m)
{
    int rc = check_name(k, m);
    if (rc == GMK_OK)
        rc = check_table(k, m, "handlers", m->n_handlers, m->handlers);
    if (rc == GMK_OK)
        rc = check_table(k, m, "channels", m->n_channels, m->channels);
    for (uint32_t i = 0; i < m->n_handlers && rc == GMK_OK; i++)
        rc = check_handler(k, m, i);
    return rc;
}

static int place(gmk_core_t *k, gmk_module_t *m, uint32_t *index)
{
    gmk_registry_t *r = k->registry;
    uint32_t i = r->n;
    if (i == GMK_MODULES_MAX) /* a place in the middle breaks the order of fini no more than the gap did */
        for (i = 0; i < GMK_MODULES_MAX && r->mods[i].state != GMK_MODULE_NONE; i++)
            ;
    if (i == GMK_MODULES_MAX)
        return refuse(k, m, "128 modules are loaded already", GMK_ERR_LIMIT);
    if (i == r->n)
        r->n++;
    r->mods[i] = (gmk_registered_t){.module = m, .state = GMK_MODULE_LOADING};
    r->levels[i] = r->level;
    *index = i;
    return GMK_OK;
}

/* The levels changed, or who has one: the highest says whether anything is traced at all. */
static void set_trace_mask(gmk_core_t *k)
{
    const gmk_registry_t *r = k->registry;
    uint32_t most = r->level;
    for (uint32_t i = 0; i < r->n; i++)
        if (r->mods[i].state != GMK_MODULE_NONE && r->levels[i] > most)
            most = r->levels[i];
    gmk_store32(&k->trace_mask, most, GMK_RLX, GMK_KERNEL);
}

/* Another module that declares the channel: 1 + its place; 0 = none. */
static uint32_t other_declarer(gmk_core_t *k, const gmk_channel_t *c, uint32_t index, bool loading)
{
    const gmk_registry_t *r = k->registry;
    for (uint32_t i = 0; i < r->n; i++) {
        bool there = r->mods[i].state == GMK_MODULE_UP || (loading && r->mods[i].state == GMK_MODULE_LOADING);
        if (i == index || !there)
            continue;
        const gmk_module_t *m = r->mods[i].module;
        for (uint32_t j = 0; j < m->n_channels; j++)
            if (gmk_name_same(m->channels[j].name, c->name))
                return i + 1;
    }
    return 0;
}

static void forget(gmk_core_t *k, uint32_t index)
{
    gmk_registry_t *r = k->registry;
    const gmk_module_t *m = r->mods[index].module;
    for (uint32_t i = 0; i < m->n_handlers; i++)
        if (is_type_of(k, m->handlers[i].type, index))
            type_free(k, &k->types[m->handlers[i].type]);
    for (uint32_t i = 0; i < GMK_MAX_CHANNELS; i++) {
        gmk_channel_t *c = gmk_chan_at(k, i);
        if (r->chan_owner[i] == index + 1)
            r->chan_owner[i] = c == NULL ? 0 : other_declarer(k, c, index, false);
    }
    r->mods[index].state = GMK_MODULE_NONE;
    while (r->n > 0 && r->mods[r->n - 1].state == GMK_MODULE_NONE)
        r->n--;
    set_trace_mask(k);
}

/* With the control lock: everything a module declares, but not its subscriptions. */
static int declare_all(gmk_front_t *f, gmk_module_t *m, uint32_t index)
{
    int rc = GMK_OK;
    for (uint32_t i = 0; i < m->n_channels && rc == GMK_OK; i++)
        rc = declare(f, m, i, index);
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

/*
 * Closes the channels this module opened.  One that another module has declared meanwhile is that
 * module's from here on, and one that somebody subscribed to stays open, too.
 */
static void close_own(gmk_front_t *f, uint32_t index)
{
    gmk_core_t *k = f->core;
    for (uint32_t i = GMK_CHAN_SYS_COUNT; i < GMK_MAX_CHANNELS; i++) {
        gmk_channel_t *c = gmk_chan_at(k, i);
        if (c == NULL || k->registry->chan_owner[i] != index + 1 ||
            gmk_load32(&c->closing, GMK_ACQ, GMK_KERNEL) != 0)
            continue;
        uint32_t other = other_declarer(k, c, index, true);
        k->registry->chan_owner[i] = other;
        if (other == 0 && live_sub(c) == NULL)
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

static void init_failed(gmk_core_t *k, const gmk_module_t *m, int rc)
{
    gmk_out_t o;
    if (!begins(k, m, &o))
        return;
    gmk_out_str(&o, "init failed with ");
    gmk_out_quoted(&o, gmk_strerror(rc));
    gmk_out_str(&o, " (");
    gmk_out_i64(&o, rc);
    gmk_out_str(&o, ")");
    gmk_said(&o);
}

/* With the control lock: nothing new starts in the module from here on. */
static void begin_leave(gmk_front_t *f, uint32_t index)
{
    gmk_core_t *k = f->core;
    gmk_registered_t *r = &k->registry->mods[index];
    r->state = GMK_MODULE_LEAVING;
    unsubscribe_all(f, index);
    for (uint32_t t = 1; t < k->n_types; t++)
        if (is_type_of(k, t, index)) {
            gmk_store32(&k->types[t].unloaded, 1, GMK_RLX, GMK_KERNEL);
            gmk_store64(&k->types[t].fn, 0, GMK_REL, GMK_KERNEL);
        }
    r->epoch = gmk_grace_start(k);
}

/*
 * Takes a failed load back; called with the control lock, returns without it.  A handler that does
 * not return holds it up for the halt timeout only: what is left then is done by an unload of that
 * name, by the next load, or by the halt.  `ready`: its init succeeded, so its fini has to run.
 */
static void undo(gmk_front_t *f, uint32_t index, bool ready)
{
    gmk_core_t *k = f->core;
    uint64_t start = gmk_hal_now_ns();
    k->registry->mods[index].no_fini = !ready;
    begin_leave(f, index);
    close_own(f, index);
    gmk_hal_lock_release(&k->control);
    for (uint32_t round = 0; !gmk_registry_finish(f, index); round++) {
        if (gmk_hal_now_ns() - start > k->halt_timeout_ns)
            return;
        gmk_hal_relax(round);
    }
}

/* Ends the unloads that nobody waits for any more. */
static void finish_late(gmk_front_t *f)
{
    gmk_core_t *k = f->core;
    gmk_registry_t *r = k->registry;
    for (uint32_t i = 0;; i++) {
        gmk_hal_lock_acquire(&k->control);
        while (i < r->n && r->mods[i].state != GMK_MODULE_LEAVING)
            i++;
        bool there = i < r->n;
        gmk_hal_lock_release(&k->control);
        if (!there)
            return;
        (void)gmk_registry_finish(f, i);
    }
}

/* Without the control lock. */
static int run_init(gmk_front_t *f, gmk_module_t *m)
{
    if (m->init == NULL)
        return GMK_OK;
    gmk_leave(f);
    int rc = m->init(&f->ctx);
    gmk_enter(f);
    if (rc < 0)
        init_failed(f->core, m, rc);
    return rc;
}

int gmk_registry_load(gmk_front_t *f, gmk_module_t *m)
{
    gmk_core_t *k = f->core;
    uint32_t index = 0;
    finish_late(f);
    gmk_hal_lock_acquire(&k->control);
    int rc = check_module(k, m);
    if (rc == GMK_OK)
        rc = place(k, m, &index);
    if (rc < 0) {
        gmk_hal_lock_release(&k->control);
        return rc;
    }
    rc = declare_all(f, m, index);
    if (rc == GMK_OK) {
        gmk_hal_lock_release(&k->control);
        rc = run_init(f, m);
        gmk_hal_lock_acquire(&k->control);
    }
    bool ready = rc >= 0;
    if (ready)
        rc = subscribe_all(f, m);
    if (rc < 0) {
        undo(f, index, ready);
        return rc;
    }
    k->registry->mods[index].state = GMK_MODULE_UP;
    gmk_hal_lock_release(&k->control);
    return GMK_OK;
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
        begin_leave(f, i);
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
    if (!r->no_fini)
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
        if (r->mods[i].state == GMK_MODULE_UP ||
            (r->mods[i].state == GMK_MODULE_LEAVING && !r->mods[i].no_fini))
            run_fini(f, r->mods[i].module);
    }
}

int gmk_registry_trace_level(gmk_core_t *k, const char *module, uint32_t level)
{
    gmk_registry_t *r = k->registry;
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
    for (uint32_t t = 0; t < k->n_types; t++)
        if (gmk_load32(&k->types[t].taken, GMK_ACQ, GMK_KERNEL) != 0)
            gmk_store32(&k->types[t].level, r->levels[k->types[t].module], GMK_RLX, GMK_KERNEL);
    if (found)
        set_trace_mask(k);
    gmk_hal_lock_release(&k->control);
    return found ? GMK_OK : GMK_ERR_NOTFOUND;
}
