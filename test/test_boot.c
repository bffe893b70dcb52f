/* SPDX-License-Identifier: MIT */
/* Booting: configurations, modules, what is undone when it fails; halting and draining. */
#include "harness.h"

enum { T_RUN = 1, T_GATE, T_SPAWN, T_LATER, T_SECOND, T_WAIT, T_SINK };

static atomic_uint ran, stop;
static kit_gate_t gate;

static int run_run(gmk_ctx_t *c)
{
    (void)c;
    atomic_fetch_add(&ran, 1);
    return GMK_OK;
}

static const gmk_handler_reg_t handlers[] = {{.type = T_RUN, .fn = run_run},
                                             {.type = T_GATE, .fn = kit_gate_run}};

/* ---- the linker section ------------------------------------------------------------------- */

static const gmk_handler_reg_t linked_handlers[] = {{.type = 200, .fn = run_run, .name = "linked.run"}};
static gmk_module_t linked = {.name = "linked", .handlers = linked_handlers, .n_handlers = 1};
GMK_MODULE(linked);

/* ---- what a boot says --------------------------------------------------------------------- */

/* Boots with the console redirected into `text`; expects rc. */
static void boot_says(const gmk_boot_cfg_t *cfg, gmk_module_t **mods, uint32_t n, int rc, char *text,
                      size_t size)
{
    gmk_kernel_t k;
    FILE *f = tmpfile();
    assert_non_null(f);
    fflush(stderr);
    int before = dup(STDERR_FILENO);
    assert_true(before >= 0 && dup2(fileno(f), STDERR_FILENO) >= 0);
    int got = gmk_boot(&k, cfg, mods, n);
    fflush(stderr);
    (void)dup2(before, STDERR_FILENO);
    close(before);
    rewind(f);
    size_t read = fread(text, 1, size - 1, f);
    text[read] = '\0';
    fclose(f);
    assert_int_equal(got, rc);
    if (rc == GMK_OK)
        assert_int_equal(gmk_halt(&k), GMK_OK);
}

static bool console_is_stderr(void)
{
    char text[512];
    gmk_boot_cfg_t cfg = {.n_workers = 1000};
    boot_says(&cfg, NULL, 0, GMK_ERR_RANGE, text, sizeof text);
    return text[0] != '\0';
}

/* ---- configurations ----------------------------------------------------------------------- */

static void the_default_configuration_boots(void **state)
{
    gmk_boot_cfg_t cfg = {.flags = GMK_BOOT_QUIET};
    gmk_kernel_t k;
    gmk_stats_t s;
    gmk_mem_stats_t m;
    (void)state;
    assert_int_equal(gmk_boot(&k, &cfg, NULL, 0), GMK_OK);
    assert_int_equal(gmk_stats(&k, &s), GMK_OK);
    assert_int_equal(gmk_mem_stats(&k, &m), GMK_OK);
    assert_int_equal(s.workers, sysconf(_SC_NPROCESSORS_ONLN) < 256 ? sysconf(_SC_NPROCESSORS_ONLN) : 256);
    assert_int_equal(m.arena_bytes, 64 << 20);
    assert_true(s.task_max > 1000 && s.task_max <= 65536);
    assert_true(m.slab_reserved >= s.task_max && m.bump_bytes >= 4096 && m.spans_total > 100);
    assert_int_equal(gmk_halt(&k), GMK_OK);
}

static void every_field_out_of_range_is_named(void **state)
{
    static char long_args[GMK_ARGS_MAX + 2];
    const struct {
        const char *field;
        gmk_boot_cfg_t cfg;
    } wrong[] = {
        {"n_workers", {.n_workers = 257}},
        {"n_workers", {.n_workers = 1000}},
        {"n_tenants", {.n_tenants = 4097}},
        {"n_types", {.n_types = 1}},
        {"n_types", {.n_types = 4097}},
        {"batch", {.batch = 65}},
        {"lq_slots", {.lq_slots = 8}},
        {"lq_slots", {.lq_slots = 100}},
        {"lq_slots", {.lq_slots = 1u << 25}},
        {"rq_slots", {.rq_slots = 32}},
        {"rq_slots", {.rq_slots = 1000}},
        {"rq_slots", {.rq_slots = 1u << 25}},
        {"max_ports", {.max_ports = 65}},
        {"max_spares", {.max_spares = 17}},
        {"trace_level", {.trace_level = 6}},
        {"stat_metrics", {.stat_metrics = 4097}},
        {"spin_ns", {.spin_ns = 2000000000}},
        {"retry_base_ns", {.retry_base_ns = UINT64_C(1000000000001)}},
        {"poison_failures", {.poison_failures = 1}},
        {"poison_failures", {.poison_failures = 4097}},
        {"flags", {.flags = 1u << 31}},
        {"args", {.args = long_args}},
    };
    bool heard = console_is_stderr();
    (void)state;
    memset(long_args, 'a', GMK_ARGS_MAX + 1);
    for (uint32_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char text[512];
        gmk_boot_cfg_t cfg = wrong[i].cfg;
        boot_says(&cfg, NULL, 0, GMK_ERR_RANGE, text, sizeof text);
        if (heard && strstr(text, wrong[i].field) == NULL)
            fail_msg("%s is not named in: %s", wrong[i].field, text);
        cfg.flags |= GMK_BOOT_QUIET;
        boot_says(&cfg, NULL, 0, GMK_ERR_RANGE, text, sizeof text);
        assert_string_equal(text, "");
    }
}

static void the_ends_of_the_ranges_boot(void **state)
{
    const gmk_boot_cfg_t right[] = {
        {.n_workers = 1,
         .n_tenants = 4096,
         .n_types = 2,
         .batch = 1,
         .lq_slots = 16,
         .rq_slots = 64,
         .max_ports = 1,
         .max_spares = 1,
         .trace_level = GMK_TRACE_ALL,
         .stat_metrics = 1,
         .spin_ns = 1,
         .poison_failures = 2,
         .task_max = 1},
        {.arena_size = (uint64_t)256 << 20,
         .n_workers = 3,
         .n_types = 4096,
         .batch = 64,
         .lq_slots = 65536,
         .rq_slots = 65536,
         .max_ports = 62,
         .max_spares = 16,
         .trace_level = GMK_TRACE_OFF,
         .stat_metrics = 4096,
         .spin_ns = 1000000,
         .poison_failures = 4096,
         .task_max = 100000,
         .name = "A-name_of.31.bytes.which.is.max",
         .sample = 1,
         .flags = GMK_BOOT_PIN},
    };
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        gmk_boot_cfg_t cfg = right[i];
        static const gmk_handler_reg_t h[] = {{.type = 1, .fn = run_run}};
        kit_t t;
        cfg.flags |= GMK_BOOT_QUIET;
        atomic_store(&ran, 0);
        KIT_BOOT(&t, cfg, h);
        for (uint32_t n = 0; n < 300; n++) {
            gmk_task_t task = {.type = 1};
            int rc;
            while ((rc = gmk_submit(&t.k, &task)) == GMK_ERR_FULL)
                kit_nap();
            assert_int_equal(rc, GMK_OK);
        }
        kit_drain(&t);
        assert_int_equal(atomic_load(&ran), 300);
        assert_int_equal(kit_stats(&t).task_max, cfg.task_max);
        kit_end(&t);
    }
}

static void two_hundred_and_fifty_six_workers_boot_and_halt(void **state)
{
    gmk_boot_cfg_t cfg = kit_cfg(256);
    kit_t t;
    (void)state;
    if (KIT_TSAN)
        skip();
    cfg.arena_size = (uint64_t)256 << 20;
    atomic_store(&ran, 0);
    KIT_BOOT(&t, cfg, handlers);
    for (uint32_t i = 0; i < 1000; i++)
        kit_submit(&t, T_RUN, NULL);
    kit_drain(&t);
    assert_int_equal(atomic_load(&ran), 1000);
    kit_end(&t);
}

static void malformed_names_are_refused(void **state)
{
    const char *const name[] = {"has space", "slash/ed", "a.name.that.is.longer.than.thirty.one", "\n",
                                "umlaut\xc3\xbc"};
    (void)state;
    for (uint32_t i = 0; i < 5; i++) {
        gmk_boot_cfg_t cfg = kit_cfg(1);
        gmk_kernel_t k;
        cfg.name = name[i];
        assert_int_equal(gmk_boot(&k, &cfg, NULL, 0), GMK_ERR_INVAL);
        cfg = kit_cfg(1);
        gmk_module_t m = {.name = name[i]}, *list[] = {&m};
        assert_int_equal(gmk_boot(&k, &cfg, list, 1), GMK_ERR_INVAL);
        gmk_handler_reg_t h = {.type = 1, .fn = run_run, .name = name[i]};
        m = (gmk_module_t){.name = "test", .handlers = &h, .n_handlers = 1};
        assert_int_equal(gmk_boot(&k, &cfg, list, 1), GMK_ERR_INVAL);
        assert_null(k.core);
    }
}

static void an_arena_too_small_says_what_is_needed(void **state)
{
    gmk_boot_cfg_t cfg = {.arena_size = 100000, .n_workers = 2, .name = "tiny"};
    unsigned long long need = 0;
    char text[512];
    (void)state;
    boot_says(&cfg, NULL, 0, GMK_ALLOC_FAIL, text, sizeof text);
    const char *at = strstr(text, "at least ");
    if (at == NULL) {
        assert_false(console_is_stderr());
        return;
    }
    assert_non_null(strstr(text, "tiny"));
    assert_non_null(strstr(text, "100000"));
    assert_int_equal(sscanf(at, "at least %llu", &need), 1);
    cfg.arena_size = need - 1; /* and the number is exact */
    boot_says(&cfg, NULL, 0, GMK_ALLOC_FAIL, text, sizeof text);
    cfg.arena_size = need;
    boot_says(&cfg, NULL, 0, GMK_OK, text, sizeof text);
    cfg.task_max = 1000000;
    boot_says(&cfg, NULL, 0, GMK_ALLOC_FAIL, text, sizeof text);
    cfg.arena_size = UINT64_MAX / 2; /* more than there is */
    boot_says(&cfg, NULL, 0, GMK_ALLOC_FAIL, text, sizeof text);
    assert_non_null(strstr(text, "tiny"));
    assert_null(strstr(text, "at least"));
}

/* ---- modules ------------------------------------------------------------------------------ */

static char story[256];
static void tell(const char *what) { strncat(story, what, sizeof story - strlen(story) - 1); }

static void *kept;
static int a_init(gmk_ctx_t *c)
{
    gmk_chan_t ch;
    tell("a+ ");
    kept = gmk_alloc(c, 1000);
    (void)gmk_chan_open(c, &(gmk_chan_cfg_t){.name = "boot.a"}, &ch);
    gmk_task_t t = {.type = T_RUN};
    return gmk_emit(c, &t);
}
static void a_fini(gmk_ctx_t *c)
{
    tell("a- ");
    gmk_free(c, kept);
}
static int b_init(gmk_ctx_t *c)
{
    (void)c;
    tell("b+ ");
    return GMK_OK;
}
static void b_fini(gmk_ctx_t *c)
{
    (void)c;
    tell("b- ");
}
static int c_init(gmk_ctx_t *c)
{
    (void)c;
    tell("c+ ");
    return GMK_FAIL(7);
}
static void c_fini(gmk_ctx_t *c)
{
    (void)c;
    tell("c- ");
}
static int d_init(gmk_ctx_t *c)
{
    (void)c;
    tell("d+ ");
    return GMK_OK;
}

static void a_failing_init_undoes_everything_before_it(void **state)
{
    static const gmk_handler_reg_t hb[] = {{.type = T_SECOND, .fn = run_run}};
    gmk_module_t a = {.name = "a", .handlers = handlers, .n_handlers = 2, .init = a_init, .fini = a_fini};
    gmk_module_t b = {.name = "b", .handlers = hb, .n_handlers = 1, .init = b_init, .fini = b_fini};
    gmk_module_t c = {.name = "c", .init = c_init, .fini = c_fini}, d = {.name = "d", .init = d_init};
    gmk_module_t *all[] = {&a, &b, &c, &d}, *some[] = {&a, &b, &d};
    gmk_boot_cfg_t cfg = kit_cfg(2);
    gmk_kernel_t k;
    char text[1024];
    (void)state;
    for (uint32_t round = 0; round < 3; round++) {
        story[0] = '\0';
        memset(&k, 0xa5, sizeof k);
        assert_int_equal(gmk_boot(&k, &cfg, all, 4), GMK_FAIL(7));
        assert_string_equal(story, "a+ b+ c+ b- a- ");
        gmk_kernel_t none = {0};
        assert_memory_equal(&k, &none, sizeof k);
        assert_int_equal(gmk_halt(&k), GMK_ERR_INVAL);
        story[0] = '\0';
        assert_int_equal(gmk_boot(&k, &cfg, some, 3), GMK_OK); /* the same structure boots */
        assert_int_equal(gmk_drain(&k, KIT_PATIENCE), GMK_OK);
        assert_int_equal(gmk_halt(&k), GMK_OK);
        assert_string_equal(story, "a+ b+ d+ b- a- ");
    }
    cfg.flags = 0;
    boot_says(&cfg, all, 4, GMK_FAIL(7), text, sizeof text);
    assert_true(text[0] == '\0' || (strstr(text, "\"c\"") != NULL && strstr(text, "init") != NULL));
}

static void modules_that_disagree_stop_the_boot(void **state)
{
    static const gmk_handler_reg_t twice[] = {{.type = 5, .fn = run_run}, {.type = 5, .fn = run_run}};
    static const gmk_handler_reg_t one[] = {{.type = T_RUN, .fn = run_run}};
    static const gmk_handler_reg_t zero[] = {{.type = 0, .fn = run_run}},
                                   big[] = {{.type = 256, .fn = run_run}};
    static const gmk_handler_reg_t none[] = {{.type = 9, .fn = NULL}};
    static const gmk_chan_decl_t first[] = {{.name = "boot.x", .direction = GMK_PRODUCES, .msg_type = 1}};
    static const gmk_chan_decl_t other[] = {{.name = "boot.x", .direction = GMK_CONSUMES, .msg_type = 2}};
    static const gmk_chan_decl_t odd[] = {{.name = "boot.x", .direction = 0}},
                                 sys[] = {{.name = "sys.x", .direction = 1}};
    static const gmk_chan_decl_t deaf[] = {{.name = "boot.y", .direction = GMK_CONSUMES, .handler = 77}};
    const struct {
        gmk_module_t m;
        int rc;
        const char *says;
    } second[] = {
        {{.name = "first"}, GMK_ERR_EXISTS, "first"},
        {{.name = "second", .handlers = one, .n_handlers = 1}, GMK_ERR_EXISTS, "second"},
        {{.name = "second", .handlers = twice, .n_handlers = 2}, GMK_ERR_EXISTS, "second"},
        {{.name = "second", .handlers = zero, .n_handlers = 1}, GMK_ERR_RANGE, "second"},
        {{.name = "second", .handlers = big, .n_handlers = 1}, GMK_ERR_RANGE, "second"},
        {{.name = "second", .handlers = none, .n_handlers = 1}, GMK_ERR_INVAL, "second"},
        {{.name = "second", .handlers = NULL, .n_handlers = 1}, GMK_ERR_INVAL, "invalid"},
        {{.name = "second", .channels = NULL, .n_channels = 1}, GMK_ERR_INVAL, "invalid"},
        {{.name = "second", .channels = other, .n_channels = 1}, GMK_CHAN_TYPE_MISMATCH, "first"},
        {{.name = "second", .channels = odd, .n_channels = 1}, GMK_ERR_INVAL, "boot.x"},
        {{.name = "second", .channels = sys, .n_channels = 1}, GMK_ERR_INVAL, "sys.x"},
        {{.name = "second", .channels = deaf, .n_channels = 1}, GMK_ERR_NOTFOUND, "boot.y"},
    };
    (void)state;
    for (uint32_t i = 0; i < sizeof second / sizeof second[0]; i++) {
        gmk_module_t a = {
            .name = "first", .handlers = handlers, .n_handlers = 2, .channels = first, .n_channels = 1};
        gmk_module_t b = second[i].m, *list[] = {&a, &b};
        gmk_boot_cfg_t cfg = {.n_workers = 1, .arena_size = (uint64_t)16 << 20};
        char text[1024];
        boot_says(&cfg, list, 2, second[i].rc, text, sizeof text);
        if (text[0] != '\0' && strstr(text, second[i].says) == NULL)
            fail_msg("case %u: no \"%s\" in: %s", i, second[i].says, text);
    }
}

static void a_missing_module_is_invalid(void **state)
{
    gmk_module_t *list[] = {NULL};
    gmk_boot_cfg_t cfg = kit_cfg(1);
    gmk_kernel_t k;
    (void)state;
    assert_int_equal(gmk_boot(&k, &cfg, list, 1), GMK_ERR_INVAL);
    assert_int_equal(gmk_boot(&k, &cfg, NULL, 1), GMK_ERR_INVAL);
    assert_int_equal(gmk_boot(NULL, &cfg, NULL, 0), GMK_ERR_INVAL);
    assert_int_equal(gmk_boot(&k, NULL, NULL, 0), GMK_ERR_INVAL);
}

static int fail_4(gmk_ctx_t *c)
{
    (void)c;
    return GMK_FAIL(4);
}

static void what_is_wrong_is_said_with_its_value(void **state)
{
    static const gmk_handler_reg_t ok[] = {{.type = 1, .fn = run_run, .name = "run"}};
    static const gmk_handler_reg_t far[] = {{.type = 9999, .fn = run_run, .name = "far"}};
    static const gmk_handler_reg_t zero[] = {{.type = 0, .fn = run_run}};
    static const gmk_handler_reg_t none[] = {{.type = 2}};
    static const gmk_handler_reg_t spaced[] = {{.type = 2, .fn = run_run, .name = "a b"}};
    static const gmk_handler_reg_t yields[] = {{.type = 2, .fn = run_run, .max_yields = 70000}};
    static const gmk_chan_decl_t slots[] = {{.name = "a.b", .direction = GMK_PRODUCES, .slots = 1u << 21}};
    static const gmk_chan_decl_t mode[] = {{.name = "a.b", .direction = GMK_PRODUCES, .mode = 9}};
    static const gmk_chan_decl_t sys[] = {{.name = "sys.mine", .direction = GMK_PRODUCES}};
    static const gmk_chan_decl_t upper[] = {{.name = "Ab", .direction = GMK_PRODUCES}};
    static const gmk_chan_decl_t nowhere[] = {{.name = "a.b"}};
    static const gmk_chan_decl_t deaf[] = {{.name = "a.b", .direction = GMK_CONSUMES, .handler = 77}};
    static const gmk_chan_decl_t order[] = {
        {.name = "a.b", .direction = GMK_CONSUMES, .handler = 1, .order = 5}};
    static const gmk_chan_decl_t twice[] = {{.name = "a.b", .direction = GMK_CONSUMES, .handler = 1},
                                            {.name = "a.b", .direction = GMK_CONSUMES, .handler = 1}};
    const struct {
        gmk_boot_cfg_t cfg;
        gmk_module_t m;
        int rc;
        const char *says;
    } wrong[] = {
        {{.name = "0123456789012345678901234567890123456789"},
         {.name = "m"},
         GMK_ERR_INVAL,
         "name is longer than 31 bytes"},
        {{.name = "a b"}, {.name = "m"}, GMK_ERR_INVAL, "name has a byte outside [a-zA-Z0-9_.-]: \"a b\""},
        {{.lq_slots = 100},
         {.name = "m"},
         GMK_ERR_RANGE,
         "lq_slots is 100, it must be a power of two, 16 .. 16777216"},
        {{.arena_size = UINT64_C(1) << 62},
         {.name = "m"},
         GMK_ALLOC_FAIL,
         "does not give 4611686018427387904 bytes"},
        {{0}, {.name = NULL}, GMK_ERR_INVAL, "the name of a module is NULL"},
        {{0}, {.name = ""}, GMK_ERR_INVAL, "the name of a module is empty"},
        {{0}, {.name = ""}, GMK_ERR_INVAL, "module 0: invalid"},
        {{0}, {.name = "m", .n_handlers = 3}, GMK_ERR_INVAL, "it has 3 handlers and no table"},
        {{0}, {.name = "m", .n_channels = 2}, GMK_ERR_INVAL, "it has 2 channels and no table"},
        {{0},
         {.name = "m", .handlers = far, .n_handlers = 1},
         GMK_ERR_RANGE,
         "handler 0 \"far\" (type 9999): the type must be 1 .. 255 (n_types is 256; raise it)"},
        {{0},
         {.name = "m", .handlers = zero, .n_handlers = 1},
         GMK_ERR_RANGE,
         "handler 0 (type 0): the type must be 1 .. 255"},
        {{0},
         {.name = "m", .handlers = none, .n_handlers = 1},
         GMK_ERR_INVAL,
         "handler 0 (type 2): it has no function"},
        {{0},
         {.name = "m", .handlers = spaced, .n_handlers = 1},
         GMK_ERR_INVAL,
         "handler 0 \"a b\" (type 2): its name has a byte"},
        {{0},
         {.name = "m", .handlers = yields, .n_handlers = 1},
         GMK_ERR_RANGE,
         "max_yields is 70000, at most 65535"},
        {{0},
         {.name = "m", .channels = slots, .n_channels = 1},
         GMK_ERR_RANGE,
         "\"a.b\": slots is 2097152, at most 1048576"},
        {{0}, {.name = "m", .channels = mode, .n_channels = 1}, GMK_ERR_RANGE, "\"a.b\": mode is 9"},
        {{0},
         {.name = "m", .channels = sys, .n_channels = 1},
         GMK_ERR_INVAL,
         "\"sys.mine\": names that begin with \"sys.\""},
        {{0},
         {.name = "m", .channels = upper, .n_channels = 1},
         GMK_ERR_INVAL,
         "the name of channel 0 has a byte outside [a-z0-9_.-]: \"Ab\""},
        {{0}, {.name = "m", .channels = nowhere, .n_channels = 1}, GMK_ERR_INVAL, "\"a.b\": direction is 0"},
        {{0},
         {.name = "m", .channels = deaf, .n_channels = 1},
         GMK_ERR_NOTFOUND,
         "\"a.b\": there is no handler of type 77"},
        {{0},
         {.name = "m", .handlers = ok, .n_handlers = 1, .channels = order, .n_channels = 1},
         GMK_ERR_RANGE,
         "\"a.b\": order is 5"},
        {{0},
         {.name = "m", .handlers = ok, .n_handlers = 1, .channels = twice, .n_channels = 2},
         GMK_CHAN_ALREADY_BOUND,
         "\"a.b\": it is GMK_P2P and has its subscriber (module \"m\"); declare it GMK_FANOUT"},
        {{0}, {.name = "m", .init = fail_4}, GMK_FAIL(4), "init failed with \"handler failure\" (-1004)"},
    };
    bool heard = console_is_stderr();
    (void)state;
    for (uint32_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        gmk_module_t m = wrong[i].m, *list[] = {&m};
        gmk_boot_cfg_t cfg = wrong[i].cfg;
        char text[1024];
        cfg.n_workers = 1;
        boot_says(&cfg, list, 1, wrong[i].rc, text, sizeof text);
        if (heard && strstr(text, wrong[i].says) == NULL)
            fail_msg("case %u: no \"%s\" in: %s", i, wrong[i].says, text);
    }
    gmk_boot_cfg_t cfg = {.n_workers = 1};
    gmk_module_t *nobody[] = {NULL};
    char text[3][512];
    boot_says(NULL, NULL, 0, GMK_ERR_INVAL, text[0], sizeof text[0]);
    boot_says(&cfg, NULL, 1, GMK_ERR_INVAL, text[1], sizeof text[1]);
    boot_says(&cfg, nobody, 1, GMK_ERR_INVAL, text[2], sizeof text[2]);
    assert_true(!heard || strstr(text[0], "cfg is NULL") != NULL);
    assert_true(!heard || strstr(text[1], "mods is NULL and n_mods is 1") != NULL);
    assert_true(!heard || strstr(text[2], "module 0 is NULL") != NULL);
}

static void linked_modules_boot_when_asked_for(void **state)
{
    gmk_boot_cfg_t cfg = kit_cfg(1);
    gmk_type_stats_t s;
    kit_t t;
    (void)state;
    KIT_BOOT(&t, cfg, handlers);
    assert_int_equal(gmk_type_stats(&t.k, 200, &s), GMK_ERR_NOTFOUND);
    kit_end(&t);
    cfg.flags |= GMK_BOOT_LINKED;
    KIT_BOOT(&t, cfg, handlers);
    s = kit_type(&t, 200);
    assert_string_equal(s.name, "linked.run");
    assert_string_equal(s.module, "linked");
    kit_end(&t);
}

static void many_kernels_live_in_one_process(void **state)
{
    static kit_t t[12];
    (void)state;
    atomic_store(&ran, 0);
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 12; i++) {
            gmk_boot_cfg_t cfg = kit_cfg(1 + i % 3);
            cfg.arena_size = (uint64_t)8 << 20;
            KIT_BOOT(&t[i], cfg, handlers);
        }
        for (uint32_t n = 0; n < 50; n++)
            for (uint32_t i = 0; i < 12; i++)
                kit_submit(&t[i], T_RUN, NULL);
        for (uint32_t i = 12; i-- > 0;) {
            kit_drain(&t[i]);
            assert_int_equal(kit_stats(&t[i]).completed, 50);
            kit_end(&t[i]);
        }
    }
    assert_int_equal(atomic_load(&ran), 2 * 12 * 50);
}

/* ---- drain and halt ----------------------------------------------------------------------- */

static int spawn_run(gmk_ctx_t *c)
{
    gmk_task_t next = *c->task;
    atomic_fetch_add(&ran, 1);
    if (atomic_load(&stop) == 0)
        (void)gmk_emit(c, &next);
    return GMK_OK;
}

static int later_run(gmk_ctx_t *c)
{
    gmk_task_t next = *c->task;
    atomic_fetch_add(&ran, 1);
    if (c->task->meta1 % 5 == 0 && c->task->retry_count < 2)
        return GMK_RETRY;
    if (atomic_load(&stop) == 0)
        (void)gmk_emit_after(c, &next, 100000);
    return GMK_OK;
}

static void drain_waits_for_work_but_not_for_the_future(void **state)
{
    kit_t t;
    (void)state;
    atomic_store(&ran, 0);
    KIT_BOOT(&t, kit_cfg(2), handlers);
    assert_int_equal(gmk_drain(&t.k, KIT_PATIENCE), GMK_OK);
    KIT_WAIT(gmk_drain(&t.k, 0) == GMK_OK); /* looks once */
    gmk_task_t task = {.type = T_RUN};
    assert_int_equal(gmk_submit_after(&t.k, &task, 3600 * KIT_S), GMK_OK);
    assert_int_equal(gmk_submit_at(&t.k, &task, 5), GMK_OK);
    assert_int_equal(gmk_drain(&t.k, KIT_PATIENCE), GMK_OK);
    kit_gate_shut(&t, &gate, T_GATE, 1);
    assert_int_equal(gmk_drain(&t.k, 0), GMK_ERR_TIMEOUT);
    uint64_t begin = kit_now();
    assert_int_equal(gmk_drain(&t.k, 20 * KIT_MS), GMK_ERR_TIMEOUT);
    assert_true(kit_now() - begin >= 20 * KIT_MS);
    kit_gate_open(&gate);
    assert_int_equal(gmk_drain(&t.k, KIT_PATIENCE), GMK_OK);
    kit_conserved(&t, 2);
    gmk_halt_report_t r;
    assert_int_equal(gmk_halt_within(&t.k, KIT_PATIENCE, &r), GMK_OK);
    assert_int_equal(r.completed, 1);
    assert_int_equal(r.dropped, 2);
    assert_int_equal(r.failed + r.zombies, 0);
}

static gmk_chan_t full;

/* Waits for credits that nobody gives back: the channel has no subscriber. */
static int wait_run(gmk_ctx_t *c)
{
    gmk_task_t msg = {.meta0 = 1};
    int rc = gmk_chan_emit(c, full, &msg);
    atomic_fetch_add(&ran, 1);
    return rc == GMK_CHAN_FULL ? gmk_chan_wait(c, full, 1) : rc;
}

static int wait_init(gmk_ctx_t *c)
{
    return gmk_chan_open(c, &(gmk_chan_cfg_t){.name = "boot.full", .slots = 4, .reserve_pct = UINT32_MAX},
                         &full);
}

static void a_halt_drops_what_is_queued_timed_and_waiting(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_RUN, .fn = run_run},
                                          {.type = T_GATE, .fn = kit_gate_run},
                                          {.type = T_WAIT, .fn = wait_run}};
    gmk_halt_report_t r;
    gmk_stats_t s;
    kit_t t;
    (void)state;
    atomic_store(&ran, 0);
    kit_boot_module(&t, kit_cfg(2),
                    (gmk_module_t){.name = "test", .handlers = h, .n_handlers = 3, .init = wait_init});
    for (uint32_t i = 0; i < 10; i++)
        kit_submit(&t, T_WAIT, NULL);
    KIT_WAIT(kit_stats(&t).waiting == 6); /* four messages lie in the channel */
    assert_int_equal(gmk_drain(&t.k, KIT_MS), GMK_ERR_TIMEOUT);
    gmk_task_t task = {.type = T_RUN};
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(gmk_submit_after(&t.k, &task, 3600 * KIT_S), GMK_OK);
        assert_int_equal(gmk_submit_at(&t.k, &task, 9), GMK_OK);
    }
    kit_gate_shut(&t, &gate, T_GATE, 2);
    for (uint32_t i = 0; i < 300; i++)
        kit_submit(&t, T_RUN, NULL);
    s = kit_stats(&t);
    assert_int_equal(s.pending, 6 + 4 + 40 + 2 + 300);
    assert_int_equal(gmk_halt_within(&t.k, KIT_MS, &r), GMK_ERR_BUSY); /* two handlers do not come back */
    assert_int_equal(r.zombies, 2);
    assert_int_equal(r.stuck_type, T_GATE);
    assert_int_equal(gmk_submit(&t.k, &task), GMK_ERR_STATE);
    assert_int_equal(gmk_drain(&t.k, 0), GMK_ERR_STATE);
    kit_gate_open(&gate);
    assert_int_equal(gmk_halt_within(&t.k, KIT_PATIENCE, &r), GMK_OK);
    assert_int_equal(r.completed + r.failed + r.dropped, s.accepted);
    assert_int_equal(r.failed, 0);
    assert_true(r.dropped >= 6 + 4 + 40);
    gmk_kernel_t none = {0};
    assert_memory_equal(&t.k, &none, sizeof none);
}

static void a_halt_under_load_accounts_for_everything(void **state)
{
    static const gmk_handler_reg_t h[] = {{.type = T_RUN, .fn = run_run},
                                          {.type = T_SPAWN, .fn = spawn_run},
                                          {.type = T_LATER, .fn = later_run}};
    (void)state;
    for (uint32_t round = 0; round < 20; round++) {
        gmk_halt_report_t r;
        kit_t t;
        gmk_boot_cfg_t cfg = kit_cfg(1 + round % 4);
        cfg.lq_slots = 16;
        cfg.rq_slots = 64;
        atomic_store(&stop, 0);
        atomic_store(&ran, 0);
        KIT_BOOT(&t, cfg, h);
        for (uint32_t i = 0; i < 200; i++) {
            gmk_task_t task = {
                .type = i % 3 == 0 ? T_LATER : T_SPAWN, .flags = (uint16_t)(i & 3), .meta1 = i};
            assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
        }
        KIT_WAIT(atomic_load(&ran) > 1000);
        int rc; /* chains without an end use up their half of the time */
        while ((rc = gmk_halt_within(&t.k, 50 * KIT_MS, &r)) == GMK_ERR_BUSY)
            ;
        assert_int_equal(rc, GMK_OK);
        /* Each of the 200 chains is cut once, at a task that was queued, timed or refused. */
        if (r.dropped > 200 || r.completed < 800 || r.failed != 0)
            fail_msg("%llu completed, %llu failed, %llu dropped", (unsigned long long)r.completed,
                     (unsigned long long)r.failed, (unsigned long long)r.dropped);
        assert_null(t.k.core);
    }
}

static void an_attached_port_holds_the_halt_up(void **state)
{
    gmk_port_t port;
    kit_t t;
    (void)state;
    KIT_BOOT(&t, kit_cfg(1), handlers);
    assert_int_equal(gmk_attach(&t.k, &port), GMK_OK);
    assert_int_equal(gmk_halt(&t.k), GMK_ERR_STATE);
    kit_submit(&t, T_RUN, NULL); /* nothing has happened */
    gmk_detach(&port);
    kit_end(&t);
    assert_int_equal(gmk_halt(&t.k), GMK_ERR_INVAL);
    assert_int_equal(gmk_halt(NULL), GMK_ERR_INVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_default_configuration_boots),
        cmocka_unit_test(every_field_out_of_range_is_named),
        cmocka_unit_test(the_ends_of_the_ranges_boot),
        cmocka_unit_test(two_hundred_and_fifty_six_workers_boot_and_halt),
        cmocka_unit_test(malformed_names_are_refused),
        cmocka_unit_test(an_arena_too_small_says_what_is_needed),
        cmocka_unit_test(a_failing_init_undoes_everything_before_it),
        cmocka_unit_test(modules_that_disagree_stop_the_boot),
        cmocka_unit_test(a_missing_module_is_invalid),
        cmocka_unit_test(what_is_wrong_is_said_with_its_value),
        cmocka_unit_test(linked_modules_boot_when_asked_for),
        cmocka_unit_test(many_kernels_live_in_one_process),
        cmocka_unit_test(drain_waits_for_work_but_not_for_the_future),
        cmocka_unit_test(a_halt_drops_what_is_queued_timed_and_waiting),
        cmocka_unit_test(a_halt_under_load_accounts_for_everything),
        cmocka_unit_test(an_attached_port_holds_the_halt_up),
    };
    return cmocka_run_group_tests_name("boot", tests, NULL, NULL);
}
