/*
 * x86's part of the stub headers: the objects that KVM's files name, with the members that the cut functions use. None of it is
 * the kernel's text. Inline functions of the kernel's own headers come in at the end, cut from the tree.
 *
 *     real here     vCPU, descriptor, virtual-APIC page, per-CPU lists and locks, locked operations, interrupt flag, IPIs, wake-ups
 *     inert here    routing of device interrupts, nesting, timers, exceptions, Xen, Hyper-V: members that never change
 */
#ifndef STUB_KVM_HOST_H
#define STUB_KVM_HOST_H

int stub_this_cpu(void);
#define smp_processor_id() stub_this_cpu()
#define raw_spin_lock_init(lock) stub_name_lock(lock)

#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/jump_label.h>
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/spinlock.h>

void stub_name_lock(raw_spinlock_t *lock);
void stub_name_list(struct list_head *head);
#define INIT_LIST_HEAD(head) stub_name_list(head) /* the only lists that are initialized at run time are per CPU */

enum { VCPUS = 8 }; /* the largest scenario */

#define NR_VECTORS 256
#define POSTED_INTR_VECTOR 0xf2
#define POSTED_INTR_WAKEUP_VECTOR 0xf1
#define POSTED_INTR_NESTED_VECTOR 0xf0
#define RESCHEDULE_VECTOR 0xfd

/* ---- threads ----------------------------------------------------------------------------------------------------- */

struct task_struct;
struct rcuwait {
    struct task_struct *task;
};
#define current ((struct task_struct *)1) /* there is one thread that can wait for a vCPU: its own */
#define get_task_struct(task) (task)
#define put_task_struct(task) ((void)(task))
#define rcuwait_active(wait) (!!rcu_access_pointer((wait)->task))
int rcuwait_wake_up(struct rcuwait *wait);
int stub_wake_up(struct rcuwait *wait);
#define wake_up_process(task) ((void)(task), stub_wake_up(w)) /* `w` is the parameter's name where it is used */
#define TASK_INTERRUPTIBLE 1
#define signal_pending(task) ((void)(task), false)

/* ---- the virtual-APIC page and the vCPU. Members that are locations are as wide as one. --------------------------- */

#define APIC_ISR 0x100
#define APIC_IRR 0x200
#define MAX_APIC_VECTOR 256
#define APIC_VECTORS_PER_REG 32
#define VEC_POS(vector) ((vector) & 31)
#define REG_POS(vector) (((vector) >> 5) << 4)
#define ASSERT(condition) BUG_ON(!(condition))

struct kvm_vcpu;
struct kvm_lapic {
    struct kvm_vcpu *vcpu;
    char *regs;
    bool apicv_active; /* does not change in a scenario */
    bool irr_pending;
    unsigned long pending_events;
};

enum { OUTSIDE_GUEST_MODE, IN_GUEST_MODE, EXITING_GUEST_MODE };
enum { KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_HALTED };

/* Requests that nobody makes here have no bit: testing one is no operation. */
#define KVM_REQUEST_MASK 0xff
#define KVM_REQUEST_NO_ACTION 0x400
#define KVM_REQ_EVENT 0
#define KVM_REQ_UNBLOCK 1
#define KVM_REQ_NMI (-1)
#define KVM_REQ_SMI (-1)
#define KVM_REQ_PMI (-1)
#define KVM_REQ_UPDATE_PROTECTED_GUEST_STATE (-1)
struct kvm_vcpu;
#define kvm_test_request(request, vcpu) ((request) >= 0 && test_bit((request) & KVM_REQUEST_MASK, (void *)&(vcpu)->requests))

struct kvm_irq_routing_table;
struct kvm {
    int srcu, irq_srcu;
    struct kvm_irq_routing_table *irq_routing;
    struct {
        atomic_t assigned_device_count;
        u64 inhibited;
    } arch;
};

struct kvm_vcpu {
    struct kvm *kvm;
    int vcpu_id;
    bool preempted; /* an argument of put */
    bool ready;     /* for yield_to() */
    struct {
        struct {
            u64 blocking, halt_wakeup;
        } generic;
    } stat;
    struct {
        struct kvm_lapic *apic;
        int mp_state;
        struct {
            bool halted;
        } apf;
        struct {
            bool pv_unhalted;
        } pv;
        bool nmi_pending, smi_pending;
    } arch;
    struct {
        struct list_head done;
    } async_pf;

    long mode;
    unsigned long requests;
    long cpu;
    struct rcuwait wait; /* vcpu.blocking */
    u64 rflags_if;       /* the guest's interrupt flag, read from its VMCS */
    u64 rvi;             /* GUEST_INTR_STATUS in its VMCS, low byte */
    u64 vppr;
};

struct kvm_vcpu *kvm_get_running_vcpu(void);
struct kvm_vcpu *stub_running_on(int cpu);
bool kvm_vcpu_wake_up(struct kvm_vcpu *vcpu);
void kvm_vcpu_kick(struct kvm_vcpu *vcpu);
bool kvm_vcpu_block(struct kvm_vcpu *vcpu);
int kvm_arch_vcpu_runnable(struct kvm_vcpu *vcpu);
int kvm_arch_vcpu_should_kick(struct kvm_vcpu *vcpu);
int kvm_arch_interrupt_allowed(struct kvm_vcpu *vcpu);
int kvm_cpu_has_interrupt(struct kvm_vcpu *vcpu);
int kvm_apic_has_interrupt(struct kvm_vcpu *vcpu);
int kvm_lapic_find_highest_irr(struct kvm_vcpu *vcpu);
bool kvm_apic_update_irr(struct kvm_vcpu *vcpu, u32 *pir, int *max_irr);
bool kvm_arch_has_assigned_device(struct kvm *kvm);
int harness_sync(struct kvm_vcpu *vcpu);

#define enable_apicv true
#define lapic_in_kernel(vcpu) ((void)(vcpu), true)
#define irqchip_in_kernel(kvm) ((void)(kvm), true)
#define is_guest_mode(vcpu) ((void)(vcpu), false)
#define KVM_BUG_ON(condition, kvm) WARN_ON(condition)
#define trace_kvm_apicv_accept_irq(...) ((void)0)

/* A call through the table of VMX's operations is a call of the operation. */
#define static_call(name) name
#define static_call_cond(name) name
#define kvm_x86_call(name) kvm_x86_##name
#define kvm_x86_sync_pir_to_irr(vcpu) harness_sync(vcpu)
#define kvm_x86_interrupt_allowed(vcpu, for_injection) (!vmx_interrupt_blocked(vcpu))
#define kvm_x86_nmi_allowed(vcpu, for_injection) false
#define kvm_x86_smi_allowed(vcpu, for_injection) false
bool vmx_interrupt_blocked(struct kvm_vcpu *vcpu);
struct kvm_x86_nested_ops {
    bool (*has_events)(struct kvm_vcpu *vcpu, bool for_injection);
};
extern struct kvm_x86_ops {
    int (*sync_pir_to_irr)(struct kvm_vcpu *vcpu);
    const struct kvm_x86_nested_ops *nested_ops;
} kvm_x86_ops;

/* ---- interrupts between pCPUs ------------------------------------------------------------------------------------ */

struct cpumask;
struct apic {
    void (*send_IPI_self)(int vector);
    void (*send_IPI_mask)(const struct cpumask *mask, int vector);
};
extern struct apic *apic;
#define __apic_send_IPI_self(vector) intack_send_ipi(vector, INTACK_SELF)
#define __apic_send_IPI_mask(mask, vector) apic->send_IPI_mask(mask, vector)
#define get_cpu_mask(cpu) ((const struct cpumask *)(uintptr_t)(1 + stub_existing_cpu(cpu)))
#define smp_send_reschedule(cpu) intack_send_ipi(RESCHEDULE_VECTOR, cpu)
#define nr_cpu_ids intack_cpus()
#define cpu_online(cpu) true
#define cpu_physical_id(cpu) ((unsigned)(cpu))
#define x2apic_mode (!intack_fact("xapic"))

/* ---- inert: routing of device interrupts ------------------------------------------------------------------------- */

#define KVM_IRQ_ROUTING_MSI 0
#define IRQ_POSTING_CAP 0

struct kvm_kernel_irq_routing_entry {
    u32 type, gsi;
};
struct kvm_irq_routing_table {
    u32 nr_rt_entries;
    struct hlist_head map[1];
};
struct kvm_lapic_irq {
    u32 vector;
};
struct vcpu_data {
    u64 pi_desc_addr;
    u32 vector;
};

#define irq_remapping_cap(cap) ((void)(cap), true)
#define kvm_make_all_cpus_request(kvm, request) ((void)(kvm), (void)(request))
#define hlist_empty(head) ((void)(head), true)
#define hlist_for_each_entry(entry, head, member) for ((entry) = NULL; (entry);)
#define kvm_set_msi_irq(kvm, entry, irq) ((irq)->vector = 0)
#define kvm_intr_is_single_vcpu(kvm, irq, vcpu) (*(vcpu) = NULL, false)
#define kvm_irq_is_postable(irq) ((void)(irq), false)
#define irq_set_vcpu_affinity(irq, data) ((void)(irq), (void)(data), 0)
#define trace_kvm_pi_irte_update(...) ((void)0)
#define __pa(pointer) ((u64)(uintptr_t)(pointer))

#include "kvm_inline.h" /* cut from include/linux/kvm_host.h and arch/x86/kvm/lapic.h */

#endif
