/* For what is cut out of irq-gic-v3-its.c: vPEs on and off, and their doorbells. Commands to the ITS are the harness's. */
#include <linux/irqchip/arm-gic-v3.h>
#include <linux/kvm_host.h>

#include "gicv4.h"

#define gic_rdists (&stub_rdists)
#undef per_cpu_ptr
#define per_cpu_ptr(pointer, cpu) (&(pointer)[(cpu) % CPUS])
#define gic_data_rdist_cpu(cpu) per_cpu_ptr(gic_rdists->rdist, cpu)
#define gic_data_rdist_vlpi_base() (per_cpu_ptr(gic_rdists->rdist, smp_processor_id())->rd_base + SZ_128K)
#define readq_relaxed_poll_timeout_atomic(at, value, condition, delay, timeout) \
    ({ \
        while ((value) = readq_relaxed(at), !(condition)) \
            intack_relax(); \
        0; \
    })
#define cpu_relax() intack_relax()
#define udelay(microseconds) ((void)(microseconds))
#define pr_err_ratelimited(...) ((void)0)

#define cpumask_first(mask) ((unsigned)__builtin_ctzll((mask)->bits))
#define cpumask_test_cpu(cpu, mask) ((mask)->bits >> (cpu) & 1)
#define cpumask_and(to, a, b) (((to)->bits = (a)->bits & (b)->bits) != 0)
#define cpumask_any_and(a, b) ((unsigned)__builtin_ctzll((a)->bits & (b)->bits))
#define nr_cpu_ids CPUS
#define irq_data_update_effective_affinity(data, mask) ((void)(data), (void)(mask))
#define IRQ_SET_MASK_OK_DONE 2

#define virt_to_phys(address) ((u64)(address))
#define LPI_NRBITS 16
#define rdists_support_shareable() true

/* One ITS, which has every vPE mapped, and redistributors with GICR_SETLPIR. */
#define its_list_map 0
#define gic_requires_eager_mapping() true
#define find_4_1_its() ((struct its_node *)NULL)
#define ITS_FLAGS_WORKAROUND_HISILICON_162100801 0
struct its_node {
    u64 flags;
};
#define its_vpe_4_1_invall_locked(cpu, vpe) ((void)(cpu), (void)(vpe))
#define its_vpe_invall(vpe) ((void)(vpe))
#define its_vpe_4_1_invall(vpe) ((void)(vpe))
#define its_vpe_db_proxy_move(vpe, from, to) ((void)(from), (void)(to))
#define its_send_vmovp(vpe) stub_vmovp(vpe)
#define lpi_write_config(data, clear, set) stub_enable_lpi((data)->hwirq, set)
#define __direct_lpi_inv(data, lpi) ((void)(data), (void)(lpi))
#define its_vpe_send_cmd(vpe, command) ((void)(vpe))
#define wait_for_syncr(base) ((void)(base))
