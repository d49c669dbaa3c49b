//! Counts what a thread allocates, for the tests that hold it to nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    /// Without a destructor, so that it may be asked for at any time of a thread's life.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    COUNT.with(|count| count.set(count.get() + 1));
}

#[allow(unsafe_code)]
// SAFETY: every call goes on to the system's allocator as it came. Counting touches a number of the thread's own, which needs
// no memory to be made.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(old, layout, new_size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often this thread asked for memory in `work`.
pub fn in_work(work: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

#[test]
fn what_is_allocated_is_counted() {
    assert_eq!(in_work(|| drop(Vec::<u8>::with_capacity(7))), 1);
    assert_eq!(in_work(|| assert!("a".parse::<u8>().is_err())), 0);
}
