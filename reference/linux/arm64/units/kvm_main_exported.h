int harness_check_block(struct kvm_vcpu *vcpu) { return kvm_vcpu_check_block(vcpu); }
