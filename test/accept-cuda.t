#!/bin/sh
# SPDX-License-Identifier: MIT
# The acceptance tests of two kernels, the device being: cuda.
build=${BUILD:-build}
ACCEPT_ON=cuda ACCEPT_HOST=$build/test/ggmk-gpuhost-test ACCEPT_IMAGE=$build/test/gmk_gpu_test.ptx
export ACCEPT_ON ACCEPT_HOST ACCEPT_IMAGE
exec "$build/rel/test/gpu/test_accept"
