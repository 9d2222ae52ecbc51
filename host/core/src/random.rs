//! `java.util.Random` and `Collections.shuffle`, bit for bit: the workers of a table elect their leader with it, so all
//! of them must draw the same. Good enough for the choice of leases and for pauses too; nothing secret is drawn.

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const INCREMENT: u64 = 0xB;
const MASK: u64 = (1 << 48) - 1;

/// A generator; the same seed gives the same numbers everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self((seed ^ MULTIPLIER) & MASK)
    }

    /// `Collections.shuffle`.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (2..=items.len()).rev() {
            let bound = u32::try_from(end).expect("no table has as many rows");
            items.swap(end - 1, self.below(bound) as usize);
        }
    }

    /// `nextInt(bound)`, for a bound below 2^31.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        if bound.is_power_of_two() {
            let scaled = (u64::from(bound) * u64::from(self.next_31())) >> 31;
            return u32::try_from(scaled).expect("31 bits of a product with 31 bits");
        }
        loop {
            let bits = self.next_31();
            let value = bits % bound;
            // The last, incomplete run of values would make small numbers likelier.
            if bits - value + (bound - 1) < 1 << 31 {
                return value;
            }
        }
    }

    fn next_31(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & MASK;
        u32::try_from(self.0 >> 17).expect("48 bits less 17")
    }
}
