/* Static keys: a flag that set-up decides and no routine changes. */
#ifndef STUB_LINUX_JUMP_LABEL_H
#define STUB_LINUX_JUMP_LABEL_H

#include <linux/compiler.h>

struct static_key {
    bool on;
};
#define DEFINE_STATIC_KEY_FALSE(name) struct static_key name = {false}
#define DEFINE_STATIC_KEY_TRUE(name) struct static_key name = {true}
#define DECLARE_STATIC_KEY_FALSE(name) extern struct static_key name
#define DECLARE_STATIC_KEY_TRUE(name) extern struct static_key name
#define static_branch_likely(key) likely((key)->on)
#define static_branch_unlikely(key) unlikely((key)->on)

#endif
