#!/bin/sh
# SPDX-License-Identifier: MIT
#
# replay.t — a case is the same run each time: in another process, in another build of the same
# source, under the command that a failure prints, and down to the last byte of its trace.
. "$(dirname "$0")/../tap.sh"
cd ..
SIM=$BUILD/ggmk-sim
AGAIN=$BUILD/again/ggmk-sim

# ten_times STATUS ARGUMENT...: ten runs, in the two builds by turns, end so and write the same trace.
ten_times()
{
    status=$1
    shift
    for i in 0 1 2 3 4 5 6 7 8 9; do
        if [ $((i % 2)) = 0 ]; then program=$SIM; else program=$AGAIN; fi
        "$program" "$@" --trace "$T/trace.$i" >"$T/said"
        [ $? = "$status" ] || { cat "$T/said"; return 1; }
        cmp "$T/trace.0" "$T/trace.$i" || return 1
    done
}

# The arguments in the command that a failure printed.
command_in() { sed -n 's/^again: [^ ]* //p' "$1"; }

# again SCENARIO: the first failure in a range of seeds comes back from the command it printed.
again()
{
    "$SIM" "$1" --seeds 1..500 --jobs 2 --trace "$T/first" >"$T/range"
    [ $? = 1 ] || { cat "$T/range"; return 1; }
    # shellcheck disable=SC2046
    "$AGAIN" $(command_in "$T/range") --trace "$T/second" >"$T/single"
    [ $? = 1 ] || { cat "$T/single"; return 1; }
    message=$(grep "^scenario $1, seed " "$T/range") || return 1
    grep -Fx "$message" "$T/single" && cmp "$T/first" "$T/second"
}

check "ten replays of a failure, in two builds" ten_times 1 park_lost_wake --seed "$(
    "$SIM" park_lost_wake --seeds 1..500 --trace "$T/x" | sed -n 's/^scenario .*, seed \([0-9]*\):.*/\1/p')"
check "its trace is valid and holds the failure" "$BUILD/sim/check-fxt" "$T/trace.0" FAILED
for mode in "sc off" "sc on" "weak on"; do
    check "ten replays of a kernel with 4 lanes, memory and races $mode" ten_times 0 mixed --seed 3 --lanes 4 \
        --workers 2 --strategy pct --memory "${mode% *}" --races "${mode#* }"
done
check "its trace is valid" "$BUILD/sim/check-fxt" "$T/trace.0"
for scenario in $("$SIM" list | sed -n 's/^\([a-z_]*\) .*(must fail)$/\1/p'); do
    check "the command that $scenario prints repeats it" again "$scenario"
done
finish
