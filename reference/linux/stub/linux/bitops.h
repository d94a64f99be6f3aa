/* Bits of a map of 64-bit words. An instruction on a bit is an operation on that bit: its neighbours are not touched. */
#ifndef STUB_LINUX_BITOPS_H
#define STUB_LINUX_BITOPS_H

#include <linux/bits.h>
#include <linux/compiler.h>

static inline u64 bit_of(long number) { return 1ull << (number & 63); }
static inline bool test_bit(long number, const volatile unsigned long *at)
{
    return intack_load(at + number / 64, bit_of(number));
}
static inline void set_bit(long number, volatile unsigned long *at)
{
    intack_rmw(at + number / 64, INTACK_OR, bit_of(number), bit_of(number));
}
static inline void clear_bit(long number, volatile unsigned long *at)
{
    intack_rmw(at + number / 64, INTACK_AND, 0, bit_of(number));
}
static inline bool test_and_set_bit(long number, volatile unsigned long *at)
{
    return intack_rmw(at + number / 64, INTACK_OR, bit_of(number), bit_of(number));
}
static inline bool test_and_clear_bit(long number, volatile unsigned long *at)
{
    return intack_rmw(at + number / 64, INTACK_AND, 0, bit_of(number));
}

/* Not atomic: a load and a store of the whole word, as the compiler makes them. */
static inline void __set_bit(long number, volatile unsigned long *at)
{
    unsigned long *word = (unsigned long *)at + number / 64;
    *word |= bit_of(number);
}
static inline void __clear_bit(long number, volatile unsigned long *at)
{
    unsigned long *word = (unsigned long *)at + number / 64;
    *word &= ~bit_of(number);
}

static inline unsigned long find_next_bit(const unsigned long *map, unsigned long bits, unsigned long from)
{
    for (unsigned long word = from / 64; 64 * word < bits; word++) {
        unsigned long value = map[word];
        if (word == from / 64)
            value &= ~0ul << (from & 63);
        if (value)
            return 64 * word + __ffs(value) < bits ? 64 * word + __ffs(value) : bits;
    }
    return bits;
}
static inline unsigned long find_first_bit(const unsigned long *map, unsigned long bits)
{
    return find_next_bit(map, bits, 0);
}
static inline unsigned long find_last_bit(const unsigned long *map, unsigned long bits)
{
    for (unsigned long word = BITS_TO_LONGS(bits); word--;) {
        unsigned long value = map[word];
        if (value)
            return 64 * word + __fls(value);
    }
    return bits;
}
static inline bool bitmap_empty(const unsigned long *map, unsigned bits)
{
    for (unsigned word = 0; word < BITS_TO_LONGS(bits); word++)
        if (map[word])
            return false;
    return true;
}
#define for_each_set_bit(bit, map, bits) \
    for ((bit) = find_first_bit(map, bits); (bit) < (bits); (bit) = find_next_bit(map, bits, (bit) + 1))

#endif
