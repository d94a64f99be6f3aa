#define trace_vgic_update_irq_pending(...) ((void)0)
