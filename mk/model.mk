# SPDX-License-Identifier: MIT
#
#:model         checks each protocol of test/model with spin, over all its interleavings: the model must
#:              hold, and its variant -DBROKEN must not

.PHONY: model
model: | $(BUILD)/deps/model
	$(Q)CC="$(CC)" BUILD="$(BUILD)" test/model/run $(sort $(wildcard test/model/*.pml))
