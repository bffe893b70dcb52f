/* SPDX-License-Identifier: MIT */
#include <ggmk/error.h>

const char *gmk_strerror(int code)
{
    static const char *const text[] = {
        "ok",
        "invalid argument",
        "no task credit left",
        "the name or type is taken",
        "not found",
        "not possible in this state",
        "timed out",
        "in use",
        "number out of range",
        "table full",
        "not supported by this kernel",
        "version mismatch",
        "input or output failed",
    };
    if (code <= 0 && code >= GMK_ERR_IO)
        return text[-code];
    switch (code) {
    case GMK_RETRY: return "retry";
    case GMK_CHAN_FULL: return "channel full";
    case GMK_CHAN_CLOSED: return "channel closed";
    case GMK_CHAN_TYPE_MISMATCH: return "wrong message type for this channel";
    case GMK_CHAN_ALREADY_BOUND: return "the channel has its one subscriber";
    case GMK_ALLOC_FAIL: return "out of arena memory";
    case GMK_ERR_YIELD_LIMIT: return "yielded too often";
    case GMK_ERR_RETRY_LIMIT: return "retried too often";
    case GMK_ERR_POISONED: return "type is poisoned";
    case GMK_ERR_FAULT: return "CPU fault in the handler";
    case GMK_ERR_KERNEL_RESET: return "kernel was reset";
    case GMK_ERR_STALLED: return "worker stalled";
    case GMK_DROP_SHED: return "shed by a slow lossy subscriber";
    case GMK_DROP_CLOSED: return "channel or subscription closed";
    case GMK_DROP_UNLOADED: return "module unloaded";
    case GMK_DROP_HALTED: return "kernel halted";
    case GMK_DROP_NO_TYPE: return "no handler for this type";
    case GMK_DROP_BRIDGE: return "bridge could not carry it";
    default: return code <= GMK_FAIL_BASE ? "handler failure" : "unknown code";
    }
}
