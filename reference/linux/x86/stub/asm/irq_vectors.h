#include <linux/kvm_host.h> /* which declares all that is needed */
