# SPDX-License-Identifier: MIT
#
# What reads bytes from outside in arch/, drivers/ and kernel/ touches no hardware: here it is tested on the
# host, under sanitizers, and fuzzed.
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

TEST_GROUPS += machine
TESTS_machine := $(MACHINE_TESTS)
TEST_DEPS_machine := $(MACHINE_TESTS)

endif
