#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The word counter against tr | sort | uniq -c on real text of this machine, on borders of chunks,
# and with bad input.  WORDCOUNT_MB=100 makes the long input longer than its 10 MB.

LC_ALL=C
export LC_ALL
BUILD=${BUILD:-build}
MAKE=${MAKE:-make}
WC=$BUILD/wordcount
T=$(mktemp -d "${TMPDIR:-/tmp}/wordcount.XXXXXX") || exit 1
trap 'rm -rf "$T"' EXIT
n=0

result() { # STATUS NAME
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $n - $2"
    else
        echo "not ok $n - $2"
        sed 's/^/# /' "$T/why" 2>/dev/null | head -20
    fi
    rm -f "$T/why"
}

# The words of FILE, the slow way; asked again for the same file, it remembers.
expected() {
    if [ "$1 $(cksum <"$1")" != "$(cat "$T/known.file" 2>/dev/null)" ]; then
        tr -cs 'A-Za-z' '\n' <"$1" | tr A-Z a-z | sed '/^$/d' | sort | uniq -c | sort -k1,1nr -k2 >"$T/known"
        echo "$1 $(cksum <"$1")" >"$T/known.file"
    fi
    cat "$T/known"
}

# same NAME FILE OPTION...: every word of FILE, with its count, in order.
same() {
    name=$1
    file=$2
    shift 2
    expected "$file" >"$T/expected"
    "$WC" --top 0 "$@" "$file" >"$T/got" 2>"$T/why" && cmp "$T/expected" "$T/got" >>"$T/why" 2>&1 && [ ! -s "$T/why" ]
    result $? "$name"
}

# refuses NAME STATUS PATTERN COMMAND...: fails so, with one line that says why and no result.
refuses() {
    name=$1
    status=$2
    pattern=$3
    shift 3
    "$@" >"$T/got" 2>"$T/why"
    got=$?
    [ $got -eq "$status" ] && [ ! -s "$T/got" ] && grep -q -e "$pattern" "$T/why"
    result $? "$name"
}

is() { # NAME EXPECTED: what is in $T/got
    printf "$2" >"$T/expected"
    cmp "$T/expected" "$T/got" >"$T/why" 2>&1
    result $? "$1"
}

# ---- real text ------------------------------------------------------------------------------
find /usr/share/common-licenses /usr/share/doc /usr/share/dict /usr/share/perl -type f -size +0 2>/dev/null |
    sort | head -4000 >"$T/files"
while read -r f; do
    case $f in
    *.gz) zcat "$f" ;;
    *) cat "$f" ;;
    esac
    [ "$(wc -c <"$T/text")" -gt 2000000 ] && break
done <"$T/files" >"$T/text" 2>/dev/null
head -c 200000 "$T/text" >"$T/small"

[ "$(wc -c <"$T/text")" -gt 100000 ] || echo "# little text on this machine: $(wc -c <"$T/text") bytes"
same "real text, as many workers as CPUs" "$T/text"
for w in 1 2 3 8; do
    same "real text, $w workers" "$T/text" --workers $w
done
expected "$T/text" | head -20 >"$T/expected"
"$WC" "$T/text" >"$T/got" 2>"$T/why"
cmp "$T/expected" "$T/got" >>"$T/why" 2>&1
result $? "twenty words by default"
expected "$T/text" | head -5 >"$T/expected"
"$WC" -n 5 - <"$T/text" >"$T/got" 2>"$T/why"
cmp "$T/expected" "$T/got" >>"$T/why" 2>&1
result $? "--top 5 of standard input"
cat "$T/text" | "$WC" --top=5 >"$T/got" 2>"$T/why"
cmp "$T/expected" "$T/got" >>"$T/why" 2>&1
result $? "--top 5 of a pipe"
expected "$T/small" >"$T/expected"
(
    head -c 70001 "$T/small"
    sleep 0.2 # the pipe runs dry in the middle of a word
    tail -c +70002 "$T/small"
) | "$WC" --top 0 >"$T/got" 2>"$T/why"
cmp "$T/expected" "$T/got" >>"$T/why" 2>&1
result $? "a pipe that pauses"

size=${WORDCOUNT_MB:-10}
while [ "$(wc -c <"$T/text")" -lt $((size * 1000000)) ]; do
    cat "$T/text" "$T/text" >"$T/twice" && mv "$T/twice" "$T/text"
done
head -c $((size * 1000000)) "$T/text" >"$T/long"
same "$size MB" "$T/long"

# ---- borders of chunks ----------------------------------------------------------------------
for c in 16 17 63 64 65 127 1000 65536; do
    same "chunks of $c bytes" "$T/small" --chunk $c --workers 2
done
for len in 15 16 17 63 64 65 128; do # a file that ends exactly at, before, or behind a block
    head -c $len "$T/small" >"$T/cut"
    head -c $len /dev/zero | tr '\0' 'x' >"$T/letters"
    same "$len bytes of text" "$T/cut"
    same "$len letters" "$T/letters" --chunk 16
done

# ---- kinds of words -------------------------------------------------------------------------
awk 'BEGIN { for (n = 1; n <= 300; n++) { s = s sprintf("%c", 97 + n % 26); print s, toupper(s) } }' >"$T/lengths"
same "every length from 1 to 300, in both cases" "$T/lengths"
awk 'BEGIN { for (n = 0; n < 60000; n++) {
    s = ""; for (k = n; ; k = int(k / 26)) { s = sprintf("%c", 97 + k % 26) s; if (k < 26) break } print s } }' >"$T/different"
same "sixty thousand different words" "$T/different"
same "the same in chunks that fill more than one batch" "$T/different" --chunk 268000 --workers 1
awk 'BEGIN { for (i = 1; i < 256; i++) for (j = 0; j < 3; j++) printf "a%cb%c", i, (i * 7) % 255 + 1 }' >"$T/bytes"
same "every byte value beside a letter" "$T/bytes"
head -c 3000000 /dev/zero | tr '\0' 'Q' >"$T/giant"
printf ' end' >>"$T/giant"
same "a word of three million letters" "$T/giant" --chunk 1000
same "binary input" "$WC"

: >"$T/none"
"$WC" "$T/none" >"$T/got" 2>&1
is "an empty file has no words" ''
printf '1234 \n\n\t5678\000\377' | "$WC" >"$T/got" 2>&1
is "no letters, no words" ''
"$WC" </dev/null >"$T/got" 2>&1
is "/dev/null" ''
printf 'b a B c,A' | "$WC" >"$T/got" 2>&1
is "ties by word, and the format of uniq -c" '      2 a\n      2 b\n      1 c\n'

# ---- bad input ------------------------------------------------------------------------------
refuses "a file that is not there" 1 "no-such-file': No such file" "$WC" "$T/no-such-file"
refuses "an empty name" 1 "'': an empty name" "$WC" ''
refuses "a directory" 1 'Is a directory' "$WC" "$T"
refuses "a closed standard input" 1 'standard input: Bad file' sh -c "'$WC' <&-"
if [ "$(id -u)" -ne 0 ]; then
    : >"$T/secret"
    chmod 0 "$T/secret"
    refuses "an unreadable file" 1 'Permission denied' "$WC" "$T/secret"
fi
refuses "an unknown option" 2 "^wordcount: unknown option '--bogus' (wordcount --help" "$WC" --bogus "$T/small"
refuses "an unknown letter" 2 "unknown option '-x'" "$WC" -xn 5 "$T/small"
refuses "an option without its value" 2 "no value for the option '--top'" "$WC" --top
"$MAKE" -s --no-print-directory BUILD="$BUILD" demo INPUT=-x >"$T/why" 2>&1 # which builds it first, maybe
grep -q "^wordcount: '-x': No such file" "$T/why"
result $? "make demo with a file whose name begins with -"
refuses "two files" 2 'one file at a time' "$WC" "$T/small" "$T/small"
for bad in -1 x 1x '' 99999999999999999999; do
    refuses "--top '$bad'" 2 'not a number' "$WC" --top "$bad" "$T/small"
done
refuses "no workers" 2 'not a number from 1 to 256' "$WC" --workers 0 "$T/small"
refuses "a thousand workers" 2 'not a number from 1 to 256' "$WC" --workers 1000 "$T/small"
refuses "a chunk too small" 2 'not a number' "$WC" --chunk 15 "$T/small"
refuses "a chunk that does not fit" 2 '--chunk 67108864 needs --memory 1025 or more, not 64' \
    "$WC" --chunk 67108864 --memory 64 "$T/small"
if [ "$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo 2>/dev/null || echo 1048576)" -lt 1048576 ]; then
    refuses "more memory than there is" 2 'more than the [0-9]* MiB this machine has' "$WC" --memory 1048576 "$T/small"
fi
refuses "a trace that cannot be written, before the run" 1 "trace': No such file" \
    "$WC" --trace "$T/no/such/trace" "$T/small"
refuses "a folder for the trace" 1 'Is a directory' "$WC" --trace "$T" "$T/small"
cp "$T/small" "$T/kept"
refuses "the input for the trace" 1 'that is the input' "$WC" --trace "$T/kept" "$T/kept"
cmp "$T/small" "$T/kept" >"$T/why" 2>&1
result $? "which is as it was"
refuses "a word longer than the memory bears" 1 'a word is too long' "$WC" --memory 16 "$T/giant"
refuses "workers that the memory does not bear" 1 'fewer --workers (64 now)' "$WC" --memory 16 --workers 64 "$T/long"
seq 1 1500000 | tr 0-9 a-j >"$T/many"
refuses "more words than the memory bears" 1 '16 MiB of memory are too few: .* fewer different words' "$WC" --memory 16 "$T/many"
if [ -c /dev/full ]; then
    "$WC" "$T/small" >/dev/full 2>"$T/why"
    [ $? -eq 1 ] && grep -q 'standard output: No space left' "$T/why"
    result $? "a full disk"
    "$WC" --help >/dev/full 2>"$T/why"
    [ $? -eq 1 ] && grep -q 'standard output: No space left' "$T/why"
    result $? "a full disk for --help"
fi

# ---- traces, metrics, help ------------------------------------------------------------------
"$WC" --help >"$T/got" 2>"$T/why" && grep -q '^usage: wordcount' "$T/got" && [ ! -s "$T/why" ]
result $? "--help"
expected "$T/small" | head -20 >"$T/expected"
"$WC" --trace "$T/trace" "$T/small" >"$T/got" 2>"$T/why"
cmp "$T/expected" "$T/got" >>"$T/why" 2>&1 && [ ! -s "$T/why" ] &&
    [ "$(od -An -tx1 -N8 "$T/trace" | tr -d ' ')" = 1000044678541600 ] &&
    grep -aq wc.tokenize "$T/trace" && grep -aq wc.count "$T/trace"
result $? "--trace writes a trace that names the handlers"
cp "$T/trace" "$T/longer"
cat "$T/long" >>"$T/longer"
"$WC" --trace "$T/longer" "$T/small" >"$T/got" 2>"$T/why"
[ ! -s "$T/why" ] && [ "$(od -An -tx1 -N8 "$T/longer" | tr -d ' ')" = 1000044678541600 ] &&
    [ "$(wc -c <"$T/longer")" -lt "$(wc -c <"$T/long")" ]
result $? "in place of what was there"
"$WC" --metrics "$T/small" >"$T/got" 2>"$T/metrics"
cmp "$T/expected" "$T/got" >"$T/why" 2>&1 && grep -q "^[a-z_]*wc_bytes_read.* $(wc -c <"$T/small" | tr -d ' ')\$" "$T/metrics"
result $? "--metrics says how many bytes were read"

echo "1..$n"
