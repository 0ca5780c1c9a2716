//! What live processes do: create, open, name, encode, decode, upgrade, drop.

use super::super::check::{Steps, Who};
use super::{
    At, Attempt, Bug, Bumps, Carried, Carrier, Freeing, Life, Lifetime, Process, State, Ticket, bit, id,
};

impl Lifetime {
    /// Every operation that an idle process may begin.
    pub(super) fn choose(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let me = id(k);
        let process = s.processes[k];
        let begin = |at: At, entry: u8| Process { at, entry, ..process };
        for e in 0..self.entries as u8 {
            let entry = s.entries[e as usize];
            if entry.life == Life::Free {
                for named in [false, true] {
                    if !named || self.names {
                        let mut n = *s;
                        // The bits are not touched: a late upgrade may have its bit here for a moment.
                        n.set_life(e, Life::Creating(me));
                        n.processes[k] = Process { flag: named, ..begin(At::Create(0), e) };
                        out.add(who, "create: CAS FREE -> CREATING(me)", n);
                    }
                }
            }
            if entry.named && s.names_lock == 0 {
                let mut n = *s;
                n.names_lock = me;
                n.processes[k] = begin(At::Unname, e);
                out.add(who, "unname: lock the names", n);
                if process.has & bit(e + 1) == 0 {
                    let locks = self.bug != Bug::OpenWithoutLock;
                    n.names_lock = if locks { me } else { 0 };
                    n.processes[k] = begin(At::OpenLook, e);
                    out.add(who, "open: lock the names", n);
                }
            }
            if process.has & bit(e + 1) != 0 {
                self.choose_with_handle(s, k, e, out);
            }
        }
        if process.weak != 0 && process.has & bit(process.weak) == 0 {
            let mut n = *s;
            let first = if self.bug == Bug::UpgradeStateFirst { At::UpgradeState } else { At::UpgradeBit };
            n.processes[k] = begin(first, process.weak - 1);
            out.add(who, "upgrade: begin", n);
        }
        if process.weak != 0 {
            let mut n = *s;
            n.processes[k] = Process { weak: 0, stale: false, ..process };
            out.add(who, "forgets its weak reference", n);
        }
        for (c, carrier) in s.carriers.iter().enumerate() {
            if carrier.word == Carried::Full {
                for keep in [true, false] {
                    let mut n = *s;
                    n.carriers[c].word = Carried::Reading(me);
                    let at = if self.receives() { At::Receive } else { self.after_receive(keep) };
                    n.processes[k] = Process {
                        carrier: c as u8,
                        ticket: carrier.ticket,
                        flag: keep,
                        ..begin(at, carrier.meant)
                    };
                    out.add(who, "decode: carrier FULL -> READING(me)", n);
                }
            }
        }
    }

    fn choose_with_handle(&self, s: &State, k: usize, e: u8, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let process = s.processes[k];
        if let (true, Some(child)) = (self.weak, (0..self.processes).find(|q| self.may_inherit(s, *q, e))) {
            let mut n = *s;
            n.processes[child].weak = e + 1;
            n.processes[child].stale = false;
            out.add(who, "downgrade: somebody remembers (entry, gen)", n);
        }
        let mut n = *s;
        n.processes[k] = Process { at: At::DropBit, entry: e, has: process.has & !bit(e + 1), ..process };
        if self.bug == Bug::NoFence {
            n.processes[k].flag = true;
            n.processes[k].buffered = true;
            self.start_attempt(&mut n, k, e);
        }
        out.add(who, "drop: the last handle here", n);
        if self.names && !s.entries[e as usize].named && s.names_lock == 0 {
            let mut n = *s;
            n.names_lock = id(k);
            n.processes[k] = Process { at: At::Name, entry: e, ..process };
            out.add(who, "name: lock the names", n);
        }
        if let Some(t) = (0..self.tickets).find(|t| s.tickets[*t].owner == 0) {
            let mut n = *s;
            n.processes[k] = Process { at: At::EncodeBump, entry: e, ticket: t as u8, ..process };
            if self.bug == Bug::BumpBeforeTicket {
                n.touch(e);
                n.processes[k].at = At::EncodeTicket;
                out.add(who, "encode: version += 1, too early", n);
            } else {
                n.tickets[t] = Ticket { owner: id(k), entry: e };
                out.add(who, "encode: CAS ticket FREE -> HELD(me)", n);
            }
        }
    }

    fn may_inherit(&self, s: &State, k: usize, e: u8) -> bool {
        let process = s.processes[k];
        process.at == At::Idle && !process.dead && process.weak == 0 && process.has & bit(e + 1) == 0
    }

    fn receives(&self) -> bool {
        !matches!(self.bug, Bug::TicketFreedBeforeAck | Bug::AckWithoutReceive)
    }

    /// What follows the RECEIVE (or the claim of the carrier, in the drafts without one).
    fn after_receive(&self, keep: bool) -> At {
        let decode_first = self.late_ack || !self.receives();
        match (decode_first, keep) {
            (false, _) => At::Ack,
            (true, true) => At::DecodeBit,
            (true, false) if self.bug == Bug::TicketFreedBeforeAck => At::TicketFree,
            (true, false) => At::Ack,
        }
    }

    fn after_ack(&self, process: &Process) -> At {
        let decoded = self.late_ack || !self.receives();
        match (decoded, process.flag) {
            _ if self.bug == Bug::TicketFreedBeforeAck => At::Idle,
            (false, true) if self.bug == Bug::TicketFreedBeforeBit => At::TicketFree,
            (false, true) => At::DecodeBit,
            _ => At::TicketFree,
        }
    }

    fn after_decode_bump(&self) -> At {
        let ack_next = self.bug != Bug::TicketFreedBeforeAck && (self.late_ack || !self.receives());
        match self.bug {
            Bug::TicketFreedBeforeBit => At::Idle,
            _ if ack_next => At::Ack,
            _ => At::TicketFree,
        }
    }

    /// The one next step of a process inside an operation.
    pub(super) fn proceed(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let what = match s.processes[k].at {
            At::Create(_) | At::CreateBit | At::CreateCommit => self.create(&mut n, k),
            At::OpenLook
            | At::OpenBit
            | At::OpenBump
            | At::OpenUnlock
            | At::Name
            | At::NameBump
            | At::Unname
            | At::UnnameUnlock => self.by_name(&mut n, k),
            At::EncodeBump | At::EncodeTicket | At::EncodeCarrier | At::EncodeCommit => {
                self.encode(&mut n, k)
            }
            At::Receive => {
                let process = s.processes[k];
                let ticket = &mut n.tickets[process.ticket as usize];
                if ticket.owner == 0 || ticket.entry != process.entry {
                    return out.violation(Who::Process(k), "RECEIVE", "the ticket keeps something else");
                }
                ticket.owner = id(k);
                n.processes[k].at = self.after_receive(process.flag);
                "decode: RECEIVE ticket -> HELD(me)"
            }
            At::Ack | At::DecodeBit | At::DecodeBump | At::TicketFree | At::LateBit => self.decode(&mut n, k),
            At::UpgradeBit | At::UpgradeState | At::UpgradeUndo => self.upgrade(&mut n, k),
            At::DropBit => {
                let entry = s.processes[k].entry;
                n.entries[entry as usize].bits &= !bit(id(k));
                self.start_attempt(&mut n, k, entry);
                "drop: clear own bit"
            }
            At::TryFree | At::Idle => self.try_free(&mut n, k),
        };
        if n.processes[k].at == At::Idle {
            finish(&mut n.processes[k]);
        }
        out.add(Who::Process(k), what, n);
    }

    fn create(&self, n: &mut State, k: usize) -> &'static str {
        let process = &mut n.processes[k];
        let e = process.entry;
        let entry = &mut n.entries[e as usize];
        match process.at {
            At::Create(claimed) if (claimed as usize) < self.pages_each => {
                if let Some(page) = n.pages[..self.pages].iter_mut().find(|page| **page == 0) {
                    *page = e + 1;
                    process.at = At::Create(claimed + 1);
                    return "create: CAS page 0 -> mine";
                }
                let undo = if self.bug == Bug::NoUndo { Freeing::Store } else { self.first_release() };
                process.at = At::TryFree;
                process.attempt = Attempt { at: undo, entry: e, moved: false };
                "create: too few pages, undo"
            }
            At::Create(_) => {
                process.at = At::CreateBit;
                entry.named = process.flag;
                if self.bug == Bug::LiveBeforeBit {
                    n.set_life(e, Life::Live);
                }
                "create: initialise, name"
            }
            At::CreateBit => {
                entry.bits |= bit(id(k));
                process.at = At::CreateCommit;
                "create: own bit"
            }
            _ => {
                process.has |= bit(e + 1);
                process.at = At::Idle;
                n.set_life(e, Life::Live);
                "create: store LIVE"
            }
        }
    }

    fn by_name(&self, n: &mut State, k: usize) -> &'static str {
        let process = &mut n.processes[k];
        let e = process.entry;
        let entry = &mut n.entries[e as usize];
        match process.at {
            At::OpenLook => {
                let found = entry.named && entry.life == Life::Live;
                process.at = if found { At::OpenBit } else { At::OpenUnlock };
                process.flag = found;
                "open: LIVE and named?"
            }
            At::OpenBit => {
                entry.bits |= bit(id(k));
                process.at = At::OpenBump;
                "open: set own bit"
            }
            At::OpenBump => {
                process.at = At::OpenUnlock;
                if self.bumps == Bumps::Every && !matches!(self.bug, Bug::NoBump | Bug::NoBumpOnOpen) {
                    n.touch(e);
                }
                "open: version += 1"
            }
            At::OpenUnlock => {
                if process.flag {
                    process.has |= bit(e + 1);
                }
                process.at = At::Idle;
                if n.names_lock == id(k) {
                    n.names_lock = 0;
                }
                "open, name: unlock the names"
            }
            At::Name => {
                entry.named = true;
                process.at = At::NameBump;
                "name: named = 1"
            }
            At::NameBump => {
                process.at = At::OpenUnlock;
                if !matches!(self.bug, Bug::NoBump | Bug::NoBumpOnName) {
                    n.touch(e);
                }
                "name: version += 1"
            }
            At::Unname => {
                entry.named = false;
                process.at = At::UnnameUnlock;
                "unname: named = 0"
            }
            _ => {
                n.names_lock = 0;
                self.start_attempt(n, k, e);
                "unname: unlock the names"
            }
        }
    }

    fn upgrade(&self, n: &mut State, k: usize) -> &'static str {
        let process = n.processes[k];
        let e = process.entry;
        let state_first = self.bug == Bug::UpgradeStateFirst;
        match process.at {
            At::UpgradeBit => {
                n.entries[e as usize].bits |= bit(id(k));
                if state_first {
                    n.processes[k].has |= bit(e + 1);
                    n.processes[k].at = At::Idle;
                } else {
                    n.processes[k].at = At::UpgradeState;
                }
                "upgrade: set own bit"
            }
            At::UpgradeState => {
                let mine = n.live(e) && !process.stale || self.bug == Bug::UpgradeBlind;
                n.processes[k].weak = 0;
                n.processes[k].stale = false;
                n.processes[k].at = match (mine, state_first) {
                    (true, true) => At::UpgradeBit,
                    (false, false) => At::UpgradeUndo,
                    _ => At::Idle,
                };
                if mine {
                    n.touch(e);
                    n.processes[k].has |= if state_first { 0 } else { bit(e + 1) };
                }
                "upgrade: CAS LIVE(gen), version += 1"
            }
            _ => {
                n.entries[e as usize].bits &= !bit(id(k));
                if self.bug == Bug::UpgradeNoTryFree {
                    n.processes[k].at = At::Idle;
                } else {
                    self.start_attempt(n, k, e);
                }
                "upgrade: too late, clear own bit"
            }
        }
    }

    fn encode(&self, n: &mut State, k: usize) -> &'static str {
        let process = &mut n.processes[k];
        let me = id(k);
        let (e, t) = (process.entry, process.ticket as usize);
        match process.at {
            At::EncodeTicket => {
                if n.tickets[t].owner != 0 {
                    process.at = At::Idle;
                    return "encode: the ticket was taken";
                }
                n.tickets[t] = Ticket { owner: me, entry: e };
                process.at = At::EncodeCarrier;
                "encode: CAS ticket FREE -> HELD(me)"
            }
            At::EncodeBump => {
                process.at = At::EncodeCarrier;
                if !matches!(self.bug, Bug::NoBump | Bug::NoBumpOnEncode) {
                    n.touch(e);
                }
                "encode: version += 1"
            }
            At::EncodeCarrier => match (0..self.carriers).find(|c| n.carriers[*c].word == Carried::Free) {
                Some(c) => {
                    n.carriers[c].word = Carried::Writing(me);
                    process.carrier = c as u8;
                    process.at = At::EncodeCommit;
                    "encode: carrier FREE -> WRITING(me)"
                }
                None => {
                    n.tickets[t] = Ticket::default();
                    process.at = At::Idle;
                    "encode: full, ticket given back"
                }
            },
            _ => {
                let carrier = &mut n.carriers[process.carrier as usize];
                *carrier = Carrier { word: Carried::Full, ticket: t as u8, meant: e };
                process.at = At::Idle;
                "encode: carrier = FULL, in flight"
            }
        }
    }

    fn decode(&self, n: &mut State, k: usize) -> &'static str {
        let process = n.processes[k];
        let e = process.entry;
        let (at, what) = match process.at {
            At::Ack => {
                n.carriers[process.carrier as usize] = Carrier::default();
                (self.after_ack(&process), "decode: ACK, carrier = FREE")
            }
            At::DecodeBit => {
                if self.bug == Bug::BumpBeforeBit {
                    n.touch(e);
                    (At::LateBit, "decode: version += 1, too early")
                } else {
                    n.entries[e as usize].bits |= bit(id(k));
                    (At::DecodeBump, "decode: set own bit")
                }
            }
            At::LateBit => {
                n.entries[e as usize].bits |= bit(id(k));
                (self.after_decode_bump(), "decode: set own bit")
            }
            At::DecodeBump => {
                if self.bumps == Bumps::Every && !matches!(self.bug, Bug::NoBump | Bug::NoBumpOnDecode) {
                    n.touch(e);
                }
                (self.after_decode_bump(), "decode: version += 1")
            }
            _ => {
                if self.bug == Bug::NoFence && !process.flag {
                    n.processes[k].buffered = true;
                } else {
                    n.tickets[process.ticket as usize] = Ticket::default();
                }
                let at = match self.bug {
                    Bug::TicketFreedBeforeAck => At::Ack,
                    Bug::TicketFreedBeforeBit if process.flag => At::DecodeBit,
                    _ => At::Idle,
                };
                (at, "decode: ticket = FREE")
            }
        };
        n.processes[k].at = at;
        if at == At::Idle {
            if process.flag {
                n.processes[k].has |= bit(e + 1);
            } else {
                self.start_attempt(n, k, e);
            }
        }
        what
    }
}

/// Forgets everything private but the handles, so that equal situations are equal states.
fn finish(process: &mut Process) {
    let Process { has, weak, stale, .. } = *process;
    *process = Process { has, weak, stale, ..Process::default() };
}
