# SPDX-License-Identifier: MIT
#
#:install       library, headers, ggmk.pc, ggmk-gpuhost and man pages below $(DESTDIR)$(PREFIX), and the image for the
#:              GPU when `make gpu` has built it; uninstall undoes it
#
# The API headers (ggmk.h and what it includes) need nothing else.  The ring headers are inline
# and need the HAL; they are installed together with the hosted HAL header, which then lies
# beside hal.h, and hal.h is told so.

PREFIX ?= /usr/local
DESTDIR ?=
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
INSTALL ?= install

HEADERS := $(filter-out include/ggmk/hal.h,$(sort $(wildcard include/ggmk/*.h)))
MAN1 := $(sort $(wildcard man/man1/*.1))
MAN3 := $(sort $(wildcard man/man3/*.3))
MAN7 := $(sort $(wildcard man/man7/*.7))

D_LIB = $(DESTDIR)$(LIBDIR)
D_INC = $(DESTDIR)$(INCLUDEDIR)
D_MAN = $(DESTDIR)$(MANDIR)
# ggmk-gpuhost looks for the image in ../lib/ggmk.
D_BIN = $(DESTDIR)$(PREFIX)/bin
D_IMAGE = $(DESTDIR)$(PREFIX)/lib/ggmk
IMAGE_FILES = $(wildcard $(GPU_IMAGE))

.PHONY: install uninstall
install: lib gpuhost
	$(if $(filter /%,$(PREFIX)),,$(error PREFIX is '$(PREFIX)', a relative path; give an absolute one: PREFIX=$(abspath $(or $(PREFIX),/usr/local))))
	$(Q)$(INSTALL) -d $(D_LIB)/pkgconfig $(D_INC)/ggmk $(D_MAN)/man1 $(D_MAN)/man3 $(D_MAN)/man7 $(D_BIN)
	$(Q)$(INSTALL) -m 644 $(STATIC_LIB) $(D_LIB)/
	$(Q)$(INSTALL) -m 755 $(SHARED_LIB) $(D_LIB)/
	$(Q)ln -sf $(SOFILE) $(D_LIB)/$(SONAME)
	$(Q)ln -sf $(SOFILE) $(D_LIB)/libgmk_cpu.so
	$(Q)$(INSTALL) -m 644 include/ggmk.h $(D_INC)/
	$(Q)$(INSTALL) -m 644 $(HEADERS) hal/gcc/hal_gcc.h $(D_INC)/ggmk/
	$(Q)sed 's|"../../hal/linux/hal_linux.h"|"hal_linux.h"|' include/ggmk/hal.h >$(D_INC)/ggmk/hal.h
	$(Q)sed 's|"../gcc/hal_gcc.h"|"hal_gcc.h"|' hal/linux/hal_linux.h >$(D_INC)/ggmk/hal_linux.h
	$(Q)chmod 644 $(D_INC)/ggmk/hal.h $(D_INC)/ggmk/hal_linux.h
	$(Q)sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
		-e 's|@VERSION@|$(VERSION)|' ggmk.pc.in >$(D_LIB)/pkgconfig/ggmk.pc
	$(Q)chmod 644 $(D_LIB)/pkgconfig/ggmk.pc
	$(Q)$(INSTALL) -m 755 $(GPUHOST) $(D_BIN)/
	$(if $(IMAGE_FILES),$(Q)$(INSTALL) -d $(D_IMAGE) && $(INSTALL) -m 644 $(IMAGE_FILES) $(D_IMAGE)/)
	$(if $(MAN1),$(Q)$(INSTALL) -m 644 $(MAN1) $(D_MAN)/man1/)
	$(if $(MAN3),$(Q)$(INSTALL) -m 644 $(MAN3) $(D_MAN)/man3/)
	$(if $(MAN7),$(Q)$(INSTALL) -m 644 $(MAN7) $(D_MAN)/man7/)
	$(if $(DESTDIR),,$(Q)ldconfig 2>/dev/null || true)

# Removes files by name, and only those directories of ours that are empty then.
uninstall:
	$(Q)rm -f $(D_LIB)/libgmk_cpu.a $(D_LIB)/$(SOFILE) $(D_LIB)/$(SONAME) $(D_LIB)/libgmk_cpu.so
	$(Q)rm -f $(D_LIB)/pkgconfig/ggmk.pc $(D_INC)/ggmk.h
	$(Q)rm -f $(addprefix $(D_INC)/ggmk/,$(notdir $(HEADERS)) hal.h hal_linux.h hal_gcc.h)
	$(Q)rm -f $(D_BIN)/ggmk-gpuhost $(D_IMAGE)/gmk_gpu.ptx $(D_IMAGE)/gmk_gpu.json
	$(Q)rm -f $(addprefix $(D_MAN)/man1/,$(notdir $(MAN1)))
	$(Q)rm -f $(addprefix $(D_MAN)/man3/,$(notdir $(MAN3))) $(addprefix $(D_MAN)/man7/,$(notdir $(MAN7)))
	$(Q)for d in $(D_INC)/ggmk $(D_IMAGE); do \
		rmdir $$d 2>/dev/null || [ ! -d $$d ] || echo "left in place: $$d is not empty"; done
	$(if $(DESTDIR),,$(Q)ldconfig 2>/dev/null || true)
