# SPDX-License-Identifier: MIT
#
# GGMK, hosted: the library, its tests, its checks and the demo.  `make help` lists the targets.
# Every part of the build has its own file in mk/; this one only says which.

MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.SUFFIXES:

all: # the default, whatever the files below declare first

include mk/config.mk
include mk/variant.mk
include mk/lib.mk
include mk/demo.mk
include mk/test.mk
include mk/check.mk
include mk/install.mk
-include mk/sim.mk
-include mk/simtest.mk
-include mk/kernel.mk
-include mk/boot.mk
-include mk/qemu.mk
-include mk/count.mk
-include mk/machine.mk
-include mk/nvptx.mk
-include mk/gpu.mk
-include mk/gpuhost.mk
-include mk/gpudrv.mk
-include mk/accept.mk
-include mk/dual.mk
-include mk/bundle.mk
-include mk/model.mk
-include mk/bench.mk

.PHONY: all clean help
all: lib demo-program

clean:
	rm -rf $(BUILD)

help:
	@sed -n 's/^#:/ /p' $(MAKEFILE_LIST)
