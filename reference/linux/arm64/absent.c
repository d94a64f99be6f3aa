/* Functions that the vgic names and no scenario reaches: GICv3, GICv4, what userspace asks of the device. */
#include <intack.h>

#define ABSENT(name) \
    void name(void); \
    void name(void) { intack_fail(#name "() is not in this program: no GICv3, no GICv4, no access by userspace"); }

ABSENT(__vgic_v3_save_state)
ABSENT(__vgic_v3_restore_state)
ABSENT(__vgic_v3_activate_traps)
ABSENT(__vgic_v3_deactivate_traps)
ABSENT(vgic_v3_clear_lr)
ABSENT(vgic_v3_populate_lr)
ABSENT(vgic_v3_set_underflow)
ABSENT(vgic_v3_fold_lr_state)
ABSENT(vgic_v3_load)
ABSENT(vgic_v3_put)
ABSENT(vgic_v3_vmcr_sync)
ABSENT(vgic_v3_set_vmcr)
ABSENT(vgic_v3_get_vmcr)
ABSENT(vgic_v3_init_dist_iodev)
ABSENT(vgic_v4_commit)
ABSENT(vgic_v2_parse_attr)
