/* SPDX-License-Identifier: MIT */
/*
 * visible.h — what the shared library exports: exactly what the public API headers declare.
 *
 * The build includes this file ahead of every source of the shared library.  All else is compiled
 * with -fvisibility=hidden; a declaration that was first seen here keeps the default visibility.
 */
#pragma GCC visibility push(default)
#include <ggmk.h>
#include <ggmk/bridge.h>
#include <ggmk/gpu.h>
#pragma GCC visibility pop
