#!/bin/sh
# SPDX-License-Identifier: MIT
# The acceptance tests of two kernels by the way of a GPU, on a driver that has none: test/gpu/fake_cuda.c.
build=${BUILD:-build}
ACCEPT_ON=cuda ACCEPT_HOST=$build/test/ggmk-gpuhost-test ACCEPT_IMAGE=$build/test/gmk_gpu_test.ptx
ACCEPT_FAKE=1
LD_LIBRARY_PATH=$build/test/fake-cuda${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export ACCEPT_FAKE ACCEPT_ON ACCEPT_HOST ACCEPT_IMAGE LD_LIBRARY_PATH
exec "$build/rel/test/gpu/test_accept"
