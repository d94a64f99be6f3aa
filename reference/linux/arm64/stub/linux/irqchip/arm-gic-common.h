#include <arm-gic-common.h>
