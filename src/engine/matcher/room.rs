//! Room for what is too much for memory while an index is made. Where it is — files, the heap — is whoever's who gives it.

use crate::engine::matcher::suffix::Octets;

/// Octets that could not be put down, or are not there any more: why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Lost(pub String);

/// Gives room to one making of an index.
pub trait Room: Send + Sync + std::fmt::Debug {
    /// Puts octets down that will be read again.
    fn put(&self, octets: &[u8]) -> Result<Box<dyn Put>, Lost>;

    /// Room that grows.
    fn open(&self) -> Result<Box<dyn Growing>, Lost>;
}

/// Octets that were put down.
pub trait Put: Send + Sync + std::fmt::Debug {
    /// Fills `into` with the octets from `at` on; there are as many.
    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Lost>;
}

/// Octets that are being written.
pub trait Growing: Put {
    fn append(&mut self, octets: &[u8]) -> Result<(), Lost>;

    /// Writes over what is there.
    fn write(&mut self, at: u64, octets: &[u8]) -> Result<(), Lost>;

    fn octets(&self) -> u64;

    /// Nothing more comes: the octets as they are served from.
    fn serve(self: Box<Self>) -> Result<Box<dyn Octets>, Lost>;
}

/// Room on the heap.
#[derive(Debug, Default)]
pub struct Heap(Vec<u8>);

impl Put for Heap {
    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Lost> {
        let from = usize::try_from(at).ok().and_then(|at| self.0.get(at..at.checked_add(into.len())?));
        into.copy_from_slice(from.ok_or_else(|| Lost("it is read behind its end".to_owned()))?);
        Ok(())
    }
}

impl Growing for Heap {
    fn append(&mut self, octets: &[u8]) -> Result<(), Lost> {
        self.0.extend_from_slice(octets);
        Ok(())
    }

    fn write(&mut self, at: u64, octets: &[u8]) -> Result<(), Lost> {
        let place = usize::try_from(at).ok().and_then(|at| self.0.get_mut(at..at.checked_add(octets.len())?));
        place.ok_or_else(|| Lost("it is written behind its end".to_owned()))?.copy_from_slice(octets);
        Ok(())
    }

    fn octets(&self) -> u64 {
        self.0.len() as u64
    }

    fn serve(mut self: Box<Self>) -> Result<Box<dyn Octets>, Lost> {
        self.0.shrink_to_fit();
        Ok(Box::new(self.0))
    }
}
