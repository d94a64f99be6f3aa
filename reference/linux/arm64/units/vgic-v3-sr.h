/* For what is cut out of hyp/vgic-v3-sr.c. */
#include <linux/irqchip/arm-gic-v3.h>
#include <linux/kvm_host.h>
#include <asm/sysreg.h>

#define vtr_to_nr_pre_bits(vtr) (((vtr) >> 26 & 7) + 1)
#define isb() ((void)0)
#define dsb(domain) ((void)0)
#define unreachable() __builtin_unreachable()
extern struct static_key vgic_v3_cpuif_trap;
