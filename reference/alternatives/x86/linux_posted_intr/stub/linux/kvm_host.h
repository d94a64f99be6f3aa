/*
 * Stands in for the kernel's headers: what posted_intr.c names, and no more, in terms of intack.h. None of it is the
 * kernel's text. Bodies that others could notice are in harness.c.
 *
 *     real here     vCPU and descriptor, per-CPU lists and locks, locked operations, interrupt flag, IPIs, wake-ups
 *     inert here    routing of device interrupts: no device is assigned, so vmx_pi_update_irte() returns at once
 */
#ifndef STUB_KVM_HOST_H
#define STUB_KVM_HOST_H

#include <intack.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define __init
#define __aligned(bytes) __attribute__((aligned(bytes)))
#define EBUSY 16
#define NR_VECTORS 256
#define POSTED_INTR_VECTOR 0xf2
#define POSTED_INTR_WAKEUP_VECTOR 0xf1

/* ---- the largest scenario ---- */

enum { VCPUS = 8, CPUS = 16 };

/* ---- vCPU. `cpu` and `blocking` are as wide as a location, so that every access is to the whole of it. ---- */

struct kvm {
    int irq_srcu;
    struct kvm_irq_routing_table *irq_routing;
};

struct kvm_vcpu {
    struct kvm *kvm;
    int vcpu_id;
    bool preempted; /* private: an argument of put */
    long cpu;
    u64 blocking;  /* the task in the vCPU's rcuwait, or 0 */
    u64 rflags_if; /* the guest's interrupt flag, read from its VMCS */
};

bool kvm_vcpu_is_blocking(struct kvm_vcpu *vcpu);
void kvm_vcpu_wake_up(struct kvm_vcpu *vcpu);

#define enable_apicv true
#define lapic_in_kernel(vcpu) ((void)(vcpu), true)
#define vmx_can_use_ipiv(vcpu) ((void)(vcpu), true)

/* ---- memory. volatile is what READ_ONCE means to the compiler; the hooks see it. ---- */

#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#define smp_mb__after_atomic() __asm__ volatile("" ::: "memory") /* x86: the locked operation before it is one */
#define try_cmpxchg64(at, old, new) \
    __atomic_compare_exchange_n(at, old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)

static inline u64 bit_of(long number) { return 1ull << (number & 63); }
static inline bool test_bit(long number, const volatile unsigned long *at)
{
    return intack_load(at + number / 64, bit_of(number));
}
static inline void set_bit(long number, volatile unsigned long *at)
{
    intack_rmw(at + number / 64, INTACK_OR, bit_of(number), bit_of(number));
}
static inline void clear_bit(long number, volatile unsigned long *at)
{
    intack_rmw(at + number / 64, INTACK_AND, 0, bit_of(number));
}
static inline bool test_and_set_bit(long number, volatile unsigned long *at)
{
    return intack_rmw(at + number / 64, INTACK_OR, bit_of(number), bit_of(number));
}
static inline bool test_and_clear_bit(long number, volatile unsigned long *at)
{
    return intack_rmw(at + number / 64, INTACK_AND, 0, bit_of(number));
}
static inline bool bitmap_empty(const unsigned long *map, unsigned bits)
{
    for (unsigned word = 0; word < bits / 64; word++)
        if (map[word])
            return false;
    return true;
}
static inline unsigned long find_last_bit(const unsigned long *map, unsigned long bits)
{
    for (unsigned long word = bits / 64; word--;) {
        unsigned long value = map[word];
        if (value)
            return 64 * word + 63 - (unsigned long)__builtin_clzl(value);
    }
    return bits;
}

/* A condition that must not hold: it is evaluated, so its loads are seen. */
#define WARN(condition, ...) ((condition) ? intack_assert_failed("WARN: " __VA_ARGS__) : (void)0)

/* ---- CPUs, interrupts, locks, lists ---- */

typedef struct {
    char unused;
} raw_spinlock_t;

struct list_head { /* stands for a location that holds the names of the vCPUs in it */
    char unused;
};

struct walk {
    struct intack_list list;
    size_t next;
};

unsigned existing_cpu(long cpu);
int smp_processor_id(void);
void raw_spin_lock_init(raw_spinlock_t *lock);
void raw_spin_lock(raw_spinlock_t *lock);
void raw_spin_unlock(raw_spinlock_t *lock);
void INIT_LIST_HEAD(struct list_head *head);
void list_add_tail(struct list_head *entry, struct list_head *head);
void list_del(struct list_head *entry);
void *walk_next(struct walk *walk);

#define DEFINE_PER_CPU(type, name) __typeof__(type) name[CPUS]
#define per_cpu(name, cpu) ((name)[existing_cpu(cpu)])
#define cpu_physical_id(cpu) ((unsigned)(cpu))
#define list_for_each_entry(entry, head, member) \
    for (struct walk walk = {intack_list_load(head), 0}; (entry = walk_next(&walk));)

/* Flags are whether interrupts were on; restoring them leaves interrupts off if they were off. */
#define local_irq_save(flags) ((flags) = intack_interrupts(false))
#define local_irq_restore(flags) ((flags) ? (void)intack_interrupts(true) : (void)0)

struct apic {
    void (*send_IPI_self)(int vector);
};
extern struct apic *apic;

#define x2apic_mode (!intack_fact("xapic"))

/* ---- inert: routing of device interrupts ---- */

#define KVM_REQ_UNBLOCK 0
#define KVM_IRQ_ROUTING_MSI 0
#define IRQ_POSTING_CAP 0
#define KERN_INFO ""

struct hlist_head {
    char unused;
};
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

#define irqchip_in_kernel(kvm) ((void)(kvm), true)
#define kvm_arch_has_assigned_device(kvm) ((void)(kvm), false)
#define irq_remapping_cap(cap) ((void)(cap), false)
#define kvm_make_all_cpus_request(kvm, request) ((void)(kvm), (void)(request))
#define srcu_read_lock(srcu) ((void)(srcu), 0)
#define srcu_read_unlock(srcu, index) ((void)(srcu), (void)(index))
#define srcu_dereference(pointer, srcu) ((void)(srcu), (pointer))
#define hlist_empty(head) ((void)(head), true)
#define hlist_for_each_entry(entry, head, member) for ((entry) = NULL; (entry);)
#define kvm_set_msi_irq(kvm, entry, irq) ((irq)->vector = 0)
#define kvm_intr_is_single_vcpu(kvm, irq, vcpu) (*(vcpu) = NULL, false)
#define kvm_irq_is_postable(irq) ((void)(irq), false)
#define irq_set_vcpu_affinity(irq, data) ((void)(irq), (void)(data), 0)
#define trace_kvm_pi_irte_update(...) ((void)0)
#define __pa(pointer) ((u64)(uintptr_t)(pointer))
#define printk(...) ((void)0)
#define pr_warn_once(...) ((void)0)

#endif
