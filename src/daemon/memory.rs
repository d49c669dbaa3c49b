//! Gives memory back to the system after a load: what reading and compiling lists took for a moment would otherwise stay
//! with the allocator, as several times what the index itself takes.

/// Returns what nobody holds any more. Takes some milliseconds; call it off the query path.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    // SAFETY: malloc_trim(3) may be called at any time on any thread; it touches only memory that is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
