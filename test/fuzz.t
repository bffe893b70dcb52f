#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Every fuzzer for some seconds: SECONDS_EACH.  An input that breaks a promise stays in $BUILD/fuzz/NAME.found.
cd "$(dirname "$0")/.." || exit 1
BUILD=${BUILD:-build}
n=0
for source in fuzz/fuzz_*.c; do
    name=${source#fuzz/fuzz_} name=${name%.c} n=$((n + 1))
    corpus=$BUILD/fuzz/$name.corpus
    mkdir -p "$corpus"
    if "$BUILD/fuzz/$name" -max_total_time="${SECONDS_EACH:-5}" -timeout=10 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix="$BUILD/fuzz/$name.found-" "$corpus" >"$BUILD/fuzz/$name.log" 2>&1; then
        echo "ok $n - $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$BUILD/fuzz/$name.log") inputs"
    else
        echo "not ok $n - $name"
        tail -20 "$BUILD/fuzz/$name.log" | sed 's/^/# /'
    fi
done
echo "1..$n"
