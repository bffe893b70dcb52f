# SPDX-License-Identifier: MIT
#
#:demo          counts the words of INPUT=file with a pipeline of modules; ARGS="--top 5" adds options

# The modules, and what all hosted programs of the word counter are made of besides.
DEMO_MODULES := $(patsubst %,examples/wordcount/%.c,report trouble count tokenize reader)
DEMO_HOSTED := $(DEMO_MODULES) $(patsubst %,examples/wordcount/%.c,options run)
DEMO_SRCS := examples/wordcount/main.c $(DEMO_HOSTED)

DEMO := $(BUILD)/wordcount
DEMO_OBJS := $(patsubst %.c,$(BUILD)/rel/%.o,$(DEMO_SRCS))

# A text that every Debian machine has, and this repository's own README elsewhere.
INPUT ?= $(firstword $(wildcard /usr/share/common-licenses/GPL-3) README.md)
ARGS ?=

.PHONY: demo run demo-program
demo: $(DEMO)
	$(Q)$(DEMO) $(ARGS) -- "$(INPUT)"

# The main job of this tree: on bare metal (mk/qemu.mk) where that is known, else hosted.
ifneq ($(shell uname -m),x86_64)
run: demo
endif

demo-program: $(DEMO)

$(DEMO): $(DEMO_OBJS) $(LIB_rel)
	$(if $(Q),@echo "  LD $@")
	$(Q)$(call link,rel)

-include $(DEMO_OBJS:.o=.d)
