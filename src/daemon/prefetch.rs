//! Asks the processor to fetch memory that is read soon: the one thing that a look-up of many names cannot say in safe code.

/// Octets that memory gives at a time.
const LINE: usize = 64;

/// Has these octets fetched, on processors that can be told so. Waits for nothing and changes nothing.
#[inline]
pub fn prefetch(octets: &[u8]) {
    octets.chunks(LINE).for_each(|line| prefetch_at(line.as_ptr()));
}

/// As [`prefetch`], for the line of memory at a place.
#[inline]
pub fn prefetch_at(place: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        #[allow(unsafe_code)]
        // SAFETY: a prefetch reads nothing that the program sees, whatever the address.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(place.cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
