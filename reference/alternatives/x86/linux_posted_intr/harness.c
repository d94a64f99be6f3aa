/*
 * Asks Linux's posted_intr.c: its routines under the names of the residency role, and the kernel services it calls,
 * each as the operations that others can notice.
 */
#include <linux/kvm_host.h>

#include "posted_intr.h"
#include "vmx.h"

static struct kvm kvm;
static struct vcpu_vmx vcpus[VCPUS];

static struct cpu {
    struct list_head *list;
    raw_spinlock_t *lock;
} cpus[CPUS];

static unsigned vcpu_count, cpu_count; /* in this scenario */
static unsigned this_cpu; /* in set-up: whose list and lock come next; in a handler: where it runs */
static raw_spinlock_t *held; /* in this call */

/* ---- services of the kernel -------------------------------------------------------------------------------------- */

unsigned existing_cpu(long cpu)
{
    if (cpu < 0 || cpu >= cpu_count)
        intack_oops("there is no CPU %ld: the scenario has %u", cpu, cpu_count);
    return (unsigned)cpu;
}

int smp_processor_id(void) { return (int)this_cpu; }

static void send_ipi_self(int vector) { intack_send_ipi((unsigned)vector, INTACK_SELF); }
static struct apic this_apic = {.send_IPI_self = send_ipi_self};
struct apic *apic = &this_apic;

bool kvm_vcpu_is_blocking(struct kvm_vcpu *vcpu) { return READ_ONCE(vcpu->blocking); }

/* The barrier is rcuwait_wake_up()'s: what it is woken for is visible before it is asked whether it waits. */
void kvm_vcpu_wake_up(struct kvm_vcpu *vcpu)
{
    intack_fence();
    if (READ_ONCE(vcpu->blocking))
        intack_wake(vcpu);
}

bool vmx_interrupt_blocked(struct kvm_vcpu *vcpu) { return !vcpu->rflags_if; }

void raw_spin_lock_init(raw_spinlock_t *lock)
{
    cpus[this_cpu].lock = lock;
    intack_share_lock(lock, "cpu%u.wakeup_lock", this_cpu);
}

void raw_spin_lock(raw_spinlock_t *lock)
{
    intack_lock(lock);
    held = lock;
}

void raw_spin_unlock(raw_spinlock_t *lock)
{
    held = NULL;
    intack_unlock(lock);
}

/* ---- lists of vCPUs ---------------------------------------------------------------------------------------------- */

static struct vcpu_vmx *owner(struct list_head *entry)
{
    return (struct vcpu_vmx *)((char *)entry - offsetof(struct vcpu_vmx, pi_wakeup_list));
}

void INIT_LIST_HEAD(struct list_head *head)
{
    cpus[this_cpu].list = head;
    intack_share_list(head, "cpu%u.wakeup_list", this_cpu);
}

/* On which CPU's list an entry is, or -1: what its own links tell. */
static int list_of(struct list_head *entry)
{
    const void *lists[CPUS];
    for (unsigned cpu = 0; cpu < cpu_count; cpu++)
        lists[cpu] = cpus[cpu].list;
    return intack_list_of(owner(entry), cpu_count, lists);
}

/* The checks are those of lib/list_debug.c, but for any list that an entry is on, not only this one. */
void list_add_tail(struct list_head *entry, struct list_head *head)
{
    struct intack_list list = intack_list_load(head);
    if (list_of(entry) >= 0) {
        intack_assert_failed("list_add corruption: %s is on a list", intack_name_of(owner(entry)));
        return;
    }
    if (list.length == INTACK_LIST_MAX)
        intack_fail("list_add_tail: the list is full");
    list.item[list.length++] = owner(entry);
    intack_list_store(head, &list);
}

static bool removed(struct list_head *entry, struct list_head *head)
{
    struct intack_list list = intack_list_load(head), left = {0};
    for (size_t i = 0; i < list.length; i++)
        if (list.item[i] != owner(entry))
            left.item[left.length++] = list.item[i];
    if (left.length == list.length)
        return false;
    intack_list_store(head, &left);
    return true;
}

/* That should be the list whose lock is held; if it is another one, the suite sees an access without its lock. */
void list_del(struct list_head *entry)
{
    for (unsigned cpu = 0; cpu < cpu_count; cpu++)
        if (cpus[cpu].lock == held && removed(entry, cpus[cpu].list))
            return;
    int on = list_of(entry);
    if (on < 0)
        intack_assert_failed("list_del corruption: %s is on no list", intack_name_of(owner(entry)));
    else
        removed(entry, cpus[on].list);
}

/* Under its lock a list does not change, so it is read once, at the start of the walk. */
void *walk_next(struct walk *walk) { return walk->next < walk->list.length ? walk->list.item[walk->next++] : NULL; }

/* ---- routines ---------------------------------------------------------------------------------------------------- */

/* load(vcpu, cpu). The store is kvm_arch_vcpu_load()'s, after the hook. */
static void load(void)
{
    struct kvm_vcpu *vcpu = intack_object_argument(0);
    int cpu = (int)existing_cpu(intack_integer_argument(1));
    vmx_vcpu_pi_load(vcpu, cpu);
    vcpu->cpu = cpu;
}

/* put(vcpu, preempted) */
static void put(void)
{
    struct kvm_vcpu *vcpu = intack_object_argument(0);
    vcpu->preempted = intack_bool_argument(1);
    vmx_vcpu_pi_put(vcpu);
}

/* wakeup_handler(cpu) */
static void wakeup_handler(void)
{
    this_cpu = existing_cpu(intack_integer_argument(0));
    pi_wakeup_handler();
}

/* directed_yield(vcpu): kvm_vcpu_on_spin() asks of each other vCPU whether it could use the CPU. */
static void directed_yield(void)
{
    struct vcpu_vmx *spins = intack_object_argument(0);
    for (unsigned k = 0; k < vcpu_count; k++)
        if (&vcpus[k] != spins)
            pi_has_pending_interrupt(&vcpus[k].vcpu);
    intack_then("vcpu_run");
    intack_then_object(spins);
}

/* has_pending(vcpu) */
static void has_pending(void) { intack_return_bool(pi_has_pending_interrupt(intack_object_argument(0))); }

void intack_setup(void)
{
    intack_architecture("x86");
    intack_private(&held, sizeof held);
    intack_routine("load", load);
    intack_routine("put", put);
    intack_routine("wakeup_handler", wakeup_handler);
    intack_routine("directed_yield", directed_yield);
    intack_routine("has_pending", has_pending);

    vcpu_count = intack_vcpus();
    cpu_count = intack_cpus();
    if (vcpu_count > VCPUS || cpu_count > CPUS)
        intack_fail("the scenario has %u vCPUs and %u CPUs; there is room for %d and %d", vcpu_count, cpu_count, VCPUS,
                    CPUS);
    for (int k = 0; k < (int)vcpu_count; k++) {
        struct vcpu_vmx *vmx = &vcpus[k];
        vmx->vcpu.kvm = &kvm;
        vmx->vcpu.vcpu_id = k;
        intack_name(vmx, "vcpu%d", k);
        intack_share(vmx->pi_desc.pir, sizeof vmx->pi_desc.pir, "vcpu%d.pid.pir", k);
        intack_share(&vmx->pi_desc.control, 8, "vcpu%d.pid.control", k);
        intack_share(&vmx->vcpu.cpu, 8, "vcpu%d.cpu", k);
        intack_share(&vmx->vcpu.blocking, 8, "vcpu%d.blocking", k);
        intack_share(&vmx->vcpu.rflags_if, 8, "vcpu%d.rflags_if", k);
    }
    for (this_cpu = 0; this_cpu < cpu_count; this_cpu++)
        pi_init_cpu((int)this_cpu); /* initialises, and so declares, the list and the lock of this CPU */
}
