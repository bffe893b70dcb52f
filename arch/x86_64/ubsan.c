/* SPDX-License-Identifier: MIT */
/*
 * ubsan.c — what -fsanitize=undefined calls: says where and what, then panics.
 *
 * The layouts of the records are those that gcc and clang emit (compiler-rt, ubsan_handlers.h).  Dropped
 * by the linker where nothing was compiled with the sanitizer.
 */
#include "panic.h"

typedef struct where {
    const char *file;
    uint32_t line, column;
} where_t;

typedef struct type {
    uint16_t kind; /* 0: an integer */
    uint16_t info; /* bit 0: signed; above: log2 of the width in bits */
    char name[];
} type_t;

typedef struct overflow {
    where_t at;
    const type_t *type;
} overflow_t;

typedef struct shift {
    where_t at;
    const type_t *left, *right;
} shift_t;

typedef struct bounds {
    where_t at;
    const type_t *array, *index;
} bounds_t;

typedef struct mismatch {
    where_t at;
    const type_t *type;
    uint8_t log_align, kind;
} mismatch_t;

typedef struct nonnull {
    where_t at, attribute;
    int argument;
} nonnull_t;

typedef struct invalid {
    where_t at;
    const type_t *type;
} invalid_t;

#define AT(w) (w)->file, (w)->line, (w)->column

/* A value of up to 64 bits is handed over as it is. */
static long long number(const type_t *t, uintptr_t v)
{
    uint32_t bits = 1u << (t->info >> 1);
    if (t->kind != 0 || bits >= 64 || (t->info & 1) == 0)
        return (long long)v;
    return (long long)(v << (64 - bits)) >> (64 - bits);
}

static _Noreturn void arithmetic(const overflow_t *d, uintptr_t a, const char *op, uintptr_t b)
{
    panic("undefined behaviour at %s:%u:%u: %lld %s %lld does not fit in %s", AT(&d->at), number(d->type, a),
          op, number(d->type, b), d->type->name);
}

#define HANDLER(name) __ubsan_handle_##name

_Noreturn void HANDLER(add_overflow)(overflow_t *d, uintptr_t a, uintptr_t b);
_Noreturn void HANDLER(add_overflow)(overflow_t *d, uintptr_t a, uintptr_t b) { arithmetic(d, a, "+", b); }

_Noreturn void HANDLER(sub_overflow)(overflow_t *d, uintptr_t a, uintptr_t b);
_Noreturn void HANDLER(sub_overflow)(overflow_t *d, uintptr_t a, uintptr_t b) { arithmetic(d, a, "-", b); }

_Noreturn void HANDLER(mul_overflow)(overflow_t *d, uintptr_t a, uintptr_t b);
_Noreturn void HANDLER(mul_overflow)(overflow_t *d, uintptr_t a, uintptr_t b) { arithmetic(d, a, "*", b); }

_Noreturn void HANDLER(divrem_overflow)(overflow_t *d, uintptr_t a, uintptr_t b);
_Noreturn void HANDLER(divrem_overflow)(overflow_t *d, uintptr_t a, uintptr_t b) { arithmetic(d, a, "/", b); }

_Noreturn void HANDLER(negate_overflow)(overflow_t *d, uintptr_t v);
_Noreturn void HANDLER(negate_overflow)(overflow_t *d, uintptr_t v) { arithmetic(d, 0, "-", v); }

_Noreturn void HANDLER(shift_out_of_bounds)(shift_t *d, uintptr_t a, uintptr_t b);
_Noreturn void HANDLER(shift_out_of_bounds)(shift_t *d, uintptr_t a, uintptr_t b)
{
    panic("undefined behaviour at %s:%u:%u: %lld of %s shifted by %lld", AT(&d->at), number(d->left, a),
          d->left->name, number(d->right, b));
}

_Noreturn void HANDLER(out_of_bounds)(bounds_t *d, uintptr_t index);
_Noreturn void HANDLER(out_of_bounds)(bounds_t *d, uintptr_t index)
{
    panic("undefined behaviour at %s:%u:%u: index %lld is outside %s", AT(&d->at), number(d->index, index),
          d->array->name);
}

/* kind 0: a load, 1: a store, others: uses of a reference or a member. */
_Noreturn void HANDLER(type_mismatch_v1)(mismatch_t *d, uintptr_t p);
_Noreturn void HANDLER(type_mismatch_v1)(mismatch_t *d, uintptr_t p)
{
    const char *use = d->kind == 0 ? "load" : d->kind == 1 ? "store" : "access";
    if (p == 0)
        panic("undefined behaviour at %s:%u:%u: %s of %s through NULL", AT(&d->at), use, d->type->name);
    if ((p & ((UINT64_C(1) << d->log_align) - 1)) != 0)
        panic("undefined behaviour at %s:%u:%u: %s of %s at 0x%llx, which is not aligned to %llu", AT(&d->at),
              use, d->type->name, (unsigned long long)p, 1ull << d->log_align);
    panic("undefined behaviour at %s:%u:%u: %s at 0x%llx has no room for %s", AT(&d->at), use,
          (unsigned long long)p, d->type->name);
}

_Noreturn void HANDLER(pointer_overflow)(where_t *at, uintptr_t base, uintptr_t result);
_Noreturn void HANDLER(pointer_overflow)(where_t *at, uintptr_t base, uintptr_t result)
{
    panic("undefined behaviour at %s:%u:%u: pointer 0x%llx was moved to 0x%llx", AT(at),
          (unsigned long long)base, (unsigned long long)result);
}

_Noreturn void HANDLER(load_invalid_value)(invalid_t *d, uintptr_t v);
_Noreturn void HANDLER(load_invalid_value)(invalid_t *d, uintptr_t v)
{
    panic("undefined behaviour at %s:%u:%u: %lld is no value of %s", AT(&d->at), number(d->type, v),
          d->type->name);
}

_Noreturn void HANDLER(nonnull_arg)(nonnull_t *d);
_Noreturn void HANDLER(nonnull_arg)(nonnull_t *d)
{
    panic("undefined behaviour at %s:%u:%u: argument %d is NULL and may not be", AT(&d->at), d->argument);
}

_Noreturn void HANDLER(vla_bound_not_positive)(invalid_t *d, uintptr_t v);
_Noreturn void HANDLER(vla_bound_not_positive)(invalid_t *d, uintptr_t v)
{
    panic("undefined behaviour at %s:%u:%u: an array of %lld elements", AT(&d->at), number(d->type, v));
}

_Noreturn void HANDLER(builtin_unreachable)(where_t *at);
_Noreturn void HANDLER(builtin_unreachable)(where_t *at)
{
    panic("undefined behaviour at %s:%u:%u: a place that cannot be reached was reached", AT(at));
}

_Noreturn void HANDLER(missing_return)(where_t *at);
_Noreturn void HANDLER(missing_return)(where_t *at)
{
    panic("undefined behaviour at %s:%u:%u: the end of a function that returns a value", AT(at));
}

_Noreturn void HANDLER(nonnull_return_v1)(where_t *attribute, where_t *at);
_Noreturn void HANDLER(nonnull_return_v1)(where_t *attribute, where_t *at)
{
    (void)attribute;
    panic("undefined behaviour at %s:%u:%u: NULL returned where it may not be", AT(at));
}

_Noreturn void HANDLER(invalid_builtin)(where_t *at);
_Noreturn void HANDLER(invalid_builtin)(where_t *at)
{
    panic("undefined behaviour at %s:%u:%u: 0 given to ctz or clz", AT(at));
}
