//! A pool for the length of a call.

use ginnel_object::Result;

use crate::pool::Pool;

impl Pool {
    /// Runs `f` with a pool of its own, and waits for all work given to it, as
    /// [`std::thread::scope`] does for threads.
    ///
    /// ```
    /// use ginnel_pool::Pool;
    ///
    /// let squares = Pool::scope(2, |pool| pool.map(|n: u64| n * n, 0..4_u64))??;
    /// assert_eq!(squares, [0, 1, 4, 9]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    /// If `f` panics, the pool is terminated.
    ///
    /// # Errors
    /// Those of [`Pool::new`]; then `f` has not run. Those of [`Pool::join`]: the first failure of a task that nobody
    /// saw.
    pub fn scope<R>(workers: usize, f: impl FnOnce(&Self) -> R) -> Result<R> {
        let pool = Self::new(workers)?;
        let value = f(&pool);
        pool.join()?;
        Ok(value)
    }
}
