#include <linux/irq.h>

#include <arm-gic-v3.h>
