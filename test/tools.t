#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The tools that judge the tree can say no: the layer check, the test runner, the package lists, make.
. "$(dirname "$0")/tap.sh"

# ---- tools/check-layers, on a small tree of its own
TREE=$T/tree
mkdir -p "$TREE/tools" "$TREE/src" "$TREE/include/ggmk" "$TREE/hal/x" "$TREE/arch/x86_64"
cat >"$TREE/tools/layers.txt" <<'EOF'
# SPDX-License-Identifier: MIT
layers: hal low high
include/ggmk/hal.h hal
hal/*/* hal
arch/*/* hal
src/low*.* low
src/high*.* high
EOF
spdx='/* SPDX-License-Identifier: MIT */'
put() { printf '%s\n' "$spdx" "$2" >"$TREE/$1"; }
good_tree()
{
    rm -f "$TREE"/src/* "$TREE"/hal/x/*
    put include/ggmk/hal.h '#if defined(__linux__)
#endif'
    put src/low.h '#include <ggmk/hal.h>'
    put src/low.c '#include "low.h"'
    put src/high.c '#include "low.h"
#ifdef GMK_DEBUG
#endif'
}
layers() { tools/check-layers "$TREE"; }
objects() { # PATTERN: the check fails, and says so
    ! layers >"$T/said" 2>&1 && grep -q -e "$1" "$T/said" || { cat "$T/said"; return 1; }
}
good_tree
check "layers: a good tree passes" layers
put src/high.h ''; put src/low.c '#include "high.h"'
check "layers: an include to the right" objects 'src/low.c:2: .*src/high.h of layer high'
good_tree; put src/low.c '/* #include "high.h" */'; put src/high.h ''
check "layers: none in a comment" layers
good_tree; put src/other.c ''
check "layers: a file without a layer" objects 'src/other.c:1: has no layer'
good_tree; put src/low.c '#ifdef __x86_64__'
check "layers: a platform #if in the core" objects 'src/low.c:2: #if on __x86_64__'
good_tree; put src/low.c '#if defined(GMK_DEBUG) && \
    defined(_WIN32)'
check "layers: also on a continued line" objects '#if on _WIN32'
good_tree; put src/low.c '#include <stdio.h>'
check "layers: libc in the core" objects 'src/low.c:2: the core includes <stdio.h>'
good_tree; put hal/x/a.c '#include <stdio.h>'
check "layers: libc in a HAL is fine" layers
good_tree; put arch/x86_64/cpu.h ''; put src/low.c '#include "cpu.h"'
check "layers: the machine is none of the core's business" objects 'only the bare-metal kernel sees'
rm "$TREE/arch/x86_64/cpu.h"
good_tree; echo 'int x;' >"$TREE/src/low.c"
check "layers: a file without its licence" objects 'src/low.c:1: .*SPDX'
rm -rf "$TREE"

# ---- tools/run-tests
program() { printf '#!/bin/sh\n%s\n' "$2" >"$T/$1" && chmod +x "$T/$1"; }
program pass 'echo 1..1; echo ok 1'
program fail 'echo 1..2; echo ok 1; echo not ok 2'
program empty 'echo 1..0'
program mute ':'
program short 'echo 1..2; echo ok 1'
program crash 'echo 1..1; echo ok 1; exit 3'
program groups 'echo 1..1; echo ok 1; echo 1..2; echo ok 1; echo ok 2'
program gap 'echo 1..1; echo ok 1; echo 1..2; echo ok 1'
program skip 'echo "1..0 # SKIP no such device"'
program hang 'echo 1..1; echo ok 1; exec sleep 30'
R=$PWD/tools/run-tests
check "run-tests: a passing program" "$R" "$T/pass"
check "run-tests: prove's summary is the last line" sh -c "'$R' '$T/pass' | tail -1 | grep -qx 'Result: PASS'"
check "run-tests: a failing test" fails "$R" "$T/pass" "$T/fail"
check "run-tests: a plan of nothing" fails "$R" "$T/empty"
check "run-tests: no output" fails "$R" "$T/mute"
check "run-tests: fewer tests than planned" fails "$R" "$T/short"
check "run-tests: several plans add up" sh -c "'$R' '$T/groups' | grep -q 'Tests=3'"
check "run-tests: and are kept" fails "$R" "$T/gap"
check "run-tests: a skip with a reason" "$R" "$T/skip"
check "run-tests: an exit status" fails "$R" "$T/crash"
check "run-tests: a program that hangs" env TEST_TIMEOUT=1 sh -c "! '$R' '$T/hang'"
check "run-tests: a program that is not there" fails "$R" "$T/nowhere"
check "run-tests: nothing to run" fails "$R"

# ---- make
make_() { "$MAKE" -s --no-print-directory BUILD="$BUILD" "$@"; }
check "make: an unknown group of tests" fails make_ test-nonsense
check "make: a group without tests" fails make_ test-ring TEST_SRCS_ring=
check "make: nothing is made twice" sh -c "'$MAKE' -s BUILD='$BUILD' lib && '$MAKE' -q BUILD='$BUILD' lib"

# ---- tools/deps
check "deps: the packages for a build" sh -c "tools/deps --list build | grep -qx gcc"
check "deps: nothing to do for what is here" sh -c '[ -z "$(tools/deps build 2>&1)" ]'
check "deps: an unknown need" fails tools/deps nonsense
check "deps: no need at all" fails tools/deps
mkdir -p "$T/bin"
for c in sh sort sed cut id; do ln -s "$(command -v $c)" "$T/bin/$c"; done
printf '#!/bin/sh\necho 1000\n' >"$T/id" && chmod +x "$T/id" && mv -f "$T/id" "$T/bin/id"
unprivileged()
{
    ! PATH=$T/bin sh tools/deps format >"$T/said" 2>&1 && [ "$(wc -l <"$T/said")" = 1 ] &&
        grep -q 'apt-get install .*clang-format' "$T/said" || { cat "$T/said"; return 1; }
}
check "deps: names what it may not install, in one line" unprivileged

# A machine where it may install, with package lists that are too old for the first try.
cat >"$T/bin/apt-get" <<'EOF'
#!/bin/sh
echo "$*" >>"$APT_LOG"
case $1 in
install) grep -q '^update' "$APT_LOG" ;;
esac
EOF
printf '#!/bin/sh\necho 0\n' >"$T/bin/id"
chmod +x "$T/bin/apt-get"
ln -s "$(command -v env)" "$(command -v cat)" "$(command -v grep)" "$T/bin/"
privileged()
{
    APT_LOG=$T/apt PATH=$T/bin sh tools/deps format && cat "$T/apt" && [ "$(wc -l <"$T/apt")" = 3 ] &&
        sed -n 3p "$T/apt" | grep -q '^install .*--no-install-recommends clang-format$'
}
check "deps: installs what is missing when it may, after an update when it must" privileged
finish
