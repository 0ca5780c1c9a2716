//! What `python -m ginnel` knows about named segments: which there are, and taking away those that nobody uses.

use ginnel::{Manager, OwnerState};
use pyo3::prelude::*;

use crate::failure::OrRaise;

/// A named segment: its name, bytes used, its limit in bytes, how many processes are attached, how many of those that
/// were have died, how many objects are in it, whether it stays without users.
type Segment = (String, usize, usize, usize, usize, usize, bool);

/// The names of this user's segments.
#[pyfunction]
fn names(py: Python<'_>) -> PyResult<Vec<String>> {
    py.detach(Manager::list).or_raise()
}

/// What is known of that segment; `None` when it went meanwhile.
#[pyfunction]
fn inspect(py: Python<'_>, name: &str) -> PyResult<Option<Segment>> {
    match py.detach(|| look(name)) {
        Err(error) if error.is_not_found() => Ok(None),
        other => other.map(Some).or_raise(),
    }
}

fn look(name: &str) -> ginnel::Result<Segment> {
    let manager = Manager::open(name)?;
    let inspection = manager.inspect();
    let me = std::process::id();
    let others: Vec<_> = inspection.participants.iter().filter(|owner| owner.pid != me).collect();
    let dead = others.iter().filter(|owner| owner.state == OwnerState::Dead).count();
    let (alive, persistent) = (others.len() - dead, manager.is_persistent());
    let found =
        (name.to_owned(), manager.size(), manager.limit(), alive, dead, inspection.objects.len(), persistent);
    if alive == 0 && !persistent {
        // The last one to leave in order takes the segment along. Looking must not do that.
        std::mem::forget(manager);
    }
    Ok(found)
}

/// Removes that segment unless somebody uses it; whether it did.
#[pyfunction]
fn collect(py: Python<'_>, name: &str) -> PyResult<bool> {
    py.detach(|| Manager::collect(name)).or_raise()
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(names, module)?)?;
    module.add_function(wrap_pyfunction!(inspect, module)?)?;
    module.add_function(wrap_pyfunction!(collect, module)?)
}
