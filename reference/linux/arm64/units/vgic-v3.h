/* For what is cut out of vgic-v3.c. The hypervisor's functions are called as they are: the host runs at EL2 (VHE). */
#include <linux/irqchip/arm-gic-v3.h>
#include <linux/kvm_host.h>
#include <asm/sysreg.h>

#include "vgic.h"

#define kvm_call_hyp(function, ...) function(__VA_ARGS__)
#define kvm_call_hyp_ret(function, ...) function(__VA_ARGS__)

u64 __vgic_v3_read_vmcr(void);
void __vgic_v3_write_vmcr(u32 vmcr);
void __vgic_v3_save_aprs(struct vgic_v3_cpu_if *cpu_if);
void __vgic_v3_restore_aprs(struct vgic_v3_cpu_if *cpu_if);
void __vgic_v3_save_vmcr_aprs(struct vgic_v3_cpu_if *cpu_if);
void __vgic_v3_restore_vmcr_aprs(struct vgic_v3_cpu_if *cpu_if);
