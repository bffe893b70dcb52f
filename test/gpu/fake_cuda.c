/* SPDX-License-Identifier: MIT */
/*
 * fake_cuda.c — a libcuda.so.1 without a GPU, for the tests of ggmk-gpuhost.
 *
 * It has the calls that the host uses and keeps what the host may rely on: memory of the device lies at
 * addresses the host cannot touch, a copy is there only after a query has said so, work on a stream is done in
 * its order.  A launch runs the real GGMK/gpu on a thread, with the parameters the host passed.  What
 * would be wrong, or might wait for ever, with a real driver ends the process with a line "fake-cuda: MISUSE".
 *
 * FAKE_CUDA, words separated by blanks, makes it another GPU, or one that fails:
 *   devices=N version=N capability=N multiprocessors=N occupancy=N console-bytes=N
 *   exec-timeout=1 cooperative=0 register=0 unified=0 writes-words=0
 *   fail=CALL:CODE   that call answers so; fail=CALL:CODE@N: from its Nth time on
 *   fault-ms=N       the kernel faults after so long
 *   hang=1           it never ends
 *   lines=N          it writes so many lines at once
 *   no-result=1      it ends without one
 *   wild-order=1     it orders a copy of what is not its own
 *   copies-file=PATH at the end it writes there how many copies it ordered, out and in
 */
#include "../../gpu/cuda.h"
#include "../../gpu/device.h"
#include "../../gpu/entry.h"
#include "../../gpu/host_console.h"

#include <ggmk/copier.h>

#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define EXPORT(name, parameters) __attribute__((visibility("default"))) CUresult name parameters;
CUDA_CALLS(EXPORT)
#undef EXPORT

/* An address of the device is one of this process with a bit that no address has. */
#define DEVICE ((CUdeviceptr)1 << 62)
#define ALIGN ((uint64_t)2 << 20)

typedef struct range {
    CUdeviceptr device; /* 0 = free */
    void *host;
    size_t bytes;
} range_t;

/* Work of a stream that is not done yet. */
struct CUstream_st {
    bool made, has_copy, seen;
    void *to;
    const void *from;
    size_t bytes;
};

static struct {
    bool initialised, retained, current, loaded, launched;
    struct CUstream_st stream[4];
    range_t region, pinned, memory, zeroed;
    CUstream kernel_stream; /* the one that zeroed the memory */
    size_t stack_bytes;
    gmk_gpu_params_t params;
    unsigned blocks;
    console_copy_t console;
    pthread_t thread;
    atomic_int ended, fault;
    struct relay {
        pthread_t thread;
        uint32_t way;
        gmk_copy_ring_t ring; /* of the kernel */
        gmk_copy_done_t done;
        uint64_t served;
    } relay[GMK_GPU_COPIES];
} fake;

/* ---- what is to go wrong ------------------------------------------------------------------- */

static _Noreturn __attribute__((format(printf, 1, 2))) void misuse(const char *format, ...)
{
    va_list args;

    fputs("fake-cuda: MISUSE: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}

/* The text behind NAME= in FAKE_CUDA, or NULL. */
static const char *word(const char *name)
{
    const char *at = getenv("FAKE_CUDA");
    size_t n = strlen(name);

    while (at && *at) {
        if (strncmp(at, name, n) == 0 && at[n] == '=')
            return at + n + 1;
        at += strcspn(at, " ");
        at += strspn(at, " ");
    }
    return NULL;
}

static int setting(const char *name, int otherwise)
{
    const char *text = word(name);

    return text ? atoi(text) : otherwise;
}

static CUresult injected(const char *call)
{
    static int times;
    const char *text = word("fail");
    size_t n = strlen(call);
    int code, from = 1;

    if (!text || strncmp(text, call, n) != 0 || sscanf(text + n, ":%d@%d", &code, &from) < 1)
        return CUDA_SUCCESS;
    return ++times >= from ? code : CUDA_SUCCESS;
}

/* ---- what every call begins with ------------------------------------------------------------ */

enum { ANY_TIME = 1, NO_CONTEXT = 2, BESIDE_KERNEL = 4 };

static bool running(void) { return fake.launched && !atomic_load(&fake.ended) && !atomic_load(&fake.fault); }

static CUresult enter(const char *call, unsigned when)
{
    if (!(when & ANY_TIME) && !fake.initialised)
        misuse("%s before cuInit", call);
    if (!(when & (ANY_TIME | NO_CONTEXT)) && !fake.current)
        misuse("%s without a context", call);
    if (!(when & BESIDE_KERNEL) && running())
        misuse("%s beside the running kernel", call);
    if (!(when & (ANY_TIME | NO_CONTEXT)) && atomic_load(&fake.fault))
        return atomic_load(&fake.fault);
    return injected(call);
}

#define ENTER(when)                                                                                          \
    do {                                                                                                     \
        CUresult r_ = enter(__func__, when);                                                                 \
        if (r_ != CUDA_SUCCESS)                                                                              \
            return r_;                                                                                       \
    } while (0)

static void *behind(CUdeviceptr p)
{
    if (!(p & DEVICE))
        misuse("%#" PRIx64 " is no address of the device", p);
    return (void *)(uintptr_t)(p & ~DEVICE);
}

static bool within(const range_t *r, CUdeviceptr p, uint64_t bytes)
{
    return r->device && p >= r->device && bytes <= r->bytes && p - r->device <= r->bytes - bytes;
}

/* ---- the driver and its devices ------------------------------------------------------------- */

static void want_environment(const char *name, const char *value)
{
    const char *is = getenv(name);

    if (!is || (value && strcmp(is, value) != 0))
        misuse("%s is '%s' at cuInit", name, is ? is : "not set");
}

CUresult cuInit(unsigned flags)
{
    want_environment("CUDA_MODULE_LOADING", "EAGER");
    want_environment("CUDA_MPS_PIPE_DIRECTORY", NULL);
    if (access(getenv("CUDA_MPS_PIPE_DIRECTORY"), F_OK) == 0 || getenv("CUDA_LAUNCH_BLOCKING") || flags)
        misuse("cuInit with MPS, with launches that block, or with flags");
    ENTER(ANY_TIME);
    fake.initialised = true;
    return setting("devices", 1) ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
}

CUresult cuDriverGetVersion(int *version)
{
    ENTER(ANY_TIME);
    *version = setting("version", 12040);
    return CUDA_SUCCESS;
}

static const struct {
    CUresult code;
    const char *name, *text;
} errors[] = {
    {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {CUDA_ERROR_INVALID_PTX, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, "CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE",
     "too many blocks in cooperative launch"},
};

CUresult cuGetErrorName(CUresult r, const char **text)
{
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (errors[i].code == r) {
            *text = errors[i].name;
            return CUDA_SUCCESS;
        }
    *text = NULL;
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult r, const char **text)
{
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (errors[i].code == r) {
            *text = errors[i].text;
            return CUDA_SUCCESS;
        }
    *text = NULL;
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuDeviceGetCount(int *count)
{
    ENTER(NO_CONTEXT);
    *count = setting("devices", 1);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    ENTER(NO_CONTEXT);
    if (ordinal < 0 || ordinal >= setting("devices", 1))
        return CUDA_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int bytes, CUdevice device)
{
    ENTER(NO_CONTEXT);
    (void)snprintf(name, (size_t)bytes, "Fake GPU %d", device);
    return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device)
{
    ENTER(NO_CONTEXT);
    (void)device;
    *bytes = (size_t)1 << 30;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device)
{
    ENTER(NO_CONTEXT);
    (void)device;
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = setting("multiprocessors", 2); break;
    case CU_DEVICE_ATTRIBUTE_KERNEL_EXEC_TIMEOUT: *value = setting("exec-timeout", 0); break;
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING: *value = setting("unified", 1); break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = setting("capability", 90) / 10; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = setting("capability", 90) % 10; break;
    case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH: *value = setting("cooperative", 1); break;
    case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED: *value = setting("register", 1); break;
    case CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS: *value = setting("writes-words", 1); break;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

/* ---- the context ---------------------------------------------------------------------------- */

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned flags)
{
    ENTER(NO_CONTEXT);
    (void)device;
    if (fake.retained || flags != CU_CTX_SCHED_BLOCKING_SYNC)
        misuse("flags %#x of a context that is %s", flags, fake.retained ? "in use" : "not");
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
    ENTER(NO_CONTEXT);
    (void)device;
    fake.retained = true;
    *context = (CUcontext)(void *)&fake;
    return CUDA_SUCCESS;
}

/* All that was taken in the context goes with it; a region that is still registered would leak. */
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
    ENTER(NO_CONTEXT);
    (void)device;
    if (!fake.retained || fake.region.device)
        misuse("a context released that %s", fake.retained ? "has the region registered" : "nobody has");
    fake.retained = fake.current = fake.loaded = false;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext context)
{
    ENTER(NO_CONTEXT);
    if (!fake.retained || context != (CUcontext)(void *)&fake)
        misuse("a context that is none");
    fake.current = true;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetLimit(int limit, size_t value)
{
    ENTER(0);
    if (limit != CU_LIMIT_STACK_SIZE)
        return CUDA_ERROR_INVALID_VALUE;
    fake.stack_bytes = value;
    return CUDA_SUCCESS;
}

/* ---- memory --------------------------------------------------------------------------------- */

/* The device sees the region at a mapping of its own. */
CUresult cuMemHostRegister_v2(void *p, size_t bytes, unsigned flags)
{
    ENTER(0);
    void *other = mremap(p, 0, bytes, MREMAP_MAYMOVE);
    if (other == MAP_FAILED || flags != (CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP))
        misuse("memory registered that is not shared, or with flags %#x", flags);
    fake.region = (range_t){(CUdeviceptr)(uintptr_t)other | DEVICE, p, bytes};
    return CUDA_SUCCESS;
}

CUresult cuMemHostUnregister(void *p)
{
    ENTER(0);
    if (!fake.region.device || p != fake.region.host)
        misuse("memory that was not registered");
    fake.region.device = 0;
    return CUDA_SUCCESS;
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *out, void *p, unsigned flags)
{
    ENTER(0);
    *out = p == fake.region.host ? fake.region.device : p == fake.pinned.host ? fake.pinned.device : 0;
    return *out && flags == 0 ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
}

CUresult cuMemHostAlloc(void **out, size_t bytes, unsigned flags)
{
    ENTER(0);
    if (flags != CU_MEMHOSTALLOC_DEVICEMAP || fake.pinned.device)
        misuse("cuMemHostAlloc with flags %#x", flags);
    *out = aligned_alloc(4096, (bytes + 4095) & ~(size_t)4095);
    memset(*out, 0xa5, bytes);
    fake.pinned = (range_t){(CUdeviceptr)(uintptr_t)*out | DEVICE, *out, bytes};
    return CUDA_SUCCESS;
}

/* No better aligned than a driver promises, and full of what was there. */
CUresult cuMemAlloc_v2(CUdeviceptr *out, size_t bytes)
{
    ENTER(0);
    char *p = mmap(NULL, bytes + 2 * ALIGN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || fake.memory.device)
        return CUDA_ERROR_OUT_OF_MEMORY;
    p += ALIGN - (uintptr_t)p % ALIGN + 256;
    fake.memory = (range_t){(CUdeviceptr)(uintptr_t)p | DEVICE, p, bytes};
    *out = fake.memory.device;
    return CUDA_SUCCESS;
}

static struct CUstream_st *own_stream(const char *call, CUstream s)
{
    if (!s || !s->made)
        misuse("%s: a stream that is none", call);
    return s;
}

CUresult cuMemsetD8Async(CUdeviceptr p, unsigned char value, size_t bytes, CUstream stream)
{
    ENTER(0);
    own_stream(__func__, stream);
    if (!within(&fake.memory, p, bytes) || value != 0)
        misuse("memory set that is not the device's, or not to 0");
    fake.zeroed = (range_t){p, behind(p), bytes};
    fake.kernel_stream = stream;
    return CUDA_SUCCESS;
}

static void finish_copy(struct CUstream_st *s)
{
    if (s->has_copy)
        memcpy(s->to, s->from, s->bytes);
    s->has_copy = false;
}

static bool is_pinned(const void *p, size_t bytes)
{
    range_t region = {(CUdeviceptr)(uintptr_t)fake.region.host, NULL, fake.region.bytes};

    return within(&fake.pinned, (CUdeviceptr)(uintptr_t)p | DEVICE, bytes) ||
           (fake.region.device && within(&region, (CUdeviceptr)(uintptr_t)p, bytes));
}

/* Nothing of it is there before a later query, or a write behind it. */
static void begin_copy(const char *call, void *to, const void *from, const void *host, size_t bytes,
                       CUstream stream)
{
    struct CUstream_st *s = own_stream(call, stream);

    if (s == fake.kernel_stream)
        misuse("a copy that waits for the kernel to end");
    if (!is_pinned(host, bytes))
        misuse("a copy to or from memory that is not pinned, which waits");
    finish_copy(s);
    s->to = to, s->from = from, s->bytes = bytes, s->has_copy = true, s->seen = false;
}

CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    ENTER(BESIDE_KERNEL);
    begin_copy(__func__, to, behind(from), to, bytes, stream);
    return CUDA_SUCCESS;
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
    ENTER(BESIDE_KERNEL);
    begin_copy(__func__, behind(to), from, from, bytes, stream);
    return CUDA_SUCCESS;
}

/* What came before it on the stream is there before it is. */
CUresult cuStreamWriteValue64_v2(CUstream stream, CUdeviceptr at, uint64_t value, unsigned flags)
{
    ENTER(BESIDE_KERNEL);
    struct CUstream_st *s = own_stream(__func__, stream);
    if (s == fake.kernel_stream || flags != 0 || !setting("writes-words", 1))
        misuse("a write with flags %#x that waits for the kernel, or that this GPU cannot do", flags);
    if (!within(&fake.memory, at, sizeof(value)) || at % sizeof(value) != 0)
        misuse("a write to %#" PRIx64 ", which is not the device's", at);
    finish_copy(s);
    __atomic_store_n((uint64_t *)behind(at), value, __ATOMIC_RELEASE);
    return CUDA_SUCCESS;
}

/* ---- the image ------------------------------------------------------------------------------ */

static void refuse_image(unsigned n, const int *options, void **values)
{
    for (unsigned i = 0; i + 1 < n; i++)
        if (options[i] == CU_JIT_ERROR_LOG_BUFFER && options[i + 1] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
            (void)snprintf(
                values[i], (size_t)(uintptr_t)values[i + 1],
                "ptxas fatal : Unexpected instruction types\nptxas fatal : Ptx assembly aborted\n");
}

CUresult cuModuleLoadDataEx(CUmodule *out, const void *image, unsigned n, int *options, void **values)
{
    CUresult r = enter(__func__, 0);
    if (r == CUDA_SUCCESS && !strstr(image, ".version"))
        r = CUDA_ERROR_INVALID_PTX;
    if (r != CUDA_SUCCESS) {
        refuse_image(n, options, values);
        return r;
    }
    fake.loaded = true;
    *out = (CUmodule)(void *)&fake;
    return CUDA_SUCCESS;
}

static void want_module(const char *call, CUmodule module)
{
    if (!fake.loaded || module != (CUmodule)(void *)&fake)
        misuse("%s: a module that is none", call);
}

CUresult cuModuleGetFunction(CUfunction *out, CUmodule module, const char *name)
{
    ENTER(0);
    want_module(__func__, module);
    *out = (CUfunction)(void *)&fake;
    return strcmp(name, GMK_GPU_ENTRY) == 0 ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr *out, size_t *bytes, CUmodule module, const char *name)
{
    ENTER(0);
    want_module(__func__, module);
    if (strcmp(name, GMK_GPU_CONSOLE) != 0)
        return CUDA_ERROR_NOT_FOUND;
    *out = (CUdeviceptr)(uintptr_t)&fake.console | DEVICE;
    *bytes = (size_t)setting("console-bytes", sizeof(fake.console));
    return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction f, int threads, size_t shared)
{
    ENTER(0);
    if (f != (CUfunction)(void *)&fake || threads != GMK_GPU_THREADS || shared || !fake.stack_bytes)
        misuse("occupancy of %d threads with %zu bytes, before the stack is known", threads, shared);
    *blocks = setting("occupancy", 2);
    return CUDA_SUCCESS;
}

/* ---- streams and the kernel ----------------------------------------------------------------- */

CUresult cuStreamCreate(CUstream *out, unsigned flags)
{
    ENTER(0);
    if (flags != CU_STREAM_NON_BLOCKING)
        misuse("a stream that waits for all others");
    for (size_t i = 0; i < sizeof(fake.stream) / sizeof(fake.stream[0]); i++)
        if (!fake.stream[i].made) {
            fake.stream[i].made = true;
            *out = &fake.stream[i];
            return CUDA_SUCCESS;
        }
    return CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuStreamQuery(CUstream stream)
{
    ENTER(BESIDE_KERNEL);
    struct CUstream_st *s = own_stream(__func__, stream);
    if (s == fake.kernel_stream)
        return running() ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
    if (s->has_copy && !s->seen) {
        s->seen = true;
        return CUDA_ERROR_NOT_READY;
    }
    finish_copy(s);
    return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream stream)
{
    ENTER(0);
    finish_copy(own_stream(__func__, stream));
    return CUDA_SUCCESS;
}

/* As hal/nvptx writes its console. */
static __attribute__((format(printf, 1, 2))) void console_line(const char *format, ...)
{
    uint64_t n = fake.console.next, slot = n % CONSOLE_LINES;
    char text[sizeof(fake.console.line[0].text)] = {0};
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    __atomic_store_n(&fake.console.next, n + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&fake.console.line[slot].commit, 0, __ATOMIC_SEQ_CST);
    memcpy(fake.console.line[slot].text, text, sizeof(text));
    __atomic_store_n(&fake.console.line[slot].commit, n + 1, __ATOMIC_RELEASE);
}

/*
 * The kernel's memory is not where the host has put the device's: what it orders goes by way of that, with the
 * addresses a kernel on a GPU would give, and up to RELAYED orders at a time.
 */
enum { RELAYED = 2 };

static CUdeviceptr relay_place(const struct relay *r, uint64_t n)
{
    const gmk_gpu_params_t *p = &fake.params;
    uint64_t part = p->pages_bytes / (GMK_GPU_COPIES * RELAYED);

    return p->pages + (r->way * RELAYED + n % RELAYED) * part;
}

static void relay_order(const struct relay *r, const gmk_copy_t *c, uint64_t n)
{
    const gmk_gpu_params_t *p = &fake.params;
    gmk_copy_ring_t *ring = behind(p->copy_ring[r->way]);
    CUdeviceptr own = relay_place(r, n);
    bool out = r->way == GMK_GPU_COPY_OUT;

    if (c->bytes > p->pages_bytes / (GMK_GPU_COPIES * RELAYED))
        misuse("a payload of %" PRIu64 " bytes is too much for this fake", c->bytes);
    if (out)
        memcpy(behind(own), (const void *)(uintptr_t)c->from, c->bytes);
    if (setting("wild-order", 0))
        own = p->pages - 1;
    ring->order[n % GMK_COPIES] = (gmk_copy_t){
        .to = out ? c->to | DEVICE : own, .from = out ? own : c->from | DEVICE, .bytes = c->bytes};
    gmk_store64(&ring->ordered, n + 1, GMK_REL, GMK_SYSTEM);
}

static void relay_done(const struct relay *r, const gmk_copy_t *c, uint64_t n)
{
    const gmk_copy_done_t *done = behind(fake.params.copy_done[r->way]);

    while ((int64_t)(gmk_load64(&done->n, GMK_ACQ, GMK_SYSTEM) - n) <= 0)
        sched_yield();
    if (r->way == GMK_GPU_COPY_IN)
        memcpy((void *)(uintptr_t)c->to, behind(relay_place(r, n)), c->bytes);
}

static void *relay(void *arg)
{
    struct relay *r = arg;
    const gmk_copier_t kernel = {.ring = &r->ring, .done = &r->done};
    gmk_copy_t c[RELAYED];

    while (running()) {
        uint32_t n = 0;
        for (; n < RELAYED && gmk_copier_next(&kernel, r->served + n, &c[n]); n++)
            relay_order(r, &c[n], r->served + n);
        for (uint32_t i = 0; i < n; i++, r->served++)
            relay_done(r, &c[i], r->served);
        if (n != 0)
            gmk_copier_did(&kernel, r->served);
        else
            sched_yield();
    }
    return NULL;
}

static gmk_copier_t lend(uint32_t way)
{
    struct relay *r = &fake.relay[way];

    r->way = way;
    if (!fake.params.copy_ring[way])
        return (gmk_copier_t){.ring = NULL};
    if (!within(&fake.pinned, fake.params.copy_ring[way], sizeof(gmk_copy_ring_t)) ||
        !within(&fake.zeroed, fake.params.copy_done[way], sizeof(gmk_copy_done_t)))
        misuse("a ring of orders that is not pinned, or a word that is not the device's or was not zeroed");
    if (pthread_create(&r->thread, NULL, relay, r) != 0)
        misuse("no thread for a copy engine");
    return (gmk_copier_t){.ring = &r->ring, .done = &r->done, .least = fake.params.copy_least};
}

static void tell_copies(void)
{
    char path[PATH_MAX];
    const char *at = word("copies-file");

    if (!at || sscanf(at, "%4095s", path) != 1)
        return;
    FILE *f = fopen(path, "w");
    if (!f)
        misuse("%s cannot be written", path);
    fprintf(f, "%" PRIu64 " %" PRIu64 "\n", fake.relay[GMK_GPU_COPY_OUT].served,
            fake.relay[GMK_GPU_COPY_IN].served);
    fclose(f);
}

static int run_kernel(void)
{
    const gmk_gpu_params_t *p = &fake.params;
    gmk_device_launch_t launch = {.region = behind(p->region),
                                  .region_bytes = p->region_bytes,
                                  .arena_bytes = p->arena_bytes,
                                  .mods = gmk_image_modules,
                                  .n_mods = gmk_image_n_modules,
                                  .max_workers = p->max_workers < 4 ? p->max_workers : 4, /* threads */
                                  .boot_flags = p->boot_flags,
                                  .copy_out = lend(GMK_GPU_COPY_OUT),
                                  .copy_in = lend(GMK_GPU_COPY_IN)};
    int code = gmk_device_run(&launch);

    tell_copies();
    return code;
}

static void wait_ms(int ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    while (nanosleep(&t, &t) != 0)
        ;
}

static void *kernel(void *arg)
{
    (void)arg;
    console_line("fake kernel: %u blocks, %u workers, %zu bytes of stack", fake.blocks,
                 fake.params.max_workers, fake.stack_bytes);
    for (int i = 0, n = setting("lines", 0); i < n; i++)
        console_line("line %d", i);
    if (word("fault-ms")) {
        wait_ms(setting("fault-ms", 0));
        console_line("fake kernel: about to fault\033[31m");
        atomic_store(&fake.fault, CUDA_ERROR_ILLEGAL_ADDRESS);
        return NULL;
    }
    if (setting("hang", 0))
        for (;;)
            pause();
    uint64_t code = (uint32_t)run_kernel();
    console_line("fake kernel: ended");
    if (!setting("no-result", 0))
        *(uint64_t *)behind(fake.params.result) = GMK_GPU_ENDED | code;
    atomic_store(&fake.ended, 1);
    return NULL;
}

static void check_launch(CUstream stream, unsigned blocks, const gmk_gpu_params_t *p)
{
    if (own_stream("cuLaunchCooperativeKernel", stream) != fake.kernel_stream)
        misuse("a kernel on a stream that did not zero its memory");
    if (p->version != GMK_GPU_VERSION)
        misuse("parameters of version %u", p->version);
    if (blocks < GMK_GPU_BLOCKS_MIN || p->max_workers > blocks - (GMK_GPU_BLOCKS_MIN - 1))
        misuse("%u workers in %u blocks", p->max_workers, blocks);
    if (p->pages % ALIGN != 0 || p->pages < fake.zeroed.device ||
        p->pages + p->pages_bytes > fake.zeroed.device + fake.zeroed.bytes ||
        p->arena_bytes >= p->pages_bytes)
        misuse("pages %#" PRIx64 ": not aligned, not zeroed, or too few for the arena", p->pages);
    if (p->region != fake.region.device || p->region_bytes != fake.region.bytes)
        misuse("region %#" PRIx64 " is not where the device has it", p->region);
    if (!within(&fake.pinned, p->result, sizeof(uint64_t)) || *(uint64_t *)behind(p->result) != 0)
        misuse("result %#" PRIx64 ": not pinned, or not zero", p->result);
}

CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                   unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                                   CUstream stream, void **parameters)
{
    ENTER(0);
    if (f != (CUfunction)(void *)&fake || grid_y != 1 || grid_z != 1 || block_x != GMK_GPU_THREADS ||
        block_y != 1 || block_z != 1 || shared)
        misuse("a launch of another shape");
    if (grid_x > (unsigned)(setting("occupancy", 2) * setting("multiprocessors", 2)))
        return CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
    memcpy(&fake.params, parameters[0], sizeof(fake.params));
    check_launch(stream, grid_x, &fake.params);
    memset(fake.zeroed.host, 0, fake.zeroed.bytes);
    fake.blocks = grid_x;
    fake.launched = true;
    return pthread_create(&fake.thread, NULL, kernel, NULL) == 0 ? CUDA_SUCCESS
                                                                 : CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
}
