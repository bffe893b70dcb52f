/* SPDX-License-Identifier: MIT */
/* bad_fma.c — a fused multiply-add, which other targets would round twice; the check must report it. */
float bad_axpy(float a, float x, float y);

float bad_axpy(float a, float x, float y) { return __builtin_fmaf(a, x, y); }
