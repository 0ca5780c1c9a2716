//! Starting a process and getting its result: three models of one protocol.
//!
//! [`board`]: how requests reach the zygote, and what becomes of them when it dies. [`record`]: one child's record,
//! from the arguments to the result, whoever dies. [`spare`]: how a waiting child is claimed.

mod board;
mod record;
mod spare;

use super::{Case, Depth};

/// Every case of the three models.
pub(super) fn cases(depth: Depth) -> Vec<Case> {
    [board::cases(depth), record::cases(depth), spare::cases(depth)].into_iter().flatten().collect()
}
