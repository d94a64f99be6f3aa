/*
 * A host with GICv4, which is a GICv3: system registers instead of GICH, and a redistributor per CPU.
 *
 *     vgic-v3.c ──> hyp/vgic-v3-sr.c ──> ICH_* here ──> the same registers as GICH's, in their other shape
 *     vgic-v4.c ──> irq-gic-v4.c ──> kernel/irq ──> irq-gic-v3-its.c ──> GICR_VPENDBASER, VMOVP, the doorbell's enable
 */
#include <linux/interrupt.h>

#include "gicv4.h"
#include "harness.h"
#include "vgic.h"

#include <asm/sysreg.h>

enum { DOORBELL = 48, DOORBELL_IRQ = 64 }; /* number of vcpu0's in hardware, and in the kernel */
#define MODEL_VPE 0xffff                   /* the model's VPENDBASER: the vPE's number, and the upper bits as they are */
#define TABLES (1ull << 40)                /* where pending tables are: 64 KiB for each vPE */
#define REDISTRIBUTORS (1ull << 41)        /* and redistributors: 1 MiB for each CPU */

static bool gicv4_1(void) { return intack_fact("gicv4.1"); }
bool gicv4(void) { return intack_fact("gicv4") || gicv4_1(); }

/* ---- ICH_*, on what GICH has ------------------------------------------------------------------------------------------- */

struct static_key vgic_v3_cpuif_trap;

static u64 wide_lr(u64 lr)
{
    return (lr & 0x3ff) | (lr >> 10 & 0x3ff) << 32 | (lr >> 23 & 0x1f) << 51 | (lr >> 30 & 3) << 60 | (lr >> 28 & 3) << 62;
}
static u32 narrow_lr(u64 lr)
{
    return (u32)((lr & 0x3ff) | (lr >> 32 & 0x3ff) << 10 | (lr >> 51 & 0x1f) << 23 | (lr >> 60 & 3) << 30 | (lr >> 62) << 28);
}

u64 ich_read(enum ich which)
{
    struct gich *here = &gich[intack_cpu_id()];
    switch (which) {
    case ICH_HCR_EL2: return here->hcr;
    case ICH_VTR_EL2: return 4ull << 26 | (u64)(kvm_vgic_global_state.nr_lr - 1); /* five bits of preemption */
    case ICH_VMCR_EL2: return here->vmcr;
    case ICH_ELRSR_EL2: return elrsr();
    case ICH_AP0R0_EL2: return here->apr;
    case ICH_AP1R0_EL2: case ICC_SRE_EL1: case ICC_SRE_EL2: return 0;
    default: break;
    }
    if (which < ICH_LR0_EL2 || which - ICH_LR0_EL2 >= kvm_vgic_global_state.nr_lr)
        intack_oops("this CPU interface has no such register: %d", which);
    return wide_lr(here->lr[which - ICH_LR0_EL2]);
}

void ich_write(u64 value, enum ich which)
{
    struct gich *here = &gich[intack_cpu_id()];
    switch (which) {
    case ICH_HCR_EL2: here->hcr = (u32)value; return;
    case ICH_VMCR_EL2: here->vmcr = (u32)value; return;
    case ICH_AP0R0_EL2: here->apr = (u32)value; return;
    case ICH_AP1R0_EL2: case ICC_SRE_EL1: case ICC_SRE_EL2: return;
    default: break;
    }
    if (which < ICH_LR0_EL2 || which - ICH_LR0_EL2 >= kvm_vgic_global_state.nr_lr)
        intack_oops("this CPU interface has no such register: %d", which);
    here->lr[which - ICH_LR0_EL2] = narrow_lr(value);
}

/* ---- redistributors, the ITS ------------------------------------------------------------------------------------------- */

struct rdists stub_rdists;
static __typeof__(*stub_rdists.rdist) redistributors[CPUS];
static u64 vpendbaser[CPUS], vpe_affinity[VCPUS], doorbell_enabled[VCPUS];

/*
 * Of GICv4.0's doorbell, which is an LPI that software masks and takes back. The model's message cannot be recalled: what
 * arrives after a CLEAR and before the vPE is off again is dropped, for none is sent meanwhile, unless software sent it.
 */
enum { HELD = 1, CLEARED = 2, SENT_AGAIN = 4 }; /* pending, and masked; taken back; made pending by GICR_SETLPIR */
static u64 lpi[VCPUS];

static u64 mark(unsigned k, u64 clear, u64 set)
{
    return gicv4_1() ? 0 : intack_rmw(&lpi[k], INTACK_SWAP, set, clear | set);
}
static void ring(unsigned k, unsigned cpu) { intack_send_ipi(DOORBELL + k, cpu); }

void stub_enable_lpi(unsigned long k, u8 enabled)
{
    doorbell_enabled[k] = enabled != 0;
    if (enabled && mark((unsigned)k, HELD, 0))
        ring((unsigned)k, (unsigned)vpe_affinity[k]);
}

/* What reaches a CPU while it is masked waits. */
static bool arrives(unsigned k)
{
    u64 was = gicv4_1() ? 0 : intack_load(&lpi[k], CLEARED | SENT_AGAIN);
    if (was & SENT_AGAIN)
        mark(k, SENT_AGAIN, 0);
    else if (was & CLEARED)
        return false;
    if (gicv4_1() || doorbell_enabled[k])
        return true;
    mark(k, 0, HELD);
    return false;
}

static unsigned redistributor_of(const void *at) { return stub_existing_cpu(((u64)at - REDISTRIBUTORS) >> 20); }
static u64 offset_of(const void *at) { return (u64)at & 0xfffff; }

/* A write of VPENDBASER sets Dirty in the same step. GICv4.0 names a vPE by its pending table; IDAI is always clear. */
void gicr_write(u64 value, void *at)
{
    const u64 flags = GICR_VPENDBASER_Valid | GICR_VPENDBASER_PendingLast | (gicv4_1() ? GICR_VPENDBASER_4_1_DB : 0);
    unsigned cpu = redistributor_of(at);
    u64 vpe = (gicv4_1() ? value : value >> 16) & MODEL_VPE;
    switch (offset_of(at)) {
    case SZ_128K + GICR_VPENDBASER:
        vpendbaser[cpu] = (value & flags) | GICR_VPENDBASER_Dirty | vpe;
        if (!(value & GICR_VPENDBASER_Valid))
            mark((unsigned)vpe, CLEARED, 0);
        return;
    case SZ_128K + GICR_VPROPBASER: return;
    case GICR_SETLPIR:
        mark((unsigned)value, 0, SENT_AGAIN);
        ring((unsigned)value, cpu);
        return;
    case GICR_CLRLPIR: mark((unsigned)value, HELD | SENT_AGAIN, CLEARED); return;
    }
    intack_oops("a redistributor has no register at %#lx here", offset_of(at));
}

u64 gicr_read(const void *at)
{
    if (offset_of(at) != SZ_128K + GICR_VPENDBASER)
        intack_oops("a redistributor has no register at %#lx here", offset_of(at));
    u64 word = vpendbaser[redistributor_of(at)], vpe = word & MODEL_VPE;
    return (word & ~(u64)MODEL_VPE) | (gicv4_1() ? vpe : TABLES | vpe << 16);
}

void stub_vmovp(struct its_vpe *vpe) { vpe_affinity[vpe->vpe_id] = vpe->col_idx; }

/* ---- doorbells: descriptors, and what kernel/irq does with them ------------------------------------------------------- */

static struct irq_desc doorbells[VCPUS];

struct irq_desc *irq_to_desc(unsigned irq)
{
    if (irq - DOORBELL_IRQ >= VCPUS)
        intack_fail("there is no host interrupt %u: no interrupt is mapped to a physical one", irq);
    return &doorbells[irq - DOORBELL_IRQ];
}

int request_irq(unsigned irq, irq_handler_t handler, unsigned long flags, const char *name, void *dev)
{
    irq_to_desc(irq)->action = handler;
    irq_to_desc(irq)->dev = dev;
    return 0;
}

int irq_set_affinity(unsigned irq, const struct cpumask *to)
{
    struct irq_desc *desc = irq_to_desc(irq);
    unsigned long flags;
    raw_spin_lock_irqsave(&desc->lock, flags);
    int result = desc->irq_data.chip->irq_set_affinity(&desc->irq_data, to, false);
    raw_spin_unlock_irqrestore(&desc->lock, flags);
    return result < 0 ? result : 0;
}

/* resend_tasklet, on this CPU */
int irq_sw_resend(struct irq_desc *desc)
{
    intack_send_ipi(DOORBELL + desc->irq_data.irq - DOORBELL_IRQ, INTACK_SELF);
    return 0;
}

static void doorbell(unsigned k)
{
    if (arrives(k))
        handle_fasteoi_irq(&doorbells[k]);
}
void doorbell_of_vcpu0(void) { doorbell(0); }
void doorbell_of_vcpu1(void) { doorbell(1); }

/* ---- what its_vpe_irq_domain_alloc() and its_vpe_irq_domain_activate() leave: doorbells, and vPEs that are mapped ------ */

void *stub_vpes(size_t size)
{
    static struct its_vpe *vpes[VCPUS];
    return size <= sizeof vpes ? vpes : NULL;
}
void *stub_domain(void) { return doorbells; }
int stub_alloc_irqs(void) { return DOORBELL_IRQ; }

static void set_up_doorbell(unsigned k)
{
    struct irq_desc *desc = &doorbells[k];
    struct irq_data *data = &desc->irq_data;
    const char *shape = gicv4_1() ? "_4_1" : "";

    data->irq = DOORBELL_IRQ + k;
    data->hwirq = k;
    data->parent_data = data;
    data->chip = gicv4_1() ? &stub_vpe_4_1_chip : &stub_vpe_chip;
    intack_share_lock(&desc->lock, "vcpu%u.doorbell_lock", k);
    intack_share(&data->state, 4, "vcpu%u.doorbell_state%s", k, shape);
    intack_share(&desc->istate, 4, "vcpu%u.doorbell_istate", k);
    if (gicv4_1())
        return;
    intack_share(&desc->depth, 4, "vcpu%u.doorbell_depth", k);
    intack_share(&lpi[k], 8, "vcpu%u.doorbell_lpi", k);
}

static void set_up_vpe(struct vgic_v3_cpu_if *cpu_if, unsigned k)
{
    struct its_vpe *vpe = &cpu_if->its_vpe;

    doorbells[k].irq_data.chip_data = vpe;
    vpe->vpt_page = (struct page *)(TABLES + ((u64)k << 16));
    vpe->vpe_id = (u16)k;
    vpe->vpe_db_lpi = k;
    atomic_set(&vpe->vmapp_count, 1);
    intack_private(&vpe->idai, sizeof vpe->idai);
    intack_private(&cpu_if->vgic_ap1r[0], 4); /* APR holds both groups' */
    cpu_if->vgic_sre = ICC_SRE_EL1_DIB | ICC_SRE_EL1_DFB | ICC_SRE_EL1_SRE;
    intack_share_lock(&vpe->vpe_lock, "vcpu%u.vpe_lock", k);
    intack_share(&vpe->pending_last, 1, "vcpu%u.pending_last", k);
    intack_share(&vpe->resident, 1, "vcpu%u.resident", k);
    intack_share(&vpe->ready, 1, "vcpu%u.ready", k);
    intack_share(&vpe->col_idx, 2, "vcpu%u.col_idx", k);
    intack_share(&vpe_affinity[k], 8, "vcpu%u.vpe_affinity", k);
    intack_share(&doorbell_enabled[k], 8, "vcpu%u.doorbell_enabled", k);
}

void set_up_gicv4(struct kvm *kvm, unsigned vcpus, unsigned cpus)
{
    void *here = stub_domain();

    kvm_vgic_global_state.type = VGIC_V3;
    kvm_vgic_global_state.nr_lr = intack_fact("one-list-register") ? 1 : 2;
    kvm_vgic_global_state.has_gicv4 = true;
    kvm_vgic_global_state.has_gicv4_1 = gicv4_1();
    static_branch_enable(&kvm_vgic_global_state.gicv3_cpuif);
    kvm->arch.vgic.vgic_model = KVM_DEV_TYPE_ARM_VGIC_V3;
    kvm->arch.vgic.has_its = true;

    stub_rdists.rdist = redistributors;
    stub_rdists.has_direct_lpi = true;
    stub_rdists.has_rvpeid = gicv4_1();
    stub_rdists.has_vpend_valid_dirty = intack_fact("typer-dirty");
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        redistributors[cpu].rd_base = (void *)(REDISTRIBUTORS + ((u64)cpu << 20));
    for (unsigned cpu = 0; cpu < cpus; cpu++)
        intack_share(&vpendbaser[cpu], 8, "cpu%u.vpendbaser", cpu);

    its_init_v4(here, here, gicv4_1() ? here : NULL);
    stub_lock_is_moot(&kvm->arch.config_lock);
    if (vgic_v4_init(kvm))
        intack_fail("vgic_v4_init() has failed");
    kvm->arch.config_lock.moot = false;
    for (unsigned k = 0; k < vcpus; k++) {
        set_up_doorbell(k);
        set_up_vpe(&kvm_get_vcpu(kvm, (int)k)->arch.vgic_cpu.vgic_v3, k);
    }
}
