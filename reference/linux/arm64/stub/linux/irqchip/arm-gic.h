#include <arm-gic.h>
