//! Random numbers that are the same wherever and whenever they are drawn from the same seed.

/// A generator of random numbers. Equal seeds give equal numbers in every build; not for secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed. Seeds that differ in one bit give unrelated numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, any of them. SplitMix64, which has no bad seed and needs one word of state.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number less than `bound`; 0 if there is none.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        (wide >> 64) as u64
    }

    /// True once in `n` times on average; never for 0.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n.max(1)) == 0 && n > 0
    }

    /// One of these; `None` if there are none.
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.index_below(items.len()))
    }

    /// A generator whose numbers have nothing to do with those that this one gives next.
    pub fn fork(&mut self) -> Self {
        Self(self.next_u64())
    }

    pub(crate) fn index_below(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_in_every_build() {
        let mut random = Random::new(0);
        // The first two of SplitMix64 as published.
        assert_eq!([random.next_u64(), random.next_u64()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn every_number_below_the_bound_comes_and_the_bound_does_not() {
        let mut random = Random::new(1);
        let mut seen = [false; 5];
        (0..200).for_each(|_| seen[random.index_below(5)] = true);
        assert_eq!(seen, [true; 5]);
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn chances_are_kept_and_none_is_taken_out_of_nothing() {
        let mut random = Random::new(2);
        let hits = (0..10_000).filter(|_| random.one_in(10)).count();
        assert!((900..1100).contains(&hits), "{hits}");
        assert!(!(0..100).any(|_| random.one_in(0)));
        assert!((0..100).all(|_| random.one_in(1)));
        assert_eq!(random.choose::<u8>(&[]), None);
    }
}
