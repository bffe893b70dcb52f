/* SPDX-License-Identifier: MIT */
/*
 * mailbox.pml — the activation of a mailbox (src/channel.h, emit.c, inlet.c, mailbox.c): every message
 * is handled once, in ticket order, never by two runners, and none is left behind.
 *
 * The word (ticket, state, priority) changes by compare-and-swap only.  An emitter claims a ticket
 * and learns whether it made the mailbox QUEUED or more urgent; then it publishes its slot and queues
 * a record of that priority.  Who gets a record becomes the runner if the word is QUEUED at that
 * priority, else the record is void.  A runner goes IDLE by a compare-and-swap that fails when a ticket
 * was claimed meanwhile; before a slot that is claimed and not published, and after its share, it
 * queues the activation again.
 *
 * -DBROKEN: the runner looks at the ticket and then stores IDLE.
 */
#define EMITTERS 3
#define EACH 1
#define MESSAGES 3
#define RUNNERS 2
#define PRIOS 2

#define IDLE 0
#define QUEUED 1
#define RUNNING 2

typedef word_t { byte ticket; byte state; byte prio };
word_t word;
bool published[MESSAGES];
byte cursor;             /* the runner's */
byte running;            /* runners inside */
byte records[PRIOS];     /* on their way to a worker */
byte emitted;

/* The compare-and-swap on the whole word; `now` was read before. */
#define UNCHANGED(now) (word.ticket == now.ticket && word.state == now.state && word.prio == now.prio)

inline read_word(now)
{
    d_step { now.ticket = word.ticket; now.state = word.state; now.prio = word.prio }
}

active [EMITTERS] proctype emitter()
{
    word_t now;
    byte n, prio, urgent;
    bool token, swapped;
    do
    :: n < EACH ->
        if
        :: prio = 0
        :: prio = 1
        fi;
        do
        :: true ->
            read_word(now);
            d_step {
                swapped = UNCHANGED(now);
                if
                :: swapped ->
                    urgent = (now.state == IDLE || prio < now.prio -> prio : now.prio);
                    token = (now.state == IDLE || (now.state == QUEUED && prio < now.prio));
                    word.ticket = now.ticket + 1;
                    word.state = (now.state == IDLE -> QUEUED : now.state);
                    word.prio = urgent
                :: else
                fi
            }
            if
            :: swapped -> break
            :: else
            fi
        od;
        published[now.ticket] = true;
        if
        :: token -> records[urgent]++
        :: else
        fi;
        atomic { n++; now.ticket = 0; now.state = 0; now.prio = 0; prio = 0; urgent = 0; token = false }
    :: else -> break
    od;
    emitted = emitted + EACH
}

/* RUNNING -> QUEUED at the priority the word has by now, then the record. */
inline requeue()
{
    running--;
    d_step { word.state = QUEUED; prio = word.prio }
    records[prio]++
}

active [RUNNERS] proctype runner()
{
    byte prio;
    bool ours, rested;
end:
    do
    :: atomic {
        if
        :: records[0] > 0 -> records[0]--; prio = 0
        :: records[1] > 0 -> records[1]--; prio = 1
        fi
        }
        d_step {
            ours = (word.state == QUEUED && word.prio == prio);
            if
            :: ours -> word.state = RUNNING
            :: else
            fi
        }
        if
        :: ours ->
            running++;
            assert(running == 1);
            do
            :: cursor == word.ticket ->
                running--; /* before the word lets anybody else in */
#ifdef BROKEN
                word.state = IDLE;
                word.prio = PRIOS - 1;
                break
#else
                d_step {
                    rested = (word.ticket == cursor);
                    if
                    :: rested -> word.state = IDLE; word.prio = PRIOS - 1
                    :: else
                    fi
                }
                if
                :: rested -> break
                :: else -> running++
                fi
#endif
            :: cursor < word.ticket && !published[cursor] -> requeue(); break
            :: cursor < word.ticket && published[cursor] ->
                assert(running == 1 && word.state == RUNNING);
                cursor++;
                if
                :: skip
                :: requeue(); break /* its share is used up */
                fi
            od
        :: else
        fi
    od
}

active proctype monitor()
{
    timeout;
    assert(emitted == MESSAGES && word.ticket == MESSAGES);
    assert(cursor == MESSAGES);
    assert(word.state == IDLE && running == 0);
    assert(records[0] == 0 && records[1] == 0)
}
