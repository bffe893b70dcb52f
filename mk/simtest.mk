# SPDX-License-Identifier: MIT
#
# The tests of the simulator and with it, and its speed.
#
#:test-sim      every scenario over the seeds SIM_SEEDS=1..2000, in SIM_JOBS processes (one for each CPU); the
#:              cases that once failed; ggmk-sim itself
#:test-mutants  whether the scenarios find small bugs put into copies of the core: test/sim/mutants
#:bench-sim     points a second, with and without the search for races

ifneq ($(SIM),)

SIM_SEEDS ?= 1..2000
SIM_JOBS ?= $(or $(shell nproc 2>/dev/null),2)
export SIM_SEEDS SIM_JOBS
# One program runs all scenarios, minutes of processor time.
test test-sim: export TEST_TIMEOUT := $(or $(TEST_TIMEOUT),1800)

# A second build of the same source, to replay what the first one recorded.
SIM_AGAIN := $(BUILD)/again/ggmk-sim
.PHONY: sim-again
sim-again: $(SIM)
	$(if $(filter %/again again,$(BUILD)),,$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD)/again $(BUILD)/again/ggmk-sim)

CHECK_FXT := $(BUILD)/sim/check-fxt
$(CHECK_FXT): test/fxt/check_fxt.c test/fxt_read.c test/fxt_read.h | $(BUILD)/deps/build
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -g -O1 $(WARNINGS) $(HOSTED_DEFS) -o $@ $(filter %.c,$^)

TEST_GROUPS += $(filter-out $(TEST_GROUPS),sim)
TESTS_sim := $(sort $(wildcard test/sim/*.t))
TEST_DEPS_sim := $(SIM) $(CHECK_FXT) sim-again

# Small bugs in copies of the core, each of which a scenario has to find.
.PHONY: test-mutants
test-mutants: | $(BUILD)/deps/test
	$(Q)test/sim/mutants/run --build "$(BUILD)" --jobs $(SIM_JOBS) --table

.PHONY: bench-sim
bench-sim: $(SIM)
	$(Q)BUILD="$(BUILD)" test/sim/bench

endif
