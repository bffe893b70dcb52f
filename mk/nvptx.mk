# SPDX-License-Identifier: MIT
#
# The core for the GPU: C11 to LLVM bitcode with Debian's clang-19.  No CUDA toolkit is needed; a
# ptxas, where there is one, is asked for its opinion.
#
#:nvptx-check   compiles the core and the image of mk/gpu.mk for the GPU, and reads IR and PTX for what must
#:              not be there

NVPTX_CC ?= clang-19
GPU_ARCH ?= sm_80
NVPTX_ARCH ?= $(GPU_ARCH)
NVPTX_DIR := $(BUILD)/nvptx

# -fconvergent-functions is for every unit of an image: without it the optimiser copies meetings
# of lanes into the arms of a branch.  The two --cuda options keep a toolkit that lies about from
# choosing the PTX version.  The large code model (and -code-model=large for opt) keeps constant tables
# of strings as pointers: the optimiser's tables of 32-bit offsets from themselves stop llc, see
# docs/decisions/nvptx-code-model.md.  A unit is compiled for -O2 but not optimised: that is done once, when the
# whole image is known (docs/decisions/nvptx-optimisation.md).
NVPTX_TARGET = --target=nvptx64-nvidia-cuda -march=$(NVPTX_ARCH) --cuda-path=/nonexistent --cuda-feature=+ptx78
NVPTX_CONVERGENT = -fconvergent-functions
NVPTX_WARN = -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Werror
NVPTX_CFLAGS = $(NVPTX_TARGET) -ffp-contract=off -std=c11 -O2 -Xclang -disable-llvm-passes -ffreestanding -nogpulib \
	-mcmodel=large -emit-llvm -c -Iinclude -iquote src -iquote bridge -iquote gpu $(NVPTX_WARN)

NVPTX_CORE_SRC := $(sort $(wildcard src/*.c)) $(sort $(wildcard bridge/*.c)) $(sort $(wildcard hal/nvptx/*.c))
NVPTX_CANARY_SRC := $(sort $(wildcard test/nvptx/canary_*.c))
NVPTX_TEST_SRC := $(sort $(wildcard test/nvptx/*.c))

NVPTX_BITCODE := $(patsubst %.c,$(NVPTX_DIR)/%.bc,$(NVPTX_CORE_SRC) $(NVPTX_TEST_SRC)) \
	$(patsubst %.c,$(NVPTX_DIR)/plain/%.bc,$(NVPTX_CANARY_SRC))

# What the compiler says is kept beside the object: the check shows it file by file.
nvptx_compile = mkdir -p $(@D) && \
	$(NVPTX_CC) $(1) $(NVPTX_CFLAGS) -MMD -MP -MF $(@:.bc=.d) -o $@ $< 2> $(@:.bc=.log) || { rm -f $@; cat $(@:.bc=.log) >&2; exit 1; }

ifeq ($(filter clean help,$(MAKECMDGOALS)),)
$(eval $(call remember,$(NVPTX_DIR)/flags,$(NVPTX_CC) $(NVPTX_CFLAGS)))
endif

$(NVPTX_DIR)/plain/%.bc: %.c mk/nvptx.mk $(NVPTX_DIR)/flags
	@$(call nvptx_compile,)

$(NVPTX_DIR)/%.bc: %.c mk/nvptx.mk $(NVPTX_DIR)/flags
	@$(call nvptx_compile,$(NVPTX_CONVERGENT))

-include $(NVPTX_BITCODE:.bc=.d)

.PHONY: nvptx-bitcode nvptx-check
nvptx-bitcode: $(NVPTX_BITCODE)

nvptx-check: | $(BUILD)/deps/nvptx
	@$(MAKE) -f $(firstword $(MAKEFILE_LIST)) -k -s --no-print-directory nvptx-bitcode $(GPU_IMAGE) >/dev/null 2>&1 || true
	@NVPTX_CC=$(NVPTX_CC) NVPTX_ARCH=$(NVPTX_ARCH) tools/nvptx-check $(NVPTX_DIR) $(GPU_DIR)/gmk_gpu $(NVPTX_CORE_SRC)

TEST_GROUPS += nvptx
TESTS_nvptx := test/nvptx.t
