/* SPDX-License-Identifier: MIT */
/* console.c — the console of the hosted HAL: standard error, one system call a line. */
#include <ggmk/hal.h>

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* Text and newline go out in one call, so lines of several threads do not mix.  Signal-safe. */
void gmk_hal_console(const char *line)
{
    int saved = errno;
    struct iovec part[2] = {
        {.iov_base = (void *)(uintptr_t)line, .iov_len = strlen(line)},
        {.iov_base = (void *)(uintptr_t) "\n", .iov_len = 1},
    };
    while (writev(STDERR_FILENO, part, 2) < 0 && errno == EINTR)
        ;
    errno = saved;
}
