/* SPDX-License-Identifier: MIT */
/*
 * cuda.h — the part of NVIDIA's CUDA driver interface that ggmk-gpuhost uses, declared here, so that no
 * toolkit is needed to build it; libcuda.so.1 is opened at run time.
 *
 * Types and numbers are those of CUDA 12.0 and later.  A call is declared under the name it has in the
 * library: where NVIDIA's header renames one, that is the name with _v2.  One thread uses it.
 */
#ifndef GMK_GPU_CUDA_H
#define GMK_GPU_CUDA_H

#include <stddef.h>
#include <stdint.h>

#define CUDA_LIBRARY "libcuda.so.1"
#define CUDA_VERSION_NEEDED 12000 /* 1000 * major + 10 * minor, as cuDriverGetVersion says it */

typedef int CUresult;
typedef int CUdevice;
typedef uint64_t CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;

enum {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_INVALID_VALUE = 1,
    CUDA_ERROR_OUT_OF_MEMORY = 2,
    CUDA_ERROR_NOT_INITIALIZED = 3,
    CUDA_ERROR_NO_DEVICE = 100,
    CUDA_ERROR_INVALID_DEVICE = 101,
    CUDA_ERROR_INVALID_CONTEXT = 201,
    CUDA_ERROR_INVALID_PTX = 218,
    CUDA_ERROR_NOT_FOUND = 500,
    CUDA_ERROR_NOT_READY = 600,
    CUDA_ERROR_ILLEGAL_ADDRESS = 700,
    CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES = 701,
    CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED = 713,
    CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE = 720,
    CUDA_ERROR_SYSTEM_NOT_READY = 802
};

/* Attributes of a device. */
enum {
    CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
    CU_DEVICE_ATTRIBUTE_KERNEL_EXEC_TIMEOUT = 17,
    CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING = 41,
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75,
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76,
    CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH = 95,
    CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED = 99,
    CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS = 122
};

/* Options of cuModuleLoadDataEx; a number is passed as if it were a pointer. */
enum {
    CU_JIT_INFO_LOG_BUFFER = 3,
    CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES = 4,
    CU_JIT_ERROR_LOG_BUFFER = 5,
    CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES = 6
};

enum { CU_LIMIT_STACK_SIZE = 0 };
enum { CU_STREAM_NON_BLOCKING = 1 };
enum { CU_CTX_SCHED_BLOCKING_SYNC = 4 };
enum { CU_MEMHOSTALLOC_DEVICEMAP = 2 };
enum { CU_MEMHOSTREGISTER_PORTABLE = 1, CU_MEMHOSTREGISTER_DEVICEMAP = 2 };

/* Every call: X(name, parameters). */
#define CUDA_CALLS(X)                                                                                        \
    X(cuInit, (unsigned flags))                                                                              \
    X(cuDriverGetVersion, (int *version))                                                                    \
    X(cuGetErrorName, (CUresult r, const char **text))                                                       \
    X(cuGetErrorString, (CUresult r, const char **text))                                                     \
    X(cuDeviceGetCount, (int *count))                                                                        \
    X(cuDeviceGet, (CUdevice * device, int ordinal))                                                         \
    X(cuDeviceGetName, (char *name, int bytes, CUdevice device))                                             \
    X(cuDeviceGetAttribute, (int *value, int attribute, CUdevice device))                                    \
    X(cuDeviceTotalMem_v2, (size_t * bytes, CUdevice device))                                                \
    X(cuDevicePrimaryCtxSetFlags_v2, (CUdevice device, unsigned flags))                                      \
    X(cuDevicePrimaryCtxRetain, (CUcontext * context, CUdevice device))                                      \
    X(cuDevicePrimaryCtxRelease_v2, (CUdevice device))                                                       \
    X(cuCtxSetCurrent, (CUcontext context))                                                                  \
    X(cuCtxSetLimit, (int limit, size_t value))                                                              \
    X(cuMemHostRegister_v2, (void *p, size_t bytes, unsigned flags))                                         \
    X(cuMemHostUnregister, (void *p))                                                                        \
    X(cuMemHostGetDevicePointer_v2, (CUdeviceptr * out, void *p, unsigned flags))                            \
    X(cuMemHostAlloc, (void **out, size_t bytes, unsigned flags))                                            \
    X(cuMemAlloc_v2, (CUdeviceptr * out, size_t bytes))                                                      \
    X(cuMemsetD8Async, (CUdeviceptr p, unsigned char value, size_t bytes, CUstream stream))                  \
    X(cuMemcpyDtoHAsync_v2, (void *to, CUdeviceptr from, size_t bytes, CUstream stream))                     \
    X(cuMemcpyHtoDAsync_v2, (CUdeviceptr to, const void *from, size_t bytes, CUstream stream))               \
    X(cuStreamWriteValue64_v2, (CUstream stream, CUdeviceptr at, uint64_t value, unsigned flags))            \
    X(cuModuleLoadDataEx, (CUmodule * out, const void *image, unsigned n, int *options, void **values))      \
    X(cuModuleGetFunction, (CUfunction * out, CUmodule module, const char *name))                            \
    X(cuModuleGetGlobal_v2, (CUdeviceptr * out, size_t * bytes, CUmodule module, const char *name))          \
    X(cuOccupancyMaxActiveBlocksPerMultiprocessor, (int *blocks, CUfunction f, int threads, size_t shared))  \
    X(cuStreamCreate, (CUstream * out, unsigned flags))                                                      \
    X(cuStreamQuery, (CUstream stream))                                                                      \
    X(cuStreamSynchronize, (CUstream stream))                                                                \
    X(cuLaunchCooperativeKernel,                                                                             \
      (CUfunction f, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,  \
       unsigned block_z, unsigned shared, CUstream stream, void **parameters))

typedef struct cuda {
    void *library;
#define CUDA_MEMBER(name, parameters) CUresult(*name) parameters;
    CUDA_CALLS(CUDA_MEMBER)
#undef CUDA_MEMBER
} cuda_t;

/*
 * Opens the library and finds every call.  0, or -1 with the reason in why (at most `bytes`, terminated).
 * The library is never closed: it keeps threads of its own.
 */
int cuda_open(cuda_t *c, char *why, size_t bytes);

/* What went wrong in call, in words, into text. */
void cuda_explain(const cuda_t *c, const char *call, CUresult r, char *text, size_t bytes);

#endif
