/* One access, as the compiler sees it: volatile is what READ_ONCE means to it, and the hooks tell it from a plain one. */
#ifndef STUB_LINUX_COMPILER_H
#define STUB_LINUX_COMPILER_H

#include <linux/types.h>

#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, value) ((void)(*(volatile __typeof__(x) *)&(x) = (value)))
#define smp_load_acquire(at) __atomic_load_n(at, __ATOMIC_ACQUIRE)
#define smp_store_release(at, value) __atomic_store_n(at, value, __ATOMIC_RELEASE)
#define smp_store_mb(x, value) (WRITE_ONCE(x, value), smp_mb())

/* A barrier for the compiler emits nothing, and is no operation: on x86 the locked operation beside it is one. */
#define barrier() __asm__ volatile("" ::: "memory")
#define smp_mb() intack_fence()
#ifdef CONFIG_X86
#define smp_rmb() barrier()
#define smp_wmb() barrier()
#else
#define smp_rmb() intack_load_fence()
#define smp_wmb() intack_store_fence()
#endif
#define mb() smp_mb()
#define rmb() smp_rmb()
#define wmb() smp_wmb()
#ifdef CONFIG_X86 /* a locked operation is a barrier */
#define smp_mb__before_atomic() barrier()
#define smp_mb__after_atomic() barrier()
#else
#define smp_mb__before_atomic() smp_mb()
#define smp_mb__after_atomic() smp_mb()
#endif

#endif
