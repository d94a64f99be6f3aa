/* The vCPU as VMX sees it: its descriptor, and its entry in the list of a CPU's blocked vCPUs. */
#ifndef STUB_VMX_H
#define STUB_VMX_H

#include <linux/kvm_host.h>

#include "posted_intr.h"

struct vcpu_vmx {
    struct kvm_vcpu vcpu; /* first, so that to_vmx() is a cast */
    struct pi_desc pi_desc;
    struct list_head pi_wakeup_list;
};

static inline struct vcpu_vmx *to_vmx(struct kvm_vcpu *vcpu) { return (struct vcpu_vmx *)vcpu; }

bool vmx_interrupt_blocked(struct kvm_vcpu *vcpu);

#endif
