/* SPDX-License-Identifier: MIT */
/*
 * symbols.c — names for addresses in the program, static functions and variables too: read once from
 * its own symbol table (ELF-64, "System V ABI", chapter 4).
 */
#include "sim_int.h"

#include <elf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct symbol {
    uint64_t begin, end;
    const char *name;
};

static struct {
    bool read;
    struct symbol *symbol;
    size_t n;
} symbols;

static int by_address(const void *a, const void *b)
{
    const struct symbol *x = a, *y = b;
    return x->begin != y->begin ? (x->begin > y->begin) - (x->begin < y->begin)
                                : (x->end > y->end) - (x->end < y->end);
}

static void take(const char *image, const Elf64_Shdr *table, const Elf64_Shdr *names)
{
    const Elf64_Sym *s = (const Elf64_Sym *)(const void *)(image + table->sh_offset);
    size_t n = table->sh_size / sizeof *s;

    symbols.symbol = calloc(n, sizeof *symbols.symbol);
    for (size_t i = 0; symbols.symbol != NULL && i < n; i++) {
        unsigned type = ELF64_ST_TYPE(s[i].st_info);
        if ((type == STT_FUNC || type == STT_OBJECT) && s[i].st_size != 0)
            symbols.symbol[symbols.n++] = (struct symbol){s[i].st_value, s[i].st_value + s[i].st_size,
                                                          image + names->sh_offset + s[i].st_name};
    }
    if (symbols.n > 0)
        qsort(symbols.symbol, symbols.n, sizeof *symbols.symbol, by_address);
}

/* The image stays mapped: the names are in it.  Without a table addresses stay numbers. */
static void read_table(void)
{
    struct stat st;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    char *image = fd >= 0 && fstat(fd, &st) == 0
                    ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)
                    : MAP_FAILED;

    symbols.read = true;
    if (fd >= 0)
        (void)close(fd);
    if (image == MAP_FAILED)
        return;
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)(const void *)image;
    const Elf64_Shdr *section = (const Elf64_Shdr *)(const void *)(image + head->e_shoff);
    for (uint32_t i = 0; i < head->e_shnum; i++)
        if (section[i].sh_type == SHT_SYMTAB)
            take(image, &section[i], &section[section[i].sh_link]);
}

/* The last symbol that begins at or before it and goes beyond it. */
static const struct symbol *find(uint64_t address)
{
    size_t low = 0, high = symbols.n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (symbols.symbol[middle].begin <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && address < symbols.symbol[low - 1].end ? &symbols.symbol[low - 1] : NULL;
}

void sim_symbol(uint64_t address, char *text, size_t size)
{
    if (!symbols.read)
        read_table();
    const struct symbol *s = find(address);
    if (s != NULL)
        snprintf(text, size, "%s+0x%llx", s->name, (unsigned long long)(address - s->begin));
    else
        snprintf(text, size, "0x%llx", (unsigned long long)address);
}
