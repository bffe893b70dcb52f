#!/bin/sh
# SPDX-License-Identifier: MIT
# sim.t — every scenario over the seeds SIM_SEEDS (1..2000), in SIM_JOBS processes (2).
exec "${BUILD:-build}/ggmk-sim" --tap --jobs "${SIM_JOBS:-2}" --seeds "${SIM_SEEDS:-1..2000}"
