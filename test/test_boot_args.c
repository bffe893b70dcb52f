/* SPDX-License-Identifier: MIT */
/* Launch arguments: what a module finds of the words it was booted with. */
#include "harness.h"

enum { T_ASK = 1 };

static const gmk_handler_reg_t none[] = {{.type = 7, .fn = kit_gate_run}};

/* Boots with the arguments and asks by a port. */
static void boot_with(kit_t *t, gmk_port_t *port, const char *args)
{
    gmk_boot_cfg_t cfg = kit_cfg(1);
    cfg.args = args;
    KIT_BOOT(t, cfg, none);
    assert_int_equal(gmk_attach(&t->k, port), GMK_OK);
}

static void end(kit_t *t, gmk_port_t *port)
{
    gmk_detach(port);
    kit_end(t);
}

static void expect_text(gmk_ctx_t *c, const char *name, const char *value)
{
    char got[64] = "nothing";
    assert_int_equal(gmk_arg(c, name, got, sizeof got), GMK_OK);
    assert_string_equal(got, value);
}

static void expect_code(gmk_ctx_t *c, const char *name, int code)
{
    char got[64] = "untouched";
    uint64_t v = 99;
    assert_int_equal(gmk_arg(c, name, got, sizeof got), code);
    assert_string_equal(got, "untouched");
    assert_int_equal(gmk_arg_u64(c, name, &v), code);
    assert_int_equal(v, 99);
}

static void words_are_found_by_name(void **state)
{
    kit_t t;
    gmk_port_t port;
    (void)state;
    boot_with(&t, &port, "  one=1\ttwo=second\n\rflag wc.top=5 empty= eq=a=b last=end");
    gmk_ctx_t *c = gmk_port_ctx(&port);
    expect_text(c, "one", "1");
    expect_text(c, "two", "second");
    expect_text(c, "wc.top", "5");
    expect_text(c, "empty", "");
    expect_text(c, "eq", "a=b");
    expect_text(c, "last", "end");
    const char *const absent[] = {"on", "onee", "wo", "flag", "1", "second", "top", "wc", "las", "b"};
    for (uint32_t i = 0; i < sizeof absent / sizeof absent[0]; i++)
        expect_code(c, absent[i], GMK_ERR_NOTFOUND);
    end(&t, &port);
}

static void the_last_word_of_a_name_counts(void **state)
{
    kit_t t;
    gmk_port_t port;
    uint64_t v;
    (void)state;
    boot_with(&t, &port, "n=1 other=4 n=2 n=33 n");
    expect_text(gmk_port_ctx(&port), "n", "33");
    assert_int_equal(gmk_arg_u64(gmk_port_ctx(&port), "n", &v), GMK_OK);
    assert_int_equal(v, 33);
    end(&t, &port);
}

static void without_arguments_nothing_is_found(void **state)
{
    static const char *const args[] = {NULL, "", "   ", "word", "="};
    kit_t t;
    gmk_port_t port;
    (void)state;
    for (uint32_t i = 0; i < sizeof args / sizeof args[0]; i++) {
        boot_with(&t, &port, args[i]);
        expect_code(gmk_port_ctx(&port), "word", GMK_ERR_NOTFOUND);
        end(&t, &port);
    }
}

static void a_value_fits_or_is_refused(void **state)
{
    kit_t t;
    gmk_port_t port;
    char got[8] = "before";
    (void)state;
    boot_with(&t, &port, "x=abcde empty=");
    gmk_ctx_t *c = gmk_port_ctx(&port);
    assert_int_equal(gmk_arg(c, "x", got, 5), GMK_ERR_RANGE);
    assert_int_equal(gmk_arg(c, "x", got, 0), GMK_ERR_RANGE);
    assert_int_equal(gmk_arg(c, "empty", got, 0), GMK_ERR_RANGE);
    assert_string_equal(got, "before");
    assert_int_equal(gmk_arg(c, "x", got, 6), GMK_OK);
    assert_string_equal(got, "abcde");
    assert_int_equal(gmk_arg(c, "empty", got, 1), GMK_OK);
    assert_string_equal(got, "");
    end(&t, &port);
}

static void numbers_are_decimal_and_whole(void **state)
{
    static const char *const wrong[] = {"none", "word", "minus", "plus", "hex", "tail", "big", "bigger"};
    kit_t t;
    gmk_port_t port;
    uint64_t v = 1;
    (void)state;
    boot_with(&t, &port,
              "zero=0 seven=007 max=18446744073709551615 none= word=ten minus=-1 plus=+1 hex=0x10 tail=12k "
              "big=18446744073709551616 bigger=99999999999999999999");
    gmk_ctx_t *c = gmk_port_ctx(&port);
    assert_int_equal(gmk_arg_u64(c, "zero", &v), GMK_OK);
    assert_int_equal(v, 0);
    assert_int_equal(gmk_arg_u64(c, "seven", &v), GMK_OK);
    assert_int_equal(v, 7);
    assert_int_equal(gmk_arg_u64(c, "max", &v), GMK_OK);
    assert_true(v == UINT64_MAX);
    for (uint32_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(gmk_arg_u64(c, wrong[i], &v), GMK_ERR_RANGE);
    assert_true(v == UINT64_MAX);
    end(&t, &port);
}

static void wrong_arguments_are_refused(void **state)
{
    static const char *const name[] = {"", "a=", "a b", "a\t", "=", " a", "a\n"};
    kit_t t;
    gmk_port_t port;
    char text[8];
    uint64_t v;
    (void)state;
    boot_with(&t, &port, "a=1 a b=2");
    gmk_ctx_t *c = gmk_port_ctx(&port);
    for (uint32_t i = 0; i < sizeof name / sizeof name[0]; i++)
        expect_code(c, name[i], GMK_ERR_INVAL);
    assert_int_equal(gmk_arg(c, NULL, text, sizeof text), GMK_ERR_INVAL);
    assert_int_equal(gmk_arg(c, "a", NULL, sizeof text), GMK_ERR_INVAL);
    assert_int_equal(gmk_arg(NULL, "a", text, sizeof text), GMK_ERR_INVAL);
    assert_int_equal(gmk_arg_u64(c, NULL, &v), GMK_ERR_INVAL);
    assert_int_equal(gmk_arg_u64(c, "a", NULL), GMK_ERR_INVAL);
    assert_int_equal(gmk_arg_u64(NULL, "a", &v), GMK_ERR_INVAL);
    gmk_ctx_t nobody = {0};
    assert_int_equal(gmk_arg(&nobody, "a", text, sizeof text), GMK_ERR_INVAL);
    assert_int_equal(gmk_arg_u64(&nobody, "a", &v), GMK_ERR_INVAL);
    end(&t, &port);
}

static void as_many_bytes_as_are_promised(void **state)
{
    char args[GMK_ARGS_MAX + 2];
    gmk_boot_cfg_t cfg = kit_cfg(1);
    kit_t t;
    gmk_port_t port;
    gmk_kernel_t refused;
    (void)state;
    memset(args, 'x', sizeof args);
    memcpy(args, "first=", 6);
    args[GMK_ARGS_MAX - 5] = ' ';
    memcpy(args + GMK_ARGS_MAX - 4, "z=77", 5);
    boot_with(&t, &port, args);
    expect_text(gmk_port_ctx(&port), "z", "77");
    end(&t, &port);
    args[GMK_ARGS_MAX] = '7';
    args[GMK_ARGS_MAX + 1] = '\0';
    cfg.args = args;
    assert_int_equal(gmk_boot(&refused, &cfg, NULL, 0), GMK_ERR_RANGE);
}

/* ---- in a module: the text given to the boot may be gone ------------------------------------ */

static atomic_int at_init, in_handler;
static atomic_ullong seen[2];

static int ask(gmk_ctx_t *c)
{
    uint64_t v = 0;
    atomic_store(&in_handler, gmk_arg_u64(c, "depth", &v));
    atomic_store(&seen[1], v);
    return GMK_OK;
}

static int init(gmk_ctx_t *c)
{
    uint64_t v = 0;
    atomic_store(&at_init, gmk_arg_u64(c, "depth", &v));
    atomic_store(&seen[0], v);
    return GMK_OK;
}

static void a_module_reads_its_arguments(void **state)
{
    static const gmk_handler_reg_t handlers[] = {{.type = T_ASK, .fn = ask}};
    char args[] = "depth=12";
    gmk_boot_cfg_t cfg = kit_cfg(2);
    kit_t t;
    (void)state;
    cfg.args = args;
    kit_boot_module(&t, cfg,
                    (gmk_module_t){.name = "m", .handlers = handlers, .n_handlers = 1, .init = init});
    memset(args, '#', sizeof args);
    kit_submit(&t, T_ASK, NULL);
    kit_drain(&t);
    assert_int_equal(atomic_load(&at_init), GMK_OK);
    assert_int_equal(atomic_load(&in_handler), GMK_OK);
    assert_int_equal(atomic_load(&seen[0]), 12);
    assert_int_equal(atomic_load(&seen[1]), 12);
    kit_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_found_by_name),
        cmocka_unit_test(the_last_word_of_a_name_counts),
        cmocka_unit_test(without_arguments_nothing_is_found),
        cmocka_unit_test(a_value_fits_or_is_refused),
        cmocka_unit_test(numbers_are_decimal_and_whole),
        cmocka_unit_test(wrong_arguments_are_refused),
        cmocka_unit_test(as_many_bytes_as_are_promised),
        cmocka_unit_test(a_module_reads_its_arguments),
    };
    return cmocka_run_group_tests_name("boot_args", tests, NULL, NULL);
}
