/* Masks and bit numbers. */
#ifndef STUB_LINUX_BITS_H
#define STUB_LINUX_BITS_H

#include <linux/types.h>

#define BITS_PER_BYTE 8
#define BITS_PER_LONG 64
#define BITS_TO_LONGS(bits) (((bits) + 63) / 64)
#define BIT(bit) (1ul << (bit))
#define BIT_ULL(bit) (1ull << (bit))
#define GENMASK(high, low) ((~0ul >> (63 - (high))) & (~0ul << (low)))
#define GENMASK_ULL(high, low) ((~0ull >> (63 - (high))) & (~0ull << (low)))
#define DECLARE_BITMAP(name, bits) unsigned long name[BITS_TO_LONGS(bits)]

static inline unsigned long __ffs(unsigned long word) { return (unsigned long)__builtin_ctzl(word); }
static inline unsigned long __fls(unsigned long word) { return 63 - (unsigned long)__builtin_clzl(word); }
static inline int ffs(int word) { return __builtin_ffs(word); }
static inline int fls(unsigned word) { return word ? 32 - __builtin_clz(word) : 0; }
static inline int fls64(u64 word) { return word ? 64 - __builtin_clzll(word) : 0; }
static inline unsigned hweight32(u32 word) { return (unsigned)__builtin_popcount(word); }
static inline unsigned long hweight64(u64 word) { return (unsigned long)__builtin_popcountll(word); }

#endif
