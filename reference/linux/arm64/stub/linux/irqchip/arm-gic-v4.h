/* What a vPE is to the rest of the vGIC. GICv4 itself is not in this program. */
#ifndef STUB_ARM_GIC_V4_H
#define STUB_ARM_GIC_V4_H

#include <linux/atomic.h>

struct its_vpe {
    bool pending_last, ready, resident;
    atomic_t vlpi_count;
};
struct its_vm {
    int nr_vpes;
};

#endif
