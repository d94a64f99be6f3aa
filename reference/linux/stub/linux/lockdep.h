/* A lock that has to be held and is not: RACE, by the machine's own account of who holds what. */
#ifndef STUB_LINUX_LOCKDEP_H
#define STUB_LINUX_LOCKDEP_H

#include <linux/types.h>

struct lock_class_key {
    char unused;
};
void stub_assert_held(const void *lock);
#define lockdep_assert_held(lock) stub_assert_held(lock)
#define lockdep_assert_irqs_disabled() intack_assert_interrupts(false)
#define lockdep_assert_irqs_enabled() intack_assert_interrupts(true)
#define lockdep_set_class(lock, key) ((void)(lock), (void)(key))
#define lockdep_is_held(lock) (stub_assert_held(lock), true)

#endif
