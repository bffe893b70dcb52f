# SPDX-License-Identifier: MIT
#
#:bench         measures the kernel and its peers by turns; ARGS="sched --rounds 9" picks tests
#
# A program bench_NAME is made of bench/bench_NAME*.c and bench/bench_NAME*.cc; a peer of one file in
# bench/peers.  What cannot be built here, because a package is missing, is left out, and bench/run
# reports it as missing.

BENCH := $(BUILD)/bench
BENCH_NAMES := sched chan ring alloc timer trace bridge
BENCH_CXX ?= g++
BENCH_CXXFLAGS := -std=c++17 -O2 -g -Wall -Wextra -pthread -Iinclude -iquote src
BENCH_LIBS_ring := -ltbb -lrte_ring -lrte_eal
BENCH_CFLAGS_ring = $(shell pkg-config --cflags libdpdk 2>/dev/null || echo -isystem /usr/include/dpdk)
BENCH_LIBS_alloc := -ldl
BENCH_MORE_bridge := $(BENCH)/bench/gpu/near.c.o $(BENCH)/bench/gpu/far.c.o

bench_srcs = $(sort $(wildcard bench/bench_$1.c bench/bench_$1_*.c bench/bench_$1.cc bench/bench_$1_*.cc))
bench_objs = $(patsubst %,$(BENCH)/%.o,$(call bench_srcs,$1))
BENCH_BRIDGE_PEERS := peer_zmq_bridge peer_nng_bridge peer_pipe_bridge
BENCH_PRESENT := $(foreach n,$(BENCH_NAMES),$(if $(call bench_srcs,$n),$n))
BENCH_PEERS := peer_tbb peer_go peer_zmq peer_crossbeam wc_hash $(BENCH_BRIDGE_PEERS)
BENCH_PROGRAMS := $(patsubst %,$(BENCH)/bench_%,$(BENCH_PRESENT)) $(patsubst %,$(BENCH)/%,$(BENCH_PEERS))

$(BENCH)/%.c.o: %.c $(BUILD)/rel/flags
	@mkdir -p $(@D)
	$(if $(Q),@echo "  CC bench $<")
	$(Q)$(CC) -std=gnu11 -O2 -g -Wall -Wextra -Wshadow -pthread -Iinclude -iquote src $(HOSTED_DEFS) \
		$(BENCH_CFLAGS) -MMD -MP -c -o $@ $<

$(BENCH)/%.cc.o: %.cc $(BUILD)/rel/flags
	@mkdir -p $(@D)
	$(if $(Q),@echo "  CXX bench $<")
	$(Q)$(BENCH_CXX) $(BENCH_CXXFLAGS) -MMD -MP -c -o $@ $<

define bench_rule
$(call bench_objs,$1): BENCH_CFLAGS = $$(BENCH_CFLAGS_$1)
$(BENCH)/bench_$1: $(call bench_objs,$1) $$(BENCH_MORE_$1) $$(LIB_rel)
	$$(if $(Q),@echo "  LD $$@")
	$(Q)$(if $(filter %.cc,$(call bench_srcs,$1)),$$(BENCH_CXX),$$(CC)) -pthread -o $$@ $$^ $$(BENCH_LIBS_$1)
-include $$(patsubst %.o,%.d,$(call bench_objs,$1) $$(BENCH_MORE_$1))
endef
$(foreach n,$(BENCH_PRESENT),$(eval $(call bench_rule,$n)))

# The peers use nothing of ours.
$(BENCH)/peer_tbb: bench/peers/peer_tbb.cc
	@mkdir -p $(@D)
	$(Q)$(BENCH_CXX) $(BENCH_CXXFLAGS) -o $@ $< -ltbb

$(BENCH)/peer_go: bench/peers/peer_go.go
	@mkdir -p $(@D)
	$(Q)go build -o $@ $<

$(BENCH)/peer_zmq: bench/peers/peer_zmq.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -O2 -Wall -Wextra -pthread $(HOSTED_DEFS) -o $@ $< -lzmq

BENCH_LIBS_peer_zmq_bridge := -lzmq
BENCH_LIBS_peer_nng_bridge := -lnng
$(BENCH_BRIDGE_PEERS:%=$(BENCH)/%): $(BENCH)/%: bench/peers/%.c bench/peers/peer_bridge.h
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -O2 -Wall -Wextra -pthread $(HOSTED_DEFS) -o $@ $< $(BENCH_LIBS_$*)

$(BENCH)/wc_hash: examples/peers/wc_hash.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -O2 -Wall -Wextra -o $@ $<

# Debian ships crossbeam as sources; rustc makes the three crates that its channels need.
CRATES := /usr/share/cargo/registry
crate = $(firstword $(wildcard $(CRATES)/$1-[0-9]*/src/lib.rs))
RUSTC := rustc -O --cap-lints allow -L $(BENCH)/rust

$(BENCH)/peer_crossbeam: bench/peers/peer_crossbeam.rs
	@mkdir -p $(BENCH)/rust
	$(Q)$(RUSTC) --crate-type rlib --edition 2018 --crate-name cfg_if --out-dir $(BENCH)/rust $(call crate,cfg-if)
	$(Q)$(RUSTC) --crate-type rlib --edition 2018 --crate-name crossbeam_utils --cfg 'feature="std"' \
		--extern cfg_if=$(BENCH)/rust/libcfg_if.rlib --out-dir $(BENCH)/rust $(call crate,crossbeam-utils)
	$(Q)$(RUSTC) --crate-type rlib --edition 2018 --crate-name crossbeam_channel --cfg 'feature="std"' \
		--extern cfg_if=$(BENCH)/rust/libcfg_if.rlib \
		--extern crossbeam_utils=$(BENCH)/rust/libcrossbeam_utils.rlib --out-dir $(BENCH)/rust $(call crate,crossbeam-channel)
	$(Q)$(RUSTC) --edition 2021 --extern crossbeam_channel=$(BENCH)/rust/libcrossbeam_channel.rlib -o $@ $<

.PHONY: bench bench-programs
bench-programs: $(BENCH_PROGRAMS) $(DEMO)

bench:
	$(Q)tools/deps bench || echo "bench: going on with the peers that are here"
	$(Q)$(MAKE) --no-print-directory -k bench-programs || echo "bench: some programs were not built; see above"
	$(Q)bench/run --build $(BUILD) $(ARGS)
