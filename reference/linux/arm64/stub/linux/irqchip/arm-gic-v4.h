/* As it is: what a vPE is. */
#include <linux/irq.h>

#include <arm-gic-v4.h>
