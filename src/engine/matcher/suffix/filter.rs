//! A blocked Bloom filter in front of the names: most questions are on no list, and one line of memory tells.
//!
//! It says *not listed*, never *listed* (I15).

/// Octets of one line: what memory gives at a time.
pub(super) const LINE: usize = 64;
/// Filter bits a name. Fewer than one strange name in fifty passes; a test holds that.
const BITS_PER_NAME: usize = 12;
/// Bits set for each name, all in one line.
const BITS_SET: u32 = 5;

/// Octets of a filter for so many names.
pub(super) fn octets_for(names: usize) -> usize {
    (names * BITS_PER_NAME).div_ceil(8 * LINE).max(1) * LINE
}

/// Writes a name down.
pub(super) fn insert(filter: &mut [u8], hash: u64) {
    let line = line_of(filter.len(), hash);
    for bit in bits(hash) {
        filter[line + usize::from(bit >> 3)] |= 1 << (bit & 7);
    }
}

/// Whether the line that tells of a name has its bits. False for a name that was never inserted, and for hardly any other.
#[inline]
pub(super) fn may_hold(line: &[u8; LINE], hash: u64) -> bool {
    bits(hash).fold(1, |all, bit| all & line[usize::from(bit >> 3) % LINE] >> (bit & 7)) & 1 == 1
}

/// Where the line that tells of a name begins. A filter that is cut (a hostile file) may end before.
#[inline]
pub(super) fn line_of(octets: usize, hash: u64) -> usize {
    let lines = octets / LINE;
    ((u128::from(hash) * lines as u128) >> 64) as usize * LINE
}

/// Places in a line. The line's number came from the hash's high bits; multiplying mixes all of them anew.
fn bits(hash: u64) -> impl Iterator<Item = u16> {
    let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..BITS_SET).map(move |i| (mixed.rotate_left(9 * i) >> 55) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inserted_passes_and_little_else_does() {
        let may_hold = |filter: &[u8], hash| {
            let line = filter[line_of(filter.len(), hash)..].first_chunk().expect("a filter is whole lines");
            may_hold(line, hash)
        };
        let hash = |i: u64| (i.wrapping_mul(0xd134_2543_de82_ef95) ^ 77).wrapping_mul(0x2545_f491_4f6c_dd1d);
        let mut filter = vec![0; octets_for(10_000)];
        (0..10_000).for_each(|i| insert(&mut filter, hash(i)));
        assert!((0..10_000).all(|i| may_hold(&filter, hash(i))));
        let strangers = (10_000..110_000).filter(|&i| may_hold(&filter, hash(i))).count();
        assert!(strangers < 2_000, "{strangers} of 100,000");
    }
}
