/* ACRN's types and services, as far as the functions that are taken of vlapic.c use them. */
#ifndef HYPERVISOR_H
#define HYPERVISOR_H

#include <linux/bitops.h>
#include <linux/kernel.h>
#include <linux/bug.h>
#include <linux/compiler.h>
#include <linux/percpu.h>

#define __unused __attribute__((unused))
#define ASSERT(condition, ...) ((condition) ? (void)0 : intack_oops(#condition))
#define dev_dbg(...) ((void)0)

enum { VCPUS = 4, NR_MAX_VECTOR = 255, APIC_SVR_ENABLE = 0x100, POSTED_INTR_ON = 0, ACRN_REQUEST_EVENT = 1 };
enum { VCPU_EVENT_VIRTUAL_INTERRUPT, VCPU_EVENTS };

struct lapic_reg {
    u32 v, pad[3];
};
struct lapic_regs {
    struct lapic_reg svr, tmr[8];
};
struct acrn_vlapic;
struct acrn_apicv_ops {
    void (*accept_intr)(struct acrn_vlapic *vlapic, u32 vector, bool level);
    void (*inject_intr)(struct acrn_vlapic *vlapic, bool guest_irq_enabled, bool injected);
};
struct acrn_vlapic {
    struct lapic_regs apic_page;
    const struct acrn_apicv_ops *ops;
};
struct pi_desc {
    u64 pir[4];
    union {
        u64 value;
        struct {
            u32 on : 1, sn : 1, rsvd : 14, nv : 8, rsvd2 : 8, ndst;
        } bits;
    } control;
};
struct sched_event {
    u64 set;
};
struct acrn_vcpu {
    u64 pcpu_id;
    struct {
        u64 pending_req;
        struct pi_desc pid;
    } arch;
    struct acrn_vlapic vlapic;
    struct sched_event events[VCPU_EVENTS];
};

#define vlapic2vcpu(of) container_of(of, struct acrn_vcpu, vlapic)
#define get_pi_desc(vcpu) (&(vcpu)->arch.pid)
#define pcpuid_from_vcpu(vcpu) ((vcpu)->pcpu_id)
#define get_pcpu_id() intack_cpu_id()
#define send_single_ipi(pcpu, vector) intack_send_ipi(vector, (int64_t)(pcpu))
#define vcpu_set_eoi_exit_bitmap(vcpu, vector) ((void)(vcpu), (void)(vector))
#define vcpu_clear_eoi_exit_bitmap(vcpu, vector) ((void)(vcpu), (void)(vector))
void signal_event(struct sched_event *event);

#define bitmap_test(nr, at) ((READ_ONCE(*(at)) >> (nr)) & 1)
#define bitmap_set_lock(nr, at) ((void)__atomic_fetch_or(at, 1ull << (nr), __ATOMIC_SEQ_CST))
#define bitmap_test_and_set_lock(nr, at) \
    ((__atomic_fetch_or(at, 1ull << (nr), __ATOMIC_SEQ_CST) >> (nr) & 1) != 0)
#define bitmap_test_and_clear_lock(nr, at) \
    ((__atomic_fetch_and(at, ~(1ull << (nr)), __ATOMIC_SEQ_CST) >> (nr) & 1) != 0)
#define bitmap32_test_and_set_lock(nr, at) ((__atomic_fetch_or(at, 1u << (nr), __ATOMIC_SEQ_CST) >> (nr) & 1) != 0)
#define bitmap32_test_and_clear_lock(nr, at) \
    ((__atomic_fetch_and(at, ~(1u << (nr)), __ATOMIC_SEQ_CST) >> (nr) & 1) != 0)

void acrn_accept(struct acrn_vlapic *vlapic, u32 vector);
void acrn_take_ops(const struct acrn_apicv_ops **ops);
void vlapic_inject_intr(struct acrn_vlapic *vlapic, bool guest_irq_enabled, bool injected);

#endif
