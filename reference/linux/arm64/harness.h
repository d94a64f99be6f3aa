/* What the harness and the cut files know of each other. */
#ifndef HARNESS_H
#define HARNESS_H

#include <linux/kvm_host.h>

enum { KICK = 1 }; /* the host's interrupt that only forces an exit */

enum part { VCPU_RUN, VCPU_ENTER_GUEST, LEAVE_GUEST, VCPU_WFI, VCPU_UNBLOCK };

extern bool stub_live;        /* the routine has come to its own part */
extern bool stub_slept;       /* a round of kvm_vcpu_block() has ended in its sleep */
extern int stub_exit_code;    /* what kvm_arm_vcpu_enter_exit() answers */
extern struct kvm_vcpu *stub_running_vcpu;

/* Whether the routine ends here: what follows is another's. If it is this one's, it begins. */
bool stub_parts(enum part next, struct kvm_vcpu *vcpu);
bool stub_goes_round(struct kvm_vcpu *vcpu);
bool stub_enters(struct kvm_vcpu *vcpu);
void stub_handle_exit(struct kvm_vcpu *vcpu);
void stub_call_on(u64 cpus, bool wait);

/* A CPU's GICH registers, or in their other shape its ICH registers. */
struct gich {
    u32 hcr, vmcr, apr, lr[LIST_REGISTERS];
};
extern struct gich gich[CPUS];
u32 elrsr(void);

int kvm_arch_vcpu_ioctl_run(struct kvm_vcpu *vcpu);
void kvm_vcpu_wfi(struct kvm_vcpu *vcpu);
bool kvm_vcpu_block(struct kvm_vcpu *vcpu);

#endif
