/*
 * Asks functions of ACRN's vlapic.c. What stands around them in ACRN is written here after it: run_vcpu() and vcpu_thread(),
 * hlt_vmexit_handler(), wait_event() and signal_event(), vcpu_handle_pi_notification().
 */
#include <hypervisor.h>

static struct acrn_vcpu vcpus[VCPUS];

void signal_event(struct sched_event *event)
{
    WRITE_ONCE(event->set, 1);
    smp_mb(); /* its lock */
    intack_wake(container_of(event, struct acrn_vcpu, events[VCPU_EVENT_VIRTUAL_INTERRUPT]));
}

static struct acrn_vcpu *subject(void) { return intack_object_argument(0); }
static void then(const char *routine, struct acrn_vcpu *vcpu)
{
    intack_then(routine);
    intack_then_object(vcpu);
}

/* deliver_interrupt(vcpu, vector) */
static void deliver_interrupt(void) { acrn_accept(&subject()->vlapic, (u32)intack_integer_argument(1)); }

/* vcpu_run(vcpu): one round of vcpu_thread(). Events are looked at with interrupts off, right before the entry. */
static void vcpu_run(void)
{
    struct acrn_vcpu *vcpu = subject();
    intack_interrupts(false);
    if (bitmap_test_and_clear_lock(ACRN_REQUEST_EVENT, &vcpu->arch.pending_req))
        vlapic_inject_intr(&vcpu->vlapic, true, false);
    struct intack_tuple reason = intack_enter_guest(vcpu);
    then("leave_guest", vcpu);
    for (size_t i = 0; i < reason.length; i++)
        intack_then_item(reason.item[i]);
}

/* leave_guest(vcpu, reason...) */
static void leave_guest(void)
{
    struct acrn_vcpu *vcpu = subject();
    const char *reason = intack_string_argument(1);
    intack_interrupts(true);
    if (!__builtin_strcmp(reason, "hlt")) {
        then(READ_ONCE(vcpu->arch.pending_req) ? "vcpu_run" : "wait_event", vcpu);
    } else if (!__builtin_strcmp(reason, "fastpath_ipi")) { /* a guest's IPI to itself */
        acrn_accept(&vcpu->vlapic, (u32)intack_integer_argument(2));
        then("vcpu_run", vcpu);
    } else {
        then("vcpu_run", vcpu);
    }
}

/* wait_event(vcpu), once for each time that it is woken */
static void wait_event(void)
{
    struct acrn_vcpu *vcpu = subject();
    struct sched_event *event = &vcpu->events[VCPU_EVENT_VIRTUAL_INTERRUPT];
    intack_prepare_to_block();
    smp_mb();
    if (READ_ONCE(event->set)) {
        WRITE_ONCE(event->set, 0);
        intack_finish_block();
        then("vcpu_run", vcpu);
        return;
    }
    intack_schedule();
    then("wait_event", vcpu);
}

/* notified(cpu): vcpu_handle_pi_notification() of the vCPU that is pinned there */
static void notified(void)
{
    u64 cpu = (u64)intack_integer_argument(0);
    for (unsigned k = 0; k < intack_vcpus(); k++)
        if (vcpus[k].pcpu_id == cpu && bitmap_test(POSTED_INTR_ON, &vcpus[k].arch.pid.control.value)) {
            bitmap_set_lock(ACRN_REQUEST_EVENT, &vcpus[k].arch.pending_req);
            signal_event(&vcpus[k].events[VCPU_EVENT_VIRTUAL_INTERRUPT]);
        }
}

/* load(vcpu, cpu): the descriptor leads to the pCPU where the vCPU is pinned; put(vcpu, preempted) leaves it so. */
static void load(void)
{
    struct acrn_vcpu *vcpu = subject();
    u64 cpu = (u64)intack_integer_argument(1), old = READ_ONCE(vcpu->arch.pid.control.value), new;
    do
        new = (old & ~(0xffffffffull << 32) & ~2ull) | cpu << 32;
    while (!__atomic_compare_exchange_n(&vcpu->arch.pid.control.value, &old, new, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST));
    vcpu->pcpu_id = cpu;
}
static void put(void) {}

void intack_setup(void)
{
    intack_architecture("x86");
#define ROUTINE(name) intack_routine(#name, name);
    ROUTINE(deliver_interrupt) ROUTINE(vcpu_run) ROUTINE(leave_guest) ROUTINE(wait_event) ROUTINE(notified) ROUTINE(load) ROUTINE(put)
    if (intack_vcpus() > VCPUS)
        intack_fail("the scenario has %u vCPUs; there is room for %d", intack_vcpus(), VCPUS);
    intack_private(vcpus, sizeof vcpus); /* but for what is shared below: TMR */
    for (int k = 0; k < (int)intack_vcpus(); k++) {
        struct acrn_vcpu *vcpu = &vcpus[k];
        vcpu->vlapic.apic_page.svr.v = APIC_SVR_ENABLE;
        acrn_take_ops(&vcpu->vlapic.ops);
        intack_name(vcpu, "vcpu%d", k);
        intack_share(vcpu->arch.pid.pir, sizeof vcpu->arch.pid.pir, "vcpu%d.pid.pir", k);
        intack_share(&vcpu->arch.pid.control, 8, "vcpu%d.pid.control", k);
        intack_share(&vcpu->arch.pending_req, 8, "vcpu%d.pending_req", k);
        intack_share(&vcpu->events[0].set, 8, "vcpu%d.event", k);
        intack_share(&vcpu->pcpu_id, 8, "vcpu%d.pcpu", k);
    }
}
