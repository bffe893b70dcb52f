# SPDX-License-Identifier: MIT
#
# What the bare-metal kernel costs: in instructions, which are exact where times are not, and beside another kernel.
#
#:bench-count    instructions of an empty task (bare metal and hosted), of a disk read, of the boot
#:bench-qemu     disk reads a second, and a Debian kernel with fio in the same QEMU

ifeq ($(shell uname -m),x86_64)

COUNT_HOSTED := $(BUILD)/count-hosted
COUNT_ENTRY := $(BUILD)/count-entry.elf

$(BUILD)/rel/bench/count/hosted.o: DEFS = $(HOSTED_DEFS)
$(COUNT_HOSTED): $(BUILD)/rel/bench/count/hosted.o $(LIB_rel)
	$(if $(Q),@echo "  LD $@")
	$(Q)$(call link,rel)
-include $(BUILD)/rel/bench/count/hosted.d

# Far above what the firmware uses, below what the smallest machine has.
$(COUNT_ENTRY): bench/count/entry.S | $(BUILD)/deps/build
	@mkdir -p $(@D)
	$(Q)$(CC) -m32 -nostdlib -static -no-pie -Wl,--build-id=none -Wl,-e,entry -Wl,-Ttext-segment=0x200000 -o $@ $<

.PHONY: bench-count
bench-count: $(COUNT_HOSTED) $(COUNT_ENTRY) $(LOADER) $(KERNEL) | $(BUILD)/deps/count
	$(Q)bench/count/run $(COUNT_HOSTED) $(LOADER) $(KERNEL) $(COUNT_ENTRY)

.PHONY: bench-qemu
bench-qemu: $(LOADER) $(KERNEL) | $(BUILD)/deps/bench-qemu
	$(Q)bench/qemu/run $(LOADER) $(KERNEL) $(BUILD)/bench-qemu

endif
