/* The vCPU as VMX sees it: its descriptor, and its entry in the list of a CPU's blocked vCPUs. */
#ifndef STUB_VMX_H
#define STUB_VMX_H

#include <linux/kvm_host.h>

#include "posted_intr.h"

struct vcpu_vmx {
    struct kvm_vcpu vcpu; /* first, so that to_vmx() is a cast */
    struct pi_desc pi_desc;
    struct list_head pi_wakeup_list;
    struct {
        int posted_intr_nv;
        bool pi_pending;
    } nested;
};

static inline struct vcpu_vmx *to_vmx(struct kvm_vcpu *vcpu) { return (struct vcpu_vmx *)vcpu; }

extern bool stub_enable_ipiv;
#define vmx_can_use_ipiv(vcpu) ((void)(vcpu), stub_enable_ipiv)

#define GUEST_INTR_STATUS 0
u16 stub_vmcs_read(void);
void stub_vmcs_write(u16 value);
#define vmcs_read16(field) ((void)(field), stub_vmcs_read())
#define vmcs_write16(field, value) ((void)(field), stub_vmcs_write(value))

#endif
