/* The role injector of arm. It does what the reference does: change what yours does otherwise.
 *
 * Injector in conformance.roles.arm says when each routine is called, what it may rely on and what it must leave.
 */
#include <intack.h>
#include <stdatomic.h>

enum { OUT, IN, EXITING };           /* vcpu.mode */
enum { IRQ_PENDING = 1, SLEEP = 2 }; /* vcpu.requests */
enum { KICK = 1 };                   /* host SGI that only forces an exit */
enum { LEVEL = 40 };                 /* this SPI and the PPIs are levels, all others are edges */

struct irq {
    char irq_lock, owner; /* their contents are the suite's: a lock, and the vCPU on whose list it is */
    uint64_t enabled, line, latch, active, source, active_source, target, on_lr, taken; /* under irq_lock */
};
struct vcpu {
    struct irq irq[32]; /* SGIs and PPIs */
    char ap_list_lock, ap_list, vpe_lock;
    _Atomic uint64_t mode, requests, cpu, paused, pending_last;
    uint64_t vmcr_sw, apr_sw, in_wfi, resident, ready, pstate_i, halted;
    _Atomic uint64_t vpt, vpe_affinity, doorbell_enabled; /* GICv4 */
};
struct cpu {
    uint64_t lr[2], hcr, vmcr, apr, physical_active; /* GICH_* of this pCPU; its PPIs that are active */
    _Atomic uint64_t vpendbaser, vlpis;              /* GICv4 */
};
struct vm {
    _Atomic uint64_t enabled;         /* GICD_CTLR */
    _Atomic uint64_t physical_active; /* the physical distributor's SPIs: one for all CPUs */
    char config_lock;
};
struct irq irqs[64]; /* SPIs, by INTID; as an item of a list, irqs[n] stands for interrupt n, private ones too */
struct vcpu vcpus[4]; /* as many as the largest scenario has */
struct cpu cpus[4];
struct vm vm;

static struct irq *irq_of(struct vcpu *v, unsigned intid) { return intid < 32 ? &v->irq[intid] : &irqs[intid]; }
static bool is_level(unsigned intid) { return intid == LEVEL || (intid >= 16 && intid < 32); }

static bool lock_irqsave(const char *lock)
{
    bool on = intack_interrupts(false);
    intack_lock(lock);
    return on;
}

static void unlock_irqrestore(const char *lock, bool on)
{
    intack_unlock(lock);
    intack_interrupts(on);
}

static struct vcpu *owner_of(struct irq *irq)
{
    struct intack_list owner = intack_list_load(&irq->owner);
    return owner.length ? owner.item[0] : NULL;
}

static void set_owner(struct irq *irq, struct vcpu *v)
{
    struct intack_list owner = {v != NULL, {v}};
    intack_list_store(&irq->owner, &owner);
}

static void change_list(struct vcpu *v, unsigned intid, bool join)
{
    struct intack_list listed = intack_list_load(&v->ap_list), left = {0};
    for (size_t i = 0; i < listed.length; i++)
        if (join || listed.item[i] != &irqs[intid])
            left.item[left.length++] = listed.item[i];
    if (join)
        left.item[left.length++] = &irqs[intid];
    intack_list_store(&v->ap_list, &left);
}

static struct vcpu *target_of(struct vcpu *v, unsigned intid) { return intid < 32 ? v : &vcpus[irqs[intid].target]; }
static bool is_pending(struct irq *irq, unsigned intid) { return irq->latch || (is_level(intid) && irq->line); }

/* Who should have it: where it is active it stays, what is disabled waits. With irq_lock. */
static struct vcpu *oracle(struct vcpu *v, unsigned intid)
{
    struct irq *irq = irq_of(v, intid);
    if (irq->active) {
        struct vcpu *owner = owner_of(irq);
        return owner ? owner : target_of(v, intid);
    }
    return irq->enabled && is_pending(irq, intid) && atomic_load(&vm.enabled) ? target_of(v, intid) : NULL;
}

/* Wake it, or force an exit if it is in the guest. */
static void kick(struct vcpu *v)
{
    uint64_t in = IN;
    if (!intack_wake(v) && atomic_compare_exchange_strong(&v->mode, &in, EXITING))
        intack_send_ipi(KICK, (int64_t)atomic_load(&v->cpu));
}

/* The request is what an entry that is on its way sees. */
static void notify(struct vcpu *v)
{
    atomic_fetch_or(&v->requests, IRQ_PENDING);
    kick(v);
}

/* Onto the list of whoever should have it, unless it is on one. The locks' order is ap_list_lock, irq_lock: what was
 * decided under irq_lock alone is looked at again. */
static void queue_irq_unlock(struct vcpu *v, unsigned intid, bool on)
{
    struct irq *irq = irq_of(v, intid);
    for (;;) {
        struct vcpu *target = oracle(v, intid), *owner = owner_of(irq);
        unlock_irqrestore(&irq->irq_lock, on);
        if (!target)
            return;
        if (owner) {
            notify(owner);
            return;
        }
        on = lock_irqsave(&target->ap_list_lock);
        intack_lock(&irq->irq_lock);
        bool listed = !owner_of(irq) && oracle(v, intid) == target;
        if (listed) {
            change_list(target, intid, true);
            set_owner(irq, target);
        }
        intack_unlock(&irq->irq_lock);
        unlock_irqrestore(&target->ap_list_lock, on);
        if (listed) {
            notify(target);
            return;
        }
        on = lock_irqsave(&irq->irq_lock);
    }
}

static void set_line(struct vcpu *v, unsigned intid, unsigned level)
{
    struct irq *irq = irq_of(v, intid);
    bool on = lock_irqsave(&irq->irq_lock);
    if (is_level(intid)) {
        if (irq->line == level) { /* nothing changes */
            unlock_irqrestore(&irq->irq_lock, on);
            return;
        }
        irq->line = level;
    } else if (level) {
        irq->latch = 1;
    }
    queue_irq_unlock(v, intid, on);
}

/* A device model, userspace or a host interrupt's handler: the line is `level` now; an edge is made pending by 1. */
void inject(struct vcpu *v, unsigned intid, unsigned level) { set_line(v, intid, level); }
