#include <linux/bits.h>
