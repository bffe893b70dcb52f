/* SPDX-License-Identifier: MIT */
/*
 * kmain.c — from the loader to the prompt, one step a line.
 *
 * entry.S calls kmain on the boot CPU.  Each step relies on those above it; a step that cannot do its work
 * panics with what is missing.
 */
#include "kernel/com2.h"
#include "kernel/count.h"
#include "kernel/demo.h"
#include "kernel/describe.h"
#include "kernel/machine.h"
#include "kernel/monitor.h"
#include "kernel/selftest.h"
#include "kernel/text.h"

#include "acpi.h"
#include "apic.h"
#include "boot_info.h"
#include "clock.h"
#include "cpu.h"
#include "drivers/pci.h"
#include "drivers/virtio_blk.h"
#include "ioapic.h"
#include "kprintf.h"
#include "panic.h"
#include "pmm.h"
#include "power.h"
#include "serial.h"
#include "smp.h"
#include "thread.h"
#include "vmm.h"

_Noreturn void kmain(void);

#define EXIT_DEMO_FAILED 1u

static bool boot_info_complete;

static void read_boot_info(void) { boot_info_complete = boot_info_read(); }

static void start_serial(void)
{
    (void)serial_init(SERIAL_COM1);
    (void)serial_init(SERIAL_COM2);
}

static void show_boot_info(void)
{
    const boot_info_t *info = boot_info();
    const char *problem;

    kprintf("GGMK on x86-64, loaded by %s %s\n", info->loader_name, info->loader_version);
    for (uint32_t i = 0; (problem = boot_info_problem(i)); i++)
        kprintf("boot: %s\n", problem);
    if (!boot_info_complete)
        panic("the loader did not say what GGMK needs to know");
    if (info->cmdline[0])
        kprintf("boot: %s\n", info->cmdline);
}

static void start_memory(void) { pmm_init(boot_info()->memmap, boot_info()->n_ranges, boot_info()->hhdm); }

static void start_acpi(void) { (void)acpi_init(boot_info()->rsdp); }

static void ap_main(uint32_t index)
{
    (void)index;
    thread_init_cpu();
    thread_exit();
}

static void start_cpus(void) { smp_start(ap_main); }

/* A CPU that did not come may still run the loader's code: then its memory stays as it is. */
static void reclaim_memory(void)
{
    if (cpu_count() == boot_info()->n_cpus && boot_info()->cpus_left_out == 0)
        (void)pmm_reclaim();
}

static void start_pci(void) { (void)pci_init(); }

static void start_disks(void) { (void)virtio_blk_init(); }

static void say_ready(void)
{
    char text[TEXT_SHORT];

    kprintf("ready: %u CPU%s, %s after the clock started\n", cpu_count(), cpu_count() == 1 ? "" : "s",
            text_ns(text, clock_now_ns()));
}

static void run_count(void)
{
    if (!boot_flag("count") && !boot_flag("bench-disk") && !boot_flag("bench-wake"))
        return;
    if (boot_flag("count"))
        count_instructions();
    if (boot_flag("bench-disk"))
        bench_disk(boot_number("bench-disk", 5));
    if (boot_flag("bench-wake"))
        bench_wake();
    machine_stop();
    power_off();
}

static void run_tests(void)
{
    if (boot_flag("test"))
        selftest_and_exit();
}

/* With `auto` the machine is switched off afterwards; its status says how it went. */
static void run_demo(void)
{
    if (!demo_asked())
        return;
    int code = demo_run();
    com2_send_asked();
    if (!boot_flag("auto"))
        return;
    machine_stop();
    if (code != GMK_OK)
        power_debug_exit(EXIT_DEMO_FAILED);
    power_off();
}

static void start_monitor(void)
{
    if (!thread_start("monitor", 0, monitor_main, NULL))
        panic("no memory for the monitor's thread");
}

static const struct step {
    const char *name;
    void (*run)(void);
} steps[] = {
    {"boot information", read_boot_info},
    {"serial ports", start_serial},
    {"processor", cpu_init_boot},
    {"what the loader said", show_boot_info},
    {"physical memory", start_memory},
    {"virtual memory", vmm_init},
    {"ACPI", start_acpi},
    {"clock", clock_init},
    {"local APIC", lapic_init},
    {"I/O APIC", ioapic_init},
    {"threads", thread_init_cpu},
    {"other CPUs", start_cpus},
    {"the loader's memory", reclaim_memory},
    {"clocks of all CPUs", clock_check_smp},
    {"serial interrupts", serial_irq_enable},
    {"PCI", start_pci},
    {"disks", start_disks},
    {"the core", machine_start},
    {"ready", say_ready},
    {"self-tests", run_tests},
    {"instruction counts", run_count},
    {"word counter", run_demo},
    {"monitor", start_monitor},
};

static const char *step_now = "none";
static const thread_t *booting;

const char *boot_step(void) { return step_now; }

const thread_t *boot_thread(void) { return booting; }

_Noreturn void kmain(void)
{
    panic_describe = describe_thread;
    for (uint32_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        step_now = steps[i].name;
        steps[i].run();
        booting = thread_self();
    }
    booting = NULL;
    thread_exit();
}
