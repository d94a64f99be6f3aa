#include <arm_vgic.h>
