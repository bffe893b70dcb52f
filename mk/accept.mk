# SPDX-License-Identifier: MIT
#
# The acceptance tests of two kernels: one program, and the device in three places.  Where there is no GPU, those that
# want one are skipped.
#
#:test-bridge   two kernels joined: unit tests, and the acceptance tests on local, soft and cuda
#:soak-dual     the acceptance test of residence on the software device for SECONDS=600

ACCEPT := $(BUILD)/rel/test/gpu/test_accept
ACCEPT_OBJS := $(patsubst %.c,$(BUILD)/rel/%.o,test/gpu/test_accept.c gpu/device.c $(GPU_TEST_MODULES)) \
	$(BUILD)/rel/gpu/gmk_gpu_test.image.o

$(BUILD)/rel/test/gpu/test_accept.o: DEFS = $(HOSTED_DEFS) -Itest
$(BUILD)/rel/test/gpu/test_accept.o: | $(BUILD)/deps/test
$(ACCEPT): $(ACCEPT_OBJS) $(LIB_rel)
	$(if $(Q),@echo "  LD $@")
	$(Q)$(call link,rel) -lcmocka
-include $(ACCEPT_OBJS:.o=.d)

TESTS_bridge += test/accept-local.t test/accept-soft.t test/accept-driver.t test/accept-cuda.t
TEST_DEPS_bridge += $(ACCEPT) $(GPUHOST_TEST) $(FAKE_CUDA) $(GPU_TEST_IMAGE)

.PHONY: soak-dual
soak-dual: $(ACCEPT) $(GPUHOST_TEST)
	$(Q)ACCEPT_ON=soft ACCEPT_HOST=$(GPUHOST_TEST) ACCEPT_SECONDS=$(if $(filter command line environment,$(origin SECONDS)),$(SECONDS),600) \
		$(ACCEPT) test_residence
