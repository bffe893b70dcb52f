# SPDX-License-Identifier: MIT
#
# What a machine with a GPU needs to test and to measure GGMK/gpu: one folder, nothing else.
#
#:gpu-bundle    $(BUILD)/gpu-bundle: `run` in it tests and measures on a machine that has a GPU and may have nothing more

BUNDLE := $(BUILD)/gpu-bundle
BENCH_FAR := bench/gpu/far.c
BENCH_HOST_OBJS := $(call gpuhost_objs,rel,$(GPUHOST_SRCS) $(BENCH_FAR),gmk_bench)
RAW_OBJS := $(patsubst %.c,$(BUILD)/rel/%.o,bench/gpu/raw.c bench/gpu/ring.c)
MEASURE_OBJS := $(patsubst %.c,$(BUILD)/rel/%.o,bench/gpu/measure.c bench/gpu/near.c)
$(BUILD)/rel/bench/%.o: DEFS = $(HOSTED_DEFS)

ifeq ($(filter clean help,$(MAKECMDGOALS)),)
$(eval $(call remember,$(GPU_DIR)/gmk_bench.modules,$(GPU_SRC) / $(BENCH_FAR)))
endif
$(eval $(call gpu_image,gmk_bench,$(BUNDLE),$(BENCH_FAR)))
$(eval $(call gpuhost_table,rel,gmk_bench))

# The host loads NVIDIA's driver, and a static program cannot do that well: docs/decisions/bundle-linking.md.
$(BUNDLE)/ggmk-gpuhost: $(BENCH_HOST_OBJS) $(LIB_rel)
	@mkdir -p $(@D)
	$(if $(Q),@echo "  LD $@")
	$(Q)$(call link,rel) -static-libgcc

$(BUNDLE)/measure: $(MEASURE_OBJS) $(LIB_rel)
	@mkdir -p $(@D)
	$(if $(Q),@echo "  LD $@")
	$(Q)$(call link,rel) -static

$(BUNDLE)/raw: $(RAW_OBJS) $(LIB_rel)
	@mkdir -p $(@D)
	$(if $(Q),@echo "  LD $@")
	$(Q)$(call link,rel) -static-libgcc

$(BUNDLE)/run $(BUNDLE)/raw.ptx: $(BUNDLE)/%: bench/gpu/%
	@mkdir -p $(@D)
	$(Q)cp $< $@

# A driver without a GPU, for the test of raw.
FAKE_RAW := $(BUILD)/test/fake-raw/libcuda.so.1
$(FAKE_RAW): $(BUILD)/pic/test/gpu/fake_raw.o
	@mkdir -p $(@D)
	$(Q)$(CC_pic) -shared -pthread -Wl,-soname,libcuda.so.1 -Wl,-z,defs -o $@ $< $(EXTRA_LDFLAGS)

-include $(sort $(BENCH_HOST_OBJS:.o=.d) $(MEASURE_OBJS:.o=.d) $(RAW_OBJS:.o=.d)) $(BUILD)/pic/test/gpu/fake_raw.d

.PHONY: gpu-bundle
gpu-bundle: $(patsubst %,$(BUNDLE)/%,run measure raw raw.ptx ggmk-gpuhost gmk_bench.ptx gmk_bench.json)
	$(Q)du -sh $(BUNDLE)

TEST_GROUPS += $(filter-out $(TEST_GROUPS),gpu)
TESTS_gpu += test/gpu-bundle.t
TEST_DEPS_gpu += gpu-bundle $(FAKE_RAW)
