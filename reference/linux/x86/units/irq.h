#include <linux/kvm_host.h>

#define kvm_cpu_has_extint(vcpu) ((void)(vcpu), false)
