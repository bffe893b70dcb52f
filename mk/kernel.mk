# SPDX-License-Identifier: MIT
#
# The bare-metal kernel for x86-64: the core, unchanged, on top of arch/x86_64 and hal/x86_baremetal.
#
#:kernel         build/gmk_kernel.elf; kernel-ubsan the same with undefined behaviour caught

ifeq ($(shell uname -m),x86_64)

# What may run inside an interrupt uses general registers only; the core and its modules may use SSE2.
KERNEL_SRCS := $(sort $(wildcard arch/x86_64/*.c hal/gcc/*.c hal/x86_baremetal/*.c drivers/*.c kernel/*.c))
KERNEL_ASMS := $(sort $(wildcard arch/x86_64/*.S))
KERNEL_CORE_SRCS := $(CORE_SRCS) $(patsubst %,examples/wordcount/%.c,reader tokenize count trouble report)
KERNEL_LD := arch/x86_64/kernel.ld
KSYMS_AWK := arch/x86_64/ksyms.awk

# The frame pointer stays: backtraces need it.
KERNEL_FLAGS := -std=c11 -g $(WARNINGS) -ffp-contract=off -Iinclude -iquote src -iquote arch/x86_64 -iquote . \
	-DGMK_HAL_BAREMETAL -ffreestanding -mno-red-zone -mcmodel=kernel -fno-pie -mno-avx -mno-80387 \
	-fno-stack-protector -fno-asynchronous-unwind-tables -fno-omit-frame-pointer -fno-common \
	-ffunction-sections -fdata-sections
KERNEL_GENERAL := -mgeneral-regs-only

CFLAGS_kernel := -O2
CFLAGS_kernel-ubsan := -O1 -DGMK_DEBUG -fsanitize=undefined

define kernel_rules
KERNEL_OBJS_$1 := $(patsubst %.c,$(BUILD)/$1/%.o,$(KERNEL_SRCS) $(KERNEL_CORE_SRCS)) \
	$(patsubst %.S,$(BUILD)/$1/%.S.o,$(KERNEL_ASMS))
KERNEL_CC_$1 := $(strip $(CC) $(KERNEL_FLAGS) $(CFLAGS_$1) $(EXTRA_CFLAGS))

$(BUILD)/$1/%.o: %.c $(BUILD)/$1/flags | $(BUILD)/deps/build
	@mkdir -p $$(@D)
	$$(if $(Q),@echo "  CC $1 $$<")
	$(Q)$$(KERNEL_CC_$1) $$(GENERAL) -MMD -MP -c -o $$@ $$<
$(BUILD)/$1/arch/%.o $(BUILD)/$1/hal/%.o $(BUILD)/$1/drivers/%.o $(BUILD)/$1/kernel/%.o: GENERAL = $(KERNEL_GENERAL)

$(BUILD)/$1/%.S.o: %.S $(BUILD)/$1/flags | $(BUILD)/deps/build
	@mkdir -p $$(@D)
	$(Q)$$(KERNEL_CC_$1) -MMD -MP -c -o $$@ $$<

# Linked twice: the symbol table comes last, so that it moves nothing when it is filled in.
$(BUILD)/gmk_$(subst -,_,$1).elf: $$(KERNEL_OBJS_$1) $(KERNEL_LD) $(KSYMS_AWK) $(BUILD)/$1/objects
	$$(if $(Q),@echo "  LD $$@")
	$(Q)awk -f $(KSYMS_AWK) </dev/null >$(BUILD)/$1/ksyms0.S && $(CC) -c -o $(BUILD)/$1/ksyms0.o $(BUILD)/$1/ksyms0.S
	$(Q)$$(KERNEL_LINK) -o $(BUILD)/$1/pass1.elf $$(KERNEL_OBJS_$1) $(BUILD)/$1/ksyms0.o
	$(Q)nm -n $(BUILD)/$1/pass1.elf | awk -f $(KSYMS_AWK) >$(BUILD)/$1/ksyms.S && $(CC) -c -o $(BUILD)/$1/ksyms.o $(BUILD)/$1/ksyms.S
	$(Q)$$(KERNEL_LINK) -o $$@ $$(KERNEL_OBJS_$1) $(BUILD)/$1/ksyms.o
-include $$(KERNEL_OBJS_$1:.o=.d)
endef

KERNEL_LINK = $(CC) -nostdlib -static -no-pie -Wl,-T,$(KERNEL_LD) -Wl,--gc-sections -Wl,--build-id=none \
	-Wl,-z,max-page-size=4096 -Wl,-z,noexecstack -Wl,--no-warn-rwx-segments
KERNEL := $(BUILD)/gmk_kernel.elf
KERNEL_UBSAN := $(BUILD)/gmk_kernel_ubsan.elf

$(foreach v,kernel kernel-ubsan,$(eval $(call kernel_rules,$v)))
ifeq ($(filter clean help,$(MAKECMDGOALS)),)
$(foreach v,kernel kernel-ubsan,$(eval $(call remember,$(BUILD)/$v/flags,$(KERNEL_CC_$v) $(KERNEL_GENERAL))))
$(foreach v,kernel kernel-ubsan,$(eval $(call remember,$(BUILD)/$v/objects,$(KERNEL_OBJS_$v))))
endif

.PHONY: kernel kernel-ubsan
kernel: $(KERNEL)
kernel-ubsan: $(KERNEL_UBSAN)

endif
