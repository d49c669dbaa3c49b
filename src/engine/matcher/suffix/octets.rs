//! Numbers in flat octets: little-endian, read with bounds, or as seven bits an octet.

/// Where the index lies: on the heap, or in a mapped file.
pub trait Octets: AsRef<[u8]> + Send + Sync {}

impl<T: AsRef<[u8]> + Send + Sync> Octets for T {}

/// Reads on from `at`; every reader gives `None` behind the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub octets: &'a [u8],
    pub at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Reader<'a> {
        Reader { octets, at: 0 }
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.octets.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Option<u8> {
        let &octet = self.octets.get(self.at)?;
        self.at += 1;
        Some(octet)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    /// Seven bits an octet, the lowest first; the high bit says that more follow.
    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let octet = self.u8()?;
            value |= u64::from(octet & 0x7f) << shift;
            if octet < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Small numbers of either sign as small numbers without one.
pub(super) fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_a_cut_one_does_not() {
        for value in [0, 1, -1, 63, -64, 64, 1 << 40, i64::MAX, i64::MIN] {
            let mut octets = Vec::new();
            put_varint(&mut octets, zigzag(value));
            assert_eq!(Reader::new(&octets).varint().map(unzigzag), Some(value));
            assert_eq!(Reader::new(&octets[..octets.len() - 1]).varint(), None);
        }
        assert_eq!(Reader::new(&[0xff; 20]).varint(), None);
        assert_eq!(Reader { octets: &[1, 2], at: 1 }.take(usize::MAX), None);
    }
}
