#include <linux/kvm_host.h>

#define kvm_apic_present(vcpu) ((void)(vcpu), true)
/* The processor keeps it, or the reference's KVM with APICv inhibited. */
#define __apic_update_ppr(apic, ppr) (*(ppr) = (u32)(apic)->vcpu->vppr)
