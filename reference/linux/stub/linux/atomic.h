/* Atomics on the compiler's builtins, which have hooks; the kernel's are inline assembly, which has none. */
#ifndef STUB_LINUX_ATOMIC_H
#define STUB_LINUX_ATOMIC_H

#include <linux/compiler.h>

#define xchg(at, value) __atomic_exchange_n(at, value, __ATOMIC_SEQ_CST)
#define xchg_relaxed(at, value) __atomic_exchange_n(at, value, __ATOMIC_RELAXED)
#define cmpxchg(at, old, new) \
    ({ \
        __typeof__(*(at)) cmpxchg_found = (old); \
        __atomic_compare_exchange_n(at, &cmpxchg_found, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
        cmpxchg_found; \
    })
#define cmpxchg_relaxed(at, old, new) \
    ({ \
        __typeof__(*(at)) cmpxchg_found = (old); \
        __atomic_compare_exchange_n(at, &cmpxchg_found, new, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED); \
        cmpxchg_found; \
    })
#define try_cmpxchg(at, old, new) \
    __atomic_compare_exchange_n(at, old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
#define try_cmpxchg64(at, old, new) try_cmpxchg(at, old, new)

typedef struct {
    int counter;
} atomic_t;
typedef struct {
    s64 counter;
} atomic64_t;
#define ATOMIC_INIT(value) {value}
#define atomic_read(v) READ_ONCE((v)->counter)
#define arch_atomic_read(v) atomic_read(v)
#define raw_atomic_read(v) atomic_read(v)
#define atomic_set(v, value) WRITE_ONCE((v)->counter, value)
#define atomic_add(value, v) ((void)__atomic_fetch_add(&(v)->counter, value, __ATOMIC_RELAXED))
#define atomic_sub(value, v) ((void)__atomic_fetch_sub(&(v)->counter, value, __ATOMIC_RELAXED))
#define atomic_inc(v) atomic_add(1, v)
#define atomic_dec(v) atomic_sub(1, v)
#define atomic_add_return(value, v) __atomic_add_fetch(&(v)->counter, value, __ATOMIC_SEQ_CST)
#define atomic_inc_return(v) atomic_add_return(1, v)
#define atomic_dec_and_test(v) (__atomic_sub_fetch(&(v)->counter, 1, __ATOMIC_SEQ_CST) == 0)
#define atomic64_read(v) atomic_read(v)
#define atomic64_set(v, value) atomic_set(v, value)
#define atomic64_inc(v) atomic_inc(v)

#endif
