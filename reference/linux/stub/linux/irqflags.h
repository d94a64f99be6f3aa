/* Interrupts and preemption of the pCPU. Flags are whether interrupts were on; restoring leaves them off if they were. */
#ifndef STUB_LINUX_IRQFLAGS_H
#define STUB_LINUX_IRQFLAGS_H

#include <linux/types.h>

#define local_irq_save(flags) ((flags) = intack_interrupts(false))
#define local_irq_restore(flags) ((flags) ? (void)intack_interrupts(true) : (void)0)
#define local_irq_disable() ((void)intack_interrupts(false))
#define local_irq_enable() ((void)intack_interrupts(true))
#define preempt_disable() intack_preemption(false)
#define preempt_enable() intack_preemption(true)

#endif
