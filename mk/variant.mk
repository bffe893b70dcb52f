# SPDX-License-Identifier: MIT
#
# A variant is one way to compile the core, the hosted HAL and the programs on top of them.  Each
# has its own tree below $(BUILD), so that none disturbs another:
#
#   rel    what is delivered: -O2                 pic   the same for the shared library
#   dbg    -O1 with the core's assertions          cov   counted by gcov
#   asan   under AddressSanitizer and UndefinedBehaviorSanitizer
#   tsan   under ThreadSanitizer
#
# $(BUILD)/V/flags and $(BUILD)/V/objects hold the command and the list of objects last used; they
# change only when those do, and what depends on them is made again.

CC_rel = $(CC)
CFLAGS_rel := -O2

CC_pic = $(CC)
CFLAGS_pic := -O2 -fPIC -fno-semantic-interposition -include mk/visible.h

CC_dbg = $(CC)
CFLAGS_dbg := -O1 -DGMK_DEBUG

# -Og folds what the HAL fixes at compile time (one lane, no closed image): such branches are not counted.
CC_cov = $(CC)
CFLAGS_cov := -Og --coverage
LDFLAGS_cov := --coverage

CC_asan = $(CC)
CFLAGS_asan := -O1 -DGMK_DEBUG -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
LDFLAGS_asan := -fsanitize=address,undefined

# gcc's sanitizer does not know clang's fences, and the HAL is written for clang's view of them.
CC_tsan = $(CLANG)
CFLAGS_tsan := -O1 -DGMK_DEBUG -fno-omit-frame-pointer -fsanitize=thread
LDFLAGS_tsan := -fsanitize=thread

VARIANTS := rel pic dbg cov asan tsan

# $(call remember,FILE,TEXT): FILE holds TEXT, and is untouched when it does already.  Blanks do not count: some
# versions of make read the newline at the end of a file, some do not.
define remember
ifneq ($$(wildcard $1)$$(strip $$(file <$1)),$1$$(strip $2))
$$(shell mkdir -p $(dir $1))$$(file >$1,$2)
endif
endef

define variant_rules
LIB_OBJS_$1 := $(patsubst %.c,$(BUILD)/$1/%.o,$(CORE_SRCS) $(BRIDGE_SRCS) $(HAL_SRCS) $(DRIVER_SRCS))
LIB_$1 := $(BUILD)/$1/libgmk_cpu.a
FLAGS_$1 = $$(strip $$(CC_$1) $(BASE_CFLAGS) $$(CFLAGS_$1) $(EXTRA_CFLAGS))

$(BUILD)/$1/%.o: %.c $(BUILD)/$1/flags | $(BUILD)/deps/build
	@mkdir -p $$(@D)
	$$(if $(Q),@echo "  CC $1 $$<")
	$(Q)$$(FLAGS_$1) $$(DEFS) -MMD -MP -c -o $$@ $$<

$(BUILD)/$1/src/%.o: DEFS = $(CORE_DEFS)
$(BUILD)/$1/bridge/%.o: DEFS = $(CORE_DEFS)
$(BUILD)/$1/hal/%.o: DEFS = $(HOSTED_DEFS)
$(BUILD)/$1/gpu/%.o: DEFS = $(HOSTED_DEFS)
$(BUILD)/$1/test/%.o: DEFS = $(HOSTED_DEFS) -Itest
$(BUILD)/$1/examples/%.o: DEFS = $(HOSTED_DEFS)

$$(LIB_$1): $$(LIB_OBJS_$1) $(BUILD)/$1/objects
	$$(if $(Q),@echo "  AR $$@")
	$(Q)rm -f $$@ && $(AR) rcs $$@ $$(LIB_OBJS_$1)

-include $$(LIB_OBJS_$1:.o=.d)
endef
$(foreach v,$(VARIANTS),$(eval $(call variant_rules,$v)))

ifeq ($(filter clean help,$(MAKECMDGOALS)),)
$(foreach v,$(VARIANTS),$(eval $(call remember,$(BUILD)/$v/flags,$(FLAGS_$v) $(CORE_DEFS) $(HOSTED_DEFS))))
$(foreach v,$(VARIANTS),$(eval $(call remember,$(BUILD)/$v/objects,$(LIB_OBJS_$v))))
endif

# $(call link,VARIANT): the program $@ out of the objects and archives among its prerequisites.
link = $(CC_$1) $(CFLAGS_$1) -pthread -o $@ $(filter %.o %.a,$^) $(LDFLAGS_$1) $(EXTRA_LDFLAGS)
