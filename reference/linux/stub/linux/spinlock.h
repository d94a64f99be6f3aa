/* Spinlocks. What is locked is told by the lock's own address: the harness names it with intack_share_lock(), or says that
 * nothing here depends on it with stub_lock_is_moot(). The line shown is the caller's. */
#ifndef STUB_LINUX_SPINLOCK_H
#define STUB_LINUX_SPINLOCK_H

#include <linux/irqflags.h>
#include <linux/lockdep.h>

typedef struct {
    bool moot;
} raw_spinlock_t;
typedef raw_spinlock_t spinlock_t;
struct mutex {
    bool moot;
};

void stub_setup(void); /* called in intack_setup() */
void stub_lock(void *lock);
void stub_unlock(void *lock);
static inline void stub_lock_is_moot(void *lock) { *(bool *)lock = true; }

#ifndef raw_spin_lock_init /* a harness may name locks where they are initialized */
#define raw_spin_lock_init(lock) ((void)(lock))
#endif
#define raw_spin_lock(lock) stub_lock(lock)
#define raw_spin_unlock(lock) stub_unlock(lock)
#define raw_spin_lock_nested(lock, class) stub_lock(lock)
#define raw_spin_lock_irq(lock) (local_irq_disable(), stub_lock(lock))
#define raw_spin_unlock_irq(lock) (stub_unlock(lock), local_irq_enable())
#define raw_spin_lock_irqsave(lock, flags) \
    do { \
        local_irq_save(flags); \
        stub_lock(lock); \
    } while (0)
#define raw_spin_unlock_irqrestore(lock, flags) \
    do { \
        stub_unlock(lock); \
        local_irq_restore(flags); \
    } while (0)
#define raw_spin_is_locked(lock) lockdep_is_held(lock)

#define spin_lock_init(lock) raw_spin_lock_init(lock)
#define spin_lock(lock) raw_spin_lock(lock)
#define spin_unlock(lock) raw_spin_unlock(lock)
#define spin_lock_irq(lock) raw_spin_lock_irq(lock)
#define spin_unlock_irq(lock) raw_spin_unlock_irq(lock)
#define spin_lock_irqsave(lock, flags) raw_spin_lock_irqsave(lock, flags)
#define spin_unlock_irqrestore(lock, flags) raw_spin_unlock_irqrestore(lock, flags)
#define spin_is_locked(lock) raw_spin_is_locked(lock)

#define mutex_lock(lock) stub_lock(lock)
#define mutex_unlock(lock) stub_unlock(lock)

#endif
