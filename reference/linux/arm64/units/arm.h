/*
 * For what is cut out of arm.c. kvm_arch_vcpu_ioctl_run() and kvm_vcpu_wfi() are one function each in the kernel, and several
 * routines here, so that what one part has read is forgotten in the next. A routine runs the function from its start, with
 * stub_live off until it comes to its own part: before that nothing is an operation. At the end of its part it returns.
 */
#include <linux/irqchip/arm-gic.h>
#include <linux/kvm_host.h>

#include "harness.h"
#include "vgic.h"

/* ---- where the routines part ----------------------------------------------------------------------------------------- */

#define xfer_to_guest_mode_handle_work(vcpu) \
    ({ \
        if (stub_goes_round(vcpu)) \
            return 0; \
        0; \
    })
#define kvm_pmu_flush_hwstate(vcpu) \
    do { \
        if (stub_parts(VCPU_ENTER_GUEST, vcpu)) \
            return 0; \
    } while (0)
#define kvm_arm_vcpu_enter_exit(vcpu) \
    ({ \
        if (stub_enters(vcpu)) \
            return 0; \
        stub_exit_code; \
    })
#define handle_exit(vcpu, code) \
    ({ \
        stub_handle_exit(vcpu); \
        return 0; \
        0; \
    })
#define kvm_vcpu_halt(vcpu) \
    do { \
        if (stub_parts(VCPU_UNBLOCK, vcpu)) \
            return; \
    } while (0)

/* ---- nothing happens in what another routine has done ----------------------------------------------------------------- */

#define ONCE(action) (stub_live ? (void)(action) : (void)0)
#undef preempt_disable
#undef preempt_enable
#undef local_irq_disable
#undef local_irq_enable
#undef smp_store_mb
#define preempt_disable() ONCE(intack_preemption(false))
#define preempt_enable() ONCE(intack_preemption(true))
#define local_irq_disable() ONCE(intack_interrupts(false))
#define local_irq_enable() ONCE(intack_interrupts(true))
#define smp_store_mb(x, value) ONCE((WRITE_ONCE(x, value), smp_mb()))
#define kvm_request_pending(vcpu) (stub_live && READ_ONCE((vcpu)->requests))
#define kvm_vgic_flush_hwstate(vcpu) ONCE(kvm_vgic_flush_hwstate(vcpu))
#define kvm_vgic_load(vcpu) ONCE(kvm_vgic_load(vcpu))
#define kvm_vgic_put(vcpu) ONCE(kvm_vgic_put(vcpu))
#define kvm_vgic_vmcr_sync(vcpu) ONCE(kvm_vgic_vmcr_sync(vcpu))
#define vcpu_set_flag(vcpu, flag) ONCE((vcpu)->arch.flag = 1)
#define vcpu_clear_flag(vcpu, flag) ONCE((vcpu)->arch.flag = 0)
#undef vcpu_get_flag
#define vcpu_get_flag(vcpu, flag) ((void)(vcpu), false)
#define vgic_v4_load(vcpu) ONCE(vgic_v4_load(vcpu))
#define vgic_v4_put(vcpu) ONCE(vgic_v4_put(vcpu))

/* ---- waiting to be resumed: in one routine, for it is resumed once a halt --------------------------------------------- */

#define TASK_INTERRUPTIBLE 1
#define rcuwait_wait_event(wait, condition, state) \
    for ((void)(wait), intack_prepare_to_block(), smp_mb();; intack_schedule(), intack_prepare_to_block(), smp_mb()) \
        if (condition) { \
            intack_finish_block(); \
            break; \
        }

/* ---- inert: userspace, timers, PMU, debugging, floating point, nesting, PSCI ----------------------------------------- */

enum { ARM_EXCEPTION_IRQ, ARM_EXCEPTION_TRAP, ARM_EXCEPTION_IL };
#define ARM_EXCEPTION_CODE(code) (code)
#define isb() ((void)0)
#define vcpu_load(vcpu) ((void)(vcpu))
#define vcpu_put(vcpu) ((void)(vcpu))
#define kvm_handle_mmio_return(vcpu) 1
#define kvm_sigset_activate(vcpu) ((void)(vcpu))
#define kvm_sigset_deactivate(vcpu) ((void)(vcpu))
#define kvm_arm_vmid_update(vmid) ((void)0)
#define kvm_pmu_update_vcpu_events(vcpu) ((void)(vcpu))
#define kvm_pmu_sync_hwstate(vcpu) ((void)(vcpu))
#define kvm_pmu_update_run(vcpu) ((void)(vcpu))
#define kvm_pmu_should_notify_user(vcpu) false
#define kvm_timer_sync_user(vcpu) ((void)(vcpu))
#define kvm_timer_update_run(vcpu) ((void)(vcpu))
#define kvm_timer_should_notify_user(vcpu) false
#define kvm_arm_setup_debug(vcpu) ((void)(vcpu))
#define kvm_arm_clear_debug(vcpu) ((void)(vcpu))
#define kvm_arch_vcpu_ctxflush_fp(vcpu) ((void)(vcpu))
#define kvm_arch_vcpu_ctxsync_fp(vcpu) ((void)(vcpu))
#define trace_kvm_entry(pc) ((void)0)
#define trace_kvm_exit(...) ((void)0)
#define guest_timing_enter_irqoff() ((void)0)
#define guest_timing_exit_irqoff() ((void)0)
#define handle_exit_early(vcpu, code) ((void)(code))
#define vcpu_mode_is_bad_32bit(vcpu) false
#define vcpu_on_unsupported_cpu(vcpu) false
#define xfer_to_guest_mode_work_pending() false
#define kvm_call_hyp(...) ((void)0)
#define vcpu_hcr(vcpu) (&(vcpu)->arch.hcr)
#define kvm_arm_vcpu_stopped(vcpu) false
#define kvm_reset_vcpu(vcpu) ((void)(vcpu))
#define kvm_update_stolen_time(vcpu) ((void)(vcpu))
#define kvm_pmu_handle_pmcr(...) ((void)0)
#define kvm_vcpu_reload_pmu(vcpu) ((void)(vcpu))
#define kvm_vcpu_pmu_restore_guest(vcpu) ((void)(vcpu))
#define kvm_vcpu_suspend(vcpu) 1
#define kvm_dirty_ring_check_request(vcpu) false
#define check_nested_vcpu_requests(vcpu) ((void)(vcpu))
#define KVM_EXIT_MMIO 6
#define KVM_EXIT_UNKNOWN 0
#define KVM_EXIT_INTR 10
#define KVM_EXIT_FAIL_ENTRY 9
#define KVM_EXIT_FAIL_ENTRY_CPU_UNSUPPORTED 1
#define HCR_VI 0x80
#define HCR_VF 0x40
