/* SPDX-License-Identifier: MIT */
/*
 * selftest_dev.h — tests of the drivers on the machine itself, for `test` on the command line.
 *
 * One thread, after virtio_blk_init.  ok is called once for each test; the result is the number of
 * those that failed.  Writes only to a disk with the id "ggmk-scratch".
 */
#ifndef DRIVERS_SELFTEST_DEV_H
#define DRIVERS_SELFTEST_DEV_H

int selftest_dev(void (*ok)(int good, const char *what));

#endif
