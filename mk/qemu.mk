# SPDX-License-Identifier: MIT
#
# The bare-metal kernel in QEMU: at work, under a debugger, and under test.
#
#:run           boots the kernel in QEMU and counts the words of INPUT=file there; at a terminal the prompt
#:              follows (`help` lists its commands, `halt` switches off).  CPUS=4 MEMORY=256 MACHINE=pc|q35
#:              APPEND="words for the kernel's command line"  ACCEL=kvm  QEMU_ARGS="..."
#:              TRACE=out.fxt and METRICS=out.prom are written from what the machine sends by COM2
#:run-debug     the same, waiting for gdb on port 1234

ifeq ($(shell uname -m),x86_64)

QEMU ?= qemu-system-x86_64
CPUS ?= 4
MEMORY ?= 256
MACHINE ?= pc
APPEND ?=
QEMU_ARGS ?=
TRACE ?=
METRICS ?=

# /dev/kvm may open and be uselessly slow: only when asked for.
QEMU_ACCEL = $(if $(filter kvm,$(ACCEL)),-accel kvm -cpu host,-accel tcg$(comma)thread=multi -cpu max)
comma := ,
space := $(subst ,, )

# With a terminal, ^C and the like go to the machine, and ^A x ends QEMU.
RUN_DIR := $(BUILD)/run
RUN_COM2 := $(subst $(space),$(comma),$(strip $(if $(METRICS),metrics) $(if $(TRACE),trace)))
RUN_APPEND = input_bytes=$$(stat -Lc %s -- "$(INPUT)") $(if $(RUN_COM2),com2=$(RUN_COM2)) $(APPEND)
RUN_QEMU = $(QEMU) -nodefaults -display none -machine $(MACHINE) $(QEMU_ACCEL) -smp $(CPUS) -m $(MEMORY) \
	-kernel $(LOADER) -initrd $(KERNEL) -device isa-debug-exit,iobase=0xf4,iosize=4 \
	-drive if=none,id=input,format=raw,readonly=on,file=$(RUN_DIR)/disk.img \
	-device virtio-blk-pci,drive=input,serial=input \
	-chardev stdio,id=console,mux=on,signal=off -serial chardev:console -mon console \
	-serial file:$(RUN_DIR)/com2 $(QEMU_ARGS)
RUN_PARTS = $(strip $(if $(METRICS),--metrics "$(METRICS)") $(if $(TRACE),--trace "$(TRACE)"))

.PHONY: run run-debug run-disk

# A disk is a number of whole sectors, and at least one.
run-disk:
	@[ -f "$(INPUT)" ] && [ -r "$(INPUT)" ] || { echo "make run: '$(INPUT)': no such file, or not readable" >&2; exit 1; }
	$(Q)mkdir -p $(RUN_DIR) && rm -f $(RUN_DIR)/disk.img $(RUN_DIR)/com2 && cat -- "$(INPUT)" >$(RUN_DIR)/disk.img
	$(Q)[ -s $(RUN_DIR)/disk.img ] && truncate -s %512 $(RUN_DIR)/disk.img || truncate -s 512 $(RUN_DIR)/disk.img

run: $(LOADER) $(KERNEL) run-disk | $(BUILD)/deps/qemu
	$(Q)if [ -t 0 ]; then $(RUN_QEMU) -append "$(RUN_APPEND)"; \
	else $(RUN_QEMU) -append "auto $(RUN_APPEND)" </dev/null; fi
	$(if $(RUN_PARTS),$(Q)tools/ggmk-com2 $(RUN_PARTS) $(RUN_DIR)/com2)

run-debug: $(LOADER) $(KERNEL) run-disk | $(BUILD)/deps/qemu
	@echo "QEMU waits: gdb $(KERNEL) -ex 'source tools/gdb/ggmk.py' -ex 'target remote :1234'"
	$(Q)$(RUN_QEMU) -append "$(RUN_APPEND)" -s -S

# ---- the matrix -------------------------------------------------------------------------------

TEST_GROUPS += qemu
TESTS_qemu := $(wildcard test/qemu*.t)
TEST_ISO := $(BUILD)/qemu/test.iso
TEST_DEPS_qemu := $(LOADER) $(KERNEL) $(KERNEL_UBSAN) $(TEST_ISO) demo-program $(BUILD)/deps/qemu

# As build/gmk.iso, with the self-tests on its command line.
$(TEST_ISO): $(LOADER) $(KERNEL) boot/grub.cfg | $(BUILD)/deps/qemu
	@mkdir -p $(@D)
	$(if $(Q),@echo "  ISO $@")
	$(Q)$(call grub_iso,$(KERNEL),test)

endif
