# SPDX-License-Identifier: MIT
#
# The module gpu_drv is part of the hosted library.  Its tests run it against test/gpu/fake_host.c, a host process
# that does what a test tells it, and against ggmk-gpuhost with the modules of the test image.

GPUDRV_PROGRAMS := test_drv fake_host
gpudrv_objs = $(patsubst %,$(BUILD)/$1/test/gpu/%.o,$(GPUDRV_PROGRAMS))

define gpudrv_rules
$(call gpudrv_objs,$1): DEFS = $(HOSTED_DEFS) -Itest -iquote .
$(call gpudrv_objs,$1): | $(BUILD)/deps/test
$(BUILD)/$1/test/gpu/test_drv: $(BUILD)/$1/test/gpu/test_drv.o $$(LIB_$1) | $(BUILD)/$1/test/gpu/fake_host
	$$(if $(Q),@echo "  LD $$@")
	$(Q)$$(call link,$1) -lcmocka
$(BUILD)/$1/test/gpu/fake_host: $(BUILD)/$1/test/gpu/fake_host.o $(BUILD)/$1/gpu/device.o $$(LIB_$1)
	$$(if $(Q),@echo "  LD $$@")
	$(Q)$$(call link,$1)
.SECONDARY: $(call gpudrv_objs,$1)
-include $(patsubst %.o,%.d,$(call gpudrv_objs,$1))
endef
$(foreach v,rel dbg asan tsan,$(eval $(call gpudrv_rules,$v)))

TEST_GROUPS += $(filter-out $(TEST_GROUPS),gpu)
TESTS_gpu += $(patsubst %,$(BUILD)/%/test/gpu/test_drv,rel dbg)
TEST_DEPS_gpu += $(GPUHOST_TEST) $(patsubst %,$(BUILD)/%/test/gpu/test_drv,rel dbg)
