//! Functions in child processes: `ginnel bench --group process`.
//!
//! A row starts children one after the other and times each from the call to the moment at which its result is checked
//! and the system has forgotten it. Ours compute `n + 1` from `n`, and a value that is wrong refuses the row; so does a
//! method that fell back to another one, and a spare that was not there before it was asked for. The starter is a process
//! of its own for each row and pass, free to use all cores, which can make it large first: a gibibyte that it has
//! touched.
//!
//! Reading order: [`plan`] (which rows), [`measure`] (the passes), `dispatch` (what each row measures), `pace` (the loop),
//! then what is measured: `limits`, `rivals`, `ours`.

mod dispatch;
mod limits;
pub mod measure;
mod ours;
mod pace;
pub mod plan;
#[cfg(test)]
mod refused;
pub(crate) mod rivals;
