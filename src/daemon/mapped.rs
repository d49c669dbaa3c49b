//! Files mapped into memory: the system keeps what is asked for and drops what is not, and a start reads nothing.
//!
//! Only private copies come here (DESIGN §6): files that this process wrote or copied into its state directory, under names
//! that nobody writes to again. Somebody else's file may be overwritten or cut at any time, and a page that is gone is a
//! signal that kills.

use std::fs::File;
use std::io;
use std::sync::Arc;

use crate::engine::matcher::Octets;

/// Maps the whole of a private copy, read-only.
pub fn map(copy: &File) -> io::Result<Arc<dyn Octets>> {
    #[allow(unsafe_code)]
    // SAFETY: the file is in a directory that only we enter, and is never written to or cut once it has this name; a new
    // version is a new file. Should somebody with our own rights overwrite it all the same, readers see other octets,
    // which are read with bounds.
    let map = unsafe { memmap2::Mmap::map(copy) }?;
    Ok(Arc::new(map))
}

/// Maps some octets of a file that we are making: nothing is written to them any more.
pub fn map_part(made: &File, at: u64, octets: u64) -> io::Result<impl Octets + use<>> {
    let len = usize::try_from(octets).map_err(io::Error::other)?;
    #[allow(unsafe_code)]
    // SAFETY: as in `map`; what is written to the file from now on lies before and behind these octets.
    unsafe {
        memmap2::MmapOptions::new().offset(at).len(len).map(made)
    }
}
