/* Per-CPU variables: an array. A CPU that there is not is an oops, as it would be. */
#ifndef STUB_LINUX_PERCPU_H
#define STUB_LINUX_PERCPU_H

#include <linux/types.h>

enum { CPUS = 16 }; /* the largest scenario */

unsigned stub_existing_cpu(long cpu);
#ifndef smp_processor_id
#define smp_processor_id() ((int)intack_cpu_id())
#endif

#define DEFINE_PER_CPU(type, name) __typeof__(type) name[CPUS]
#define DECLARE_PER_CPU(type, name) extern __typeof__(type) name[CPUS]
#define per_cpu(name, cpu) ((name)[stub_existing_cpu(cpu)])
#define per_cpu_ptr(pointer, cpu) (&(*(pointer))[stub_existing_cpu(cpu)])
#define this_cpu_ptr(pointer) per_cpu_ptr(pointer, smp_processor_id())
#define this_cpu_read(name) per_cpu(name, smp_processor_id())
#define this_cpu_write(name, value) ((void)(per_cpu(name, smp_processor_id()) = (value)))
#define __this_cpu_read(name) this_cpu_read(name)
#define __this_cpu_write(name, value) this_cpu_write(name, value)

#endif
