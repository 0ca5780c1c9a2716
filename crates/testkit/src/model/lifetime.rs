//! Object lifetime: when the pages of a shared object may be taken back.
//!
//! An object is kept by references, each of which is a word or a bit that names its keeper: a *holder bit*
//! for every process that has a handle, a *ticket* for every handle inside a message, and the *name*. Nothing
//! is counted, because a count cannot tell what a dead process owned. Whoever gives up a reference looks
//! whether it was the last.
//!
//! ```text
//! entry     state {version, gen, owner, st}: FREE  CREATING(o)  LIVE  FREEING(o); bits, one a process; named
//! page      0, or entry + 1: whose page it is
//! ticket    FREE, or HELD(o, entry): keeps the object of one handle that is on its way
//! carrier   place for a message (slot or record): FREE  WRITING(o)  FULL  READING(o); it names its ticket
//!
//! create    CAS entry FREE -> CREATING(me); CAS pages 0 -> entry + 1 (too few: release them, FREE, give up)
//!           own bit |= ; name; store LIVE
//! gain      set the bit, or CAS a ticket FREE -> HELD(me); then version += 1; then, and only then, the
//!           reference on which the gain rested may go
//! name      rests on my bit: lock names; named = 1; version += 1; unlock
//! open      lock names; LIVE and named?; gain the bit; unlock
//! encode    rests on my bit: gain a ticket; carrier FREE -> WRITING(me); carrier = FULL: it is in flight
//! decode    carrier FULL -> READING(me)
//!           RECEIVE  ticket HELD(any) -> HELD(me)      // before the acknowledgement, always
//!           ACK      carrier = FREE                    // from here on the ticket is mine alone
//!           gain the bit; ticket = FREE                // to throw it away: ticket = FREE; try_free
//! drop      clear own bit; try_free
//! unname    lock names; named = 0; unlock; try_free
//! upgrade   of a weak reference (entry, gen), which keeps nothing: set own bit;
//!           CAS LIVE(gen) -> version += 1: gained; not LIVE(gen): clear own bit; try_free; gone
//! try_free  fence(SeqCst)                              // or two who leave at once each see the other
//!           s = state, LIVE? ; scan tickets, then the name, then the bits: any found -> return
//!           CAS s -> FREEING(me) (version moved: return); release pages; store FREE with the next gen
//! recover d (holding the lock of d)
//!           carriers: WRITING(d) -> FREE; READING(d) -> FULL again (or: RECEIVE for d, then FREE)
//!           tickets:  HELD(d) that no FULL or READING carrier names: CAS -> FREE
//!           names lock of d -> open
//!           entries:  bit d set: version += 1, clear it; then, by the state:
//!                     CREATING(d) or FREEING(d): name off, release pages, FREE; LIVE: try_free as d
//! ```
//!
//! Why a scan that is no single step is enough: a reference that exists when the CAS succeeds was there
//! during the whole scan, or was gained during it. A gain bumps the version before its base may go, so either
//! the bump fails the CAS, or the base is still there; and some base is older than the scan. Tickets and name
//! are scanned before bits, so that a handle that is being decoded or opened cannot slip past. With that
//! order only a hop from a bit into a ticket or a name needs its bump; with bumps on every gain any order is
//! right (both are verified).
//!
//! Why a scan that fails its CAS may simply leave: whoever moved the version held a reference then, and will
//! come through here himself. Looking again is right as well.
//!
//! Why `decode` receives before it acknowledges: a ticket must have an owner whose death frees it. While the
//! message is in a carrier, the carrier keeps the ticket from being swept, whoever owns it. Once the carrier
//! is free nothing but the owner does, so the owner must already be the one who goes on to use it. Hence
//! "HELD(d) and not in flight" is stable while somebody holds the lock of d, and recovery needs no more than
//! one look at each carrier.
//!
//! Why `upgrade` sets the bit first: then either its CAS moves the version under a scan that missed the bit,
//! or that scan has already made the entry something else, which the CAS sees. Meanwhile the bit may sit for
//! a moment on an entry that is FREE, or somebody else's new object. That is harmless as long as nobody
//! stores the bits as a whole, and as long as whoever takes such a bit away looks whether somebody left
//! because of it.
//!
//! | dies | leaves | repaired to |
//! |---|---|---|
//! | creator before LIVE | CREATING(d), pages, a bit, a name | FREE |
//! | after setting the name, before its bump | a name that a scan may have missed | version bumped for it |
//! | after setting a bit, before its base goes | bit and base | bit cleared, then try_free |
//! | encoder before FULL | HELD(d), perhaps WRITING(d) | both free, then try_free |
//! | encoder after FULL | HELD(d) in flight | left alone, delivered |
//! | decoder before ACK | READING(d), ticket of d or of the sender | redelivered with its ticket |
//! | decoder after ACK | HELD(d), not in flight, perhaps a bit | both freed, then try_free |
//! | after its last drop, before try_free | LIVE, and nothing that keeps it | try_free of every entry |
//! | in FREEING | FREEING(d), some pages | FREE |
//! | recoverer | any prefix | the next one repeats it |
//!
//! The version and the generation of the real words wrap; here they do not: a scan carries a flag that says
//! whether the word has moved since it was loaded, a weak reference one that says whether its generation is
//! over. Everything is sequentially consistent, except where the fence of `try_free` is left out on purpose.
//! What each mutation breaks stands at `Bug`.

mod cases;
mod freeing;
mod process;
mod recovery;

pub(super) use cases::cases;

use super::check::{Model, Steps, Who};

const PROCESSES: usize = 3;
const ENTRIES: usize = 2;
const PAGES: usize = 2;
const TICKETS: usize = 2;
const CARRIERS: usize = 2;
const RECOVERERS: usize = 2;

/// State word of an entry, without version and generation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Life {
    #[default]
    Free,
    Creating(u8),
    Live,
    Freeing(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Entry {
    life: Life,
    named: bool,
    bits: u8,
}

/// Ticket word; owner 0 is FREE.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Ticket {
    owner: u8,
    entry: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Carried {
    #[default]
    Free,
    Writing(u8),
    Full,
    Reading(u8),
}

/// A carrier, the ticket that its message names, and the object that the sender meant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Carrier {
    word: Carried,
    ticket: u8,
    meant: u8,
}

/// Where somebody is inside `try_free`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Freeing {
    #[default]
    Off,
    Load,
    /// About to look at the reference with this number.
    Probe(u8),
    Claim,
    Release(u8),
    Store,
}

/// One run of `try_free`; `moved` says whether the state word changed since it was loaded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Attempt {
    at: Freeing,
    entry: u8,
    moved: bool,
}

/// Where a process is; the fields of [`Process`] say with what.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    #[default]
    Idle,
    Create(u8),
    CreateBit,
    CreateCommit,
    OpenLook,
    OpenBit,
    OpenBump,
    OpenUnlock,
    Name,
    NameBump,
    Unname,
    UnnameUnlock,
    EncodeBump,
    EncodeTicket,
    EncodeCarrier,
    EncodeCommit,
    Receive,
    Ack,
    DecodeBit,
    DecodeBump,
    TicketFree,
    DropBit,
    TryFree,
    LateBit,
    UpgradeBit,
    UpgradeState,
    UpgradeUndo,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Process {
    at: At,
    entry: u8,
    ticket: u8,
    carrier: u8,
    /// Create: give it a name. Decode: keep the handle.
    flag: bool,
    /// Only without the fence: what it gave up (its bit if `flag`, else the ticket) is not visible yet.
    buffered: bool,
    /// Objects of which it has handles, privately.
    has: u8,
    /// A reference that keeps nothing: entry + 1 and its generation, or 0; `stale` when the generation is
    /// over.
    weak: u8,
    stale: bool,
    attempt: Attempt,
    dead: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Repair {
    #[default]
    Carrier,
    CarrierFree,
    Ticket,
    InFlight(u8),
    TicketFree,
    Lock,
    Bump,
    Bit,
    Owned,
    Attempt,
    Reuse,
}

/// Recovery of one dead process; `index` counts carriers, then tickets, then entries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Recoverer {
    dead: u8,
    at: Repair,
    index: u8,
    had_bit: bool,
    attempt: Attempt,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    entries: [Entry; ENTRIES],
    pages: [u8; PAGES],
    tickets: [Ticket; TICKETS],
    carriers: [Carrier; CARRIERS],
    names_lock: u8,
    processes: [Process; PROCESSES],
    recoverers: [Recoverer; RECOVERERS],
    kills: u8,
}

/// What recovery does with a message that the dead was receiving.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unacked {
    /// The next receiver gets it (at least once).
    Redeliver,
    /// It is received in the name of the dead, and so lost with him (at most once).
    Finish,
}

/// Which gains bump the version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bumps {
    Every,
    /// Only those that hop against the order of the scan, from a bit: into a ticket, or into the name.
    FromBits,
}

/// A deliberate mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// Draft: decode frees the sender's ticket itself, then acknowledges. Killed between the two, the message
    /// comes again and names a ticket that keeps nothing, or something else.
    TicketFreedBeforeAck,
    /// Draft, the other way round: acknowledge, then free the sender's ticket. Killed between the two, the
    /// ticket belongs to a live process that has forgotten it: it keeps the object for ever.
    AckWithoutReceive,
    /// No gain moves the version: a reference hops from a bit into a ticket behind the scan.
    NoBump,
    /// `encode` alone does not bump.
    NoBumpOnEncode,
    /// `decode` alone does not bump, where bits are scanned before tickets: the handle hops from ticket to
    /// bit.
    NoBumpOnDecode,
    /// `open` alone does not bump, where bits are scanned before the name.
    NoBumpOnOpen,
    /// `name` alone does not bump.
    NoBumpOnName,
    /// `encode` bumps and then takes the ticket: a scan fits between.
    BumpBeforeTicket,
    /// `decode` bumps and then sets the bit (bits scanned first).
    BumpBeforeBit,
    /// `decode` frees the ticket and then sets the bit: nothing keeps the object in between.
    TicketFreedBeforeBit,
    /// LIVE is stored before the creator's bit: somebody's scan finds a live object that nobody keeps.
    LiveBeforeBit,
    /// FREE is stored before the pages are released: the next object of that entry loses its pages.
    FreeBeforePages,
    /// A creation that finds too few pages keeps those it had.
    NoUndo,
    /// The scan runs before the drop is visible (the fence is missing): two leavers each see the other.
    NoFence,
    /// `open` looks the name up without the names lock: the name goes between the look and the bit.
    OpenWithoutLock,
    /// `upgrade` looks at the state before it sets the bit.
    UpgradeStateFirst,
    /// `upgrade` bumps the version without looking whether that object is still there.
    UpgradeBlind,
    /// An `upgrade` that came too late takes its bit away and leaves: somebody may have seen that bit and
    /// left, too.
    UpgradeNoTryFree,
    /// Nobody finishes what the dead had begun to free.
    SkipFreeing,
    /// Nobody undoes what the dead had begun to create.
    SkipCreating,
    /// The dead keeps its bits.
    SkipBits,
    /// The dead keeps its tickets.
    SkipTickets,
    /// The dead keeps the carrier it was filling.
    SkipWriting,
    /// The dead keeps the names lock.
    SkipLock,
    /// Recovery frees every ticket of the dead: also those whose messages will be delivered.
    SweepInFlight,
    /// A carrier in READING does not count as in flight: its ticket may still be the dead sender's.
    InFlightFullOnly,
    /// Tickets are swept before carriers: what the dead was filling still looks alive, and its ticket stays.
    TicketsFirst,
    /// The bit of the dead goes without a bump: the dead may have given a name that a running scan has
    /// missed, and have been killed before its own bump. Unlike a ticket, a name stays when its giver dies.
    NoBumpByRecovery,
    /// Bits are cleared, but nobody looks whether that was the last reference.
    NoTryFree,
    /// `try_free` only where the dead had a bit: it may have died between the drop and the scan.
    TryFreeIfBit,
    /// The entry becomes FREE before the bit of the dead is cleared: the next object there inherits the bit,
    /// its last user sees it and leaves, and nobody looks again.
    FreeBeforeBit,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
struct Lifetime {
    processes: usize,
    entries: usize,
    pages: usize,
    pages_each: usize,
    tickets: usize,
    carriers: usize,
    kills: u8,
    recoverers: usize,
    /// Objects may have names.
    names: bool,
    /// Processes may remember (entry, gen) without keeping it.
    weak: bool,
    /// The message is acknowledged after the decoder's bit is set, instead of right after RECEIVE.
    late_ack: bool,
    unacked: Unacked,
    /// The scan looks at bits, then the name, then tickets.
    bits_first: bool,
    /// A scan whose CAS fails starts again, instead of leaving.
    looks_again: bool,
    bumps: Bumps,
    bug: Bug,
}

/// The id of process `k`; 0 is nobody.
fn id(k: usize) -> u8 {
    k as u8 + 1
}

/// The bit of an id, or of an entry counted from one.
fn bit(owner: u8) -> u8 {
    1 << (owner - 1)
}

impl State {
    /// The state word of an entry changes: every scan of it is out of date.
    fn touch(&mut self, entry: u8) {
        let attempts = self.processes.iter_mut().map(|p| &mut p.attempt);
        for attempt in attempts.chain(self.recoverers.iter_mut().map(|r| &mut r.attempt)) {
            let scanning = matches!(attempt.at, Freeing::Probe(_) | Freeing::Claim);
            attempt.moved |= scanning && attempt.entry == entry;
        }
    }

    fn set_life(&mut self, entry: u8, life: Life) {
        if life == Life::Free {
            for process in &mut self.processes {
                process.stale |= process.weak == entry + 1;
            }
        }
        self.entries[entry as usize].life = life;
        self.touch(entry);
    }

    fn live(&self, entry: u8) -> bool {
        self.entries[entry as usize].life == Life::Live
    }
}

/// Whether a live process relies on `entry` being there.
fn relies_on(process: &Process, entry: u8) -> bool {
    let by_ticket = matches!(process.at, At::DecodeBit | At::DecodeBump | At::LateBit | At::TicketFree);
    !process.dead && (process.has & bit(entry + 1) != 0 || by_ticket && process.entry == entry)
}

impl Model for Lifetime {
    type State = State;

    fn initial(&self) -> State {
        State::default()
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        for k in 0..self.processes {
            let process = s.processes[k];
            if process.dead {
                self.start_recovery(s, k, out);
                continue;
            }
            if s.kills < self.kills && (process.at != At::Idle || process.has != 0) {
                let mut n = *s;
                n.kills += 1;
                self.drop_becomes_visible(&mut n, k);
                n.processes[k] = Process { dead: true, ..Process::default() };
                out.add(Who::Process(k), "KILLED", n);
            }
            match process.at {
                At::Idle => self.choose(s, k, out),
                _ => self.proceed(s, k, out),
            }
        }
        for r in 0..self.recoverers {
            if s.recoverers[r].dead == 0 {
                continue;
            }
            if s.kills < self.kills {
                let mut n = *s;
                n.kills += 1;
                n.recoverers[r] = Recoverer::default();
                out.add(Who::Recoverer(r), "KILLED", n);
            }
            self.repair(s, r, out);
        }
    }

    fn invariant(&self, s: &State) -> Result<(), String> {
        for e in 0..self.entries as u8 {
            let entry = s.entries[e as usize];
            if entry.life == Life::Live {
                let pages = s.pages.iter().filter(|page| **page == e + 1).count();
                if pages != self.pages_each {
                    return Err(format!("live object {e} has {pages} pages instead of {}", self.pages_each));
                }
                continue;
            }
            if s.processes.iter().any(|process| relies_on(process, e)) {
                return Err(format!("use after free: a process relies on object {e}, which is not live"));
            }
            let carried = |c: &Carrier| matches!(c.word, Carried::Full | Carried::Reading(_)) && c.meant == e;
            if s.carriers.iter().any(carried) {
                return Err(format!("use after free: a message carries object {e}, which is not live"));
            }
            if entry.named && !matches!(entry.life, Life::Creating(_)) {
                return Err(format!("use after free: a name leads to object {e}, which is not live"));
            }
        }
        Ok(())
    }

    fn goal(&self, s: &State) -> bool {
        *s == State { kills: s.kills, ..State::default() }
    }
}
