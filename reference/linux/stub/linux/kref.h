/* Reference counts. Getting one of an object that has none left, and putting one too many, are violations: use after free. */
#ifndef STUB_LINUX_KREF_H
#define STUB_LINUX_KREF_H

#include <linux/atomic.h>

struct kref {
    u64 refcount; /* as wide as a location */
};

static inline void kref_init(struct kref *kref) { WRITE_ONCE(kref->refcount, 1); }
static inline u64 kref_read(const struct kref *kref) { return READ_ONCE(kref->refcount); }
static inline void kref_get(struct kref *kref)
{
    if (__atomic_fetch_add(&kref->refcount, 1, __ATOMIC_RELAXED) == 0)
        intack_assert_failed("kref_get of an object that was released");
}
static inline bool kref_get_unless_zero(struct kref *kref)
{
    u64 count = READ_ONCE(kref->refcount);
    while (count && !__atomic_compare_exchange_n(&kref->refcount, &count, count + 1, false, __ATOMIC_RELAXED,
                                                 __ATOMIC_RELAXED))
        ;
    return count;
}
static inline int kref_put(struct kref *kref, void (*release)(struct kref *kref))
{
    u64 count = __atomic_fetch_sub(&kref->refcount, 1, __ATOMIC_RELEASE);
    if (count == 0)
        intack_assert_failed("kref_put of an object that was released");
    if (count != 1)
        return 0;
    release(kref);
    return 1;
}

#endif
