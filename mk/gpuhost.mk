# SPDX-License-Identifier: MIT
#
# ggmk-gpuhost, the process that owns the GPU.  It opens NVIDIA's driver when it runs: nothing of it is needed here.
# As the software device it runs the modules of the image itself, so it is built of the same list.
#
#:gpuhost       $(BUILD)/ggmk-gpuhost, with the modules GPU_MODULES for its software device

GPUHOST := $(BUILD)/ggmk-gpuhost
GPUHOST_SRCS := $(sort $(wildcard gpu/host*.c)) gpu/cuda.c gpu/device.c
GPUHOST_TEST := $(BUILD)/test/ggmk-gpuhost-test
FAKE_CUDA := $(BUILD)/test/fake-cuda/libcuda.so.1

# $(call gpuhost_objs,VARIANT,SOURCES,IMAGE): objects of the sources and of the image's list of modules.
gpuhost_objs = $(patsubst %.c,$(BUILD)/$1/%.o,$2) $(BUILD)/$1/gpu/$3.image.o

GPUHOST_OBJS := $(call gpuhost_objs,rel,$(GPUHOST_SRCS) $(GPU_MODULES),gmk_gpu)
GPUHOST_TEST_OBJS := $(call gpuhost_objs,rel,$(GPUHOST_SRCS) $(GPU_TEST_MODULES),gmk_gpu_test)
FAKE_CUDA_OBJS := $(LIB_OBJS_pic) $(call gpuhost_objs,pic,gpu/device.c $(GPU_TEST_MODULES) test/gpu/fake_cuda.c,gmk_gpu_test)

define gpuhost_table
$(BUILD)/$1/gpu/$2.image.o: $(GPU_DIR)/$2.image.c $(BUILD)/$1/flags
	@mkdir -p $$(@D)
	$(Q)$$(FLAGS_$1) $(HOSTED_DEFS) -Igpu -MMD -MP -c -o $$@ $$<
endef
$(GPU_DIR)/gmk_gpu.image.c $(GPU_DIR)/gmk_gpu_test.image.c: | $(BUILD)/deps/build
$(eval $(call gpuhost_table,rel,gmk_gpu))
$(eval $(call gpuhost_table,rel,gmk_gpu_test))
$(eval $(call gpuhost_table,pic,gmk_gpu_test))

# A list that has changed: of the modules, or of the sources.
ifeq ($(filter clean help,$(MAKECMDGOALS)),)
$(eval $(call remember,$(BUILD)/gpu/host.objects,$(GPUHOST_OBJS) / $(GPUHOST_TEST_OBJS) / $(FAKE_CUDA_OBJS)))
endif
$(GPUHOST) $(GPUHOST_TEST) $(FAKE_CUDA): $(BUILD)/gpu/host.objects

$(GPUHOST): $(GPUHOST_OBJS) $(LIB_rel)
$(GPUHOST_TEST): $(GPUHOST_TEST_OBJS) $(LIB_rel)
$(GPUHOST) $(GPUHOST_TEST):
	@mkdir -p $(@D)
	$(if $(Q),@echo "  LD $@")
	$(Q)$(call link,rel)

# A driver without a GPU, for the tests: it runs what is launched on it as a thread.
$(FAKE_CUDA): $(FAKE_CUDA_OBJS)
	@mkdir -p $(@D)
	$(if $(Q),@echo "  LD $@")
	$(Q)$(CC_pic) -shared -pthread -Wl,-soname,libcuda.so.1 -Wl,-Bsymbolic -Wl,-z,defs -o $@ $(filter %.o,$^) $(EXTRA_LDFLAGS)

-include $(sort $(GPUHOST_OBJS:.o=.d) $(GPUHOST_TEST_OBJS:.o=.d) $(FAKE_CUDA_OBJS:.o=.d))

.PHONY: gpuhost
gpuhost: $(GPUHOST)
all: gpuhost

TEST_GROUPS += $(filter-out $(TEST_GROUPS),gpu)
TESTS_gpu += test/gpuhost.t
TEST_DEPS_gpu += lib $(GPUHOST) $(GPUHOST_TEST) $(FAKE_CUDA)
