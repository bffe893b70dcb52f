/* SPDX-License-Identifier: MIT */
/* Modules: loading, unloading under load, what is undone, what two of them disagree on, shared objects. */
#include "chan_kit.h"

#include "core.h"

#include <dlfcn.h>

static atomic_uint inits, finis, order_n;
static const char *order[16];

static void note_order(const char *what) { order[atomic_fetch_add(&order_n, 1) & 15] = what; }

static int module_up(void **state)
{
    atomic_store(&inits, 0);
    atomic_store(&finis, 0);
    atomic_store(&order_n, 0);
    return fix_up(state);
}

static int count_init(gmk_ctx_t *c)
{
    (void)c;
    atomic_fetch_add(&inits, 1);
    return GMK_OK;
}

static void count_fini(gmk_ctx_t *c)
{
    (void)c;
    atomic_fetch_add(&finis, 1);
}

static int quiet_run(gmk_ctx_t *c)
{
    (void)c;
    return GMK_OK;
}

/* ---- arguments ------------------------------------------------------------------------------ */

static void load_checks_the_module(void **state)
{
    (void)state;
    static const gmk_handler_reg_t none[] = {{.type = T_OWN}};
    static const gmk_handler_reg_t zero[] = {{.type = 0, .fn = note}};
    static const gmk_handler_reg_t beyond[] = {{.type = 256, .fn = note}};
    static const gmk_handler_reg_t taken[] = {{.type = T_A, .fn = note}};
    static const gmk_handler_reg_t twice[] = {{.type = T_OWN, .fn = note}, {.type = T_OWN, .fn = note}};
    static const gmk_handler_reg_t named[] = {{.type = T_OWN, .fn = note, .name = "not a name"}};
    static const gmk_chan_decl_t unnamed[] = {{.name = "", .direction = GMK_CONSUMES}};
    static const gmk_chan_decl_t nowhere[] = {{.name = "x.y"}};
    static const gmk_chan_decl_t odd[] = {{.name = "x.y", .direction = 4}};
    static const gmk_chan_decl_t unfit[] = {{.name = "x.y", .direction = GMK_PRODUCES, .mode = 7}};
    static const gmk_chan_decl_t ours[] = {{.name = "sys.mine", .direction = GMK_PRODUCES}};
    static const gmk_chan_decl_t unknown[] = {{.name = "x.y", .direction = GMK_CONSUMES, .handler = 99}};
    static const struct {
        gmk_module_t m;
        int rc;
    } bad[] = {
        {{.name = NULL}, GMK_ERR_INVAL},
        {{.name = ""}, GMK_ERR_INVAL},
        {{.name = "abcdefghijklmnopqrstuvwxyz123456"}, GMK_ERR_INVAL},
        {{.name = "test"}, GMK_ERR_EXISTS},
        {{.name = "m", .n_handlers = 1}, GMK_ERR_INVAL},
        {{.name = "m", .n_channels = 1}, GMK_ERR_INVAL},
        {{.name = "m", .handlers = none, .n_handlers = 1}, GMK_ERR_INVAL},
        {{.name = "m", .handlers = named, .n_handlers = 1}, GMK_ERR_INVAL},
        {{.name = "m", .handlers = zero, .n_handlers = 1}, GMK_ERR_RANGE},
        {{.name = "m", .handlers = beyond, .n_handlers = 1}, GMK_ERR_RANGE},
        {{.name = "m", .handlers = taken, .n_handlers = 1}, GMK_ERR_EXISTS},
        {{.name = "m", .handlers = twice, .n_handlers = 2}, GMK_ERR_EXISTS},
        {{.name = "m", .channels = unnamed, .n_channels = 1}, GMK_ERR_INVAL},
        {{.name = "m", .channels = nowhere, .n_channels = 1}, GMK_ERR_INVAL},
        {{.name = "m", .channels = odd, .n_channels = 1}, GMK_ERR_INVAL},
        {{.name = "m", .channels = unfit, .n_channels = 1}, GMK_ERR_RANGE},
        {{.name = "m", .channels = ours, .n_channels = 1}, GMK_ERR_INVAL},
        {{.name = "m", .channels = unknown, .n_channels = 1}, GMK_ERR_NOTFOUND},
    };
    for (uint32_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        gmk_module_t m = bad[i].m;
        assert_int_equal(gmk_module_load(&F.t.k, &m), bad[i].rc);
    }
    gmk_chan_t ch;
    KIT_WAIT(gmk_chan_find(F.c, "x.y", &ch) == GMK_ERR_NOTFOUND);
    assert_int_equal(gmk_module_load(&F.t.k, NULL), GMK_ERR_INVAL);
    assert_int_equal(gmk_module_load(NULL, &F.t.module), GMK_ERR_INVAL);
    assert_int_equal(gmk_module_unload(&F.t.k, NULL), GMK_ERR_INVAL);
    assert_int_equal(gmk_module_unload(NULL, "test"), GMK_ERR_INVAL);
    assert_int_equal(gmk_module_unload(&F.t.k, "nobody"), GMK_ERR_NOTFOUND);
}

static void types_have_names_and_can_be_reset(void **state)
{
    (void)state;
    static const gmk_handler_reg_t h[] = {{.type = T_OWN, .fn = quiet_run}};
    static gmk_module_t m = {.name = "Names_1.x", .handlers = h, .n_handlers = 1};
    gmk_type_stats_t s;
    assert_int_equal(gmk_type_reset(&F.t.k, T_OWN), GMK_ERR_NOTFOUND);
    assert_int_equal(gmk_type_reset(&F.t.k, 256), GMK_ERR_RANGE);
    assert_int_equal(gmk_type_reset(NULL, 1), GMK_ERR_INVAL);
    assert_int_equal(gmk_type_stats(&F.t.k, T_OWN, &s), GMK_ERR_NOTFOUND);
    load_extra(&m);
    assert_int_equal(gmk_type_stats(&F.t.k, T_OWN, &s), GMK_OK);
    assert_string_equal(s.name, "type.16");
    assert_string_equal(s.module, "Names_1.x");
    assert_int_equal(gmk_type_reset(&F.t.k, T_OWN), GMK_OK);
}

static void there_is_room_for_128_modules(void **state)
{
    (void)state;
    static gmk_module_t m[128];
    static char name[128][8];
    for (uint32_t i = 0; i < 128; i++) {
        snprintf(name[i], sizeof name[i], "m%u", i);
        m[i] = (gmk_module_t){.name = name[i], .fini = count_fini};
        assert_int_equal(gmk_module_load(&F.t.k, &m[i]), i < 127 ? GMK_OK : GMK_ERR_LIMIT);
    }
    assert_int_equal(gmk_module_unload(&F.t.k, "m5"), GMK_OK);
    assert_int_equal(gmk_module_load(&F.t.k, &m[127]), GMK_OK);
    for (uint32_t i = 0; i < 128; i++)
        assert_int_equal(gmk_module_unload(&F.t.k, name[i]), i == 5 ? GMK_ERR_NOTFOUND : GMK_OK);
    assert_int_equal(atomic_load(&finis), 128);
}

/* ---- declarations --------------------------------------------------------------------------- */

static void a_consuming_declaration_subscribes(void **state)
{
    (void)state;
    static const gmk_handler_reg_t h[] = {{.type = T_OWN, .fn = note}};
    static const gmk_chan_decl_t d[] = {
        {.name = "decl.in", .direction = GMK_CONSUMES, .msg_type = T_B, .handler = T_OWN, .slots = 16},
        {.name = "decl.out",
         .direction = GMK_PRODUCES,
         .msg_type = T_C,
         .mode = GMK_FANOUT,
         .guarantee = GMK_LOSSY},
        {.name = "decl.both", .direction = GMK_PRODUCES | GMK_CONSUMES, .order = GMK_ORDERED},
        {.name = "sys.dropped", .direction = GMK_CONSUMES, .handler = T_OWN}};
    static gmk_module_t m = {
        .name = "declares", .handlers = h, .n_handlers = 1, .channels = d, .n_channels = 4};
    gmk_chan_t in, out, both;
    load_extra(&m);
    assert_int_equal(gmk_chan_find(F.c, "decl.in", &in), GMK_OK);
    assert_int_equal(gmk_chan_find(F.c, "decl.out", &out), GMK_OK);
    assert_int_equal(gmk_chan_find(F.c, "decl.both", &both), GMK_OK);
    fix_keep(in);
    fix_keep(out);
    fix_keep(both);
    gmk_chan_stats_t s = chan_figures_of(in);
    assert_true(s.subs == 1 && s.slots == 16 && s.msg_type == T_B && s.mode == GMK_P2P);
    s = chan_figures_of(out);
    assert_true(s.subs == 0 && s.slots == GMK_DEFAULT_SLOTS && s.mode == GMK_FANOUT &&
                s.guarantee == GMK_LOSSY);
    assert_int_equal(chan_figures_of(both).subs, 0);
    emit_range(in, 0, 5);
    wait_seen(T_OWN, 5);
}

/* Runs fn with fd 2 in a pipe. */
static void say(int (*fn)(void), int expect, char *text, size_t size)
{
    int to[2], err = dup(2);
    assert_true(err >= 0 && pipe(to) == 0);
    fflush(stderr);
    dup2(to[1], 2);
    int rc = fn();
    dup2(err, 2);
    close(err);
    close(to[1]);
    ssize_t n, have = 0;
    while ((n = read(to[0], text + have, size - 1 - (size_t)have)) > 0)
        have += n;
    text[have] = '\0';
    close(to[0]);
    assert_int_equal(rc, expect);
}

static const gmk_chan_decl_t says_b[] = {{.name = "quarrel", .direction = GMK_PRODUCES, .msg_type = T_B}};
static const gmk_chan_decl_t says_c[] = {{.name = "quarrel", .direction = GMK_CONSUMES, .msg_type = T_C}};
static gmk_module_t first_says = {.name = "first-module", .channels = says_b, .n_channels = 1};
static gmk_module_t then_says = {
    .name = "second-module", .channels = says_c, .n_channels = 1, .init = count_init, .fini = count_fini};
static gmk_kernel_t loud;

static int boot_both(void)
{
    gmk_module_t *both[] = {&first_says, &then_says};
    gmk_boot_cfg_t cfg = kit_cfg(1);
    cfg.flags = 0;
    return gmk_boot(&loud, &cfg, both, 2);
}

static int boot_first(void)
{
    gmk_module_t *one[] = {&first_says};
    gmk_boot_cfg_t cfg = kit_cfg(1);
    cfg.flags = 0;
    return gmk_boot(&loud, &cfg, one, 1);
}

static int load_second(void) { return gmk_module_load(&loud, &then_says); }

static void names_are_said(const char *text)
{
    assert_non_null(strstr(text, "first-module"));
    assert_non_null(strstr(text, "second-module"));
    assert_non_null(strstr(text, "quarrel"));
}

static void a_disagreement_stops_the_boot(void **state)
{
    (void)state;
    char text[4096];
    say(boot_both, GMK_CHAN_TYPE_MISMATCH, text, sizeof text);
    names_are_said(text);
    assert_int_equal(loud.magic, 0);
    assert_int_equal(atomic_load(&inits), 0);
    assert_int_equal(atomic_load(&finis), 0);
}

static void a_disagreement_stops_the_load(void **state)
{
    (void)state;
    char text[4096];
    assert_int_equal(boot_first(), GMK_OK);
    say(load_second, GMK_CHAN_TYPE_MISMATCH, text, sizeof text);
    names_are_said(text);
    assert_int_equal(atomic_load(&inits), 0);
    assert_int_equal(gmk_module_unload(&loud, "first-module"), GMK_OK);
    say(load_second, GMK_CHAN_TYPE_MISMATCH, text, sizeof text); /* the channel is still there */
    assert_non_null(strstr(text, "second-module"));
    assert_int_equal(gmk_halt(&loud), GMK_OK);
}

/* What two declarations of one channel may differ in. */
static gmk_chan_decl_t first_decl[1], then_decl[1];

static int boot_two_decls(void)
{
    gmk_module_t one = {.name = "first-module", .channels = first_decl, .n_channels = 1};
    gmk_module_t two = {.name = "second-module", .channels = then_decl, .n_channels = 1};
    gmk_module_t *both[] = {&one, &two};
    gmk_boot_cfg_t cfg = kit_cfg(1);
    cfg.flags = 0;
    int rc = gmk_boot(&loud, &cfg, both, 2);
    if (rc == GMK_OK)
        assert_int_equal(gmk_halt(&loud), GMK_OK);
    return rc;
}

static void declarations_agree_on_the_channel(void **state)
{
    (void)state;
    const gmk_chan_decl_t like = {.name = "quarrel", .direction = GMK_PRODUCES};
    const struct {
        uint32_t mode[2], guarantee[2], slots[2];
        int rc;
        const char *says;
    } pair[] = {
        {{GMK_FANOUT, GMK_P2P},
         {0, 0},
         {0, 0},
         GMK_ERR_INVAL,
         "declares mode GMK_P2P, but \"first-module\" declared GMK_FANOUT"},
        {{GMK_P2P, GMK_FANOUT},
         {0, 0},
         {0, 0},
         GMK_ERR_INVAL,
         "declares mode GMK_FANOUT, but \"first-module\" declared GMK_P2P"},
        {{0, 0},
         {GMK_LOSSY, 0},
         {0, 0},
         GMK_ERR_INVAL,
         "guarantee GMK_LOSSLESS, but \"first-module\" declared GMK_LOSSY"},
        {{0, 0}, {0, 0}, {8, 16}, GMK_ERR_INVAL, "slots 16, but \"first-module\" declared 8"},
        {{0, 0}, {0, 0}, {1024, 16}, GMK_ERR_INVAL, "slots 16, but \"first-module\" declared 1024"},
        {{1, 1}, {1, 1}, {8, 0}, GMK_OK, ""},
        {{1, 1}, {1, 1}, {0, 8}, GMK_OK, ""},
        {{0, 0}, {0, 0}, {8, 8}, GMK_OK, ""},
    };
    for (uint32_t i = 0; i < sizeof pair / sizeof *pair; i++) {
        char text[4096];
        first_decl[0] = then_decl[0] = like;
        first_decl[0].mode = pair[i].mode[0], then_decl[0].mode = pair[i].mode[1];
        first_decl[0].guarantee = pair[i].guarantee[0], then_decl[0].guarantee = pair[i].guarantee[1];
        first_decl[0].slots = pair[i].slots[0], then_decl[0].slots = pair[i].slots[1];
        say(boot_two_decls, pair[i].rc, text, sizeof text);
        if (strstr(text, pair[i].says) == NULL)
            fail_msg("case %u: no \"%s\" in: %s", i, pair[i].says, text);
        if (pair[i].rc != GMK_OK)
            names_are_said(text);
    }
}

static int refused_loads(void)
{
    static const gmk_handler_reg_t taken[] = {{.type = T_OWN, .fn = note, .name = "mine"},
                                              {.type = T_OWN, .fn = note}};
    gmk_module_t m = {.name = "refused", .handlers = taken, .n_handlers = 2};
    return gmk_module_load(&loud, &m);
}

static void a_refusal_says_why(void **state)
{
    (void)state;
    char text[4096];
    assert_int_equal(boot_first(), GMK_OK);
    say(refused_loads, GMK_ERR_EXISTS, text, sizeof text);
    assert_non_null(strstr(text, "refused"));
    assert_non_null(strstr(text, "two handlers of one type"));
    assert_int_equal(gmk_halt(&loud), GMK_OK);
}

/* ---- undoing -------------------------------------------------------------------------------- */

static gmk_chan_t init_chan;
static int busy_init(gmk_ctx_t *c)
{
    gmk_chan_t out;
    gmk_task_t t = {.type = T_OWN};
    if (gmk_chan_find(c, "undo.in", &out) != GMK_OK ||
        gmk_chan_sub(c, out, &(gmk_sub_cfg_t){.handler = T_OWN}, NULL) != GMK_OK)
        return GMK_FAIL(99);
    for (uint32_t i = 0; i < 20; i++)
        if (gmk_chan_emit(c, out, &t) != GMK_OK || gmk_emit(c, &t) != GMK_OK)
            return GMK_FAIL(98);
    init_chan = out;
    return GMK_FAIL(42);
}

static void a_failed_init_is_undone(void **state)
{
    (void)state;
    static const gmk_handler_reg_t h[] = {{.type = T_OWN, .fn = quiet_run}};
    static const gmk_chan_decl_t d[] = {{.name = "undo.in", .direction = GMK_CONSUMES, .slots = 64}};
    static gmk_module_t m = {.name = "undone",
                             .handlers = h,
                             .n_handlers = 1,
                             .channels = d,
                             .n_channels = 1,
                             .init = busy_init,
                             .fini = count_fini};
    gmk_chan_t ch;
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(gmk_module_load(&F.t.k, &m), GMK_FAIL(42));
        assert_int_equal(gmk_chan_find(F.c, "undo.in", &ch), GMK_ERR_NOTFOUND);
        assert_int_equal(gmk_wait_closed(F.c, init_chan, KIT_PATIENCE), GMK_OK);
        assert_int_equal(gmk_type_reset(&F.t.k, T_OWN), GMK_ERR_NOTFOUND);
        assert_int_equal(gmk_module_unload(&F.t.k, "undone"), GMK_ERR_NOTFOUND);
    }
    assert_int_equal(atomic_load(&finis), 0); /* it never got that far */
    kit_drain(&F.t);
    gmk_stats_t s = kit_stats(&F.t);
    assert_int_equal(s.accepted, 5 * 40);
    assert_int_equal(s.completed + s.dropped, 5 * 40);
}

static void what_follows_a_good_init_is_undone_by_fini(void **state)
{
    (void)state;
    static const gmk_handler_reg_t h[] = {{.type = T_OWN, .fn = quiet_run}};
    static const gmk_chan_decl_t d[] = {{.name = "bound", .direction = GMK_CONSUMES, .handler = T_OWN}};
    static gmk_module_t m = {.name = "late",
                             .handlers = h,
                             .n_handlers = 1,
                             .channels = d,
                             .n_channels = 1,
                             .init = count_init,
                             .fini = count_fini};
    gmk_chan_t ch = open_chan("bound", GMK_P2P, GMK_LOSSLESS, 4);
    sub_to(ch, T_A);
    assert_int_equal(gmk_module_load(&F.t.k, &m), GMK_CHAN_ALREADY_BOUND);
    assert_int_equal(atomic_load(&inits), 1);
    assert_int_equal(atomic_load(&finis), 1);
    emit_range(ch, 0, 3);
    wait_seen(T_A, 3);
}

static int fail_42(gmk_ctx_t *c)
{
    (void)c;
    return GMK_FAIL(42);
}

static gmk_module_t fails_42 = {.name = "fails", .init = fail_42, .fini = count_fini};

/* A handler that does not return holds a failed load up for the halt timeout, and no longer. */
static void a_failed_load_does_not_wait_for_ever(void **state)
{
    (void)state;
    atomic_store(&seen[T_A].hold, 1);
    kit_submit(&F.t, T_A, NULL);
    KIT_WAIT(atomic_load(&seen[T_A].inside) == 1);
    assert_int_equal(gmk_module_load(&F.t.k, &fails_42), GMK_FAIL(42));
    assert_int_equal(atomic_load(&seen[T_A].inside), 1);
    assert_int_equal(gmk_module_load(&F.t.k, &fails_42), GMK_ERR_EXISTS); /* its undoing goes on */
    assert_int_equal(gmk_module_unload(&F.t.k, "fails"), GMK_ERR_TIMEOUT);
    atomic_store(&seen[T_A].hold, 0);
    KIT_WAIT(atomic_load(&seen[T_A].inside) == 0);
    int rc; /* the next load ends it, whenever the worker has passed */
    KIT_WAIT((rc = gmk_module_load(&F.t.k, &fails_42)) != GMK_ERR_EXISTS);
    assert_int_equal(rc, GMK_FAIL(42));
    KIT_WAIT(gmk_module_unload(&F.t.k, "fails") == GMK_ERR_NOTFOUND);
    assert_int_equal(atomic_load(&finis), 0); /* init never succeeded */
}

static void halt_ends_what_a_failed_load_left(void **state)
{
    (void)state;
    kit_t t;
    gmk_boot_cfg_t cfg = kit_cfg(1);
    cfg.halt_timeout_ns = 10 * KIT_MS;
    KIT_BOOT(&t, cfg, chan_handlers);
    uint32_t before = atomic_load(&finis);
    atomic_store(&seen[T_A].hold, 1);
    kit_submit(&t, T_A, NULL);
    KIT_WAIT(atomic_load(&seen[T_A].inside) == 1);
    assert_int_equal(gmk_module_load(&t.k, &fails_42), GMK_FAIL(42));
    atomic_store(&seen[T_A].hold, 0);
    assert_int_equal(gmk_halt_within(&t.k, KIT_PATIENCE, NULL), GMK_OK);
    assert_int_equal(atomic_load(&finis), before);
}

static const gmk_chan_decl_t shared_decl[] = {{.name = "shared.a", .direction = GMK_PRODUCES}};
static gmk_module_t shares = {.name = "shares", .channels = shared_decl, .n_channels = 1};
static int others_init(gmk_ctx_t *c)
{
    gmk_chan_t b;
    if (gmk_module_load(c->kernel, &shares) != GMK_OK || gmk_chan_find(c, "shared.b", &b) != GMK_OK ||
        gmk_chan_sub(c, b, &(gmk_sub_cfg_t){.handler = T_B}, NULL) != GMK_OK)
        return GMK_FAIL(1);
    return GMK_FAIL(42);
}

/* What others use by now stays when the load that opened it fails. */
static void a_failed_load_leaves_what_others_use(void **state)
{
    (void)state;
    static const gmk_chan_decl_t d[] = {{.name = "shared.a", .direction = GMK_PRODUCES},
                                        {.name = "shared.b", .direction = GMK_PRODUCES},
                                        {.name = "shared.c", .direction = GMK_PRODUCES}};
    static gmk_module_t m = {.name = "opens", .channels = d, .n_channels = 3, .init = others_init};
    gmk_chan_t a, b, c;
    assert_int_equal(gmk_module_load(&F.t.k, &m), GMK_FAIL(42));
    F.extra = &shares;
    assert_int_equal(gmk_chan_find(F.c, "shared.a", &a), GMK_OK); /* "shares" declared it */
    assert_int_equal(gmk_chan_find(F.c, "shared.b", &b), GMK_OK); /* type b listens */
    assert_int_equal(gmk_chan_find(F.c, "shared.c", &c), GMK_ERR_NOTFOUND);
    fix_keep(a);
    emit_range(fix_keep(b), 0, 3);
    wait_seen(T_B, 3);
}

/* ---- order ---------------------------------------------------------------------------------- */

static int init_x(gmk_ctx_t *c)
{
    (void)c;
    note_order("+x");
    return GMK_OK;
}
static int init_y(gmk_ctx_t *c)
{
    (void)c;
    note_order("+y");
    return GMK_OK;
}
static int init_z(gmk_ctx_t *c)
{
    (void)c;
    note_order("+z");
    return GMK_OK;
}
static void fini_x(gmk_ctx_t *c)
{
    (void)c;
    note_order("-x");
}
static void fini_y(gmk_ctx_t *c)
{
    (void)c;
    note_order("-y");
}
static void fini_z(gmk_ctx_t *c)
{
    (void)c;
    note_order("-z");
}

static void fini_runs_in_reverse(void **state)
{
    (void)state;
    gmk_module_t x = {.name = "x", .init = init_x, .fini = fini_x},
                 y = {.name = "y", .init = init_y, .fini = fini_y},
                 z = {.name = "z", .init = init_z, .fini = fini_z}, *two[] = {&x, &y};
    gmk_boot_cfg_t cfg = kit_cfg(1);
    atomic_store(&order_n, 0);
    assert_int_equal(gmk_boot(&loud, &cfg, two, 2), GMK_OK);
    assert_int_equal(gmk_module_load(&loud, &z), GMK_OK);
    assert_int_equal(gmk_halt(&loud), GMK_OK);
    static const char *const as[] = {"+x", "+y", "+z", "-z", "-y", "-x"};
    assert_int_equal(atomic_load(&order_n), 6);
    for (uint32_t i = 0; i < 6; i++)
        assert_string_equal(order[i], as[i]);
}

/* ---- unloading ------------------------------------------------------------------------------ */

static const gmk_handler_reg_t own_handlers[] = {{.type = T_OWN, .fn = note}};
static const gmk_chan_decl_t own_decl[] = {
    {.name = "own.in", .direction = GMK_CONSUMES, .handler = T_OWN, .slots = 64}};
static gmk_module_t own_module = {.name = "own",
                                  .handlers = own_handlers,
                                  .n_handlers = 1,
                                  .channels = own_decl,
                                  .n_channels = 1,
                                  .init = count_init,
                                  .fini = count_fini};

static gmk_chan_t own_chan(void)
{
    gmk_chan_t ch;
    assert_int_equal(gmk_chan_find(F.c, "own.in", &ch), GMK_OK);
    return fix_keep(ch);
}

static void what_is_queued_is_dropped_as_unloaded(void **state)
{
    (void)state;
    kit_gate_t gate;
    assert_int_equal(gmk_module_load(&F.t.k, &own_module), GMK_OK);
    gmk_chan_t ch = own_chan();
    listen_to("sys.dropped", T_DEAD);
    kit_gate_shut(&F.t, &gate, T_GATE, 1);
    sub_slow(open_chan("hold", GMK_P2P, GMK_LOSSLESS, 4), T_A); /* both workers are busy now */
    for (uint32_t i = 0; i < 10; i++) {
        gmk_task_t t = marked(F.c, i);
        assert_int_equal(gmk_chan_emit(F.c, ch, &t), GMK_OK);
    }
    for (uint32_t i = 0; i < 10; i++)
        kit_submit(&F.t, T_OWN, NULL);
    kit_gate_open(&gate);
    atomic_store(&seen[T_A].hold, 0);
    atomic_store(&seen[T_OWN].hold, 0);
    assert_int_equal(gmk_module_unload(&F.t.k, "own"), GMK_OK);
    assert_int_equal(atomic_load(&finis), 1);
    kit_drain(&F.t);
    uint32_t ran = atomic_load(&seen[T_OWN].n);
    KIT_WAIT(atomic_load(&seen[T_DEAD].count) == 20 - ran);
    for (uint32_t i = 0; i < atomic_load(&seen[T_DEAD].n); i++)
        assert_int_equal(dead_code_at(&seen[T_DEAD], i), GMK_DROP_UNLOADED);
    kit_submit(&F.t, T_OWN, NULL);
    KIT_WAIT(atomic_load(&seen[T_DEAD].count) == 21 - ran);
    kit_submit(&F.t, 99, NULL);
    KIT_WAIT(atomic_load(&seen[T_DEAD].count) == 22 - ran);
    assert_int_equal(dead_code_at(&seen[T_DEAD], seen[T_DEAD].n - 1), GMK_DROP_NO_TYPE);
}

static atomic_uint unload_rc;

static void *unload_own(void *arg)
{
    (void)arg;
    atomic_store(&unload_rc, (unsigned)-gmk_module_unload(&F.t.k, "own"));
    return NULL;
}

static void a_busy_mailbox_is_dropped_in_order(void **state)
{
    (void)state;
    assert_int_equal(gmk_module_load(&F.t.k, &own_module), GMK_OK);
    gmk_chan_t ch = own_chan();
    listen_to("sys.dropped", T_DEAD);
    atomic_store(&seen[T_OWN].hold, 1);
    emit_range(ch, 0, 1);
    KIT_WAIT(atomic_load(&seen[T_OWN].inside) == 1);
    for (uint32_t i = 1; i < 30; i++) {
        gmk_task_t t = marked(F.c, i);
        assert_int_equal(gmk_chan_emit(F.c, ch, &t), GMK_OK);
    }
    pthread_t two[2]; /* two who unload at once: fini runs once, both return when it has */
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&two[i], NULL, unload_own, NULL), 0);
    KIT_WAIT(chan_figures_of(ch).subs == 0);
    assert_int_equal(atomic_load(&finis), 0);
    atomic_store(&seen[T_OWN].hold, 0);
    for (uint32_t i = 0; i < 2; i++)
        pthread_join(two[i], NULL);
    assert_int_equal(atomic_load(&finis), 1);
    wait_seen(T_DEAD, 29);
    for (uint32_t i = 0; i < 29; i++) {
        assert_int_equal(dead_code_at(&seen[T_DEAD], i), GMK_DROP_UNLOADED);
        assert_int_equal(seen[T_DEAD].at[i].mark, i + 1);
    }
    assert_int_equal(atomic_load(&seen[T_OWN].n), 1);
}

static int short_up(void **state)
{
    (void)state;
    gmk_boot_cfg_t cfg = kit_cfg(2);
    cfg.halt_timeout_ns = 30 * KIT_MS;
    fix_boot(cfg);
    atomic_store(&finis, 0);
    return 0;
}

static void an_unload_that_times_out_goes_on(void **state)
{
    (void)state;
    assert_int_equal(gmk_module_load(&F.t.k, &own_module), GMK_OK);
    gmk_chan_t ch = own_chan();
    atomic_store(&seen[T_OWN].hold, 1);
    emit_range(ch, 0, 1);
    KIT_WAIT(atomic_load(&seen[T_OWN].inside) == 1);
    assert_int_equal(gmk_module_unload(&F.t.k, "own"), GMK_ERR_TIMEOUT);
    assert_int_equal(gmk_module_unload(&F.t.k, "own"), GMK_ERR_TIMEOUT);
    assert_int_equal(atomic_load(&finis), 0);
    assert_int_equal(gmk_chan_sub(F.c, ch, &(gmk_sub_cfg_t){.handler = T_OWN}, NULL), GMK_ERR_NOTFOUND);
    assert_int_equal(gmk_module_load(&F.t.k, &own_module), GMK_ERR_EXISTS);
    atomic_store(&seen[T_OWN].hold, 0);
    KIT_WAIT(gmk_module_unload(&F.t.k, "own") == GMK_OK);
    assert_int_equal(atomic_load(&finis), 1);
    assert_int_equal(gmk_module_unload(&F.t.k, "own"), GMK_ERR_NOTFOUND);
}

/* One whose unload was not waited for still gets its fini when the kernel halts. */
static void halt_ends_what_an_unload_began(void **state)
{
    (void)state;
    kit_t t;
    gmk_boot_cfg_t cfg = kit_cfg(1);
    cfg.halt_timeout_ns = 10 * KIT_MS;
    KIT_BOOT(&t, cfg, chan_handlers);
    assert_int_equal(gmk_module_load(&t.k, &own_module), GMK_OK);
    uint32_t before = atomic_load(&finis);
    atomic_store(&seen[T_OWN].hold, 1);
    kit_submit(&t, T_OWN, NULL);
    KIT_WAIT(atomic_load(&seen[T_OWN].inside) == 1);
    assert_int_equal(gmk_module_unload(&t.k, "own"), GMK_ERR_TIMEOUT);
    atomic_store(&seen[T_OWN].hold, 0);
    gmk_halt_report_t r;
    assert_int_equal(gmk_halt_within(&t.k, KIT_PATIENCE, &r), GMK_OK);
    assert_int_equal(atomic_load(&finis), before + 1);
}

/* A type that somebody else registers later is not the error handler that was asked for. */
static void an_error_handler_ends_with_its_module(void **state)
{
    (void)state;
    static const gmk_handler_reg_t h[] = {{.type = T_OWN, .fn = quiet_run}};
    static gmk_module_t other = {.name = "other", .handlers = h, .n_handlers = 1};
    gmk_chan_t ch = open_chan("fails", GMK_P2P, GMK_LOSSLESS, 4);
    listen_to("sys.error", T_ERR);
    sub_to(ch, T_A);
    atomic_store(&seen[T_A].result, GMK_FAIL(3));
    assert_int_equal(gmk_module_load(&F.t.k, &own_module), GMK_OK);
    (void)own_chan();
    assert_int_equal(gmk_chan_on_error(F.c, ch, T_OWN), GMK_OK);
    emit_range(ch, 0, 1);
    wait_seen(T_OWN, 1);
    assert_int_equal(gmk_module_unload(&F.t.k, "own"), GMK_OK);
    load_extra(&other);
    emit_range(ch, 1, 2);
    wait_seen(T_ERR, 1);
    assert_int_equal(dead_code_at(&seen[T_ERR], 0), GMK_FAIL(3));
    kit_drain(&F.t);
    assert_int_equal(kit_type(&F.t, T_OWN).completed, 1);
}

static uint32_t trace_mask(void) { return gmk_load32(&F.t.k.core->trace_mask, GMK_RLX, GMK_KERNEL); }

/* Only the modules that are there say how much is traced. */
static void a_level_goes_with_its_module(void **state)
{
    (void)state;
    static gmk_module_t noisy = {.name = "noisy"}, last = {.name = "last"};
    assert_int_equal(trace_mask(), GMK_TRACE_ERROR);
    assert_int_equal(gmk_module_load(&F.t.k, &noisy), GMK_OK);
    assert_int_equal(gmk_module_load(&F.t.k, &last), GMK_OK); /* so that its place stays, empty */
    assert_int_equal(gmk_trace_level(&F.t.k, "noisy", GMK_TRACE_ALL), GMK_OK);
    assert_int_equal(trace_mask(), GMK_TRACE_ALL);
    assert_int_equal(gmk_module_unload(&F.t.k, "noisy"), GMK_OK);
    assert_int_equal(trace_mask(), GMK_TRACE_ERROR);
    assert_int_equal(gmk_trace_level(&F.t.k, "last", GMK_TRACE_INFO), GMK_OK);
    assert_int_equal(trace_mask(), GMK_TRACE_INFO);
    assert_int_equal(gmk_module_unload(&F.t.k, "last"), GMK_OK);
    assert_int_equal(trace_mask(), GMK_TRACE_ERROR);
}

static void types_are_free_again_after_an_unload(void **state)
{
    (void)state;
    static const gmk_handler_reg_t h[] = {{.type = T_OWN, .fn = quiet_run, .name = "quiet"}};
    static gmk_module_t other = {.name = "other", .handlers = h, .n_handlers = 1};
    assert_int_equal(gmk_module_load(&F.t.k, &own_module), GMK_OK);
    (void)own_chan();
    kit_submit(&F.t, T_OWN, NULL);
    wait_seen(T_OWN, 1);
    assert_int_equal(gmk_module_load(&F.t.k, &other), GMK_ERR_EXISTS);
    assert_int_equal(gmk_module_unload(&F.t.k, "own"), GMK_OK);
    load_extra(&other);
    gmk_type_stats_t s = kit_type(&F.t, T_OWN);
    assert_string_equal(s.name, "quiet");
    assert_string_equal(s.module, "other");
    kit_submit(&F.t, T_OWN, NULL);
    kit_drain(&F.t);
    assert_int_equal(atomic_load(&seen[T_OWN].n), 1);
}

/* ---- under load ----------------------------------------------------------------------------- */

static void send_everywhere(crew_t *me)
{
    while (atomic_load(me->stop) == 0) {
        gmk_task_t t = {.type = T_OWN};
        if (gmk_emit(me->c, &t) == GMK_OK)
            me->sent++;
        t = marked(me->c, 1);
        if (t.payload_ptr == 0)
            continue;
        if (gmk_chan_emit_wait(me->c, me->ch, &t, 100000) == GMK_OK)
            me->sent++;
        else
            (void)gmk_payload_release(me->c, (void *)(uintptr_t)t.payload_ptr);
    }
}

static void loads_and_unloads(gmk_module_t *m, uint32_t times)
{
    crew_t crew[2];
    atomic_uint stop = 0;
    assert_int_equal(gmk_module_load(&F.t.k, m), GMK_OK);
    gmk_chan_t ch = own_chan();
    crew_start(crew, 2, (crew_t){.work = send_everywhere, .ch = ch, .stop = &stop});
    for (uint32_t i = 0; i < times; i++) {
        kit_nap();
        assert_int_equal(gmk_module_unload(&F.t.k, m->name), GMK_OK);
        int rc;
        KIT_WAIT((rc = gmk_module_load(&F.t.k, m)) == GMK_OK);
    }
    atomic_store(&stop, 1);
    uint64_t sent = crew_join(crew, 2);
    kit_drain(&F.t);
    gmk_stats_t s = kit_stats(&F.t);
    assert_int_equal(s.accepted, sent);
    assert_int_equal(s.completed + s.dropped, sent);
    assert_int_equal(s.failed, 0);
    assert_int_equal(gmk_module_unload(&F.t.k, m->name), GMK_OK);
}

static void unload_and_load_under_load(void **state)
{
    (void)state;
    loads_and_unloads(&own_module, KIT_TSAN ? 15 : 60);
    assert_int_equal(atomic_load(&inits), atomic_load(&finis));
}

/* ---- shared objects ------------------------------------------------------------------------- */

static const char so_source[] =
    "#include <ggmk.h>\n"
    "static volatile unsigned beats;\n"
    "static int run(gmk_ctx_t *c) { (void)c; for (int i = 0; i < 50; i++) beats++; return GMK_OK; }\n"
    "static const gmk_handler_reg_t h[] = {{.type = 16, .fn = run}};\n"
    "static const gmk_chan_decl_t d[] = {{.name = \"own.in\", .direction = GMK_CONSUMES, .handler = 16, .slots = 64}};\n"
    "gmk_module_t the_module = {.name = \"own\", .handlers = h, .n_handlers = 1, .channels = d, .n_channels = 1};\n";

static bool build_so(const char *dir, char *so, size_t size)
{
    char src[128], cmd[512];
    const char *cc = getenv("CC");
    snprintf(src, sizeof src, "%s/module.c", dir);
    snprintf(so, size, "%s/module.so", dir);
    FILE *f = fopen(src, "w");
    if (f == NULL)
        return false;
    fputs(so_source, f);
    fclose(f);
    snprintf(cmd, sizeof cmd, "%s -std=c11 -shared -fPIC -Iinclude -o %s %s 2>/dev/null",
             cc != NULL ? cc : "cc", so, src);
    int rc = system(cmd);
    remove(src);
    return rc == 0;
}

static void *open_so(const char *so, gmk_module_t **m)
{
    void *lib = dlopen(so, RTLD_NOW | RTLD_LOCAL);
    *m = lib == NULL ? NULL : dlsym(lib, "the_module");
    return lib;
}

/* Once the unload has returned no worker is in the code: it can be unmapped under load. */
static void shared_objects_come_and_go(void **state)
{
    (void)state;
    char dir[] = "/tmp/ggmk-so-XXXXXX", so[128];
    assert_non_null(mkdtemp(dir));
    if (!build_so(dir, so, sizeof so)) {
        rmdir(dir);
        skip();
    }
    crew_t crew[2];
    atomic_uint stop = 0;
    gmk_module_t *m;
    void *lib = open_so(so, &m);
    assert_non_null(m);
    assert_int_equal(gmk_module_load(&F.t.k, m), GMK_OK);
    crew_start(crew, 2, (crew_t){.work = send_everywhere, .ch = own_chan(), .stop = &stop});
    for (uint32_t i = 0; i < (KIT_TSAN ? 10 : 40); i++) {
        kit_nap();
        assert_int_equal(gmk_module_unload(&F.t.k, "own"), GMK_OK);
        assert_int_equal(dlclose(lib), 0);
        assert_null(dlopen(so, RTLD_NOW | RTLD_NOLOAD)); /* really gone */
        lib = open_so(so, &m);
        assert_non_null(m);
        KIT_WAIT(gmk_module_load(&F.t.k, m) == GMK_OK);
    }
    atomic_store(&stop, 1);
    uint64_t sent = crew_join(crew, 2);
    kit_drain(&F.t);
    assert_int_equal(kit_stats(&F.t).accepted, sent);
    assert_int_equal(kit_stats(&F.t).failed, 0);
    assert_int_equal(gmk_module_unload(&F.t.k, "own"), GMK_OK);
    dlclose(lib);
    remove(so);
    rmdir(dir);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, module_up, fix_down)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(load_checks_the_module),
        TEST(types_have_names_and_can_be_reset),
        TEST(there_is_room_for_128_modules),
        TEST(a_consuming_declaration_subscribes),
        TEST(a_disagreement_stops_the_boot),
        TEST(a_disagreement_stops_the_load),
        TEST(declarations_agree_on_the_channel),
        TEST(a_refusal_says_why),
        TEST(a_failed_init_is_undone),
        cmocka_unit_test_setup_teardown(a_failed_load_does_not_wait_for_ever, short_up, fix_down),
        TEST(halt_ends_what_a_failed_load_left),
        TEST(a_failed_load_leaves_what_others_use),
        TEST(what_follows_a_good_init_is_undone_by_fini),
        TEST(fini_runs_in_reverse),
        TEST(what_is_queued_is_dropped_as_unloaded),
        TEST(a_busy_mailbox_is_dropped_in_order),
        cmocka_unit_test_setup_teardown(an_unload_that_times_out_goes_on, short_up, fix_down),
        TEST(halt_ends_what_an_unload_began),
        TEST(an_error_handler_ends_with_its_module),
        TEST(a_level_goes_with_its_module),
        TEST(types_are_free_again_after_an_unload),
        TEST(unload_and_load_under_load),
        TEST(shared_objects_come_and_go),
    };
    return cmocka_run_group_tests_name("module", tests, NULL, NULL);
}
