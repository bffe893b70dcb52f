#!/bin/sh
# SPDX-License-Identifier: MIT
#
# regressions.t — the cases that once failed.  A file of test/sim/regressions holds one:
#
#   SCENARIO --seed N OPTION... # what it found
. "$(dirname "$0")/../tap.sh"
cd ..

for file in test/sim/regressions/*; do
    case $file in *.md | *'*') continue ;; esac
    line=$(sed 's/#.*//' "$file")
    # shellcheck disable=SC2086
    check "$(basename "$file"):$(sed 's/.*#//' "$file")" "$BUILD/ggmk-sim" $line
done
[ "$tap_n" -gt 0 ] || { echo "1..0 # SKIP no case is kept"; exit 0; }
finish
