/*
 * Asks Linux's vgic: its functions under the names of Arm's roles, and the services of the kernel that it calls, each as
 * the operations that others can notice.
 *
 *     injector, distributor, run loop, residency ──> kvm_vgic_*(), dispatch_mmio_write() ──> locks, ap_list, GICH, kicks
 *
 * What a host with GICv4 has instead of GICH, and beside it, is in gicv4.c.
 *
 * What is not the kernel's is the order of calls around an entry (arm.c), requests and kicks (kvm_main.c), and the list
 * primitives. The run loop's steps are routines, as the reference's are.
 */
#include <linux/irqchip/arm-gic.h>
#include <linux/kvm_host.h>

#include "gicv4.h"
#include "harness.h"
#include "vgic.h"
#include "vgic-mmio.h"

enum { DISTRIBUTOR = 0x8000000 };

static struct kvm kvm;
static struct kvm_vcpu vcpus[VCPUS];
static struct kvm_run runs[VCPUS];
static struct vgic_irq private_irqs[VCPUS][VGIC_NR_PRIVATE_IRQS], spis[SPIS];

struct gich gich[CPUS];
static u64 ipi_pending[CPUS]; /* somebody waits until this CPU has taken the kick */

static unsigned vcpu_count, cpu_count; /* in this scenario */
static bool flag_is_moot; /* no handler takes a lock, so nobody can tell whether interrupts are off under one */

/* Of this call. */
struct kvm_vcpu *stub_running_vcpu; /* whose thread it is, if it is one */
bool stub_live, stub_slept;
int stub_exit_code;
static enum part part;
static bool went_round;

/* ---- interrupt flag, lists ------------------------------------------------------------------------------------------- */

unsigned long stub_irq_save(void) { return flag_is_moot ? 1 : intack_interrupts(false); }
void stub_irq_restore(unsigned long flags)
{
    if (flags && !flag_is_moot)
        intack_interrupts(true);
}

bool list_is_last(const struct list_head *node, const struct list_head *head)
{
    struct stub_walk walk = stub_walk((struct list_head *)head);
    return walk.length && walk.item[walk.length - 1] == node;
}

/* ---- GICH ---------------------------------------------------------------------------------------------------------- */

char gich_base[0x200];

static u32 *gich_register(const void *at)
{
    struct gich *here = &gich[intack_cpu_id()];
    long offset = (const char *)at - gich_base;
    switch (offset) {
    case GICH_HCR: return &here->hcr;
    case GICH_VMCR: return &here->vmcr;
    case GICH_APR: return &here->apr;
    }
    long lr = (offset - GICH_LR0) / 4;
    if (offset < GICH_LR0 || lr >= kvm_vgic_global_state.nr_lr)
        intack_oops("GICH has no register at %#lx here", offset);
    return &here->lr[lr];
}

/* GICH_ELRSR0: empty, and no end to tell. */
u32 elrsr(void)
{
    struct gich *here = &gich[intack_cpu_id()];
    u32 empty = 0;
    for (int i = 0; i < kvm_vgic_global_state.nr_lr; i++) {
        u32 lr = here->lr[i];
        if (!(lr & GICH_LR_STATE) && (lr & GICH_LR_HW || !(lr & GICH_LR_EOI)))
            empty |= 1u << i;
    }
    return empty;
}

u32 gich_read(const void *at)
{
    if (at == gich_base + GICH_VTR)
        return (u32)(intack_fact("one-list-register") ? 0 : 1);
    return at == gich_base + GICH_ELRSR0 ? elrsr() : *gich_register(at);
}
void gich_write(u32 value, void *at) { *gich_register(at) = value; }

/* ---- wake-ups, IPIs that are waited for ----------------------------------------------------------------------------- */

struct kvm_vcpu *kvm_get_vcpu(struct kvm *vm, int number)
{
    return vm == &kvm && number >= 0 && number < (int)vcpu_count ? &vcpus[number] : NULL;
}
struct kvm_vcpu *kvm_get_running_vcpu(void) { return stub_running_vcpu; }

int stub_wake_up(struct rcuwait *wait) { return intack_wake(container_of(wait, struct kvm_vcpu, wait)); }

void stub_call_on(u64 cpus, bool wait)
{
    for (unsigned cpu = 0; cpu < cpu_count; cpu++)
        if (cpus >> cpu & 1) {
            if (wait)
                ipi_pending[cpu] = 1;
            intack_send_ipi(KICK, cpu);
        }
    for (unsigned cpu = 0; wait && cpu < cpu_count; cpu++)
        while (cpus >> cpu & 1 && ipi_pending[cpu])
            intack_relax();
}

/* reschedule_ipi(cpu) */
static void reschedule_ipi(void)
{
    u64 *pending = &ipi_pending[intack_integer_argument(0)];
    if (*pending)
        *pending = 0;
}

/* maintenance_interrupt(cpu): only the exit it forces matters. */
static void maintenance_interrupt(void) {}

static void inject_irq(struct kvm_vcpu *vcpu, unsigned intid, bool level)
{
#ifdef INJECT_BY_NUMBER
    kvm_vgic_inject_irq(&kvm, vcpu->vcpu_id, intid, level, NULL);
#else
    kvm_vgic_inject_irq(&kvm, vcpu, intid, level, NULL);
#endif
}

/* irqfd's resampler: the line goes down, and the device is asked to look again. */
void kvm_notify_acked_irq(struct kvm *vm, unsigned irqchip, unsigned pin)
{
    if (intack_fact("irqfd-resample"))
        inject_irq(&vcpus[0], pin + VGIC_NR_PRIVATE_IRQS, false);
}

/* ---- inert --------------------------------------------------------------------------------------------------------- */

#define ABSENT(...) { intack_fail("%s: not in this program", __func__); }
int irq_get_irqchip_state(unsigned irq, enum irqchip_irq_state which, bool *value) ABSENT()
int vgic_init(struct kvm *vm) ABSENT()
int vgic_lazy_init(struct kvm *vm) { return 0; }
int kvm_register_vgic_device(unsigned long type) { return 0; }

/* ---- routines: injector, distributor, residency --------------------------------------------------------------------- */

static struct kvm_vcpu *subject(void) { return intack_object_argument(0); }
static void then(const char *routine, struct kvm_vcpu *vcpu)
{
    intack_then(routine);
    intack_then_object(vcpu);
}

/* inject(vcpu, intid, level) */
static void inject(void) { inject_irq(subject(), (unsigned)intack_integer_argument(1), intack_integer_argument(2)); }

/* device_quiet(vcpu, intid): the device, in userspace, lowers its line. */
static void device_quiet(void)
{
    stub_running_vcpu = subject();
    inject_irq(subject(), (unsigned)intack_integer_argument(1), false);
    then("vcpu_run", subject());
}

/* distributor(vcpu, register, intid, value): the address and the data that the guest's store has. */
static void distributor(void)
{
    static const struct {
        const char *name;
        u32 offset;
    } banks[] = {
        {"isenabler", GIC_DIST_ENABLE_SET},  {"icenabler", GIC_DIST_ENABLE_CLEAR}, {"ispendr", GIC_DIST_PENDING_SET},
        {"icpendr", GIC_DIST_PENDING_CLEAR}, {"isactiver", GIC_DIST_ACTIVE_SET},   {"icactiver", GIC_DIST_ACTIVE_CLEAR},
    };
    struct kvm_vcpu *vcpu = stub_running_vcpu = subject();
    const char *name = intack_string_argument(1);
    u32 intid = (u32)intack_integer_argument(2), value = (u32)intack_integer_argument(3), data = 1u << intid % 32;
    gpa_t at = DISTRIBUTOR;
    int length = 4;

    if (!strcmp(name, "ctlr"))
        at += GIC_DIST_CTRL, data = value;
    else if (!strcmp(name, "sgir"))
        at += GIC_DIST_SOFTINT, data = value << 16 | intid;
    else if (!strcmp(name, "spendsgir"))
        at += GIC_DIST_SGI_PENDING_SET + intid, data = value, length = 1;
    else if (!strcmp(name, "cpendsgir"))
        at += GIC_DIST_SGI_PENDING_CLEAR + intid, data = value, length = 1;
    else if (!strcmp(name, "itargetsr"))
        at += GIC_DIST_TARGET + intid, data = 1u << value, length = 1;
    for (size_t i = 0; i < ARRAY_SIZE(banks); i++)
        if (!strcmp(name, banks[i].name))
            at += banks[i].offset + intid / 32 * 4;
    kvm_io_gic_ops.write(vcpu, &kvm.arch.vgic.dist_iodev.dev, at, length, &data);
    then("vcpu_run", vcpu);
}

/* load(vcpu, cpu) */
static void load(void)
{
    struct kvm_vcpu *vcpu = stub_running_vcpu = subject();
    vcpu->cpu = (u64)intack_integer_argument(1);
    kvm_vgic_load(vcpu);
}

/* put(vcpu, preempted) */
static void put(void)
{
    stub_running_vcpu = subject();
    kvm_vgic_put(subject());
}

/* ---- routines: arm.c's run loop, in the parts that units/arm.h makes of it --------------------------------------------- */

bool stub_parts(enum part next, struct kvm_vcpu *vcpu)
{
    if (!stub_live) {
        stub_live = part == next;
        return false;
    }
    then(next == VCPU_UNBLOCK ? "vcpu_block" : "vcpu_enter_guest", vcpu); /* it sleeps before it is unblocked */
    return true;
}

bool stub_goes_round(struct kvm_vcpu *vcpu)
{
    if (went_round)
        then("vcpu_run", vcpu);
    return went_round++;
}

bool stub_enters(struct kvm_vcpu *vcpu)
{
    if (stub_live) {
        struct intack_tuple reason = intack_enter_guest(vcpu);
        then("leave_guest", vcpu);
        for (size_t i = 0; i < reason.length; i++)
            intack_then_item(reason.item[i]);
        return true;
    }
    stub_live = true;
    return false;
}

static void begin(enum part which)
{
    part = which;
    stub_live = which == VCPU_RUN || which == VCPU_WFI;
    went_round = false;
    stub_running_vcpu = subject();
}

static void vcpu_run(void)
{
    begin(VCPU_RUN);
    kvm_arch_vcpu_ioctl_run(subject());
}
static void vcpu_enter_guest(void)
{
    begin(VCPU_ENTER_GUEST);
    kvm_arch_vcpu_ioctl_run(subject());
}

/* leave_guest(vcpu, reason...) */
static void leave_guest(void)
{
    begin(LEAVE_GUEST);
    stub_exit_code = strcmp(intack_string_argument(1), "interrupt") ? 1 : 0; /* ARM_EXCEPTION_TRAP, ARM_EXCEPTION_IRQ */
    kvm_arch_vcpu_ioctl_run(subject());
}

/* What the exit was for: leave_guest's arguments say it. */
void stub_handle_exit(struct kvm_vcpu *vcpu)
{
    const char *reason = intack_string_argument(1);
    if (!strcmp(reason, "wfi"))
        then("vcpu_wfi", vcpu);
    else if (!strcmp(reason, "mmio")) {
        then("distributor", vcpu);
        intack_then_item((struct intack_item){0, intack_string_argument(2)});
        intack_then_integer(intack_integer_argument(3));
        intack_then_integer(intack_integer_argument(4));
    } else if (!strcmp(reason, "device_quiet")) {
        then("device_quiet", vcpu);
        intack_then_integer(intack_integer_argument(2));
    } else {
        if (!strcmp(reason, "pause")) /* kvm_vcpu_on_spin() asks of each other vCPU */
            for (unsigned k = 0; k < vcpu_count; k++)
                if (&vcpus[k] != vcpu)
                    kvm_arch_vcpu_runnable(&vcpus[k]);
        then("vcpu_run", vcpu);
    }
}

static void vcpu_wfi(void)
{
    begin(VCPU_WFI);
    kvm_vcpu_wfi(subject());
}
static void vcpu_unblock(void)
{
    begin(VCPU_UNBLOCK);
    kvm_vcpu_wfi(subject());
    then("vcpu_run", subject());
}

/* kvm_vcpu_block() until it sleeps, or has something to do; and each round after it was woken. */
static void block(bool first)
{
    stub_live = first;
    stub_slept = false;
    stub_running_vcpu = subject();
    kvm_vcpu_block(subject());
    then(stub_slept ? "vcpu_block_again" : "vcpu_unblock", subject());
}
static void vcpu_block(void) { block(true); }
static void vcpu_block_again(void) { block(false); }

/* ---- set-up: what vgic-init.c leaves ----------------------------------------------------------------------------------- */

static bool in_scenario(u32 intid)
{
    for (unsigned i = 0; i < intack_vectors(); i++)
        if (intack_vector(i) == intid)
            return true;
    return false;
}

/* As roles/arm has it: all are enabled, SPI 40 and PPIs are levels, the priorities are those of PRIORITIES. */
static void set_up_irq(struct vgic_irq *irq, u32 intid, struct kvm_vcpu *target)
{
    irq->intid = intid;
    irq->enabled = true;
    irq->target_vcpu = target;
    irq->config = intid == 40 || (intid >= 16 && intid < 32) ? VGIC_CONFIG_LEVEL : VGIC_CONFIG_EDGE;
    irq->priority = (u8)((intid == 3 ? 0x0c : intid == 42 ? 0x10 : intid == 43 ? 0x13 : 0x14) << 3);
}

static void share_irq(struct vgic_irq *irq, const char *name)
{
    intack_share_lock(&irq->irq_lock, "%s.irq_lock", name);
    intack_share(&irq->enabled, 1, "%s.enabled", name);
    intack_share(&irq->line_level, 1, "%s.line", name);
    intack_share(&irq->pending_latch, 1, "%s.latch", name);
    intack_share(&irq->active, 1, "%s.active", name);
    intack_share_pointer(&irq->vcpu, "%s.owner", name);
    if (irq->intid < VGIC_NR_SGIS) {
        intack_share(&irq->source, 1, "%s.source", name);
        intack_share(&irq->active_source, 1, "%s.active_source", name);
    }
    if (irq->intid >= VGIC_NR_PRIVATE_IRQS) {
        intack_share_pointer(&irq->target_vcpu, "%s.target", name);
        intack_share(&irq->targets, 1, "%s.targets", name);
    }
}

#define share_cpu_interface(version, apr) \
    do { \
        __typeof__(vgic_cpu->version) *saved = &vgic_cpu->version; \
        intack_share(&saved->vgic_hcr, 4, "vcpu%d.hcr_sw", k); \
        intack_share(&saved->vgic_vmcr, 4, "vcpu%d.vmcr_sw", k); \
        intack_share(&saved->apr, 4, "vcpu%d.apr_sw", k); \
        intack_share(&saved->used_lrs, 4, "vcpu%d.used_lrs", k); \
        for (int i = 0; i < kvm_vgic_global_state.nr_lr; i++) \
            intack_share(&saved->vgic_lr[i], sizeof saved->vgic_lr[i], "vcpu%d.lr_sw[%d]", k, i); \
    } while (0)

static void set_up_vcpu(int k)
{
    struct kvm_vcpu *vcpu = &vcpus[k];
    struct vgic_cpu *vgic_cpu = &vcpu->arch.vgic_cpu;
    char name[32];

    vcpu->kvm = &kvm;
    vcpu->run = &runs[k];
    vcpu->wants_to_run = true;
    vcpu->vcpu_id = vcpu->vcpu_idx = k;
    intack_name(vcpu, "vcpu%d", k);
    intack_share(&vcpu->cpu, 8, "vcpu%d.cpu", k);
    intack_share(&vcpu->mode, 8, "vcpu%d.mode", k);
    intack_share(&vcpu->requests, 8, "vcpu%d.requests", k);
    intack_share(&vcpu->arch.pause, sizeof vcpu->arch.pause, "vcpu%d.paused", k);
    intack_share(&vcpu->arch.IN_WFI, 8, "vcpu%d.in_wfi", k);
    intack_private(&vcpu->stat, sizeof vcpu->stat);
    intack_private(&vcpu->ready, sizeof vcpu->ready);
    intack_private(&vcpu->arch.IN_WFIT, 8);
    intack_private(&runs[k], sizeof runs[k]);
    intack_share_lock(&vgic_cpu->ap_list_lock, "vcpu%d.ap_list_lock", k);
    stub_list_head(&vgic_cpu->ap_list_head, 0, "vcpu%d.ap_list", k);
    stub_list_guard(&vgic_cpu->ap_list_head, &vgic_cpu->ap_list_lock);
    if (gicv4())
        share_cpu_interface(vgic_v3, vgic_ap0r[0]);
    else
        share_cpu_interface(vgic_v2, vgic_apr);
#ifdef PRIVATE_IRQS_APART
    vgic_cpu->private_irqs = private_irqs[k];
#endif
    for (u32 intid = 0; intid < VGIC_NR_PRIVATE_IRQS; intid++) {
        struct vgic_irq *irq = &vgic_cpu->private_irqs[intid];
        set_up_irq(irq, intid, vcpu);
        if (!in_scenario(intid))
            continue;
        intack_name(irq, "vcpu%d.%u", k, intid);
        stub_list_node(&irq->ap_list, 0, irq);
        snprintf(name, sizeof name, "vcpu%d.irq%u", k, intid);
        share_irq(irq, name);
    }
}

static void set_up_distributor(void)
{
    struct vgic_dist *dist = &kvm.arch.vgic;

    dist->in_kernel = dist->ready = dist->initialized = dist->enabled = true;
    dist->nr_spis = SPIS;
    dist->spis = spis;
    intack_share(&dist->enabled, 1, "vm.enabled");
    intack_share_lock(&kvm.arch.config_lock, "vm.config_lock");
    for (u32 i = 0; i < SPIS; i++) {
        char name[32];
        u32 intid = VGIC_NR_PRIVATE_IRQS + i;
        set_up_irq(&spis[i], intid, &vcpus[0]);
        if (!in_scenario(intid))
            continue;
        intack_name(&spis[i], "%u", intid);
        stub_list_node(&spis[i].ap_list, 0, &spis[i]);
        snprintf(name, sizeof name, "irq%u", intid);
        share_irq(&spis[i], name);
    }
}

static void set_up_cpu(int cpu)
{
    intack_share(&gich[cpu].hcr, 4, "cpu%d.hcr", cpu);
    intack_share(&gich[cpu].vmcr, 4, "cpu%d.vmcr", cpu);
    intack_share(&gich[cpu].apr, 4, "cpu%d.apr", cpu);
    for (int i = 0; i < kvm_vgic_global_state.nr_lr; i++)
        intack_share(&gich[cpu].lr[i], 4, "cpu%d.lr[%d]", cpu, i);
    intack_share(&ipi_pending[cpu], 8, "cpu%d.ipi_pending", cpu);
}

void intack_setup(void)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } routines[] = {
        {"inject", inject}, {"distributor", distributor}, {"device_quiet", device_quiet},
        {"load", load}, {"put", put},
        {"vcpu_run", vcpu_run}, {"vcpu_enter_guest", vcpu_enter_guest}, {"leave_guest", leave_guest},
        {"vcpu_wfi", vcpu_wfi}, {"vcpu_block", vcpu_block}, {"vcpu_block_again", vcpu_block_again}, {"vcpu_unblock", vcpu_unblock},
        {"reschedule_ipi", reschedule_ipi}, {"maintenance_interrupt", maintenance_interrupt},
        {"doorbell_of_vcpu0", doorbell_of_vcpu0}, {"doorbell_of_vcpu1", doorbell_of_vcpu1},
    };
    struct gic_kvm_info info = {.type = GIC_V2, .vcpu = {0x1000, 0x2fff}, .vctrl = {0x3000, 0x4fff}};

    intack_architecture("arm");
    for (size_t i = 0; i < ARRAY_SIZE(routines); i++)
        intack_routine(routines[i].name, routines[i].run);
    vcpu_count = intack_vcpus();
    cpu_count = intack_cpus();
    flag_is_moot = !intack_fact("injects-from-handler") && !intack_fact("unabridged") && !gicv4();
    if (vcpu_count > VCPUS || cpu_count > CPUS)
        intack_fail("the scenario has %u vCPUs and %u CPUs; there is room for %d and %d", vcpu_count, cpu_count, VCPUS,
                    CPUS);
    stub_setup();
    intack_private(&stub_running_vcpu, sizeof stub_running_vcpu);
    intack_private(&stub_live, sizeof stub_live);
    intack_private(&stub_slept, sizeof stub_slept);
    intack_private(&stub_exit_code, sizeof stub_exit_code);
    intack_private(&part, sizeof part);
    intack_private(&went_round, sizeof went_round);
    kvm.online_vcpus.counter = (int)vcpu_count;
    if (gicv4()) {
        set_up_gicv4(&kvm, vcpu_count, cpu_count);
    } else {
        vgic_v2_probe(&info);
        kvm.arch.vgic.vgic_model = KVM_DEV_TYPE_ARM_VGIC_V2;
        vgic_register_dist_iodev(&kvm, DISTRIBUTOR, VGIC_V2);
    }
    for (int k = 0; k < (int)vcpu_count; k++)
        set_up_vcpu(k);
    set_up_distributor();
    for (int cpu = 0; cpu < (int)cpu_count; cpu++)
        set_up_cpu(cpu);
}
