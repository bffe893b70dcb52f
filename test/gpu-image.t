#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Images of a GPU kernel: that they are built, what tools/gpu-image refuses, and its gates.
. "$(dirname "$0")/tap.sh"

for tool in clang-19 llc-19; do
    if ! command -v $tool >/dev/null; then
        echo "1..0 # SKIP $tool not installed (apt-get install clang-19 llvm-19)"
        exit 0
    fi
done

make_() { "$MAKE" -s --no-print-directory BUILD="$BUILD" "$@"; }
has() { grep -q -- "$2" "$1" || { cat "$1"; return 1; }; }
lacks() { ! grep -n -- "$2" "$1"; }

# ---- the images of this tree ------------------------------------------------------------------

built() { make_ "$BUILD/$1.ptx" "$BUILD/$1.json"; }
check "the product's image is built" built gmk_gpu
check "the tests' image is built" built test/gmk_gpu_test
check "and says what stack it needs" has "$BUILD/test/gmk_gpu_test.json" '"stack_bytes" : [1-9][0-9]*'
check "what shared memory" has "$BUILD/test/gmk_gpu_test.json" '"shared_bytes" : [1-9][0-9]*'
check "its entry point" has "$BUILD/test/gmk_gpu_test.json" '"entry" : "gmk_gpu_run"'
check "its threads" has "$BUILD/test/gmk_gpu_test.json" '"threads" : 128'
check "the launch bounds are in the PTX" has "$BUILD/test/gmk_gpu_test.ptx" '\.maxntid 128'
check "no handler's address is taken" has "$BUILD/test/gmk_gpu_test.json" '"addresses_taken" : \[\]'
check "the switch calls the handler of t.in" has "$BUILD/test/gmk_gpu_test.ptx" '^	on_in, '
again() { touch "$T/before" && built test/gmk_gpu_test && [ -z "$(find "$BUILD/gpu" -newer "$T/before" -type f)" ]; }
check "nothing is made twice" again

# ---- a small image, without the core -----------------------------------------------------------

compile() { # FILE.c: FILE.bc
    # shellcheck disable=SC2046
    $(cat "$BUILD/nvptx/flags") -fconvergent-functions -o "${1%.c}.bc" "$1"
}

cat >"$T/entry.c" <<'EOC'
#include <ggmk/hal.h>
__attribute__((nvptx_kernel)) void small(struct gmk_ctx *c, uint32_t type, int *out);
void small(struct gmk_ctx *c, uint32_t type, int *out) { *out = gmk_hal_call(type, 0, c); }
EOC
module() # NAME TYPE [FIELD TABLE'S-QUALIFIER]: $T/NAME.c
{
    cat >"$T/$1.c" <<EOC
#include <ggmk.h>
static int $1_run(gmk_ctx_t *c) { return (int)c->task->meta0 + $2; }
static ${4-const} gmk_handler_reg_t handlers[] = {{.type = $2, .fn = $1_run, .name = "$1.run"${3-}}};
static gmk_module_t $1 = {.name = "m.$1", .handlers = handlers, .n_handlers = 1};
GMK_MODULE($1);
EOC
}
# A handler with more values at hand than there are registers.
greedy() # NAME TYPE
{
    cat >"$T/$1.c" <<EOC
#include <ggmk.h>
static int $1_run(gmk_ctx_t *c)
{
    uint32_t v[400], *p = (uint32_t *)(uintptr_t)c->task->payload_ptr;
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < 400; i++)
        __asm__ __volatile__("ld.global.u32 %0, [%1];" : "=r"(v[i]) : "l"(p + i) : "memory");
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < 400; i++)
        __asm__ __volatile__("st.global.u32 [%0], %1;" ::"l"(p + i), "r"(v[399 - i]) : "memory");
    return GMK_OK;
}
static const gmk_handler_reg_t handlers[] = {{.type = $2, .fn = $1_run, .name = "$1.run"}};
static gmk_module_t $1 = {.name = "m.$1", .handlers = handlers, .n_handlers = 1};
GMK_MODULE($1);
EOC
}
image() # BASE MODULE...
{
    base=$T/$1
    shift
    set -- $(for m in "$@"; do echo "$T/$m.c"; done)
    tools/gpu-image table "$base.image.c" "$@" || return 1
    objects=
    for f in "$T/entry.c" "$base.image.c" "$@"; do
        compile "$f" || return 1
        objects="$objects ${f%.c}.bc"
    done
    # shellcheck disable=SC2086
    tools/gpu-image build "$base" small $objects && tools/gpu-image measure "$base" small
}
refused() # TEXT BASE MODULE...: the image is refused, and the message has TEXT
{
    text=$1
    shift
    if image "$@" >"$T/said" 2>&1; then echo "it was built"; return 1; fi
    has "$T/said" "$text"
}

module one 11
module two 12
check "an image of two modules" image both one two
check "has their handlers in order" has "$T/both.handlers" '^11 one_run m.one one.run$'
check "and calls each directly" has "$T/both.ptx" '^	two_run, '
check "and nothing through a pointer" lacks "$T/both.ptx" callprototype
check "an image without modules" image none
check "has no handlers" [ ! -s "$T/none.handlers" ]

module same 12
check "two handlers of one type are refused" refused "type 12 is 'two.run' of module m.two and 'same.run' of module m.same" x two same
module zero 0
check "a handler of type 0 is refused" refused 'm.zero: a handler has no type' x zero
module writable 14 "" ""
check "a table of handlers that is not const is refused" refused 'm.writable: its table of handlers must be const' x writable
sed 's/n_handlers = 1/n_handlers = 2/' "$T/one.c" >"$T/short.c"
check "a table that is too short is refused" refused '.n_handlers is 2, and the table has 1' x short
cp "$T/one.c" "$T/twin.c"
check "two modules of one name are refused" refused 'GMK_MODULE(one) stands in .*one.c and in .*twin.c' x one twin

# ---- the list ----------------------------------------------------------------------------------

list() # MODULE...: the list of an image of these, in a build folder of its own
{
    "$MAKE" -s --no-print-directory BUILD="$T/build" GPU_TEST_MODULES="$*" "$T/build/gpu/gmk_gpu_test.image.c"
}
check "a list of modules" list "$T/one.c"
check "has the module" has "$T/build/gpu/gmk_gpu_test.image.c" 'gmk_image_module_one'
check "a changed list" list "$T/two.c" "$T/one.c"
check "makes the image anew" has "$T/build/gpu/gmk_gpu_test.image.c" 'gmk_image_module_two'
check "in the order given" sh -c "grep '^    &' '$T/build/gpu/gmk_gpu_test.image.c' | head -n 1 | grep -q two"

cat >"$T/hosted.c" <<'EOC'
#include "device.h"
#include <stdio.h>
int main(void)
{
    for (uint32_t i = 0; i < gmk_image_n_modules; i++)
        printf("%s%s", i ? " " : "", gmk_image_modules[i]->name);
    return 0;
}
EOC
hosted()
{
    "$CC" -std=c11 -Wall -Wextra -Wconversion -Werror -Iinclude -iquote gpu -o "$T/hosted" "$T/hosted.c" \
        "$T/build/gpu/gmk_gpu_test.image.c" "$T/one.c" "$T/two.c" && [ "$("$T/hosted")" = "m.two m.one" ]
}
check "the same list is a hosted program's" hosted

# A closed image: a load answers UNSUPPORTED (-10), or INVAL (-1), and does nothing.
closed()
{
    opt-19 -S '-passes=default<O2>' -o "$T/misc.ll" "$BUILD/nvptx/src/api_misc.bc" || return 1
    sed -n '/^define .*@gmk_module_load(/,/^}/p' "$T/misc.ll" >"$T/load.ll"
    has "$T/load.ll" '-10' && lacks "$T/load.ll" 'call .*@gmk'
}
check "no module can be loaded after the boot" closed

# ---- the gates ---------------------------------------------------------------------------------

without()
{
    PTXAS=none tools/gpu-image measure "$T/both" small && PTXAS=none tools/gpu-image check "$T/both" - >"$T/said" &&
        has "$T/said" 'gates on spills and growth are skipped' && has "$T/both.json" '"stack_bytes" : [1-9]'
}
check "without ptxas the gates are skipped, and it says so" without

if [ "${PTXAS-}" = none ] || ! { command -v "${PTXAS:-ptxas}" || [ -x /usr/local/cuda/bin/ptxas ]; } >/dev/null; then
    echo "# no ptxas here: its gates were not tried"
    finish
    exit
fi
gate() { tools/gpu-image check "$T/$1" "$2"; } # IMAGE BASELINE
stopped() # TEXT IMAGE BASELINE
{
    if gate "$2" "$3" >"$T/said" 2>&1; then cat "$T/said"; return 1; fi
    has "$T/said" "$1"
}
check "ptxas accepts the images of this tree" sh -c "! grep -L '\"ptxas\" : \"V' '$BUILD/gmk_gpu.json' '$BUILD/test/gmk_gpu_test.json' | grep ."
check "the tests' image passes the gates" tools/gpu-image check "$BUILD/gpu/gmk_gpu_test" -
check "with ptxas" tools/gpu-image measure "$T/both" small
check "small handlers pass" gate both -
greedy hungry 13
check "an image with a handler that spills is built" image hungry one hungry
check "and refused by name" stopped 'the handler m.hungry/hungry.run spills [0-9]* bytes for sm_80, more than 128' hungry -
check "no baseline, no pass" stopped 'no baseline' both "$T/baseline"
check "a baseline is made" tools/gpu-image baseline "$T/both" "$T/baseline"
check "what it was made of passes" gate both "$T/baseline"
sed 's/^\(sm_[0-9]* small\) [0-9]*/\1 1/' "$T/baseline" >"$T/tight"
check "growth is refused" stopped 'small for sm_80 has grown: [0-9]* registers, 1 in' both "$T/tight"
sed 's/^ptxas .*/ptxas V1.0/' "$T/tight" >"$T/other"
check "another ptxas is not compared" gate both "$T/other"

finish
