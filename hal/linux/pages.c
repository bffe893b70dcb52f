/* SPDX-License-Identifier: MIT */
/*
 * pages.c — zeroed memory from the operating system.
 *
 * From 2 MiB on a mapping starts on a 2 MiB boundary and asks for huge pages: an arena is used
 * densely, and a TLB miss costs more than the work of most tasks.
 */
#include <ggmk/hal.h>

#include <sys/mman.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)

static size_t page_round(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page; /* wraps to less than bytes when too large */
}

static void *map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* Maps a huge page more than asked and gives back what sticks out on either side. */
static void *map_huge(size_t bytes)
{
    char *raw = map(bytes + HUGE_PAGE);
    if (raw == NULL)
        return NULL;
    size_t head = (HUGE_PAGE - ((uintptr_t)raw & (HUGE_PAGE - 1))) & (HUGE_PAGE - 1);
    if (head > 0)
        (void)munmap(raw, head);
    (void)munmap(raw + head + bytes, HUGE_PAGE - head);
    (void)madvise(raw + head, bytes, MADV_HUGEPAGE); /* refused where the kernel has none: no loss */
    return raw + head;
}

void *gmk_hal_page_alloc(size_t bytes)
{
    size_t size = page_round(bytes);

    (void)gmk_hal_membarrier_probe(); /* a kernel allocates its arena before it has a second thread */
    if (bytes == 0 || size < bytes || size > SIZE_MAX - HUGE_PAGE)
        return NULL;
    return size >= HUGE_PAGE ? map_huge(size) : map(size);
}

void gmk_hal_page_free(void *p, size_t bytes)
{
    if (p != NULL)
        (void)munmap(p, page_round(bytes));
}
