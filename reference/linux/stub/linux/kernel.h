/* What every file uses. What is printed is not an operation; nobody waits for it. */
#ifndef STUB_LINUX_KERNEL_H
#define STUB_LINUX_KERNEL_H

#include <linux/bits.h>
#include <linux/bug.h>
#include <linux/compiler.h>

#define container_of(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))
#define ARRAY_SIZE(array) (sizeof(array) / sizeof(array)[0])
#define min(a, b) \
    ({ \
        __typeof__(a) min_a = (a); \
        __typeof__(b) min_b = (b); \
        min_a < min_b ? min_a : min_b; \
    })
#define max(a, b) \
    ({ \
        __typeof__(a) max_a = (a); \
        __typeof__(b) max_b = (b); \
        max_a > max_b ? max_a : max_b; \
    })
#define min_t(type, a, b) min((type)(a), (type)(b))
#define max_t(type, a, b) max((type)(a), (type)(b))
#define swap(a, b) \
    do { \
        __typeof__(a) swapped = (a); \
        (a) = (b); \
        (b) = swapped; \
    } while (0)
#define lower_32_bits(n) ((u32)(n))
#define upper_32_bits(n) ((u32)((u64)(n) >> 32))
/* 1 where the option is defined as 1, by the architecture's flags; else 0. */
#define STUB_ENABLED_1 0,
#define STUB_SECOND(first, second, ...) second
#define STUB_IS_ENABLED(value) STUB_IS_ENABLED_(STUB_ENABLED_##value)
#define STUB_IS_ENABLED_(junk) STUB_SECOND(junk 1, 0)
#define IS_ENABLED(option) STUB_IS_ENABLED(option)
#define array_index_nospec(index, size) (index)

#define KERN_INFO ""
#define printk(...) ((void)0)
#define pr_debug(...) ((void)0)
#define pr_err(...) ((void)0)
#define pr_info(...) ((void)0)
#define pr_warn_once(...) ((void)0)
#define kvm_debug(...) ((void)0)
#define kvm_err(...) ((void)0)
#define kvm_info(...) ((void)0)

#endif
