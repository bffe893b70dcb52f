/* SPDX-License-Identifier: MIT */
/*
 * pci_scan.h — finds what is on the PCI buses and takes configuration spaces apart.
 *
 * Pure functions over a configuration access given as two functions, so that they run in the
 * kernel and on a host against made-up devices.  Everything read is foreign: whatever a device
 * answers, each loop ends and nothing outside the given table is written.  One caller at a time.
 *
 * Sources: PCI Local Bus 3.0 §6 (header, BARs, capabilities, MSI-X), PCI-to-PCI Bridge 1.2 §3.
 */
#ifndef DRIVERS_PCI_SCAN_H
#define DRIVERS_PCI_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PCI_BARS 6u
#define PCI_CAPS 48u /* as many as fit between 0x40 and 0xff */

/* Offsets in a configuration space. */
enum {
    PCI_VENDOR = 0x00,
    PCI_DEVICE = 0x02,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION = 0x08,
    PCI_PROG_IF = 0x09,
    PCI_SUBCLASS = 0x0a,
    PCI_CLASS = 0x0b,
    PCI_HEADER = 0x0e,
    PCI_BAR0 = 0x10,
    PCI_SECONDARY = 0x19, /* of a bridge */
    PCI_SUBORDINATE = 0x1a,
    PCI_SUBVENDOR = 0x2c,
    PCI_SUBDEVICE = 0x2e,
    PCI_CAP_FIRST = 0x34,
    PCI_IRQ_LINE = 0x3c,
};

/* Bits of PCI_COMMAND. */
enum {
    PCI_COMMAND_IO = 1u << 0,
    PCI_COMMAND_MEMORY = 1u << 1,
    PCI_COMMAND_MASTER = 1u << 2,
    PCI_COMMAND_NO_INTX = 1u << 10,
};

enum {
    PCI_CAP_PM = 0x01,
    PCI_CAP_MSI = 0x05,
    PCI_CAP_VENDOR = 0x09,
    PCI_CAP_EXPRESS = 0x10,
    PCI_CAP_MSIX = 0x11
};

/* Where a function is: segment << 16 | bus << 8 | slot << 3 | function. */
typedef uint32_t pci_addr_t;
#define PCI_ADDR(segment, bus, slot, function)                                                               \
    ((pci_addr_t)(segment) << 16 | (pci_addr_t)(bus) << 8 | (pci_addr_t)(slot) << 3 | (pci_addr_t)(function))
#define PCI_ADDR_SEGMENT(a) ((a) >> 16)
#define PCI_ADDR_BUS(a) ((a) >> 8 & 0xffu)
#define PCI_ADDR_SLOT(a) ((a) >> 3 & 0x1fu)
#define PCI_ADDR_FUNCTION(a) ((a)&7u)

typedef struct pci_bar {
    uint64_t base; /* bus address, or the first port */
    uint64_t size; /* bytes; 0: there is no such BAR, or it was refused */
    bool io;
    bool wide; /* 64 bits: the next BAR is its upper half */
    bool prefetchable;
} pci_bar_t;

typedef struct pci_cap {
    uint8_t id;
    uint8_t offset;
} pci_cap_t;

/* What an MSI-X capability says; entries is 0 when there is none or it was refused. */
typedef struct pci_msix {
    uint16_t entries;
    uint8_t cap;        /* its offset */
    uint8_t bar;        /* the BAR that holds the table */
    uint32_t offset;    /* of the table in that BAR */
    volatile void *map; /* of the table, once it is in use */
} pci_msix_t;

typedef struct pci_dev {
    pci_addr_t addr;
    uint16_t vendor, device, subvendor, subdevice;
    uint8_t class_code, subclass, prog_if, revision;
    uint8_t header; /* 0 a device, 1 a bridge, 2 CardBus */
    uint8_t caps;   /* how many of cap[] */
    pci_bar_t bar[PCI_BARS];
    pci_cap_t cap[PCI_CAPS];
    pci_msix_t msix;
} pci_dev_t;

/* What a scan found to complain about; `index` is a BAR or an offset, `value` what was read. */
typedef enum pci_note {
    PCI_NOTE_TABLE_FULL,     /* more functions than the table holds: value */
    PCI_NOTE_HEADER,         /* a header type nobody defined */
    PCI_NOTE_BUS_AGAIN,      /* a bridge leads to a bus that was already seen: value */
    PCI_NOTE_BUS_NONE,       /* a bridge without a bus behind it: the firmware set none up */
    PCI_NOTE_BAR_TYPE,       /* a reserved type */
    PCI_NOTE_BAR_SIZE,       /* not a power of two: the mask that came back */
    PCI_NOTE_BAR_HALF,       /* a 64-bit BAR in the last place, without an upper half */
    PCI_NOTE_BAR_RANGE,      /* it reaches beyond what the bus or the CPU can address */
    PCI_NOTE_BAR_MEMORY,     /* there is memory where it claims to be */
    PCI_NOTE_BAR_ALIGN,      /* its address is not a multiple of its size */
    PCI_NOTE_BAR_UNASSIGNED, /* no address: the firmware gave none */
    PCI_NOTE_CAP_LOOP,       /* the capability list leads back to this offset */
    PCI_NOTE_CAP_OFFSET,     /* a capability inside the header or misaligned */
    PCI_NOTE_MSIX,           /* the table does not lie within a memory BAR: value its offset */
    PCI_NOTES
} pci_note_t;

/* How to reach configuration spaces.  bytes is 1, 2 or 4, offset a multiple of it. */
typedef struct pci_config {
    uint32_t (*read)(void *ctx, pci_addr_t a, uint32_t offset, uint32_t bytes);
    void (*write)(void *ctx, pci_addr_t a, uint32_t offset, uint32_t bytes, uint32_t value);
    void (*note)(void *ctx, pci_addr_t a, pci_note_t what, uint32_t index, uint64_t value); /* or NULL */
    bool (*is_memory)(void *ctx, uint64_t base, uint64_t size); /* RAM in that range?  or NULL */
    void *ctx;
    uint64_t limit; /* the first physical address that the CPU cannot form */
} pci_config_t;

/*
 * Finds every function on bus `bus` of `segment` and behind its bridges, reads what it is, sizes
 * its BARs (decoding is off while a BAR is sized, and everything is put back) and lists its
 * capabilities.  Appends to dev[], whose first *count entries are in use.  A bus is visited once,
 * wherever bridges point.
 */
void pci_scan(const pci_config_t *c, uint32_t segment, uint32_t bus, pci_dev_t *dev, uint32_t max,
              uint32_t *count);

/* Parts of a scan: the BARs and the capabilities of a function whose header is read. */
void pci_bars_read(const pci_config_t *c, pci_dev_t *d);
void pci_caps_read(const pci_config_t *c, pci_dev_t *d);

/* The first capability `id` of d behind offset `after` (0: the first at all), 0 when there is none. */
uint32_t pci_cap_find(const pci_dev_t *d, uint32_t id, uint32_t after);

/* What a note means, without its numbers; whether its index is a BAR's. */
const char *pci_note_text(pci_note_t n);
bool pci_note_is_bar(pci_note_t n);

/* What a class is called in lspci's words, also when it is unknown. */
const char *pci_class_name(uint32_t class_code, uint32_t subclass);

#endif
