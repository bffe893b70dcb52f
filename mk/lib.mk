# SPDX-License-Identifier: MIT
#
#:lib           libgmk_cpu.a and libgmk_cpu.so in $(BUILD)

SONAME := libgmk_cpu.so.$(SOVERSION)
SOFILE := libgmk_cpu.so.$(VERSION)
STATIC_LIB := $(BUILD)/libgmk_cpu.a
SHARED_LIB := $(BUILD)/$(SOFILE)
SHARED_LINKS := $(BUILD)/$(SONAME) $(BUILD)/libgmk_cpu.so

.PHONY: lib
lib: $(STATIC_LIB) $(SHARED_LIB) $(SHARED_LINKS)

$(STATIC_LIB): $(LIB_rel)
	$(Q)cp $< $@

$(SHARED_LIB): $(LIB_OBJS_pic) mk/libgmk_cpu.map $(BUILD)/pic/objects
	$(if $(Q),@echo "  LD $@")
	$(Q)$(CC_pic) -shared -pthread -Wl,-soname,$(SONAME) -Wl,--version-script,mk/libgmk_cpu.map \
		-Wl,-z,defs -Wl,-z,relro -Wl,-z,now -o $@ $(LIB_OBJS_pic) $(EXTRA_LDFLAGS)

$(SHARED_LINKS): $(SHARED_LIB)
	$(Q)ln -sf $(SOFILE) $@
