//! The roof for Python: `ginnel._ginnel`, what the package `ginnel` is made of where it touches shared memory.
//!
//! Conversions only: each class here is one kind of object, in the manners that Python's own has. What a program sees
//! (names, pickling, contexts) is Python, beside this crate in `python/ginnel`.
//!
//! Reading order: `home` (which arenas this process has, what a fork does to handles), `failure` (errors as
//! exceptions), `wait` (waiting without the GIL, and signals), then one file for each kind.

mod buffers;
mod codec;
mod connection;
mod dict;
mod failure;
mod home;
mod list;
mod pickle;
mod pool;
mod queue;
mod readiness;
mod store;
mod synchronize;
mod tools;
mod wait;

use pyo3::prelude::*;

#[pymodule(gil_used = true)]
fn _ginnel(module: &Bound<'_, PyModule>) -> PyResult<()> {
    buffers::register(module)?;
    connection::register(module)?;
    dict::register(module)?;
    failure::register(module)?;
    home::register(module)?;
    list::register(module)?;
    pickle::register(module)?;
    pool::register(module)?;
    queue::register(module)?;
    synchronize::register(module)?;
    tools::register(module)?;
    Ok(())
}
