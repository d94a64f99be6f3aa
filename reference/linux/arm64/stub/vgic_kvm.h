/* Stands in for linux/kvm_host.h of arm64: a VM, a vCPU, requests and kicks. None of it is the kernel's text. */
#ifndef STUB_KVM_HOST_H
#define STUB_KVM_HOST_H

#include "vgic_kernel.h"

struct kvm;
struct kvm_vcpu;
struct kvm_device {
    struct kvm *kvm;
};
struct kvm_device_attr {
    u32 group;
};
struct kvm_arm_device_addr;
struct kvm_msi;
struct kvm_kernel_irq_routing_entry;

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
enum { KVM_REQ_IRQ_PENDING = 0, KVM_REQ_SLEEP = 1 }; /* numbers of bits of vcpu->requests */

struct kvm_arch {
    struct vgic_dist vgic;
    struct mutex config_lock;
};

struct kvm {
    struct kvm_arch arch;
    atomic_t online_vcpus;
};

struct kvm_vcpu {
    struct kvm *kvm;
    int vcpu_id, vcpu_idx;
    u64 cpu, mode, requests; /* as wide as a location, so that every access is to the whole of it */
    struct {
        struct vgic_cpu vgic_cpu;
        u64 pause, in_wfi;
    } arch;
};

struct kvm_vcpu *kvm_get_vcpu(struct kvm *kvm, int number);
struct kvm_vcpu *kvm_get_running_vcpu(void);
void kvm_make_request(int request, struct kvm_vcpu *vcpu);
void kvm_vcpu_kick(struct kvm_vcpu *vcpu);
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

#endif
