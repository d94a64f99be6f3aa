#include <arm-vgic-info.h>
