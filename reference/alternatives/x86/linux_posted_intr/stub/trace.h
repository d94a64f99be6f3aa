#include <linux/kvm_host.h> /* which declares all that posted_intr.c needs */
