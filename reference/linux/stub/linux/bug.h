/* What the code says of itself. Reached, it is a violation, ASSERTION: WARN goes on, BUG ends the routine. Each condition is
 * evaluated, so its loads are seen. */
#ifndef STUB_LINUX_BUG_H
#define STUB_LINUX_BUG_H

#include <linux/compiler.h>

#define WARN(condition, ...) \
    ({ \
        bool warned = !!(condition); \
        if (warned) \
            intack_assert_failed("WARN: " __VA_ARGS__); \
        unlikely(warned); \
    })
#define WARN_ON(condition) \
    ({ \
        bool warned = !!(condition); \
        if (warned) \
            intack_assert_failed("WARN_ON(%s)", #condition); \
        unlikely(warned); \
    })
#define WARN_ONCE(condition, ...) WARN(condition, __VA_ARGS__)
#define WARN_ON_ONCE(condition) WARN_ON(condition)
#define BUG() intack_oops("BUG()")
#define BUG_ON(condition) ((condition) ? intack_oops("BUG_ON(%s)", #condition) : (void)0)
#define BUILD_BUG_ON(condition) ((void)sizeof(char[1 - 2 * !!(condition)]))

#endif
