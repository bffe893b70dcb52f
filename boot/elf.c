/* SPDX-License-Identifier: MIT */
#include "elf.h"
#include "mem.h"

#define EHDR_SIZE 64u
#define PHDR_SIZE 56u
#define ALIGN_MAX 0x40000000u
#define RELINK "link the kernel as a static ELF64 executable for x86-64 (-static -no-pie)"
#define TRUNCATED "the file is truncated or corrupt: build or copy the kernel again"
#define PAGES "give each segment its own pages in the linker script (ALIGN(4096) between sections)"

enum { ET_EXEC = 2, EM_X86_64 = 62, PT_LOAD = 1, PT_DYNAMIC = 2, PT_INTERP = 3, PF_X = 1, PF_W = 2 };

static uint64_t page_up(uint64_t v) { return (v + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1); }

static bool check_header(const uint8_t *file, uint64_t size, struct boot_error *e)
{
    if (size < EHDR_SIZE)
        return boot_fail(e, "kernel file is shorter than an ELF header, bytes", size, TRUNCATED);
    if (memcmp(file, "\177ELF", 4) != 0)
        return boot_fail(e, "kernel file is not ELF, it starts with", read32(file),
                         "give the kernel as the module");
    if (file[4] != 2 || file[5] != 1)
        return boot_fail(e, "kernel ELF is not 64-bit little-endian, class and data", read16(file + 4),
                         RELINK);
    if (file[6] != 1)
        return boot_fail(e, "kernel ELF has an unknown version", file[6], TRUNCATED);
    if (read16(file + 16) != ET_EXEC)
        return boot_fail(e, "kernel ELF is not of type EXEC, but", read16(file + 16), RELINK);
    if (read16(file + 18) != EM_X86_64)
        return boot_fail(e, "kernel ELF is for another machine", read16(file + 18), RELINK);
    if (read16(file + 54) != PHDR_SIZE)
        return boot_fail(e, "kernel ELF has program headers of a wrong size", read16(file + 54), TRUNCATED);
    uint64_t offset = read64(file + 32), length = (uint64_t)read16(file + 56) * PHDR_SIZE;
    if (offset > size || length > size - offset)
        return boot_fail(e, "kernel ELF program headers lie outside of the file, at", offset, TRUNCATED);
    return true;
}

static bool check_place(const struct elf_segment *s, uint64_t align, struct boot_error *e)
{
    if (s->vaddr % PAGE_SIZE != 0)
        return boot_fail(e, "kernel ELF segment does not start on a page", s->vaddr, PAGES);
    if (s->vaddr < ELF_LOWEST_ADDRESS)
        return boot_fail(e, "kernel ELF segment lies below 0xffffffff80000000", s->vaddr,
                         "link the kernel into the topmost 2 GiB");
    /* The last page stays free: a pointer past the end of an object does not wrap. */
    if (s->memsz > UINT64_MAX - PAGE_SIZE - s->vaddr)
        return boot_fail(e, "kernel ELF segment is too large, bytes", s->memsz, TRUNCATED);
    if (align > ALIGN_MAX || (align & (align - 1)) != 0)
        return boot_fail(e, "kernel ELF segment has an impossible alignment", align, RELINK);
    if (align > 1 && ((s->vaddr - s->offset) & (align - 1)) != 0)
        return boot_fail(e, "kernel ELF segment's offset does not match its alignment", s->offset, TRUNCATED);
    return true;
}

static bool check_segment(const uint8_t *ph, uint64_t size, struct elf_segment *s, struct boot_error *e)
{
    uint32_t flags = read32(ph + 4);
    *s = (struct elf_segment){.vaddr = read64(ph + 16),
                              .memsz = read64(ph + 40),
                              .offset = read64(ph + 8),
                              .filesz = read64(ph + 32),
                              .write = (flags & PF_W) != 0,
                              .exec = (flags & PF_X) != 0};
    if (s->filesz > s->memsz)
        return boot_fail(e, "kernel ELF segment is larger in the file than in memory, bytes", s->filesz,
                         TRUNCATED);
    if (s->offset > size || s->filesz > size - s->offset)
        return boot_fail(e, "kernel ELF segment reaches beyond the file, which has bytes", size, TRUNCATED);
    if (s->write && s->exec)
        return boot_fail(e, "kernel ELF segment is both writable and executable", s->vaddr,
                         "keep code and data in segments of their own");
    return check_place(s, read64(ph + 48), e);
}

static bool insert(struct elf_image *image, const struct elf_segment *s, struct boot_error *e)
{
    uint32_t i = image->count;
    if (i == ELF_SEGMENTS_MAX)
        return boot_fail(e, "kernel ELF has more loadable segments than", ELF_SEGMENTS_MAX, "merge some");
    for (; i > 0 && image->segment[i - 1].vaddr > s->vaddr; i--)
        image->segment[i] = image->segment[i - 1];
    image->segment[i] = *s;
    image->count++;
    return true;
}

static bool collect(const uint8_t *file, uint64_t size, struct elf_image *image, struct boot_error *e)
{
    const uint8_t *ph = file + read64(file + 32);
    for (uint32_t n = read16(file + 56); n > 0; n--, ph += PHDR_SIZE) {
        struct elf_segment s;
        uint32_t type = read32(ph);
        if (type == PT_DYNAMIC || type == PT_INTERP)
            return boot_fail(e, "kernel ELF is linked dynamically, it has a segment of type", type, RELINK);
        if (type != PT_LOAD || read64(ph + 40) == 0)
            continue;
        if (!check_segment(ph, size, &s, e) || !insert(image, &s, e))
            return false;
        if (read64(ph + 48) > image->align)
            image->align = read64(ph + 48);
    }
    return true;
}

bool elf_check(const void *file, uint64_t size, struct elf_image *out, struct boot_error *e)
{
    *out = (struct elf_image){.align = PAGE_SIZE};
    if (!check_header(file, size, e) || !collect(file, size, out, e))
        return false;
    if (out->count == 0)
        return boot_fail(e, "kernel ELF has nothing to load, loadable segments", 0, RELINK);
    for (uint32_t i = 1; i < out->count; i++) {
        if (out->segment[i].vaddr < page_up(out->segment[i - 1].vaddr + out->segment[i - 1].memsz))
            return boot_fail(e, "kernel ELF segments overlap, or share a page, at", out->segment[i].vaddr,
                             PAGES);
    }
    const struct elf_segment *last = &out->segment[out->count - 1];
    out->base = out->segment[0].vaddr;
    out->length = page_up(last->vaddr + last->memsz) - out->base;
    out->entry = read64((const uint8_t *)file + 24);
    if (!elf_is_code(out, out->entry))
        return boot_fail(e, "kernel ELF entry point lies in no executable segment", out->entry,
                         "check ENTRY() in the linker script");
    return true;
}

void elf_load(const struct elf_image *image, const void *file, void *memory)
{
    memset(memory, 0, image->length);
    for (uint32_t i = 0; i < image->count; i++) {
        const struct elf_segment *s = &image->segment[i];
        memcpy((uint8_t *)memory + (s->vaddr - image->base), (const uint8_t *)file + s->offset, s->filesz);
    }
}

bool elf_is_code(const struct elf_image *image, uint64_t vaddr)
{
    for (uint32_t i = 0; i < image->count; i++) {
        const struct elf_segment *s = &image->segment[i];
        if (s->exec && vaddr >= s->vaddr && vaddr - s->vaddr < s->filesz)
            return true;
    }
    return false;
}
