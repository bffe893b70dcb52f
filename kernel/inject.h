/* SPDX-License-Identifier: MIT */
/*
 * inject.h — faults on purpose: what a handler may do wrong, and what the kernel may.
 *
 * inject() is for the monitor and the self-tests: any thread but not a handler.  The faults of handlers are
 * contained: the task fails and the machine goes on.
 */
#ifndef GGMK_KERNEL_INJECT_H
#define GGMK_KERNEL_INJECT_H

#include <ggmk.h>

extern gmk_module_t inject_module;

typedef struct inject_kind {
    const char *name, *what;
    bool fatal; /* ends the machine */
} inject_kind_t;

const inject_kind_t *inject_kinds(uint32_t *n);

/* GMK_OK, or why nothing was injected; GMK_ERR_NOTFOUND: no such kind. */
int inject(const char *kind);

/* Lets the handlers of `hang` return; answers how many were told. */
uint32_t inject_release(void);

/* The handler type that a kind of fault runs as, 0 = it is none of a handler. */
uint32_t inject_type(const char *kind);

#endif
