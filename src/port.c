/* SPDX-License-Identifier: MIT */
/* port.c — attaching and detaching foreign threads. */
#include "boot.h"

static gmk_front_t *take_port(gmk_core_t *k)
{
    for (uint32_t i = 0; i < k->n_ports - GMK_PORTS_OWN; i++) {
        uint32_t unused = GMK_PORT_FREE;
        if (gmk_cas32(&k->ports[i].in_use, &unused, GMK_PORT_ATTACHED, GMK_ACQ_REL, GMK_KERNEL))
            return &k->ports[i];
    }
    return NULL;
}

/* Takes a port first and looks at the state then: a halt sets the state first and looks for ports then. */
static int attach(gmk_core_t *k, gmk_front_t **out)
{
    if (gmk_load32(&k->state, GMK_ACQ, GMK_KERNEL) != GMK_CORE_UP)
        return GMK_ERR_STATE;
    gmk_front_t *f = take_port(k);
    if (f == NULL)
        return GMK_ERR_LIMIT;
    gmk_fence(GMK_SEQ, GMK_KERNEL);
    if (gmk_load32(&k->state, GMK_ACQ, GMK_KERNEL) != GMK_CORE_UP) {
        gmk_store32(&f->in_use, GMK_PORT_FREE, GMK_REL, GMK_KERNEL);
        return GMK_ERR_STATE;
    }
    *out = f;
    return GMK_OK;
}

int gmk_attach(gmk_kernel_t *kernel, gmk_port_t *port)
{
    gmk_core_t *k = port == NULL ? NULL : gmk_outside_begin(kernel);
    if (k == NULL)
        return GMK_ERR_INVAL;
    gmk_front_t *f = NULL;
    int rc = attach(k, &f);
    gmk_outside_end(kernel);
    if (rc == GMK_OK) {
        port->kernel = kernel;
        port->front = f;
    }
    return rc;
}

void gmk_detach(gmk_port_t *port)
{
    if (port == NULL || port->front == NULL)
        return;
    gmk_front_t *f = port->front;
    gmk_credit_flush(f);
    gmk_slab_cache_flush(&f->core->nodes, &f->nodes);
    gmk_heap_cache_flush(&f->core->heap, &f->heap);
    gmk_store32(&f->in_use, GMK_PORT_FREE, GMK_REL, GMK_KERNEL);
    port->front = NULL;
    port->kernel = NULL;
}

gmk_ctx_t *gmk_port_ctx(gmk_port_t *port)
{
    return port == NULL || port->front == NULL ? NULL : &port->front->ctx;
}
