/* SPDX-License-Identifier: MIT */
/* A CPU fault in a handler fails that task; everything else goes on. */
#include "harness.h"

#include <signal.h>
#include <sys/wait.h>

enum { T_OK = 1, T_NULL, T_DIVIDE, T_WILD, T_DEEP, T_JUMP, T_CHAIN, T_MSG, T_BUMP, T_LETTER };

static atomic_uint ran;
static volatile uint32_t zero;
static uint8_t heard[400];

static int ok_run(gmk_ctx_t *c)
{
    (void)c;
    atomic_fetch_add(&ran, 1);
    return GMK_OK;
}

static KIT_WILD int null_run(gmk_ctx_t *c)
{
    (void)gmk_yield(c); /* the fault wins */
    *(volatile int *)NULL = 1;
    return GMK_OK;
}

static KIT_WILD int divide_run(gmk_ctx_t *c) { return (int)((uint32_t)c->task->meta1 / zero); }

/* Hands a wild pointer to the kernel, which copies before it enters itself. */
static KIT_WILD int wild_run(gmk_ctx_t *c)
{
    const gmk_task_t *t = (const gmk_task_t *)(uintptr_t)16;
    gmk_chan_t ch = {0};
    (void)gmk_chan_find(c, "fault.in", &ch);
    switch (c->task->meta1 % 7) {
    case 0: return gmk_emit(c, t);
    case 1: return gmk_emit_n(c, t, 5);
    case 2: return gmk_emit_after(c, t, 1);
    case 3: return gmk_emit_at(c, t, 1);
    case 4: return gmk_chan_emit(c, ch, t);
    case 5: return gmk_chan_emit_n(c, ch, t, 3);
    default: return gmk_yield((gmk_ctx_t *)(uintptr_t)16);
    }
}

static KIT_WILD int deep(volatile char *before, uint64_t n)
{
    volatile char here[4096];
    here[0] = before == NULL ? 0 : before[0];
    return n == 0 ? here[0] : deep(here, n - 1) + 1;
}

static KIT_WILD int deep_run(gmk_ctx_t *c) { return deep(NULL, c->task->meta1) < 0; }

static KIT_WILD int jump_run(gmk_ctx_t *c)
{
    (void)c;
    ((void (*)(void))(uintptr_t)8)();
    return GMK_OK;
}

/* Leaves a successor in the next slot, then faults. */
static KIT_WILD int chain_run(gmk_ctx_t *c)
{
    gmk_task_t next = *c->task;
    atomic_fetch_add(&ran, 1);
    if (next.meta1-- != 0)
        (void)gmk_emit(c, &next);
    if (next.meta1 % 8 == 3)
        *(volatile int *)NULL = 1;
    return GMK_OK;
}

static KIT_WILD int msg_run(gmk_ctx_t *c)
{
    uint32_t i = atomic_fetch_add(&ran, 1);
    if (i < sizeof heard / sizeof heard[0])
        heard[i] = (uint8_t)c->task->meta1;
    if (c->task->meta1 % 3 == 1)
        *(volatile int *)NULL = 1;
    return GMK_OK;
}

static KIT_WILD int bump_run(gmk_ctx_t *c)
{
    volatile char *p = gmk_bump(c, 4096);
    p[0] = 1;
    *(volatile int *)NULL = 1;
    return GMK_OK;
}

static const gmk_handler_reg_t handlers[] = {
    {.type = T_OK, .fn = ok_run},         {.type = T_NULL, .fn = null_run},
    {.type = T_DIVIDE, .fn = divide_run}, {.type = T_WILD, .fn = wild_run},
    {.type = T_DEEP, .fn = deep_run},     {.type = T_JUMP, .fn = jump_run},
    {.type = T_CHAIN, .fn = chain_run},   {.type = T_MSG, .fn = msg_run},
    {.type = T_BUMP, .fn = bump_run},     {.type = T_LETTER, .fn = kit_letter_run},
};

static int init(gmk_ctx_t *c)
{
    gmk_chan_t ch;
    gmk_sub_t sub;
    int rc = gmk_chan_open(c, &(gmk_chan_cfg_t){.name = "fault.in"}, &ch);
    return rc < 0 ? rc : gmk_chan_sub(c, ch, &(gmk_sub_cfg_t){.handler = T_MSG}, &sub);
}

static void boot(kit_t *t, uint32_t workers)
{
    gmk_boot_cfg_t cfg = kit_cfg(workers);
    atomic_store(&ran, 0);
    memset(heard, 0xff, sizeof heard);
    cfg.poison_failures = 4096;
    kit_boot_module(t, cfg,
                    (gmk_module_t){.name = "fault",
                                   .handlers = handlers,
                                   .n_handlers = sizeof handlers / sizeof handlers[0],
                                   .init = init});
}

/* 40 of the type that faults, 40 that do not, in one batch after the other. */
static void contained(uint32_t type)
{
    static gmk_task_t task[80];
    kit_t t;
    boot(&t, 1);
    for (uint32_t i = 0; i < 80; i++)
        task[i] = (gmk_task_t){.type = i % 2 == 0 ? T_OK : type, .meta1 = type == T_DEEP ? 1u << 20 : i / 2};
    assert_int_equal(gmk_submit_n(&t.k, task, 80), 80);
    kit_drain(&t);
    assert_int_equal(atomic_load(&ran), 40);
    gmk_stats_t s = kit_stats(&t);
    assert_int_equal(s.faults, 40);
    assert_int_equal(s.failed, 40);
    assert_int_equal(s.completed, 40);
    assert_int_equal(kit_type(&t, type).faults, 40);
    kit_end(&t);
}

static void a_null_pointer_is_contained(void **state)
{
    (void)state;
    contained(T_NULL);
}
static void a_division_by_zero_is_contained(void **state)
{
    (void)state;
    contained(T_DIVIDE);
}
static void a_wild_pointer_given_to_the_kernel_is_contained(void **state)
{
    (void)state;
    contained(T_WILD);
}
static void a_wild_jump_is_contained(void **state)
{
    (void)state;
    contained(T_JUMP);
}
static void scratch_memory_is_free_after_a_fault(void **state)
{
    (void)state;
    contained(T_BUMP);
}

static void a_stack_overflow_is_contained_and_the_stack_is_usable_after(void **state)
{
    kit_t t;
    (void)state;
    contained(T_DEEP);
    boot(&t, 1);
    for (uint32_t i = 0; i < 10; i++) {
        gmk_task_t task = {.type = T_DEEP, .meta1 = i % 2 == 0 ? 1u << 20 : 200};
        assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    }
    kit_drain(&t);
    assert_int_equal(kit_stats(&t).faults, 5);
    assert_int_equal(kit_stats(&t).completed, 5);
    kit_end(&t);
}

static int letters_init(gmk_ctx_t *c) { return kit_hear(c, "sys.error", T_LETTER); }

static void a_fault_is_reported_on_sys_error(void **state)
{
    kit_t t;
    (void)state;
    memset(&kit_dead, 0, sizeof kit_dead);
    kit_boot_module(&t, kit_cfg(1),
                    (gmk_module_t){.name = "fault",
                                   .handlers = handlers,
                                   .n_handlers = sizeof handlers / sizeof handlers[0],
                                   .init = letters_init});
    kit_submit(&t, T_NULL, NULL);
    KIT_WAIT(atomic_load(&kit_dead.n) == 1);
    assert_int_equal(kit_dead.letter[0].code, GMK_ERR_FAULT);
    assert_int_equal(kit_dead.letter[0].type, T_NULL);
    kit_end(&t);
}

static void a_chain_in_the_next_slot_survives_faults(void **state)
{
    kit_t t;
    (void)state;
    boot(&t, 1);
    for (uint32_t i = 0; i < 5; i++) { /* the first teach the kernel that they are short */
        gmk_task_t task = {.type = T_CHAIN, .meta1 = 99};
        assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    }
    kit_drain(&t);
    assert_int_equal(atomic_load(&ran), 500);
    assert_int_equal(kit_stats(&t).faults, 5 * 12); /* of 98 .. 0 those with remainder 3 */
    kit_end(&t);
}

static void an_ordered_mailbox_goes_on_in_order_after_a_fault(void **state)
{
    kit_t t;
    gmk_port_t port;
    gmk_chan_t ch;
    (void)state;
    boot(&t, 3);
    assert_int_equal(gmk_attach(&t.k, &port), GMK_OK);
    assert_int_equal(gmk_chan_find(gmk_port_ctx(&port), "fault.in", &ch), GMK_OK);
    for (uint32_t i = 0; i < 200; i++) {
        gmk_task_t msg = {.meta1 = i};
        assert_int_equal(gmk_chan_emit(gmk_port_ctx(&port), ch, &msg), GMK_OK);
    }
    kit_drain(&t);
    assert_int_equal(atomic_load(&ran), 200);
    for (uint32_t i = 0; i < 200; i++)
        assert_int_equal(heard[i], i);
    assert_int_equal(kit_stats(&t).faults, 67);
    assert_int_equal(kit_stats(&t).completed, 133);
    gmk_detach(&port);
    kit_end(&t);
}

static void faults_on_four_workers_at_once(void **state)
{
    kit_t t;
    (void)state;
    boot(&t, 4);
    for (uint32_t i = 0; i < 2000; i++) {
        static const uint32_t type[] = {T_NULL, T_OK, T_DIVIDE, T_WILD};
        gmk_task_t task = {.type = type[i % 4], .meta1 = i};
        assert_int_equal(gmk_submit(&t.k, &task), GMK_OK);
    }
    kit_drain(&t);
    assert_int_equal(atomic_load(&ran), 500);
    assert_int_equal(kit_stats(&t).faults, 1500);
    kit_end(&t);
}

/* Without containment a fault is the process's own affair: here, its end. */
static void without_containment_the_process_gets_the_fault(void **state)
{
    (void)state;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        gmk_kernel_t k;
        gmk_module_t m = {.name = "fault", .handlers = handlers, .n_handlers = 2}, *list[] = {&m};
        gmk_boot_cfg_t cfg = kit_cfg(1);
        cfg.flags |= GMK_BOOT_NO_CONTAINMENT;
        (void)!freopen("/dev/null", "w", stderr);
        (void)signal(SIGSEGV, SIG_DFL); /* not the test library's */
        gmk_task_t task = {.type = T_NULL};
        if (gmk_boot(&k, &cfg, list, 1) != GMK_OK || gmk_submit(&k, &task) != GMK_OK)
            _exit(0);
        (void)gmk_drain(&k, 20 * KIT_S);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_null_pointer_is_contained),
        cmocka_unit_test(a_division_by_zero_is_contained),
        cmocka_unit_test(a_wild_pointer_given_to_the_kernel_is_contained),
        cmocka_unit_test(a_wild_jump_is_contained),
        cmocka_unit_test(scratch_memory_is_free_after_a_fault),
        cmocka_unit_test(a_stack_overflow_is_contained_and_the_stack_is_usable_after),
        cmocka_unit_test(a_fault_is_reported_on_sys_error),
        cmocka_unit_test(a_chain_in_the_next_slot_survives_faults),
        cmocka_unit_test(an_ordered_mailbox_goes_on_in_order_after_a_fault),
        cmocka_unit_test(faults_on_four_workers_at_once),
        cmocka_unit_test(without_containment_the_process_gets_the_fault),
    };
    return cmocka_run_group_tests_name("worker_fault", tests, NULL, NULL);
}
