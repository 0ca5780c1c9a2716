//! What each row measures, and which loops run over it.

use ginnel::dict::Options;
use ginnel::{Dict, List};

use crate::crew::{Crew, Member, spread_thread};
use crate::dispatch::GRACE;
use crate::drive::Report;
use crate::fault::Fault;
use crate::pair::Cores;

use super::hashmap::{Locked, LockedVec};
use super::measure::Run;
use super::ours::{OurList, Ours, Shared};
use super::plan::{Case, Implementation, Row};
use super::repair::Deaths;
use super::value::{Bytes, Form, Plain, Record};
use super::{Map, drive, outside};

type Body<'a> = Box<dyn FnOnce() -> Result<Report, Fault> + 'a>;

impl Run<'_> {
    /// One pass over one row.
    pub(super) fn sample(&self, row: Row) -> Result<Report, Fault> {
        if row.case.processes() > 1 && self.cores.len() < 2 {
            return Err(Fault::Unsupported("two processes that never wait need two cores".into()));
        }
        let (seconds, keys) = (self.pass(row).as_secs_f64(), self.entries(row));
        match row.implementation {
            Implementation::Hashmap => self.hashmap(row),
            Implementation::Lmdb => self.spread(row, || outside::lmdb(row, seconds, keys)),
            Implementation::PyManager => self.spread(row, || outside::python(row, seconds, keys)),
            Implementation::LimitDeath => self.deaths(row, false),
            Implementation::Dict => match row.case {
                Case::Repair => self.deaths(row, true),
                Case::ListAppend => self.list(row),
                _ => self.dict::<Bytes>(row),
            },
            Implementation::DictRecord => self.dict::<Record>(row),
            Implementation::DictRaw => self.dict::<Plain>(row),
        }
    }

    /// Runs a row's processes and gives what all of them did.
    fn crew(&self, row: Row, bodies: Vec<(usize, Body<'_>)>) -> Result<Report, Fault> {
        let member = |(number, (core, body))| Member { role: format!("process {number}"), core, body };
        let members = bodies.into_iter().enumerate().map(member).collect();
        let crew = Crew { patience: self.patience(row), signals: self.signals };
        Ok(drive::sum(crew.run(members)?))
    }

    /// Runs one process that stays on its core.
    fn alone(&self, row: Row, body: impl FnOnce() -> Result<Report, Fault>) -> Result<Report, Fault> {
        self.crew(row, vec![(Cores::among(self.cores).client, Box::new(body))])
    }

    /// Runs what starts processes or threads by itself: they may use all cores.
    fn spread(&self, row: Row, body: impl FnOnce() -> Result<Report, Fault>) -> Result<Report, Fault> {
        self.alone(row, || {
            spread_thread(self.cores)?;
            body()
        })
    }

    /// A pass of one process over its map.
    fn turn(&self, row: Row, map: &impl Map, first: u64) -> Result<Report, Fault> {
        let (ns, keys) = (self.pass(row).as_nanos() as u64, self.entries(row));
        match row.case {
            Case::Get => drive::gets(map, keys, ns),
            Case::Set => drive::sets(map, keys, ns),
            Case::Update => drive::updates(map, keys, ns),
            Case::Mixed1 | Case::Mixed2 => drive::mixed(map, keys, first, ns),
            Case::Memory => drive::memory(map, keys),
            Case::Growth10k | Case::Growth1m | Case::Growth10m => drive::growth(map, keys, ns),
            Case::ListAppend | Case::Repair => Err(Fault::Unsupported("a map has no such row".into())),
        }
    }

    fn hashmap(&self, row: Row) -> Result<Report, Fault> {
        let keys = self.entries(row);
        match row.case {
            Case::ListAppend => {
                let ns = self.pass(row).as_nanos() as u64;
                self.alone(row, || drive::appends(&LockedVec::default(), ns))
            }
            // Nobody else could reach it, so the two are threads.
            Case::Mixed2 => self.spread(row, || self.two_threads(row)),
            _ => self.alone(row, || {
                let map = Locked::default();
                if !is_filled_by_the_loop(row.case) {
                    drive::fill(&map, keys)?;
                }
                self.turn(row, &map, 0)
            }),
        }
    }

    fn two_threads(&self, row: Row) -> Result<Report, Fault> {
        let (map, keys) = (Locked::default(), self.entries(row));
        drive::fill(&map, keys)?;
        let reports = std::thread::scope(|threads| {
            let other = threads.spawn(|| self.turn(row, &map, keys / 2));
            let mine = self.turn(row, &map, 0);
            let theirs = other.join().unwrap_or_else(|_| Err(Fault::failed("a thread", "it panicked")));
            [mine, theirs]
        });
        Ok(drive::sum(reports.into_iter().collect::<Result<Vec<_>, _>>()?))
    }

    fn dict<F: Form>(&self, row: Row) -> Result<Report, Fault> {
        let keys = self.entries(row);
        let shared = Shared::new::<Dict<u64, F>>(keys, Options::new())?;
        let Cores { client, server } = Cores::among(self.cores);
        let open = || Ok::<_, Fault>(Ours(shared.open::<Dict<u64, F>>()?));
        if row.case.processes() == 1 {
            return self.alone(row, || {
                let map = open()?;
                if !is_filled_by_the_loop(row.case) {
                    drive::fill(&map, keys)?;
                }
                self.turn(row, &map, 0)
            });
        }
        drive::fill(&open()?, keys)?;
        let body = |first| -> Body<'_> { Box::new(move || self.turn(row, &open()?, first)) };
        self.crew(row, vec![(client, body(0)), (server, body(keys / 2))])
    }

    fn list(&self, row: Row) -> Result<Report, Fault> {
        let shared = Shared::new::<List<Bytes>>(self.entries(row), Default::default())?;
        let ns = self.pass(row).as_nanos() as u64;
        self.alone(row, || drive::appends(&OurList(shared.open::<List<Bytes>>()?), ns))
    }

    fn deaths(&self, row: Row, is_holder: bool) -> Result<Report, Fault> {
        let (ns, entries) = (self.pass(row).as_nanos() as u64, self.entries(row));
        let Cores { client, server } = Cores::among(self.cores);
        let least = self.timing.deaths;
        self.crew(
            row,
            vec![(
                client,
                Box::new(move || {
                    let deaths = Deaths::new(entries, server, is_holder)?;
                    drive::times(ns, least, || deaths.once())
                }),
            )],
        )
    }

    /// How long a row may take before it counts as stalled. To fill a map is never broken off.
    fn patience(&self, row: Row) -> std::time::Duration {
        let entries = std::time::Duration::from_micros(2 * self.entries(row));
        let dying = std::time::Duration::from_millis(20 * self.timing.deaths);
        self.pass(row) + GRACE + entries + dying
    }
}

/// Whether to fill the map is what is measured.
fn is_filled_by_the_loop(case: Case) -> bool {
    case == Case::Memory || case.is_slow()
}
