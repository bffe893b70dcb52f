/* SPDX-License-Identifier: MIT
 *
 * A kernel that checks what the Limine protocol promises at entry, on the boot CPU and on every other, prints
 * TAP on COM1, and ends QEMU by isa-debug-exit: status 1 when all is well, 3 when not.
 *
 * "cpus=N" on its command line says how many CPUs there must be, "modules=N" how many modules.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../boot/cpu.h"
#include "../../boot/limine.h"

#define HHDM 0xffff800000000000u
#define STACK 0x40000u
#define PAGE 4096u
#define ADDRESS 0x000ffffffffff000u
#define NO_EXEC (1ull << 63)
#define CPUS 256

enum { P_PRESENT = 1, P_WRITE = 2, P_USER = 4, P_LARGE = 0x80 };

struct __attribute__((packed)) descriptor_table {
    uint16_t limit;
    uint64_t base;
};

struct entry_state {
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rflags;
    uint64_t return_address; /* this is where RSP pointed to */
};

extern const uint8_t text_start[], text_end[], rodata_end[], data_end[];
extern const uint8_t start[], ap_start[];

_Noreturn void boot_cpu_main(const struct entry_state *s);
_Noreturn void other_cpu_main(const struct entry_state *s);
_Noreturn void wrong_start(void);

__asm__(
    ".text\n"
    ".macro entry to\n"
    "pushfq\n push %r15\n push %r14\n push %r13\n push %r12\n push %r11\n push %r10\n push %r9\n push %r8\n"
    "push %rbp\n push %rdi\n push %rsi\n push %rdx\n push %rcx\n push %rbx\n push %rax\n"
    "mov %rsp, %rdi\n sub $8, %rsp\n call \\to\n"
    ".endm\n"
    ".globl start, ap_start\n"
    "start: entry boot_cpu_main\n"
    "ap_start: entry other_cpu_main\n");

LIMINE_REQUEST_START static volatile uint64_t first[4] = LIMINE_REQUESTS_START;
LIMINE_REQUEST static volatile uint64_t revision[3] = LIMINE_BASE_REVISION(2);
LIMINE_REQUEST static volatile struct limine_request hhdm = {.id = LIMINE_ID_HHDM};
LIMINE_REQUEST static volatile struct limine_request memmap = {.id = LIMINE_ID_MEMMAP};
LIMINE_REQUEST static volatile struct limine_mp_request mp = {.id = LIMINE_ID_MP};
LIMINE_REQUEST static volatile struct limine_request address = {.id = LIMINE_ID_EXECUTABLE_ADDRESS};
LIMINE_REQUEST static volatile struct limine_request rsdp = {.id = LIMINE_ID_RSDP};
LIMINE_REQUEST static volatile struct limine_request info = {.id = LIMINE_ID_LOADER_INFO};
LIMINE_REQUEST static volatile struct limine_request kernel_file = {.id = LIMINE_ID_KERNEL_FILE};
LIMINE_REQUEST static volatile struct limine_request cmdline = {.id = LIMINE_ID_CMDLINE};
LIMINE_REQUEST static volatile struct limine_request modules = {.id = LIMINE_ID_MODULES};
LIMINE_REQUEST static volatile struct limine_stack_size_request stack_size = {.id = LIMINE_ID_STACK_SIZE,
                                                                              .size = STACK};
LIMINE_REQUEST static volatile struct limine_entry_point_request entry_point = {.id = LIMINE_ID_ENTRY_POINT,
                                                                                .entry = (uint64_t)start};
LIMINE_REQUEST static volatile struct limine_request unknown = {.id = LIMINE_ID(0x1234, 0x5678)};
LIMINE_REQUEST_END static volatile uint64_t last[2] = LIMINE_REQUESTS_END;
/* Outside of the markers: must not be answered, nor count as a second one. */
static volatile struct limine_request decoy __attribute__((used)) = {.id = LIMINE_ID_HHDM, .revision = 7};

static uint32_t tests, failures;
static const char *volatile ap_fault[CPUS];
static volatile uint64_t ap_stack[CPUS];
static volatile uint32_t ap_done[CPUS];

static void put(char c)
{
    while ((inb(0x3fd) & 0x20) == 0)
        ;
    outb(0x3f8, (uint8_t)c);
}

static void print(const char *s)
{
    while (*s != '\0')
        put(*s++);
}

static void print_hex(uint64_t v)
{
    print("0x");
    for (int shift = 60; shift >= 0; shift -= 4)
        put("0123456789abcdef"[v >> shift & 15]);
}

static void print_number(uint32_t n)
{
    if (n >= 10)
        print_number(n / 10);
    put((char)('0' + n % 10));
}

static bool check_value(bool good, const char *what, uint64_t value)
{
    print(good ? "ok " : "not ok ");
    print_number(++tests);
    print(" - ");
    print(what);
    print("\n");
    if (!good) {
        failures++;
        print("# ");
        print_hex(value);
        print("\n");
    }
    return good;
}

_Noreturn static void finish(void)
{
    print("1..");
    print_number(tests);
    print("\n");
    outb(0xf4, failures == 0 ? 0 : 1);
    for (;;)
        __asm__ volatile("cli; hlt");
}

void wrong_start(void)
{
    check_value(false, "entry point of the request instead of the ELF's", 0);
    finish();
}

static uint64_t read_cr(int which)
{
    uint64_t v;
    if (which == 0)
        __asm__ volatile("mov %%cr0, %0" : "=r"(v));
    else if (which == 3)
        __asm__ volatile("mov %%cr3, %0" : "=r"(v));
    else
        __asm__ volatile("mov %%cr4, %0" : "=r"(v));
    return v;
}

static bool selectors_are_right(void)
{
    uint16_t cs, ds, es, fs, gs, ss;
    __asm__ volatile("mov %%cs, %0" : "=r"(cs));
    __asm__ volatile("mov %%ds, %0" : "=r"(ds));
    __asm__ volatile("mov %%es, %0" : "=r"(es));
    __asm__ volatile("mov %%fs, %0" : "=r"(fs));
    __asm__ volatile("mov %%gs, %0" : "=r"(gs));
    __asm__ volatile("mov %%ss, %0" : "=r"(ss));
    return cs == 0x28 && ds == 0x30 && es == 0x30 && fs == 0x30 && gs == 0x30 && ss == 0x30;
}

/* Access bits (with "accessed" set), L, D/B and G of a descriptor. */
static bool descriptor_is(uint64_t d, uint32_t access, uint32_t flags)
{
    return ((d >> 40 & 0xff) | 1) == (access | 1) && (d >> 52 & 0xf) == flags;
}

static bool gdt_is_right(void)
{
    struct descriptor_table t;
    __asm__ volatile("sgdt %0" : "=m"(t));
    const uint64_t *d = (const uint64_t *)t.base;
    return t.limit == 7 * 8 - 1 && t.base >= HHDM && d[0] == 0 && descriptor_is(d[1], 0x9b, 0) &&
           descriptor_is(d[2], 0x93, 0) && descriptor_is(d[3], 0x9b, 0xc) && descriptor_is(d[4], 0x93, 0xc) &&
           descriptor_is(d[5], 0x9b, 0x2) && (d[6] >> 40 & 0xff) == 0x93;
}

/* Whether [at, at + length), HHDM addresses, lies in one entry of the type. */
static bool lies_in(uint64_t at, uint64_t length, uint64_t type)
{
    const struct limine_memmap_response *m = memmap.response;
    for (uint64_t i = 0; i < m->entry_count; i++) {
        uint64_t base = m->entries[i]->base + HHDM;
        if (m->entries[i]->type == type && at >= base && at + length <= base + m->entries[i]->length)
            return true;
    }
    return false;
}

/* NULL: all as promised. */
static const char *fault_of(const struct entry_state *s, uint64_t rdi)
{
    uint64_t rsp = (uint64_t)&s->return_address;
    const uint64_t *regs = &s->rax;
    for (uint32_t i = 0; i < 15; i++) {
        if (regs[i] != (i == 5 ? rdi : 0))
            return "a general register is not 0";
    }
    if ((s->rflags & (1u << 9 | 1u << 10)) != 0)
        return "IF or DF is set";
    if (rsp % 16 != 8)
        return "RSP is not 8 mod 16";
    if (s->return_address != 0)
        return "the return address is not 0";
    if (!lies_in(rsp + 8 - STACK, STACK, LIMINE_MEM_RECLAIMABLE))
        return "the stack is too small, or not in reclaimable memory of the HHDM";
    if ((read_cr(0) & ~0x10ull) != 0x80010001)
        return "CR0 is not PG, PE, WP";
    if (read_cr(4) != 0x20)
        return "CR4 is not PAE";
    if (rdmsr(0xc0000080) != 0xd00)
        return "EFER is not LME, LMA, NXE";
    if (rdmsr(0x277) != 0x0000010500070406)
        return "the PAT differs";
    if (rdmsr(0xc0000100) != 0 || rdmsr(0xc0000101) != 0)
        return "FS or GS base is not 0";
    if (!selectors_are_right())
        return "a selector differs";
    return gdt_is_right() ? NULL : "the GDT differs";
}

/* The entry that maps virt, with its size in *size; permission bits are those of the whole walk. */
static uint64_t walk(uint64_t virt, uint64_t *size)
{
    uint64_t table = read_cr(3) & ADDRESS, write = P_WRITE, no_exec = 0;
    for (int level = 3;; level--) {
        uint64_t entry = ((const uint64_t *)(table + HHDM))[virt >> (12 + 9 * level) & 511];
        *size = 1ull << (12 + 9 * level);
        if ((entry & P_PRESENT) == 0)
            return 0;
        write &= entry;
        no_exec |= entry & NO_EXEC;
        if (level == 0 || (entry & P_LARGE) != 0)
            return (entry & ADDRESS & ~(*size - 1)) | no_exec | write | P_PRESENT;
        table = entry & ADDRESS;
    }
}

static bool lower_half_is_empty(void)
{
    const uint64_t *root = (const uint64_t *)((read_cr(3) & ADDRESS) + HHDM);
    for (int i = 0; i < 256; i++) {
        if (root[i] != 0)
            return false;
    }
    return true;
}

/* Where [base, end) is mapped other than to phys with these bits; 0: nowhere. */
static uint64_t mismatch(uint64_t base, uint64_t end, uint64_t phys, uint64_t bits)
{
    for (uint64_t at = base; at < end; at += PAGE) {
        uint64_t size;
        if (walk(at, &size) != ((phys + (at - base)) | bits))
            return at;
    }
    return 0;
}

static void check_kernel_mapping(void)
{
    const struct limine_executable_address_response *a = address.response;
    uint64_t text = (uint64_t)text_start, rodata = (uint64_t)text_end, data = (uint64_t)rodata_end;
    uint64_t end = (uint64_t)data_end, phys = a->physical_base, at;
    check_value(a->virtual_base == text, "executable address: virtual base", a->virtual_base);
    check_value(lies_in(phys + HHDM, end - text, LIMINE_MEM_KERNEL_AND_MODULES),
                "kernel lies in memory of its type", phys);
    at = mismatch(text, rodata, phys, P_PRESENT);
    check_value(at == 0, "code is mapped executable, not writable", at);
    at = mismatch(rodata, data, phys + (rodata - text), P_PRESENT | NO_EXEC);
    check_value(at == 0, "constants are mapped neither", at);
    at = mismatch(data, end, phys + (data - text), P_PRESENT | P_WRITE | NO_EXEC);
    check_value(at == 0, "data is mapped writable, not executable", at);
}

/* The first address of the HHDM part that is not mapped as such; 0: it all is. */
static uint64_t hole(uint64_t phys, uint64_t end)
{
    while (phys < end) {
        uint64_t size, entry = walk(phys + HHDM, &size);
        if ((entry & P_PRESENT) == 0 || (entry & ADDRESS) != (phys & ~(size - 1)))
            return phys + HHDM;
        if ((entry & P_WRITE) != 0 && (entry & NO_EXEC) == 0)
            return phys + HHDM;
        phys = (phys & ~(size - 1)) + size;
    }
    return 0;
}

static void check_hhdm(void)
{
    const struct limine_memmap_response *m = memmap.response;
    uint64_t at = hole(0, 1ull << 32);
    check_value(((struct limine_hhdm_response *)hhdm.response)->offset == HHDM, "HHDM offset", 0);
    check_value(at == 0, "HHDM covers 0 to 4 GiB, no page both writable and executable", at);
    at = 0;
    for (uint64_t i = 0; i < m->entry_count && at == 0; i++) {
        if (m->entries[i]->type != LIMINE_MEM_RESERVED && m->entries[i]->type != LIMINE_MEM_BAD)
            at = hole(m->entries[i]->base, m->entries[i]->base + m->entries[i]->length);
    }
    check_value(at == 0, "HHDM covers every entry that is not reserved", at);
    check_value(lower_half_is_empty(), "nothing is mapped in the lower half", 0);
}

static bool entry_is_aligned(const struct limine_memmap_entry *e)
{
    bool pages = e->type == LIMINE_MEM_USABLE || e->type == LIMINE_MEM_RECLAIMABLE;
    return e->length > 0 && (!pages || (e->base | e->length) % PAGE == 0);
}

static void check_memmap(void)
{
    const struct limine_memmap_response *m = memmap.response;
    uint64_t usable = 0, end = 0, bad = 0;
    for (uint64_t i = 0; i < m->entry_count; i++) {
        const struct limine_memmap_entry *e = m->entries[i];
        if (!entry_is_aligned(e) || e->base < end || e->type > LIMINE_MEM_FRAMEBUFFER)
            bad = i + 1;
        end = e->base + e->length;
        usable += e->type == LIMINE_MEM_USABLE ? e->length : 0;
    }
    check_value(m->entry_count > 2 && bad == 0, "memory map: sorted, disjoint, pages aligned", bad);
    check_value(usable > 32u << 20, "memory map: more than 32 MiB are usable", usable);
}

/* Usable memory must be nobody's: after this, everything else has to work still. */
static void overwrite_usable(void)
{
    const struct limine_memmap_response *m = memmap.response;
    for (uint64_t i = 0; i < m->entry_count; i++) {
        const struct limine_memmap_entry *e = m->entries[i];
        uint64_t words = (e->length < 64u << 20 ? e->length : 64u << 20) / 8;
        void *to = (void *)(e->base + HHDM);
        if (e->type == LIMINE_MEM_USABLE)
            __asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(0xa5a5a5a5a5a5a5a5ull) : "memory");
    }
}

static bool reclaimable(const volatile void *p, uint64_t length)
{
    return p != NULL && lies_in((uint64_t)p, length, LIMINE_MEM_RECLAIMABLE);
}

static void check_responses(void)
{
    check_value(revision[2] == 0, "base revision 2 is supported", revision[2]);
    check_value(reclaimable(hhdm.response, 16) && reclaimable(memmap.response, 24) &&
                    reclaimable(mp.response, 32) && reclaimable(address.response, 24) &&
                    reclaimable(rsdp.response, 16) && reclaimable(info.response, 24) &&
                    reclaimable(kernel_file.response, 16) && reclaimable(cmdline.response, 16) &&
                    reclaimable(modules.response, 24) && reclaimable(stack_size.response, 8) &&
                    reclaimable(entry_point.response, 8),
                "every known request is answered, in reclaimable memory", 0);
    check_value(unknown.response == NULL, "an unknown request is left alone", (uint64_t)unknown.response);
    check_value(decoy.response == NULL, "a request outside of the markers is left alone",
                (uint64_t)decoy.response);
}

static bool starts_with(const char *s, const char *prefix)
{
    while (*prefix != '\0' && *s == *prefix) {
        s++;
        prefix++;
    }
    return *prefix == '\0';
}

static uint32_t length_of(const char *s)
{
    uint32_t n = 0;
    while (s[n] != '\0')
        n++;
    return n;
}

static uint32_t number_after(const char *name, uint32_t otherwise)
{
    const char *c = ((struct limine_cmdline_response *)cmdline.response)->cmdline;
    while (*c != '\0' && !starts_with(c, name))
        c++;
    if (*c == '\0')
        return otherwise;
    uint32_t n = 0;
    for (c += length_of(name); *c >= '0' && *c <= '9'; c++)
        n = n * 10 + (uint32_t)(*c - '0');
    return n;
}

/* Each has its number as its command line. */
static void check_modules(void)
{
    const struct limine_modules_response *m = modules.response;
    bool good = m->count == number_after("modules=", 0);
    for (uint64_t i = 0; good && i < m->count; i++) {
        const struct limine_file *f = m->files[i];
        good = f->size > 0 && (uint64_t)f->address % PAGE == 0 && f->cmdline[0] == (char)('1' + i) &&
               lies_in((uint64_t)f->address, f->size, LIMINE_MEM_KERNEL_AND_MODULES);
    }
    check_value(good, "modules besides the kernel", m->count);
}

static void check_files(void)
{
    const struct limine_loader_info_response *i = info.response;
    const struct limine_file *f = ((struct limine_kernel_file_response *)kernel_file.response)->file;
    const struct limine_rsdp_response *r = rsdp.response;
    const char *line = ((struct limine_cmdline_response *)cmdline.response)->cmdline;
    check_value(i->name[0] != '\0' && i->version[0] >= '0' && i->version[0] <= '9',
                "loader's name and version", 0);
    check_value(starts_with(f->address, "\177ELF") &&
                    lies_in((uint64_t)f->address, f->size, LIMINE_MEM_KERNEL_AND_MODULES),
                "kernel file: the ELF, in memory of its type", (uint64_t)f->address);
    check_value(starts_with(f->cmdline, line) && starts_with(line, f->cmdline),
                "kernel file has the command line", 0);
    check_modules();
    check_value(starts_with((const char *)r->address, "RSD PTR "), "RSDP is there, at an HHDM address",
                r->address);
}

/* Every line of the IOAPIC that QEMU's machines have. */
static void check_interrupts(void)
{
    volatile uint32_t *ioapic = (volatile uint32_t *)(0xfec00000u + HHDM);
    uint32_t open = 0;
    ioapic[0] = 1;
    uint32_t lines = (ioapic[4] >> 16 & 0xff) + 1;
    for (uint32_t i = 0; i < lines; i++) {
        ioapic[0] = 0x10 + 2 * i;
        open += (ioapic[4] & 0x10000) == 0;
    }
    check_value(inb(0x21) == 0xff && inb(0xa1) == 0xff, "both PICs are masked", inb(0x21));
    check_value(lines >= 24 && open == 0, "the IOAPIC is masked", open);
}

void other_cpu_main(const struct entry_state *s)
{
    const struct limine_mp_cpu *cpu = (const struct limine_mp_cpu *)s->rdi;
    uint64_t i = cpu->extra_argument;
    ap_fault[i] = cpu == ((struct limine_mp_response *)mp.response)->cpus[i] ? fault_of(s, (uint64_t)cpu)
                                                                             : "RDI is another CPU's";
    if (ap_fault[i] == NULL && (cpuid(1).b >> 24) != cpu->lapic_id)
        ap_fault[i] = "its LAPIC ID differs";
    ap_stack[i] = (uint64_t)s;
    __atomic_store_n(&ap_done[i], 1, __ATOMIC_RELEASE);
    for (;;)
        __asm__ volatile("cli; hlt");
}

static void send_off(struct limine_mp_cpu *cpu, uint64_t index)
{
    cpu->extra_argument = index;
    __atomic_store_n(&cpu->goto_address, (uint64_t)ap_start, __ATOMIC_RELEASE);
}

static bool arrives(uint64_t index)
{
    for (uint64_t start_time = rdtsc(); rdtsc() - start_time < 20000000000ull;) {
        if (__atomic_load_n(&ap_done[index], __ATOMIC_ACQUIRE) != 0)
            return true;
        __asm__ volatile("pause");
    }
    return false;
}

static void check_other_cpu(uint64_t index)
{
    const char *fault = arrives(index) ? ap_fault[index] : "it does not arrive";
    for (uint64_t i = 0; fault == NULL && i < index; i++) {
        if (ap_stack[i] - ap_stack[index] + STACK < 2 * STACK && ap_done[i] != 0)
            fault = "it shares a stack";
    }
    if (fault != NULL) {
        print("# ");
        print(fault);
        print("\n");
    }
    check_value(fault == NULL, "another CPU's state at entry", index);
}

static void check_cpus(void)
{
    const struct limine_mp_response *m = mp.response;
    uint64_t boot_cpus = 0;
    if (!check_value(m->cpu_count == number_after("cpus=", 1), "number of CPUs", m->cpu_count) ||
        m->cpu_count > CPUS)
        return;
    check_value(m->bsp_lapic_id == cpuid(1).b >> 24, "boot CPU's LAPIC ID", m->bsp_lapic_id);
    for (uint64_t i = 0; i < m->cpu_count; i++) {
        if (m->cpus[i]->lapic_id == m->bsp_lapic_id)
            boot_cpus++;
        else
            send_off(m->cpus[i], i);
    }
    check_value(boot_cpus == 1, "the boot CPU is listed once", boot_cpus);
    for (uint64_t i = 0; i < m->cpu_count; i++) {
        if (m->cpus[i]->lapic_id != m->bsp_lapic_id)
            check_other_cpu(i);
    }
}

void boot_cpu_main(const struct entry_state *s)
{
    outb(0x3f9, 0);
    outb(0x3fa, 1);
    print("TAP version 13\n");
    check_responses();
    const char *fault = fault_of(s, 0);
    if (fault != NULL) {
        print("# ");
        print(fault);
        print("\n");
    }
    check_value(fault == NULL, "boot CPU's state at entry", (uint64_t)s);
    check_memmap();
    overwrite_usable();
    check_kernel_mapping();
    check_hhdm();
    check_files();
    check_interrupts();
    check_cpus();
    finish();
}
