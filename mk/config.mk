# SPDX-License-Identifier: MIT
#
# What can be set from outside, and the flags that all parts share.
#
#:Variables   BUILD=build  CC=gcc  CLANG=clang  PREFIX=/usr/local  DESTDIR=
#:            EXTRA_CFLAGS= EXTRA_LDFLAGS=  V=1 shows the commands

BUILD ?= build
ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin AR),default)
AR := ar
endif
CLANG ?= clang
EXTRA_CFLAGS ?=
EXTRA_LDFLAGS ?=

Q := $(if $(V),,@)

VERSION := 0.1.0
SOVERSION := 0

CORE_SRCS := $(sort $(wildcard src/*.c))
HAL_SRCS := $(sort $(wildcard hal/gcc/*.c hal/linux/*.c))
# Peers: the bridge is like the core, for every target; the driver of a GPU's kernel is for hosted ones.
BRIDGE_SRCS := $(sort $(wildcard bridge/*.c))
DRIVER_SRCS := $(sort $(wildcard gpu/drv*.c))

# src is searched for quoted names only: its sched.h is not the system's.  The language is C11 everywhere.  The inline part of the hosted HAL reads the clock, which is
# POSIX; the core itself uses no libc call.
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Werror
BASE_CFLAGS := -std=c11 -g $(WARNINGS) -ffp-contract=off -fvisibility=hidden -pthread -Iinclude -iquote src
CORE_DEFS := -D_POSIX_C_SOURCE=200809L
HOSTED_DEFS := -D_GNU_SOURCE

# A stamp per need: tools/deps has put the packages in place, or has said what is missing.
$(BUILD)/deps/%: tools/deps
	$(Q)mkdir -p $(@D) && flock $(@D)/lock tools/deps $* && touch $@

.PRECIOUS: $(BUILD)/deps/%
