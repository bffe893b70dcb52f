/* SPDX-License-Identifier: MIT */
/*
 * lang.h — what C11 and C++17 spell differently, for the other public headers.
 *
 * ggmk.h and what it includes may be included from C++; the calls have C linkage.  The ring headers,
 * spsc.h and mpmc.h with hal.h, are C only.
 */
#ifndef GGMK_LANG_H
#define GGMK_LANG_H

#ifdef __cplusplus
#define GMK_ALIGNAS(n) alignas(n)
#define GMK_ALIGNOF(type) alignof(type)
#define GMK_STATIC_ASSERT(cond, why) static_assert(cond, why)
#define GMK_BEGIN_DECLS extern "C" {
#define GMK_END_DECLS }
#define GMK_SECOND_NAME(type, name, object) /* its first name in the object file is the compiler's affair */
#else
#define GMK_ALIGNAS(n) _Alignas(n)
#define GMK_ALIGNOF(type) _Alignof(type)
#define GMK_STATIC_ASSERT(cond, why) _Static_assert(cond, why)
#define GMK_BEGIN_DECLS
#define GMK_END_DECLS
/* An object, static or not, gets one more name, which the whole program or shared object knows. */
#define GMK_SECOND_NAME(type, name, object)                                                                  \
    extern type name __attribute__((alias(#object), visibility("hidden")));
#endif

#endif
