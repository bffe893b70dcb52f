#!/bin/sh
# SPDX-License-Identifier: MIT
# driver.t — ggmk-sim as its user meets it: options, exit status, processes, failures.
. "$(dirname "$0")/../tap.sh"
cd ..
SIM=$BUILD/ggmk-sim

# says STATUS PATTERN ARGUMENT...: ends so, and what it prints matches.
says()
{
    status=$1 pattern=$2
    shift 2
    "$SIM" "$@" >"$T/said" 2>&1
    [ $? = "$status" ] && grep -q -e "$pattern" "$T/said" || { cat "$T/said"; return 1; }
}

# refuses PATTERN ARGUMENT...: status 2 and one line.
refuses() { says 2 "$@" && [ "$(wc -l <"$T/said")" = 1 ]; }

check "list names every scenario" says 0 '^mixed  *a bit of everything' list
check "help says how" says 0 '^usage: ' --help
check "a scenario that is not there" refuses 'no such scenario: nowhere .*list' nowhere
check "an option that is not there" refuses 'no such option: --lane .*--help' --lane 1
for wrong in "--seed x:a number" "--seed -1:a number" "--seeds 1:A\\.\\.B" "--seeds 9..1:A <= B" "--jobs 0:1 to 64" \
    "--lanes 3:1, 2, 4, 8 or 32" "--workers 99:1 to 8" "--races maybe:on or off" "--memory tso:sc or weak" \
    "--strategy best:uniform, pct or rr" "--depth 0:1 to 16" "--events many:0 to 1000" "--faults rain:spurious" \
    "--switches 1.2:none, or" "--seed 99999999999999999999:a number"; do
    option=${wrong%:*}
    # shellcheck disable=SC2086
    check "refused: $option" refuses "$option: not possible (possible: .*${wrong##*:}" $option
done
check "an option without its value" refuses '--seeds: a value is missing (possible: A' --seeds
check "a trace of many scenarios" refuses 'a trace is of one SCENARIO' --trace "$T/trace"
check "a trace that cannot be written" refuses "$T/no/trace: cannot be written: No such" spsc --seed 1 \
    --trace "$T/no/trace"
check "lanes where there is no kernel" refuses 'spsc has no kernel' spsc --lanes 4
check "a shrink of many scenarios" refuses 'of one SCENARIO' --shrink
check "switches without a seed" refuses 'belongs to one SCENARIO with --seed N' mixed --switches none
check "the same scenario twice" refuses 'given twice' spsc spsc

check "a range that passes" says 0 '^spsc: 50 seeds, ' spsc --seeds 1..50
check "a scenario that has to fail, and does" says 0 '^lock_order: 100 seeds' lock_order --seeds 1..100
check "one that has to fail, and nothing does" says 1 'no seed failed, and some had to' lock_order --seeds 1..1 \
    --strategy rr
check "TAP: as many results as planned" sh -c "'$SIM' --tap spsc mpmc --seeds 1..5 | grep -c -e '^1\\.\\.2$' -e '^ok [12] - ' |
    grep -qx 3"
check "TAP: a failure is not ok, and all else a comment" sh -c "'$SIM' --tap lost_update --seed 3 >'$T/tap'
    [ \$? = 1 ] && grep -q '^not ok 1 - lost_update' '$T/tap' && ! grep -v -e '^1\\.\\.1\$' -e '^not ok ' -e '^# ' '$T/tap'"

check "a failure: scenario, seed, message" says 1 '^scenario lost_update, seed 3: .*total' lost_update --seed 3
check "a failure: the command that repeats it, with all options" grep -q \
    '^again: .* lost_update --seed 3 --strategy [a-z]* .*--memory [a-z]* --races [a-z]* --faults all$' "$T/said"
check "a failure: the last events, by fiber" grep -q '1:worker  STORE ' "$T/said"
check "a failure: as many events as wanted" sh -c "'$SIM' lost_update --seed 3 --events 5 | grep -c ' 1:worker  ' | grep -qx '[1-5]'"

lowest() { "$SIM" park_lost_wake --seeds "$1" --jobs "$2" --trace "$T/x" | sed -n 's/^scenario .*, seed \([0-9]*\):.*/\1/p'; }
one=$(lowest 1..400 1)
check "jobs: the lowest failing seed is found, whatever their number" sh -c "[ -n '$one' ] && [ '$one' = '$(lowest 1..400 2)' ] &&
    [ '$one' = '$(lowest 1..400 5)' ]"

# A process of a range that is shot: the seed that it was at is named.
killed()
{
    "$SIM" mixed --seeds 1..100000 --jobs 2 >"$T/said" 2>&1 &
    parent=$!
    child=
    while [ -z "$child" ] && kill -0 $parent 2>/dev/null; do child=$(ps -o pid= --ppid $parent | head -1); done
    [ -n "$child" ] && kill -SEGV $child
    wait $parent
    [ $? = 1 ] && grep -q '^scenario mixed, seed [0-9]*: the simulator died of signal 11' "$T/said" &&
        grep -q '^again: .* mixed --seed [0-9]* ' "$T/said" || { cat "$T/said"; return 1; }
}
check "jobs: a process that dies is a failure with a seed" killed
finish
