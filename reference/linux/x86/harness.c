/*
 * Asks KVM's functions: its routines under the names of the suite's roles. What stands between them in the kernel, and was
 * not cut, is written here after it, and listed as a seam (SEAMS in __init__.py).
 */
#include "harness.h"

static struct kvm kvm;
static struct vcpu_vmx vcpus[VCPUS];
static struct kvm_lapic lapics[VCPUS];
static char pages[VCPUS][0x1000] __attribute__((aligned(0x1000)));
static char running[CPUS]; /* stand for the locations cpu.running_vcpu */

static unsigned setting_up; /* whose list and lock come next */
static int here;            /* the pCPU, where the question tells it; else -1 */
static struct kvm_vcpu *vmcs; /* that is current on this pCPU */
bool stub_enable_ipiv;

/* ---- services of the kernel -------------------------------------------------------------------------------------- */

int stub_this_cpu(void) { return here >= 0 ? here : (int)intack_cpu_id(); }

static void send_ipi_self(int vector) { intack_send_ipi((unsigned)vector, INTACK_SELF); }
static void send_ipi_mask(const struct cpumask *mask, int vector)
{
    intack_send_ipi((unsigned)vector, (int64_t)(uintptr_t)mask - 1);
}
static struct apic this_apic = {send_ipi_self, send_ipi_mask};
struct apic *apic = &this_apic;

static const struct kvm_x86_nested_ops nested_ops;
struct kvm_x86_ops kvm_x86_ops = {harness_sync, &nested_ops};

int stub_wake_up(struct rcuwait *wait) { return intack_wake(container_of(wait, struct kvm_vcpu, wait)); }

/* The per-CPU variable kvm_running_vcpu; only posts on the vCPU's own pCPU can tell. */
struct kvm_vcpu *stub_running_on(int cpu)
{
    if (!intack_fact("posts-on-own-cpu"))
        return NULL;
    struct intack_list who = intack_list_load(&running[cpu]);
    return who.length ? who.item[0] : NULL;
}
static void now_running(int cpu, struct kvm_vcpu *vcpu)
{
    struct intack_list who = {.length = vcpu != NULL, .item = {vcpu}};
    if (intack_fact("posts-on-own-cpu"))
        intack_list_store(&running[cpu], &who);
}
struct kvm_vcpu *kvm_get_running_vcpu(void)
{
    return intack_fact("posts-on-own-cpu") ? stub_running_on(smp_processor_id()) : NULL;
}

bool vmx_interrupt_blocked(struct kvm_vcpu *vcpu) { return !vcpu->rflags_if; }

/* GUEST_INTR_STATUS: RVI; SVI, above it, is the processor's own. */
u16 stub_vmcs_read(void) { return (u16)vmcs->rvi; }
void stub_vmcs_write(u16 value) { vmcs->rvi = value & 0xff; }

void stub_name_lock(raw_spinlock_t *lock)
{
    intack_share_lock(lock, "cpu%u.wakeup_lock", setting_up);
}
void stub_name_list(struct list_head *head) { stub_list_head(head, 0, "cpu%u.wakeup_list", setting_up); }

/* ---- routines ---------------------------------------------------------------------------------------------------- */

static struct kvm_vcpu *vcpu_argument(void) { return vmcs = intack_object_argument(0); }

static void then(const char *routine, const struct kvm_vcpu *vcpu)
{
    intack_then(routine);
    intack_then_object(vcpu);
}

/* deliver_interrupt(vcpu, vector) */
static void deliver_interrupt(void) { harness_deliver(vcpu_argument(), (int)intack_integer_argument(1)); }

/* load(vcpu, cpu): kvm_sched_in(), kvm_arch_vcpu_load(), vmx_vcpu_load(), as far as they matter here. */
static void load(void)
{
    struct kvm_vcpu *vcpu = vcpu_argument();
    int cpu = here = (int)stub_existing_cpu(intack_integer_argument(1));
    now_running(cpu, vcpu);
    vmx_vcpu_pi_load(vcpu, cpu);
    vcpu->cpu = cpu;
}

/* put(vcpu, preempted): kvm_sched_out(), vmx_vcpu_put(). */
static void put(void)
{
    struct kvm_vcpu *vcpu = vcpu_argument();
    vcpu->preempted = intack_bool_argument(1);
    vmx_vcpu_pi_put(vcpu);
    if (intack_fact("posts-on-own-cpu"))
        now_running(smp_processor_id(), NULL);
}

/* wakeup_handler(cpu) */
static void wakeup_handler(void)
{
    here = (int)stub_existing_cpu(intack_integer_argument(0));
    pi_wakeup_handler();
}

/* has_pending(vcpu) */
static void has_pending(void) { intack_return_bool(pi_has_pending_interrupt(vcpu_argument())); }

/* directed_yield(vcpu): kvm_vcpu_on_spin() asks of each other vCPU whether it could use the CPU. */
static void directed_yield(void)
{
    struct kvm_vcpu *spins = vcpu_argument();
    for (unsigned k = 0; k < intack_vcpus(); k++)
        if (&vcpus[k].vcpu != spins)
            pi_has_pending_interrupt(&vcpus[k].vcpu);
    then("vcpu_run", spins);
}

/* vcpu_enter_guest(vcpu): the part of the kernel's function of this name that orders mode, harvest, requests and entry. */
static void vcpu_enter_guest(void)
{
    struct kvm_vcpu *vcpu = vcpu_argument();
    preempt_disable();
    local_irq_disable();
    smp_store_mb(vcpu->mode, IN_GUEST_MODE);
    harness_sync(vcpu);
    if (harness_exit_request(vcpu)) {
        vcpu->mode = OUTSIDE_GUEST_MODE;
        smp_wmb();
        local_irq_enable();
        preempt_enable();
        then("vcpu_run", vcpu);
        return;
    }
    struct intack_tuple reason = intack_enter_guest(vcpu);
    bool fast = reason.length && reason.item[0].name && !__builtin_strcmp(reason.item[0].name, "fastpath_ipi");
    then(fast ? "reenter_guest" : "leave_guest", vcpu);
    for (size_t i = fast; i < reason.length; i++)
        intack_then_item(reason.item[i]);
}

/* reenter_guest(vcpu, vector): the fast path's second way into the guest, mode IN all along. */
static void reenter_guest(void)
{
    struct kvm_vcpu *vcpu = vcpu_argument();
    harness_deliver(vcpu, (int)intack_integer_argument(1));
    harness_sync(vcpu);
    struct intack_tuple reason = intack_enter_guest(vcpu);
    then("leave_guest", vcpu);
    for (size_t i = 0; i < reason.length; i++)
        intack_then_item(reason.item[i]);
}

/* vcpu_halt(vcpu): kvm_vcpu_halt() polls with kvm_vcpu_check_block() before it blocks. One look, at any time, finds what
 * several would. */
static void vcpu_halt(void)
{
    struct kvm_vcpu *vcpu = vcpu_argument();
    vcpu->arch.mp_state = KVM_MP_STATE_HALTED;
    bool polls = intack_fact("halt-polling") && intack_choose(2, "poll", "block") == 0;
    then(polls && harness_check_block(vcpu) < 0 ? "unblocked" : "vcpu_block", vcpu);
}

/* vcpu_block(vcpu), then block_once(vcpu) each time that it was woken: kvm_vcpu_block(), whose loop keeps nothing from one
 * round to the next. `stub_again` is true in a round that is not the first, until the loop is reached. */
bool stub_again, stub_slept;
static void block(bool again)
{
    struct kvm_vcpu *vcpu = vcpu_argument();
    vcpu->arch.mp_state = KVM_MP_STATE_HALTED;
    stub_again = again;
    stub_slept = false;
    kvm_vcpu_block(vcpu);
    then(stub_slept ? "block_once" : "unblocked", vcpu);
}
static void vcpu_block(void) { block(false); }
static void block_once(void) { block(true); }

/* unblocked(vcpu): the rest of vcpu_block() and vcpu_run(): still halted if nothing is there for the guest. */
static void unblocked(void)
{
    struct kvm_vcpu *vcpu = vcpu_argument();
    vcpu->arch.mp_state = KVM_MP_STATE_HALTED;
    bool runnable = kvm_arch_vcpu_runnable(vcpu);
    kvm_clear_request(KVM_REQ_UNBLOCK, vcpu);
    then(runnable ? "vcpu_run" : "vcpu_halt", vcpu);
}

void intack_setup(void)
{
    intack_architecture("x86");
    stub_setup();
    intack_private(vcpus, sizeof vcpus); /* but for what is shared below: statistics, and flags for yield_to() */
    intack_private(&here, sizeof here);
    intack_private(&vmcs, sizeof vmcs);
    intack_private(&stub_again, sizeof stub_again);
    intack_private(&stub_slept, sizeof stub_slept);
#define ROUTINE(name) intack_routine(#name, name);
    ROUTINE(deliver_interrupt) ROUTINE(load) ROUTINE(put) ROUTINE(wakeup_handler) ROUTINE(has_pending)
    ROUTINE(directed_yield) ROUTINE(vcpu_enter_guest) ROUTINE(reenter_guest) ROUTINE(vcpu_halt) ROUTINE(vcpu_block)
    ROUTINE(block_once) ROUTINE(unblocked)

    bool inhibited = intack_fact("apicv-inhibited");
    stub_enable_ipiv = intack_fact("ipi-virtualization");
    here = -1;
    if (intack_vcpus() > VCPUS || intack_cpus() > CPUS)
        intack_fail("the scenario has %u vCPUs and %u CPUs; there is room for %d and %d", intack_vcpus(), intack_cpus(),
                    VCPUS, CPUS);
    intack_share(&kvm.arch.assigned_device_count, 4, "vm.assigned");
    intack_share(&kvm.arch.inhibited, 8, "vm.inhibited");
    for (int k = 0; k < (int)intack_vcpus(); k++) {
        struct vcpu_vmx *vmx = &vcpus[k];
        struct kvm_vcpu *vcpu = &vmx->vcpu;
        vcpu->kvm = &kvm;
        vcpu->vcpu_id = k;
        vcpu->arch.apic = &lapics[k];
        lapics[k] = (struct kvm_lapic){.vcpu = vcpu, .regs = pages[k], .apicv_active = !inhibited, .irr_pending = true};
        vmx->nested.posted_intr_nv = -1;
        vcpu->async_pf.done = (struct list_head)LIST_HEAD_INIT(vcpu->async_pf.done);
        intack_name(vmx, "vcpu%d", k);
        stub_list_node(&vmx->pi_wakeup_list, 0, vmx);
        intack_share(vmx->pi_desc.pir, sizeof vmx->pi_desc.pir, "vcpu%d.pid.pir", k);
        intack_share(&vmx->pi_desc.control, 8, "vcpu%d.pid.control", k);
#define SHARE(member, name) intack_share(&vcpu->member, 8, "vcpu%d." name, k)
        SHARE(mode, "mode");
        SHARE(requests, "requests");
        SHARE(cpu, "cpu");
        SHARE(wait, "blocking");
        SHARE(rflags_if, "rflags_if");
        SHARE(rvi, "rvi");
        SHARE(vppr, "vppr");
        if (inhibited) /* else it is always true */
            intack_share(&lapics[k].irr_pending, 1, "vcpu%d.irr_pending", k);
        for (unsigned vector = 0; vector < 256; vector += 32)
            intack_share_part(pages[k] + APIC_IRR + REG_POS(vector), 4, vector & 32, "vcpu%d.virr[%u]", k, vector / 64);
    }
    for (setting_up = 0; setting_up < intack_cpus(); setting_up++) {
        intack_share_list(&running[setting_up], "cpu%u.running_vcpu", setting_up);
        pi_init_cpu((int)setting_up); /* initialises, and so names, the list and the lock of this CPU */
    }
}
