# SPDX-License-Identifier: MIT
#
# The loader (boot/), and disks that start it: PVH needs the loader alone, firmware needs an image with GRUB.
#
#:loader        build/gmk_loader.elf: QEMU -kernel build/gmk_loader.elf -initrd build/gmk_kernel.elf
#:iso           build/gmk.iso: GRUB, the loader and the kernel, for BIOS and UEFI; with LIMINE_DIR=directory
#:              of a Limine installation also build/gmk_limine.iso; CMDLINE="..." goes to the kernel
#:test-loader   the loader: its parsers on the host; in QEMU every way in and every refusal

ifeq ($(shell uname -m),x86_64)

LOADER := $(BUILD)/gmk_loader.elf
ISO := $(BUILD)/gmk.iso
ISO_LIMINE := $(BUILD)/gmk_limine.iso
LIMINE_DIR ?=
CMDLINE ?=

LOADER_SRCS := $(sort $(wildcard boot/*.c))
LOADER_OBJS := $(patsubst %.c,$(BUILD)/loader/%.o,$(LOADER_SRCS)) $(BUILD)/loader/boot/entry.S.o
LOADER_LD := boot/loader.ld
LOADER_CC := $(strip $(CC) -std=c11 -g -O2 $(WARNINGS) -ffreestanding -mno-red-zone -mgeneral-regs-only \
	-fno-pie -fno-stack-protector -fno-asynchronous-unwind-tables -fno-common \
	-DGMK_VERSION='"$(VERSION)"' $(EXTRA_CFLAGS))
LOADER_LDFLAGS := -nostdlib -static -no-pie -Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,-z,noexecstack

.PHONY: loader iso
loader: $(LOADER)

$(BUILD)/loader/%.o: %.c $(BUILD)/loader/flags | $(BUILD)/deps/build
	@mkdir -p $(@D)
	$(if $(Q),@echo "  CC loader $<")
	$(Q)$(LOADER_CC) -MMD -MP -c -o $@ $<

$(BUILD)/loader/%.S.o: %.S $(BUILD)/loader/flags | $(BUILD)/deps/build
	@mkdir -p $(@D)
	$(if $(Q),@echo "  AS loader $<")
	$(Q)$(LOADER_CC) -MMD -MP -c -o $@ $<

$(LOADER): $(LOADER_OBJS) $(LOADER_LD) $(BUILD)/loader/objects
	$(if $(Q),@echo "  LD $@")
	$(Q)$(CC) $(LOADER_LDFLAGS) -Wl,-T,$(LOADER_LD) -o $@ $(LOADER_OBJS)

-include $(LOADER_OBJS:.o=.d)

ifeq ($(filter clean help,$(MAKECMDGOALS)),)
$(eval $(call remember,$(BUILD)/loader/flags,$(LOADER_CC)))
$(eval $(call remember,$(BUILD)/loader/objects,$(LOADER_OBJS)))
$(eval $(call remember,$(BUILD)/loader/cmdline,$(CMDLINE)))
endif

# One image starts under BIOS and under UEFI, as far as GRUB's modules for both are installed.
iso: $(ISO) $(if $(LIMINE_DIR),$(ISO_LIMINE))

# $(call grub_iso,KERNEL,CMDLINE): the image $@ that starts KERNEL
grub_iso = rm -rf $@.d && mkdir -p $@.d/boot/grub && \
	sed 's|@CMDLINE@|$2|' boot/grub.cfg >$@.d/boot/grub/grub.cfg && \
	cp $(LOADER) $@.d/boot/gmk_loader.elf && cp $1 $@.d/boot/gmk_kernel.elf && \
	{ grub-mkrescue -o $@ $@.d >$@.log 2>&1 || { cat $@.log >&2; exit 1; }; } && rm -rf $@.d

$(ISO): $(LOADER) $(KERNEL) boot/grub.cfg $(BUILD)/loader/cmdline | $(BUILD)/deps/qemu
	$(if $(Q),@echo "  ISO $@")
	$(Q)$(call grub_iso,$(KERNEL),$(CMDLINE))

# Limine's own boot sectors; limine.conf spells each key both ways.
$(ISO_LIMINE): $(KERNEL) boot/limine.conf $(BUILD)/loader/cmdline | $(BUILD)/deps/qemu
	$(if $(Q),@echo "  ISO $@")
	$(Q)rm -rf $@.d && mkdir -p $@.d/boot/limine $@.d/EFI/BOOT
	$(Q)cp $(KERNEL) $@.d/boot/gmk_kernel.elf
	$(Q)sed 's|@CMDLINE@|$(CMDLINE)|' boot/limine.conf >$@.d/boot/limine/limine.conf
	$(Q)cp $(addprefix $(LIMINE_DIR)/,limine-bios.sys limine-bios-cd.bin limine-uefi-cd.bin) $@.d/boot/limine/
	$(Q)cp $(LIMINE_DIR)/BOOTX64.EFI $@.d/EFI/BOOT/
	$(Q)xorriso -as mkisofs -quiet -b boot/limine/limine-bios-cd.bin -no-emul-boot -boot-load-size 4 \
		-boot-info-table --efi-boot boot/limine/limine-uefi-cd.bin -efi-boot-part --efi-boot-image \
		--protective-msdos-label $@.d -o $@
	$(Q)$(LIMINE_DIR)/limine bios-install $@

# The parsers on the host, with its sanitizers: all that touches no hardware.
LOADER_PURE := $(patsubst %,boot/%.c,acpi elf mb2 memmap paging pvh requests smp source)
LOADER_TEST_SRCS := $(sort $(wildcard test/boot/test_*.c))
LOADER_TESTS := $(patsubst test/boot/%.c,$(BUILD)/loader/%,$(LOADER_TEST_SRCS))
LOADER_HOST_OBJS := $(patsubst %.c,$(BUILD)/loader/host/%.o,$(LOADER_PURE) $(LOADER_TEST_SRCS))
LOADER_HOST_CC := $(strip $(CC) -std=c11 -g -O1 $(WARNINGS) -fsanitize=address,undefined \
	-fno-sanitize-recover=all $(EXTRA_CFLAGS))

$(BUILD)/loader/host/%.o: %.c $(BUILD)/loader/host-flags | $(BUILD)/deps/test
	@mkdir -p $(@D)
	$(if $(Q),@echo "  CC loader-test $<")
	$(Q)$(LOADER_HOST_CC) -MMD -MP -c -o $@ $<

LOADER_PURE_OBJS := $(patsubst %.c,$(BUILD)/loader/host/%.o,$(LOADER_PURE))
$(LOADER_TESTS): $(BUILD)/loader/%: $(BUILD)/loader/host/test/boot/%.o $(LOADER_PURE_OBJS)
	$(if $(Q),@echo "  LD $@")
	$(Q)$(LOADER_HOST_CC) -o $@ $^ -lcmocka

-include $(LOADER_HOST_OBJS:.o=.d)

# A kernel that checks what the loader promises, and the images that start it.
STATE := $(BUILD)/loader/state.elf
STATE_ISO := $(BUILD)/loader/state.iso
STATE_CC = $(LOADER_CC) -mcmodel=kernel

$(STATE): test/boot/state.c test/boot/state.ld boot/limine.h boot/cpu.h
$(STATE): $(BUILD)/loader/flags | $(BUILD)/deps/build
	@mkdir -p $(@D)
	$(if $(Q),@echo "  LD $@")
	$(Q)$(STATE_CC) $(LOADER_LDFLAGS) -Wl,-T,test/boot/state.ld -o $@ test/boot/state.c

$(STATE_ISO): $(LOADER) $(STATE) boot/grub.cfg | $(BUILD)/deps/qemu
	$(if $(Q),@echo "  ISO $@")
	$(Q)$(call grub_iso,$(STATE),cpus=4)

ifeq ($(filter clean help,$(MAKECMDGOALS)),)
$(eval $(call remember,$(BUILD)/loader/host-flags,$(LOADER_HOST_CC)))
endif

# The loader's fuzzer (mk/machine.mk) starts from a kernel that is good, behind the byte that chooses the parser.
LOADER_SEED := $(BUILD)/fuzz/loader.corpus/kernel
$(LOADER_SEED): $(STATE)
	@mkdir -p $(@D)
	$(Q)strip -o $(BUILD)/loader/state-stripped.elf $(STATE)
	$(Q){ printf '\000'; cat $(BUILD)/loader/state-stripped.elf; } >$@

TEST_GROUPS += loader
TESTS_loader := $(LOADER_TESTS) test/boot/loader.t
TEST_DEPS_loader := $(LOADER_TESTS) $(LOADER) $(STATE) $(STATE_ISO)

endif
