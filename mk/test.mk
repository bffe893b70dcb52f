# SPDX-License-Identifier: MIT
#
# Tests speak TAP and `prove` reads it.  A group is a list of programs: test/test_NAME*.c for each
# NAME of the group (cmocka, linked with the library), and scripts test/NAME*.t.  A part of the tree
# with tests of another kind adds to the lists from its own mk file:
#
#   TEST_GROUPS += sim              the group exists: `make test-sim`, and part of `make test`
#   TESTS_sim := PROGRAM...         programs or scripts that print TAP
#   TEST_DEPS_sim := FILE...        what has to be built for them
#
#:test          all tests that can run here, after tools/deps has seen to the packages
#:              TESTS_ALSO=program adds programs of one's own
#:test-GROUP    one group: ring alloc sched chan module worker boot observe hal bridge gpu
#:              sim nvptx demo tools install docs soak loader qemu machine fuzz

TEST_NAMES_ring := ring spsc mpmc mpsc timerq
TEST_NAMES_alloc := alloc heap span slab bump payload mem
TEST_NAMES_sched := sched credit rq lq evq det timer
TEST_NAMES_chan := chan mailbox dead waiter
TEST_NAMES_module := module registry types
TEST_NAMES_worker := worker outcome fault watchdog port
TEST_NAMES_boot := boot halt api
TEST_NAMES_observe := observe trace hist metrics usermetrics export format
TEST_NAMES_hal := hal
TEST_NAMES_bridge := bridge outlet

UNIT_GROUPS := ring alloc sched chan module worker boot observe hal bridge
TEST_GROUPS := $(UNIT_GROUPS) nvptx demo tools install docs

TESTS_demo := $(wildcard test/wordcount*.t test/demo*.t)
TEST_DEPS_demo := demo-program
TESTS_nvptx := $(wildcard test/nvptx*.t)
TESTS_tools := $(wildcard test/tools*.t)
TEST_DEPS_tools := lib
TESTS_install := $(wildcard test/install*.t)
TEST_DEPS_install := lib
TESTS_docs := $(wildcard test/readme*.t test/docs*.t test/man*.t)
TEST_DEPS_docs := lib

# test/test_NAME.c and test/test_NAME_*.c for each name, programs built twice: as delivered, and with
# the core's assertions.  Every other test/*.c but soak.c is linked with all of them.
TEST_SRCS := $(sort $(wildcard test/test_*.c))
TEST_SUPPORT := $(filter-out test/test_%.c test/soak.c,$(sort $(wildcard test/*.c)))
unit_srcs = $(filter $(foreach n,$(TEST_NAMES_$1),test/test_$n.c test/test_$n_%.c),$(TEST_SRCS))
programs = $(patsubst test/%.c,$(BUILD)/$1/test/%,$2)

$(foreach g,$(UNIT_GROUPS),$(eval TEST_SRCS_$g := $(call unit_srcs,$g)))
$(foreach g,$(UNIT_GROUPS),$(eval TESTS_$g = $(call programs,rel,$(TEST_SRCS_$g)) $(call programs,dbg,$(TEST_SRCS_$g))))
$(foreach g,$(UNIT_GROUPS),$(eval TEST_DEPS_$g = $$(TESTS_$g)))

UNCLAIMED_TESTS := $(filter-out $(foreach g,$(UNIT_GROUPS),$(TEST_SRCS_$g)),$(TEST_SRCS))
ifneq ($(UNCLAIMED_TESTS),)
$(error no group in mk/test.mk runs $(UNCLAIMED_TESTS))
endif

define test_rules
TEST_OBJS_$1 := $(patsubst %.c,$(BUILD)/$1/%.o,$(TEST_SRCS) $(TEST_SUPPORT))
$$(TEST_OBJS_$1): | $(BUILD)/deps/test
$(call programs,$1,$(TEST_SRCS)): %: %.o $(patsubst %.c,$(BUILD)/$1/%.o,$(TEST_SUPPORT)) $$(LIB_$1)
	$$(if $(Q),@echo "  LD $$@")
	$(Q)$$(call link,$1) -lcmocka
.SECONDARY: $$(TEST_OBJS_$1)
-include $$(TEST_OBJS_$1:.o=.d)
endef
$(foreach v,$(filter-out pic,$(VARIANTS)),$(eval $(call test_rules,$v)))

# The groups' lists are complete only when every mk file has been read, hence the second expansion.
all_tests = $(foreach g,$(TEST_GROUPS),$(TESTS_$g))
all_test_deps = $(foreach g,$(TEST_GROUPS),$(TEST_DEPS_$g))
empty_groups = $(strip $(foreach g,$(TEST_GROUPS),$(if $(strip $(TESTS_$g)),,$g)))

.PHONY: test test-build test-help
.SECONDEXPANSION:
test: $$(all_test_deps) | $(BUILD)/deps/test
	$(if $(empty_groups),$(error no tests in group: $(empty_groups)))
	$(Q)$(RUN_TESTS) $(all_tests) $(TESTS_ALSO)

test-build: $$(all_test_deps)

test-%: $$(TEST_DEPS_$$*) | $(BUILD)/deps/test
	$(if $(filter $*,$(TEST_GROUPS)),,$(error no such group of tests: $*))
	$(if $(strip $(TESTS_$*)),,$(error no tests in group: $*))
	$(Q)$(RUN_TESTS) $(TESTS_$*)

RUN_TESTS = BUILD="$(BUILD)" CC="$(CC)" MAKE="$(MAKE)" tools/run-tests
