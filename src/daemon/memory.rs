//! Gives memory back to the system: what reading and compiling lists took for a moment would otherwise stay with the
//! allocator, as several times what the index itself takes.

/// Octets from which a piece of memory is the system's own and goes back when it is freed. Chosen: buffers of a load are
/// larger, whatever a query takes is smaller.
#[cfg(target_env = "gnu")]
const MAPPED_MIN: libc::c_int = 256 * 1024;

/// Keeps glibc from raising its thresholds as large pieces are freed: then the next ones would come from the arenas of
/// threads, whose ends malloc_trim(3) does not give back. Called once, at the start.
pub fn settle() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    // SAFETY: mallopt(3) may be called at any time; it sets numbers.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_MIN);
        libc::mallopt(libc::M_TRIM_THRESHOLD, MAPPED_MIN);
    }
}

/// Returns what nobody holds any more. Takes some milliseconds; call it off the query path.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    // SAFETY: malloc_trim(3) may be called at any time on any thread; it touches only memory that is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
