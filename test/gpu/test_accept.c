/* SPDX-License-Identifier: MIT */
/*
 * What has to hold between a cpu.0 and a device, wherever that is.  ACCEPT_ON says where:
 *
 *   local  a thread of this process, joined by memory of it
 *   soft   ggmk-gpuhost's software device, by shared memory (the default)
 *   cuda   a GPU; where there is none, every test is skipped
 *
 * ACCEPT_HOST is the host program with the test modules, ACCEPT_IMAGE their image.  ACCEPT_SECONDS=600 makes
 * the test of residence last so long.
 */
#include "harness.h"

#include <ggmk/gpu.h>

#include "../../gpu/device.h"
#include "../../gpu/host_proto.h"
#include "accept.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { H_BLOBS = 1, H_FLOODED, H_SAY, H_OUT, H_DEAD, H_ERROR, H_LOCAL, H_TYPES };
enum { T_IN = 201, T_WARP = 202, T_BLOCK = 203, T_ECHOED = 204 }; /* echo.c */

static struct {
    atomic_uint n[H_TYPES], bad[H_TYPES];
    atomic_ullong last0[H_TYPES], last1[H_TYPES];
    atomic_uint letters[2];
    atomic_int code;
} got;

static uint64_t sum_of(const uint8_t *p, uint32_t n, uint8_t flip)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum = sum * 31 + (uint8_t)(p[i] ^ flip);
    return sum;
}

static int on_any(gmk_ctx_t *c)
{
    const gmk_task_t *t = c->task;
    uint32_t n = atomic_load(&got.n[t->type]);
    if (t->type == H_BLOBS || t->type == H_OUT) {
        const uint8_t *p = (const uint8_t *)(uintptr_t)t->payload_ptr;
        if (t->payload_len != 0 && sum_of(p, t->payload_len, t->type == H_BLOBS ? 0xff : 0) != t->meta0)
            atomic_fetch_add(&got.bad[t->type], 1);
    }
    if (t->type == H_FLOODED && t->meta0 != n)
        atomic_fetch_add(&got.bad[t->type], 1);
    if (t->type == H_DEAD || t->type == H_ERROR) {
        atomic_store(&got.code, gmk_dead_code(t));
        atomic_fetch_add(&got.letters[t->type == H_ERROR], gmk_dead_count(t));
    }
    atomic_store(&got.last0[t->type], t->meta0);
    atomic_store(&got.last1[t->type], t->meta1);
    atomic_fetch_add(&got.n[t->type], 1); /* tasks of no channel run on both workers */
    return GMK_OK;
}

static const gmk_handler_reg_t handlers[] = {
    {.type = H_BLOBS, .fn = on_any}, {.type = H_FLOODED, .fn = on_any}, {.type = H_SAY, .fn = on_any},
    {.type = H_OUT, .fn = on_any},   {.type = H_DEAD, .fn = on_any},    {.type = H_ERROR, .fn = on_any},
    {.type = H_LOCAL, .fn = on_any}};

#define IN(channel, t, h)                                                                                    \
    {                                                                                                        \
        .name = channel, .direction = GMK_CONSUMES, .msg_type = t, .handler = h                              \
    }
#define OUT(channel, t)                                                                                      \
    {                                                                                                        \
        .name = channel, .direction = GMK_PRODUCES, .msg_type = t                                            \
    }
static const gmk_chan_decl_t channels[] = {
    OUT("a.many", A_MANY),
    OUT("a.gate", A_GATE),
    OUT("a.blob", A_BLOB),
    OUT("a.flood", A_FLOOD),
    OUT("a.ask", A_ASK),
    OUT("a.fail", A_FAIL),
    OUT("a.hang", A_HANG),
    OUT("t.in", T_IN),
    OUT("t.warp", T_WARP),
    OUT("t.block", T_BLOCK),
    IN("a.blobs", A_BLOBS, H_BLOBS),
    IN("a.flooded", A_FLOODED, H_FLOODED),
    IN("a.say", A_SAY, H_SAY),
    IN("t.out", T_ECHOED, H_OUT),
    {.name = "a.slow", .direction = GMK_PRODUCES, .msg_type = A_SLOW, .slots = 64},
    {.name = "a.lossy", .direction = GMK_PRODUCES, .msg_type = A_LOSSY, .guarantee = GMK_LOSSY, .slots = 64},
    {.name = "sys.dropped", .direction = GMK_CONSUMES, .handler = H_DEAD},
    {.name = "sys.error", .direction = GMK_CONSUMES, .handler = H_ERROR}};

static const gmk_chan_decl_t clash[] = {OUT("a.clash", A_CLASH_NEAR)};

/* ---- where the device is ------------------------------------------------------------------- */

#define ARGS "modules=t.accept,t.echo workers=2 beat_us=20000"

typedef struct dual {
    gmk_kernel_t k;
    gmk_module_t mine;
    gmk_module_t *drv;
    /* local */
    gmk_bridge_t *end;
    void *region;
    uint64_t bytes;
    uint32_t epoch;
    pthread_t thread;
    int device_rc;
    gmk_port_t port;
    gmk_ctx_t *c;
    char text[GMK_BRIDGE_TEXT];
} dual_t;

static const char *where(void)
{
    const char *on = getenv("ACCEPT_ON");
    return on != NULL ? on : "soft";
}

/* The driver is test/gpu/fake_cuda.c, which does as it is told. */
static bool is_fake(void) { return getenv("ACCEPT_FAKE") != NULL; }

static bool is_local(void) { return strcmp(where(), "local") == 0; }

/* A machine without a GPU that could be used, as the host program itself finds. */
static bool no_gpu(void)
{
    char command[4096];
    if (strcmp(where(), "cuda") != 0)
        return false;
    snprintf(command, sizeof command, "'%s' --probe --image '%s' >/dev/null 2>&1", getenv("ACCEPT_HOST"),
             getenv("ACCEPT_IMAGE"));
    int status = system(command);
    return WIFEXITED(status) && WEXITSTATUS(status) == GMK_HOST_EXIT_NO_DEVICE;
}

static void *device_thread(void *arg)
{
    dual_t *d = arg;
    const gmk_device_launch_t l = {.region = d->region,
                                   .region_bytes = d->bytes,
                                   .mods = gmk_image_modules,
                                   .n_mods = gmk_image_n_modules,
                                   .max_workers = 2,
                                   .boot_flags = GMK_BOOT_QUIET};
    d->device_rc = gmk_device_run(&l);
    return NULL;
}

/* A region of the next epoch, and a device on its other side. */
static int local_up(dual_t *d, const char *args)
{
    const gmk_region_cfg_t cfg = {.epoch = ++d->epoch, .pool_bytes = (uint64_t)16 << 20, .args = args};
    d->bytes = gmk_region_bytes(&cfg);
    d->region = mmap(NULL, d->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(d->region != MAP_FAILED);
    assert_int_equal(gmk_region_format(d->region, d->bytes, &cfg), GMK_OK);
    assert_int_equal(gmk_bridge_up(d->end, d->region, d->bytes, 0), GMK_OK);
    assert_int_equal(pthread_create(&d->thread, NULL, device_thread, d), 0);
    return gmk_bridge_wait_ready(d->end, KIT_PATIENCE);
}

static void local_down(dual_t *d, bool keep)
{
    gmk_bridge_stats_t s;
    (void)gmk_bridge_ask_stop(d->end);
    KIT_WAIT(gmk_bridge_stats(d->end, &s) == GMK_OK && s.state != GMK_BRIDGE_READY &&
             s.state != GMK_BRIDGE_HELLO);
    pthread_join(d->thread, NULL);
    assert_int_equal(gmk_bridge_down(d->end, keep), GMK_OK);
    munmap(d->region, d->bytes);
}

static int dual_boot_with(dual_t *d, const gmk_chan_decl_t *decls, uint32_t n, const char *args)
{
    gmk_boot_cfg_t cfg = kit_cfg(2);
    memset(d, 0, sizeof *d);
    memset(&got, 0, sizeof got);
    cfg.arena_size = (uint64_t)128 << 20;
    d->mine = (gmk_module_t){
        .name = "near", .handlers = handlers, .n_handlers = 7, .channels = decls, .n_channels = n};
    gmk_module_t *mods[2] = {&d->mine, NULL};
    if (!is_local()) {
        gmk_gpu_cfg_t gpu = {.device = strcmp(where(), "cuda") == 0 ? GMK_GPU_CUDA : GMK_GPU_SOFT,
                             .host = getenv("ACCEPT_HOST"),
                             .image = getenv("ACCEPT_IMAGE"),
                             .args = args,
                             .beat_ns = 20000000,
                             .pool_bytes = (uint64_t)16 << 20};
        mods[1] = d->drv = gmk_gpu_drv(&gpu);
        assert_non_null(d->drv);
    }
    int rc = gmk_boot(&d->k, &cfg, mods, is_local() ? 1 : 2);
    if (rc == GMK_OK && is_local()) {
        assert_int_equal(gmk_bridge_create(&d->k, NULL, &d->end), GMK_OK);
        rc = local_up(d, args);
    }
    if (rc == GMK_OK) {
        assert_int_equal(gmk_attach(&d->k, &d->port), GMK_OK);
        d->c = gmk_port_ctx(&d->port);
    }
    return rc;
}

static int dual_boot_args(dual_t *d, const char *args)
{
    if (no_gpu())
        skip();
    return dual_boot_with(d, channels, sizeof channels / sizeof channels[0], args);
}

static void dual_boot(dual_t *d) { assert_int_equal(dual_boot_args(d, ARGS), GMK_OK); }

static gmk_bridge_stats_t dual_stats(dual_t *d)
{
    gmk_bridge_stats_t s;
    gmk_gpu_status_t g;
    if (is_local()) {
        assert_int_equal(gmk_bridge_stats(d->end, &s), GMK_OK);
        return s;
    }
    assert_int_equal(gmk_gpu_status(d->drv, &g), GMK_OK);
    return g.bridge;
}

static void dual_end(dual_t *d)
{
    assert_int_equal(gmk_drain(&d->k, KIT_PATIENCE), GMK_OK);
    gmk_stats_t s;
    assert_int_equal(gmk_stats(&d->k, &s), GMK_OK);
    assert_int_equal(s.accepted, s.completed + s.failed + s.dropped);
    assert_int_equal(s.pending, 0);
    gmk_detach(&d->port);
    if (is_local()) {
        local_down(d, false);
        assert_int_equal(d->device_rc, GMK_OK);
        gmk_bridge_destroy(d->end);
    }
    assert_int_equal(gmk_halt(&d->k), GMK_OK);
    gmk_gpu_free(d->drv);
}

static gmk_chan_t chan(dual_t *d, const char *name)
{
    gmk_chan_t ch;
    assert_int_equal(gmk_chan_find(d->c, name, &ch), GMK_OK);
    return ch;
}

static void emit(dual_t *d, const char *name, uint64_t meta0)
{
    gmk_task_t t = {.meta0 = meta0};
    assert_int_equal(gmk_chan_emit_wait(d->c, chan(d, name), &t, KIT_PATIENCE), GMK_OK);
}

/* What a counter over there says, and how many errors it has seen. */
static uint64_t ask(dual_t *d, uint32_t counter, uint64_t *errors)
{
    uint32_t before = atomic_load(&got.n[H_SAY]);
    emit(d, "a.ask", counter);
    KIT_WAIT(atomic_load(&got.n[H_SAY]) == before + 1);
    if (errors != NULL)
        *errors = atomic_load(&got.last1[H_SAY]);
    return atomic_load(&got.last0[H_SAY]);
}

static void send_blob(dual_t *d, const char *name, uint32_t len, uint32_t seed)
{
    uint8_t *b = NULL;
    KIT_WAIT((b = gmk_payload_alloc(d->c, len)) != NULL);
    for (uint32_t i = 0; i < len; i++)
        b[i] = (uint8_t)(seed * 13 + i * 7);
    gmk_task_t t = {.flags = GMK_TASK_PAYLOAD_RC,
                    .payload_ptr = (uint64_t)(uintptr_t)b,
                    .payload_len = len,
                    .meta0 = sum_of(b, len, 0)};
    assert_int_equal(gmk_chan_emit_wait(d->c, chan(d, name), &t, KIT_PATIENCE), GMK_OK);
}

/* ---- the list ------------------------------------------------------------------------------ */

static void test_delivery(void **state)
{
    dual_t d;
    (void)state;
    dual_boot(&d);
    for (uint32_t i = 0; i < 1000; i++)
        emit(&d, "t.in", i);
    KIT_WAIT(atomic_load(&got.n[H_OUT]) == 1000);
    gmk_bridge_stats_t s = dual_stats(&d);
    assert_int_equal(s.state, GMK_BRIDGE_READY);
    assert_true(s.sent >= 1000 && s.received >= 1000);
    KIT_WAIT(dual_stats(&d).peer.beats != 0);
    dual_end(&d);
}

static void test_order(void **state)
{
    dual_t d;
    uint64_t errors;
    (void)state;
    dual_boot(&d);
    gmk_chan_t many = chan(&d, "a.many");
    for (uint32_t i = 0; i < 30000; i++) {
        gmk_task_t t = {.meta0 = i};
        assert_int_equal(gmk_chan_emit_wait(d.c, many, &t, KIT_PATIENCE), GMK_OK);
    }
    KIT_WAIT(ask(&d, A_COUNT_MANY, &errors) == 30000);
    assert_int_equal(errors, 0);
    emit(&d, "a.flood", 30000);
    KIT_WAIT(atomic_load(&got.n[H_FLOODED]) == 30000);
    assert_int_equal(atomic_load(&got.bad[H_FLOODED]), 0);
    dual_end(&d);
}

static void test_backpressure(void **state)
{
    dual_t d;
    uint64_t sent = 0, stuck = 0;
    (void)state;
    dual_boot(&d);
    gmk_chan_t slow = chan(&d, "a.slow");
    emit(&d, "a.gate", 0);
    (void)ask(&d, A_COUNT_SLOW, NULL);
    while (stuck < 300) { /* full for so many looks of a tenth of a millisecond and more */
        gmk_task_t t = {.meta0 = sent};
        int rc = gmk_chan_emit(d.c, slow, &t);
        sent += rc == GMK_OK;
        stuck = rc == GMK_OK ? 0 : stuck + 1;
        if (rc != GMK_OK) {
            assert_int_equal(rc, GMK_CHAN_FULL);
            kit_nap();
        }
    }
    assert_in_range(sent, 64, 64 + 64 + 256 + 64);    /* both channels, a window of the bridge, and some */
    assert_int_equal(ask(&d, A_COUNT_SLOW, NULL), 0); /* other channels go on */
    emit(&d, "a.gate", 1);
    KIT_WAIT(ask(&d, A_COUNT_SLOW, NULL) == sent);
    dual_end(&d);
}

static void test_lossy(void **state)
{
    dual_t d;
    (void)state;
    dual_boot(&d);
    gmk_chan_t lossy = chan(&d, "a.lossy");
    emit(&d, "a.gate", 0);
    (void)ask(&d, A_COUNT_LOSSY, NULL);
    for (uint32_t i = 0; i < 4000; i++) {
        gmk_task_t t = {.meta0 = i};
        assert_int_equal(gmk_chan_emit(d.c, lossy, &t), GMK_OK); /* never full */
    }
    emit(&d, "a.gate", 1);
    /* What was not shed here arrives, or was shed there: the peer says how much. */
    assert_int_equal(gmk_drain(&d.k, KIT_PATIENCE), GMK_OK);
    KIT_WAIT(ask(&d, A_COUNT_LOSSY, NULL) + atomic_load(&got.letters[0]) + dual_stats(&d).peer.dropped ==
             4000);
    assert_in_range(atomic_load(&got.letters[0]) + dual_stats(&d).peer.dropped, 1, 3999);
    dual_end(&d);
}

static void test_payloads_each_way(void **state)
{
    static const uint32_t lens[] = {4096, 1, 4096, 100, 65536, 4096, 300000};
    dual_t d;
    (void)state;
    dual_boot(&d);
    for (uint32_t i = 0; i < 350; i++)
        send_blob(&d, i % 2 == 0 ? "a.blob" : "t.in", lens[i % 7], i);
    KIT_WAIT(atomic_load(&got.n[H_BLOBS]) + atomic_load(&got.n[H_OUT]) == 350);
    assert_int_equal(atomic_load(&got.bad[H_BLOBS]) + atomic_load(&got.bad[H_OUT]), 0);
    gmk_bridge_stats_t s = dual_stats(&d);
    assert_int_equal(s.payloads_out, 350);
    assert_int_equal(s.payloads_in, 350);
    dual_end(&d);
}

/* Payloads both ways, on a driver that is told `words`, and counts the copies that the kernel ordered. */
static void copies_ordered(const char *words, uint32_t each_way)
{
    char path[] = "/tmp/gmk-copies-XXXXXX", all[128];
    unsigned long long out = 0, in = 0;
    dual_t d;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    snprintf(all, sizeof all, "copies-file=%s %s", path, words);
    setenv("FAKE_CUDA", all, 1);
    dual_boot(&d);
    for (uint32_t i = 0; i < 60; i++)
        send_blob(&d, i % 2 == 0 ? "a.blob" : "t.in", i % 3 == 0 ? 16384 : i % 3 == 1 ? 2000000 : 1000, i);
    KIT_WAIT(atomic_load(&got.n[H_BLOBS]) + atomic_load(&got.n[H_OUT]) == 60);
    assert_int_equal(atomic_load(&got.bad[H_BLOBS]) + atomic_load(&got.bad[H_OUT]), 0);
    dual_end(&d);
    unsetenv("FAKE_CUDA");
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%llu %llu", &out, &in), 2);
    fclose(f);
    unlink(path);
    assert_int_equal(out, each_way);
    assert_int_equal(in, each_way);
}

/* Large ones go by the copy engines, where a stream can say that a copy is there. */
static void test_copy_engines(void **state)
{
    (void)state;
    if (!is_fake())
        skip();
    copies_ordered("", 40);
    copies_ordered("writes-words=0", 0);
}

/* What a kernel on the GPU may not order is not copied: its host ends, and the next one is good. */
static void fails_and_recovers(const char *words)
{
    dual_t d;
    setenv("FAKE_CUDA", words, 1);
    dual_boot(&d);
    unsetenv("FAKE_CUDA"); /* the next host's driver is a good one */
    send_blob(&d, "a.blob", 300000, 1);
    KIT_WAIT(dual_stats(&d).state == GMK_BRIDGE_READY && dual_stats(&d).epochs == 2);
    KIT_WAIT(atomic_load(&got.letters[1]) == 1); /* KERNEL_RESET */
    send_blob(&d, "a.blob", 300000, 2);
    KIT_WAIT(atomic_load(&got.n[H_BLOBS]) == 1);
    assert_int_equal(atomic_load(&got.bad[H_BLOBS]), 0);
    dual_end(&d);
}

static void test_copies_that_fail(void **state)
{
    (void)state;
    if (!is_fake())
        skip();
    fails_and_recovers("wild-order=1");
    fails_and_recovers("fail=cuMemcpyHtoDAsync_v2:700@3");
    fails_and_recovers("fail=cuStreamWriteValue64_v2:999@3");
}

static void test_inline_messages_copy_nothing(void **state)
{
    dual_t d;
    (void)state;
    dual_boot(&d);
    for (uint32_t i = 0; i < 500; i++)
        emit(&d, "t.in", i);
    KIT_WAIT(atomic_load(&got.n[H_OUT]) == 500);
    assert_int_equal(dual_stats(&d).payload_bytes_out + dual_stats(&d).payload_bytes_in, 0);
    dual_end(&d);
}

static void test_batches_grow_with_load(void **state)
{
    dual_t d;
    (void)state;
    dual_boot(&d);
    gmk_bridge_stats_t a = dual_stats(&d), b, c;
    for (uint32_t i = 0; i < 200; i++) { /* one at a time */
        emit(&d, "t.in", i);
        KIT_WAIT(atomic_load(&got.n[H_OUT]) == i + 1);
    }
    b = dual_stats(&d);
    gmk_chan_t many = chan(&d, "a.many");
    for (uint32_t i = 0; i < 50000; i++) {
        gmk_task_t t = {.meta0 = i};
        assert_int_equal(gmk_chan_emit_wait(d.c, many, &t, KIT_PATIENCE), GMK_OK);
    }
    KIT_WAIT(ask(&d, A_COUNT_MANY, NULL) == 50000);
    c = dual_stats(&d);
    double light = (double)(b.sent - a.sent) / (double)(b.publications - a.publications);
    double heavy = (double)(c.sent - b.sent) / (double)(c.publications - b.publications);
    print_message("# messages per publication: %.2f one at a time, %.2f under load\n", light, heavy);
    assert_true(light < 1.5);
    assert_true(heavy > 1.5 && heavy > light);
    dual_end(&d);
}

static void test_warp_and_block_handlers(void **state)
{
    dual_t d;
    (void)state;
    dual_boot(&d);
    for (uint32_t i = 0; i < 300; i++)
        emit(&d, i % 3 == 0 ? "t.in" : i % 3 == 1 ? "t.warp" : "t.block", i);
    KIT_WAIT(atomic_load(&got.n[H_OUT]) == 300);
    assert_int_equal(atomic_load(&got.letters[0]) + atomic_load(&got.letters[1]), 0);
    assert_int_equal(dual_stats(&d).peer.failed, 0);
    dual_end(&d);
}

static void test_a_failure_over_there(void **state)
{
    dual_t d;
    (void)state;
    dual_boot(&d);
    for (uint32_t i = 0; i < 5; i++)
        emit(&d, "a.fail", 3);
    KIT_WAIT(dual_stats(&d).peer.failed == 5); /* counted where it ran */
    assert_int_equal(gmk_drain(&d.k, KIT_PATIENCE), GMK_OK);
    assert_int_equal(atomic_load(&got.letters[1]), 0);
    dual_end(&d);
}

static void test_types_that_disagree_stop_the_boot(void **state)
{
    dual_t d;
    (void)state;
    if (no_gpu())
        skip();
    int rc = dual_boot_with(&d, clash, 1, "modules=t.clash workers=1 beat_us=20000");
    assert_int_equal(rc, GMK_CHAN_TYPE_MISMATCH);
    if (is_local()) {
        gmk_bridge_stats_t s = dual_stats(&d);
        assert_non_null(strstr(s.text, "near"));
        assert_non_null(strstr(s.text, "t.clash"));
        pthread_join(d.thread, NULL);
        assert_int_equal(d.device_rc, GMK_CHAN_TYPE_MISMATCH);
        gmk_bridge_destroy(d.end);
        munmap(d.region, d.bytes);
        assert_int_equal(gmk_halt(&d.k), GMK_OK);
    }
    gmk_gpu_free(d.drv);
}

/* The device's end publishes in batches of its own: its limits are the bridge's. */
static void test_a_batch_out_of_range_stops_the_boot(void **state)
{
    dual_t d;
    (void)state;
    int rc = dual_boot_args(&d, ARGS " batch=65");
    if (is_local()) {
        assert_true(rc < 0);
        pthread_join(d.thread, NULL);
        assert_int_equal(d.device_rc, GMK_ERR_RANGE);
        gmk_bridge_destroy(d.end);
        munmap(d.region, d.bytes);
        assert_int_equal(gmk_halt(&d.k), GMK_OK);
    } else {
        assert_int_equal(rc, GMK_ERR_RANGE);
    }
    gmk_gpu_free(d.drv);
}

static void test_one_message_a_publication(void **state)
{
    dual_t d;
    (void)state;
    assert_int_equal(dual_boot_args(&d, ARGS " batch=1"), GMK_OK);
    emit(&d, "a.flood", 5000);
    KIT_WAIT(atomic_load(&got.n[H_FLOODED]) == 5000);
    assert_int_equal(atomic_load(&got.bad[H_FLOODED]), 0);
    dual_end(&d);
}

/* cpu.0 works on while the peer is reset, and every message has its outcome: done there, or reported here. */
static void test_recovery(void **state)
{
    dual_t d;
    gmk_gpu_status_t g;
    uint64_t accepted = 0, closed = 0;
    (void)state;
    dual_boot(&d);
    gmk_chan_t many = chan(&d, "a.many");
    for (uint32_t i = 0; i < 20000; i++) {
        gmk_task_t t = {.meta0 = i}, local = {.type = H_LOCAL};
        if (i == 5000 && is_local()) {
            local_down(&d, true);
            assert_int_equal(local_up(&d, ARGS), GMK_OK);
        }
        if (i == 5000 && !is_local()) {
            assert_int_equal(gmk_gpu_status(d.drv, &g), GMK_OK);
            assert_int_equal(kill(g.pid, SIGKILL), 0);
        }
        int rc = gmk_chan_emit_wait(d.c, many, &t, KIT_PATIENCE);
        accepted += rc == GMK_OK;
        closed += rc == GMK_CHAN_CLOSED;
        if (rc != GMK_OK)
            assert_int_equal(rc, GMK_CHAN_CLOSED);
        if (i % 16 == 0)
            KIT_WAIT(gmk_submit(&d.k, &local) == GMK_OK); /* served all the time */
    }
    KIT_WAIT(dual_stats(&d).state == GMK_BRIDGE_READY && dual_stats(&d).epochs == 2);
    assert_int_equal(gmk_drain(&d.k, KIT_PATIENCE), GMK_OK);
    gmk_bridge_stats_t s = dual_stats(&d);
    KIT_WAIT(atomic_load(&got.letters[1]) == s.reset);
    assert_int_equal(atomic_load(&got.n[H_LOCAL]), 1250);
    assert_int_equal(accepted + closed, 20000);
    print_message("# %llu accepted, %llu refused meanwhile, %llu failed with the reset\n",
                  (unsigned long long)accepted, (unsigned long long)closed, (unsigned long long)s.reset);
    emit(&d, "t.in", 1); /* and the peer is back */
    KIT_WAIT(atomic_load(&got.n[H_OUT]) >= 1);
    dual_end(&d);
}

/* Under load for as long as is asked for. */
static void test_residence(void **state)
{
    const char *text = getenv("ACCEPT_SECONDS");
    uint64_t seconds = text != NULL ? strtoull(text, NULL, 10) : 3, n = 0, blobs = 0;
    dual_t d;
    (void)state;
    dual_boot(&d);
    gmk_chan_t in = chan(&d, "t.in");
    for (uint64_t end = kit_now() + seconds * KIT_S; kit_now() < end;) {
        for (uint32_t i = 0; i < 1000; i++, n++) {
            gmk_task_t t = {.meta0 = n, .flags = GMK_PRIO_1};
            assert_int_equal(gmk_chan_emit_wait(d.c, in, &t, KIT_PATIENCE), GMK_OK);
        }
        send_blob(&d, "a.blob", 4096 + (uint32_t)(blobs % 5) * 20000, (uint32_t)blobs);
        blobs++;
        KIT_WAIT(blobs < 8 || atomic_load(&got.n[H_BLOBS]) >= blobs - 8);
    }
    KIT_WAIT(atomic_load(&got.n[H_OUT]) == (uint32_t)n && atomic_load(&got.n[H_BLOBS]) == (uint32_t)blobs);
    assert_int_equal(atomic_load(&got.bad[H_BLOBS]), 0);
    assert_int_equal(atomic_load(&got.letters[0]) + atomic_load(&got.letters[1]), 0);
    gmk_bridge_stats_t s = dual_stats(&d);
    assert_int_equal(s.epochs, 1);
    assert_int_equal(s.peer.failed + s.peer.dropped, 0);
    print_message("# %llu messages and %llu payloads there and back in %llu s\n", (unsigned long long)n,
                  (unsigned long long)blobs, (unsigned long long)seconds);
    dual_end(&d);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delivery),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_backpressure),
        cmocka_unit_test(test_lossy),
        cmocka_unit_test(test_payloads_each_way),
        cmocka_unit_test(test_copy_engines),
        cmocka_unit_test(test_copies_that_fail),
        cmocka_unit_test(test_inline_messages_copy_nothing),
        cmocka_unit_test(test_batches_grow_with_load),
        cmocka_unit_test(test_warp_and_block_handlers),
        cmocka_unit_test(test_a_failure_over_there),
        cmocka_unit_test(test_types_that_disagree_stop_the_boot),
        cmocka_unit_test(test_a_batch_out_of_range_stops_the_boot),
        cmocka_unit_test(test_one_message_a_publication),
        cmocka_unit_test(test_recovery),
        cmocka_unit_test(test_residence),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name(where(), tests, NULL, NULL);
}
