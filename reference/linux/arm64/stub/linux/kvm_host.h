/*
 * arm64's part of the stub headers: a VM, a vCPU and what else the vGIC's files name, with the members that they use. None of
 * it is the kernel's text.
 *
 *     real here     locks, ap_lists, interrupt flag, GICH registers, requests, kicks and wake-ups, MMIO of the distributor
 *     and with GICv4   ICH registers, GICR_VPENDBASER, doorbells (linux/irq.h)
 *     inert here    other physical interrupts, LPIs and their lifetimes, userspace's access, probing
 */
#ifndef STUB_KVM_HOST_H
#define STUB_KVM_HOST_H

#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/irq.h>
#include <linux/jump_label.h>
#include <linux/kernel.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/spinlock.h>

#include <string.h>

enum { VCPUS = 8, SPIS = 32, LIST_REGISTERS = 4 }; /* the largest scenario */

#define CONFIG_DEBUG_SPINLOCK 1
#define EAGAIN 11
#define EOPNOTSUPP 95
#define SZ_4K 0x1000
#define SZ_64K 0x10000
#define SZ_128K 0x20000
#define FIELD_PREP(mask, value) ((u64)(value) << __builtin_ctzll(mask) & (mask))
#define GFP_KERNEL 0
#define GFP_KERNEL_ACCOUNT 0
#define IS_ERR(pointer) ((u64)(pointer) >= (u64)-4095)
#define PAGE_ALIGNED(address) (((address) & 0xfff) == 0)
#define IS_ALIGNED(value, to) (((value) & ((to) - 1)) == 0)
#define FIELD_GET(mask, value) (((value) & (mask)) >> __builtin_ctzll(mask))
#define ilog2(n) (31 - __builtin_clz(n))
#define hweight8(n) hweight32((u8)(n))
#define le16_to_cpu(x) (x)
#define le32_to_cpu(x) (x)
#define le64_to_cpu(x) (x)
#define cpu_to_le16(x) (x)
#define cpu_to_le32(x) (x)
#define cpu_to_le64(x) (x)
#define __ro_after_init
#define __releases(lock)
#define __ffs(word) ((unsigned)__builtin_ctzl(word))
#define SINGLE_DEPTH_NESTING 1
#define WARN_RATELIMIT(condition, ...) WARN(condition, __VA_ARGS__)
#define KVM_BUG_ON(condition, kvm) ((void)(kvm), WARN_ON(condition))
#define static_key_false static_key
#define STATIC_KEY_FALSE_INIT {false}
#define static_branch_enable(key) ((key)->on = true)

/* ---- interrupt flag: left alone under locks where no handler of the scenario takes one, for then nobody can tell ------- */

unsigned long stub_irq_save(void);
void stub_irq_restore(unsigned long flags);
#undef local_irq_save
#undef local_irq_restore
#define local_irq_save(flags) ((flags) = stub_irq_save())
#define local_irq_restore(flags) stub_irq_restore(flags)
#define irqs_disabled() (intack_assert_interrupts(false), true)
#define _raw_spin_unlock(lock) raw_spin_unlock(lock)

bool list_is_last(const struct list_head *node, const struct list_head *head);

/* ---- GICH, memory-mapped: which register an address is depends on the CPU ----------------------------------------------- */

extern char gich_base[];
u32 gich_read(const void *at);
void gich_write(u32 value, void *at);
#define readl_relaxed(at) gich_read(at)
#define writel_relaxed(value, at) gich_write(value, at)

/* ---- inert: LPIs, physical interrupts, probing --------------------------------------------------------------------------- */

struct rcu_head {
    char unused;
};
struct xarray {
    char unused;
};
#define XA_MARK_0 0
#define kfree(object) ((void)(object))
#define kcalloc(count, size, flags) stub_vpes((count) * (size))
void *stub_vpes(size_t size); /* of a VM: vgic_v4_init() asks for them, at set-up */
#define kfree_rcu(object, member) ((void)(object))
#define xa_load(array, index) ((void)(array), (void)(index), NULL)
#define xa_lock_irqsave(array, flags) ((void)(array), (void)(flags))
#define xa_unlock_irqrestore(array, flags) ((void)(array), (void)(flags))
#define __xa_erase(array, index) ((void)(array), (void)(index))

struct resource {
    u64 start, end;
};
#define resource_size(resource) ((resource)->end - (resource)->start + 1)
#define create_hyp_io_mappings(start, size, kernel, hyp) (*(kernel) = gich_base, *(hyp) = gich_base, 0)
#define iounmap(at) ((void)(at))
#define is_protected_kvm_enabled() false
#define kvm_phys_addr_ioremap(kvm, guest, at, size, writable) 0
#define has_vhe() true
#define kvm_has_feat(...) false

static inline const void *bsearch(const void *key, const void *base, size_t count, size_t size,
                                  int (*order)(const void *, const void *))
{
    for (size_t i = 0; i < count; i++)
        if (order(key, (const char *)base + i * size) == 0)
            return (const char *)base + i * size;
    return NULL;
}

struct kvm;
struct kvm_vcpu;
struct kvm_device {
    struct kvm *kvm;
};
struct kvm_device_attr {
    u32 group;
};
struct kvm_arm_device_addr;
struct kvm_msi {
    u32 address_lo, address_hi, data, flags, devid;
};
struct kvm_kernel_irq_routing_entry {
    struct kvm_msi msi;
};

#include <kvm/arm_vgic.h>

#define KVM_DEV_TYPE_ARM_VGIC_V2 5
#define KVM_DEV_TYPE_ARM_VGIC_V3 7
#define KVM_DEV_ARM_VGIC_GRP_DIST_REGS 1
#define KVM_DEV_ARM_VGIC_GRP_CPU_REGS 2
#define KVM_VGIC_V2_DIST_SIZE 0x1000
#define KVM_VGIC_V2_CPU_SIZE 0x2000
#define KVM_VGIC_V3_DIST_SIZE 0x10000
#define KVM_VGIC_V3_REDIST_SIZE 0x20000
#define KVM_MMIO_BUS 0

enum { OUTSIDE_GUEST_MODE, IN_GUEST_MODE, EXITING_GUEST_MODE };

/* Requests that nobody makes here have no bit: testing one is no operation. */
#define KVM_REQUEST_MASK 0xff
#define KVM_REQUEST_NO_WAKEUP 0x100
#define KVM_REQUEST_WAIT 0x200
#define KVM_REQUEST_NO_ACTION 0x400
#define KVM_REQ_SLEEP (0 | KVM_REQUEST_WAIT | KVM_REQUEST_NO_WAKEUP)
#define KVM_REQ_IRQ_PENDING 1
#define KVM_REQ_VM_DEAD (-1)
#define KVM_REQ_UNBLOCK (-1)
#define KVM_REQ_VCPU_RESET (-1)
#define KVM_REQ_RECORD_STEAL (-1)
#define KVM_REQ_RELOAD_GICv4 (-1)
#define KVM_REQ_RELOAD_PMU (-1)
#define KVM_REQ_RESYNC_PMU_EL0 (-1)
#define KVM_REQ_SUSPEND (-1)
#define kvm_test_request(request, vcpu) \
    ((request) >= 0 && test_bit((request) & KVM_REQUEST_MASK, (void *)&(vcpu)->requests))

struct kvm_arch {
    struct vgic_dist vgic;
    struct mutex config_lock;
};

struct kvm {
    int srcu;
    struct kvm_arch arch;
    atomic_t online_vcpus;
};

struct kvm_run {
    int exit_reason, flags;
    struct {
        int hardware_entry_failure_reason, cpu;
    } fail_entry;
};

struct rcuwait {
    char unused;
};

/* Members that are locations are as wide as one, so that every access is to the whole of it. */
struct kvm_vcpu {
    struct kvm *kvm;
    int vcpu_id, vcpu_idx;
    struct kvm_run *run;
    struct rcuwait wait;
    bool wants_to_run, ready;
    u64 cpu, mode, requests;
    struct {
        u64 exits;
        struct {
            u64 halt_wakeup, blocking;
        } generic;
    } stat;
    struct {
        struct vgic_cpu vgic_cpu;
        u64 IN_WFI, IN_WFIT, VCPU_INITIALIZED; /* flags */
        u64 hcr;
        int target;
#ifdef PAUSE_COUNTS
        atomic_t pause;
#else
        bool pause;
#endif
    } arch;
};

#define vcpu_get_flag(vcpu, flag) ((vcpu)->arch.flag)
#define kvm_arch_vcpu_get_wait(vcpu) (&(vcpu)->wait)
int stub_wake_up(struct rcuwait *wait);
#define rcuwait_wake_up(wait) stub_wake_up(wait)

struct kvm_vcpu *kvm_get_vcpu(struct kvm *kvm, int number);
struct kvm_vcpu *kvm_get_running_vcpu(void);
bool kvm_vcpu_wake_up(struct kvm_vcpu *vcpu);
void kvm_vcpu_kick(struct kvm_vcpu *vcpu);
bool kvm_make_all_cpus_request(struct kvm *kvm, unsigned int req);
int kvm_arch_vcpu_should_kick(struct kvm_vcpu *vcpu);
int kvm_arch_vcpu_runnable(struct kvm_vcpu *vcpu);
void kvm_arm_halt_guest(struct kvm *kvm);
void kvm_arm_resume_guest(struct kvm *kvm);
void kvm_notify_acked_irq(struct kvm *kvm, unsigned irqchip, unsigned pin);
void __vgic_v3_save_state(struct vgic_v3_cpu_if *cpu_if);
void __vgic_v3_restore_state(struct vgic_v3_cpu_if *cpu_if);
void __vgic_v3_activate_traps(struct vgic_v3_cpu_if *cpu_if);
void __vgic_v3_deactivate_traps(struct vgic_v3_cpu_if *cpu_if);
void vgic_v4_commit(struct kvm_vcpu *vcpu);

#define kvm_for_each_vcpu(index, vcpu, kvm) for ((index) = 0; ((vcpu) = kvm_get_vcpu(kvm, (int)(index))); (index)++)
#define kvm_has_feat(...) false
#define kvm_io_bus_register_dev(kvm, bus, address, length, device) ((void)(kvm), (void)(device), 0)
#define kvm_read_guest_lock(kvm, at, data, size) ((void)(kvm), (void)(at), (void)(data), (void)(size), 0)
#define kvm_write_guest_lock kvm_read_guest_lock

static inline unsigned long kvm_mmio_read_buf(const void *value, unsigned length)
{
    unsigned long data = 0;
    memcpy(&data, value, length);
    return data;
}
static inline void kvm_mmio_write_buf(void *value, unsigned length, unsigned long data) { memcpy(value, &data, length); }

#include "kvm_inline.h"

#endif
