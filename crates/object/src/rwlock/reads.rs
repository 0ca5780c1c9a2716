//! What the calling thread reads, and how often: private to it, because nobody else may know (`rwlock`, I4).
//!
//! A guard that is dropped when its thread's own data are gone already finds no list; then there is nothing to note.

use std::cell::RefCell;

thread_local! {
    static READS: RefCell<Vec<(usize, u32)>> = const { RefCell::new(Vec::new()) };
}

/// If this thread reads there, notes that it does so once more.
#[inline]
pub(super) fn again(key: usize) -> bool {
    with(|reads| match reads.iter_mut().find(|read| read.0 == key) {
        Some(read) => {
            read.1 += 1;
            true
        }
        None => false,
    })
}

/// Notes the first read there.
#[inline]
pub(super) fn begin(key: usize) {
    with(|reads| {
        reads.push((key, 1));
        true
    });
}

/// Notes the end of one read.
#[inline]
pub(super) fn end(key: usize) {
    with(|reads| {
        let at = reads.iter().position(|read| read.0 == key);
        if let Some(at) = at {
            reads[at].1 -= 1;
            if reads[at].1 == 0 {
                reads.swap_remove(at);
            }
        }
        at.is_some()
    });
}

/// Does this thread read there?
#[inline]
pub(super) fn has(key: usize) -> bool {
    with(|reads| reads.iter().any(|read| read.0 == key))
}

#[inline(always)]
fn with(f: impl FnOnce(&mut Vec<(usize, u32)>) -> bool) -> bool {
    READS.try_with(|reads| f(&mut reads.borrow_mut())).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_counts_each_of_its_reads_and_only_its_own() {
        assert!(!again(1) && !has(1));
        begin(1);
        begin(2);
        assert!(again(1) && has(1));
        std::thread::spawn(|| assert!(!has(1) && !again(2))).join().unwrap();
        end(1);
        assert!(has(1));
        end(1);
        end(2);
        end(2);
        assert!(!has(1) && !has(2));
    }
}
