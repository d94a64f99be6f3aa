#include <linux/kvm_host.h>

#define get_cpu() (preempt_disable(), smp_processor_id())
#define put_cpu() preempt_enable()
#undef __this_cpu_read
#define __this_cpu_read(name) stub_running_on(me)
#define kvm_cpu_has_pending_timer(vcpu) ((void)(vcpu), false)
#define kvm_arch_vcpu_blocking(vcpu) ((void)(vcpu))
#define kvm_arch_vcpu_unblocking(vcpu) ((void)(vcpu))

/* How a thread sleeps. schedule() ends the routine: another one goes on, from the loop of kvm_vcpu_block(), when it is woken. So
 * what comes before the loop is not done again. */
extern bool stub_again, stub_slept;
#undef preempt_disable
#define preempt_disable() (stub_again ? (void)0 : intack_preemption(false))
#undef preempt_enable
#define preempt_enable() (stub_again ? (void)0 : intack_preemption(true))
#define prepare_to_rcuwait(wait) \
    do { \
        if (!stub_again) \
            rcu_assign_pointer((wait)->task, get_task_struct(current)); \
    } while (0)
#define finish_rcuwait(wait) \
    do { \
        rcu_assign_pointer((wait)->task, NULL); \
        intack_finish_block(); \
    } while (0)
#define set_current_state(state) \
    do { \
        (void)(state); \
        stub_again = false; \
        intack_prepare_to_block(); \
        smp_mb(); \
    } while (0)
#define schedule() \
    do { \
        intack_schedule(); \
        stub_slept = true; \
        return waited; \
    } while (0)
