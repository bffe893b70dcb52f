# SPDX-License-Identifier: MIT
#
# ksyms.awk — turns `nm -n` of the kernel into the assembly of its own symbol table.
#
# symbols.c says what the table looks like.  Functions only; addresses all begin with ffffffff, so the
# lower 8 digits tell them apart.  Empty input makes an empty table.

BEGIN { n = 0 }

/^ffffffff[0-9a-f]+ [TtWw] / && $3 !~ /^\.L/ && $1 != last {
    address[n] = substr($1, 9)
    name[n++] = $3
    last = $1
}

END {
    print "    .section .ksyms, \"a\", @progbits"
    print "    .globl ksyms_begin, ksyms_end, ksyms_names"
    print "    .balign 4"
    print "ksyms_begin:"
    printf "    .long %d\n", n
    for (i = 0; i < n; i++)
        printf "    .long 0x%s - 0x80000000\n", address[i]
    for (i = 0; i < n; i++)
        printf "    .long .Ln%d - ksyms_names\n", i
    print "ksyms_names:"
    for (i = 0; i < n; i++)
        printf ".Ln%d: .asciz \"%s\"\n", i, name[i]
    print "ksyms_end:"
    print "    .section .note.GNU-stack, \"\", @progbits"
}
