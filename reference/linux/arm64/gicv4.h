/* What the harness knows of GICv4, and what the functions cut out of irq-gic-v3-its.c call. */
#ifndef GICV4_H
#define GICV4_H

#include <linux/irqchip/arm-gic-v3.h>
#include <linux/kvm_host.h>

extern struct rdists stub_rdists;
extern struct irq_chip stub_vpe_chip, stub_vpe_4_1_chip;

void stub_vmovp(struct its_vpe *vpe);
void stub_enable_lpi(unsigned long doorbell, u8 enabled);

void doorbell_of_vcpu0(void);
void doorbell_of_vcpu1(void);
bool gicv4(void); /* the host is a GICv3 with GICv4 in this scenario */
void set_up_gicv4(struct kvm *kvm, unsigned vcpus, unsigned cpus);

#endif
