#!/bin/sh
# SPDX-License-Identifier: MIT
# sim.t — every scenario of the simulator over SIM_SEEDS (default 1..2000), as TAP.
exec "${BUILD:-build}/ggmk-sim" --tap --seeds "${SIM_SEEDS:-1..2000}"
