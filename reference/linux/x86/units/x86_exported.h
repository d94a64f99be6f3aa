#include "harness.h"

bool harness_exit_request(struct kvm_vcpu *vcpu) { return kvm_vcpu_exit_request(vcpu); }
