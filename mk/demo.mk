# SPDX-License-Identifier: MIT
#
#:demo          counts the words of INPUT=file with a pipeline of modules; ARGS="--top 5" adds options
#:run           the same: the main job of this tree

DEMO := $(BUILD)/wordcount
DEMO_OBJS := $(patsubst %.c,$(BUILD)/rel/%.o,$(DEMO_SRCS))

# A text that every Debian machine has, and this repository's own README elsewhere.
INPUT ?= $(firstword $(wildcard /usr/share/common-licenses/GPL-3) README.md)
ARGS ?=

.PHONY: demo run demo-program
run demo: $(DEMO)
	$(Q)$(DEMO) $(ARGS) -- "$(INPUT)"

demo-program: $(if $(DEMO_SRCS),$(DEMO))

$(DEMO): $(DEMO_OBJS) $(LIB_rel)
	$(if $(DEMO_SRCS),,$(error examples/wordcount has no sources))
	$(if $(Q),@echo "  LD $@")
	$(Q)$(call link,rel)

-include $(DEMO_OBJS:.o=.d)
