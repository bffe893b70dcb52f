# SPDX-License-Identifier: MIT
#
# The simulation target: the core, the bridge and the life of a GPU kernel, unchanged, with hal/sim below them
# and the scenarios of test/sim on top.  The program is not position-independent, so an address is the same in
# every replay.
#
#:sim           build/ggmk-sim; `build/ggmk-sim list` says what it can run

ifeq ($(shell uname -m),x86_64)

SIM := $(BUILD)/ggmk-sim
SIM_CORE := $(BUILD)/sim/libgmk_sim.a
SIM_CORE_OBJS := $(patsubst %.c,$(BUILD)/sim/%.o,$(CORE_SRCS) $(BRIDGE_SRCS) gpu/device.c)
SIM_SRCS := $(sort $(wildcard hal/sim/*.c)) hal/gcc/linked.c $(sort $(wildcard test/sim/*.c))
SIM_OBJS := $(patsubst %.c,$(BUILD)/sim/%.o,$(SIM_SRCS)) $(BUILD)/sim/hal/sim/switch.o
SIM_FLAGS := $(strip $(CC) $(filter-out -fvisibility=hidden,$(BASE_CFLAGS)) -O2 -fno-pie -fno-omit-frame-pointer \
	-fno-optimize-sibling-calls \
	-DGMK_HAL_SIM -DGMK_DEBUG $(EXTRA_CFLAGS))

# What is checked for races: -fsanitize=thread, and our own functions for it (hal/sim/races.c).  The
# core's look at freed memory, whether it is still as it was left, is no access of anybody's.
SIM_CHECKED := -fsanitize=thread --param tsan-instrument-func-entry-exit=0 -include hal/sim/checked.h \
	-fno-builtin-memcpy -fno-builtin-memset -fno-builtin-memmove -fno-builtin-memcmp

ifeq ($(filter clean help,$(MAKECMDGOALS)),)
$(eval $(call remember,$(BUILD)/sim/flags,$(SIM_FLAGS) $(SIM_CHECKED)))
$(eval $(call remember,$(BUILD)/sim/objects,$(SIM_CORE_OBJS) $(SIM_OBJS)))
endif

.PHONY: sim
sim: $(SIM)

$(BUILD)/sim/%.o: %.c $(BUILD)/sim/flags | $(BUILD)/deps/build
	@mkdir -p $(@D)
	$(if $(Q),@echo "  CC sim $<")
	$(Q)$(SIM_FLAGS) $(DEFS) -MMD -MP -c -o $@ $<

$(BUILD)/sim/%.o: %.S $(BUILD)/sim/flags | $(BUILD)/deps/build
	@mkdir -p $(@D)
	$(Q)$(CC) -c -o $@ $<

$(BUILD)/sim/hal/%.o: DEFS = $(HOSTED_DEFS)
$(BUILD)/sim/test/%.o: DEFS = $(HOSTED_DEFS)
$(BUILD)/sim/test/sim/scn_%.o $(BUILD)/sim/test/sim/kernel.o $(BUILD)/sim/test/sim/duo.o: DEFS = $(HOSTED_DEFS) $(SIM_CHECKED)
$(BUILD)/sim/src/%.o $(BUILD)/sim/bridge/%.o $(BUILD)/sim/gpu/%.o: DEFS = $(SIM_CHECKED)
$(BUILD)/sim/src/heap_debug.o: DEFS =

$(SIM_CORE): $(SIM_CORE_OBJS) $(BUILD)/sim/objects
	$(Q)rm -f $@ && $(AR) rcs $@ $(SIM_CORE_OBJS)

$(SIM): $(SIM_OBJS) $(SIM_CORE)
	$(if $(Q),@echo "  LD $@")
	$(Q)$(CC) -no-pie -o $@ $(SIM_OBJS) $(SIM_CORE) $(EXTRA_LDFLAGS)

-include $(SIM_OBJS:.o=.d) $(SIM_CORE_OBJS:.o=.d)

endif
