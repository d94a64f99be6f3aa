/* The two algorithms that KVM has had for the harvest, written anew from their description, to compare with.
 *
 * older: eight 32-bit words, each exchanged with 0 where it is not 0. newer: four 64-bit words, all read first; out if
 * none is set; those that are set exchanged with 0; then merged as 32-bit words. Both look for the highest vector of vIRR
 * too. vIRR is 32 bytes in a row here, and not spread over a page of registers as an APIC has it, which is in their favour.
 * `on` is not looked at.
 *
 * merge: what the memory has to do for a harvest, and nothing else: vIRR |= PIR, PIR := 0.
 */
#include <stddef.h>
#include <stdint.h>

static inline int highest(uint32_t word)
{
	return 31 - __builtin_clz(word);
}

void older(uint64_t *pir, uint64_t *virr, uint8_t *on, int16_t *posted, int16_t *rvi, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t *p = (uint32_t *)(pir + 4 * i), *v = (uint32_t *)(virr + 4 * i);
		int found = -1, top = -1;

		for (int w = 0; w < 8; w++) {
			uint32_t pending = v[w];

			if (__atomic_load_n(p + w, __ATOMIC_RELAXED)) {
				uint32_t bits = __atomic_exchange_n(p + w, 0, __ATOMIC_SEQ_CST);

				v[w] = pending |= bits;
				found = 32 * w + highest(bits);
			}
			if (pending)
				top = 32 * w + highest(pending);
		}
		posted[i] = found;
		rvi[i] = top;
	}
}

void newer(uint64_t *pir, uint64_t *virr, uint8_t *on, int16_t *posted, int16_t *rvi, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t *p = pir + 4 * i, taken[4], any = 0;
		uint32_t *v = (uint32_t *)(virr + 4 * i), *bits = (uint32_t *)taken;
		int found = -1, top = -1;

		for (int w = 0; w < 4; w++)
			any |= taken[w] = __atomic_load_n(p + w, __ATOMIC_RELAXED);
		if (any) {
			for (int w = 0; w < 4; w++)
				if (taken[w])
					taken[w] = __atomic_exchange_n(p + w, 0, __ATOMIC_SEQ_CST);
			for (int w = 0; w < 8; w++) {
				if (bits[w]) {
					v[w] |= bits[w];
					found = 32 * w + highest(bits[w]);
				}
				if (v[w])
					top = 32 * w + highest(v[w]);
			}
		} else {
			for (int w = 7; w >= 0 && top < 0; w--)
				if (v[w])
					top = 32 * w + highest(v[w]);
		}
		posted[i] = found;
		rvi[i] = top;
	}
}

void merge(uint64_t *restrict pir, uint64_t *restrict virr, uint8_t *on, int16_t *posted, int16_t *rvi, size_t n)
{
	for (size_t i = 0; i < 4 * n; i++) {
		virr[i] |= pir[i];
		pir[i] = 0;
	}
}
