#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What `make install` puts down is enough to build against, exports only the public calls, and goes
# away again without a trace.
. "$(dirname "$0")/tap.sh"

ROOT=$T/root
PREFIX=/opt/ggmk
D=$ROOT$PREFIX
export PKG_CONFIG_PATH="$D/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$ROOT"

make_() { "$MAKE" -s --no-print-directory BUILD="$BUILD" PREFIX=$PREFIX DESTDIR="$ROOT" "$@"; }

# The calls that the public API headers declare: every gmk_ name that is followed by a parameter list,
# but for what is defined in place (static inline) and types of functions.
declared_calls()
{
    cat include/ggmk.h include/ggmk/bridge.h include/ggmk/chan.h include/ggmk/error.h include/ggmk/gpu.h \
        include/ggmk/kernel.h include/ggmk/mem.h include/ggmk/module.h include/ggmk/observe.h include/ggmk/task.h |
        "$CC" -E -P -Iinclude -xc - 2>/dev/null | tr '\n' ' ' | sed 's/{[^{}]*}/;/g; s/{[^{}]*}/;/g' | tr ';' '\n' |
        grep -v 'static \|typedef ' | grep -o '\<gmk_[a-z0-9_]* *(' | tr -d ' (' | sort -u
}
exported() { nm -D --defined-only "$1" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u; }
same_calls()
{
    declared_calls >"$T/declared"
    exported "$D/lib/libgmk_cpu.so" >"$T/exported"
    [ "$(wc -l <"$T/declared")" -gt 50 ] && diff "$T/declared" "$T/exported"
}
versioned() { ! nm -D --defined-only "$1" | awk '$2 != "A"' | grep -v '@@LIBGMK_CPU_0$'; }
soname_is() { readelf -d "$D/lib/libgmk_cpu.so" | grep SONAME | grep -q "\[$1\]"; }
needs_only_libc() { ! readelf -d "$D/lib/libgmk_cpu.so" | grep NEEDED | grep -v 'libc\.so\|ld-linux\|libpthread'; }

build() { # OUTPUT SOURCE FLAG...
    out=$1 src=$2
    shift 2
    # shellcheck disable=SC2046
    "$CC" -std=c11 -Wall -Wextra -Werror $(pkg-config --cflags ggmk) "$src" -o "$out" "$@"
}
static_libs() { echo "$D/lib/libgmk_cpu.a $(pkg-config --libs --static ggmk | sed 's/-lgmk_cpu//')"; }
says() { # TEXT COMMAND...
    text=$1
    shift
    got=$("$@") && [ "$got" = "$text" ] || { echo "got: $got"; return 1; }
}
headers_alone()
{
    for h in "$D"/include/ggmk.h "$D"/include/ggmk/*.h; do
        name=${h#"$D/include/"}
        case $name in ggmk/hal_linux.h | ggmk/hal_gcc.h) continue ;; esac # only through hal.h
        printf '#include <%s>\nint main(void) { return 0; }\n' "$name" >"$T/one.c"
        build "$T/one" "$T/one.c" -D_POSIX_C_SOURCE=200809L || return 1
    done
}

check "install" make_ install
check "one header, two libraries, pkg-config file" \
    ls "$D/include/ggmk.h" "$D/lib/libgmk_cpu.a" "$D/lib/libgmk_cpu.so.0.1.0" "$D/lib/pkgconfig/ggmk.pc"
check "the GPU host, and its manual page" ls "$D/bin/ggmk-gpuhost" "$D/share/man/man1/ggmk-gpuhost.1"
check "it runs" sh -c "'$D/bin/ggmk-gpuhost' --help | grep -q '^usage: ggmk-gpuhost'"
check "the links lead to the library" test "$(readlink "$D/lib/libgmk_cpu.so.0") $(readlink "$D/lib/libgmk_cpu.so")" \
    = "libgmk_cpu.so.0.1.0 libgmk_cpu.so.0.1.0"
check "soname libgmk_cpu.so.0" soname_is libgmk_cpu.so.0
check "exports what the public headers declare, and nothing else" same_calls
check "every export carries its version" versioned "$D/lib/libgmk_cpu.so"
check "depends on libc alone" needs_only_libc
check "pkg-config gives the version" says 0.1.0 pkg-config --modversion ggmk

# shellcheck disable=SC2046
check "a program builds against the shared library" build "$T/shared" examples/first/first.c $(pkg-config --libs ggmk)
check "and runs" says "task of type 1 carries 42" env LD_LIBRARY_PATH="$D/lib" "$T/shared"
# shellcheck disable=SC2046
check "a program builds against the static library" build "$T/static" examples/first/first.c $(static_libs)
check "and runs" says "task of type 1 carries 42" "$T/static"
check "which it contains" fails sh -c "readelf -d '$T/static' | grep NEEDED | grep gmk"

# The same with a handler that does not return: says what became of it, and not that all is well.
sed -e 's/    printf(.*/    for (; ctx != NULL;) ;/' \
    -e 's/\.n_workers = 4/.n_workers = 1, .flags = GMK_BOOT_NO_WATCHDOG, .halt_timeout_ns = 50000000/' \
    examples/first/first.c >"$T/stuck.c"
says_why()
{
    got=$("$T/stuck" 2>&1 >/dev/null)
    [ $? -eq 1 ] && [ "$got" = "first: in use" ] || { echo "got: $got"; return 1; }
}
# shellcheck disable=SC2046
check "a handler that does not return" build "$T/stuck" "$T/stuck.c" $(static_libs)
check "is what the program complains of" says_why

cat >"$T/linked.c" <<'EOF'
#include <ggmk.h>
#include <stdio.h>
static int hello(gmk_ctx_t *c) { printf("linked %u\n", c->task->type); return GMK_OK; }
static const gmk_handler_reg_t handlers[] = {{.type = 3, .fn = hello}};
static gmk_module_t greeter = {.name = "greeter", .handlers = handlers, .n_handlers = 1};
GMK_MODULE(greeter);
int main(void)
{
    gmk_kernel_t k;
    gmk_boot_cfg_t cfg = {.n_workers = 1, .flags = GMK_BOOT_LINKED};
    gmk_task_t t = {.type = 3};
    return gmk_boot(&k, &cfg, NULL, 0) || gmk_submit(&k, &t) || gmk_drain(&k, 1000000000) || gmk_halt(&k);
}
EOF
# shellcheck disable=SC2046
check "GMK_MODULE works with the shared library" build "$T/linked" "$T/linked.c" $(pkg-config --libs ggmk)
check "and boots" says "linked 3" env LD_LIBRARY_PATH="$D/lib" "$T/linked"

cat >"$T/cxx.cc" <<'EOF'
#include <ggmk.h>
#include <cstdio>
static int hello(gmk_ctx_t *c) { std::printf("C++ %u\n", c->task->type); return GMK_OK; }
static const gmk_handler_reg_t handlers[] = {{3, hello, "hello", 0, 0, 0, 0, 0}};
static gmk_module_t greeter = {"greeter", 0, handlers, 1, nullptr, 0, nullptr, nullptr, nullptr};
GMK_MODULE(greeter);
int main()
{
    gmk_kernel_t k;
    gmk_boot_cfg_t cfg{};
    gmk_task_t t{};
    cfg.n_workers = 1, cfg.flags = GMK_BOOT_LINKED, t.type = 3;
    return gmk_boot(&k, &cfg, nullptr, 0) || gmk_submit(&k, &t) || gmk_halt(&k);
}
EOF
if command -v "${CXX:-g++}" >/dev/null; then
    # shellcheck disable=SC2046
    check "ggmk.h compiles and links in C++17" "${CXX:-g++}" -std=c++17 -Wall -Wextra -pedantic -Werror \
        $(pkg-config --cflags ggmk) "$T/cxx.cc" -o "$T/cxx" $(pkg-config --libs ggmk)
    check "and runs" says "C++ 3" env LD_LIBRARY_PATH="$D/lib" "$T/cxx"
else
    echo "# no C++ compiler here: C++ was not tried"
fi

cat >"$T/ring.c" <<'EOF'
#include <ggmk/spsc.h>
#include <ggmk/mpmc.h>
int main(void) { gmk_a32_t a = {1}; return (int)gmk_load32(&a, GMK_ACQ, GMK_KERNEL) - 1; }
EOF
check "the ring headers work without the library" build "$T/ring" "$T/ring.c" -D_POSIX_C_SOURCE=200809L
check "and run" "$T/ring"
check "every header stands alone" headers_alone

: >"$D/include/ggmk/mine.h"
check "uninstall leaves a folder that holds a stranger's file" make_ uninstall
check "and the file" test -e "$D/include/ggmk/mine.h"
rm -f "$D/include/ggmk/mine.h"
relative_prefix()
{
    why=$("$MAKE" -s --no-print-directory BUILD="$BUILD" DESTDIR="$T/rel/" PREFIX=rel install 2>&1) && return 1
    echo "$why"
    echo "$why" | grep -q "PREFIX is 'rel', a relative path" && [ ! -e "$T/rel" ]
}
check "a relative PREFIX is refused" relative_prefix
check "install again" make_ install
check "uninstall" make_ uninstall
check "leaves no file" test -z "$(find "$ROOT" ! -type d)"
check "and no folder of ours" test ! -e "$D/include/ggmk"
finish
