/* The chips behind a doorbell, of GICv4.0 and 4.1. */
static void eoi(struct irq_data *data) { (void)data; }
struct irq_chip stub_vpe_chip = {
    .irq_mask = its_vpe_mask_irq,
    .irq_unmask = its_vpe_unmask_irq,
    .irq_eoi = eoi,
    .irq_set_affinity = its_vpe_set_affinity,
    .irq_retrigger = its_vpe_retrigger,
    .irq_set_irqchip_state = its_vpe_set_irqchip_state,
    .irq_set_vcpu_affinity = its_vpe_set_vcpu_affinity,
};
struct irq_chip stub_vpe_4_1_chip = {
    .irq_eoi = eoi,
    .irq_set_affinity = its_vpe_set_affinity,
    .irq_set_vcpu_affinity = its_vpe_4_1_set_vcpu_affinity,
};
