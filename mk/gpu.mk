# SPDX-License-Identifier: MIT
#
# Images of a GPU kernel: the core, the bridge, gpu/device.c and the modules of the image, as one file of PTX.
#
#:gpu           $(BUILD)/gmk_gpu.ptx and .json for GPU_ARCH=sm_80, with the modules GPU_MODULES; says what each handler
#:              takes, and fails when one takes too much
#:gpu-baseline  makes what the image takes now the measure of later ones: gpu/baseline.txt

GPU_MODULES ?= $(patsubst %,examples/wordcount/%.c,device trouble count tokenize)
GPU_TEST_MODULES ?= $(shell grep -lw ^GMK_MODULE test/gpu/*.c 2>/dev/null)

GPU_SRC := $(NVPTX_CORE_SRC) gpu/device.c gpu/entry.c
GPU_KEEP := gmk_gpu_run,gmk_hal_nvptx_console
GPU_DIR := $(BUILD)/gpu
GPU_TOOL = NVPTX_CC=$(NVPTX_CC) NVPTX_ARCH=$(NVPTX_ARCH) tools/gpu-image

# $(call gpu_image,NAME,FOLDER,MODULES,ARCHS): the image FOLDER/NAME.ptx of these modules' sources, and FOLDER/NAME.json,
# for which it is also measured on ARCHS.
define gpu_image
GPU_BITCODE_$1 := $(patsubst %.c,$(NVPTX_DIR)/%.bc,$(sort $(GPU_SRC) $3)) $(GPU_DIR)/$1.image.bc

$(GPU_DIR)/$1.image.c: $3 $(GPU_DIR)/$1.modules tools/gpu-image
	@mkdir -p $$(@D)
	$(Q)$$(GPU_TOOL) table $$@ $3

$(GPU_DIR)/$1.image.bc: $(GPU_DIR)/$1.image.c mk/nvptx.mk $(NVPTX_DIR)/flags
	@$$(call nvptx_compile,$(NVPTX_CONVERGENT))

$(GPU_DIR)/$1.ptx: $$(GPU_BITCODE_$1) gpu/bounds.ll tools/gpu-image tools/Nvptx.pm | $(BUILD)/deps/nvptx
	$$(if $(Q),@echo "  PTX $2/$1.ptx")
	$(Q)$$(GPU_TOOL) build $(GPU_DIR)/$1 $(GPU_KEEP) $$(filter %.bc %.ll,$$^)

$(GPU_DIR)/$1.json: $(GPU_DIR)/$1.ptx
	$(Q)$$(GPU_TOOL) measure $(GPU_DIR)/$1 gmk_gpu_run $4

$2/$1.ptx $2/$1.json: $2/%: $(GPU_DIR)/%
	@mkdir -p $$(@D)
	$(Q)cp $$< $$@

-include $$(GPU_BITCODE_$1:.bc=.d)
endef

ifeq ($(filter clean help,$(MAKECMDGOALS)),)
$(eval $(call remember,$(GPU_DIR)/gmk_gpu.modules,$(GPU_SRC) / $(GPU_MODULES)))
$(eval $(call remember,$(GPU_DIR)/gmk_gpu_test.modules,$(GPU_SRC) / $(GPU_TEST_MODULES)))
endif

GPU_IMAGE := $(BUILD)/gmk_gpu.ptx $(BUILD)/gmk_gpu.json
GPU_TEST_IMAGE := $(BUILD)/test/gmk_gpu_test.ptx $(BUILD)/test/gmk_gpu_test.json
$(eval $(call gpu_image,gmk_gpu,$(BUILD),$(GPU_MODULES),sm_90))
$(eval $(call gpu_image,gmk_gpu_test,$(BUILD)/test,$(GPU_TEST_MODULES)))

.PHONY: gpu gpu-baseline
gpu: $(GPU_IMAGE)
	$(Q)$(GPU_TOOL) check $(GPU_DIR)/gmk_gpu gpu/baseline.txt

gpu-baseline: $(GPU_IMAGE)
	$(Q)$(GPU_TOOL) baseline $(GPU_DIR)/gmk_gpu gpu/baseline.txt

TEST_GROUPS += $(filter-out $(TEST_GROUPS),gpu)
TESTS_gpu += test/gpu-image.t
