/* A redistributor, memory-mapped: which register, and whose, an address says. */
#ifndef STUB_ARCH_GICV3_H
#define STUB_ARCH_GICV3_H

#include <linux/types.h>

u64 gicr_read(const void *at);
void gicr_write(u64 value, void *at);
#define gicr_read_vpendbaser(at) gicr_read(at)
#define gicr_write_vpendbaser(value, at) gicr_write(value, at)
#define gicr_write_vpropbaser(value, at) gicr_write(value, at)
#define gic_write_lpir(value, at) gicr_write(value, at)
#define readq_relaxed(at) gicr_read(at)
#define gic_read_sre() 0
#define gic_write_sre(value) ((void)(value))

#endif
