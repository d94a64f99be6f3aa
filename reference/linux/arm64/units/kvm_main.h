/* For what is cut out of kvm_main.c: requests, kicks, and sleep. */
#include <linux/kvm_host.h>

#include "harness.h"

#define get_cpu() (intack_preemption(false), smp_processor_id())
#define put_cpu() intack_preemption(true)
#undef __this_cpu_read
#define __this_cpu_read(name) stub_running_vcpu
#define nr_cpu_ids CPUS
#define cpu_online(cpu) true
#define smp_send_reschedule(cpu) intack_send_ipi(KICK, cpu)
#define kvm_cpu_has_pending_timer(vcpu) false
#define current 0
#define signal_pending(task) false

#define this_cpu_cpumask_var_ptr(name) (&(struct cpumask){0})
#define cpumask_clear(mask) ((mask)->bits = 0)
#define __cpumask_set_cpu(cpu, mask) ((mask)->bits |= 1ull << (cpu))
#define cpumask_empty(mask) (!(mask)->bits)
#define smp_call_function_many(mask, function, data, wait) stub_call_on((mask)->bits, wait)

/* schedule() ends the routine: the next one goes on when the thread is woken, from the loop of kvm_vcpu_block(), before which
 * nothing is done again. */
#undef preempt_disable
#undef preempt_enable
#define preempt_disable() (stub_live ? intack_preemption(false) : (void)0)
#define preempt_enable() (stub_live ? intack_preemption(true) : (void)0)
#define kvm_arch_vcpu_blocking(vcpu) ((void)(vcpu))
#define kvm_arch_vcpu_unblocking(vcpu) ((void)(vcpu))
#define prepare_to_rcuwait(wait) ((void)(wait))
#define finish_rcuwait(wait) ((void)(wait), intack_finish_block())
#define set_current_state(state) (stub_live = true, intack_prepare_to_block(), smp_mb())
#define schedule() \
    do { \
        intack_schedule(); \
        stub_slept = true; \
        return waited; \
    } while (0)
