/* SPDX-License-Identifier: MIT */
/* port.c — attaching and detaching foreign threads. */
#include "boot.h"

int gmk_attach(gmk_kernel_t *kernel, gmk_port_t *port)
{
    gmk_core_t *k = gmk_core_of(kernel);
    if (k == NULL || port == NULL)
        return GMK_ERR_INVAL;
    if (gmk_load32(&k->state, GMK_ACQ, GMK_KERNEL) != GMK_CORE_UP)
        return GMK_ERR_STATE;
    for (uint32_t i = 0; i < k->n_ports - GMK_PORTS_OWN; i++) {
        uint32_t unused = 0;
        if (!gmk_cas32(&k->ports[i].in_use, &unused, 1, GMK_ACQ_REL, GMK_KERNEL))
            continue;
        port->kernel = kernel;
        port->front = &k->ports[i];
        return GMK_OK;
    }
    return GMK_ERR_LIMIT;
}

void gmk_detach(gmk_port_t *port)
{
    if (port == NULL || port->front == NULL)
        return;
    gmk_front_t *f = port->front;
    gmk_credit_flush(f);
    gmk_slab_cache_flush(&f->core->nodes, &f->nodes);
    gmk_heap_cache_flush(&f->core->heap, &f->heap);
    gmk_store32(&f->in_use, 0, GMK_REL, GMK_KERNEL);
    port->front = NULL;
    port->kernel = NULL;
}

gmk_ctx_t *gmk_port_ctx(gmk_port_t *port)
{
    return port == NULL || port->front == NULL ? NULL : &port->front->ctx;
}
