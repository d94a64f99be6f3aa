/* Read sides are not operations: nothing here is freed, so nobody waits for them. */
#ifndef STUB_LINUX_RCUPDATE_H
#define STUB_LINUX_RCUPDATE_H

#include <linux/compiler.h>

#define rcu_read_lock() ((void)0)
#define rcu_read_unlock() ((void)0)
#define rcu_dereference(pointer) READ_ONCE(pointer)
#define rcu_access_pointer(pointer) READ_ONCE(pointer)
#define rcu_assign_pointer(pointer, value) smp_store_release(&(pointer), value)
#define srcu_read_lock(srcu) ((void)(srcu), 0)
#define srcu_read_unlock(srcu, index) ((void)(srcu), (void)(index))
#define srcu_dereference(pointer, srcu) ((void)(srcu), (pointer))

#endif
