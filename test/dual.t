#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The word counter on two kernels against the same on one, on the software device and on whatever --device auto finds;
# with bad input; and when the other kernel dies.

. "$(dirname "$0")/tap.sh"

LC_ALL=C
export LC_ALL
ONE=$BUILD/wordcount
DUAL=$BUILD/wordcount-dual

# same FILE OPTION...: every word of FILE, with its count, as one kernel counts it; stderr says on what.
same() {
    file=$1
    shift
    "$ONE" --top 0 "$file" >"$T/expected" && "$DUAL" --top 0 "$@" "$file" >"$T/got" 2>"$T/said" &&
        cmp "$T/expected" "$T/got" && grep -q 'ready: .*gpu\.0 on ' "$T/said" || { cat "$T/said"; return 1; }
}

# refuses STATUS PATTERN COMMAND...: fails so, says why, and gives no result.
refuses() {
    status=$1
    pattern=$2
    shift 2
    "$@" >"$T/got" 2>"$T/said"
    [ $? -eq "$status" ] && [ ! -s "$T/got" ] && grep -q -e "$pattern" "$T/said" || { cat "$T/said"; return 1; }
}

# ---- the same words -------------------------------------------------------------------------
text() { cat README.md docs/*.md include/ggmk/*.h src/*.c; }
text >"$T/text"
while [ "$(wc -c <"$T/text")" -lt 20000000 ]; do
    cat "$T/text" "$T/text" >"$T/twice" && mv "$T/twice" "$T/text"
done
head -c 20000000 "$T/text" >"$T/long"
head -c 200000 "$T/text" >"$T/small"
: >"$T/none"
printf 'word' >"$T/word"
printf '12 34 \n\377\000' >"$T/letterless"
awk 'BEGIN { for (n = 1; n <= 300; n++) { s = s sprintf("%c", 97 + n % 26); print s, toupper(s) } }' >"$T/lengths"
{ head -c 3000000 /dev/zero | tr '\0' 'Q'; printf ' end'; } >"$T/giant"
seq 1 100000 | tr 0-9 a-j >"$T/different"

for device in soft auto; do
    check "$device: an empty file" same "$T/none" --device $device
    check "$device: one word" same "$T/word" --device $device
    check "$device: no word" same "$T/letterless" --device $device
    check "$device: words of every length to 300" same "$T/lengths" --device $device
    check "$device: a word of three million letters" same "$T/giant" --device $device
    check "$device: a hundred thousand different words" same "$T/different" --device $device
    check "$device: binary" same "$ONE" --device $device
    check "$device: 20 MB" same "$T/long" --device $device
done
for workers in 1 2 5; do
    check "$workers workers there" same "$T/small" --device soft --gpu-workers $workers
done
for chunk in 16 1000 524096; do
    check "chunks of $chunk bytes" same "$T/small" --device soft --chunk $chunk
done
check "one worker here" same "$T/small" --device soft --workers 1
check "little memory" same "$T/small" --device soft --memory 16

twenty() { "$ONE" "$T/small" >"$T/expected" && "$DUAL" --device soft "$T/small" | cmp "$T/expected" -; }
check "twenty words by default" twenty
five() { "$ONE" -n 5 "$T/small" >"$T/expected" && cat "$T/small" | "$DUAL" --device soft -n 5 - | cmp "$T/expected" -; }
check "five of a pipe" five

# ---- traces and metrics ---------------------------------------------------------------------
traced() {
    "$DUAL" --device soft --trace "$T/trace" "$T/small" >"$T/got" 2>"$T/said" && "$ONE" "$T/small" | cmp - "$T/got" &&
        [ "$(od -An -tx1 -N8 "$T/trace" | tr -d ' ')" = 1000044678541600 ] && grep -aq wc.read "$T/trace"
}
check "--trace" traced
metrics() {
    "$DUAL" --device soft --metrics "$T/small" >"$T/got" 2>"$T/said" && "$ONE" "$T/small" | cmp - "$T/got" &&
        grep -q "^[a-z_]*wc_bytes_read.* $(wc -c <"$T/small" | tr -d ' ')\$" "$T/said" && grep -q '^[a-z_]*gpu_up.* 1$' "$T/said"
}
check "--metrics, also of the peer" metrics
help() { "$DUAL" --help >"$T/got" && grep -q '^usage: wordcount-dual' "$T/got" && grep -q -e --gpu-workers "$T/got"; }
check "--help" help

# ---- bad input ------------------------------------------------------------------------------
check "a device that is none" refuses 2 "^wordcount-dual: --device: 'fast' is none of auto, cuda, soft" "$DUAL" --device fast "$T/small"
check "no device" refuses 2 "no value for the option '--device'" "$DUAL" --device
check "no workers" refuses 2 'not a number from 1 to 256' "$DUAL" --gpu-workers 0 "$T/small"
check "an unknown option" refuses 2 "unknown option '--bogus' (wordcount-dual --help" "$DUAL" --bogus "$T/small"
check "a file that is not there" refuses 1 "no-such-file': No such file" "$DUAL" "$T/no-such-file"
check "more words than the memory bears" refuses 1 '16 MiB of memory are too few' sh -c \
    "seq 1 1500000 | tr 0-9 a-j | '$DUAL' --device soft --memory 16"
mkdir "$T/alone" && cp "$DUAL" "$T/alone"
check "no ggmk-gpuhost" refuses 1 'ggmk-gpuhost is neither in .* nor in \$PATH' env PATH=/usr/bin:/bin "$T/alone/wordcount-dual" "$T/small"
if [ ! -e /dev/nvidiactl ] && ! ldconfig -p 2>/dev/null | grep -q 'libcuda\.so\.1'; then
    check "no GPU" refuses 1 'cannot boot the kernel' "$DUAL" --device cuda "$T/small"
fi

# ---- the death of the other kernel ----------------------------------------------------------
# killed BYTES COMMAND...: the command feeds a run that waits for more; when it has read so many bytes, its host
# process is killed.
killed() {
    bytes=$1
    shift
    mkfifo "$T/pipe" || return 1
    "$DUAL" --device soft "$T/pipe" >"$T/got" 2>"$T/said" &
    run=$!
    exec 3>"$T/pipe"
    "$@" >&3 2>/dev/null &
    until { grep -q ready: "$T/said" && [ "$(sed -n 's/^rchar: //p' /proc/$run/io)" -gt $bytes ]; } || ! kill -0 $run; do
        sleep 0.05
    done
    kill -9 $(cat /proc/$run/task/*/children)
    wait $run
    got=$?
    exec 3>&-
    rm "$T/pipe"
    [ $got -eq 1 ] && [ ! -s "$T/got" ] && grep -q 'gpu\.0 was reset (.*SIGKILL.*try again' "$T/said" || { cat "$T/said"; return 1; }
}
check "killed before there is work" killed 0 true
check "killed with everything that came counted" killed 100000 head -c 100000 "$T/long"
check "killed with work under way" killed 50000000 yes "words that come and come and do not end"
finish
