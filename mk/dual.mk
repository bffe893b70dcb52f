# SPDX-License-Identifier: MIT
#
# The word counter on two kernels, and all it needs to run.
#
#:run-dual      counts the words of INPUT=file on two kernels: cpu.0 reads and reports, gpu.0 tokenizes and counts,
#:              on the GPU where there is one, else on the software device; ARGS="--device soft" adds options

DUAL := $(BUILD)/wordcount-dual
DUAL_OBJS := $(patsubst %.c,$(BUILD)/rel/%.o,examples/wordcount/dual.c $(filter-out %/count.c %/tokenize.c,$(DEMO_HOSTED)))

.PHONY: run-dual dual-program dual-image
all: dual-program
dual-program: $(DUAL) $(GPUHOST)

run-dual: dual-program dual-image
	$(Q)$(DUAL) $(ARGS) -- "$(INPUT)"

# The image, where there is a driver that could load it: its compiler is large.  Without it the software device is left.
dual-image:
	$(Q)if [ -e /dev/nvidiactl ] || /sbin/ldconfig -p | grep -q 'libcuda\.so\.1'; then \
		$(MAKE) --no-print-directory $(GPU_IMAGE) || \
		echo "make run-dual: there is no image for the GPU, for the reason above" >&2; \
	fi

$(DUAL): $(DUAL_OBJS) $(LIB_rel)
	$(if $(Q),@echo "  LD $@")
	$(Q)$(call link,rel)

-include $(DUAL_OBJS:.o=.d)

TEST_GROUPS += $(filter-out $(TEST_GROUPS),gpu)
TESTS_gpu += test/dual.t
TEST_DEPS_gpu += dual-program demo-program
