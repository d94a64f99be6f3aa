/*
 * A host interrupt: what kernel/irq keeps of one, and the chip behind it. The doorbells of vPEs are the only ones here; their
 * descriptors are locations, under the lock that the kernel's functions take.
 */
#ifndef STUB_LINUX_IRQ_H
#define STUB_LINUX_IRQ_H

#include <linux/atomic.h>
#include <linux/kernel.h>
#include <linux/spinlock.h>

typedef enum { IRQ_NONE, IRQ_HANDLED } irqreturn_t;
typedef irqreturn_t (*irq_handler_t)(int, void *);
typedef unsigned long irq_hw_number_t;
enum irqchip_irq_state { IRQCHIP_STATE_PENDING, IRQCHIP_STATE_ACTIVE };

struct cpumask {
    u64 bits;
};
typedef struct cpumask cpumask_t;
#define cpumask_of(cpu) (&(const struct cpumask){1ull << (cpu)})

struct irq_chip;
struct irq_data {
    unsigned irq;
    unsigned long hwirq;
    u32 state;
    struct irq_chip *chip;
    void *chip_data;
    struct irq_data *parent_data;
};
struct irq_chip {
    const char *name;
    unsigned flags;
    void (*irq_enable)(struct irq_data *), (*irq_disable)(struct irq_data *);
    void (*irq_mask)(struct irq_data *), (*irq_unmask)(struct irq_data *), (*irq_eoi)(struct irq_data *);
    int (*irq_retrigger)(struct irq_data *);
    int (*irq_set_affinity)(struct irq_data *, const struct cpumask *, bool);
    int (*irq_set_irqchip_state)(struct irq_data *, enum irqchip_irq_state, bool);
    int (*irq_set_vcpu_affinity)(struct irq_data *, void *);
};
struct irq_desc {
    raw_spinlock_t lock;
    struct irq_data irq_data;
    unsigned depth, istate;
    irq_handler_t action;
    void *dev;
    bool threads_oneshot;
};

enum { IRQ_NOAUTOEN = 1, IRQ_DISABLE_UNLAZY = 2, IRQ_NO_BALANCING = 4 };
enum { IRQD_IRQ_DISABLED = 1, IRQD_IRQ_MASKED = 2, IRQD_IRQ_INPROGRESS = 4, IRQD_WAKEUP_ARMED = 8 };

struct irq_desc *irq_to_desc(unsigned irq);
int request_irq(unsigned irq, irq_handler_t handler, unsigned long flags, const char *name, void *dev);
void enable_irq(unsigned irq);
void disable_irq_nosync(unsigned irq);
int irq_set_affinity(unsigned irq, const struct cpumask *to);
int irq_set_vcpu_affinity(unsigned irq, void *info);
int irq_set_irqchip_state(unsigned irq, enum irqchip_irq_state which, bool value);
int irq_get_irqchip_state(unsigned irq, enum irqchip_irq_state which, bool *value);
void irq_enable(struct irq_desc *desc);
void irq_disable(struct irq_desc *desc);
void mask_irq(struct irq_desc *desc);
void handle_fasteoi_irq(struct irq_desc *desc);
irqreturn_t handle_irq_event(struct irq_desc *desc);
int check_irq_resend(struct irq_desc *desc, bool inject);

#define irq_desc_get_irq_data(desc) (&(desc)->irq_data)
#define irq_desc_get_irq(desc) ((desc)->irq_data.irq)
#define irq_data_get_irq_chip(data) ((data)->chip)
#define irq_data_get_irq_chip_data(data) ((data)->chip_data)
#define irqd_irq_disabled(data) (!!((data)->state & IRQD_IRQ_DISABLED))
#define irqd_irq_masked(data) (!!((data)->state & IRQD_IRQ_MASKED))

/* ---- inert: domains, vSGIs, unmapping ---------------------------------------------------------------------------------- */

struct irq_domain;
struct irq_domain_ops;
struct fwnode_handle;
struct page;
#define irq_set_status_flags(irq, flags) ((void)(irq), (void)(flags))
#define irq_clear_status_flags(irq, flags) ((void)(irq), (void)(flags))
#define free_irq(irq, dev) ((void)(irq), (void)(dev))
#define preemptible() false
#define page_address(page) ((void *)(page))
#define irq_find_mapping(domain, hwirq) 0
#define irq_domain_activate_irq(data, early) 0
#define irq_domain_deactivate_irq(data) ((void)(data))
#define irq_domain_alloc_named_id_fwnode(name, id) stub_domain()
#define irq_domain_create_hierarchy(...) stub_domain()
#define irq_domain_create_linear(...) stub_domain()
#define irq_domain_alloc_irqs(...) stub_alloc_irqs()
#define __irq_domain_alloc_irqs(...) stub_alloc_irqs()
#define irq_domain_free_irqs(irq, count) ((void)(irq), (void)(count))
#define irq_domain_remove(domain) ((void)(domain))
#define irq_domain_free_fwnode(node) ((void)(node))
#define kasprintf(...) stub_domain()
#define task_pid_nr(task) 0
void *stub_domain(void);
int stub_alloc_irqs(void);

#endif
