/* SPDX-License-Identifier: MIT */
/*
 * payload.pml — the count of a payload that one emit hands to several subscribers (src/emit.c): it
 * is freed exactly once, and nobody reads it afterwards.
 *
 * The emitter owns one count.  It adds deliveries - 1 before it claims tickets; when the claim fails
 * it takes them back and still owns its one.  A handler reads, may retain for itself, and the kernel
 * releases after the outcome.  A release is one atomic subtraction; whoever reaches zero frees.
 *
 * -DBROKEN: the counts are added after the first delivery is visible.
 */
#define DELIVERIES 3

byte count = 1;
byte freed;
byte visible; /* deliveries that subscribers may take */
byte outcomes;

inline use()
{
    assert(freed == 0)
}

inline release()
{
    d_step {
        assert(count > 0);
        count--;
        last = (count == 0)
    }
    if
    :: last -> freed++; assert(freed == 1)
    :: else
    fi
}

inline add(n)
{
    d_step { assert(count > 0); count = count + n }
}

active proctype emitter()
{
    byte i;
    bool last;
    use();
#ifndef BROKEN
    add(DELIVERIES - 1);
    if
    :: true /* another emitter was faster, or no credit is left: take back, then once more */
        -> for (i : 2 .. DELIVERIES) { release() }
           use();
           add(DELIVERIES - 1)
    :: true
    fi;
    for (i : 1 .. DELIVERIES) { visible++ }
#else
    visible++;
    add(DELIVERIES - 1);
    for (i : 2 .. DELIVERIES) { visible++ }
#endif
}

active [DELIVERIES] proctype subscriber()
{
    bool last;
    atomic { visible > 0 -> visible-- }
    use();
    if
    :: true -> /* the handler keeps it beyond its own run */
        add(1);
        release();
        use()
    :: true
    fi;
    release();
    outcomes++
}

active proctype monitor()
{
    timeout;
    assert(outcomes == DELIVERIES && count == 0 && freed == 1)
}
