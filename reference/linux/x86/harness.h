/* What the harness asks of units whose functions are static. */
#ifndef HARNESS_H
#define HARNESS_H

#include <linux/kvm_host.h>

#include "vmx.h"

void harness_deliver(struct kvm_vcpu *vcpu, int vector);
int harness_check_block(struct kvm_vcpu *vcpu);
bool harness_exit_request(struct kvm_vcpu *vcpu);

#endif
