; SPDX-License-Identifier: MIT
; The launch bounds of entry.c: clang has no attribute for them in C.
target triple = "nvptx64-nvidia-cuda"

declare void @gmk_nvptx_check(ptr, i64, ptr)

!nvvm.annotations = !{!0}
!0 = !{ptr @gmk_nvptx_check, !"maxntidx", i32 256, !"minctasm", i32 1}
