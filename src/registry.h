/* SPDX-License-Identifier: MIT */
/*
 * registry.h — which modules are there, which handler types and channels they declared.
 *
 * Loading and unloading hold the control lock while they change tables, never while a module's
 * init or fini runs.  Dispatch reads only the type table; a type's `fn` is published last and
 * taken back first.
 */
#ifndef GMK_REGISTRY_H
#define GMK_REGISTRY_H

#include "channel.h"

#define GMK_MODULES_MAX 128u

enum gmk_module_state {
    GMK_MODULE_NONE,
    GMK_MODULE_LOADING,
    GMK_MODULE_UP,
    GMK_MODULE_LEAVING,
    GMK_MODULE_FINI
};

typedef struct gmk_registered {
    gmk_module_t *module;
    enum gmk_module_state state;
    uint64_t epoch; /* leaving: the grace period to wait for */
    bool no_fini;   /* leaving: its init failed */
} gmk_registered_t;

typedef struct gmk_registry {
    gmk_registered_t mods[GMK_MODULES_MAX]; /* in order of loading, gaps where one left */
    uint32_t n;
    uint32_t level; /* trace level of modules that come */
    uint32_t levels[GMK_MODULES_MAX];
    uint32_t chan_owner[GMK_MAX_CHANNELS]; /* 1 + the module that declared the type first */
    struct {
        uint32_t handle, slots;
    } opened[GMK_MAX_CHANNELS];      /* what a declaration that opened a channel asked for */
    bool quiet;                      /* no lines on the console */
    struct gmk_observed_peer *peers; /* of bridges, for exports; control lock */
    gmk_a32_t bridged;               /* there was a bridge once */
} gmk_registry_t;

/* What is wrong with a name, to be put behind it ("is empty"); NULL = nothing. */
const char *gmk_name_fault(const char *name, bool channel);

/* Loads m: handlers, channels, init, subscriptions.  On an error everything is undone. */
int gmk_registry_load(gmk_front_t *f, gmk_module_t *m);
/* First half of an unload: nothing new starts in the module.  NOTFOUND, STATE. */
int gmk_registry_retire(gmk_front_t *f, const char *name, uint32_t *index);
/* Second half: true once no worker is in it any more and fini has run, by whichever caller came first. */
bool gmk_registry_finish(gmk_front_t *f, uint32_t index);
/* fini of all modules in reverse, for the halt. */
void gmk_registry_fini_all(gmk_front_t *f);
int gmk_registry_trace_level(gmk_core_t *k, const char *module, uint32_t level);

#endif
