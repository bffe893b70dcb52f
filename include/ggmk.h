/* SPDX-License-Identifier: MIT */
/* ggmk.h — the whole public interface of the kernel, for C11 and C++17. */
#ifndef GGMK_H
#define GGMK_H

#include <ggmk/chan.h>
#include <ggmk/error.h>
#include <ggmk/kernel.h>
#include <ggmk/mem.h>
#include <ggmk/module.h>
#include <ggmk/observe.h>
#include <ggmk/task.h>

#endif
