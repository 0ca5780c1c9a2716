//! Two measured processes: the client and the server of a round trip, or the consumer and the producer of one way.

use std::time::Duration;

use crate::crew::{Crew, Member, Signals};
use crate::drive::Report;
use crate::fault::Fault;

/// Where the two processes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cores {
    /// Of the client, or the consumer.
    pub client: usize,
    /// Of the server, or the producer.
    pub server: usize,
}

impl Cores {
    /// The first two of `cores`; the same twice where there is only one.
    pub fn among(cores: &[usize]) -> Self {
        let client = cores.first().copied().unwrap_or(0);
        Self { client, server: cores.get(1).copied().unwrap_or(client) }
    }
}

/// The coordinator's view of a pair that runs.
#[derive(Debug)]
pub struct Pair<'a> {
    /// Where the two run.
    pub cores: Cores,
    /// How long they may take before they count as stalled.
    pub patience: Duration,
    /// What may end the run early.
    pub signals: Option<&'a Signals>,
}

impl Pair<'_> {
    /// Runs `client` and `server`, each in a process of its own, and gives both reports.
    ///
    /// # Errors
    /// As [`Crew::run`]; [`Fault::Count`] where one received less or more than the other sent.
    pub fn run(
        &self,
        client: impl FnOnce() -> Result<Report, Fault>,
        server: impl FnOnce() -> Result<Report, Fault>,
    ) -> Result<(Report, Report), Fault> {
        let crew = Crew { patience: self.patience, signals: self.signals };
        let members = vec![
            Member { role: "client".into(), core: self.cores.client, body: Box::new(client) },
            Member { role: "server".into(), core: self.cores.server, body: Box::new(server) },
        ];
        let mut reports = crew.run(members)?.into_iter();
        let (client, server) = (reports.next().unwrap_or_default(), reports.next().unwrap_or_default());
        check_counts(&client, &server)?;
        Ok((client, server))
    }
}

/// Everything that one side sent was received by the other.
fn check_counts(client: &Report, server: &Report) -> Result<(), Fault> {
    for (sent, received) in [(client.sent, server.received), (server.sent, client.received)] {
        if sent != received {
            return Err(Fault::Count { sent, received });
        }
    }
    Ok(())
}
