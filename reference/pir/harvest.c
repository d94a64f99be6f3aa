/* The PIR scanner over many descriptors, as in reference/pir/harvest.py, in one pass.
 *
 * pir, virr: n rows of four 64-bit words, lowest first. on: n bytes, or NULL to harvest every row; where it is 0 the row
 * keeps its PIR, and it is 0 everywhere afterwards. posted, rvi: the highest vector of what was harvested and of the
 * merged vIRR, -1 where there is none. The arrays do not overlap, and nobody else writes them meanwhile.
 */
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && !defined(__clang__)
#pragma GCC target("prefer-vector-width=256") /* a row is 256 bits: with more, gcc spends the gain on shuffles */
#endif

/* The highest bit of the highest word that is not 0. `| 1` gives the count a bit to find, and `!word` takes it back. */
static inline int16_t highest(const uint64_t words[4])
{
	uint64_t word = words[0];
	int last = 63;

	for (int w = 1; w < 4; w++) {
		last = words[w] ? 64 * w + 63 : last;
		word = words[w] ? words[w] : word;
	}
	return last - __builtin_clzll(word | 1) - !word;
}

static inline void harvest_row(uint64_t *restrict pir, uint64_t *restrict virr, uint64_t mask,
			       int16_t *restrict posted, int16_t *restrict rvi)
{
	uint64_t taken[4], merged[4];

	for (int w = 0; w < 4; w++) {
		taken[w] = pir[w] & mask;
		pir[w] &= ~mask;
		virr[w] = merged[w] = virr[w] | taken[w];
	}
	*posted = highest(taken);
	*rvi = highest(merged);
}

/* Two loops: with a mask that is known, the compiler turns the first into vector instructions. */
void harvest(uint64_t *restrict pir, uint64_t *restrict virr, uint8_t *restrict on, int16_t *restrict posted,
	     int16_t *restrict rvi, size_t n)
{
	for (size_t i = 0; !on && i < n; i++)
		harvest_row(pir + 4 * i, virr + 4 * i, ~0ull, posted + i, rvi + i);
	for (size_t i = 0; on && i < n; i++) {
		uint64_t mask = on[i] ? ~0ull : 0;

		on[i] = 0;
		harvest_row(pir + 4 * i, virr + 4 * i, mask, posted + i, rvi + i);
	}
}
