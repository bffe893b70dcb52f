# SPDX-License-Identifier: MIT
#
# tap.sh — TAP from a shell script: `. test/tap.sh`, then check "name" command..., then finish.
#
# Starts in the root of the tree, with an empty folder $T that goes away at the end.

cd "$(dirname "$0")/.." || exit 1
BUILD=${BUILD:-build}
CC=${CC:-cc}
MAKE=${MAKE:-make}
T=$(mktemp -d "${TMPDIR:-/tmp}/ggmk-test.XXXXXX") || exit 1
trap 'rm -rf "$T"' EXIT
tap_n=0

# check NAME COMMAND...: the command succeeds; what it printed is shown when it does not.
check()
{
    tap_name=$1
    shift
    tap_n=$((tap_n + 1))
    if "$@" >"$T/output" 2>&1; then
        echo "ok $tap_n - $tap_name"
    else
        echo "not ok $tap_n - $tap_name"
        echo "# command: $*"
        sed 's/^/# /' "$T/output"
    fi
}

fails() { ! "$@"; }

finish() { echo "1..$tap_n"; }
