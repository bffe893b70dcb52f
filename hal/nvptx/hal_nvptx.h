/* SPDX-License-Identifier: MIT */
/*
 * hal_nvptx.h — the inline part of the GPU HAL: clang for nvptx64, sm_80 and later.
 *
 * A worker is a thread block, its lanes are the block's threads.  All code of an image is
 * compiled with -fconvergent-functions; otherwise a meeting may be copied into the arms of a
 * branch before it, and the lanes wait at different copies.
 *
 * Atomics are inline PTX, each with its order and its scope.  The compiler's own are no use
 * here: an acquire, release or acq_rel read-modify-write silently becomes a relaxed one.
 * Worker scope is .cta, kernel scope .gpu, system scope .sys.  The order GMK_SEQ is fence.sc
 * before the access with its strongest other order, which is how C11 maps to PTX (Lustig,
 * Sahasrabuddhe and Giroux 2019).  Every asm clobbers memory, the relaxed ones too: a plain
 * store that initialises a word must stay before the first atomic access to it.
 */
#ifndef GGMK_HAL_NVPTX_H
#define GGMK_HAL_NVPTX_H

#define GMK_HAL_INLINE static inline __attribute__((always_inline))

/* Buckets of the ready queue: one per handler type and priority, so that a batch is of one type. */
#define GMK_HAL_RQ_PER_TYPE 1
GMK_HAL_INLINE bool gmk_hal_rq_per_type(void) { return true; }
/* The image is closed: handlers are known when it is built. */
#define GMK_HAL_CLOSED_IMAGE 1
#define GMK_HAL_CYCLES_DIFFER 1
/* Lanes a worker may have at most. */
#define GMK_HAL_MAX_LANES 256u
/* What gmk_hal_scratch() points at: 256 task records and the loop's own words. */
#define GMK_HAL_SCRATCH_BYTES 16384u

struct gmk_hal_lock {
    gmk_a32_t next;
    gmk_a32_t serving;
};
struct gmk_hal_park {
    gmk_a32_t woken;
};
struct gmk_hal_thread {
    void (*fn)(void *);
    void *arg;
    gmk_a32_t done;
};

/*
 * Never defined, so a call that is not folded away stops the link: an order or a scope that is
 * no literal (or that the access does not have), and a read-modify-write at system scope.
 */
extern void gmk_hal_order_or_scope_not_a_valid_literal(void);
extern void gmk_hal_no_read_modify_write_at_system_scope(void);

/* One instruction, its scope chosen by s.  The last arguments are asm operands. */
#define GMK_HAL_AT_SCOPE(s, head, tail, ...)                                                                 \
    do {                                                                                                     \
        if ((s) == GMK_WORKER)                                                                               \
            __asm__ __volatile__(head ".cta" tail __VA_ARGS__);                                              \
        else if ((s) == GMK_KERNEL)                                                                          \
            __asm__ __volatile__(head ".gpu" tail __VA_ARGS__);                                              \
        else if ((s) == GMK_SYSTEM)                                                                          \
            __asm__ __volatile__(head ".sys" tail __VA_ARGS__);                                              \
        else                                                                                                 \
            gmk_hal_order_or_scope_not_a_valid_literal();                                                    \
    } while (0)

GMK_HAL_INLINE void gmk_fence(enum gmk_order o, enum gmk_scope s)
{
    if (o == GMK_SEQ)
        GMK_HAL_AT_SCOPE(s, "fence.sc", ";", ::: "memory");
    else if (o != GMK_RLX)
        GMK_HAL_AT_SCOPE(s, "fence.acq_rel", ";", ::: "memory");
}

/* A read-modify-write: op is its PTX name with the type, c the constraint of a register so wide. */
#define GMK_HAL_ATOM(o, s, op, operands, ...)                                                                \
    do {                                                                                                     \
        if ((s) == GMK_SYSTEM)                                                                               \
            gmk_hal_no_read_modify_write_at_system_scope();                                                  \
        else if ((o) == GMK_RLX)                                                                             \
            GMK_HAL_AT_SCOPE(s, "atom.relaxed", op " " operands ";", __VA_ARGS__);                           \
        else if ((o) == GMK_ACQ)                                                                             \
            GMK_HAL_AT_SCOPE(s, "atom.acquire", op " " operands ";", __VA_ARGS__);                           \
        else if ((o) == GMK_REL)                                                                             \
            GMK_HAL_AT_SCOPE(s, "atom.release", op " " operands ";", __VA_ARGS__);                           \
        else                                                                                                 \
            GMK_HAL_AT_SCOPE(s, "atom.acq_rel", op " " operands ";", __VA_ARGS__);                           \
    } while (0)

#define GMK_HAL_RMW(name, op, bits, c)                                                                       \
    GMK_HAL_INLINE uint##bits##_t gmk_##name##bits(gmk_a##bits##_t *p, uint##bits##_t v, enum gmk_order o,   \
                                                   enum gmk_scope s)                                         \
    {                                                                                                        \
        uint##bits##_t old = 0;                                                                              \
        if (o == GMK_SEQ)                                                                                    \
            gmk_fence(GMK_SEQ, s);                                                                           \
        GMK_HAL_ATOM(o, s, op #bits, "%0, [%1], %2", : "=" c(old) : "l"(&p->v), c(v) : "memory");            \
        return old;                                                                                          \
    }

#define GMK_HAL_ATOMICS(bits, c)                                                                             \
    GMK_HAL_INLINE uint##bits##_t gmk_load##bits(const gmk_a##bits##_t *p, enum gmk_order o,                 \
                                                 enum gmk_scope s)                                           \
    {                                                                                                        \
        uint##bits##_t v = 0;                                                                                \
        if (o == GMK_SEQ)                                                                                    \
            gmk_fence(GMK_SEQ, s);                                                                           \
        if (o == GMK_RLX)                                                                                    \
            GMK_HAL_AT_SCOPE(s, "ld.relaxed", ".u" #bits " %0, [%1];", : "=" c(v) : "l"(&p->v) : "memory");  \
        else if (o == GMK_ACQ || o == GMK_SEQ)                                                               \
            GMK_HAL_AT_SCOPE(s, "ld.acquire", ".u" #bits " %0, [%1];", : "=" c(v) : "l"(&p->v) : "memory");  \
        else                                                                                                 \
            gmk_hal_order_or_scope_not_a_valid_literal();                                                    \
        return v;                                                                                            \
    }                                                                                                        \
    GMK_HAL_INLINE void gmk_store##bits(gmk_a##bits##_t *p, uint##bits##_t v, enum gmk_order o,              \
                                        enum gmk_scope s)                                                    \
    {                                                                                                        \
        if (o == GMK_SEQ)                                                                                    \
            gmk_fence(GMK_SEQ, s);                                                                           \
        if (o == GMK_RLX)                                                                                    \
            GMK_HAL_AT_SCOPE(s, "st.relaxed", ".u" #bits " [%0], %1;", ::"l"(&p->v), c(v) : "memory");       \
        else if (o == GMK_REL || o == GMK_SEQ)                                                               \
            GMK_HAL_AT_SCOPE(s, "st.release", ".u" #bits " [%0], %1;", ::"l"(&p->v), c(v) : "memory");       \
        else                                                                                                 \
            gmk_hal_order_or_scope_not_a_valid_literal();                                                    \
    }                                                                                                        \
    GMK_HAL_INLINE bool gmk_cas##bits(gmk_a##bits##_t *p, uint##bits##_t *e, uint##bits##_t v,               \
                                      enum gmk_order o, enum gmk_scope s)                                    \
    {                                                                                                        \
        uint##bits##_t want = *e, old = 0;                                                                   \
        if (o == GMK_SEQ)                                                                                    \
            gmk_fence(GMK_SEQ, s);                                                                           \
        GMK_HAL_ATOM(o, s, ".cas.b" #bits, "%0, [%1], %2, %3",                                               \
                     : "=" c(old)                                                                            \
                     : "l"(&p->v), c(want), c(v)                                                             \
                     : "memory");                                                                            \
        *e = old;                                                                                            \
        return old == want;                                                                                  \
    }                                                                                                        \
    GMK_HAL_RMW(xchg, ".exch.b", bits, c)                                                                    \
    GMK_HAL_RMW(add, ".add.u", bits, c)                                                                      \
    GMK_HAL_RMW(or, ".or.b", bits, c)                                                                        \
    GMK_HAL_RMW(and, ".and.b", bits, c)                                                                      \
    GMK_HAL_INLINE uint##bits##_t gmk_sub##bits(gmk_a##bits##_t *p, uint##bits##_t v, enum gmk_order o,      \
                                                enum gmk_scope s)                                            \
    {                                                                                                        \
        return gmk_add##bits(p, (uint##bits##_t)(0 - v), o, s); /* PTX has no atom.sub */                    \
    }

GMK_HAL_ATOMICS(32, "r")
GMK_HAL_ATOMICS(64, "l")

#undef GMK_HAL_ATOMICS
#undef GMK_HAL_RMW
#undef GMK_HAL_ATOM
#undef GMK_HAL_AT_SCOPE

/* Nothing can interrupt the other blocks, so both sides fence. */
GMK_HAL_INLINE void gmk_hal_asym_light(void) { gmk_fence(GMK_SEQ, GMK_KERNEL); }
GMK_HAL_INLINE void gmk_hal_asym_heavy(void) { gmk_fence(GMK_SEQ, GMK_KERNEL); }

/* Backs off to about a microsecond: a spinning block takes issue slots from the ones that work. */
GMK_HAL_INLINE void gmk_hal_relax(uint32_t round)
{
    uint32_t step = round >> 2;
    __asm__ __volatile__("nanosleep.u32 %0;" ::"r"(32u << (step < 5 ? step : 5)) : "memory");
}

/* One clock for the whole device, and for all blocks; its resolution is the device's to choose. */
GMK_HAL_INLINE uint64_t gmk_hal_now_ns(void)
{
    uint64_t v;
    __asm__ __volatile__("mov.u64 %0, %%globaltimer;" : "=l"(v)::"memory");
    return v;
}

/* Counts per multiprocessor: a worker never moves, so its own intervals are right. */
GMK_HAL_INLINE uint64_t gmk_hal_cycles(void)
{
    uint64_t v;
    __asm__ __volatile__("mov.u64 %0, %%clock64;" : "=l"(v)::"memory");
    return v;
}

/*
 * The build makes gmk_image_call: a switch on the type over the handlers of the image's modules
 * (tools/gpu-image).  A call through fn would cost the optimiser all it knows about the handlers.
 */
struct gmk_ctx;
extern int gmk_image_call(uint32_t type, struct gmk_ctx *ctx);
GMK_HAL_INLINE int gmk_hal_call(uint32_t type, int (*fn)(struct gmk_ctx *), struct gmk_ctx *ctx)
{
    (void)fn;
    return gmk_image_call(type, ctx);
}

GMK_HAL_INLINE uint32_t gmk_hal_lane(void) { return (uint32_t)__nvvm_read_ptx_sreg_tid_x(); }
GMK_HAL_INLINE uint32_t gmk_hal_lanes(void) { return (uint32_t)__nvvm_read_ptx_sreg_ntid_x(); }

/*
 * Meetings.  The unaligned forms: lanes of a warp may arrive one after the other.  A meeting
 * also orders memory among its lanes.
 */
GMK_HAL_INLINE void gmk_hal_block_barrier(void) { __asm__ __volatile__("barrier.sync 0;" ::: "memory"); }

GMK_HAL_INLINE void gmk_hal_warp_barrier(uint32_t mask)
{
    __asm__ __volatile__("bar.warp.sync %0;" ::"r"(mask) : "memory");
}

GMK_HAL_INLINE uint32_t gmk_hal_ballot(uint32_t mask, bool pred)
{
    uint32_t v;
    __asm__ __volatile__("{ .reg .pred p; setp.ne.u32 p, %1, 0; vote.sync.ballot.b32 %0, p, %2; }"
                         : "=r"(v)
                         : "r"((uint32_t)pred), "r"(mask)
                         : "memory");
    return v;
}

GMK_HAL_INLINE uint32_t gmk_hal_shuffle(uint32_t mask, uint32_t v, uint32_t from)
{
    uint32_t r;
    __asm__ __volatile__("shfl.sync.idx.b32 %0, %1, %2, 31, %3;"
                         : "=r"(r)
                         : "r"(v), "r"(from), "r"(mask)
                         : "memory");
    return r;
}

GMK_HAL_INLINE uint32_t gmk_hal_coalesce(void)
{
    uint32_t v;
    __asm__ __volatile__("activemask.b32 %0;" : "=r"(v)::"memory");
    return v;
}

extern __attribute__((address_space(3))) unsigned char gmk_hal_nvptx_scratch[GMK_HAL_SCRATCH_BYTES];

GMK_HAL_INLINE void *gmk_hal_scratch(void *worker_scratch)
{
    (void)worker_scratch;
    return (void *)gmk_hal_nvptx_scratch;
}

/* A known size is expanded in place with the widest accesses; any other takes a loop. */
void *gmk_hal_nvptx_set(void *d, int c, size_t n);
void *gmk_hal_nvptx_copy(void *d, const void *s, size_t n);
void *gmk_hal_nvptx_move(void *d, const void *s, size_t n);
int gmk_hal_memcmp(const void *a, const void *b, size_t n);

#define GMK_HAL_EXPAND_MAX 256u

GMK_HAL_INLINE void *gmk_hal_memset(void *d, int c, size_t n)
{
    return __builtin_constant_p(n) && n <= GMK_HAL_EXPAND_MAX ? __builtin_memset(d, c, n)
                                                              : gmk_hal_nvptx_set(d, c, n);
}

GMK_HAL_INLINE void *gmk_hal_memcpy(void *d, const void *s, size_t n)
{
    return __builtin_constant_p(n) && n <= GMK_HAL_EXPAND_MAX ? __builtin_memcpy(d, s, n)
                                                              : gmk_hal_nvptx_copy(d, s, n);
}

GMK_HAL_INLINE void *gmk_hal_memmove(void *d, const void *s, size_t n) { return gmk_hal_nvptx_move(d, s, n); }

/* ---- for the image's entry points ----------------------------------------------------------
 *
 * Block 0 boots the kernel and serves it from outside; block b > 0 is what the b-th
 * gmk_hal_thread_create gets.  gmk_hal_nvptx_init comes first, by one lane of block 0.  Every other
 * block then calls gmk_hal_nvptx_serve with all its lanes; it returns when its thread's function
 * has, or after gmk_hal_nvptx_close when it never got one.
 */

/* arena: zeroed device memory for gmk_hal_page_alloc, at least 4 KiB-aligned.  ONE. */
void gmk_hal_nvptx_init(void *arena, size_t bytes);
void gmk_hal_nvptx_serve(void); /* ALL lanes of a block */
void gmk_hal_nvptx_close(void); /* ONE */

/*
 * Console lines, overwritten oldest first.  The host copies the structure out under its name
 * and takes each line whose commit is the same before and after: line n of all is in slot
 * n % LINES with commit n + 1.
 */
#define GMK_HAL_NVPTX_LINES 64u
#define GMK_HAL_NVPTX_LINE_WORDS 15u /* 120 bytes of text, the last one always 0 */

struct gmk_hal_nvptx_console {
    gmk_a64_t next;    /* number of the next line */
    gmk_a64_t dropped; /* lines lost because the slot was still being written */
    struct {
        gmk_a64_t text[GMK_HAL_NVPTX_LINE_WORDS];
        gmk_a64_t commit;
    } line[GMK_HAL_NVPTX_LINES];
};

extern struct gmk_hal_nvptx_console gmk_hal_nvptx_console;

#define GMK_HAL_ONCE(bits)                                                                                   \
    static inline uint##bits##_t gmk_hal_once##bits(const uint##bits##_t *p)                                 \
    {                                                                                                        \
        typedef uint##bits##_t __attribute__((__may_alias__)) any_t;                                         \
        return *(const any_t *)p;                                                                            \
    }
GMK_HAL_ONCE(16)
GMK_HAL_ONCE(32)
GMK_HAL_ONCE(64)
#undef GMK_HAL_ONCE

#endif
