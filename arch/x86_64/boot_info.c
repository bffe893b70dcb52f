/* SPDX-License-Identifier: MIT */
/*
 * boot_info.c — asks the loader by the Limine protocol (version 8, base revision 2), and reads the answers.
 *
 * All requests are one object, so that the markers really enclose them.  The loader writes the response
 * pointers before the kernel runs, which no compiler can know: hence volatile.
 */
#include "boot_info.h"

#include "boot/limine.h"

#define REVISION_SET_ASIDE                                                                                   \
    0x6a7b384944536bdcu /* the second word, unless the loader wrote its revision there */
#define PROBLEMS 12u

LIMINE_REQUEST static volatile struct {
    uint64_t start[4];
    uint64_t revision[3];
    struct limine_request hhdm, memmap, address, rsdp, info, file, cmdline;
    struct limine_mp_request mp;
    struct limine_stack_size_request stack;
    uint64_t end[2];
} requests = {
    .start = LIMINE_REQUESTS_START,
    .revision = LIMINE_BASE_REVISION(2),
    .hhdm = {.id = LIMINE_ID_HHDM},
    .memmap = {.id = LIMINE_ID_MEMMAP},
    .address = {.id = LIMINE_ID_EXECUTABLE_ADDRESS},
    .rsdp = {.id = LIMINE_ID_RSDP},
    .info = {.id = LIMINE_ID_LOADER_INFO},
    .file = {.id = LIMINE_ID_KERNEL_FILE},
    .cmdline = {.id = LIMINE_ID_CMDLINE},
    .mp = {.id = LIMINE_ID_MP, .flags = LIMINE_MP_X2APIC},
    .stack = {.id = LIMINE_ID_STACK_SIZE, .size = 65536},
    .end = LIMINE_REQUESTS_END,
};

static boot_info_t info;
static const char *problems[PROBLEMS];
static uint32_t n_problems;

const boot_info_t *boot_info(void) { return &info; }

const char *boot_info_problem(uint32_t n) { return n < n_problems ? problems[n] : NULL; }

/* Remembers a line; answers false, for those that cannot go on. */
static bool problem(const char *line)
{
    if (n_problems < PROBLEMS)
        problems[n_problems++] = line;
    return false;
}

/* Copies a string that the loader vouches for; NULL is an empty one. */
static bool copy_text(char *to, size_t room, const char *from)
{
    size_t n = 0;

    for (; from && from[n] && n + 1 < room; n++)
        to[n] = from[n];
    to[n] = 0;
    return !from || !from[n];
}

static bool read_hhdm(void)
{
    const struct limine_hhdm_response *r = requests.hhdm.response;

    if (!r)
        return problem("the loader gives no direct map of memory (Limine HHDM request)");
    if (r->offset < 0xffff800000000000u || r->offset % 4096)
        return problem("the loader's direct map is no page-aligned address of the upper half");
    info.hhdm = r->offset;
    return true;
}

static bool read_address(void)
{
    const struct limine_executable_address_response *r = requests.address.response;

    if (!r)
        return problem("the loader does not say where the kernel lies (Limine executable address request)");
    if (r->physical_base % 4096 || r->virtual_base % 4096)
        return problem("the loader put the kernel at an address that is no whole page");
    info.kernel_phys = r->physical_base;
    info.kernel_virt = r->virtual_base;
    return true;
}

static bool read_memmap(void)
{
    static boot_range_t raw[BOOT_RANGES_IN];
    const struct limine_memmap_response *r = requests.memmap.response;
    uint32_t n = 0, repaired;

    if (!r)
        return problem("the loader gives no memory map (Limine memory map request)");
    for (uint64_t i = 0; i < r->entry_count && n < BOOT_RANGES_IN; i++) {
        const struct limine_memmap_entry *e = r->entries[i];
        uint64_t type = e->type < BOOT_KINDS ? e->type : BOOT_RESERVED;
        raw[n++] = (boot_range_t){.base = e->base, .length = e->length, .type = (uint32_t)type};
    }
    if (r->entry_count > n)
        (void)problem("the memory map has more than 256 entries: the others are left out");
    info.n_ranges = boot_map_normalise(raw, n, info.memmap, &repaired);
    if (repaired)
        (void)problem("the memory map has entries that are empty, overlap or wrap: put in order");
    return info.n_ranges > 0 || problem("the memory map is empty");
}

/* The boot CPU alone, when the loader starts no others. */
static void only_this_cpu(void)
{
    info.cpus[0] = (boot_cpu_t){.lapic_id = info.bsp_lapic};
    info.n_cpus = 1;
}

static void read_cpus(void)
{
    struct limine_mp_response *r = requests.mp.response;

    if (!r) {
        (void)problem("the loader starts no other CPUs (Limine MP request): going on with one");
        only_this_cpu();
        return;
    }
    info.mp_answered = true;
    info.x2apic = (r->flags & LIMINE_MP_X2APIC) != 0;
    info.bsp_lapic = r->bsp_lapic_id;
    for (uint64_t i = 0; i < r->cpu_count && info.n_cpus < BOOT_CPUS; i++) {
        struct limine_mp_cpu *c = r->cpus[i];
        info.cpus[info.n_cpus++] = (boot_cpu_t){.acpi_id = c->processor_id, .lapic_id = c->lapic_id, .mp = c};
    }
    if (r->cpu_count > BOOT_CPUS) {
        info.cpus_left_out = (uint32_t)(r->cpu_count - BOOT_CPUS);
        (void)problem("more than 256 CPUs: the others stay parked");
    }
    if (info.n_cpus == 0)
        only_this_cpu();
}

/* An HHDM address up to base revision 2, a physical one from 3 on: no physical one is that high. */
static void read_rsdp(void)
{
    const struct limine_rsdp_response *r = requests.rsdp.response;

    if (!r || r->address == 0)
        (void)problem("the loader knows of no ACPI (Limine RSDP request): going on without");
    else
        info.rsdp = r->address >= info.hhdm ? r->address - info.hhdm : r->address;
}

/* The command line request is younger than version 8.2, where the kernel's file has it. */
static void read_texts(void)
{
    const struct limine_loader_info_response *loader = requests.info.response;
    const struct limine_cmdline_response *line = requests.cmdline.response;
    const struct limine_kernel_file_response *file = requests.file.response;
    const char *text = line ? line->cmdline : file && file->file ? file->file->cmdline : NULL;

    (void)copy_text(info.loader_name, sizeof(info.loader_name), loader ? loader->name : "unnamed loader");
    (void)copy_text(info.loader_version, sizeof(info.loader_version), loader ? loader->version : NULL);
    if (!copy_text(info.cmdline, sizeof(info.cmdline), text))
        (void)problem("the command line is longer than 1023 bytes: cut");
}

bool boot_info_read(void)
{
    bool there;

    if (!LIMINE_BASE_REVISION_SUPPORTED(requests.revision))
        return problem(
            "the loader does not speak the Limine protocol of base revision 2 (version 8 or later)");
    info.base_revision = requests.revision[1] == REVISION_SET_ASIDE ? 2 : requests.revision[1];
    read_texts();
    there = read_hhdm();
    there = read_address() && there;
    there = read_memmap() && there;
    read_cpus();
    read_rsdp();
    return there;
}
