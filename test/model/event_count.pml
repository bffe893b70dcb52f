/* SPDX-License-Identifier: MIT */
/*
 * event_count.pml — parking and waking (src/idle.c): no wake-up is lost.
 *
 * A worker that finds nothing counts as a spinner, then announces itself (mask bit, parked count),
 * executes the heavy fence, looks once more and sleeps.  A publisher puts an item into a queue,
 * executes the light fence, looks at the idle word and, when somebody is parked and nobody spins,
 * claims a mask bit; whoever clears the bit owns the wake-up.
 *
 * Memory: the publisher's stores go through a store buffer that drains at any later moment, which is
 * what the light fence permits; the heavy fence of a worker drains everybody's.  The worker's own
 * announcement is a read-modify-write, never buffered.
 *
 * -DBROKEN: the heavy fence does nothing.
 */
#define WORKERS 2
#define PUBLISHERS 2
#define ITEMS 3 /* two of publisher 0, one of publisher 1 */

byte buffered[PUBLISHERS]; /* items published and not yet visible */
byte queue;                /* items visible */
byte taken;
bool mask[WORKERS];
byte parked;               /* the idle word: parked workers and spinners, read at once */
byte spinners;
byte token[WORKERS];       /* park slots */
bool done[PUBLISHERS];

inline heavy_fence()
{
#ifndef BROKEN
    d_step {
        queue = queue + buffered[0] + buffered[1];
        buffered[0] = 0;
        buffered[1] = 0;
    }
#else
    skip;
#endif
}

/* Clears a mask bit; `mine` says whether it was set. */
inline claim(w, mine)
{
    d_step { mine = mask[w]; mask[w] = false }
    if
    :: mine -> parked--
    :: else
    fi
}

/* The processor may drain a store buffer whenever it likes. */
active [PUBLISHERS] proctype store_buffer()
{
    byte me = _pid % PUBLISHERS;
end:
    do
    :: atomic { buffered[me] > 0 -> buffered[me]--; queue++ }
    od
}

active [PUBLISHERS] proctype publisher()
{
    byte me = _pid % PUBLISHERS;
    byte n, w;
    bool look, mine;
    do
    :: n < PUBLISHERS - me ->
        atomic { buffered[me]++; n++ }
        /* the light fence: program order, nothing else */
        look = (parked > 0 && spinners == 0);
        do
        :: look && w < WORKERS ->
            claim(w, mine);
            if
            :: mine -> token[w] = 1; break
            :: else -> w++
            fi
        :: else -> break
        od;
        atomic { look = false; mine = false; w = 0 }
    :: else -> break
    od;
    done[me] = true
}

active [WORKERS] proctype worker()
{
    byte me = _pid % WORKERS;
    bool mine, found;
    do
    :: true ->
        atomic {
            found = (queue > 0);
            if
            :: found -> queue--; taken++
            :: else
            fi
        }
        if
        :: found
        :: else ->
            spinners++;
            if
            :: queue > 0 -> spinners-- /* spinning helped */
            :: true ->
                mask[me] = true;
                d_step { parked++; spinners-- }
                heavy_fence();
                if
                :: queue > 0 ->
                    claim(me, mine);
                    if
                    :: !mine -> token[me] == 1; token[me] = 0
                    :: else
                    fi
                :: else ->
end_asleep:         token[me] == 1;
                    token[me] = 0
                fi
            fi
        fi
    od
}

/* When nothing can move any more, all work is done and the books are right. */
active proctype monitor()
{
    timeout;
    assert(done[0] && done[1]);
    assert(queue == 0 && taken == ITEMS);
    assert(spinners == 0 && parked == WORKERS);
    assert(mask[0] && mask[1] && token[0] == 0 && token[1] == 0)
}
