//! `ginnel ls`: the named segments of this user, who is attached, and what is in them.

use std::fmt::Write as _;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use ginnel::queue::Stats;
use ginnel::{Manager, OwnerState};
use serde::Serialize;

use crate::args::Ls;

/// What is known of one segment.
#[derive(Debug, Serialize)]
struct Listing {
    name: String,
    limit: usize,
    used: usize,
    alive: usize,
    dead: usize,
    recovered: u64,
    persistent: bool,
    participants: Vec<Participant>,
    objects: Vec<Contained>,
}

#[derive(Debug, Serialize)]
struct Participant {
    pid: u32,
    name: String,
    state: &'static str,
}

#[derive(Debug, Serialize)]
struct Contained {
    name: Option<String>,
    kind: &'static str,
    size: usize,
    holders: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<Stats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<Store>,
}

/// What the memory of a dict, a namespace or a list is used for.
#[derive(Debug, Serialize)]
struct Store {
    entries: u64,
    shards: u32,
    used: u64,
    free: u64,
    limit: Option<u64>,
    repairs: u64,
}

/// Runs the command. It fails where a segment cannot be looked at; the others are listed all the same.
pub(crate) fn run(options: &Ls) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    let names = if options.names.is_empty() {
        Manager::list().unwrap_or_else(|error| {
            code = complain(&error.to_string());
            Vec::new()
        })
    } else {
        options.names.clone()
    };
    let mut listings = Vec::new();
    for name in names {
        match look(&name) {
            Ok(listing) => listings.push(listing),
            // Between the listing and the look its users may have gone, and the segment with them.
            Err(error) if error.is_not_found() && options.names.is_empty() => {}
            Err(error) => code = complain(&error.to_string()),
        }
    }
    let text = if options.json { as_json(&listings) } else { as_table(&listings, options.long) };
    // Whoever closed standard output does not want the rest.
    let _ = stdout().write_all(text.as_bytes());
    code
}

/// Attaches for a moment.
fn look(name: &str) -> ginnel::Result<Listing> {
    let manager = Manager::open(name)?;
    let inspection = manager.inspect();
    let me = std::process::id();
    let participants: Vec<Participant> = inspection
        .participants
        .into_iter()
        .filter(|owner| owner.pid != me)
        .map(|owner| Participant { pid: owner.pid, name: owner.name, state: state_name(owner.state) })
        .collect();
    let dead = participants.iter().filter(|participant| participant.state == "dead").count();
    let objects = inspection.objects.into_iter().map(|object| Contained {
        name: object.name,
        kind: object.kind,
        size: object.size,
        // This process holds none.
        holders: object.holders,
        queue: object.queue,
        store: object.store.map(|usage| Store {
            entries: usage.entries,
            shards: usage.shards,
            used: usage.claimed.saturating_sub(usage.free),
            free: usage.free,
            limit: usage.limit,
            repairs: usage.repairs,
        }),
    });
    let listing = Listing {
        name: name.to_owned(),
        limit: manager.limit(),
        used: manager.size(),
        alive: participants.len() - dead,
        dead,
        recovered: inspection.recoveries,
        persistent: manager.is_persistent(),
        participants,
        objects: objects.collect(),
    };
    if listing.alive == 0 && !listing.persistent {
        // The last one to leave in order takes the name along, and what lies unreceived. Looking must not do
        // that, so we do not leave in order; the next one to attach tidies up after us.
        std::mem::forget(manager);
    }
    Ok(listing)
}

fn state_name(state: OwnerState) -> &'static str {
    match state {
        OwnerState::Running => "running",
        OwnerState::Stopped => "stopped",
        OwnerState::Dead => "dead",
        _ => "unknown",
    }
}

fn as_json(listings: &[Listing]) -> String {
    listings
        .iter()
        .filter_map(|listing| serde_json::to_string(listing).ok())
        .map(|line| line + "\n")
        .collect()
}

fn as_table(listings: &[Listing], long: bool) -> String {
    if listings.is_empty() {
        return "no named segments\n".to_owned();
    }
    let width = listings.iter().map(|listing| listing.name.chars().count()).max().unwrap_or(0).max(4);
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "{:<width$} {:>10} {:>10} {:>6} {:>5} {:>8}",
        "NAME", "USED", "LIMIT", "ALIVE", "DEAD", "OBJECTS"
    );
    for listing in listings {
        let (used, limit) = (size(listing.used), size(listing.limit));
        let Listing { name, alive, dead, objects, .. } = listing;
        let stale = match (*alive, listing.persistent) {
            (_, true) => "  persistent",
            (0, false) => "  stale",
            _ => "",
        };
        let _ = writeln!(
            text,
            "{name:<width$} {used:>10} {limit:>10} {alive:>6} {dead:>5} {:>8}{stale}",
            objects.len()
        );
        if long {
            details(&mut text, listing);
        }
    }
    text
}

fn details(text: &mut String, listing: &Listing) {
    for Participant { pid, name, state } in &listing.participants {
        let _ = writeln!(text, "    process {pid} \"{name}\", {state}");
    }
    for Contained { name, kind, size: bytes, holders, queue, store } in &listing.objects {
        let name = name.as_ref().map_or("without a name".to_owned(), |name| format!("\"{name}\""));
        let _ = writeln!(text, "    {kind} {name}, {}, held by {holders}", size(*bytes));
        if let Some(stats) = queue {
            counters(text, stats);
        }
        if let Some(store) = store {
            memory(text, store);
        }
    }
    if listing.recovered > 0 {
        let _ = writeln!(
            text,
            "    {} participants died and were recovered since it was made",
            listing.recovered
        );
    }
}

fn memory(text: &mut String, store: &Store) {
    let Store { entries, shards, used, free, limit, repairs } = store;
    let (used, free) = (size(*used as usize), size(*free as usize));
    let limit = limit.map_or(String::new(), |limit| format!(", at most {}", size(limit as usize)));
    let _ = writeln!(
        text,
        "        {entries} entries in {shards} shards, {used} used, {free} free within them{limit}"
    );
    if *repairs > 0 {
        let _ = writeln!(text, "        shards were built anew {repairs} times");
    }
}

fn counters(text: &mut String, stats: &Stats) {
    let Stats { depth, capacity, sent, received, leased, .. } = stats;
    let _ = writeln!(
        text,
        "        {depth} of {capacity} waiting, {sent} sent, {received} received, {leased} leased"
    );
    let asleep = stats.waiting_to_send + stats.waiting_to_receive;
    if asleep > 0 {
        let _ = writeln!(
            text,
            "        asleep: {} processes until there is room, {} until there is a message",
            stats.waiting_to_send, stats.waiting_to_receive
        );
    }
    for owner in &stats.owners {
        let _ = writeln!(text, "        in the hands of {owner}");
    }
    if stats.recoveries > 0 {
        let _ = writeln!(
            text,
            "        {} deaths: {} sends given up, {} messages redelivered, {} dropped",
            stats.recoveries, stats.aborted, stats.redelivered, stats.dropped
        );
    }
}

fn size(bytes: usize) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value >= 99.95 { format!("{value:.0} {}", UNITS[unit]) } else { format!("{value:.1} {}", UNITS[unit]) }
}

fn complain(text: &str) -> ExitCode {
    let _ = writeln!(stderr(), "ginnel ls: {text}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        assert_eq!(size(4096), "4.0 KiB");
        assert_eq!(size(1 << 20), "1.0 MiB");
        assert_eq!(size(5529 << 20), "5.4 GiB");
        assert_eq!(size(0), "0.0 KiB");
    }

    #[test]
    fn a_segment_without_users_is_called_stale() {
        let listing = Listing {
            name: "shop".into(),
            limit: 1 << 20,
            used: 8192,
            alive: 0,
            dead: 0,
            recovered: 2,
            persistent: false,
            participants: Vec::new(),
            objects: vec![Contained {
                name: Some("orders".into()),
                kind: "lane",
                size: 8192,
                holders: 0,
                queue: None,
                store: Some(Store {
                    entries: 3,
                    shards: 64,
                    used: 4096,
                    free: 8192,
                    limit: Some(1 << 20),
                    repairs: 1,
                }),
            }],
        };
        let text = as_table(&[listing], true);
        assert!(text.contains("shop") && text.contains("stale"), "{text}");
        assert!(text.contains("lane \"orders\", 8.0 KiB, held by 0"), "{text}");
        assert!(text.contains("2 participants died"), "{text}");
        let memory = "3 entries in 64 shards, 4.0 KiB used, 8.0 KiB free within them, at most 1.0 MiB";
        assert!(text.contains(memory) && text.contains("built anew 1 times"), "{text}");
    }
}
