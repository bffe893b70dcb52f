/* SPDX-License-Identifier: MIT */
/* serial.c — 16550 UARTs at the legacy addresses; National Semiconductor PC16550D data sheet. */
#include "serial.h"

#include "clock.h"
#include "cpu.h"
#include "ioapic.h"
#include "kprintf.h"
#include "smp.h"
#include "thread.h"

enum { DATA, IER, FCR, LCR, MCR, LSR, MSR, SCRATCH };
enum { DIVISOR_LOW = 0, DIVISOR_HIGH = 1, IIR = 2 };

#define IER_RECEIVED 0x01
#define FCR_ENABLE_CLEAR 0xC7 /* FIFOs on and empty, interrupt at 14 bytes or after a pause */
#define IIR_FIFO 0xC0
#define LCR_8N1 0x03
#define LCR_DIVISOR 0x80
#define MCR_READY 0x0B /* DTR, RTS, and OUT2, which lets the interrupt through */
#define MCR_LOOP 0x1E
#define LSR_DATA 0x01
#define LSR_OVERRUN 0x02
#define LSR_TX_EMPTY 0x20

#define TX_FIFO 16u
#define PIECE 1024u /* sent under the lock at once */
#define RING 1024u
#define POLL_NS 1000000u  /* between two looks at a port without interrupts */
#define TX_WAIT_US 20000u /* for a FIFO to drain, which takes 1.4 ms */

typedef struct port {
    uint16_t base;
    uint8_t isa_irq;
    bool present;
    uint32_t tx_burst; /* bytes it takes at once */
    bool stuck;        /* did not take its bytes in time: it gets one chance a write */
    spinlock_t tx_lock;

    spinlock_t rx_lock; /* of all below, and of the receiver */
    bool by_interrupt;
    thread_t *reader;
    uint32_t head, tail; /* free-running: head - tail bytes are in the ring */
    uint64_t dropped;
    uint8_t ring[RING];
} port_t;

static port_t ports[SERIAL_PORTS] = {
    [SERIAL_COM1] = {.base = 0x3F8, .isa_irq = 4},
    [SERIAL_COM2] = {.base = 0x2F8, .isa_irq = 3},
};
static bool panic_mode;

static uint8_t get(const port_t *p, uint16_t reg) { return inb((uint16_t)(p->base + reg)); }
static void set(const port_t *p, uint16_t reg, uint8_t v) { outb((uint16_t)(p->base + reg), v); }

/* NULL when there is no such port, or nothing answered there. */
static port_t *port_at(uint32_t n) { return n < SERIAL_PORTS && ports[n].present ? &ports[n] : NULL; }

bool serial_present(uint32_t n) { return port_at(n) != NULL; }

/* ---- set-up --------------------------------------------------------------------------------- */

static bool scratch_holds(const port_t *p, uint8_t v)
{
    set(p, SCRATCH, v);
    return get(p, SCRATCH) == v;
}

/* With the line turned back on itself a byte sent is a byte received. */
static bool loops(const port_t *p, uint8_t v)
{
    set(p, DATA, v);
    for (uint32_t i = 0; i < 10000; i++)
        if ((get(p, LSR) & LSR_DATA) != 0)
            return get(p, DATA) == v;
    return false;
}

static void set_line(const port_t *p)
{
    set(p, IER, 0);
    set(p, LCR, LCR_DIVISOR);
    set(p, DIVISOR_LOW, 1); /* 115200 */
    set(p, DIVISOR_HIGH, 0);
    set(p, LCR, LCR_8N1);
    set(p, FCR, FCR_ENABLE_CLEAR);
}

bool serial_init(uint32_t n)
{
    if (n >= SERIAL_PORTS)
        return false;
    port_t *p = &ports[n];
    if (!scratch_holds(p, 0x5A) || !scratch_holds(p, 0xA5))
        return false;
    set_line(p);
    p->tx_burst = (get(p, IIR) & IIR_FIFO) == IIR_FIFO ? TX_FIFO : 1;
    set(p, MCR, MCR_LOOP);
    bool answers = loops(p, 0xAE) && loops(p, 0x51);
    set(p, MCR, MCR_READY);
    p->present = answers;
    return answers;
}

/* ---- sending -------------------------------------------------------------------------------- */

/* Interrupts are off: what other CPUs wait for is served meanwhile. */
static bool tx_ready(const port_t *p)
{
    for (uint32_t us = 0; (get(p, LSR) & LSR_TX_EMPTY) == 0; us++) {
        if (us == TX_WAIT_US || p->stuck)
            return false;
        clock_delay_us(1);
    }
    return true;
}

static void send(port_t *p, const uint8_t *bytes, size_t n)
{
    while (n > 0) {
        p->stuck = !tx_ready(p);
        if (p->stuck)
            return;
        for (uint32_t i = 0; i < p->tx_burst && n > 0; i++, n--)
            set(p, DATA, *bytes++);
    }
}

void serial_write(uint32_t n, const void *bytes, size_t count)
{
    port_t *p = port_at(n);
    if (p == NULL)
        return;
    if (panic_mode) {
        send(p, bytes, count);
        return;
    }
    for (const uint8_t *b = bytes; count > 0;) {
        size_t piece = count < PIECE ? count : PIECE;
        uint64_t flags = spin_lock(&p->tx_lock);
        send(p, b, piece);
        spin_unlock(&p->tx_lock, flags);
        b += piece;
        count -= piece;
    }
}

void serial_panic_mode(void) { panic_mode = true; }

/* ---- receiving ------------------------------------------------------------------------------ */

/*
 * rx_lock held.  From the UART into the ring.  What finds no room stays in the UART, which may hold back
 * who sends; its interrupt is off until there is room.
 */
static void drain(port_t *p)
{
    while (p->head - p->tail < RING) {
        uint8_t status = get(p, LSR);
        if ((status & LSR_DATA) == 0)
            return;
        p->dropped += (status & LSR_OVERRUN) != 0;
        p->ring[p->head++ % RING] = get(p, DATA);
    }
    set(p, IER, 0);
}

/* The bottom of both ports' interrupts. */
static void on_received(void *arg)
{
    port_t *p = arg;
    uint64_t flags = spin_lock(&p->rx_lock);
    drain(p);
    thread_t *reader = p->head != p->tail ? p->reader : NULL;
    spin_unlock(&p->rx_lock, flags);
    if (reader != NULL)
        thread_unblock(reader);
}

/* What is there now; if nothing, an interrupt will find `reader` to wake. */
static size_t take(port_t *p, uint8_t *to, size_t n, thread_t *reader)
{
    size_t got = 0;
    uint64_t flags = spin_lock(&p->rx_lock);
    drain(p);
    while (got < n && p->head != p->tail)
        to[got++] = p->ring[p->tail++ % RING];
    if (p->by_interrupt)
        set(p, IER, IER_RECEIVED); /* it is off if the ring was full */
    p->reader = got == 0 ? reader : NULL;
    spin_unlock(&p->rx_lock, flags);
    return got;
}

bool serial_readable(uint32_t n)
{
    port_t *p = port_at(n);
    if (p == NULL)
        return false;
    uint64_t flags = spin_lock(&p->rx_lock);
    drain(p);
    bool some = p->head != p->tail;
    spin_unlock(&p->rx_lock, flags);
    return some;
}

static void wait_for_bytes(const port_t *p, uint64_t deadline)
{
    uint64_t now = clock_now_ns(), left = deadline > now ? deadline - now : 0;
    if (p->by_interrupt)
        (void)thread_block(deadline);
    else
        thread_sleep_ns(left < POLL_NS ? left : POLL_NS);
}

size_t serial_read(uint32_t n, void *bytes, size_t count, uint64_t timeout_ns)
{
    static port_t absent; /* never has anything: the time passes all the same */
    port_t *p = port_at(n) != NULL ? port_at(n) : &absent;
    uint64_t now = clock_now_ns();
    uint64_t deadline = timeout_ns < THREAD_NEVER - now ? now + timeout_ns : THREAD_NEVER;
    for (;;) {
        size_t got = p == &absent ? 0 : take(p, bytes, count, thread_self());
        if (got != 0 || count == 0 || clock_now_ns() >= deadline)
            return got;
        wait_for_bytes(p, deadline);
    }
}

uint64_t serial_dropped(uint32_t n) { return n < SERIAL_PORTS ? ports[n].dropped : 0; }

static void enable(port_t *p)
{
    cpu_t *c = cpu_this();
    int vector = irq_register_line(c->index, on_received, p);
    if (vector < 0 || ioapic_route(p->isa_irq, c->lapic_id, (uint32_t)vector) < 0) {
        kprintf("serial: no interrupt for COM%u (ISA %u); it is polled\n", p->base == 0x3F8 ? 1u : 2u,
                p->isa_irq);
        if (vector >= 0)
            irq_unregister(c->index, (uint32_t)vector);
        return;
    }
    set(p, IER, IER_RECEIVED);
    p->by_interrupt = true;
    on_received(p); /* what came before makes no interrupt */
}

void serial_irq_enable(void)
{
    for (uint32_t n = 0; n < SERIAL_PORTS; n++)
        if (ports[n].present)
            enable(&ports[n]);
}
