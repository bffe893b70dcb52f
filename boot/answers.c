/* SPDX-License-Identifier: MIT
 *
 * The responses lie in the loader's own image, which the memory map calls reclaimable.
 */
#include "answers.h"
#include "handoff.h"

static struct {
    struct limine_hhdm_response hhdm;
    struct limine_memmap_response memmap;
    struct limine_mp_response mp;
    struct limine_executable_address_response address;
    struct limine_rsdp_response rsdp;
    struct limine_loader_info_response info;
    struct limine_kernel_file_response kernel;
    struct limine_cmdline_response cmdline;
    struct limine_modules_response modules;
    struct limine_plain_response stack_size, entry_point;
} answer;

static struct limine_memmap_entry *memmap_pointers[MEMMAP_MAX];
static struct limine_file files[SOURCE_MODULES];
static struct limine_file *file_pointers[SOURCE_MODULES];
static struct limine_mp_cpu boot_cpu, cpus[SMP_SLOTS];
static struct limine_mp_cpu *cpu_pointers[SMP_SLOTS + 1];

static void *high(const void *p) { return (void *)((uintptr_t)p + HHDM); }

static void reply(struct boot *b, enum request r, void *response)
{
    if (b->asked.found[r] != NULL)
        b->asked.found[r]->response = high(response);
}

static void fill_file(struct limine_file *f, const struct source_module *m, const char *cmdline)
{
    f->address = high((const void *)(uintptr_t)m->base);
    f->size = m->size;
    f->path = high("");
    f->cmdline = high(cmdline);
}

/* The first module is the kernel itself. */
static void fill_files(struct boot *b)
{
    for (uint32_t i = 0; i < b->source.module_count; i++) {
        const struct source_module *m = &b->source.module[i];
        fill_file(&files[i], m, i == 0 ? b->kernel_cmdline : m->cmdline);
        file_pointers[i] = high(&files[i]);
    }
    answer.kernel.file = high(&files[0]);
    answer.modules.count = b->source.module_count - 1;
    answer.modules.files = high(&file_pointers[1]);
}

void answer_requests(struct boot *b)
{
    fill_files(b);
    answer.hhdm.offset = HHDM;
    answer.address.physical_base = b->kernel_phys;
    answer.address.virtual_base = b->image.base;
    answer.rsdp.address = b->rsdp + HHDM;
    answer.info.name = high(LOADER_NAME);
    answer.info.version = high(GMK_VERSION);
    answer.cmdline.cmdline = high(b->kernel_cmdline);
    reply(b, REQUEST_HHDM, &answer.hhdm);
    reply(b, REQUEST_EXECUTABLE_ADDRESS, &answer.address);
    if (b->rsdp != 0)
        reply(b, REQUEST_RSDP, &answer.rsdp);
    reply(b, REQUEST_LOADER_INFO, &answer.info);
    reply(b, REQUEST_KERNEL_FILE, &answer.kernel);
    reply(b, REQUEST_CMDLINE, &answer.cmdline);
    reply(b, REQUEST_MODULES, &answer.modules);
    reply(b, REQUEST_STACK_SIZE, &answer.stack_size);
    reply(b, REQUEST_ENTRY_POINT, &answer.entry_point);
}

void answer_memmap(struct boot *b)
{
    for (uint32_t i = 0; i < b->source.map.count; i++)
        memmap_pointers[i] = high(&b->source.map.entry[i]);
    answer.memmap.entry_count = b->source.map.count;
    answer.memmap.entries = high(memmap_pointers);
    reply(b, REQUEST_MEMMAP, &answer.memmap);
}

struct limine_mp_cpu *answer_mp_cpu(uint32_t slot) { return &cpus[slot]; }

void answer_mp(struct boot *b, uint32_t boot_uid, uint32_t boot_lapic_id, bool x2apic)
{
    uint64_t n = 0;
    boot_cpu.processor_id = boot_uid;
    boot_cpu.lapic_id = boot_lapic_id;
    cpu_pointers[n++] = high(&boot_cpu);
    for (uint32_t i = 0; i < smp_slot_count; i++) {
        if (smp_slots[i].ready != 0)
            cpu_pointers[n++] = high(&cpus[i]);
    }
    answer.mp.flags = x2apic ? LIMINE_MP_X2APIC : 0;
    answer.mp.bsp_lapic_id = boot_lapic_id;
    answer.mp.cpu_count = n;
    answer.mp.cpus = high(cpu_pointers);
    reply(b, REQUEST_MP, &answer.mp);
}
