/* SPDX-License-Identifier: MIT */
/* Words for classes (PCI Code and ID Assignment 1.11 §1) and for what a scan complains about. */
#include "drivers/pci_scan.h"

#define ANY 0xffu

static const struct {
    uint8_t class_code, subclass;
    const char *name;
} classes[] = {
    {0x00, 0x01, "VGA unclassified device"},
    {0x00, ANY, "Non-VGA unclassified device"},
    {0x01, 0x00, "SCSI storage controller"},
    {0x01, 0x01, "IDE interface"},
    {0x01, 0x06, "SATA controller"},
    {0x01, 0x08, "Non-Volatile memory controller"},
    {0x01, ANY, "Mass storage controller"},
    {0x02, 0x00, "Ethernet controller"},
    {0x02, ANY, "Network controller"},
    {0x03, 0x00, "VGA compatible controller"},
    {0x03, ANY, "Display controller"},
    {0x04, ANY, "Multimedia controller"},
    {0x05, 0x00, "RAM memory"},
    {0x05, ANY, "Memory controller"},
    {0x06, 0x00, "Host bridge"},
    {0x06, 0x01, "ISA bridge"},
    {0x06, 0x04, "PCI bridge"},
    {0x06, ANY, "Bridge"},
    {0x07, 0x00, "Serial controller"},
    {0x07, ANY, "Communication controller"},
    {0x08, 0x00, "PIC"},
    {0x08, ANY, "System peripheral"},
    {0x09, ANY, "Input device controller"},
    {0x0a, ANY, "Docking station"},
    {0x0b, ANY, "Processor"},
    {0x0c, 0x03, "USB controller"},
    {0x0c, 0x05, "SMBus"},
    {0x0c, ANY, "Serial bus controller"},
    {0x0d, ANY, "Wireless controller"},
    {0x10, ANY, "Encryption controller"},
    {0x11, ANY, "Signal processing controller"},
    {0x12, ANY, "Processing accelerators"},
};

const char *pci_class_name(uint32_t class_code, uint32_t subclass)
{
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
        if (classes[i].class_code == class_code &&
            (classes[i].subclass == subclass || classes[i].subclass == ANY))
            return classes[i].name;
    return "Device of an unknown class";
}

const char *pci_note_text(pci_note_t n)
{
    static const char *const text[PCI_NOTES] = {
        [PCI_NOTE_TABLE_FULL] = "more functions than the table has room for, left out",
        [PCI_NOTE_HEADER] = "unknown header type, only its identity is used",
        [PCI_NOTE_BUS_AGAIN] = "bridge to a bus that was seen before, not followed",
        [PCI_NOTE_BUS_NONE] = "bridge without a bus number from the firmware, what is behind it is not used",
        [PCI_NOTE_BAR_TYPE] = "refused, reserved type",
        [PCI_NOTE_BAR_SIZE] = "refused, its size is not a power of two, mask",
        [PCI_NOTE_BAR_HALF] = "refused, 64 bits wide but the last one",
        [PCI_NOTE_BAR_RANGE] = "refused, it reaches beyond the address space, from",
        [PCI_NOTE_BAR_MEMORY] = "refused, there is memory at its address",
        [PCI_NOTE_BAR_ALIGN] = "refused, its address is not a multiple of its size",
        [PCI_NOTE_BAR_UNASSIGNED] = "not used, the firmware gave it no address, size",
        [PCI_NOTE_CAP_LOOP] = "the capability list is a loop, cut at",
        [PCI_NOTE_CAP_OFFSET] = "the capability list leads into the header, cut at",
        [PCI_NOTE_MSIX] = "MSI-X not used, its table is not inside a memory BAR, offset",
    };

    return n < PCI_NOTES ? text[n] : "unknown note";
}

bool pci_note_is_bar(pci_note_t n) { return n >= PCI_NOTE_BAR_TYPE && n <= PCI_NOTE_BAR_UNASSIGNED; }
