/*
 * Posted interrupts in plain C with C11 atomics: KVM's algorithm as of Linux 6.1, sender and residency.
 *
 *     deliver_interrupt ──> PIR, ON ──> notification or wake          load, put: SN, NV, NDST; wakeup_handler
 *
 * Nothing here knows of the suite but for what no compiler sees: interrupts, locks, lists, wake-ups.
 */
#include <intack.h>
#include <stdatomic.h>

enum { OUT, IN, EXITING };                          /* vcpu.mode */
enum { EVENT = 1 };                                 /* vcpu.requests */
enum { PINV = 0xf2, WAKEUP = 0xf1, KICK = 0xfd };   /* host vectors */
enum { ON = 1, SN = 2, NV = 16, NDST = 32 };        /* control: bits, and where fields begin */

struct vcpu {
    struct {
        _Atomic uint64_t pir[4], control;
        uint64_t unused[3];
    } pid; /* posted-interrupt descriptor */
    _Atomic uint64_t virr[4], mode, requests, cpu, blocking, irr_pending, rflags_if;
};
struct cpu {
    char wakeup_lock, wakeup_list, running_vcpu; /* their contents are the suite's */
};
struct vcpu vcpus[2];
struct cpu cpus[4];

/* ---- sender ------------------------------------------------------------------------------------------------------ */

static bool test_and_set(_Atomic uint64_t *word, uint64_t bit) { return atomic_fetch_or(word, bit) & bit; }

static void wake_up(struct vcpu *v)
{
    if (atomic_load(&v->blocking))
        intack_wake(v);
}

static bool is_running_here(struct vcpu *v) /* in a handler on top of the vCPU's own thread */
{
    if (!intack_fact("posts-on-own-cpu"))
        return false;
    struct intack_list running = intack_list_load(&cpus[intack_cpu_id()].running_vcpu);
    return running.length == 1 && running.item[0] == v;
}

static void set_irr_and_kick(struct vcpu *v, unsigned vector)
{
    uint64_t mode = IN;
    atomic_fetch_or(&v->virr[vector / 64], 1ull << vector % 64);
    atomic_store(&v->irr_pending, 1);
    atomic_fetch_or(&v->requests, EVENT);
    wake_up(v);
    if (atomic_compare_exchange_strong(&v->mode, &mode, EXITING))
        intack_send_ipi(KICK, (int64_t)atomic_load(&v->cpu));
}

void deliver_interrupt(struct vcpu *v, unsigned vector)
{
    if (intack_fact("apicv-inhibited")) {
        set_irr_and_kick(v, vector);
        return;
    }
    if (test_and_set(&v->pid.pir[vector / 64], 1ull << vector % 64))
        return;
    if (test_and_set(&v->pid.control, ON))
        return;
    if (atomic_load(&v->mode) != IN)
        wake_up(v);
    else if (!is_running_here(v))
        intack_send_ipi(PINV, (int64_t)atomic_load(&v->cpu));
}

/* ---- residency --------------------------------------------------------------------------------------------------- */

static void set_running(unsigned where, struct vcpu *v)
{
    struct intack_list running = {v != NULL, {v}};
    if (intack_fact("posts-on-own-cpu"))
        intack_list_store(&cpus[where].running_vcpu, &running);
}

static uint64_t nv(struct vcpu *v) { return atomic_load(&v->pid.control) >> NV & 0xff; }

static void announce_left_over(struct vcpu *v) /* what was posted under SN has set no ON */
{
    atomic_thread_fence(memory_order_seq_cst);
    for (int word = 0; word < 4; word++)
        if (atomic_load(&v->pid.pir[word])) {
            atomic_fetch_or(&v->pid.control, ON);
            return;
        }
}

static uint64_t update_control(struct vcpu *v, uint64_t clear, uint64_t set)
{
    uint64_t old = atomic_load(&v->pid.control), new;
    do
        new = (old & ~clear) | set;
    while (!atomic_compare_exchange_strong(&v->pid.control, &old, new));
    return new;
}

static void change_list(unsigned where, struct vcpu *v, bool join)
{
    struct intack_list list, left = {0};
    intack_lock(&cpus[where].wakeup_lock);
    list = intack_list_load(&cpus[where].wakeup_list);
    for (size_t i = 0; i < list.length; i++)
        if (join || list.item[i] != v)
            left.item[left.length++] = list.item[i];
    if (join)
        left.item[left.length++] = v;
    intack_list_store(&cpus[where].wakeup_list, &left);
    intack_unlock(&cpus[where].wakeup_lock);
}

static void pi_load(struct vcpu *v, unsigned where)
{
    unsigned before = (unsigned)atomic_load(&v->cpu);
    if (nv(v) != WAKEUP && before == where) {
        if (atomic_fetch_and(&v->pid.control, ~(uint64_t)SN) & SN)
            announce_left_over(v);
        return;
    }
    bool interrupts = intack_interrupts(false);
    if (nv(v) == WAKEUP)
        change_list(before, v, false);
    uint64_t destination = intack_fact("xapic") ? where << 8 & 0xff00 : where;
    update_control(v, ~(uint64_t)ON, destination << NDST | PINV << NV);
    intack_interrupts(interrupts);
    announce_left_over(v);
}

void load(struct vcpu *v, unsigned where)
{
    set_running(where, v);
    pi_load(v, where);
    atomic_store(&v->cpu, where);
}

void put(struct vcpu *v, bool preempted)
{
    if (atomic_load(&v->blocking) && atomic_load(&v->rflags_if)) {
        bool interrupts = intack_interrupts(false);
        change_list(intack_cpu_id(), v, true);
        if (update_control(v, 0xffull << NV, WAKEUP << NV) & ON)
            intack_send_ipi(WAKEUP, INTACK_SELF); /* its notification went to the old vector */
        intack_interrupts(interrupts);
    }
    if (preempted)
        atomic_fetch_or(&v->pid.control, SN);
    set_running(intack_cpu_id(), NULL);
}

void wakeup_handler(unsigned where)
{
    intack_lock(&cpus[where].wakeup_lock);
    struct intack_list list = intack_list_load(&cpus[where].wakeup_list);
    for (size_t i = 0; i < list.length; i++) {
        struct vcpu *v = list.item[i];
        if (atomic_load(&v->pid.control) & ON)
            wake_up(v);
    }
    intack_unlock(&cpus[where].wakeup_lock);
}
