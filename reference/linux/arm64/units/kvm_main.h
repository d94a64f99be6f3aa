/* For what is cut out of kvm_main.c: requests and kicks. */
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

struct cpumask {
    u64 bits;
};
#define this_cpu_cpumask_var_ptr(name) (&(struct cpumask){0})
#define cpumask_clear(mask) ((mask)->bits = 0)
#define __cpumask_set_cpu(cpu, mask) ((mask)->bits |= 1ull << (cpu))
#define cpumask_empty(mask) (!(mask)->bits)
#define smp_call_function_many(mask, function, data, wait) stub_call_on((mask)->bits, wait)
