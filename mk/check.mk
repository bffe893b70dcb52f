# SPDX-License-Identifier: MIT
#
# Checks beyond the tests: sanitizers, coverage, style, layers, models.
#
#:asan ubsan    the unit tests under AddressSanitizer and UndefinedBehaviorSanitizer: one build for both
#:tsan          the unit tests under ThreadSanitizer (clang)
#:coverage      gcov over the unit tests; src/ needs 95 % of the lines and 85 % of the branches
#:soak          mixed load for SECONDS=3600
#:format        clang-format over all C files; format-check changes nothing
#:tidy          clang-tidy over the core, the bridge, the GPU's driver module and the hosted HAL
#:check-layers  no file includes one from a layer to its right

UNIT_SRCS := $(foreach g,$(UNIT_GROUPS),$(TEST_SRCS_$g))
C_FILES := $(sort $(wildcard include/*.h include/ggmk/*.h src/*.[ch] bridge/*.[ch] gpu/*.[ch] hal/*/*.[ch] mk/*.h arch/*/*.[ch] boot/*.[ch] drivers/*.[ch] \
	kernel/*.[ch] fuzz/*.[ch] test/*.[ch] test/*/*.[ch] examples/*/*.[ch] bench/*.[ch] bench/*/*.[ch]))

COVERAGE_LINES ?= 95
COVERAGE_BRANCHES ?= 85
SECONDS ?= 3600

export ASAN_OPTIONS ?= detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS ?= print_stacktrace=1
export TSAN_OPTIONS ?= halt_on_error=1:second_deadlock_stack=1

# ThreadSanitizer wants its fixed layout of addresses; where randomisation can be turned off, it is.
NO_ASLR := $(shell setarch -R true 2>/dev/null && echo setarch -R)

.PHONY: asan ubsan tsan coverage soak format format-check tidy check-layers

asan ubsan: $(call programs,asan,$(UNIT_SRCS))
	$(Q)$(RUN_TESTS) $(call programs,asan,$(UNIT_SRCS))

$(BUILD)/tsan/flags: | $(BUILD)/deps/sanitize
tsan: $(call programs,tsan,$(UNIT_SRCS))
	$(Q)$(NO_ASLR) env $(RUN_TESTS) $(call programs,tsan,$(UNIT_SRCS))

# Counters of an earlier run would add up with this one's.
coverage: $(call programs,cov,$(UNIT_SRCS)) | $(BUILD)/deps/coverage
	$(Q)find $(BUILD)/cov -name '*.gcda' -delete
	$(Q)$(RUN_TESTS) $(call programs,cov,$(UNIT_SRCS))
	$(Q)gcovr --root . --filter 'src/' --object-directory $(BUILD)/cov --gcov-executable gcov \
		--exclude-unreachable-branches --print-summary \
		--html-details $(BUILD)/cov/index.html --json-summary $(BUILD)/cov/summary.json \
		--fail-under-line $(COVERAGE_LINES) --fail-under-branch $(COVERAGE_BRANCHES) $(BUILD)/cov
	@echo "coverage of src/: at least $(COVERAGE_LINES) % of the lines and $(COVERAGE_BRANCHES) % of the branches"

# test/soak.c runs its load for the seconds given and checks memory and counters at the end; a few
# seconds of it, with the core's assertions, are a test.
SOAK := $(BUILD)/rel/test/soak
define soak_rules
$(BUILD)/$1/test/soak.o: | $(BUILD)/deps/test
$(BUILD)/$1/test/soak: %: %.o $$(LIB_$1)
	$$(if $(Q),@echo "  LD $$@")
	$(Q)$$(call link,$1)
-include $(BUILD)/$1/test/soak.d
endef
$(foreach v,rel dbg asan tsan,$(eval $(call soak_rules,$v)))
soak: $(SOAK)
	$(Q)$(SOAK) $(SECONDS)
TEST_GROUPS += soak
TESTS_soak := $(BUILD)/dbg/test/soak
TEST_DEPS_soak := $(TESTS_soak)

format: | $(BUILD)/deps/format
	$(Q)clang-format -i $(C_FILES)

format-check: | $(BUILD)/deps/format
	$(Q)clang-format --dry-run -Werror $(C_FILES)

# One stamp per source, so that only what changed is read again.
TIDY_STAMPS := $(patsubst %.c,$(BUILD)/tidy/%.ok,$(CORE_SRCS) $(BRIDGE_SRCS) $(DRIVER_SRCS) $(HAL_SRCS))
$(BUILD)/tidy/%.ok: %.c .clang-tidy $(sort $(wildcard include/*.h include/ggmk/*.h src/*.h bridge/*.h gpu/*.h hal/gcc/*.h hal/linux/*.h)) | $(BUILD)/deps/tidy
	@mkdir -p $(@D)
	$(if $(Q),@echo "  TIDY $<")
	$(Q)clang-tidy --quiet --warnings-as-errors='*' $< -- $(BASE_CFLAGS) \
		$(if $(filter src/% bridge/%,$<),$(CORE_DEFS),$(HOSTED_DEFS)) 2>$@.log || { cat $@.log; exit 1; }
	@touch $@
tidy: $(TIDY_STAMPS)

check-layers:
	$(Q)tools/check-layers
