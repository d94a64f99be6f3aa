#include <linux/kvm_host.h>

/* Events of other kinds: there are none. */
#define kvm_apic_has_pending_init_or_sipi(vcpu) ((void)(vcpu), false)
#define kvm_apic_init_sipi_allowed(vcpu) ((void)(vcpu), false)
#define kvm_is_exception_pending(vcpu) ((void)(vcpu), false)
#define kvm_hv_has_stimer_pending(vcpu) ((void)(vcpu), false)
#define kvm_xen_has_pending_events(vcpu) ((void)(vcpu), false)
#define xfer_to_guest_mode_prepare() ((void)0)
#define xfer_to_guest_mode_work_pending() false
