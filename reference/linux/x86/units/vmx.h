#include "harness.h"

void harness_deliver(struct kvm_vcpu *vcpu, int vector) { vmx_deliver_interrupt(vcpu->arch.apic, 0, 0, vector); }
int harness_sync(struct kvm_vcpu *vcpu) { return vmx_sync_pir_to_irr(vcpu); }
