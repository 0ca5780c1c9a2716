//! What a load with books found when it compared them with what there is.

/// What became of everything.
#[derive(Debug, Default)]
pub(in crate::load) struct Account {
    pub(in crate::load) lost: u64,
    pub(in crate::load) duplicated: u64,
    pub(in crate::load) corrupt: u64,
    pub(in crate::load) open: u64,
    pub(in crate::load) leaks: Vec<String>,
    pub(in crate::load) faults: Vec<String>,
}

impl Account {
    /// `found` is what there is, and must be one of `least ..= most`.
    pub(in crate::load) fn compare(&mut self, what: &str, found: i64, least: i64, most: i64) {
        if found < least {
            self.lost += (least - found) as u64;
        } else if found > most {
            self.duplicated += (found - most) as u64;
        } else {
            return;
        }
        self.faults.push(format!("{what}: {found}, expected {least} to {most}"));
    }

    pub(in crate::load) fn torn(&mut self, what: String) {
        self.corrupt += 1;
        self.faults.push(what);
    }
}
