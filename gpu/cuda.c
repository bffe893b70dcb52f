/* SPDX-License-Identifier: MIT */
/* cuda.c — opens the driver's library and finds its calls. */
#include "cuda.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {
#define CUDA_NAME(name, parameters) #name,
    CUDA_CALLS(CUDA_NAME)
#undef CUDA_NAME
};

static const size_t places[] = {
#define CUDA_PLACE(name, parameters) offsetof(cuda_t, name),
    CUDA_CALLS(CUDA_PLACE)
#undef CUDA_PLACE
};

int cuda_open(cuda_t *c, char *why, size_t bytes)
{
    if (!c->library)
        c->library = dlopen(CUDA_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!c->library) {
        (void)snprintf(why, bytes, "no NVIDIA driver: %s", dlerror());
        return -1;
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        void *call = dlsym(c->library, names[i]);
        if (!call) {
            (void)snprintf(why, bytes,
                           CUDA_LIBRARY " has no %s: the driver is too old, %d.%d or later is needed",
                           names[i], CUDA_VERSION_NEEDED / 1000, CUDA_VERSION_NEEDED % 1000 / 10);
            return -1;
        }
        memcpy((char *)c + places[i], &call, sizeof(call)); /* POSIX: an object pointer holds it */
    }
    return 0;
}

void cuda_explain(const cuda_t *c, const char *call, CUresult r, char *text, size_t bytes)
{
    const char *name = NULL, *words = NULL;

    if (c->cuGetErrorString(r, &words) != CUDA_SUCCESS || !words)
        words = "an error this driver has no words for";
    if (c->cuGetErrorName(r, &name) != CUDA_SUCCESS || !name)
        name = "unknown";
    (void)snprintf(text, bytes, "%s: %s (%d, %s)", call, words, r, name);
}
