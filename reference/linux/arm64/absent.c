/* Functions that the vgic names and no scenario reaches: GICv3's distributor, the virtual ITS, what userspace asks. */
#include <intack.h>

#define ABSENT(name) \
    void name(void); \
    void name(void) { intack_fail(#name "() is not in this program: no distributor of a GICv3, no access by userspace"); }

ABSENT(vgic_v3_init_dist_iodev)
ABSENT(vgic_v2_parse_attr)
ABSENT(vgic_msi_to_its)
ABSENT(vgic_its_resolve_lpi)
