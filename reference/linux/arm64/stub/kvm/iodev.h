#include <iodev.h>
