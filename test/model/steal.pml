/* SPDX-License-Identifier: MIT */
/*
 * steal.pml — the local queue (src/lq.h, lq.c): each item is taken exactly once, and no slot is
 * overwritten before whoever took it has copied it.
 *
 * The head word is (steal, real).  A taker moves `real` by compare-and-swap before it copies.  A thief
 * leaves `steal` behind until its copy is done; the owner reuses only slots before `steal`, and looks at
 * the head again only when the ring seems full.  Indices do not wrap here, slots do: the item pushed
 * at index i is i.
 *
 * -DBROKEN: the thief moves both halves at once.
 */
#define SLOTS 3
#define ITEMS 5
#define THIEVES 2
#define BATCH 2

byte steal, real;
byte tail;
byte slot[SLOTS];
byte times[ITEMS]; /* how often each item was taken */
byte pushed;

inline copy(from, n)
{
    i = 0;
    do
    :: i < n ->
        atomic {
            assert(slot[(from + i) % SLOTS] == from + i);
            times[from + i]++;
            assert(times[from + i] == 1);
            i++
        }
    :: else -> break
    od
}

proctype owner()
{
    byte seen, s, r, n, i, max;
    bool swapped;
    do
    :: pushed < ITEMS ->
        if
        :: tail - seen >= SLOTS -> seen = steal
        :: else
        fi;
        if
        :: tail - seen < SLOTS ->
            slot[tail % SLOTS] = tail;
            tail++;
            pushed++
        :: else -> goto pop
        fi
    :: true ->
pop:    if
        :: max = 1
        :: max = BATCH
        fi;
        do
        :: true ->
            d_step { s = steal; r = real }
            n = (tail - r < max -> tail - r : max);
            if
            :: n == 0 -> break
            :: else
            fi;
            d_step {
                swapped = (steal == s && real == r);
                if
                :: swapped -> real = r + n; steal = (s == r -> r + n : s)
                :: else
                fi
            }
            if
            :: swapped -> break
            :: else
            fi
        od;
        copy(r, n);
        if
        :: pushed == ITEMS && n == 0 -> break
        :: else -> atomic { s = 0; r = 0; n = 0; i = 0; max = 0; swapped = false }
        fi
    od
}

proctype thief()
{
    byte s, r, t, n, i;
    bool swapped;
    do
    :: true ->
        d_step { s = steal; r = real }
        t = tail;
        if
        :: s != r || t <= r -> goto again
        :: else -> n = (t - r + 1) / 2
        fi;
        n = (n < BATCH -> n : BATCH);
        d_step {
            swapped = (steal == s && real == r);
            if
            :: swapped ->
                real = r + n;
#ifdef BROKEN
                steal = r + n
#endif
            :: else
            fi
        }
        if
        :: swapped ->
            copy(r, n);
#ifndef BROKEN
            do
            :: true ->
                d_step { s = steal; r = real }
                d_step {
                    swapped = (steal == s && real == r);
                    if
                    :: swapped -> steal = r
                    :: else
                    fi
                }
                if
                :: swapped -> break
                :: else
                fi
            od
#endif
        :: else
        fi;
again:  atomic { s = 0; r = 0; t = 0; n = 0; i = 0; swapped = false }
    :: true -> break
    od
}

init
{
    byte k;
    atomic {
        for (k : 1 .. THIEVES) {
            run thief()
        }
        run owner()
    }
    _nr_pr == 1;
    for (k : 0 .. ITEMS - 1) {
        assert(times[k] == 1)
    }
    assert(steal == real && real == tail && tail == ITEMS)
}
