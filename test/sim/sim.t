#!/bin/sh
# SPDX-License-Identifier: MIT
# sim.t — every scenario over the seeds SIM_SEEDS (default 1..2000; those of whole kernels over an eighth), as TAP.
exec "${BUILD:-build}/ggmk-sim" --tap --seeds "${SIM_SEEDS:-1..2000}"
