#!/bin/sh
# SPDX-License-Identifier: MIT
# shrink.t — a shrunk case fails in the same way, by the command that is printed, and is smaller.
. "$(dirname "$0")/../tap.sh"
cd ..
SIM=$BUILD/ggmk-sim

# shrinks SCENARIO MESSAGE: the case that is printed is the same failure.
shrinks()
{
    "$SIM" "$1" --seeds 1..500 --shrink >"$T/said"
    [ $? = 1 ] || { cat "$T/said"; return 1; }
    grep -q "^scenario $1, seed [0-9]*: .*$2" "$T/said" || { cat "$T/said"; return 1; }
    # shellcheck disable=SC2046
    "$SIM" $(sed -n 's/^again: [^ ]* //p' "$T/said") >"$T/again"
    [ $? = 1 ] && grep -Fx "$(grep '^scenario ' "$T/said")" "$T/again"
}
left() # at least one change of fibers, without which each of these is right, and at most so many
{
    changes=$(sed -n 's/^shrunk .* changes of fibers \([0-9]*\)$/\1/p' "$T/said")
    echo "$changes changes"
    [ "$changes" -ge 1 ] && [ "$changes" -le "$1" ]
}

check "a lost update is shrunk" shrinks lost_update total
check "it needs one change of fibers, or two" left 2
check "a lost wake is shrunk" shrinks park_lost_wake deadlock
check "it needs one change of fibers, or two" left 2
check "a deadlock is shrunk" shrinks lock_order deadlock
check "it needs one change of fibers, or two" left 2
finish
