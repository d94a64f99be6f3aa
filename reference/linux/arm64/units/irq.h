/* For what is cut out of kernel/irq: descriptors, enabling and disabling, the flow of an LPI, sending again. */
#include <linux/irq.h>

enum { IRQS_REPLAY = 1, IRQS_WAITING = 2, IRQS_PENDING = 4, IRQS_ONESHOT = 8, IRQS_SUSPENDED = 16 };
enum { IRQCHIP_EOI_IF_HANDLED = 1, IRQCHIP_EOI_THREADED = 2 };
enum { ENOSYS = 38 };
#define IRQ_GET_DESC_CHECK_GLOBAL 0
#define KERN_WARNING
#define KERN_ERR

#define irq_get_desc_lock(irq, flags, check) \
    ({ \
        struct irq_desc *got = irq_to_desc(irq); \
        raw_spin_lock_irqsave(&got->lock, *(flags)); \
        got; \
    })
#define irq_put_desc_unlock(desc, flags) raw_spin_unlock_irqrestore(&(desc)->lock, flags)
#define irq_get_desc_buslock(irq, flags, check) irq_get_desc_lock(irq, flags, check)
#define irq_put_desc_busunlock(desc, flags) irq_put_desc_unlock(desc, flags)

#define irqd_set(data, bits) ((data)->state |= (bits))
#define irqd_clear(data, bits) ((data)->state &= ~(bits))
#define irqd_has_set(data, bits) ((data)->state & (bits))
#define irq_state_set_disabled(desc) irqd_set(&(desc)->irq_data, IRQD_IRQ_DISABLED)
#define irq_state_set_masked(desc) irqd_set(&(desc)->irq_data, IRQD_IRQ_MASKED)
#define irqd_needs_resend_when_in_progress(data) true /* its_vpe_irq_domain_alloc() says so, where there is that */
#define irq_settings_disable_unlazy(desc) true        /* DB_IRQ_FLAGS */
#define irq_settings_is_level(desc) false
#define irq_settings_set_noprobe(desc) ((void)(desc))
#define irq_pm_check_wakeup(desc) false
#define irq_check_poll(desc) false
#define kstat_incr_irqs_this_cpu(desc) ((void)(desc))
#define unmask_threaded_irq(desc) ((void)(desc))

/* It was started when it was requested. */
#define irq_startup(desc, resend, force) ((desc)->depth = 0, irq_enable(desc), check_irq_resend(desc, false))
#define handle_irq_event_percpu(desc) ((desc)->action((int)(desc)->irq_data.irq, (desc)->dev))
int irq_sw_resend(struct irq_desc *desc);
