#include <linux/kvm_host.h>
