/* Types. Every stub header ends up here, so intack.h and the standard library's size_t are always at hand. */
#ifndef STUB_LINUX_TYPES_H
#define STUB_LINUX_TYPES_H

#include <intack.h>

typedef uint8_t u8, __u8;
typedef uint16_t u16, __u16;
typedef uint32_t u32, __u32;
typedef uint64_t u64, __u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
typedef u64 gpa_t, hpa_t, gfn_t, phys_addr_t, resource_size_t;
typedef long ktime_t;
typedef unsigned gfp_t;

#define __init
#define __exit
#define __iomem
#define __user
#define __rcu
#define __percpu
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define noinstr
#define noinline __attribute__((noinline))
#define __must_check
#define __maybe_unused __attribute__((unused))
#define __read_mostly
#define __aligned(bytes) __attribute__((aligned(bytes)))
#define __packed __attribute__((packed))
#define fallthrough __attribute__((fallthrough))
#define EXPORT_SYMBOL(name)
#define EXPORT_SYMBOL_GPL(name)

enum { EPERM = 1, EINTR = 4, EIO = 5, ENXIO = 6, ENOMEM = 12, EBUSY = 16, EEXIST = 17, ENODEV = 19, EINVAL = 22 };

#endif
