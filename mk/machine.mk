# SPDX-License-Identifier: MIT
#
# What reads bytes from outside in arch/, drivers/ and kernel/ touches no hardware: here it is tested on the
# host, under sanitizers, and fuzzed; so is a bridge's end, whose peer may be out of its mind.
#
#:fuzz          libFuzzer on each of fuzz/*.c, SECONDS_EACH=20

ifeq ($(shell uname -m),x86_64)

MACHINE_PURE := $(patsubst %,arch/x86_64/%.c,acpi_parse acpi_reg acpi_s5 acpi_walk boot_info_cmdline boot_info_map \
	clock_math frames kformat lapic runs vmm_space) \
	$(patsubst %,drivers/%.c,pci_bars pci_caps pci_names pci_scan virtqueue virtio_caps) \
	$(patsubst %,kernel/%.c,frame line text)

# A file of these that uses an instruction of the machine is not linked into a test: an archive gives what is asked for.
MACHINE_SRCS := $(sort $(wildcard $(MACHINE_PURE)))
MACHINE_TEST_SRCS := $(sort $(wildcard test/machine/test_*.c))
MACHINE_TESTS := $(patsubst test/machine/%.c,$(BUILD)/machine/%,$(MACHINE_TEST_SRCS))
MACHINE_CC := $(strip $(CC) -std=c11 -g -O1 $(WARNINGS) -Iinclude -iquote arch/x86_64 -iquote . -iquote test \
	-fsanitize=address,undefined -fno-sanitize-recover=all $(EXTRA_CFLAGS))

$(BUILD)/machine/%.o: %.c $(BUILD)/machine/flags | $(BUILD)/deps/test
	@mkdir -p $(@D)
	$(if $(Q),@echo "  CC machine-test $<")
	$(Q)$(MACHINE_CC) -D_GNU_SOURCE -MMD -MP -c -o $@ $<

$(BUILD)/machine/libmachine.a: $(patsubst %.c,$(BUILD)/machine/%.o,$(MACHINE_SRCS))
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(MACHINE_TESTS): $(BUILD)/machine/%: $(BUILD)/machine/test/machine/%.o $(BUILD)/machine/libmachine.a
	$(if $(Q),@echo "  LD $@")
	$(Q)$(MACHINE_CC) -o $@ $^ -lcmocka
.SECONDARY: $(patsubst %.c,$(BUILD)/machine/%.o,$(MACHINE_TEST_SRCS))

-include $(patsubst %.c,$(BUILD)/machine/%.d,$(MACHINE_SRCS) $(MACHINE_TEST_SRCS))

ifeq ($(filter clean help,$(MAKECMDGOALS)),)
$(eval $(call remember,$(BUILD)/machine/flags,$(MACHINE_CC)))
endif

# Each reads one input and aborts when something it promises does not hold.
FUZZERS := $(patsubst fuzz/fuzz_%.c,$(BUILD)/fuzz/%,$(sort $(wildcard fuzz/fuzz_*.c)))
FUZZ_CC := $(strip $(CLANG) -std=c11 -g -O1 -Wall -Wextra -Werror -Iinclude -iquote arch/x86_64 -iquote . \
	-fsanitize=fuzzer$(comma)address$(comma)undefined -fno-sanitize-recover=all)
FUZZ_PARTS_acpi := $(patsubst %,arch/x86_64/%.c,acpi_parse acpi_s5 acpi_walk)
FUZZ_PARTS_loader := $(LOADER_PURE)
FUZZ_PARTS_pci := $(patsubst %,drivers/%.c,pci_bars pci_caps pci_names pci_scan virtio_caps)
FUZZ_PARTS_virtqueue := drivers/virtqueue.c
FUZZ_PARTS_bridge := $(CORE_SRCS) $(BRIDGE_SRCS) $(HAL_SRCS)
FUZZ_FLAGS_bridge := -iquote src -pthread
SECONDS_EACH ?= 20

.SECONDEXPANSION:
$(FUZZERS): $(BUILD)/fuzz/%: fuzz/fuzz_%.c $$(FUZZ_PARTS_$$*) $(wildcard arch/x86_64/*.h boot/*.h drivers/*.h) \
		$$(if $$(filter bridge,$$*),$(wildcard include/ggmk/*.h src/*.h bridge/*.h)) | $(BUILD)/deps/sanitize
	@mkdir -p $(@D)
	$(if $(Q),@echo "  FUZZ $@")
	$(Q)$(FUZZ_CC) $(FUZZ_FLAGS_$*) -D_GNU_SOURCE -o $@ $< $(FUZZ_PARTS_$*)

.PHONY: fuzz
fuzz: $(FUZZERS) $(LOADER_SEED)
	$(Q)SECONDS_EACH=$(SECONDS_EACH) BUILD="$(BUILD)" test/fuzz.t

TEST_GROUPS += fuzz
TESTS_fuzz := test/fuzz.t
TEST_DEPS_fuzz := $(FUZZERS) $(LOADER_SEED)

TEST_GROUPS += machine
TESTS_machine := $(MACHINE_TESTS)
TEST_DEPS_machine := $(MACHINE_TESTS)

endif
