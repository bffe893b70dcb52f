; SPDX-License-Identifier: MIT
; The launch bounds of entry.c, GMK_GPU_THREADS in entry.h: clang has no attribute for them in C.
target triple = "nvptx64-nvidia-cuda"

declare void @gmk_gpu_run(ptr)

!nvvm.annotations = !{!0}
!0 = !{ptr @gmk_gpu_run, !"maxntidx", i32 128, !"minctasm", i32 1}
