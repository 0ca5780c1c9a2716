//! Rows that are a case and an implementation, and nothing else: those of every group but messages.

use std::fmt;

use super::admits;

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick<C, I> {
    /// What happens.
    pub case: C,
    /// What is measured.
    pub implementation: I,
}

impl<C: fmt::Display, I: fmt::Display> fmt::Display for Pick<C, I> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.case, self.implementation)
    }
}

/// What the user asked for. An empty list asks for everything.
#[derive(Debug, Clone)]
pub struct Picks<C, I> {
    /// Cases.
    pub cases: Vec<C>,
    /// Implementations; the limits come along whether named or not.
    pub implementations: Vec<I>,
}

impl<C, I> Default for Picks<C, I> {
    fn default() -> Self {
        Self { cases: Vec::new(), implementations: Vec::new() }
    }
}

impl<C: Copy + PartialEq, I: Copy + PartialEq> Picks<C, I> {
    /// Of all cases, in the order of the table, the rows asked for. A case of which nothing but limits is left has
    /// none.
    pub(crate) fn select<A: Iterator<Item = I>>(
        &self,
        cases: &[C],
        implementations: impl Fn(C) -> A,
        is_control: impl Fn(I) -> bool,
    ) -> Vec<Pick<C, I>> {
        let asked = |one: &I| admits(&self.implementations, one);
        let mut rows = Vec::new();
        for &case in cases.iter().filter(|case| admits(&self.cases, case)) {
            if implementations(case).any(|one| asked(&one)) {
                let kept = implementations(case).filter(|one| is_control(*one) || asked(one));
                rows.extend(kept.map(|implementation| Pick { case, implementation }));
            }
        }
        rows
    }
}
