/* SPDX-License-Identifier: MIT
 *
 * The Limine boot protocol, as far as this project speaks it: base revision 2, x86-64.
 *
 * For the kernel (which places requests in its image) and for the loader in this directory (which finds them
 * there and answers).  A request is 8-byte aligned, lies in a file-backed part of a loaded segment, and must
 * be neither constant-folded nor dropped: declare it `LIMINE_REQUEST static volatile`.  A response pointer
 * stays NULL where the loader does not know the request.  Every pointer is an address in the higher-half
 * direct map (HHDM); responses lie in memory of type LIMINE_MEM_RECLAIMABLE, so copy before reclaiming.
 *
 * Source: the public description of the Limine boot protocol, version 8.
 */
#ifndef GMK_BOOT_LIMINE_H
#define GMK_BOOT_LIMINE_H

#include <stdint.h>

#define LIMINE_REQUEST __attribute__((used, aligned(8), section(".limine_requests")))
#define LIMINE_REQUEST_START __attribute__((used, aligned(8), section(".limine_requests_start")))
#define LIMINE_REQUEST_END __attribute__((used, aligned(8), section(".limine_requests_end")))

/* The loader writes 0 to the third word when it supports revision N. */
#define LIMINE_BASE_REVISION(N)                                                                              \
    {                                                                                                        \
        0xf9562b2d5c95a6c8u, 0x6a7b384944536bdcu, (N)                                                        \
    }
#define LIMINE_BASE_REVISION_SUPPORTED(words) ((words)[2] == 0)

/* Optional.  Where both are in the image, requests count only between them. */
#define LIMINE_REQUESTS_START                                                                                \
    {                                                                                                        \
        0xf6b8f4b39de7d1aeu, 0xfab91a6940fcb9cfu, 0x785c6ed015d3e316u, 0x181e920a7852b9d9u                   \
    }
#define LIMINE_REQUESTS_END                                                                                  \
    {                                                                                                        \
        0xadc0e0531bb10d03u, 0x9572709f31764c62u                                                             \
    }

/* The first two words of every request; the next two say which. */
#define LIMINE_COMMON_0 0xc7b1dd30df4c8b88u
#define LIMINE_COMMON_1 0x0a82e883a194f07bu
#define LIMINE_ID(A, B)                                                                                      \
    {                                                                                                        \
        LIMINE_COMMON_0, LIMINE_COMMON_1, (A), (B)                                                           \
    }

#define LIMINE_ID_HHDM LIMINE_ID(0x48dcf1cb8ad2b852u, 0x63984e959a98244bu)
#define LIMINE_ID_MEMMAP LIMINE_ID(0x67cf3d9d378a806fu, 0xe304acdfc50c3c62u)
#define LIMINE_ID_MP LIMINE_ID(0x95a67b819a1b857eu, 0xa0b61b723b6a73e0u)
#define LIMINE_ID_EXECUTABLE_ADDRESS LIMINE_ID(0x71ba76863cc55f63u, 0xb2644a48c516a487u)
#define LIMINE_ID_RSDP LIMINE_ID(0xc5e77b6b397e7b43u, 0x27637845accdcf3cu)
#define LIMINE_ID_LOADER_INFO LIMINE_ID(0xf55038d8e2a1202fu, 0x279426fcf5f59740u)
#define LIMINE_ID_KERNEL_FILE LIMINE_ID(0xad97e90e83f1ed67u, 0x31eb5d1c5ff23b69u)
#define LIMINE_ID_CMDLINE LIMINE_ID(0x4b161536e598651eu, 0xb390ad4a2f1f303au)
#define LIMINE_ID_MODULES LIMINE_ID(0x3e7e279702be32afu, 0xca1c4f3bd1280ceeu)
#define LIMINE_ID_STACK_SIZE LIMINE_ID(0x224ef0460a8e8926u, 0xe1cb0fc25f46ea3du)
#define LIMINE_ID_ENTRY_POINT LIMINE_ID(0x13d86c035a1cd3e1u, 0x2b0caa89d8f3026au)

/* Any request without extra words: HHDM, memory map, executable address, RSDP, loader info, kernel file,
 * command line, modules.  `response` points to the struct of its name. */
struct limine_request {
    uint64_t id[4];
    uint64_t revision;
    void *response;
};

struct limine_mp_request {
    uint64_t id[4];
    uint64_t revision;
    struct limine_mp_response *response;
    uint64_t flags; /* LIMINE_MP_X2APIC: switch the CPUs to x2APIC if they have it */
};

struct limine_stack_size_request {
    uint64_t id[4];
    uint64_t revision;
    struct limine_plain_response *response;
    uint64_t size; /* bytes; less than 64 KiB counts as 64 KiB */
};

struct limine_entry_point_request {
    uint64_t id[4];
    uint64_t revision;
    struct limine_plain_response *response;
    uint64_t entry; /* instead of the ELF's entry point */
};

/* The answer to a request that only tells the loader something: stack size, entry point. */
struct limine_plain_response {
    uint64_t revision;
};

struct limine_hhdm_response {
    uint64_t revision;
    uint64_t offset; /* virtual = physical + offset */
};

enum {
    LIMINE_MEM_USABLE = 0,
    LIMINE_MEM_RESERVED = 1,
    LIMINE_MEM_ACPI_RECLAIMABLE = 2,
    LIMINE_MEM_ACPI_NVS = 3,
    LIMINE_MEM_BAD = 4,
    LIMINE_MEM_RECLAIMABLE = 5, /* what the loader used: free once nothing of the loader's is needed */
    LIMINE_MEM_KERNEL_AND_MODULES = 6,
    LIMINE_MEM_FRAMEBUFFER = 7
};

struct limine_memmap_entry {
    uint64_t base;
    uint64_t length;
    uint64_t type;
};

/* Sorted by base; types USABLE and RECLAIMABLE are page-aligned and overlap nothing. */
struct limine_memmap_response {
    uint64_t revision;
    uint64_t entry_count;
    struct limine_memmap_entry **entries;
};

#define LIMINE_MP_X2APIC 1u

/* A CPU other than the boot CPU waits until goto_address is not 0 (write it last, atomically), then jumps
 * there with its limine_mp_cpu in RDI, a stack of its own, and the same state as the boot CPU had. */
struct limine_mp_cpu {
    uint32_t processor_id; /* ACPI UID */
    uint32_t lapic_id;
    uint64_t reserved;
    uint64_t goto_address;
    uint64_t extra_argument; /* the kernel's to use */
};

struct limine_mp_response {
    uint64_t revision;
    uint32_t flags; /* LIMINE_MP_X2APIC: the CPUs are in x2APIC mode */
    uint32_t bsp_lapic_id;
    uint64_t cpu_count; /* the boot CPU included */
    struct limine_mp_cpu **cpus;
};

struct limine_executable_address_response {
    uint64_t revision;
    uint64_t physical_base;
    uint64_t virtual_base;
};

struct limine_rsdp_response {
    uint64_t revision;
    uint64_t address; /* HHDM address up to base revision 2, physical from 3 on */
};

struct limine_loader_info_response {
    uint64_t revision;
    const char *name;
    const char *version;
};

/* The protocol's struct goes on with where the file came from: disk, partition, network. */
struct limine_file {
    uint64_t revision;
    void *address;
    uint64_t size;
    const char *path;
    const char *cmdline;
    uint64_t origin[12];
};

struct limine_kernel_file_response {
    uint64_t revision;
    struct limine_file *file;
};

struct limine_cmdline_response {
    uint64_t revision;
    const char *cmdline;
};

struct limine_modules_response {
    uint64_t revision;
    uint64_t count;
    struct limine_file **files;
};

#endif
